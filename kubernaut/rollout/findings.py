"""The meaning of a problem of a release's object, as a clause with its names and numbers. Pure.

Problems of pods are in :mod:`~kubernaut.rollout.pod_findings`; here are workloads, hooks, Jobs, claims and Services, and the owners
of pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kubernaut.history.records import as_mapping
from kubernaut.rollout.containers import Container, containers
from kubernaut.rollout.logs import LogSource
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    annotations_of,
    condition,
    key_of,
    mappings,
    metadata_of,
    number,
    pod_template,
    spec_of,
    status_of,
    uid_of,
)
from kubernaut.rollout.pod_findings import Subject, pod_finding, short_image
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.refusals import Finding, refusal
from kubernaut.rollout.states import WorkloadState
from kubernaut.rollout.store import Snapshot

_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_HASH = re.compile(r"-[a-z0-9]{6,10}$")
_NO_CLASS = re.compile(r"no storage class is set")
_CLASS_MISSING = re.compile(r'storageclass\S* "(?P<name>[^"]+)" not found')
_CLAIM_MISSING = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')
_PROVISIONER = re.compile(r"external provisioner '(?P<name>[^']+)'")
_ABOUT_CLAIMS = re.compile(r"persistentvolumeclaim|volume", re.IGNORECASE)
_WAITS_FOR_CLAIM = frozenset({Cause.POD_UNSCHEDULABLE, Cause.VOLUME_NOT_MOUNTED, Cause.CLAIM_NOT_BOUND})
_CREATION = frozenset({Cause.QUOTA_EXCEEDED, Cause.ADMISSION_DENIED, Cause.PODS_NOT_CREATED})
_FAILURES_OF_HOOKS = frozenset({Cause.JOB_FAILED, Cause.CONTAINER_CRASHED, Cause.POD_FAILED})


@dataclass(frozen=True)
class Observed:
    """The observations of a release when it is explained.

    Attributes:
        snapshot: The objects in the cluster.
        states: The states of the release's objects.
        expected: The objects of its manifest and its hooks.
        logs: The last lines of containers.
        unread: Why logs could not be read.
    """

    snapshot: Snapshot
    states: tuple[WorkloadState, ...] = ()
    expected: tuple[Expected, ...] = ()
    logs: Mapping[LogSource, Sequence[str]] = field(default_factory=dict)
    unread: Mapping[LogSource, str] = field(default_factory=dict)

    def state_with(self, problem: Problem) -> WorkloadState | None:
        """Return the state of the object that has a problem, itself or through its pods."""
        for state in self.states:
            own = {state.key, *(pod.key for pod in state.pods)}
            if problem.object in own or any(one.identity == problem.identity for one in state.problems):
                return state
        return None

    def expected_of(self, key: ObjectKey) -> Expected | None:
        """Return the manifest's object with an identity."""
        return next((one for one in self.expected if one.key == key), None)

    def log_of(self, key: ObjectKey, container: str) -> Sequence[str]:
        """Return the log of a container's last run that ended, else of the present one."""
        runs = (LogSource(key.namespace, key.name, container, previous) for previous in (True, False))
        return next((self.logs[run] for run in runs if self.logs.get(run)), ())


def problem_finding(problem: Problem, observed: Observed) -> Finding:
    """Return the meaning of a problem."""
    state = observed.state_with(problem)
    owner = title_of(state, problem.object, observed.snapshot)
    if problem.object.kind == "Pod" and problem.cause in _WAITS_FOR_CLAIM:
        claim = _claim_of_pod(problem, observed.snapshot)
        if claim is not None:
            return _for_hook(claim, state)
    if problem.cause in (Cause.JOB_FAILED, Cause.HOOK_FAILED) and state is not None:
        found = _failed_job(problem, state, observed)
    elif problem.cause is Cause.DEADLINE_EXCEEDED and state is not None:
        seconds = number(spec_of(observed.snapshot.objects.get(state.key, {})), "progressDeadlineSeconds", 600)
        why = f"{state.key} made no progress for {seconds} s, its progressDeadlineSeconds"
        found = Finding(problem.cause, f"{why} ({state.summary})", {"limit": str(seconds)})
    elif problem.cause in _CREATION:
        found = _creation(problem, owner, observed.snapshot)
    elif problem.object.kind == "PersistentVolumeClaim" and problem.object in observed.snapshot.objects:
        found = claim_finding(observed.snapshot.objects[problem.object], observed.snapshot)
    elif problem.cause is Cause.LOAD_BALANCER_PENDING:
        found = _load_balancer(problem, observed.snapshot)
    elif problem.object.kind == "Pod" and problem.object in observed.snapshot.objects:
        found = pod_finding(_subject(problem, state, observed))
    else:
        found = Finding(problem.cause, _with_kind(problem), {"kind": problem.object.kind, "name": problem.object.name})
    return _for_hook(found, state)


def problem_of_pod(problem: Problem, observed: Observed) -> Problem | None:
    """Return a problem of a pod: the problem itself, or that of the newest pod of the Job or hook that has it."""
    if problem.object.kind == "Pod" and problem.cause is not Cause.HOOK_FAILED:
        return problem if problem.object in observed.snapshot.objects else None
    state = observed.state_with(problem)
    of_pods = [one for one in state.problems if one.object.kind == "Pod" and one.container] if state is not None else []
    created = {key: str(metadata_of(item).get("creationTimestamp")) for key, item in observed.snapshot.objects.items()}
    known = [one for one in of_pods if one.object in created]
    return max(known, key=lambda one: created[one.object], default=None)


def title_of(state: WorkloadState | None, key: ObjectKey, snapshot: Snapshot) -> str:
    """Return an object for a sentence: ``Deployment web``, ``pre-upgrade hook migrate``."""
    if state is not None:
        return f"{hook_event(state.hook)} hook {state.key.name}" if state.hook else str(state.key)
    pod = snapshot.objects.get(key)
    owner = _owner(pod, snapshot) if pod is not None and key.kind == "Pod" else None
    return str(owner or key)


def hook_event(events: Sequence[str]) -> str:
    """Return the event of a hook that has to be named: that of a deploy, where it has several."""
    return next((event for event in events if event.endswith(("-install", "-upgrade"))), events[0] if events else "")


def revision_of(pod: Object, snapshot: Snapshot) -> str:
    """Return the revision that a pod belongs to, for a sentence: ``revision 3 of Deployment web``; empty if it is not known."""
    owners = list(_owners(pod, snapshot))
    revision = next((str(annotations_of(one)[_REVISION]) for one in owners if annotations_of(one).get(_REVISION)), "")
    owner = _owner(pod, snapshot)
    return f"revision {revision} of {owner}" if revision and owner is not None else ""


def place_of(one: Container, owner: str, *, alone: bool) -> str:
    """Return a container for a sentence.

    Args:
        one: The container.
        owner: The object that it belongs to.
        alone: Whether it is the only container of its kind in the pod.
    """
    same = one.name == owner.rpartition(" ")[2]
    kind = "init container" if one.init else "container"
    return f"the {kind} of {owner}" if same and alone else f"{one.title} of {owner}"


def images_of(one: Expected | None) -> list[str]:
    """Return the images of an object of the manifest, those of init containers last."""
    if one is None:
        return []
    spec = spec_of(pod_template(one.object))
    found = (str(each.get("image") or "") for group in ("containers", "initContainers") for each in mappings(spec.get(group)))
    return list(dict.fromkeys(filter(None, found)))


def hook_title(key: ObjectKey, events: Sequence[str], observed: Observed) -> str:
    """Return a hook for a sentence, with its image: ``pre-upgrade hook migrate (image ghcr.io/a/b:1)``."""
    images = images_of(observed.expected_of(key))
    image = f" (image {short_image(images[0])})" if images else ""
    return f"{hook_event(events)} hook {key.name}{image}"


def claim_finding(claim: Object, snapshot: Snapshot) -> Finding:
    """Return why a claim is not bound, its storage class first."""
    key, named = key_of(claim), spec_of(claim).get("storageClassName")
    events = [event for event in snapshot.events_about(claim) if event.get("reason") != "Provisioning"]
    # Which storage class is missing says an event of type Normal, so the type does not matter.
    text = str(events[-1].get("message") or "") if events else ""
    facts = {"kind": key.kind, "name": key.name, "storageClass": str(named or "")}
    missing = _CLASS_MISSING.search(text)
    if missing is not None:
        facts["storageClass"] = missing["name"]
        return Finding(Cause.CLAIM_NOT_BOUND, f"{key} is not bound: storage class {missing['name']} does not exist", facts)
    if not named:
        without = "it asks for no storage class" if named == "" else "it names no storage class, and the cluster has no default one"
        why = "" if not text or _NO_CLASS.search(text) else f" ({short(text)})"
        return Finding(Cause.CLAIM_NOT_BOUND, f"{key} is not bound: {without}{why}", facts)
    provisioner = _PROVISIONER.search(text)
    if provisioner is not None:
        why = f"provisioner {provisioner['name']} has not created a volume yet"
        facts["provisioner"] = provisioner["name"]
        return Finding(Cause.CLAIM_NOT_BOUND, f"{key} of storage class {named} is not bound: {why}", facts)
    why = short(text) if text else f"its phase is {status_of(claim).get('phase') or 'Pending'}"
    return Finding(Cause.CLAIM_NOT_BOUND, f"{key} of storage class {named} is not bound: {why}", facts)


# objects with pods


def _subject(problem: Problem, state: WorkloadState | None, observed: Observed, *, owner: str | None = None) -> Subject:
    pod = observed.snapshot.objects.get(problem.object, {})
    found = list(containers(pod))
    one = next((each for each in found if each.name == problem.container), None)
    title = title_of(state, problem.object, observed.snapshot) if owner is None else owner
    place = title
    if one is not None:
        alone = sum(each.init == one.init for each in found) == 1
        place = place_of(one, title, alone=alone) if title else one.title
    log = observed.log_of(problem.object, problem.container)
    return Subject(problem, pod, one, place, title, observed.snapshot.events_about(pod), log)


def _failed_job(problem: Problem, state: WorkloadState, observed: Observed) -> Finding:
    """Return why a Job failed: by its last container that failed."""
    newest = problem_of_pod(problem, observed)
    title = hook_title(state.key, state.hook, observed) if state.hook else str(state.key)
    failed = condition(observed.snapshot.objects.get(state.key, {}), "Failed")
    reason = str(failed.get("reason") or "")
    facts = {"kind": state.key.kind, "name": state.key.name, "reason": reason}
    if reason == "DeadlineExceeded":
        limit = spec_of(observed.snapshot.objects[state.key]).get("activeDeadlineSeconds")
        of = f" of {limit} s" if limit else ""
        facts["limit"] = str(limit or "")
        return Finding(problem.cause, f"{title} failed: it ran longer than its activeDeadlineSeconds{of}", facts)
    if newest is None:
        why = short(failed.get("message") or reason or problem.message)
        return Finding(problem.cause, f"{title} failed: {why}", facts)
    found = pod_finding(_subject(newest, state, observed, owner=""))
    return Finding(problem.cause, f"{title} failed: {found.why}", {**found.facts, **facts})


def _for_hook(found: Finding, state: WorkloadState | None) -> Finding:
    """Return a finding with the hook that it is about, and its workload."""
    if state is None:
        return found
    facts = {"kind": state.key.kind, "namespace": state.key.namespace, "name": state.key.name, **found.facts}
    if not state.hook:
        return replace(found, facts=facts)
    cause = Cause.HOOK_FAILED if found.cause in _FAILURES_OF_HOOKS else found.cause
    return replace(found, cause=cause, facts={**facts, "hook": hook_event(state.hook)})


def _creation(problem: Problem, owner: str, snapshot: Snapshot) -> Finding:
    item = snapshot.objects.get(problem.object, {})
    events = [event for event in snapshot.events_about(item) if event.get("reason") == "FailedCreate"]
    conditions = (condition(item, "ReplicaFailure"), condition(item, "Progressing"))
    failed = next((one for one in conditions if one.get("reason") in ("FailedCreate", "ReplicaSetCreateError")), {})
    text = str(events[-1].get("message") if events else failed.get("message") or problem.message)
    found = refusal(text)
    if found is None:
        why = short(text).removeprefix("Error creating: ")
        return Finding(problem.cause, f"the pods of {owner} cannot be created: {why}")
    facts = {name: value for name, value in found.facts.items() if name not in ("kind", "name")}
    why = (found.facts.get("reason") or found.why).replace(" an object", " them", 1)
    return Finding(found.cause, f"the pods of {owner} cannot be created: {why}", facts)


# claims and Services


def _claim_of_pod(problem: Problem, snapshot: Snapshot) -> Finding | None:
    """Return the problem of the claim that a pod waits for."""
    pod = snapshot.objects.get(problem.object)
    if pod is None or not _ABOUT_CLAIMS.search(problem.message):
        return None
    for volume in mappings(spec_of(pod).get("volumes")):
        name = str(as_mapping(volume.get("persistentVolumeClaim")).get("claimName") or "")
        claim = snapshot.objects.get(ObjectKey("PersistentVolumeClaim", problem.object.namespace, name))
        if claim is not None and status_of(claim).get("phase") != "Bound":
            return claim_finding(claim, snapshot)
    missing = _CLAIM_MISSING.search(problem.message)
    if missing is None:
        return None
    facts = {"missing": "PersistentVolumeClaim", "missingName": missing["name"]}
    return Finding(Cause.CLAIM_NOT_BOUND, f"PersistentVolumeClaim {missing['name']} does not exist", facts)


def _load_balancer(problem: Problem, snapshot: Snapshot) -> Finding:
    events = snapshot.events_about(snapshot.objects.get(problem.object, {}))
    failed = next((event for event in reversed(events) if event.get("type") == "Warning"), None)
    why = short(failed.get("message")) if failed is not None else "the cluster's load balancer has not given it one"
    facts = {"kind": problem.object.kind, "name": problem.object.name}
    return Finding(problem.cause, f"{problem.object} of type LoadBalancer has no address: {why}", facts)


def _with_kind(problem: Problem) -> str:
    """Return a problem's message with the kind as Kubernetes writes it."""
    lower = f"{problem.object.kind.lower()} {problem.object.name}"
    message = short(problem.message)
    return f"{problem.object}{message[len(lower) :]}" if message.startswith(lower) else message


# owners


def _owners(item: Object, snapshot: Snapshot) -> Iterable[Object]:
    """Yield the controllers of an object, from the nearest on."""
    for _ in range(3):
        reference = next(iter(mappings(metadata_of(item).get("ownerReferences"))), None)
        if reference is None:
            return
        key = ObjectKey(str(reference.get("kind")), key_of(item).namespace, str(reference.get("name")))
        owner = snapshot.objects.get(key)
        if owner is None or uid_of(owner) != reference.get("uid"):
            return
        yield owner
        item = owner


def _owner(pod: Object, snapshot: Snapshot) -> ObjectKey | None:
    """Return the workload of a pod; of a ReplicaSet that cannot be read, the Deployment that its name is made from."""
    owners = list(_owners(pod, snapshot))
    if owners and (owners[-1].get("kind") != "ReplicaSet" or not metadata_of(owners[-1]).get("ownerReferences")):
        return key_of(owners[-1])
    reference: Object = next(iter(mappings(metadata_of(owners[-1] if owners else pod).get("ownerReferences"))), {})
    kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
    if not name:
        return None
    if kind == "ReplicaSet" and _TEMPLATE_HASH.search(name):
        kind, name = "Deployment", _TEMPLATE_HASH.sub("", name)
    return ObjectKey(kind, key_of(pod).namespace, name)
