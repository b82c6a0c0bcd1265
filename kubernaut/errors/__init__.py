"""The one error tree.

Every failure that kubernaut foresees is a :class:`KubernautError`; each class carries a stable ``code``, an exit status for the
command line, an HTTP status for the REST door and a hint that says what to do next. Nothing here knows a client or a door::

    KubernautError          1 · 500   a defect
    ├── Usage               2 · 400   the command line
    ├── BadInput            3 · 422   the user's files, names or arguments
    ├── NotFound            4 · 404
    ├── Conflict            5 · 409   taken, locked, or changed meanwhile
    ├── DeployFailed        6/7 · 422 the cluster did not accept or did not run it
    ├── BuildUnsuccessful   10 · 422  a build of a CI server ended without success
    ├── Unreachable         8 · 503   a part that kubernaut talks to does not answer
    ├── Forbidden           9 · 403   a part answers, and refuses
    └── Interrupted         130 · 499 a signal stopped the work
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.errors.base import (
    BadInput,
    Conflict,
    DeployFailed,
    Forbidden,
    Interrupted,
    KubernautError,
    NotFound,
    Unreachable,
    Usage,
    error_classes,
)
from kubernaut.errors.domain import (
    ApplicationInvalid,
    BuildAborted,
    BuildFailed,
    BuildUnsuccessful,
    ChartInvalid,
    ClusterDenied,
    ClusterUnreachable,
    DeadlineExceeded,
    DeployKept,
    DeployRolledBack,
    DockerfileInvalid,
    DriverUnsupported,
    EngineUnreachable,
    EnvironmentNotFound,
    GitFailed,
    HelmFailed,
    ImageNotFound,
    ImageNotPinned,
    JenkinsDenied,
    JenkinsUnreachable,
    JobConflict,
    JobInvalid,
    JobNotFound,
    LockLost,
    NameInvalid,
    NamespaceNotFound,
    NotRoot,
    PlatformFailed,
    PortTaken,
    RegistryDenied,
    RegistryUnreachable,
    ReleaseLocked,
    ReleaseNotCurrent,
    ReleaseNotFound,
    SettingInvalid,
    ShallowClone,
    SourceUnreadable,
    ToolMissing,
    ValuesInvalid,
    VersionConflict,
    VersionInvalid,
    VersionNotFound,
)
from kubernaut.errors.http import (
    ChartRefused,
    HostRefused,
    IdempotencyKeyReused,
    IndexStale,
    MediaTypeUnsupported,
    MethodNotAllowed,
    NotAllowed,
    OperationNotFound,
    ReleaseChanged,
    RequestInvalid,
    RequestMalformed,
    RequestTimeout,
    RequestTooLarge,
    RouteNotFound,
    ServerBusy,
    ServerStopping,
    Unauthorized,
)

__all__ = [
    "ApplicationInvalid",
    "BadInput",
    "BuildAborted",
    "BuildFailed",
    "BuildUnsuccessful",
    "ChartInvalid",
    "ChartRefused",
    "ClusterDenied",
    "ClusterUnreachable",
    "Conflict",
    "DeadlineExceeded",
    "DeployFailed",
    "DeployKept",
    "DeployRolledBack",
    "DockerfileInvalid",
    "DriverUnsupported",
    "EngineUnreachable",
    "EnvironmentNotFound",
    "Forbidden",
    "GitFailed",
    "HelmFailed",
    "HostRefused",
    "IdempotencyKeyReused",
    "ImageNotFound",
    "ImageNotPinned",
    "IndexStale",
    "Interrupted",
    "JenkinsDenied",
    "JenkinsUnreachable",
    "JobConflict",
    "JobInvalid",
    "JobNotFound",
    "KubernautError",
    "LockLost",
    "MediaTypeUnsupported",
    "MethodNotAllowed",
    "NameInvalid",
    "NamespaceNotFound",
    "NotAllowed",
    "NotFound",
    "NotRoot",
    "OperationNotFound",
    "PlatformFailed",
    "PortTaken",
    "RegistryDenied",
    "RegistryUnreachable",
    "ReleaseChanged",
    "ReleaseLocked",
    "ReleaseNotCurrent",
    "ReleaseNotFound",
    "RequestInvalid",
    "RequestMalformed",
    "RequestTimeout",
    "RequestTooLarge",
    "RouteNotFound",
    "ServerBusy",
    "ServerStopping",
    "SettingInvalid",
    "ShallowClone",
    "SourceUnreadable",
    "ToolMissing",
    "Unauthorized",
    "Unreachable",
    "Usage",
    "ValuesInvalid",
    "VersionConflict",
    "VersionInvalid",
    "VersionNotFound",
    "error_classes",
    "from_problem",
]


def from_problem(problem: Mapping[str, Any]) -> KubernautError:
    """Return the failure that an RFC 9457 problem tells of; of one with an unknown code, as much as its status tells."""
    found = _by_code(str(problem.get("code"))) or _by_status(problem.get("status"))
    details = problem.get("details")
    known = {"type", "title", "status", "detail", "code", "hint", "details", "instance"}
    failure = found(
        str(problem.get("detail") or problem.get("title") or "It failed, and did not say why."),
        hint=str(problem["hint"]) if problem.get("hint") else None,
        details=[str(line) for line in details] if isinstance(details, list) else (),
        members={key: value for key, value in problem.items() if key not in known},
    )
    if isinstance(failure, DeployFailed):
        failure.release, failure.operation = failure.members.pop("release", None), failure.members.pop("operation", None)
    return failure


def _by_code(code: str) -> type[KubernautError] | None:
    found = [kind for kind in error_classes() if kind.code == code]
    return found[-1] if found else None  # a code that two share is that of the more special one


def _by_status(status: Any) -> type[KubernautError]:
    branches = (BadInput, Usage, NotFound, Conflict, Unreachable, Forbidden)
    return next((branch for branch in branches if branch.http_status == status), KubernautError)
