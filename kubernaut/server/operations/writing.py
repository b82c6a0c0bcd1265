"""The one contract of all writes: who may, whether it can be begun, accepted once, carried out beside the request, and answered.

What can be known before is checked before: nothing is accepted that cannot be begun. What is accepted stands in the cluster, so
that neither a lost answer nor a lost server loses it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kubernaut.ci import HEADER, HEADER_PATTERN, CiBuild, told_build
from kubernaut.errors import KubernautError, ReleaseChanged, ReleaseLocked, ReleaseNotFound, RequestInvalid, ServerBusy, Unreachable
from kubernaut.events import Listener, Stopped
from kubernaut.history.releases import ReleaseId
from kubernaut.interface import Deployed, OperationOptions
from kubernaut.server.auth.caller import Role
from kubernaut.server.auth.scope import require
from kubernaut.server.http.routing import Request, Response
from kubernaut.server.operations.ending import answer, ending_of
from kubernaut.server.operations.following import Followed
from kubernaut.server.operations.idempotency import fingerprint_of, idempotency_key
from kubernaut.server.operations.prefer import preferences

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.operations import Operation
    from kubernaut.server.operations.workers import Work, WorkerSlot
    from kubernaut.server.service import Service

_log = logging.getLogger(__name__)

_ETAG = re.compile(r'(W/)?"([^"]*)"')


class Handler(Protocol):
    """Carries a verb out."""

    def __call__(self, kubernaut: Kubernaut, options: OperationOptions) -> Deployed:
        """Do it, or on a dry run say what would be done."""


@dataclass(frozen=True)
class Write:
    """A write that is asked for.

    Attributes:
        about: The release that is named, which ``If-Match`` speaks of.
        decide: Returns the verb, and what carries it out; it may look at what is there.
        note: A person's words on it.
        timeout: Seconds that it may take.
        lock_timeout: Seconds to wait for its turn.
        create_namespace: Make the namespace when it does not exist.
        dry_run: Only say what would be done.
    """

    about: ReleaseId
    decide: Callable[[Kubernaut], tuple[str, Handler]]
    note: str | None = None
    timeout: float | None = None
    lock_timeout: float | None = None
    create_namespace: bool = False
    dry_run: bool = False

    @property
    def options(self) -> OperationOptions:
        """What all verbs take alike."""
        return {"note": self.note, "timeout": self.timeout, "lock_timeout": self.lock_timeout}


def carry_out(write: Write, request: Request, service: Service) -> Response:
    """Check a write, accept it, have it carried out, and answer as the client prefers.

    Raises:
        NotAllowed: The caller may not, or the server does not serve the namespace.
        IdempotencyKeyReused: The request's key belongs to another request.
        ServerBusy: Nobody is free to carry it out.
        KubernautError: It cannot be begun; nothing was accepted.
    """
    require(write.about.namespace, request.caller, service.namespaces, Role.DEPLOY)
    asked = _Asked(write, request, service)
    if write.dry_run:
        plan = asked.decided().dry_run(asked).plan
        return Response(body=plan, about={"release": str(write.about)})
    before = asked.before()
    if before is not None:
        return _answered(before, asked, replayed=True)
    try:
        with service.workers.slot() as slot:
            operation, new = asked.begun(slot)
    except Unreachable:
        raise
    except KubernautError:  # perhaps because the same request came twice at once, and the other one was faster
        before = asked.before()
        if before is None:
            raise
        operation, new = before, False
    return _answered(operation, asked, replayed=not new)


class _Asked:
    """A write that somebody asks for, and what is needed to carry it out in his name."""

    def __init__(self, write: Write, request: Request, service: Service) -> None:
        self.write, self.request, self.service = write, request, service
        self.build = _told_build(request.headers.get(HEADER.lower()))
        self.kubernaut = service.kubernaut.acting(request.caller.name, build=self.build)
        self._key = idempotency_key(request.headers.get("idempotency-key"))
        self._fingerprint = fingerprint_of(request)

    def before(self) -> Operation | None:
        """Return the operation that was accepted with the same key. Raises: IdempotencyKeyReused."""
        if self._key is None:
            return None
        return self.kubernaut.accepted(self._key, namespace=self.write.about.namespace, fingerprint=self._fingerprint)

    def decided(self) -> _Decided:
        """Decide what is to be done, by what is there now. Raises: ReleaseChanged."""
        etag = _matched(self.write, self.request.headers.get("if-match"), self.kubernaut)
        return _Decided(*self.write.decide(self.kubernaut), etag)

    def begun(self, slot: WorkerSlot) -> tuple[Operation, bool]:
        """Accept the operation and give it to the worker.

        Returns:
            The operation, and whether it is new: where the same key was accepted meanwhile, it is what that began.
        """
        decided = self.decided()
        decided.check(self)
        operation, new = self._accept(decided.verb)
        if new:
            refresh(self.service, operation)
            slot.start(operation, self._work(decided, operation))
        return operation, new

    def _accept(self, verb: str) -> tuple[Operation, bool]:
        write = self.write
        return self.kubernaut.accept(
            verb,
            write.about.name,
            namespace=write.about.namespace,
            note=write.note,
            timeout=write.timeout,
            lock_timeout=write.lock_timeout,
            fingerprint=self._fingerprint,
            key=self._key,
            create_namespace=write.create_namespace,
        )

    def _work(self, decided: _Decided, operation: Operation) -> Work:
        service, actor, build = self.service, self.request.caller.name, self.build
        options: OperationOptions = {**self.write.options, "operation": operation, "if_match": decided.etag}

        def work(listener: Listener, stopped: Stopped) -> Deployed:
            try:
                return decided.act(service.kubernaut.acting(actor, build=build, listener=listener, stopped=stopped), options)
            finally:
                refresh(service, operation)  # before it counts as done: whoever hears of it then finds it in every list

        return work


@dataclass(frozen=True)
class _Decided:
    """What is going to be done: the verb, what carries it out, and the ETag that the release must have then."""

    verb: str
    act: Handler
    etag: str | None

    def dry_run(self, asked: _Asked) -> Deployed:
        """Say what would be done."""
        return self.act(asked.kubernaut, {**asked.write.options, "dry_run": True})

    def check(self, asked: _Asked) -> None:
        """Raise what a dry run is refused for; who waits for his turn is not refused because it is somebody else's."""
        patience = asked.write.lock_timeout
        try:
            self.dry_run(asked)
        except ReleaseLocked:
            if not (asked.kubernaut.settings.lock_timeout if patience is None else patience):
                raise


def _told_build(header: str | None) -> CiBuild | None:
    """Return the caller's CI build. Raises: RequestInvalid."""
    if header is not None and not re.fullmatch(HEADER_PATTERN, header):
        raise RequestInvalid(f"The header {HEADER} has at most 4000 visible ASCII characters and spaces.")
    return told_build(header)


def _matched(write: Write, header: str | None, kubernaut: Kubernaut) -> str | None:
    """Return the release's ETag, where ``If-Match`` names it."""
    if header is None:
        return None
    try:
        etag = kubernaut.show(str(write.about)).etag
    except ReleaseNotFound as missing:
        raise ReleaseChanged(f"{write.about} is not what If-Match names: {missing.message}") from missing
    if header.strip() == "*":
        return None
    if ("", etag) not in _ETAG.findall(header):
        raise ReleaseChanged(f"{write.about} is not any more what If-Match names.", members={"etag": f'"{etag}"'})
    return etag


def refresh(service: Service, operation: Operation) -> None:
    """Let the index read an operation's release now."""
    try:
        service.index.refresh(operation.namespace, operation.name)
    except KubernautError as failure:  # the index says itself how old it is, and goes on trying
        _log.warning("The index could not read %s.%s: %s", operation.namespace, operation.name, failure.message)


def _answered(operation: Operation, asked: _Asked, *, replayed: bool) -> Response:
    followed = Followed(asked.service, operation)
    done, applied = _waited(followed, asked, replayed=replayed)
    headers = {"Location": f"/api/operations/{operation.id}", **applied}
    if not done:
        release = f"{operation.namespace}.{operation.name}"
        return Response(202, followed.status, headers, about={"operation": operation.id, "release": release})
    if followed.running is None:  # what another server did, this one's index may not know yet
        refresh(asked.service, operation)
    return answer(ending_of(followed, asked.service), asked.request, asked.service, headers)


def _waited(followed: Followed, asked: _Asked, *, replayed: bool) -> tuple[bool, dict[str, str]]:
    """Wait as long as is preferred; where no seat is free, not at all: a preference is no demand.

    Returns:
        Whether the operation has ended and its end is the answer, and the header that says what was preferred.
    """
    preferred = preferences(asked.request.headers.get("prefer"))
    if preferred.wait is None:
        return replayed and followed.wait_done(0), {}
    try:
        with asked.service.workers.waiting.take():
            return followed.wait_done(preferred.wait), preferred.applied
    except ServerBusy:
        return followed.wait_done(0), {}
