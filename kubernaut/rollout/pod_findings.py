"""The meaning of a problem of a pod or of one of its containers, as a clause with its names and numbers. Pure.

:mod:`~kubernaut.rollout.pods` finds the problem; here it is read against the container's specification and the words of the kubelet
and the container runtime, so that the clause names the image, the missing key, the probe's address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernaut.history.records import as_mapping
from kubernaut.rollout.containers import Container, exit_text
from kubernaut.rollout.objects import Object, condition, mappings, spec_of, status_of
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.refusals import Finding, listed

_MISSING_OBJECT = re.compile(r'(?P<kind>configmap|secret) "(?P<name>[^"]+)" not found')
_MISSING_KEY = re.compile(r"couldn't find key (?P<key>\S+) in (?P<kind>ConfigMap|Secret) (?:[^/\s]+/)?(?P<name>[\w.-]+)")
_MISSING_FILE = re.compile(r"references non-existent (?:secret|config) key: (?P<key>\S+)")
_VOLUME = re.compile(r'for volume "(?P<one>[^"]+)"|unmounted volumes=\[(?P<several>[^\]]+)\]')
_EXEC = re.compile(r'exec:? "?(?P<file>[^":\s]+)"?: (?P<why>.*)', re.IGNORECASE)
_PULL_SECRETS = re.compile(r"image pull secrets \((?P<names>[^)]+)\)")
# What a registry's client wraps around the reason.
_REGISTRY_WRAPPING = re.compile(
    r'failed to do request: (?:Head|Get) "[^"]*": |failed to authorize: |failed to fetch (?:anonymous|oauth) token: '
    r"|unexpected status from \w+ request to \S+: |failed to copy: |httpReadSeeker: failed open: |reading manifest \S+ in \S+: "
    r"|initializing source \S+: |pinging container registry \S+: "
)
_STATUS = re.compile(r"HTTP probe failed with statuscode: (?P<status>\d+)")
_PROBE_WRAPPING = re.compile(r'(?:Get|Head) "[^"]*": |dial tcp \S+: (?:connect: )?|read tcp \S+: (?:read: )?')
_PROBE_TIMEOUT = re.compile(r"context deadline exceeded|i/o timeout|Client\.Timeout|timed? ?out", re.IGNORECASE)
_POD_AND_CONTAINER = re.compile(r" \(pod: .*?, container: [^)]*\)")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_TELLING = re.compile(
    r"error|exception|fatal|panic|cannot|can't|denied|refused|not found|no such|missing|invalid|failed", re.IGNORECASE
)
_FRAME = re.compile(r"^\s+at |^\s*File \"|^goroutine |^\s*\^")
_LONGEST_QUOTE = 160


@dataclass(frozen=True)
class Subject:
    """A container or pod with a problem, and what is known of it.

    Attributes:
        problem: The problem.
        pod: The pod.
        container: The container, if one has the problem.
        place: Where it is, to follow a noun: ``container app of Deployment web``.
        owner: The workload, or the pod if it has none: ``Deployment web``.
        events: The events about the pod, oldest first.
        log: The last lines of the container, oldest first.
    """

    problem: Problem
    pod: Object
    container: Container | None
    place: str
    owner: str
    events: Sequence[Object] = ()
    log: Sequence[str] = ()

    def newest_event(self, *reasons: str) -> str:
        """Return the message of the newest event with one of these reasons; empty if there is none."""
        found = (event for event in reversed(self.events) if event.get("reason") in reasons)
        return str(next(found, {}).get("message") or "")


def pod_finding(subject: Subject) -> Finding:
    """Return the meaning of a problem of a pod."""
    explained = _FINDERS.get(subject.problem.cause)
    found = explained(subject) if explained is not None else None
    return found or Finding(subject.problem.cause, short(subject.problem.message))


def last_words(lines: Sequence[str]) -> str:
    """Return the line of a log that says most: the last one about an error, else the last one; empty without a log."""
    useful = [line.strip() for line in lines if line.strip() and not _FRAME.search(line)][-50:]
    telling = [line for line in useful[-25:] if _TELLING.search(line)]
    line = (telling or useful or [""])[-1]
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


def short_image(text: str) -> str:
    """Return an image's name, or a text with one, with the first 12 digits of its digest."""
    return _DIGEST.sub(r"\1…", text)


def unwrapped(text: Any) -> str:
    """Return a message of the container runtime or of a registry's client without what is wrapped around its reason."""
    return short_image(_REGISTRY_WRAPPING.sub("", short(text)))


# images


def _image(subject: Subject) -> Finding | None:
    one, cause = subject.container, subject.problem.cause
    if one is None:
        return None
    image = str(one.spec.get("image") or one.status.get("image") or "")
    title = f"image {short_image(image)} of {subject.place}"
    facts = {"image": image}
    if cause is Cause.IMAGE_NAME_INVALID:
        why = short(one.state("waiting").get("message")).rpartition(f'"{image}": ')[2]
        why = f": {why}" if one.state("waiting").get("message") and "couldn't parse" not in why else ""
        return Finding(cause, f"{title} is not a valid image name{why}", facts)
    if one.state("waiting").get("reason") == "ErrImageNeverPull":
        return Finding(cause, f"{title} is not on the node, and imagePullPolicy is Never", {**facts, "pullPolicy": "Never"})
    if cause is Cause.IMAGE_NOT_FOUND:
        return Finding(cause, f"{title} does not exist in its registry", facts)
    why = _pull_reason(one, image, subject.events)
    if cause is Cause.IMAGE_PULL_FAILED:
        return Finding(cause, f"{title} cannot be pulled: {why}", {**facts, "reason": why})
    missing = _PULL_SECRETS.search(subject.newest_event("FailedToRetrieveImagePullSecret"))
    if missing is not None:
        names = [name.strip() for name in missing["names"].split(",")]
        does = "does not exist" if len(names) == 1 else "do not exist"
        secrets = f"pull secret{'s' if len(names) > 1 else ''} {listed(names)} {does}"
        return Finding(
            cause,
            f"the registry denies access to {title}: {secrets}",
            {**facts, "pullSecret": ", ".join(names), "missing": "Secret"},
        )
    named = [str(one.get("name")) for one in mappings(spec_of(subject.pod).get("imagePullSecrets"))]
    why = f"it does not accept pull secret {listed(named)}" if named else "the pod names no pull secret"
    return Finding(cause, f"the registry denies access to {title}: {why}", {**facts, "pullSecret": ", ".join(named)})


def _pull_reason(one: Container, image: str, events: Sequence[Object]) -> str:
    failed = (str(event.get("message")) for event in reversed(events) if event.get("reason") == "Failed")
    text = next((message for message in failed if "ailed to pull image" in message and image in message), "")
    return unwrapped(text or one.state("waiting").get("message")).removeprefix(f"{image}: ").removeprefix(f'"{image}": ')


# containers


def _crash(subject: Subject) -> Finding | None:
    one, cause = subject.container, subject.problem.cause
    if one is None:
        return None
    ended = one.state("terminated") or one.last
    code = ended.get("exitCode")
    facts = {"exitCode": "" if code is None else str(code), "restarts": str(one.restarts)}
    if cause is Cause.CONTAINER_OUT_OF_MEMORY:
        limit = str(as_mapping(as_mapping(one.spec.get("resources")).get("limits")).get("memory") or "")
        of = f" of {limit}" if limit else ""
        return Finding(cause, f"{subject.place} was killed for using more memory than its limit{of}", {**facts, "limit": limit})
    again = f" and was restarted {_times(one.restarts)}" if one.restarts else ""
    if code == 0:
        return Finding(cause, f"{subject.place} ended with exit status 0{again}, but must keep running", facts)
    words = last_words(subject.log)
    quote = f': "{words}"' if words else ""
    return Finding(cause, f"{subject.place} ended{exit_text(ended) or ' soon after its start'}{again}{quote}", facts)


def _command(subject: Subject) -> Finding | None:
    one, cause = subject.container, subject.problem.cause
    if one is None:
        return None
    ended = one.state("terminated") or one.last
    text = short(one.state("waiting").get("message") or ended.get("message") or subject.problem.message)
    found = _EXEC.search(text) or _EXEC.search(short(ended.get("message") or ""))
    if found is None:
        return Finding(cause, f"the command of {subject.place} cannot be run: {text}")
    file = found["file"]
    why = found["why"].removeprefix(f"stat {file}: ").removesuffix(": unknown")
    return Finding(cause, f"{subject.place} cannot run {file}: {why}", {"command": file})


def _configuration(subject: Subject) -> Finding | None:
    one = subject.container
    if one is None:  # a volume of a missing ConfigMap or Secret
        return _volume(subject)
    text = short(one.state("waiting").get("message") or subject.problem.message)
    missing = _missing(text)
    if missing is None:
        text = _POD_AND_CONTAINER.sub("", text)
        return Finding(subject.problem.cause, f"{subject.place} cannot start: {text}", {"reason": text})
    what, facts = missing
    return Finding(subject.problem.cause, f"{what}, and {subject.place} needs it", facts)


def _not_started(subject: Subject) -> Finding | None:
    one = subject.container
    if one is None:
        return None
    waiting = one.state("waiting")
    why = short(waiting.get("message") or waiting.get("reason") or subject.problem.message)
    return Finding(subject.problem.cause, f"{subject.place} cannot start: {why}", {"reason": str(waiting.get("reason") or "")})


def _not_ready(subject: Subject) -> Finding | None:
    one = subject.container
    if one is None:
        return None
    without = "" if one.spec.get("readinessProbe") or one.spec.get("startupProbe") else ", although it has no probe"
    return Finding(subject.problem.cause, f"{subject.place} runs, but is not ready{without}", {"restarts": str(one.restarts)})


def _missing(text: str) -> tuple[str, dict[str, str]] | None:
    key = _MISSING_KEY.search(text)
    if key is not None:
        facts = {"missing": key["kind"], "missingName": key["name"], "key": key["key"]}
        return f"key {key['key']} does not exist in {key['kind']} {key['name']}", facts
    found = _MISSING_OBJECT.search(text)
    if found is None:
        return None
    kind = "ConfigMap" if found["kind"] == "configmap" else "Secret"
    return f"{kind} {found['name']} does not exist", {"missing": kind, "missingName": found["name"]}


# probes


def _probe(subject: Subject) -> Finding | None:
    one, cause = subject.container, subject.problem.cause
    kind = cause.value.partition("_")[0]
    if one is None:
        return None
    spec = as_mapping(one.spec.get(f"{kind}Probe"))
    about, facts = _probe_target(spec)
    seen = _probe_answer(subject, kind, spec)
    title = f"the {kind} probe of {subject.place}" + (f" ({about})" if about else "")
    restarts = f", so it was restarted {_times(one.restarts)}" if kind != "readiness" and one.restarts else ""
    return Finding(
        cause, f"{title} fails{f': {seen}' if seen else ''}{restarts}", {**facts, "answer": seen, "restarts": str(one.restarts)}
    )


def _probe_target(spec: Object) -> tuple[str, dict[str, str]]:
    http, tcp, grpc = (as_mapping(spec.get(name)) for name in ("httpGet", "tcpSocket", "grpc"))
    if http:
        path, port = str(http.get("path") or "/"), str(http.get("port"))
        return f"GET {path}, port {port}", {"path": path, "port": port}
    for title, found in (("TCP", tcp), ("gRPC", grpc)):
        if found:
            return f"{title} port {found.get('port')}", {"port": str(found.get("port"))}
    command = as_mapping(spec.get("exec")).get("command")
    text = short(" ".join(map(str, command))) if isinstance(command, list) else ""
    return text[:80], {"command": text}


def _probe_answer(subject: Subject, kind: str, spec: Object) -> str:
    one = subject.container
    for event in reversed(subject.events):
        message = str(event.get("message") or "")
        path = str(as_mapping(event.get("involvedObject")).get("fieldPath") or "")
        about_other = one is not None and path and not path.endswith("{" + one.name + "}")
        if event.get("reason") != "Unhealthy" or about_other or not message.lower().startswith(f"{kind} probe"):
            continue
        seen = message.partition(": ")[2] or message
        status = _STATUS.search(seen)
        if status is not None:
            return f"it answers status {status['status']}"
        if _PROBE_TIMEOUT.search(seen):
            return f"no answer in {spec.get('timeoutSeconds') or 1} s"
        return short(_PROBE_WRAPPING.sub("", seen))
    return ""


# pods


def _unschedulable(subject: Subject) -> Finding | None:
    scheduled = condition(subject.pod, "PodScheduled")
    text = str(scheduled.get("message") or scheduled.get("reason") or "")
    text = short(text.partition(" preemption: ")[0]) if text else "the scheduler gives no reason"
    is_claim = subject.problem.cause is Cause.CLAIM_NOT_BOUND
    what = "the pods of {} need a claim that is not bound" if is_claim else "no node fits the pods of {}"
    return Finding(subject.problem.cause, f"{what.format(subject.owner)}: {text}", {"reason": text})


def _volume(subject: Subject) -> Finding | None:
    text = subject.newest_event("FailedMount", "FailedAttachVolume", "FailedMapVolume")
    # The message of the whole pod, "unmounted volumes=[…]: timed out", says less than that of one volume.
    about_one = (event for event in reversed(subject.events) if event.get("reason") in ("FailedMount", "FailedAttachVolume"))
    text = next((str(event.get("message")) for event in about_one if 'for volume "' in str(event.get("message"))), text)
    named = _VOLUME.search(text)
    volume = (named["one"] or named["several"] or "").replace(" ", ", ") if named else ""
    facts = {"volume": volume}
    title = f"volume {volume} of {subject.owner}" if volume else f"a volume of {subject.owner}"
    missing, file = _missing(text), _MISSING_FILE.search(text)
    if missing is not None:
        return Finding(Cause.CONTAINER_CONFIG_INVALID, f"{title} cannot be mounted: {missing[0]}", {**facts, **missing[1]})
    if file is not None:
        kind, name = _source(subject.pod, volume)
        where = f"{kind} {name}" if name else "its source"
        facts |= {"missing": kind, "missingName": name, "key": file["key"]}
        why = f"key {file['key']} does not exist in {where}"
        return Finding(Cause.CONTAINER_CONFIG_INVALID, f"{title} cannot be mounted: {why}", facts)
    why = short(text.partition(" : ")[2] or text.rpartition("]: ")[2] or subject.problem.message)
    return Finding(subject.problem.cause, f"{title} cannot be mounted: {why}", facts)


def _source(pod: Object, volume: str) -> tuple[str, str]:
    """Return the kind and name of the object that a volume shows."""
    found = next((one for one in mappings(spec_of(pod).get("volumes")) if one.get("name") == volume), {})
    config, secret = as_mapping(found.get("configMap")), as_mapping(found.get("secret"))
    return ("ConfigMap", str(config.get("name") or "")) if config else ("Secret", str(secret.get("secretName") or ""))


def _ended(subject: Subject) -> Finding | None:
    status = status_of(subject.pod)
    reason, message = str(status.get("reason") or ""), status.get("message")
    why = f": {short(message)}" if message else ""
    done = "evicted from its node" if reason == "Evicted" else f"ended ({reason})"
    return Finding(subject.problem.cause, f"a pod of {subject.owner} was {done}{why}", {"reason": reason})


def _no_sandbox(subject: Subject) -> Finding | None:
    text = subject.newest_event("FailedCreatePodSandBox", "NetworkNotReady")
    return Finding(subject.problem.cause, f"a pod of {subject.owner} cannot be started on its node: {short(text)}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


_FINDERS: Mapping[Cause, Callable[[Subject], Finding | None]] = {
    Cause.IMAGE_NOT_FOUND: _image,
    Cause.IMAGE_DENIED: _image,
    Cause.IMAGE_NAME_INVALID: _image,
    Cause.IMAGE_PULL_FAILED: _image,
    Cause.CONTAINER_CRASHED: _crash,
    Cause.CONTAINER_OUT_OF_MEMORY: _crash,
    Cause.CONTAINER_COMMAND_INVALID: _command,
    Cause.CONTAINER_CONFIG_INVALID: _configuration,
    Cause.CONTAINER_NOT_STARTED: _not_started,
    Cause.CONTAINER_NOT_READY: _not_ready,
    Cause.LIVENESS_PROBE_FAILED: _probe,
    Cause.STARTUP_PROBE_FAILED: _probe,
    Cause.READINESS_PROBE_FAILED: _probe,
    Cause.VOLUME_NOT_MOUNTED: _volume,
    Cause.POD_NOT_STARTED: _no_sandbox,
    Cause.POD_UNSCHEDULABLE: _unschedulable,
    Cause.CLAIM_NOT_BOUND: _unschedulable,
    Cause.POD_EVICTED: _ended,
    Cause.POD_FAILED: _ended,
}
