"""The states of what pods need and what serves them: PersistentVolumeClaims, and Services with their endpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    created_at,
    key_of,
    labels_of,
    mappings,
    metadata_of,
    number,
    pod_template,
    selects,
    spec_of,
    status_of,
)
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.states import Phase, WorkloadState
from kubernaut.rollout.store import SERVICE_NAME, Snapshot

CLAIM = "PersistentVolumeClaim"
_WITH_PODS = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Pod")


# claims


def claim(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a claim: ready when it is bound."""
    key, phase = key_of(live), str(status_of(live).get("phase") or "Pending")
    if phase == "Bound":
        return WorkloadState(key, Phase.READY, "bound")
    events = [event for event in snapshot.events_about(live) if event.get("reason") != "Provisioning"]
    # The event that names the missing class is of type Normal, so the type does not matter.
    why = short(events[-1].get("message")) if events else f"its phase is {phase}"
    waits = bool(events) and events[-1].get("reason") == "WaitForFirstConsumer"
    message = f"claim {key.name} ({_storage(live)}) is not bound: {why}"
    problem = Problem(Cause.CLAIM_NOT_BOUND, key, message, since=created_at(live), passing=waits)
    return WorkloadState(key, Phase.PROGRESSING, phase.lower(), problems=(problem,))


def _storage(live: Object) -> str:
    name = spec_of(live).get("storageClassName")
    if name is None:
        return "no storage class is named, and the default one"
    return f"storage class {name}" if name else "no storage class"


def claims_of(pod: Object, snapshot: Snapshot) -> Iterator[Object]:
    """Yield the known claims that a pod uses."""
    for volume in mappings(spec_of(pod).get("volumes")):
        name = str(as_mapping(volume.get("persistentVolumeClaim")).get("claimName") or "")
        found = snapshot.objects.get(ObjectKey(CLAIM, key_of(pod).namespace, name))
        if found is not None:
            yield found


# Services


def service(live: Object, snapshot: Snapshot, release: Sequence[Expected]) -> WorkloadState:
    """Return the state of a Service: ready when it has the address and the endpoints that it should have."""
    key, spec = key_of(live), spec_of(live)
    selector = as_mapping(spec.get("selector"))
    if spec.get("type") == "LoadBalancer" and not spec.get("externalIPs") and not _has_address(live):
        return _without_address(live, snapshot)
    if not selector or spec.get("type") == "ExternalName":
        return WorkloadState(key, Phase.READY, "needs no endpoints")
    if not snapshot.knows_all("EndpointSlice"):
        return WorkloadState(key, Phase.NOT_JUDGED, snapshot.unreadable.get("EndpointSlice", "endpoints are not known"))
    ready = ready_endpoints(live, snapshot)
    if ready or not _should_have_endpoints(selector, key.namespace, snapshot, release):
        return WorkloadState(key, Phase.READY, f"{ready} ready endpoint{'' if ready == 1 else 's'}", ready=ready)
    selected = ", ".join(f"{name}={value}" for name, value in selector.items())
    message = f"service {key.name} has no ready endpoints: its selector {selected} matches no ready pod with its ports"
    problem = Problem(Cause.SERVICE_WITHOUT_ENDPOINTS, key, message)
    return WorkloadState(key, Phase.PROGRESSING, "no ready endpoints", problems=(problem,))


def _without_address(live: Object, snapshot: Snapshot) -> WorkloadState:
    key = key_of(live)
    message = f"service {key.name} of type LoadBalancer has no address yet"
    event = next(iter(reversed(snapshot.events_about(live))), None)
    message += f": {short(event.get('message'))}" if event is not None else ""
    problem = Problem(Cause.LOAD_BALANCER_PENDING, key, message, since=created_at(live))
    return WorkloadState(key, Phase.PROGRESSING, "no address yet", problems=(problem,))


def _has_address(live: Object) -> bool:
    return any(True for _ in mappings(as_mapping(status_of(live).get("loadBalancer")).get("ingress")))


def ready_endpoints(live: Object, snapshot: Snapshot) -> int:
    """Return how many ready endpoints a Service has.

    A slice has no ports where none of the pods has a port of the name that the Service has as its target: nothing answers there.
    """
    key, has_ports = key_of(live), any(True for _ in mappings(spec_of(live).get("ports")))
    slices = (
        one
        for one in snapshot.of_kind("EndpointSlice")
        if labels_of(one).get(SERVICE_NAME) == key.name and metadata_of(one).get("namespace") == key.namespace
    )
    endpoints = (endpoint for one in slices if one.get("ports") or not has_ports for endpoint in mappings(one.get("endpoints")))
    return sum(as_mapping(endpoint.get("conditions")).get("ready") is not False for endpoint in endpoints)


def _should_have_endpoints(selector: Object, namespace: str, snapshot: Snapshot, release: Sequence[Expected]) -> bool:
    """Return whether a Service waits for pods of this release: of a workload that wants pods, or of none that is known.

    A selector that fits nothing is a mistake, unless something else may create or label the pods: an operator, for a kind of its
    own, or the application, which labels its leader.
    """
    near = [one for one in release if one.key.namespace == namespace and not one.hook]
    fitting = [one for one in near if selects(selector, labels_of(pod_template(one.object)))]
    if fitting:
        return any(_wants_pods(one, snapshot) for one in fitting)
    if any(_may_be_labelled(selector, labels_of(pod_template(one.object))) for one in near if one.key.kind in _WITH_PODS):
        return False
    return all(one.is_builtin for one in release) and any(_wants_pods(one, snapshot) for one in near)


def _may_be_labelled(selector: Object, labels: Object) -> bool:
    """Return whether pods with these labels lack only labels that they may get while they run."""
    common = {name: value for name, value in selector.items() if name in labels}
    return selects(common, labels)


def _wants_pods(one: Expected, snapshot: Snapshot) -> bool:
    live = snapshot.objects.get(one.key)
    if live is None or one.key.group or one.key.kind not in _WITH_PODS or spec_of(live).get("paused") is True:
        return False
    if one.key.kind == "DaemonSet":
        return number(status_of(live), "desiredNumberScheduled") > 0
    return one.key.kind == "Pod" or number(spec_of(live), "replicas", 1) > 0
