"""The problem of a container: its image, its command, its configuration, its crashes, its probes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from kubernaut.history.records import as_mapping
from kubernaut.rollout.containers import STARTING_REASONS, Container, exit_text, is_about, last_event
from kubernaut.rollout.objects import Object, time_in
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.store import event_count, event_time

PULLING_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "InvalidImageName",
)
_NOT_FOUND = re.compile(r"not found|(manifest|name) unknown|does not exist|no such manifest", re.IGNORECASE)
_DENIED = re.compile(r"denied|unauthorized|forbidden|authentication required|authorization failed|no basic auth", re.IGNORECASE)
_PULL_FAILURE = re.compile(r"failed to pull image|is not present with pull policy of never", re.IGNORECASE)
_COMMAND = re.compile(
    r"executable file .*not found|\bexec(utable)?\b.*(no such file|permission denied|exec format error|is a directory)",
    re.IGNORECASE,
)
_NOT_EXECUTABLE = re.compile(r'exec:? "?(?P<file>[^":\s]+)"?: (?P<why>.*)', re.IGNORECASE)
_START_FAILURES = ("StartError", "ContainerCannotRun")
_PROBES = (("liveness", Cause.LIVENESS_PROBE_FAILED), ("startup", Cause.STARTUP_PROBE_FAILED))


def container_problem(one: Container, events: Sequence[Object]) -> Problem | None:
    """Return the problem of a container, if it has one, with the events about its pod, oldest first."""
    reason, ended = one.waiting_reason, one.state("terminated")
    if reason in PULLING_REASONS:
        return _image_problem(one, reason, events)
    if reason == "CreateContainerConfigError":
        message = f"{one.title} cannot start: {short(one.state('waiting').get('message'))}"
        return Problem(Cause.CONTAINER_CONFIG_INVALID, one.pod, message, one.name)
    if reason == "CrashLoopBackOff":
        return _crash_problem(one, one.last, events)
    if reason not in STARTING_REASONS:  # RunContainerError, CreateContainerError, …
        return _start_problem(one, reason, str(one.state("waiting").get("message") or ""))
    if ended and (ended.get("exitCode") != 0 or not one.may_end):
        return _crash_problem(one, ended, events)
    if one.state("running") and one.keeps_running and not one.is_ready:
        return _not_ready_problem(one, events)
    return None


# images


def _image_problem(one: Container, reason: str, events: Sequence[Object]) -> Problem:
    image = str(one.spec.get("image") or one.status.get("image"))
    failed = [event for event in events if is_about(event, one) and _PULL_FAILURE.search(str(event.get("message")))]
    message = failed[-1].get("message") if failed and reason == "ImagePullBackOff" else one.state("waiting").get("message")
    text = str(message or "").replace(image, "")  # its name may be "denied" or its tag "403"
    why = f": {short(message)}"
    if reason == "InvalidImageName":
        cause, what, why = Cause.IMAGE_NAME_INVALID, "is not a valid image name", ""
    elif reason == "ErrImageNeverPull":
        cause, what, why = Cause.IMAGE_NOT_FOUND, "is not on the node, and its pull policy is Never", ""
    elif _DENIED.search(text):
        cause, what = Cause.IMAGE_DENIED, "cannot be pulled: access denied"
    elif _NOT_FOUND.search(text):
        cause, what = Cause.IMAGE_NOT_FOUND, "cannot be pulled: not found"
    else:
        cause, what = Cause.IMAGE_PULL_FAILED, "cannot be pulled"
    failures = sum(event_count(event) for event in failed)
    return Problem(cause, one.pod, f"image {image} of {one.title} {what}{why}", one.name, failures=max(1, failures))


# starts and crashes


def _start_problem(one: Container, reason: str, text: str) -> Problem:
    if _COMMAND.search(text):
        return _command_problem(one, text)
    message = f"{one.title} cannot start: {reason}: {short(text)}"
    return Problem(Cause.CONTAINER_NOT_STARTED, one.pod, message, one.name, failures=one.restarts + 1)


def _command_problem(one: Container, text: str) -> Problem:
    found = _NOT_EXECUTABLE.search(text)
    if found is None:
        message = f"the command of {one.title} cannot be run: {short(text)}"
    else:
        message = f"{one.title} cannot run {found['file']}: {short(found['why']).removesuffix(': unknown')}"
    return Problem(Cause.CONTAINER_COMMAND_INVALID, one.pod, message, one.name, failures=one.restarts + 1)


def _crash_problem(one: Container, ended: Object, events: Sequence[Object]) -> Problem:
    reason, text = str(ended.get("reason") or ""), str(ended.get("message") or "")
    failed_start = reason in _START_FAILURES
    if failed_start and _COMMAND.search(text):
        return replace(_command_problem(one, text), since=time_in(ended, "finishedAt"))
    killed = _killed_by_probe(one, ended, events)
    if reason == "OOMKilled":
        limit = as_mapping(as_mapping(one.spec.get("resources")).get("limits")).get("memory")
        of = f" of {limit}" if limit else ""
        cause, message = Cause.CONTAINER_OUT_OF_MEMORY, f"{one.title} used more memory than its limit{of} (OOMKilled)"
    elif killed is not None:
        cause, message = killed
    else:
        again = "ended" if not one.restarts else "keeps ending" if ended.get("exitCode") == 0 else "keeps crashing"
        why = f": {short(text)}" if text and failed_start else ""
        cause, message = Cause.CONTAINER_CRASHED, f"{one.title} {again}{exit_text(ended)}{why}"
    return Problem(cause, one.pod, message, one.name, failures=one.restarts, since=time_in(ended, "finishedAt"))


# probes


def _killed_by_probe(one: Container, ended: Object, events: Sequence[Object]) -> tuple[Cause, str] | None:
    """Return the probe for whose failure the kubelet ended a run of a container."""
    killing = last_event(events, one, "Killing")
    at, started = event_time(killing), time_in(ended, "startedAt")
    if at is not None and started is not None and at < started:
        return None  # an earlier run
    for kind, cause in _PROBES:
        if f"failed {kind} probe" in str(killing.get("message")):
            return cause, f"the {kind} probe of {one.title} fails, so it is restarted{_probe_detail(one, kind, events)}"
    return None


def _not_ready_problem(one: Container, events: Sequence[Object]) -> Problem:
    started = time_in(one.state("running"), "startedAt")
    killed = _killed_by_probe(one, one.last, events) if one.restarts else None
    if killed is not None:
        return Problem(killed[0], one.pod, killed[1], one.name, failures=one.restarts, since=started)
    starting = bool(one.spec.get("startupProbe")) and one.status.get("started") is not True
    kind = "startup" if starting else "readiness"
    detail = _probe_detail(one, kind, events)
    if not detail:
        return Problem(Cause.CONTAINER_NOT_READY, one.pod, f"{one.title} runs, but is not ready", one.name, since=started)
    cause = Cause.STARTUP_PROBE_FAILED if kind == "startup" else Cause.READINESS_PROBE_FAILED
    message = f"the {kind} probe of {one.title} fails{detail}"
    # A startup probe may fail many times; only a restart for its failures counts.
    return Problem(cause, one.pod, message, one.name, failures=0, since=started)


def _probe_detail(one: Container, kind: str, events: Sequence[Object]) -> str:
    """Return the message of a failed probe, after a colon."""
    for event in reversed(events):
        message = str(event.get("message"))
        if event.get("reason") == "Unhealthy" and is_about(event, one) and message.lower().startswith(f"{kind} probe"):
            _, _, seen = message.partition(": ")
            return f": {short(seen or message)}"
    return ""
