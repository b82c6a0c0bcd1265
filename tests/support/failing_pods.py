"""Releases that fail by their pods, hooks, claims and Services, by the name of the failure."""

# ruff: noqa: E501 - messages stand as the cluster and Helm write them
from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kubernaut.errors import DeadlineExceeded
from support.cluster_objects import (
    IMAGE,
    Failing,
    Item,
    at,
    container,
    deployment,
    ended,
    event,
    item,
    pod,
    running,
    statuses,
    waiting,
)


def _with_pod(
    status: Item, *events: tuple[str, str], spec: Item | None = None, containers: Sequence[Item] = (), **more: Any
) -> Failing:
    """A Deployment whose only pod has a status, and events of reason and message."""
    wanted, live, replica_set = deployment("web", *containers, spec=spec)
    one = pod(replica_set, status=status, spec=live["spec"]["template"]["spec"])
    found = [
        event(one, reason, message, container="app", seconds=5 + place) for place, (reason, message) in enumerate(reversed(events))
    ]
    return Failing([wanted], live=[live, replica_set, one], events=[*found, *more.pop("events", [])], **more)


def _not_created(message: str) -> Failing:
    wanted, live, replica_set = deployment()
    live["status"] |= {"replicas": 0, "updatedReplicas": 0}
    return Failing([wanted], live=[live, replica_set], events=[event(replica_set, "FailedCreate", message, count=7, seconds=1)])


def _claim(storage_class: str | None, reason: str, message: str, *, type: str) -> Failing:
    claim = item(
        "PersistentVolumeClaim",
        "data",
        spec={"storageClassName": storage_class} if storage_class is not None else {},
        status={"phase": "Pending"},
    )
    spec = {"containers": [container()], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
    wanted, live, replica_set = deployment("web", spec={"volumes": spec["volumes"]})
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "lastTransitionTime": at(61),
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    }
    one = pod(replica_set, status={"conditions": [unscheduled]}, spec=spec)
    return Failing(
        [wanted, claim], live=[live, replica_set, one, claim], events=[event(claim, reason, message, type=type, count=12)]
    )


READY = [{"type": "Ready", "status": "True", "lastTransitionTime": at(25)}]
_FAILED_PULL = 'Failed to pull image "{0}": rpc error: code = {1} desc = failed to pull and unpack image "{0}": {2}'
_NOT_FOUND = _FAILED_PULL.format(IMAGE, "NotFound", f'failed to resolve reference "{IMAGE}": {IMAGE}: not found')
_DENIED = _FAILED_PULL.format(
    IMAGE,
    "Unknown",
    f'failed to resolve reference "{IMAGE}": failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=repository%3Aacme%2Fweb%3Apull&service=ghcr.io: 401 Unauthorized',
)
_NO_HOST = _FAILED_PULL.format(
    IMAGE,
    "Unknown",
    f'failed to resolve reference "{IMAGE}": failed to do request: Head "https://ghcr.io/v2/acme/web/manifests/1.4.2": dial tcp: lookup ghcr.io on 10.96.0.10:53: no such host',
)
BACK_OFF = waiting(
    "ImagePullBackOff",
    f'Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found',
)
_CRASHING = waiting(
    "CrashLoopBackOff", "back-off 40s restarting failed container=app pod=web-7f9c5d4b6-x2k4p_demo(uid)", restarts=3, last=ended()
)
_NO_FILE = 'failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: "/app/serve": stat /app/serve: no such file or directory: unknown'
_HTTP = {"httpGet": {"path": "/health", "port": 8080}, "timeoutSeconds": 2}
_TRACEBACK = [
    "starting",
    "Traceback (most recent call last):",
    '  File "/app/main.py", line 3, in <module>',
    "    db = connect()",
    "ConnectionError: cannot reach db:5432",
]


def _probe(kind: str, seen: str, *, restarts: int = 0) -> Failing:
    events = [("Unhealthy", f"{kind.capitalize()} probe failed: {seen}")]
    if kind != "readiness":
        events.append(("Killing", f"Container app failed {kind} probe, will be restarted"))
    status = running(restarts=restarts, last=ended(137) if restarts else None) | ({"started": False} if kind == "startup" else {})
    return _with_pod(statuses(status, phase="Running"), *events, containers=[container(**{f"{kind}Probe": _HTTP})])


def _service_selecting(selector: Item, **more: Any) -> Failing:
    wanted, live, replica_set = deployment()
    live["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    one = pod(
        replica_set, status=statuses(running(ready=True), phase="Running", conditions=READY), spec=live["spec"]["template"]["spec"]
    )
    service = item("Service", "web", spec={"selector": selector, "ports": [{"port": 80}], **more})
    return Failing([wanted, service], live=[live, replica_set, one, service])


def _without_replica_set(message: str) -> Failing:
    wanted, live, _ = deployment()
    failed = {"type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": message}
    live["status"] = {"observedGeneration": 1, "conditions": [failed]}
    return Failing([wanted], live=[live])


def _without_progress(failing: Failing) -> Failing:
    live = copy.deepcopy(failing.live)
    failed = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastTransitionTime": at(70)}
    live[0]["spec"]["progressDeadlineSeconds"] = 30
    live[0]["status"]["conditions"] = [failed]
    return replace(failing, live=live)


FAILING_PODS: Mapping[str, Failing] = {
    "image not found": _with_pod(statuses(BACK_OFF), ("Failed", _NOT_FOUND), ("Failed", _NOT_FOUND)),
    "image denied, no pull secret": _with_pod(statuses(BACK_OFF), ("Failed", _DENIED), ("Failed", _DENIED)),
    "image denied, pull secret missing": _with_pod(
        statuses(BACK_OFF),
        (
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
        ),
        ("Failed", _DENIED),
        ("Failed", _DENIED),
        spec={"imagePullSecrets": [{"name": "regcred"}]},
    ),
    "image name invalid": _with_pod(
        statuses(
            waiting(
                "InvalidImageName",
                'Failed to apply default image tag "ghcr.io/Acme/web:1": '
                'couldn\'t parse image name "ghcr.io/Acme/web:1": invalid reference format: repository name (Acme/web) must be lowercase',
            )
        ),
        containers=[container(image="ghcr.io/Acme/web:1")],
    ),
    "image never pulled": _with_pod(
        statuses(waiting("ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy of Never'))
    ),
    "registry unknown": _with_pod(statuses(BACK_OFF), ("Failed", _NO_HOST)),
    "crash": _with_pod(statuses(_CRASHING), logs={("app", True): _TRACEBACK}),
    "crash without a log": _with_pod(statuses(_CRASHING)),
    "crash of an init container": _with_pod(
        {
            **statuses(waiting("CrashLoopBackOff", name="prepare", restarts=3, last=ended(2)), init=True),
            **statuses(waiting("PodInitializing")),
        },
        spec={"initContainers": [container("prepare")]},
        logs={("prepare", True): ["mkdir: cannot create directory '/data': Permission denied"]},
    ),
    "crash of a second container": _with_pod(
        statuses(running(ready=True), waiting("CrashLoopBackOff", name="metrics", restarts=3, last=ended(1)), phase="Running"),
        containers=[container(), container("metrics")],
        logs={("metrics", True): ["bind: address already in use"]},
    ),
    "exit status 0": _with_pod(statuses(waiting("CrashLoopBackOff", restarts=3, last=ended(0, "Completed")))),
    "segmentation fault": _with_pod(statuses(waiting("CrashLoopBackOff", restarts=3, last=ended(139)))),
    "out of memory": _with_pod(
        statuses(waiting("CrashLoopBackOff", restarts=3, last=ended(137, "OOMKilled"))),
        containers=[container(resources={"limits": {"memory": "64Mi"}})],
    ),
    "bad command": _with_pod(statuses(waiting("CrashLoopBackOff", restarts=2, last=ended(128, "StartError", _NO_FILE)))),
    "bad command, first try": _with_pod(statuses(waiting("RunContainerError", _NO_FILE, restarts=1))),
    "ConfigMap missing": _with_pod(statuses(waiting("CreateContainerConfigError", 'configmap "settings" not found'))),
    "Secret missing": _with_pod(statuses(waiting("CreateContainerConfigError", 'secret "db" not found'))),
    "key missing": _with_pod(statuses(waiting("CreateContainerConfigError", "couldn't find key password in Secret demo/db"))),
    "runs as root": _with_pod(
        statuses(
            waiting(
                "CreateContainerConfigError",
                'container has runAsNonRoot and image will run as root (pod: "web-7f9c5d4b6-x2k4p_demo(uid)", container: app)',
            )
        )
    ),
    "volume of a missing ConfigMap": _with_pod(
        statuses(waiting("ContainerCreating")),
        ("FailedMount", 'MountVolume.SetUp failed for volume "config" : configmap "settings" not found'),
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[config], unattached volumes=[], failed to process volumes=[]: timed out waiting for the condition",
        ),
    ),
    "volume with a missing key": _with_pod(
        statuses(waiting("ContainerCreating")),
        ("FailedMount", 'MountVolume.SetUp failed for volume "config" : references non-existent secret key: tls.crt'),
        spec={"volumes": [{"name": "config", "secret": {"secretName": "web-tls"}}]},
    ),
    "volume too slow": _with_pod(
        statuses(waiting("ContainerCreating")),
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[]: timed out waiting for the condition",
        ),
    ),
    "no progress": replace(_without_progress(_with_pod(statuses(running()))), unreadable={"Pod": "cannot read pods"}),
    "not ready": _with_pod(statuses(running(), phase="Running"), containers=[container(readinessProbe=_HTTP)]),
    "no progress, with a reason": _without_progress(_probe("readiness", "HTTP probe failed with statuscode: 503")),
    "claim that cannot be read": replace(
        _claim("fast", "ProvisioningFailed", "not seen", type="Warning"), unreadable={"PersistentVolumeClaim": "cannot read claims"}
    ),
    "liveness probe": _probe("liveness", "HTTP probe failed with statuscode: 503", restarts=3),
    "startup probe": _probe(
        "startup", 'Get "http://10.1.0.7:8080/health": dial tcp 10.1.0.7:8080: connect: connection refused', restarts=3
    ),
    "readiness probe": _probe(
        "readiness", 'Get "http://10.1.0.7:8080/health": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    ),
    "no node fits": _with_pod(
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "lastTransitionTime": at(61),
                    "message": "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: true}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
                }
            ]
        }
    ),
    "quota": _not_created(
        'Error creating: pods "web-7f9c5d4b6-" is forbidden: exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=4'
    ),
    "quota needs limits": _not_created(
        'Error creating: pods "web-7f9c5d4b6-" is forbidden: failed quota: small: must specify limits.cpu for: app; limits.memory for: app'
    ),
    "Pod Security": _not_created(
        'Error creating: pods "web-7f9c5d4b6-abcde" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "app" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "app" must set securityContext.runAsNonRoot=true)'
    ),
    "webhook denies pods": _not_created(
        'Error creating: admission webhook "validate.kyverno.svc-fail" denied the request: resource Pod/demo/web was blocked: require-labels: team is required'
    ),
    "ReplicaSet over quota": _without_replica_set(
        'Failed to create new replica set "web-7f9c5d4b6": replicasets.apps "web-7f9c5d4b6" is forbidden: exceeded quota: sets, requested: count/replicasets.apps=1, used: count/replicasets.apps=2, limited: count/replicasets.apps=2'
    ),
    "service account missing": _not_created(
        'Error creating: pods "web-7f9c5d4b6-" is forbidden: error looking up service account demo/app: serviceaccount "app" not found'
    ),
    "limit range": _not_created(
        'Error creating: pods "web-7f9c5d4b6-abcde" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
    ),
    "claim without storage class": _claim(
        None, "FailedBinding", "no persistent volumes available for this claim and no storage class is set", type="Normal"
    ),
    "claim of a missing storage class": _claim(
        "fast", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', type="Warning"
    ),
    "claim without provisioner": _claim(
        "fast",
        "ExternalProvisioning",
        "Waiting for a volume to be created either by the external provisioner 'csi.example.com' or manually by the system administrator.",
        type="Normal",
    ),
    "Service without endpoints": _service_selecting({"app": "wbe"}),
    "LoadBalancer without address": _service_selecting({"app": "web"}, type="LoadBalancer"),
    "custom resource not ready": Failing(
        [database := item("Database", "main", api="acme.io/v1", spec={})],
        live=[
            database
            | {
                "status": {
                    "conditions": [{"type": "Ready", "status": "False", "reason": "NoSpace", "message": "no space on any node"}]
                }
            }
        ],
    ),
    "evicted": _with_pod(
        {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi.",
        }
    ),
    "slow pull": _with_pod(
        statuses(waiting("ContainerCreating")),
        ("Pulling", f'Pulling image "{IMAGE}"'),
        failure=DeadlineExceeded("Deploying demo.hello took longer than 90 s, and Helm was stopped."),
    ),
    "nothing known": Failing(
        failure=DeadlineExceeded("Deploying demo.hello took longer than 90 s, and Helm was stopped."), judged=False
    ),
    "application probe": Failing(
        failure=DeadlineExceeded("The application does not answer GET /: it answers 503: no database."), is_probe=True
    ),
}
