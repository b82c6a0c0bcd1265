"""A rollout as a sequence of snapshots, judged one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Snapshot, Store
from kubernaut.rollout.verdict import Verdict, Watched, begin, judge
from support.kube_objects import NAMESPACE, Json, manifest, moment


def snapshot_of(
    seconds: float,
    expected: Sequence[Any],
    *objects: Json,
    unreadable: Mapping[str, str] | None = None,
    removed: Sequence[Json] = (),
) -> Snapshot:
    """Return a snapshot with these objects, from which others were deleted."""
    store = Store(expected)
    for item in (*objects, *removed):
        store.apply("ADDED", item)
    for item in removed:
        store.apply("DELETED", item)
    for kind, why in (unreadable or {}).items():
        store.set_unreadable(kind, why)
    return store.snapshot(moment(seconds))


class Rollout:
    """A rollout of a release with these objects, which began at second 0.

    Args:
        wanted: The objects of the new revision, as the cluster has them or as the manifest does.
        hooks: The hooks' objects, with their annotations.
        before: The objects in the cluster before Helm started.
        rules: The rules.
        read_at: The second at which ``before`` was read; by default right before the record was created.
    """

    def __init__(
        self,
        *wanted: Json,
        hooks: Sequence[Json] = (),
        before: Sequence[Json] = (),
        rules: Rules | None = None,
        read_at: float | None = None,
    ) -> None:
        self.expected = expected_objects([manifest(item) for item in wanted], NAMESPACE, hooks)
        first = snapshot_of(read_at or 0, self.expected, *before)
        self.watched: Watched = begin(rules or Rules(), self.expected, first, None if read_at is None else moment(0))
        self.verdicts: list[Verdict] = []

    def see(
        self,
        seconds: float,
        *objects: Json,
        helm_done: bool = True,
        unreadable: Mapping[str, str] | None = None,
        disconnected: str = "",
        removed: Sequence[Json] = (),
    ) -> Verdict:
        """Return the verdict on what the cluster has at a time, and on what was deleted as it is last known."""
        found = snapshot_of(seconds, self.expected, *objects, unreadable=unreadable, removed=removed)
        found = replace(found, disconnected=disconnected)
        verdict, self.watched = judge(self.watched, self.expected, found, helm_done=helm_done)
        self.verdicts.append(verdict)
        return verdict

    @property
    def words(self) -> list[str]:
        """The verdicts so far."""
        return [verdict.judgement.value for verdict in self.verdicts]
