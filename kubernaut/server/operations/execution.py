"""The contract of every write: authorize, check, accept once, execute in a worker, answer as the client prefers.

Everything that can be checked is checked before the operation is accepted. An accepted operation is recorded in the cluster, so it
survives a lost response and a lost server.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubernaut.ci import HEADER, HEADER_PATTERN, CiBuild, build_from_header
from kubernaut.errors import KubernautError, ReleaseChanged, ReleaseLocked, ReleaseNotFound, RequestInvalid, ServerBusy, Unreachable
from kubernaut.events import Listener, StopCheck
from kubernaut.history.releases import ReleaseId
from kubernaut.interface import Deployed, OperationOptions
from kubernaut.models import Model
from kubernaut.server.auth.access import Role, require_access
from kubernaut.server.operations.progress import OperationFollower, result_response
from kubernaut.server.routing import Request, Response

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.operations import Operation
    from kubernaut.server.operations.workers import OperationFunction, WorkerSlot
    from kubernaut.server.routing import ServerContext

MAX_WAIT_SECONDS = 300
"""The longest wait that ``Prefer`` can ask for; ``Preference-Applied`` states the applied one."""

_log = logging.getLogger(__name__)

_BEGINS_WITHIN = 5.0
"""Seconds until a worker of this server must execute an accepted operation; it renews it then."""
_ETAG = re.compile(r'(W/)?"([^"]*)"')
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
HEADER_ELEMENT = re.compile(rf"(?:[^,\"]|{_QUOTED})+")
"""An element of a comma-separated header."""
_PREFERENCE = re.compile(rf"[ \t]*({_WORD})(?:[ \t]*=[ \t]*({_WORD}|{_QUOTED}))?[ \t]*(?:;|$)")


@dataclass(frozen=True)
class Decision:
    """The verb of a write, and the call that executes it (on a dry run: plans it)."""

    verb: str
    call: Callable[[Kubernaut, OperationOptions], Deployed]
    if_match: str | None = None


@dataclass(frozen=True)
class WriteRequest:
    """A write as requested.

    Attributes:
        release: The release that is changed, and that ``If-Match`` refers to.
        decide: Returns the verb and its call; it may read the present state.
        options: The note, the timeout and the lock timeout.
        create_namespace: Create the namespace if it does not exist.
        dry_run: Only return the plan.
    """

    release: ReleaseId
    decide: Callable[[Kubernaut], Decision]
    options: OperationOptions
    create_namespace: bool = False
    dry_run: bool = False


def execute(write: WriteRequest, request: Request, context: ServerContext) -> Response:
    """Check a write, accept it as an operation, start it, and answer as the client prefers.

    Raises:
        NotAllowed: The caller or the server has no access to the namespace.
        IdempotencyKeyReused: The key belongs to another request.
        ServerBusy: No worker is free.
        KubernautError: The write cannot start; no operation was accepted.
    """
    require_access(write.release.namespace, request.caller, context.namespaces, Role.DEPLOY)
    pending = PendingWrite(write, request, context)
    if write.dry_run:
        return Response(body=pending.plan(pending.decide(), diff=True).plan, audit_fields={"release": str(write.release)})
    before = pending.accepted()
    if before is not None:
        return _response(before, pending, replayed=True)
    try:
        with context.workers.reserve() as slot:
            operation, new = pending.start(slot)
    except Unreachable:
        raise
    except KubernautError:  # perhaps the same request arrived twice at once, and the other one was accepted
        before = pending.accepted()
        if before is None:
            raise
        operation, new = before, False
    return _response(operation, pending, replayed=not new)


class PendingWrite:
    """A write on its way to an accepted operation, with the library acting for the caller.

    Raises:
        RequestInvalid: The header of the CI build or of the idempotency key is invalid.
    """

    def __init__(self, write: WriteRequest, request: Request, context: ServerContext) -> None:
        self.write, self.request, self.context = write, request, context
        self._build = _ci_build(request.headers.get(HEADER.lower()))
        self._kubernaut = context.kubernaut.acting(request.caller.name, build=self._build)
        self._key = idempotency_key(request.headers.get("idempotency-key"))
        self._fingerprint = fingerprint(request)

    def accepted(self) -> Operation | None:
        """Return the operation that was accepted with the same key. Raises: IdempotencyKeyReused."""
        if self._key is None:
            return None
        return self._kubernaut.accepted(self._key, namespace=self.write.release.namespace, fingerprint=self._fingerprint)

    def decide(self) -> Decision:
        """Return what to do in the present state. Raises: ReleaseChanged."""
        if_match = _matching_etag(self.write.release, self.request.headers.get("if-match"), self._kubernaut)
        return replace(self.write.decide(self._kubernaut), if_match=if_match)

    def plan(self, decision: Decision, *, diff: bool = False) -> Deployed:
        """Return the result of a dry run, with ``diff`` with what would change."""
        return decision.call(self._kubernaut, {**self.write.options, "dry_run": True, "diff": diff})

    def start(self, slot: WorkerSlot) -> tuple[Operation, bool]:
        """Accept the operation and start it on the worker.

        Returns:
            The operation, and whether it is new: another request with the same key may have been accepted meanwhile.
        """
        decision = self.decide()
        self._check(decision)
        operation, new = self._accept(decision.verb)
        if new:
            refresh(self.context, operation)
            slot.start(operation, self._function(decision, operation))
        return operation, new

    def _check(self, decision: Decision) -> None:
        """Raise what a dry run raises; a held lock only where the operation would not wait for it."""
        patience = self.write.options.get("lock_timeout")
        try:
            self.plan(decision)
        except ReleaseLocked:
            if not (self._kubernaut.settings.lock_timeout if patience is None else patience):
                raise

    def _accept(self, verb: str) -> tuple[Operation, bool]:
        write = self.write
        return self._kubernaut.accept(
            verb,
            write.release.name,
            namespace=write.release.namespace,
            note=write.options.get("note"),
            timeout=write.options.get("timeout"),
            lock_timeout=write.options.get("lock_timeout"),
            fingerprint=self._fingerprint,
            key=self._key,
            create_namespace=write.create_namespace,
            begins_within=_BEGINS_WITHIN,
        )

    def _function(self, decision: Decision, operation: Operation) -> OperationFunction:
        context, actor, build = self.context, self.request.caller.name, self._build
        options: OperationOptions = {**self.write.options, "operation": operation, "if_match": decision.if_match}

        def function(listener: Listener, stopped: StopCheck) -> Deployed:
            try:
                return decision.call(context.kubernaut.acting(actor, build=build, listener=listener, stopped=stopped), options)
            finally:
                refresh(context, operation)  # before it counts as done, so that every list then shows the result

        return function


def refresh(context: ServerContext, operation: Operation) -> None:
    """Update an operation's release in the index now."""
    try:
        context.index.refresh(operation.namespace, operation.name)
    except KubernautError as error:  # the index reports its age and goes on trying
        _log.warning("The index could not read %s.%s: %s", operation.namespace, operation.name, error.message)


def _ci_build(header: str | None) -> CiBuild | None:
    if header is not None and not re.fullmatch(HEADER_PATTERN, header):
        raise RequestInvalid(f"The {HEADER} header must have at most 4000 visible ASCII characters and spaces.")
    return build_from_header(header)


def _matching_etag(release: ReleaseId, header: str | None, kubernaut: Kubernaut) -> str | None:
    """Return the release's ETag if ``If-Match`` lists it; ``None`` for no header or ``*``. Raises: ReleaseChanged."""
    if header is None:
        return None
    try:
        etag = kubernaut.context.clients.history.release(release).etag
    except ReleaseNotFound as missing:
        raise ReleaseChanged(f"{release} does not match If-Match: {missing.message}") from missing
    if header.strip() == "*":
        return None
    if ("", etag) not in _ETAG.findall(header):
        raise ReleaseChanged(f'{release} has changed: its ETag is "{etag}".', members={"etag": f'"{etag}"'})
    return etag


def _response(operation: Operation, pending: PendingWrite, *, replayed: bool) -> Response:
    context = pending.context
    follower = OperationFollower(context, operation)
    done, applied = _wait(follower, pending, replayed=replayed)
    headers = {"Location": f"/api/operations/{operation.id}", **applied}
    if not done:
        release = f"{operation.namespace}.{operation.name}"
        return Response(202, follower.status, headers, audit_fields={"operation": operation.id, "release": release})
    if follower.running is None:  # the index may not have seen another server's release yet
        refresh(context, operation)
    return result_response(follower, pending.request, context, headers)


def _wait(follower: OperationFollower, pending: PendingWrite, *, replayed: bool) -> tuple[bool, dict[str, str]]:
    """Wait as long as the client prefers; not at all when too many requests wait already.

    Returns:
        Whether the operation has finished and its result is the response, and the headers on the applied preference.
    """
    seconds = preferred_wait(pending.request.headers.get("prefer"))
    if seconds is None:
        return replayed and follower.wait_done(0), {}
    try:
        with pending.context.workers.waiters.acquire():
            return follower.wait_done(seconds), {"Preference-Applied": f"wait={seconds}"}
    except ServerBusy:
        return follower.wait_done(0), {}


# headers


def idempotency_key(header: str | None) -> str | None:
    """Return the key in an ``Idempotency-Key`` header, quoted or not. Raises: RequestInvalid."""
    if header is None:
        return None
    quoted = len(header) > 1 and header[0] == header[-1] == '"'
    key = header[1:-1] if quoted else header
    if not _KEY.fullmatch(key):
        raise RequestInvalid("An Idempotency-Key must have 1 to 255 visible ASCII characters.")
    return key


def fingerprint(request: Request) -> str:
    """Return a digest of the request's content, independent of its spelling."""
    content = [request.method, request.path, _canonical(request.body), {**_canonical(request.query), "dryRun": None}]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


def _canonical(model: Model | None) -> Mapping[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True) if model is not None else {}


def preferred_wait(header: str | None) -> int | None:
    """Return the seconds that a ``Prefer`` header (RFC 7240) asks to wait, at most :data:`MAX_WAIT_SECONDS`; ``None`` without.

    Of a repeated preference the first counts; malformed ones are ignored.
    """
    found: dict[str, str] = {}
    for element in HEADER_ELEMENT.findall(header or ""):
        match = _PREFERENCE.match(element)
        if match:
            found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    wait = found.get("wait", "")
    return min(int(wait), MAX_WAIT_SECONDS) if re.fullmatch(r"[0-9]{1,9}", wait) else None
