"""The state of one pod: whether it is ready, what it does at the moment, and what is wrong with it. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import (
    Object,
    ObjectKey,
    condition,
    is_condition,
    key_of,
    mappings,
    number,
    spec_of,
    status_of,
    time_in,
)
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.store import event_count, event_time

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"})
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
_NOT_FOUND = re.compile(r"not found|manifest unknown|name unknown|does not exist|\b404\b", re.IGNORECASE)
_DENIED = re.compile(r"denied|unauthorized|authentication required|no basic auth|\b401\b|\b403\b", re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(r'exec:? "?(?P<file>[^":\s]+)"?: (?P<why>.*)', re.IGNORECASE)
_COMMAND = re.compile(r"executable file not found|no such file or directory|permission denied|exec format error|is a directory")
_KILLED = {137: 9, 143: 15, 139: 11, 134: 6}


@dataclass(frozen=True)
class Container:
    """A container of a pod: its spec and its status."""

    pod: ObjectKey
    spec: Object
    status: Object
    init: bool

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec.get("name"))

    @property
    def title(self) -> str:
        """The container, for a sentence."""
        return f"{'init container' if self.init else 'container'} {self.name}"

    def state(self, name: str) -> Object:
        """Return ``waiting``, ``running`` or ``terminated``; empty if the container is not in that state."""
        return as_mapping(as_mapping(self.status.get("state")).get(name))

    @property
    def last(self) -> Object:
        """How the run before ended; empty before the first end."""
        return as_mapping(as_mapping(self.status.get("lastState")).get("terminated"))

    @property
    def restarts(self) -> int:
        """How often the container was restarted."""
        return number(self.status, "restartCount")

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running."""
        return self.init and self.spec.get("restartPolicy") == "Always"


@dataclass(frozen=True)
class PodState:
    """A pod at one moment.

    Attributes:
        key: The pod.
        ready: Whether it is ready now, or has succeeded.
        activity: What it does, for a person: ``pulling image``.
        since: Since when it does that, where the cluster says so.
        unprobed_at: When the last container without a readiness probe began to run.
        restarted_at: When the last container that has been restarted began to run.
        problems: What is wrong with it, the most important first.
    """

    key: ObjectKey
    ready: bool
    activity: str
    since: datetime | None = None
    unprobed_at: datetime | None = None
    restarted_at: datetime | None = None
    problems: tuple[Problem, ...] = ()

    def believed_at(self, *, unprobed: float, settle: float) -> datetime | None:
        """Return from when on a ready pod is believed to stay ready; ``None`` for at once.

        Args:
            unprobed: Seconds that a container without a readiness probe must have run.
            settle: Seconds that a container must have run since its last restart.
        """
        times = [
            at + timedelta(seconds=seconds)
            for at, seconds in ((self.unprobed_at, unprobed), (self.restarted_at, settle))
            if at is not None
        ]
        return max(times, default=None)


def pod_state(pod: Object, events: Sequence[Object] = ()) -> PodState:
    """Return the state of a pod, with the events about it, oldest first."""
    key, found = key_of(pod), list(containers(pod))
    problems = tuple(_problems(pod, found, events))
    phase = status_of(pod).get("phase")
    running = [one for one in found if (not one.init or one.is_sidecar) and one.state("running")]
    ready = phase == "Succeeded" or (phase == "Running" and is_condition(pod, "Ready") and not _has_ended(found))
    activity, since = _activity(pod, found, problems, events, ready=ready)
    return PodState(
        key,
        ready,
        activity,
        since,
        unprobed_at=_latest(one for one in running if not one.spec.get("readinessProbe")) if phase != "Succeeded" else None,
        restarted_at=_latest(one for one in running if one.restarts),
        problems=problems,
    )


def containers(pod: Object) -> Iterator[Container]:
    """Yield the containers of a pod, the init containers first."""
    status, spec = status_of(pod), spec_of(pod)
    for init, group, statuses in ((True, "initContainers", "initContainerStatuses"), (False, "containers", "containerStatuses")):
        known = {one.get("name"): one for one in mappings(status.get(statuses))}
        for one in mappings(spec.get(group)):
            yield Container(key_of(pod), one, known.get(one.get("name"), {}), init)


def _latest(found: Iterator[Container] | Sequence[Container]) -> datetime | None:
    return max(filter(None, (time_in(one.state("running"), "startedAt") for one in found)), default=None)


def _has_ended(found: Sequence[Container]) -> bool:
    """Return whether a container of a running pod has ended; its pod may be called ready a moment longer."""
    return any(one.state("terminated") and not one.init for one in found)


# activity


def _activity(
    pod: Object, found: Sequence[Container], problems: Sequence[Problem], events: Sequence[Object], *, ready: bool
) -> tuple[str, datetime | None]:
    scheduled, created = condition(pod, "PodScheduled"), time_in(as_mapping(pod.get("metadata")), "creationTimestamp")
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
    pulling = _last_event(events, starting, ("Pulling", "Pulled"))
    if pulling is not None and pulling.get("reason") == "Pulling":
        return "pulling image", event_time(pulling)
    return "creating containers", time_in(scheduled, "lastTransitionTime")


def _keeps_pod_waiting(one: Container) -> bool:
    if one.init and not one.is_sidecar:
        return as_mapping(one.state("terminated")).get("exitCode") != 0
    return not one.status.get("ready")


def _last_event(events: Sequence[Object], one: Container, reasons: Sequence[str]) -> Object | None:
    about = (event for event in reversed(events) if event.get("reason") in reasons and _is_about(event, one))
    return next(about, None)


def _is_about(event: Object, one: Container) -> bool:
    """Return whether an event is about a container; one without a field path is about any."""
    path = str(as_mapping(event.get("involvedObject")).get("fieldPath") or "")
    return not path or path.endswith("{" + one.name + "}")


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
    Cause.LIVENESS_PROBE_FAILED: "liveness probe failing",
    Cause.STARTUP_PROBE_FAILED: "startup probe failing",
    Cause.READINESS_PROBE_FAILED: "not ready yet",
    Cause.VOLUME_NOT_MOUNTED: "waiting for a volume",
    Cause.POD_NOT_STARTED: "pod cannot start",
    Cause.POD_UNSCHEDULABLE: "no node fits",
}


# problems


def _problems(pod: Object, found: Sequence[Container], events: Sequence[Object]) -> Iterator[Problem]:
    key, status = key_of(pod), status_of(pod)
    if status.get("phase") == "Succeeded":
        return
    if status.get("phase") == "Failed" and status.get("reason"):
        cause = Cause.POD_EVICTED if status.get("reason") in ("Evicted", "Preempting") else Cause.POD_FAILED
        yield Problem(cause, key, f"pod {key.name} was ended: {status['reason']}: {short(status.get('message'))}")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        message = f"pod {key.name} cannot be scheduled: {short(scheduled.get('message') or scheduled.get('reason'))}"
        yield Problem(Cause.POD_UNSCHEDULABLE, key, message, since=time_in(scheduled, "lastTransitionTime"))
    yielded = False
    for one in found:
        problem = _container_problem(one, pod, events)
        if problem is not None:
            yielded = True
            yield problem
    if not yielded and any(one.state("waiting").get("reason", "") in _STARTING and not one.state("running") for one in found):
        yield from _start_problems(key, events)


def _start_problems(key: ObjectKey, events: Sequence[Object]) -> Iterator[Problem]:
    """Yield what keeps the kubelet from starting any container of a pod: volumes, the network."""
    for reasons, cause, what in (
        (("FailedMount", "FailedAttachVolume", "FailedMapVolume"), Cause.VOLUME_NOT_MOUNTED, "cannot mount its volumes"),
        (("FailedCreatePodSandBox", "NetworkNotReady"), Cause.POD_NOT_STARTED, "cannot be started on its node"),
    ):
        event = next((event for event in reversed(events) if event.get("reason") in reasons), None)
        if event is not None:
            since = time_in(event, "firstTimestamp") or event_time(event)
            message = f"pod {key.name} {what}: {short(event.get('message'))}"
            yield Problem(cause, key, message, failures=event_count(event), since=since)


def _container_problem(one: Container, pod: Object, events: Sequence[Object]) -> Problem | None:
    waiting, ended = one.state("waiting"), one.state("terminated")
    reason = str(waiting.get("reason") or "")
    if reason in ("InvalidImageName", "ErrImageNeverPull") or reason in _PULLING:
        return _image_problem(one, reason, waiting, events)
    if reason == "CreateContainerConfigError":
        message = f"{one.title} cannot start: {short(waiting.get('message'))}"
        return Problem(Cause.CONTAINER_CONFIG_INVALID, one.pod, message, one.name)
    if reason == "CrashLoopBackOff":
        return _crash_problem(one, one.last, events, fallback=str(waiting.get("message") or ""))
    if reason not in _STARTING:  # RunContainerError, CreateContainerError, …
        return _start_problem(one, reason, str(waiting.get("message") or ""))
    if ended and ended.get("exitCode") != 0:
        return _crash_problem(one, ended, events, fallback="", fatal=spec_of(pod).get("restartPolicy") == "Never")
    if one.state("running") and (not one.init or one.is_sidecar) and not one.status.get("ready"):
        return _not_ready_problem(one, events)
    return None


def _image_problem(one: Container, reason: str, waiting: Object, events: Sequence[Object]) -> Problem:
    image = one.status.get("image") or one.spec.get("image")
    failed = [event for event in events if event.get("reason") == "Failed" and _is_pull_failure(event, one)]
    text = str(failed[-1].get("message") if failed else waiting.get("message") or "")
    if reason == "InvalidImageName":
        cause, what = Cause.IMAGE_NAME_INVALID, "is not a valid image name"
    elif reason == "ErrImageNeverPull":
        cause, what = Cause.IMAGE_NOT_FOUND, "is not on the node, and its pull policy is Never"
    elif _DENIED.search(text):
        cause, what = Cause.IMAGE_DENIED, "cannot be pulled: access denied"
    elif _NOT_FOUND.search(text):
        cause, what = Cause.IMAGE_NOT_FOUND, "cannot be pulled: not found"
    else:
        cause, what = Cause.IMAGE_PULL_FAILED, "cannot be pulled"
    why = "" if reason in ("InvalidImageName", "ErrImageNeverPull") else f": {short(text)}"
    failures = sum(event_count(event) for event in failed)
    return Problem(cause, one.pod, f"image {image} of {one.title} {what}{why}", one.name, failures=max(1, failures))


def _is_pull_failure(event: Object, one: Container) -> bool:
    return _is_about(event, one) and "ailed to pull image" in str(event.get("message"))


def _start_problem(one: Container, reason: str, text: str) -> Problem:
    failures = one.restarts + 1
    if _COMMAND.search(text):
        return Problem(Cause.CONTAINER_COMMAND_INVALID, one.pod, _command(one, text), one.name, failures=failures)
    message = f"{one.title} cannot start: {reason}: {short(text)}"
    return Problem(Cause.CONTAINER_NOT_STARTED, one.pod, message, one.name, failures=failures)


def _command(one: Container, text: str) -> str:
    found = _NOT_EXECUTABLE.search(text)
    if found is None:
        return f"the command of {one.title} cannot be run: {short(text)}"
    return f"{one.title} cannot run {found['file']}: {short(found['why']).removesuffix(': unknown')}"


def _crash_problem(one: Container, ended: Object, events: Sequence[Object], *, fallback: str, fatal: bool = False) -> Problem:
    failures, since = one.restarts, time_in(ended, "finishedAt")
    killed = _killed_by_probe(one, events)
    reason, text = str(ended.get("reason") or ""), str(ended.get("message") or fallback)
    if reason in ("StartError", "ContainerCannotRun") and _COMMAND.search(text):
        cause, message = Cause.CONTAINER_COMMAND_INVALID, _command(one, text)
    elif reason == "OOMKilled":
        limit = as_mapping(as_mapping(one.spec.get("resources")).get("limits")).get("memory")
        of = f" of {limit}" if limit else ""
        cause, message = Cause.CONTAINER_OUT_OF_MEMORY, f"{one.title} used more memory than its limit{of} (OOMKilled)"
    elif killed is not None:
        cause, message = killed
    else:
        again = "keeps crashing" if one.restarts else "ended"
        why = f": {short(text)}" if text and reason in ("StartError", "ContainerCannotRun") else ""
        cause, message = Cause.CONTAINER_CRASHED, f"{one.title} {again}{exit_text(ended)}{why}"
    return Problem(cause, one.pod, message, one.name, failures=failures, since=since, fatal=fatal)


def _killed_by_probe(one: Container, events: Sequence[Object]) -> tuple[Cause, str] | None:
    """Return the probe for whose failure the kubelet killed a container."""
    killing = _last_event(events, one, ("Killing",))
    if killing is None:
        return None
    for kind, cause in (("liveness", Cause.LIVENESS_PROBE_FAILED), ("startup", Cause.STARTUP_PROBE_FAILED)):
        if f"failed {kind} probe" in str(killing.get("message")):
            return cause, f"the {kind} probe of {one.title} fails, so it is restarted{_probe_detail(one, kind, events)}"
    return None


def _not_ready_problem(one: Container, events: Sequence[Object]) -> Problem | None:
    killed = _killed_by_probe(one, events) if one.restarts else None
    if killed is not None:
        return Problem(killed[0], one.pod, killed[1], one.name, failures=one.restarts)
    started = time_in(one.state("running"), "startedAt")
    kind = "startup" if one.spec.get("startupProbe") and not one.status.get("started") else "readiness"
    detail = _probe_detail(one, kind, events)
    if not detail:
        return None
    cause = Cause.STARTUP_PROBE_FAILED if kind == "startup" else Cause.READINESS_PROBE_FAILED
    return Problem(cause, one.pod, f"the {kind} probe of {one.title} fails{detail}", one.name, since=started)


def _probe_detail(one: Container, kind: str, events: Sequence[Object]) -> str:
    """Return what a failed probe saw, after a colon."""
    words = f"{kind} probe"
    for event in reversed(events):
        message = str(event.get("message"))
        if event.get("reason") == "Unhealthy" and _is_about(event, one) and message.lower().startswith(words):
            _, _, seen = message.partition(": ")
            return f": {short(seen or message)}"
    return ""


def exit_text(ended: Object) -> str:
    """Return how a container ended, to follow its name: `` with exit status 1``."""
    if not ended:
        return ""
    code, reason = number(ended, "exitCode"), ended.get("reason")
    named = number(ended, "signal") or _KILLED.get(code, 0)
    if named:
        return f" by signal {named} ({signal.Signals(named).name})" if named in _SIGNALS else f" by signal {named}"
    return f" with exit status {code}" + (f" ({reason})" if reason and reason not in ("Error", "Completed") else "")


_SIGNALS = frozenset(signal.Signals)
