"""How an operation ended, as the answer to the request that asked for it: the same at once, on another server, and on a replay."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.errors import DeployFailed, KubernautError, OperationNotFound, from_problem
from kubernaut.history.release import ReleaseId
from kubernaut.redact import environment_secrets
from kubernaut.server import problems
from kubernaut.server.routing import Request, Response

if TYPE_CHECKING:
    from kubernaut.history.operation import Operation
    from kubernaut.history.release import Release
    from kubernaut.server.following import Followed
    from kubernaut.server.service import Service


@dataclass(frozen=True)
class Ending:
    """How an operation ended.

    Attributes:
        operation: As it is kept.
        release: What is there afterwards; where it failed, what failed, if it came to that.
        changed: Whether it changed anything.
        failure: Why it failed; ``None`` where all went well.
    """

    operation: Operation
    release: str | Release | None
    changed: bool = True
    failure: KubernautError | None = None


def ending_of(followed: Followed, service: Service) -> Ending:
    """Return how an operation ended, which has: as whoever carried it out here says, else as it was written down.

    Raises:
        ReleaseNotFound: Its release is not kept any more.
    """
    operation = followed.operation
    result = followed.running.result if followed.running else None
    if isinstance(result, KubernautError):
        return Ending(operation, _failed_release(operation), failure=result)
    if result is not None:
        return Ending(operation, result.release, changed=result.changed)
    if operation.state in ("succeeded", "unchanged"):
        return Ending(operation, _release(operation, service), changed=operation.state == "succeeded")
    return Ending(operation, _failed_release(operation), failure=failure_of(operation))


def failure_of(operation: Operation) -> KubernautError:
    """Return the failure that was written down of an operation."""
    outcome = operation.outcome
    if outcome is None:
        return KubernautError(f"What came of the {operation.verb} is not known: {operation.unread or 'nobody wrote it down'}.")
    return from_problem({"code": outcome.reason, "detail": outcome.message, "details": list(outcome.details)})


def answer(ending: Ending, request: Request, service: Service, headers: dict[str, str]) -> Response:
    """Return the response: 201 with the release, 200 where there was nothing to do, or the failure's own problem."""
    operation, release = ending.operation, ending.release
    about = {"operation": operation.id, "release": release if isinstance(release, str) else release.id if release else ""}
    about = {name: text for name, text in about.items() if text}
    if ending.failure is not None:
        failure = _about(ending.failure, about)
        secrets = environment_secrets(service.kubernaut.settings.environment)
        body = problems.problem(failure, instance=request.path, request_id=request.id, secrets=secrets)
        own = {**headers, **problems.headers_of(failure)}
        return Response(failure.http_status, body, own, problems.MEDIA_TYPE, about)
    if release is None or isinstance(release, str):
        raise OperationNotFound(f"What the operation {operation.id} made is not kept any more.")
    own = {**headers, "Content-Location": f"/api/releases/{release.id}", "ETag": f'"{release.etag}"'}
    return Response(201 if ending.changed else 200, release, own, about=about)


def _about(failure: KubernautError, named: dict[str, str]) -> KubernautError:
    """Return a copy of a failure, for several may wait for it, that names the operation and the release."""
    told = copy.copy(failure)
    told.members = {**failure.members, **named}
    if isinstance(told, DeployFailed):
        told.operation, told.release = named.get("operation"), named.get("release")
    return told


def _failed_release(operation: Operation) -> str | None:
    return operation.made[0].id if operation.made else None


def _release(operation: Operation, service: Service) -> Release:
    made = operation.made[-1].id if operation.made else None
    return service.index.release(ReleaseId.parse(made) if made else ReleaseId(operation.namespace, operation.name))
