"""The lock of a release, as data: who holds it, and the codec of the Lease that keeps it. Pure.

The Lease is ``kubernaut.NAME`` in the release's namespace, and everybody may edit it by hand: whatever stands in it is read without
a failure. Who takes, renews and releases it is :mod:`kubernaut.deploy.lock`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from kubernaut.ci import CiBuild, annotated_build, build_annotations
from kubernaut.errors import ReleaseLocked
from kubernaut.history.records import KUBERNAUT_OWNER

LEASE_SECONDS = 30
"""How long a lease holds that is not renewed."""

_LONGEST_TEXT = 2_048


class LockState(StrEnum):
    """What is known of a lock: nobody holds it, somebody does, or somebody did who has not come back."""

    FREE = "free"
    LIVE = "live"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. Of a Lease that another tool or a hand wrote, only the identity is sure to be there.

    Attributes:
        identity: Names this one attempt and no other: the operation's id is in it.
        operation: The operation's id.
        verb: What is being done.
        actor: Who does it.
        host: On which machine.
        process: Which process there, as :func:`kubernaut.adapters.process.process_identity` has it.
        build: The CI build that does it.
        since: When the lock was taken, by the holder's clock.
    """

    identity: str
    operation: str = ""
    verb: str = ""
    actor: str = ""
    host: str = ""
    process: str = ""
    build: CiBuild | None = None
    since: datetime | None = None

    @property
    def words(self) -> str:
        """Say who it is: ``ada on ci-7 (deploy since 12:03:11 UTC, http://ci/7)``."""
        who = self.actor or f"the holder {self.identity!r}"
        since = f"since {self.since.astimezone(UTC):%H:%M:%S} UTC" if self.since else ""
        more = ", ".join(part for part in (f"{self.verb} {since}".strip(), self.build and self.build.words) if part)
        where = f" on {self.host}" if self.host and not who.endswith(f"@{self.host}") else ""
        return f"{who}{where}{f' ({more})' if more else ''}"

    @property
    def members(self) -> dict[str, Any]:
        """What is known of it, as JSON."""
        known = {
            "verb": self.verb,
            "actor": self.actor,
            "host": self.host,
            "since": self.since and f"{self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "operation": self.operation,
            "build": self.build and self.build.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        return {key: value for key, value in known.items() if value}

    def duration(self, wall_now: datetime) -> str:
        """Say how long it has held the lock, such as ``3 min``; nothing where the clocks do not say."""
        seconds = (wall_now - self.since).total_seconds() if self.since else -1.0
        for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h"), (math.inf, 86_400, "days")):
            if 0 <= seconds < limit:
                return f"{int(seconds // size)} {unit}"
        return ""


@dataclass(frozen=True)
class Lock:
    """What is known of a release's lock; ``holder`` is who holds or held it."""

    state: LockState = LockState.FREE
    holder: Holder | None = None


def locked(namespace: str, name: str, holder: Holder | None, *, lasting: str = "", waited: float = 0.0) -> ReleaseLocked:
    """Return the refusal of a release that somebody holds: who, since when, and what can be done.

    Args:
        namespace: The release's namespace.
        name: Its name.
        holder: Who holds it.
        lasting: For how long, in words.
        waited: How many seconds were waited for it.
    """
    who = f"{holder.words if holder else 'somebody'}{f', for {lasting}' if lasting else ''}"
    return ReleaseLocked(
        f"The release {namespace}.{name} is locked by {who}.{f' Waited {waited:.0f} s for it.' if waited > 0 else ''}",
        hint=f"`--lock-timeout 5m` waits in line; `kubernaut unlock {name} -n {namespace}` is for a holder that is known to be "
        "dead.",
        members={"holder": holder.members} if holder else None,
    )


def new_holder(
    operation: str, verb: str, actor: str, *, host: str, process: str, build: CiBuild | None = None, since: datetime | None = None
) -> Holder:
    """Return the holder that an operation is."""
    where = actor if actor.endswith(f"@{host}") else f"{actor}@{host}"
    return Holder(_plain(f"{where}/{operation}"), operation, verb, actor, host, process, build, since)


def lease_name(name: str) -> str:
    """Return the name of the Lease that is a release's lock."""
    return f"kubernaut.{name}"


def lease(
    namespace: str, name: str, holder: Holder, *, seconds: float, acquired: datetime, renewed: datetime, transitions: int
) -> dict[str, Any]:
    """Return the Lease of a release's lock, as the API has it."""
    notes = {
        "actor": holder.actor,
        "host": holder.host,
        "process": holder.process,
        "verb": holder.verb,
        "operation": holder.operation,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease_name(name),
            "namespace": namespace,
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


def in_place_of(old: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return a Lease that replaces the very one that was read.

    With its uid: a PUT of a Lease that is gone creates it anew, whatever its ``resourceVersion``; it does not for another uid.
    """
    metadata = _mapping(old.get("metadata"))
    version = {key: metadata[key] for key in ("resourceVersion", "uid") if key in metadata}
    return {**new, "metadata": {**new["metadata"], **version}}


def version_of(lease: Mapping[str, Any]) -> tuple[str, str]:
    """Return what changes with each write of a Lease, and when it is made anew."""
    metadata = _mapping(lease.get("metadata"))
    return str(metadata.get("uid")), str(metadata.get("resourceVersion"))


def holder_of(lease: Mapping[str, Any]) -> Holder | None:
    """Return who holds a Lease, or ``None`` for nobody."""
    spec, metadata = _mapping(lease.get("spec")), _mapping(lease.get("metadata"))
    identity = spec.get("holderIdentity")
    if not isinstance(identity, str) or not identity.strip():
        return None
    annotations = _mapping(metadata.get("annotations"))

    def note(key: str) -> str:
        text = annotations.get(f"kubernaut/{key}")
        return _plain(text) if isinstance(text, str) else ""

    return Holder(
        identity=_plain(identity),
        operation=note("operation"),
        verb=note("verb"),
        actor=note("actor"),
        host=note("host"),
        process=note("process"),
        build=annotated_build(annotations),
        since=_time(spec.get("acquireTime")),
    )


def is_held_by(lease: Mapping[str, Any], holder: Holder) -> bool:
    """Say whether it is this attempt that holds a Lease."""
    found = holder_of(lease)
    return found is not None and found.identity == _plain(holder.identity)


def seconds_of(lease: Mapping[str, Any]) -> int:
    """Return how long a Lease holds without being renewed; never longer than ours, whatever stands in it."""
    seconds = _mapping(lease.get("spec")).get("leaseDurationSeconds")
    return seconds if type(seconds) is int and 1 <= seconds <= LEASE_SECONDS else LEASE_SECONDS


def transitions_of(lease: Mapping[str, Any]) -> int:
    """Return how often a Lease has changed hands."""
    transitions = _mapping(lease.get("spec")).get("leaseTransitions")
    return transitions if type(transitions) is int and 0 <= transitions < 2**31 - 1 else 0


def seems_fresh(lease: Mapping[str, Any], wall_now: datetime) -> bool:
    """Say whether a Lease was renewed just now, if its holder's clock and this one agree."""
    renewed = _time(_mapping(lease.get("spec")).get("renewTime"))
    return renewed is not None and timedelta(0) <= wall_now - renewed <= timedelta(seconds=seconds_of(lease))


def seems_stale(lease: Mapping[str, Any], wall_now: datetime) -> bool:
    """Say whether a Lease was not renewed in time, if the clocks agree; one from the future is neither fresh nor stale."""
    renewed = _time(_mapping(lease.get("spec")).get("renewTime"))
    return renewed is None or wall_now - renewed > timedelta(seconds=seconds_of(lease))


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _micro_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _plain(text: str) -> str:
    """Return a text as it comes back from the cluster unchanged, and as it may be shown: one printable line."""
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_TEXT]
