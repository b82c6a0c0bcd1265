"""Charts with hooks, and hooks as the cluster shows them."""

from __future__ import annotations

from typing import Any

from kubernaut.testing.cluster import FakeCluster
from support.charts import CONFIG_MAP

Json = dict[str, Any]


def hook(event: str, *, command: str = "exit 1", image: str = "r/tools", name: str = "", policy: str = "") -> str:
    """Return the manifest of a hook that runs a shell command; it is named like its event."""
    policies = f", helm.sh/hook-delete-policy: {policy}" if policy else ""
    return f"""---
apiVersion: v1
kind: Pod
metadata:
  name: {name or event}
  annotations: {{helm.sh/hook: "{event}"{policies}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{{name: tool, image: "{image}", command: [sh, -c, "{command}"]}}]
"""


def with_hook(event: str, template: str = CONFIG_MAP, **how: Any) -> str:
    """Return a template with a hook that fails, unless its ``command`` says otherwise."""
    return f"{template}{hook(event, **how)}"


MIGRATION = """---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: "pre-upgrade,pre-delete"}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: r/migrate}]}}
"""


def put_running(cluster: FakeCluster, namespace: str = "demo") -> Json:
    """Put the Job of ``MIGRATION`` and its pod as they run, and return the Job."""
    pod_spec = {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": "r/migrate"}]}
    job = cluster.put(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-upgrade,pre-delete"}},
            "spec": {"template": {"spec": pod_spec}},
            "status": {"active": 1},
        },
        namespace,
    )
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "migrate", "uid": job["metadata"]["uid"], "controller": True}
    conditions = [{"type": name, "status": "True"} for name in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
    status = {"name": "migrate", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": "2026-11-22T12:00:00Z"}}}
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "migrate-x1", "ownerReferences": [owner]},
            "spec": pod_spec,
            "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [status]},
        },
        namespace,
    )
    cluster.logs[namespace, "migrate-x1", "migrate"] = ["migrating 12 of 40"]
    return job
