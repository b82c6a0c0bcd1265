"""One release at length: its manifest, its values, how it came to be, and what differs between two. What is secret is masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kubernaut.errors import Conflict, ReleaseNotFound
from kubernaut.history.diff import Difference, Side, compare
from kubernaut.history.masking import joined, mask_record, mask_values
from kubernaut.history.operation import Operation
from kubernaut.history.record import Record
from kubernaut.history.release import Release, ReleaseId
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Model

_DEEPEST = 100
_REVISION = re.compile(r"v?([0-9]{1,9})")
# Of a request, which may hold passwords: whoever reads a report has no use for them, but to guess.
_HASHES = {"fingerprint": None, "key": None}


class Report(Model):
    """A release and the operation that made it, with what was said on the way; ``None`` for a release that plain Helm made."""

    release: Release
    operation: Operation | None = None


def manifest_of(history: HistoryStore, wanted: ReleaseId) -> str:
    """Return what was applied for a release, its hooks last. Raises: ReleaseNotFound, Conflict when its record is damaged."""
    return joined(mask_record(_readable(history.record(wanted))))


def values_of(history: HistoryStore, wanted: ReleaseId, *, all: bool) -> dict[str, Any]:
    """Return a release's values, with ``all`` over the chart's own. Raises: ReleaseNotFound, Conflict for a damaged one."""
    record = _with_values(_readable(history.record(wanted)))
    values: dict[str, Any] = mask_values(_coalesced(record.defaults, record.config) if all else record.config)
    return values


def difference_of(history: HistoryStore, wanted: ReleaseId, to: str | None) -> Difference:
    """Return what going from a release to another changes; without one, what it changed of the release before it.

    Args:
        history: The history.
        wanted: The release.
        to: The other one's id, or a revision of the same name.

    Raises:
        ReleaseNotFound: There is no such release, or none before it.
        Conflict: A record is damaged.
    """
    past = history.past(wanted.namespace, wanted.name)
    record = past.pick(wanted)
    if to is None:
        return compare(_side(past, _before(past, record)), _side(past, record))
    other = other_release(wanted, to)
    others = past if (other.namespace, other.name) == (wanted.namespace, wanted.name) else history.past(other.namespace, other.name)
    return compare(_side(past, record), _side(others, others.pick(other)))


def other_release(wanted: ReleaseId, to: str) -> ReleaseId:
    """Return which release is meant beside another: an id, or a revision of the same name. Raises: NameInvalid."""
    revision = _REVISION.fullmatch(to)
    return ReleaseId(wanted.namespace, wanted.name, int(revision[1])) if revision else ReleaseId.parse(to)


def report_of(history: HistoryStore, wanted: ReleaseId) -> Report:
    """Return a release and how it came to be. Raises: ReleaseNotFound, Conflict when its record is no release's."""
    past = history.past(wanted.namespace, wanted.name)
    release = _told(past, past.pick(wanted))
    operation = next((one for one in past.operations if one.id == release.operation), None)
    return Report(release=release, operation=operation and operation.model_copy(update=_HASHES))


def _before(past: ReleaseHistory, record: Record) -> Record:
    before = next((one for one in past.records if one.revision < record.revision), None)
    if before is None:
        raise ReleaseNotFound(
            f"There is no release before {record.id}.", hint="Name the release to compare it with: --to ID, or ?to=ID over HTTP."
        )
    return before


def _side(past: ReleaseHistory, record: Record) -> Side:
    return Side(_told(past, _with_values(_readable(record))), record)


def _told(past: ReleaseHistory, record: Record) -> Release:
    """Return what is told of a record; of one that can be decoded and still is no release's, that."""
    try:
        return past.tell(record)
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(record, "its content is no release's") from error


def _readable(record: Record) -> Record:
    if record.damaged:
        raise _damaged(record, record.damaged)
    return record


def _with_values(record: Record) -> Record:
    if _is_deep(record.config) or _is_deep(record.defaults):
        raise _damaged(record, "its values are nested too deeply")
    return record


def _is_deep(values: Any) -> bool:
    """Say whether values are nested so deeply that reading them might end in the midst."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [below for one in level for below in (one.values() if isinstance(one, Mapping) else one)]
        level = [below for below in level if isinstance(below, Mapping | list)]
    return bool(level)


def _damaged(record: Record, why: str) -> Conflict:
    return Conflict(f"The record of {record.id} is damaged: {why}.", hint="What it held is lost; the other revisions are whole.")


def _coalesced(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as Helm joins them: maps are joined, ``null`` takes a default away, everything else replaces it."""
    joined = dict(config)
    for key, default in defaults.items():
        if key not in config:
            joined[key] = default
        elif config[key] is None:
            del joined[key]
        elif isinstance(default, Mapping) and isinstance(config[key], Mapping):
            joined[key] = _coalesced(default, config[key])
    return joined
