"""The containers of a pod: their states, how they ended, and the events about them. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import Object, ObjectKey, key_of, mappings, number, spec_of, status_of

STARTING_REASONS = ("", "ContainerCreating", "PodInitializing")
_KILLED = {137: 9, 143: 15, 139: 11, 134: 6}
_SIGNALS = frozenset(signal.Signals)


@dataclass(frozen=True)
class Container:
    """A container of a pod: its spec and its status.

    Attributes:
        is_restarted: Whether its pod goes on, and starts containers again after any exit status.
    """

    pod: ObjectKey
    spec: Object
    status: Object
    init: bool
    is_restarted: bool = True

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
    def waiting_reason(self) -> str:
        """Why it waits; empty if it does not."""
        return str(self.state("waiting").get("reason") or "")

    @property
    def last(self) -> Object:
        """How the run before ended; empty before the first end."""
        return as_mapping(as_mapping(self.status.get("lastState")).get("terminated"))

    @property
    def restarts(self) -> int:
        """How often the container was restarted."""
        return number(self.status, "restartCount")

    @property
    def is_ready(self) -> bool:
        """Whether the kubelet calls it ready."""
        return self.status.get("ready") is True

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running."""
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def keeps_running(self) -> bool:
        """Whether it runs as long as its pod does."""
        return not self.init or self.is_sidecar

    @property
    def may_end(self) -> bool:
        """Whether its end with exit status 0 is a success; otherwise the kubelet starts it again and again."""
        return not self.is_sidecar and (self.init or not self.is_restarted)


def containers(pod: Object) -> Iterator[Container]:
    """Yield the containers of a pod, the init containers first."""
    status, spec = status_of(pod), spec_of(pod)
    restarted = spec.get("restartPolicy", "Always") == "Always" and status.get("phase") not in ("Succeeded", "Failed")
    for init, group, statuses in ((True, "initContainers", "initContainerStatuses"), (False, "containers", "containerStatuses")):
        known = {str(one.get("name")): one for one in mappings(status.get(statuses))}
        for one in mappings(spec.get(group)):
            yield Container(key_of(pod), one, known.get(str(one.get("name")), {}), init, restarted)


def last_event(events: Sequence[Object], one: Container, *reasons: str) -> Object:
    """Return the newest event about a container with one of these reasons; empty if there is none."""
    return next((event for event in reversed(events) if event.get("reason") in reasons and is_about(event, one)), {})


def is_about(event: Object, one: Container) -> bool:
    """Return whether an event is about a container; one without a field path is about any."""
    path = str(as_mapping(event.get("involvedObject")).get("fieldPath") or "")
    return not path or path.endswith("{" + one.name + "}")


def exit_text(ended: Object) -> str:
    """Return how a container ended, to follow its name: `` with exit status 1``."""
    if not ended:
        return ""
    code, reason = number(ended, "exitCode"), ended.get("reason")
    named = number(ended, "signal") or _KILLED.get(code, 0)
    if named:
        return f" by signal {named} ({signal.Signals(named).name})" if named in _SIGNALS else f" by signal {named}"
    return f" with exit status {code}" + (f" ({reason})" if reason and reason not in ("Error", "Completed") else "")
