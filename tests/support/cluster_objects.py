"""Objects as a cluster shows them, and a failing release made of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.adapters.helm_errors import helm_error
from kubernaut.errors import KubernautError
from kubernaut.history.explanation import Explanation
from kubernaut.rollout.diagnose import explain
from kubernaut.rollout.logs import LogSource, logs_to_read
from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Snapshot, Store
from kubernaut.rollout.verdict import Verdict, begin, judge

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
WHAT = "hello 1.4.2 to demo"
IMAGE = "ghcr.io/acme/web:1.4.2"
UPGRADE_TIMEOUT = "Error: UPGRADE FAILED: context deadline exceeded"

Item = dict[str, Any]


def at(seconds: float) -> str:
    """A time so many seconds before now."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def item(kind: str, name: str, *, api: str = "v1", owner: Item | None = None, **more: Any) -> Item:
    metadata: Item = {"name": name, "namespace": "demo", "uid": f"uid-{kind}-{name}", "generation": 1, "creationTimestamp": at(60)}
    metadata |= more.pop("metadata", {})
    if owner is not None:
        metadata["ownerReferences"] = [
            {"kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": True}
        ]
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def container(name: str = "app", **more: Any) -> Item:
    return {"name": name, "image": IMAGE, **more}


def deployment(name: str = "web", *containers: Item, replicas: int = 1, spec: Item | None = None) -> tuple[Item, Item, Item]:
    """A Deployment of a manifest, and as it is in the cluster with its ReplicaSet of revision 3."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": list(containers) or [container()], **(spec or {})}}
    wanted = item(
        "Deployment",
        name,
        api="apps/v1",
        spec={"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    )
    live = copy.deepcopy(wanted)
    live["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3"}
    live["status"] = {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "unavailableReplicas": replicas}
    replica_set = item(
        "ReplicaSet",
        f"{name}-7f9c5d4b6",
        api="apps/v1",
        owner=live,
        metadata={"annotations": {"deployment.kubernetes.io/revision": "3"}},
        spec={"replicas": replicas},
    )
    return wanted, live, replica_set


def pod(owner: Item, suffix: str = "x2k4p", *, status: Item | None = None, spec: Item | None = None, **more: Any) -> Item:
    """A pod of an owner; its spec is the owner's template unless it is given."""
    name = f"{owner['metadata']['name']}-{suffix}" if suffix else owner["metadata"]["name"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(58)}
    found = {"phase": "Pending", "conditions": [scheduled], **(status or {})}
    return item("Pod", name, owner=owner if suffix else None, spec=spec or {"containers": [container()]}, status=found, **more)


def statuses(*found: Item, init: bool = False, **more: Any) -> Item:
    return {"initContainerStatuses" if init else "containerStatuses": list(found), **more}


def waiting(reason: str, message: str = "", name: str = "app", *, restarts: int = 0, last: Item | None = None) -> Item:
    status: Item = {
        "name": name,
        "image": IMAGE,
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return status | ({"lastState": {"terminated": last}} if last else {})


def running(name: str = "app", *, ready: bool = False, restarts: int = 0, last: Item | None = None, seconds: float = 30) -> Item:
    status: Item = {
        "name": name,
        "image": IMAGE,
        "ready": ready,
        "restartCount": restarts,
        "started": True,
        "state": {"running": {"startedAt": at(seconds)}},
    }
    return status | ({"lastState": {"terminated": last}} if last else {})


def ended(code: int = 1, reason: str = "Error", message: str = "", **more: Any) -> Item:
    return {"exitCode": code, "reason": reason, "message": message, "startedAt": at(6), "finishedAt": at(5), **more}


def terminated(name: str = "app", **more: Any) -> Item:
    return {"name": name, "image": IMAGE, "ready": False, "restartCount": 0, "state": {"terminated": ended(**more)}}


def event(
    about: Item, reason: str, message: str, *, type: str = "Warning", count: int = 1, container: str = "", seconds: float = 5
) -> Item:
    involved = {"kind": about["kind"], "name": about["metadata"]["name"], "namespace": "demo", "uid": about["metadata"]["uid"]}
    if container:
        involved["fieldPath"] = f"spec.containers{{{container}}}"
    name = f"{about['metadata']['name']}.{abs(hash((reason, message, seconds))):x}"
    return {
        "kind": "Event",
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-{name}"},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": type,
        "count": count,
        "firstTimestamp": at(seconds + 20),
        "lastTimestamp": at(seconds),
    }


def hook_job(name: str = "migrate", events: str = "pre-upgrade", **spec: Any) -> Item:
    template = {"spec": {"restartPolicy": "Never", "containers": [container("migrate", image="ghcr.io/acme/migrate:1.4.2")]}}
    return item(
        "Job",
        name,
        api="batch/v1",
        metadata={"annotations": {"helm.sh/hook": events}},
        spec={"backoffLimit": 1, "template": template, **spec},
    )


@dataclass(frozen=True)
class Failing:
    """A failing release."""

    objects: Sequence[Item] = ()
    hooks: Sequence[Item] = ()
    live: Sequence[Item] = ()
    events: Sequence[Item] = ()
    helm: str = UPGRADE_TIMEOUT
    failure: KubernautError | None = None
    logs: Mapping[tuple[str, bool], Sequence[str]] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    judged: bool = True
    is_probe: bool = False

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot(NOW)

    def _snapshot(self, moment: datetime, *, with_objects: bool = True) -> Snapshot:
        store = Store(self.expected)
        for one in (*self.live, *self.events) if with_objects else ():
            store.apply("ADDED", one)
        for kind, why in self.unreadable.items():
            store.set_unreadable(kind, why)
        return store.snapshot(moment)

    @property
    def expected(self) -> tuple[Any, ...]:
        return expected_objects(self.objects, "demo", self.hooks)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict after its objects were as they are now for a minute, unless they are as they are since less."""
        if not self.judged:
            return None
        began = NOW - timedelta(seconds=90)
        watched = begin(Rules(), self.expected, self._snapshot(began, with_objects=False))
        _, watched = judge(watched, self.expected, self._snapshot(NOW - timedelta(seconds=60)))
        return judge(watched, self.expected, self.snapshot)[0]

    @property
    def sources(self) -> tuple[LogSource, ...]:
        return logs_to_read(self.verdict, self.snapshot)

    def explain(self, **more: Any) -> Explanation:
        logs = {
            source: self.logs[source.container, source.previous]
            for source in self.sources
            if (source.container, source.previous) in self.logs
        }
        failure = self.failure or helm_error("Deploying demo.hello", self.helm, 1)
        return explain(
            WHAT, failure, self.snapshot, verdict=self.verdict, expected=self.expected, logs=logs, is_probe=self.is_probe, **more
        )
