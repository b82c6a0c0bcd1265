"""The state of one pod: whether it is ready, what it does at the moment, and what is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kubernaut.rollout.container_problems import container_problem
from kubernaut.rollout.containers import STARTING_REASONS, Container, containers, last_event
from kubernaut.rollout.objects import (
    Object,
    ObjectKey,
    condition,
    created_at,
    is_condition,
    key_of,
    mappings,
    spec_of,
    status_of,
    time_in,
    uid_of,
)
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.store import event_count, event_time

_EVICTED = ("Evicted", "Preempting", "NodeShutdown", "Terminated")
_MISSING_SOURCE = re.compile(r'(configmap|secret) "?\S+"? not found|references non-existent', re.IGNORECASE)
_CLAIM = re.compile(r"unbound immediate PersistentVolumeClaims|binding volumes", re.IGNORECASE)
_COMING_NODE = ("TriggeredScaleUp", "Nominated")
_NO_COMING_NODE = ("NotTriggerScaleUp", "FailedScaleUp")
_STARTED = ("Pulling", "Pulled", "Created", "Started")
_START_FAILURES = {
    "FailedMount": (Cause.VOLUME_NOT_MOUNTED, "cannot mount its volumes"),
    "FailedAttachVolume": (Cause.VOLUME_NOT_MOUNTED, "cannot mount its volumes"),
    "FailedMapVolume": (Cause.VOLUME_NOT_MOUNTED, "cannot mount its volumes"),
    "FailedCreatePodSandBox": (Cause.POD_NOT_STARTED, "cannot be started on its node"),
    "NetworkNotReady": (Cause.POD_NOT_STARTED, "cannot be started on its node"),
}


@dataclass(frozen=True)
class PodState:
    """A pod at one moment.

    Attributes:
        key: The pod.
        ready: Whether it is ready now, or has succeeded.
        activity: Its activity, for a person: ``pulling image``.
        since: Since when it does that, where the cluster says so.
        uid: Its UID.
        restarts: How often its containers were restarted.
        is_over: Whether all its containers have ended for good.
        ready_at: When it became ready, if it is.
        unprobed_at: When the last container without a readiness probe began to run.
        restarted_at: When the last container that has been restarted began to run.
        problems: Its problems, the most important first.
    """

    key: ObjectKey
    ready: bool
    activity: str
    since: datetime | None = None
    uid: str = ""
    restarts: int = 0
    is_over: bool = False
    ready_at: datetime | None = None
    unprobed_at: datetime | None = None
    restarted_at: datetime | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def run(self) -> str:
        """Identifies the pod with the present run of its containers: a restart may be too quick to be seen as not ready."""
        return f"{self.uid}/{self.restarts}"

    def believed_at(self, *, seen_at: datetime, least: float, unprobed: float, settle: float) -> datetime | None:
        """Return from when on a ready pod is believed to stay ready; ``None`` for at once.

        The kubelet's times count, unless its clock is ahead: then it counts when the pod was seen ready first.

        Args:
            seen_at: Since when it has been seen ready, by the cluster's clock.
            least: Seconds that its workload wants it to be ready: ``minReadySeconds``.
            unprobed: Seconds that a container without a readiness probe must have run.
            settle: Seconds that a container must have run since its last restart.
        """
        times = [
            min(at, seen_at) + timedelta(seconds=seconds)
            for at, seconds in ((self.ready_at, least), (self.unprobed_at, unprobed), (self.restarted_at, settle))
            if at is not None and seconds > 0
        ]
        return max(times, default=None)


def pod_state(pod: Object, events: Sequence[Object] = ()) -> PodState:
    """Return the state of a pod, with the events about it, oldest first."""
    found = list(containers(pod))
    phase = status_of(pod).get("phase")
    lasting = [one for one in found if one.keeps_running]
    running = [one for one in lasting if one.state("running")]
    serves = phase == "Running" and is_condition(pod, "Ready") and len(running) == len(lasting)
    ready = serves or phase == "Succeeded"
    problems = () if ready else tuple(_problems(pod, found, events))
    activity, since = _activity(pod, found, problems, events, ready=ready)
    return PodState(
        key_of(pod),
        ready,
        activity,
        since,
        uid=uid_of(pod),
        restarts=sum(one.restarts for one in found),
        is_over=phase in ("Succeeded", "Failed"),
        ready_at=time_in(condition(pod, "Ready"), "lastTransitionTime") if serves else None,
        unprobed_at=_latest(one for one in running if not one.spec.get("readinessProbe")) if serves else None,
        restarted_at=_latest(one for one in running if one.restarts) if serves else None,
        problems=problems,
    )


def _latest(found: Iterable[Container]) -> datetime | None:
    return max(filter(None, (time_in(one.state("running"), "startedAt") for one in found)), default=None)


# activity


def _activity(
    pod: Object, found: Sequence[Container], problems: Sequence[Problem], events: Sequence[Object], *, ready: bool
) -> tuple[str, datetime | None]:
    scheduled, created = condition(pod, "PodScheduled"), created_at(pod)
    if ready:
        return "ready", time_in(condition(pod, "Ready"), "lastTransitionTime")
    if problems:
        return _WORDS.get(problems[0].cause, problems[0].cause.value.replace("_", " ")), problems[0].since or created
    if scheduled.get("status") != "True":
        return "waiting for a node", created
    starting = next((one for one in found if _keeps_pod_waiting(one)), None)
    if starting is None:
        return "starting", time_in(scheduled, "lastTransitionTime")
    running = starting.state("running")
    if running:
        return ("running " if starting.init else "starting ") + starting.title, time_in(running, "startedAt")
    pulling = last_event(events, starting, "Pulling", "Pulled")
    if pulling.get("reason") == "Pulling":
        return "pulling image", event_time(pulling)
    return "creating containers", time_in(scheduled, "lastTransitionTime")


def _keeps_pod_waiting(one: Container) -> bool:
    if not one.keeps_running:
        return one.state("terminated").get("exitCode") != 0
    return not one.is_ready


_WORDS = {
    Cause.IMAGE_NOT_FOUND: "image not found",
    Cause.IMAGE_DENIED: "image access denied",
    Cause.IMAGE_NAME_INVALID: "invalid image name",
    Cause.IMAGE_PULL_FAILED: "cannot pull image",
    Cause.CONTAINER_CRASHED: "crashing",
    Cause.CONTAINER_OUT_OF_MEMORY: "out of memory",
    Cause.CONTAINER_COMMAND_INVALID: "command cannot be run",
    Cause.CONTAINER_CONFIG_INVALID: "configuration missing",
    Cause.CONTAINER_NOT_STARTED: "container cannot start",
    Cause.CONTAINER_NOT_READY: "not ready yet",
    Cause.LIVENESS_PROBE_FAILED: "liveness probe failing",
    Cause.STARTUP_PROBE_FAILED: "startup probe failing",
    Cause.READINESS_PROBE_FAILED: "not ready yet",
    Cause.VOLUME_NOT_MOUNTED: "waiting for a volume",
    Cause.CLAIM_NOT_BOUND: "waiting for a volume",
    Cause.POD_NOT_STARTED: "pod cannot start",
    Cause.POD_NOT_READY: "not ready yet",
    Cause.POD_UNSCHEDULABLE: "no node fits",
}


# problems


def _problems(pod: Object, found: Sequence[Container], events: Sequence[Object]) -> Iterator[Problem]:
    """Yield what keeps a pod from being ready; nothing while it starts as it should."""
    of_containers = [
        replace(problem, fatal=_is_final(one, pod)) for one in found if (problem := container_problem(one, events)) is not None
    ]
    if status_of(pod).get("phase") == "Failed":
        yield from (*_end_problems(pod, of_containers), *of_containers)
        return
    yield from _scheduling_problems(pod, events)
    yield from of_containers
    if not of_containers and any(_is_starting(one) for one in found):
        yield from _start_problems(pod, events)
    elif not of_containers and is_condition(pod, "Ready", "False"):
        yield from _readiness_problems(pod, found)


def _is_final(one: Container, pod: Object) -> bool:
    """Return whether a container that has ended is not started again."""
    policy = one.spec.get("restartPolicy") or spec_of(pod).get("restartPolicy")
    return bool(one.state("terminated")) and (policy == "Never" or status_of(pod).get("phase") == "Failed")


def _end_problems(pod: Object, of_containers: Sequence[Problem]) -> Iterator[Problem]:
    """Yield why a pod as a whole ended, where the kubelet gives a reason or no container has one."""
    status, name = status_of(pod), key_of(pod).name
    reason = status.get("reason")
    if reason or not of_containers:
        cause = Cause.POD_EVICTED if reason in _EVICTED else Cause.POD_FAILED
        yield Problem(cause, key_of(pod), f"pod {name} was ended: {reason or 'Failed'}: {short(status.get('message'))}", fatal=True)


def _scheduling_problems(pod: Object, events: Sequence[Object]) -> Iterator[Problem]:
    key, scheduled = key_of(pod), condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return
    text = str(scheduled.get("message") or scheduled.get("reason"))
    cause = Cause.CLAIM_NOT_BOUND if _CLAIM.search(text) else Cause.POD_UNSCHEDULABLE
    expanding = next(
        (event.get("reason") for event in reversed(events) if event.get("reason") in _COMING_NODE + _NO_COMING_NODE), ""
    )
    yield Problem(
        cause,
        key,
        f"pod {key.name} cannot be scheduled: {short(text)}",
        since=time_in(scheduled, "lastTransitionTime"),
        passing=expanding in _COMING_NODE or scheduled.get("reason") == "SchedulingGated",
    )


def _is_starting(one: Container) -> bool:
    return not one.state("running") and not one.state("terminated") and one.waiting_reason in STARTING_REASONS


def _start_problems(pod: Object, events: Sequence[Object]) -> Iterator[Problem]:
    """Yield what keeps the kubelet from starting any container: volumes, the network. A container that was begun ends it."""
    event = next((event for event in reversed(events) if event.get("reason") in (*_START_FAILURES, *_STARTED)), {})
    reason, text = str(event.get("reason")), str(event.get("message"))
    if reason not in _START_FAILURES:
        return
    cause, what = _START_FAILURES[reason]
    if _MISSING_SOURCE.search(text):
        cause = Cause.CONTAINER_CONFIG_INVALID
    key, since = key_of(pod), time_in(event, "firstTimestamp") or event_time(event)
    yield Problem(cause, key, f"pod {key.name} {what}: {short(text)}", failures=event_count(event), since=since)


def _readiness_problems(pod: Object, found: Sequence[Container]) -> Iterator[Problem]:
    """Yield why a pod is not ready although its containers are: a readiness gate, or a node that does not answer."""
    if not all(one.is_ready for one in found if one.keeps_running):
        return
    key, ready = key_of(pod), condition(pod, "Ready")
    gates = [str(gate.get("conditionType")) for gate in mappings(spec_of(pod).get("readinessGates"))]
    waits = [gate for gate in gates if not is_condition(pod, gate)]
    why = f"readiness gate {', '.join(waits)}" if waits else short(ready.get("message") or ready.get("reason"))
    message = f"pod {key.name} is not ready: {why}"
    yield Problem(Cause.POD_NOT_READY, key, message, since=time_in(ready, "lastTransitionTime"))
