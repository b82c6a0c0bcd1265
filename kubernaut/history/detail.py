"""One release in detail: manifest, values, report, and differences from another release. Secret values are masked.

They are masked on both sides of a difference too (:mod:`kubernaut.history.masking`), and changes of them still show: a value
becomes ``*** (changed)``, and a line of the manifest that looks like the one it replaces ends with ``# changed``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from kubernaut.errors import Conflict, ReleaseNotFound
from kubernaut.history.masking import MaskedObject, join_objects, mask_record, mask_values
from kubernaut.history.operations import Operation
from kubernaut.history.records import Record
from kubernaut.history.releases import Release, ReleaseChart, ReleaseId, ReleaseImage
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Model, Plan
from kubernaut.redact import MASK

CHANGED = f"{MASK} (changed)"
CHANGED_LINE = " # changed"

_DEEPEST = 100
_REVISION = re.compile(r"v?([0-9]{1,9})")
_WITHOUT_HASHES = {"fingerprint": None, "key": None}  # hashes of requests, from which passwords could be guessed
_NOTHING = "/dev/null"
_MOST_LINES = 3000
_NUMBERED = re.compile(rf"{re.escape(MASK)}\ue000[0-9]+\ue001")


class ReleaseReport(Model):
    """A release and the operation that made it, with its events; ``operation`` is ``None`` for a release of plain Helm."""

    release: Release
    operation: Operation | None = None


class ChartChange(Model):
    """A change of the chart or its version."""

    from_: ReleaseChart = Field(alias="from")
    to: ReleaseChart


class AppVersionChange(Model):
    """A change of the chart's appVersion."""

    from_: str | None = Field(alias="from")
    to: str | None


class ImagesChange(Model):
    """A change of the images."""

    from_: tuple[ReleaseImage, ...] = Field(alias="from")
    to: tuple[ReleaseImage, ...]


class ValueChange(Model):
    r"""A changed value and its path, such as ``image.tag``; a dot in a key is written ``\.``; a list is one value."""

    path: str
    change: Literal["added", "removed", "changed"]
    from_: Any = Field(default=None, alias="from")
    to: Any = None


class Difference(Model):
    """The differences between two releases; ``None`` or empty where they are equal.

    Attributes:
        from_: The ID of the first.
        to: The ID of the second.
        values: Of the values that override the chart's.
        manifest: A unified diff of the manifests, with one "file" per object.
    """

    from_: str = Field(alias="from")
    to: str
    chart: ChartChange | None = None
    app_version: AppVersionChange | None = None
    images: ImagesChange | None = None
    values: tuple[ValueChange, ...] = ()
    manifest: str = ""

    @property
    def empty(self) -> bool:
        """Whether the releases are equal."""
        return not (self.chart or self.app_version or self.images or self.values or self.manifest)


class Preview(Plan):
    """The plan of a dry run, with what it would change where that is compared; without it in the JSON otherwise."""

    difference: Difference | None = Field(default=None, exclude_if=lambda difference: difference is None)


def read_manifest(store: HistoryStore, wanted: ReleaseId) -> str:
    """Return the applied manifest of a release, hooks last. Raises: ReleaseNotFound, Conflict for a damaged record."""
    return join_objects(mask_record(_checked(store.record(wanted))))


def read_values(store: HistoryStore, wanted: ReleaseId, *, all: bool) -> dict[str, Any]:
    """Return a release's values, with ``all`` over the chart's defaults. Raises: ReleaseNotFound, Conflict for a damaged record."""
    record = _with_checked_values(_checked(store.record(wanted)))
    values: dict[str, Any] = mask_values(_coalesce(record.defaults, record.config) if all else record.config)
    return values


def read_report(store: HistoryStore, wanted: ReleaseId) -> ReleaseReport:
    """Return a release and its operation. Raises: ReleaseNotFound, Conflict for a damaged record."""
    history = store.get(wanted.namespace, wanted.name)
    release = describe_checked(history, history.record(wanted))
    operation = next((one for one in history.operations if one.id == release.operation), None)
    return ReleaseReport(release=release, operation=operation and operation.model_copy(update=_WITHOUT_HASHES))


def diff_releases(store: HistoryStore, wanted: ReleaseId, to: str | None) -> Difference:
    """Return the changes from a release to another, or without ``to`` from its predecessor to the release.

    Args:
        store: The history.
        wanted: The release.
        to: The other release: an ID, or a revision of the same name.

    Raises:
        ReleaseNotFound: One of the releases does not exist.
        Conflict: A record is damaged.
    """
    history = store.get(wanted.namespace, wanted.name)
    record = history.record(wanted)
    if to is None:
        return compare(_snapshot(history, _predecessor(history, record)), _snapshot(history, record))
    other = parse_other(wanted, to)
    same_name = (other.namespace, other.name) == (wanted.namespace, wanted.name)
    others = history if same_name else store.get(other.namespace, other.name)
    return compare(_snapshot(history, record), _snapshot(others, others.record(other)))


def parse_other(wanted: ReleaseId, to: str) -> ReleaseId:
    """Return the release to compare with: an ID, or a revision of the same name. Raises: NameInvalid."""
    revision = _REVISION.fullmatch(to)
    return ReleaseId(wanted.namespace, wanted.name, int(revision[1])) if revision else ReleaseId.parse(to)


def _predecessor(history: ReleaseHistory, record: Record) -> Record:
    found = next((one for one in history.records if one.revision < record.revision), None)
    if found is None:
        raise ReleaseNotFound(
            f"{record.id} has no predecessor to compare with.",
            hint="Name the other release with --to ID.",
            http_hint="Name the other release: `?to=ID`.",
        )
    return found


def _snapshot(history: ReleaseHistory, record: Record) -> Snapshot:
    return Snapshot(describe_checked(history, _with_checked_values(_checked(record))), record)


def describe_checked(history: ReleaseHistory, record: Record) -> Release:
    """Return a record as a release. Raises: Conflict (its content is not a release)."""
    try:
        return history.release(record)
    except (ValueError, TypeError, OverflowError) as error:
        raise _damaged(record, "its content is not a release") from error


def _checked(record: Record) -> Record:
    if record.damaged:
        raise _damaged(record, record.damaged)
    return record


def _with_checked_values(record: Record) -> Record:
    if _is_deep(record.config) or _is_deep(record.defaults):
        raise _damaged(record, "its values are nested too deeply")
    return record


def _damaged(record: Record, why: str) -> Conflict:
    return Conflict(f"The record of {record.id} is damaged: {why}.", hint="Its content is lost; other revisions are not affected.")


def _is_deep(values: Any) -> bool:
    """Return whether values are nested so deeply that recursion might fail."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [below for one in level for below in (one.values() if isinstance(one, Mapping) else one)]
        level = [below for below in level if isinstance(below, Mapping | list)]
    return bool(level)


def _coalesce(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return both as Helm merges them: maps are merged, ``null`` removes a default, anything else replaces it."""
    merged = dict(config)
    for key, default in defaults.items():
        if key not in config:
            merged[key] = default
        elif config[key] is None:
            del merged[key]
        elif isinstance(default, Mapping) and isinstance(config[key], Mapping):
            merged[key] = _coalesce(default, config[key])
    return merged


# differences; pure


class Snapshot(NamedTuple):
    """A release and its record."""

    release: Release
    record: Record


def compare(old: Snapshot, new: Snapshot) -> Difference:
    """Return the differences between two releases."""
    before, after = old.release, new.release
    apps = before.app_version, after.app_version
    unknown = before.unread or after.unread
    return Difference(
        from_=before.id,
        to=after.id,
        chart=None if before.chart == after.chart else ChartChange(from_=before.chart, to=after.chart),
        app_version=None if apps[0] == apps[1] else AppVersionChange(from_=apps[0], to=apps[1]),
        images=None if unknown or before.images == after.images else ImagesChange(from_=before.images, to=after.images),
        values=compare_values(old.record.config, new.record.config),
        manifest=_compare_manifests(old.record, new.record),
    )


def compare_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Return the changed values, ordered by path, with secret values masked."""
    before, after = dict(leaves(old)), dict(leaves(new))
    masked_before, masked_after = dict(leaves(mask_values(old))), dict(leaves(mask_values(new)))
    changes = []
    for path in sorted(before.keys() | after.keys()):
        if path in before and path in after:
            if _canonical(before[path]) == _canonical(after[path]):
                continue
            word, shown = "changed", masked_after[path]
            if _canonical(masked_before[path]) == _canonical(shown):
                shown = _marked(shown)
        else:
            word, shown = ("added" if path in after else "removed"), masked_after.get(path)
        changes.append(ValueChange(path=path, change=word, from_=masked_before.get(path), to=shown))
    return tuple(changes)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values that are not maps, and empty maps, each with its path."""
    for key, value in values.items():
        path = prefix + str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _marked(value: Any) -> Any:
    """Return a masked value, marked as different from another that looks the same."""
    if isinstance(value, str):
        return value.replace(MASK, CHANGED)
    if isinstance(value, Mapping):
        return {key: _marked(item) for key, item in value.items()}
    return [_marked(item) for item in value] if isinstance(value, list | tuple) else value


def _compare_manifests(old: Record, new: Record) -> str:
    numbers: dict[str, int] = {}

    def mark(text: str) -> str:  # equal for equal texts, so that lines with different secrets differ
        return f"{MASK}\ue000{numbers.setdefault(text, len(numbers))}\ue001"

    before, after = _by_title(mask_record(old, mark)), _by_title(mask_record(new, mark))
    lines = (
        line
        for title in dict.fromkeys((*before, *after))
        for line in _compare_objects(f"{old.id}/{title}", before.get(title), f"{new.id}/{title}", after.get(title))
    )
    return "".join(f"{line}\n" for line in lines)


def _by_title(objects: Iterable[MaskedObject]) -> dict[str, list[str]]:
    """Return each object's lines by its title; a repeated title is numbered."""
    found: dict[str, list[str]] = {}
    times: Counter[str] = Counter()
    for one in objects:
        times[one.title] += 1
        found[one.title if times[one.title] == 1 else f"{one.title} ({times[one.title]})"] = one.text.splitlines()
    return found


def _compare_objects(old: str, before: list[str] | None, new: str, after: list[str] | None) -> Iterator[str]:
    """Yield the unified diff of two objects."""
    if before == after:
        return
    names, (left, right) = (old if before else _NOTHING, new if after else _NOTHING), (before or [], after or [])
    if max(len(left), len(right)) > _MOST_LINES:
        yield from (f"--- {names[0]}", f"+++ {names[1]}", f"@@ -1,{len(left)} +1,{len(right)} @@ too long for a line-by-line diff")
        return
    yield from _without_numbers(difflib.unified_diff(left, right, *names, lineterm=""))


def _without_numbers(lines: Iterator[str]) -> Iterator[str]:
    """Remove the numbers, and mark added lines that then look like removed ones."""
    removed: dict[str, set[str]] = {}
    for line in lines:
        shown = _NUMBERED.sub(MASK, line)
        if line.startswith("@@"):
            removed.clear()
        elif line.startswith("-"):
            removed.setdefault(shown[1:], set()).add(line[1:])
        elif line.startswith("+") and shown[1:] in removed and line[1:] not in removed[shown[1:]]:
            shown += CHANGED_LINE
        yield shown
