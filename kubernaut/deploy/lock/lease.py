"""The lock of a release as data: its state, its holder, the codec of its Lease, and what an observer makes of a Lease.

The Lease is ``kubernaut.NAME`` in the release's namespace. People and other tools can edit it, so reading never fails.
:mod:`kubernaut.deploy.lock.acquire` acquires, renews and releases it.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from kubernaut.adapters.process import is_process_gone, process_identity
from kubernaut.ci import CiBuild, build_annotations, build_from_annotations
from kubernaut.errors import ReleaseLocked
from kubernaut.history.operations import Operation
from kubernaut.history.records import KUBERNAUT_OWNER, as_mapping

LEASE_SECONDS = 30
"""How long a Lease is valid without a renewal."""

_LONGEST_TEXT = 2_048
_NOTES = ("actor", "host", "process", "verb", "operation")
"""The fields of a holder that the Lease keeps as annotations."""


@dataclass(frozen=True)
class LockTiming:
    """The durations of a lock, in seconds, and the clocks that measure them.

    Attributes:
        lease_seconds: How long the Lease is valid without a renewal.
        renew_seconds: The pause between two renewals.
        poll_seconds: The pause between two looks at a lock that is waited for.
        clock: The monotonic clock.
        wall: The wall clock, for the times that the Lease records.
        sleep: Waits for a number of seconds.
    """

    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = 5.0
    poll_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


class LockState(StrEnum):
    """The state of a lock: without a holder, with a live holder, or with a holder that is gone."""

    FREE = "free"
    LIVE = "live"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Holder:
    """The holder of a lock. A Lease that another tool wrote is only sure to have an identity.

    Attributes:
        identity: Unique to one operation: it contains the operation's ID.
        operation: The operation's ID.
        verb: The operation's verb.
        actor: The operation's actor.
        host: The name of the holder's machine.
        process: The identity of its process there, see :func:`kubernaut.adapters.process.process_identity`.
        build: The CI build that runs the operation.
        since: When the lock was acquired, by the holder's clock.
    """

    identity: str
    operation: str = ""
    verb: str = ""
    actor: str = ""
    host: str = ""
    process: str = ""
    build: CiBuild | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        """Return a description such as ``ada on ci-7 (deploy since 12:03:11 UTC, http://ci/7)``."""
        who = self.actor or f"the holder {self.identity!r}"
        since = f"since {self.since.astimezone(UTC):%H:%M:%S} UTC" if self.since else ""
        more = ", ".join(part for part in (f"{self.verb} {since}".strip(), self.build and self.build.label) if part)
        where = f" on {self.host}" if self.host and not who.endswith(f"@{self.host}") else ""
        return f"{who}{where}{f' ({more})' if more else ''}"

    @property
    def members(self) -> dict[str, Any]:
        """The fields that are known, as JSON; without the identity and the process."""
        known = {
            "verb": self.verb,
            "actor": self.actor,
            "host": self.host,
            "since": self.since and f"{self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "operation": self.operation,
            "build": self.build and self.build.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        return {key: value for key, value in known.items() if value}

    def held_for(self, wall_now: datetime) -> str:
        """Return how long it has held the lock, such as ``3 min``; empty where the clocks disagree."""
        seconds = (wall_now - self.since).total_seconds() if self.since else -1.0
        for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h"), (math.inf, 86_400, "days")):
            if 0 <= seconds < limit:
                return f"{int(seconds // size)} {unit}"
        return ""


@dataclass(frozen=True)
class Lock:
    """A release's lock as it was read; ``holder`` is its holder, live or gone."""

    state: LockState = LockState.FREE
    holder: Holder | None = None


def locked_error(namespace: str, name: str, holder: Holder | None, *, lasting: str = "", waited: float = 0.0) -> ReleaseLocked:
    """Return the error for a release that another operation holds.

    Args:
        namespace: The release's namespace.
        name: The release's name.
        holder: The other holder.
        lasting: How long it has held the lock, such as ``3 min``.
        waited: How many seconds were waited for it.
    """
    by = f"{holder or 'an unknown holder'}{f', for {lasting}' if lasting else ''}"
    return ReleaseLocked(
        f"The release {namespace}.{name} is locked by {by}.{f' Waited for {waited:.0f} s.' if waited > 0 else ''}",
        members={"holder": holder.members} if holder else None,
    )


def new_holder(
    operation: str, verb: str, actor: str, *, host: str, process: str, build: CiBuild | None = None, since: datetime | None = None
) -> Holder:
    """Return an operation as a holder."""
    where = actor if actor.endswith(f"@{host}") else f"{actor}@{host}"
    return Holder(_plain(f"{where}/{operation}"), operation, verb, actor, host, process, build, since)


def holder_for(operation: Operation) -> Holder:
    """Return an operation that this process executes as a holder."""
    return new_holder(
        operation.id,
        operation.verb,
        operation.actor or "",
        host=socket.gethostname(),
        process=process_identity(),
        build=operation.build,
        since=operation.started_at,
    )


def lease_name(name: str) -> str:
    """Return the name of the Lease that is a release's lock."""
    return f"kubernaut.{name}"


def lease_manifest(
    namespace: str,
    name: str,
    holder: Holder,
    *,
    seconds: float,
    acquired: datetime,
    renewed: datetime,
    transitions: int = 0,
    replaces: Lease | None = None,
) -> dict[str, Any]:
    """Return the Lease of a release's lock in the form of the Kubernetes API.

    It can replace only the Lease that was read, so it has that one's UID: a PUT of a deleted Lease creates it anew in spite of its
    ``resourceVersion``, but not with a UID.
    """
    notes = {key: getattr(holder, key) for key in _NOTES}
    version = dict(zip(("uid", "resourceVersion"), replaces.version, strict=True)) if replaces else {}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease_name(name),
            "namespace": namespace,
            **{key: text for key, text in version.items() if text},
            "labels": {"owner": KUBERNAUT_OWNER, "name": name},
            "annotations": {
                **{f"kubernaut/{key}": _plain(text) for key, text in notes.items() if text},
                **{key: _plain(text) for key, text in build_annotations(holder.build).items()},
            },
        },
        "spec": {
            "holderIdentity": _plain(holder.identity),
            "leaseDurationSeconds": max(math.ceil(seconds), 1),
            "acquireTime": _micro_time(acquired),
            "renewTime": _micro_time(renewed),
            "leaseTransitions": transitions,
        },
    }


def is_dead(holder: Holder) -> bool:
    """Return whether a holder is certainly gone: a process of this machine that has ended."""
    return bool(holder.process) and is_process_gone(holder.process)


@dataclass(frozen=True)
class Lease:
    """A Lease as it was read.

    Attributes:
        version: Its UID and resource version: they change with each write and when it is recreated.
        holder: ``None`` without one.
        seconds: How many seconds it is valid without a renewal; never more than :data:`LEASE_SECONDS`.
        transitions: How often its holder has changed.
        renewed: When it was last renewed, by the holder's clock.
    """

    version: tuple[str, str]
    holder: Holder | None
    seconds: int
    transitions: int
    renewed: datetime | None

    def is_held_by(self, holder: Holder) -> bool:
        """Return whether a holder holds it."""
        return self.holder is not None and self.holder.identity == _plain(holder.identity)

    def seems_fresh(self, wall_now: datetime) -> bool:
        """Return whether it was renewed in time by the wall clock; false for one from the future."""
        return self.renewed is not None and timedelta(0) <= wall_now - self.renewed <= timedelta(seconds=self.seconds)

    def seems_stale(self, wall_now: datetime) -> bool:
        """Return whether it was not renewed in time by the wall clock; one from the future is neither fresh nor stale."""
        return self.renewed is None or wall_now - self.renewed > timedelta(seconds=self.seconds)


def decode_lease(content: Mapping[str, Any]) -> Lease:
    """Return a Lease in the form of the Kubernetes API, without what is invalid."""
    metadata, spec = as_mapping(content.get("metadata")), as_mapping(content.get("spec"))
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return Lease(
        version=(str(metadata.get("uid") or ""), str(metadata.get("resourceVersion") or "")),
        holder=_decode_holder(as_mapping(metadata.get("annotations")), spec),
        seconds=seconds if type(seconds) is int and 1 <= seconds <= LEASE_SECONDS else LEASE_SECONDS,
        transitions=transitions if type(transitions) is int and 0 <= transitions < 2**31 - 1 else 0,
        renewed=_time(spec.get("renewTime")),
    )


def _decode_holder(annotations: Mapping[str, Any], spec: Mapping[str, Any]) -> Holder | None:
    identity = spec.get("holderIdentity")
    if not isinstance(identity, str) or not identity.strip():
        return None
    notes = {key: text for key in _NOTES if isinstance(text := annotations.get(f"kubernaut/{key}"), str)}
    return Holder(
        _plain(identity),
        **{key: _plain(text) for key, text in notes.items()},
        build=build_from_annotations(annotations),
        since=_time(spec.get("acquireTime")),
    )


class LeaseObserver:
    """Observes a Lease by the observer's own clock.

    Attributes:
        alive: Whether its holder is alive: the Lease looked fresh at first, or has changed since.
        unchanged: For how many seconds the Lease has been observed without a change.
    """

    def __init__(self, timing: LockTiming) -> None:
        self._timing = timing
        self._version: tuple[str, str] | None = None
        self._observed_at = 0.0
        self.alive = False
        self.unchanged = 0.0

    def observe(self, lease: Lease) -> None:
        """Compare the Lease with the one that was observed before."""
        now = self._timing.clock()
        if lease.version == self._version:
            # A gap without observations, or with an API server that did not answer the holder either, does not count against it.
            self.unchanged += min(now - self._observed_at, self._timing.renew_seconds)
        else:
            self.alive = self._version is not None or lease.seems_fresh(self._timing.wall())
            self.unchanged = 0.0
        self._version, self._observed_at = lease.version, now


def _micro_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _plain(text: str) -> str:
    """Return a text as one printable line, which the cluster returns unchanged."""
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_TEXT]
