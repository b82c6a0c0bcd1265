"""The memory of a rollout's judgement from one snapshot to the next: tries, pulls, readiness, what Helm applied. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kubernaut.rollout.containers import Container, containers
from kubernaut.rollout.objects import Expected, Object, created_at, spec_of, uid_of
from kubernaut.rollout.pods import pod_state
from kubernaut.rollout.problems import PULLS
from kubernaut.rollout.states import WorkloadState
from kubernaut.rollout.store import Snapshot

_QUANTITY = re.compile(r"(?P<number>[+-]?[0-9]{1,18}(\.[0-9]{1,18})?)(?P<suffix>[numkMGTPE]|[KMGTPE]i|)")
_SUFFIXES = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


# tries


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a container has been restarted, and how many pulls of its image have failed."""

    restarts: int = 0
    pulls: int = 0


def tries_of(snapshot: Snapshot) -> Mapping[tuple[str, str], Tries]:
    """Return the tries of each container, by its pod's UID and its name."""
    found: dict[tuple[str, str], Tries] = {}
    for pod in snapshot.of_kind("Pod"):
        problems = pod_state(pod, snapshot.events_about(pod)).problems
        pulls = {problem.container: problem.failures for problem in problems if problem.cause in PULLS}
        for one in containers(pod):
            found[uid_of(pod), one.name] = Tries(one.restarts, pulls.get(one.name, 0))
    return found


@dataclass(frozen=True, slots=True)
class Pulls:
    """The failed pulls of a container's image that were seen in its states, and whether the last state was a failed pull."""

    failures: int = 0
    is_failure: bool = False


def count_pulls(before: Mapping[tuple[str, str], Pulls], snapshot: Snapshot) -> Mapping[tuple[str, str], Pulls]:
    """Return the failed pulls of each container whose image cannot be pulled, counted without events.

    The kubelet sets ``ErrImagePull`` after each failed pull, and ``ImagePullBackOff`` until the next one has failed.
    """
    found: dict[tuple[str, str], Pulls] = {}
    for pod in snapshot.of_kind("Pod"):
        for one in containers(pod):
            known = before.get((uid_of(pod), one.name), Pulls())
            if known.failures or one.waiting_reason in ("ErrImagePull", "ImagePullBackOff"):
                found[uid_of(pod), one.name] = _next_pulls(known, one)
    return found


def _next_pulls(known: Pulls, one: Container) -> Pulls:
    is_failure = one.waiting_reason == "ErrImagePull"
    again = is_failure and not known.is_failure
    first = one.waiting_reason == "ImagePullBackOff" and not known.failures
    return Pulls(known.failures + (again or first), is_failure)


# readiness


def ready_since(before: Mapping[str, datetime], states: Iterable[WorkloadState], at: datetime) -> Mapping[str, datetime]:
    """Return since when each ready pod, by its run, and each ready workload, by UID, has been seen ready."""
    ready = {state.uid for state in states if state.exists and state.is_ready}
    ready |= {pod.run for state in states for pod in state.pods if pod.ready}
    return {uid: before.get(uid, at) for uid in ready}


# what Helm applied


def is_applied(one: Expected, live: Object, before: Object | None, began_at: datetime | None) -> bool:
    """Return whether an object is as the new revision has it: created since, changed since, or never different.

    Args:
        one: The object in the new revision's manifest.
        live: The object in the cluster.
        before: The object as it was when the rollout began.
        began_at: When the rollout began; ``None`` if its beginning was not seen.
    """
    created = created_at(live)
    if began_at is not None and before is None and created is not None and created >= began_at.replace(microsecond=0):
        return True
    if before is not None and uid_of(before) != uid_of(live):
        return True
    if one.hook:
        return False  # left behind by an earlier operation
    if before is not None and _without_replicas(before) != _without_replicas(live):
        return True
    return contains(spec_of(live), spec_of(one.object))


def _without_replicas(item: Object) -> Object:
    """Return an object's spec without the field that a HorizontalPodAutoscaler changes."""
    return {name: value for name, value in spec_of(item).items() if name != "replicas"}


def contains(live: object, wanted: object) -> bool:
    """Return whether a live object has all that a manifest states.

    The cluster adds its defaults, leaves out what is empty, and may write a quantity in another way.
    """
    if not wanted and live is None:
        return True
    if isinstance(wanted, Mapping):
        stated = ((name, value) for name, value in wanted.items() if value is not None)
        return isinstance(live, Mapping) and all(contains(live.get(name), value) for name, value in stated)
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(contains, live, wanted))
    return live == wanted or (_quantity(live) is not None and _quantity(live) == _quantity(wanted))


def _quantity(value: object) -> Decimal | None:
    """Return a number of a resource, such as ``0.5`` or ``500m``."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, int | float | str) else None
    if found is None:
        return None
    suffix = found["suffix"]
    amount = Decimal(found["number"])
    return amount * 1024 ** "KMGTPE".index(suffix[0]) * 1024 if suffix.endswith("i") else amount.scaleb(_SUFFIXES[suffix])
