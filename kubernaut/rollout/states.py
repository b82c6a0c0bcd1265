"""The state of one object of a release. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kubernaut.rollout.objects import ObjectKey
from kubernaut.rollout.pods import PodState
from kubernaut.rollout.problems import Problem


class Phase(StrEnum):
    """The phase of an object: on its way, ready, suspended on purpose, or not judged."""

    PROGRESSING = "progressing"
    READY = "ready"
    SUSPENDED = "suspended"
    NOT_JUDGED = "not_judged"


@dataclass(frozen=True)
class WorkloadState:
    """The state of an object of a release.

    Attributes:
        key: The object.
        phase: Its phase.
        summary: Its numbers, for a person: ``2 of 3 ready``.
        desired: How many pods it wants; 0 where it has none.
        ready: How many of its pods, of its newest revision, are ready.
        pods: Its pods of the newest revision.
        problems: Its problems and those of its pods, the most important first.
        exists: Whether the object is in the cluster.
        generation: Its generation, which counts the changes of its specification.
        hook: The Helm hook events that create it, if any.
        uid: Its UID.
        min_ready: Seconds that its pods must be ready before they count as available.
        by_numbers: Whether its controller's numbers had to do, because not all of its pods are known.
    """

    key: ObjectKey
    phase: Phase
    summary: str
    desired: int = 0
    ready: int = 0
    pods: tuple[PodState, ...] = ()
    problems: tuple[Problem, ...] = ()
    exists: bool = True
    generation: int = 0
    hook: tuple[str, ...] = ()
    uid: str = ""
    min_ready: int = 0
    by_numbers: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether nothing has to be waited for."""
        return self.phase is not Phase.PROGRESSING
