"""What differs between two releases: the chart, the images, the values, the manifest. Pure.

What is secret is masked on both sides (:mod:`kubernaut.history.masking`), and a secret that differs still shows as a difference:
a value becomes ``*** (changed)``, and a line of the manifest that reads like one it replaces ends with ``# changed``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from kubernaut.history.masking import MaskedObject, mask_record, mask_values
from kubernaut.history.records import Record
from kubernaut.history.releases import Release, ReleaseChart, ReleaseImage
from kubernaut.models import Model
from kubernaut.redact import MASK

CHANGED = f"{MASK} (changed)"
CHANGED_LINE = " # changed"

_NOTHING = "/dev/null"
_MOST_LINES = 3000
_NUMBERED = re.compile(rf"{re.escape(MASK)}\ue000[0-9]+\ue001")


class ChartChange(Model):
    """Another chart, or another version of it."""

    from_: ReleaseChart = Field(alias="from")
    to: ReleaseChart


class AppVersionChange(Model):
    """Another version of the application, as the chart tells it."""

    from_: str | None = Field(alias="from")
    to: str | None


class ImagesChange(Model):
    """Other images."""

    from_: tuple[ReleaseImage, ...] = Field(alias="from")
    to: tuple[ReleaseImage, ...]


class ValueChange(Model):
    r"""A value that differs, by its path, such as ``image.tag``; a dot in a key is written ``\.``; a list is one value."""

    path: str
    change: Literal["added", "removed", "changed"]
    from_: Any = Field(default=None, alias="from")
    to: Any = None


class Difference(Model):
    """What differs between two releases; ``None`` and nothing where they are alike.

    Attributes:
        from_: The id of the one.
        to: The id of the other.
        values: The values that they were deployed with, over the chart's own.
        manifest: The difference between the manifests, as a unified diff with an object for a file.
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
        """Whether nothing differs."""
        return not (self.chart or self.app_version or self.images or self.values or self.manifest)


@dataclass(frozen=True)
class Snapshot:
    """A release and its record."""

    release: Release
    record: Record


def compare(old: Snapshot, new: Snapshot) -> Difference:
    """Return what differs between two releases."""
    before, after = old.release, new.release
    return Difference(
        from_=before.id,
        to=after.id,
        chart=ChartChange(from_=before.chart, to=after.chart) if before.chart != after.chart else None,
        app_version=(
            AppVersionChange(from_=before.app_version, to=after.app_version) if before.app_version != after.app_version else None
        ),
        images=ImagesChange(from_=before.images, to=after.images) if before.images != after.images else None,
        values=compare_values(old.record.config, new.record.config),
        manifest=_compare_manifests(old.record, new.record),
    )


def compare_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Return the values that differ, in the order of their paths, secrets masked."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    shown_before, shown_after = dict(_leaves(mask_values(old))), dict(_leaves(mask_values(new)))
    changes = []
    for path in sorted(before.keys() | after.keys()):
        if path in before and path in after:
            if _canonical(before[path]) == _canonical(after[path]):
                continue
            word, shown = "changed", shown_after[path]
            if _canonical(shown_before[path]) == _canonical(shown):
                shown = _marked(shown)
        else:
            word, shown = ("added" if path in after else "removed"), shown_after.get(path)
        changes.append(ValueChange(path=path, change=word, from_=shown_before.get(path), to=shown))
    return tuple(changes)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = prefix + str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _marked(value: Any) -> Any:
    """Return a masked value that differs from another which reads the same, so that it does not."""
    if isinstance(value, str):
        return value.replace(MASK, CHANGED)
    if isinstance(value, Mapping):
        return {key: _marked(item) for key, item in value.items()}
    return [_marked(item) for item in value] if isinstance(value, list | tuple) else value


class _Numbers:
    """Marks hidden texts with a number, the same for the same text, so that lines differ where what is hidden does."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __call__(self, hidden: str) -> str:
        return f"{MASK}\ue000{self._known.setdefault(hidden, len(self._known))}\ue001"


def _compare_manifests(old: Record, new: Record) -> str:
    numbers = _Numbers()
    before, after = _by_title(mask_record(old, numbers)), _by_title(mask_record(new, numbers))
    lines = (
        line
        for title in dict.fromkeys((*before, *after))
        for line in _compare_objects(f"{old.id}/{title}", before.get(title), f"{new.id}/{title}", after.get(title))
    )
    return "".join(f"{line}\n" for line in lines)


def _by_title(objects: Iterable[MaskedObject]) -> dict[str, list[str]]:
    """Return each object's lines; of those that are called the same, the later ones are numbered."""
    found: dict[str, list[str]] = {}
    times: Counter[str] = Counter()
    for one in objects:
        times[one.title] += 1
        found[one.title if times[one.title] == 1 else f"{one.title} ({times[one.title]})"] = one.text.splitlines()
    return found


def _compare_objects(old: str, before: list[str] | None, new: str, after: list[str] | None) -> Iterator[str]:
    """Yield the difference between two objects, as between two files."""
    if before == after:
        return
    names, (left, right) = (old if before else _NOTHING, new if after else _NOTHING), (before or [], after or [])
    if max(len(left), len(right)) > _MOST_LINES:
        yield from (f"--- {names[0]}", f"+++ {names[1]}", f"@@ -1,{len(left)} +1,{len(right)} @@ too long to be told line by line")
        return
    yield from _shown(difflib.unified_diff(left, right, *names, lineterm=""))


def _shown(lines: Iterator[str]) -> Iterator[str]:
    """Take the numbers out, and mark the added lines that then read like removed ones."""
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
