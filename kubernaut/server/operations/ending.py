"""How an operation ended, as the answer to the request that asked for it: the same at once, on another server, and on a replay."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.errors import DeployFailed, KubernautError
from kubernaut.history.releases import ReleaseId
from kubernaut.redact import environment_secrets
from kubernaut.server import problems
from kubernaut.server.http.routing import Request, Response

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release
    from kubernaut.server.operations.following import Followed
    from kubernaut.server.service import Service


@dataclass(frozen=True)
class Ending:
    """How an operation ended.

    Attributes:
        operation: As it is kept.
        release: What is there afterwards; ``None`` where it failed.
        changed: Whether it changed anything.
        failure: Why it failed; ``None`` where all went well.
    """

    operation: Operation
    release: Release | None = None
    changed: bool = True
    failure: KubernautError | None = None

    @property
    def named(self) -> dict[str, str]:
        """The ids of the operation and of its release, or of the one that failed, if it came to that."""
        made = next((made.id for made in self.operation.made), getattr(self.failure, "release", None))
        release = self.release.id if self.release else made
        return {"operation": self.operation.id, **({"release": release} if release else {})}


def ending_of(followed: Followed, service: Service) -> Ending:
    """Return how an operation ended, which has: as whoever carried it out here says, else as it was written down.

    Raises:
        ReleaseNotFound: Its release is not kept any more.
    """
    operation = followed.operation
    result = followed.running.result if followed.running else None
    if isinstance(result, KubernautError):
        return Ending(operation, failure=result)
    if result is not None:
        return Ending(operation, result.release, changed=result.changed)
    if operation.state in ("succeeded", "unchanged"):
        return Ending(operation, _release(operation, service), changed=operation.state == "succeeded")
    return Ending(operation, failure=operation.failure)


def answer(ending: Ending, request: Request, service: Service, headers: dict[str, str]) -> Response:
    """Return the response: 201 with the release, 200 where there was nothing to do, or the failure's own problem."""
    release = ending.release
    if release is not None:
        own = {**headers, "Content-Location": f"/api/releases/{release.id}", "ETag": f'"{release.etag}"'}
        return Response(201 if ending.changed else 200, release, own, about=ending.named)
    failure = ending.failure or KubernautError(f"The {ending.operation.verb} ended well, and there is no release.")
    failure = _naming(failure, ending.named)
    secrets = environment_secrets(service.kubernaut.settings.environment)
    body = problems.problem(failure, instance=request.path, request_id=request.id, secrets=secrets)
    own = {**headers, **problems.headers_of(failure)}
    return Response(failure.http_status, body, own, problems.MEDIA_TYPE, ending.named)


def _naming(failure: KubernautError, named: dict[str, str]) -> KubernautError:
    """Return a copy of a failure, for several may wait for it, that names the operation and the release."""
    told = copy.copy(failure)
    told.members = {**failure.members, **named}
    if isinstance(told, DeployFailed):
        told.operation, told.release = named.get("operation"), named.get("release")
    return told


def _release(operation: Operation, service: Service) -> Release:
    """Return the release that an operation made; of one that changed nothing, the one that was current."""
    if operation.made:
        return service.index.release(ReleaseId.parse(operation.made[-1].id))
    return service.index.release(ReleaseId(operation.namespace, operation.name, operation.after))
