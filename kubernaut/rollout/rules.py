"""When a rollout is given up, as the settings and the chart say. Pure."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta

from kubernaut.rollout.problems import CRASHES, Cause, Problem
from kubernaut.settings import SETTINGS, Settings

_AT_ONCE = frozenset({Cause.IMAGE_NAME_INVALID, Cause.JOB_FAILED, Cause.HOOK_FAILED})
_CONFIGURATION = frozenset({Cause.CONTAINER_CONFIG_INVALID, Cause.OBJECT_DELETED})
_PENDING = frozenset({Cause.POD_UNSCHEDULABLE, Cause.QUOTA_EXCEEDED, Cause.ADMISSION_DENIED, Cause.DEADLINE_EXCEEDED})


@dataclass(frozen=True)
class Rules:
    """How much a rollout may go wrong before it is given up, and when a ready pod is believed to stay ready.

    Each is a setting of the same name, and an annotation of the chart: ``kubernaut/crash-restarts``.

    Attributes:
        image_failures: Failed pulls of an image that is not found or denied.
        crash_restarts: Restarts of a container that crashes, runs out of memory or fails its liveness or startup probe.
        command_failures: Starts of a container whose command cannot be run.
        config_timeout: Seconds that a missing ConfigMap, Secret, key or deleted object may take to appear.
        pending_timeout: Seconds that pods may be unschedulable, over quota or not admitted, or a Deployment past its own deadline.
        endpoints_timeout: Seconds that a Service may have no endpoints although the pods are ready.
        settle_time: Seconds that a container which has restarted must stay ready.
        unprobed_time: Seconds that a container without a readiness probe must run.
    """

    image_failures: int = 2
    crash_restarts: int = 3
    command_failures: int = 2
    config_timeout: float = 20.0
    pending_timeout: float = 60.0
    endpoints_timeout: float = 20.0
    settle_time: float = 10.0
    unprobed_time: float = 5.0

    def failures(self, cause: Cause) -> int | None:
        """Return how many failures of a cause end the rollout; ``None`` for a cause that is not counted."""
        if cause in (Cause.IMAGE_NOT_FOUND, Cause.IMAGE_DENIED):
            return self.image_failures
        if cause in CRASHES:
            return self.crash_restarts
        return self.command_failures if cause is Cause.CONTAINER_COMMAND_INVALID else None

    def seconds(self, cause: Cause) -> float | None:
        """Return how many seconds a cause may last; ``None`` for as long as the deadline allows."""
        if cause in _AT_ONCE:
            return 0.0
        if cause in _CONFIGURATION:
            return self.config_timeout
        if cause in _PENDING:
            return self.pending_timeout
        return self.endpoints_timeout if cause is Cause.SERVICE_WITHOUT_ENDPOINTS else None

    def given_up(self, problem: Problem, lasted: timedelta | None) -> str | None:
        """Return the rule by which a problem is given up, for a person; ``None`` while it may pass.

        Args:
            problem: The problem.
            lasted: For how long it has been there; ``None`` if that does not count.
        """
        if problem.passing:
            return None
        if problem.fatal:
            return "at once"
        most = self.failures(problem.cause)
        if most is not None and problem.failures >= most:
            return f"after {most} {'restarts' if problem.cause in CRASHES else 'tries'}"
        seconds = self.seconds(problem.cause)
        if seconds is not None and lasted is not None and lasted >= timedelta(seconds=seconds):
            return f"after {seconds:g} s" if seconds else "at once"
        return None


def is_timed(cause: Cause) -> bool:
    """Return whether a cause ends a rollout because it lasts, so that it has to be true still at that moment."""
    return cause in _CONFIGURATION or cause in _PENDING or cause is Cause.SERVICE_WITHOUT_ENDPOINTS


_NAMES = frozenset(field.name for field in fields(Rules))
_ROWS = tuple(row for row in SETTINGS if row.name in _NAMES)


def rules_from(settings: Settings, annotations: Mapping[str, str]) -> tuple[Rules, list[str]]:
    """Return the rules in force, and a notice for each annotation that is ignored because its value is invalid.

    A setting that the user gave counts before the chart's annotation, and the annotation before the default.

    Args:
        settings: The settings in effect.
        annotations: The chart's annotations.
    """
    values = {row.name: getattr(settings, row.name) for row in _ROWS}
    notices: list[str] = []
    for row in _ROWS:
        annotation = annotation_of(row.name)
        if annotation not in annotations or settings.is_given(row.name):
            continue
        text = annotations[annotation]
        try:
            values[row.name] = row.parse(text)
        except ValueError as error:
            notices.append(f"The chart's annotation {annotation} is {reprlib.repr(text)} and is ignored; expected {error}.")
    return Rules(**values), notices


def annotation_of(name: str) -> str:
    """Return the chart's annotation for a rule."""
    return "kubernaut/" + name.replace("_", "-")
