"""The one contract of all writes: who may, whether it can be begun, accepted once, carried out beside the request, and answered.

What can be known before is checked before: nothing is accepted that cannot be begun. What is accepted stands in the cluster, so
that neither a lost answer nor a lost server loses it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kubernaut.errors import KubernautError, ReleaseChanged, ReleaseLocked, ReleaseNotFound, RequestInvalid, ServerBusy
from kubernaut.events import Listener, Stopped
from kubernaut.history.release import ReleaseId
from kubernaut.server.caller import Role
from kubernaut.server.ending import answer, ending_of
from kubernaut.server.following import Followed
from kubernaut.server.prefer import preferences
from kubernaut.server.routing import Request, Response
from kubernaut.server.scope import require
from kubernaut.verbs import Deployed, Options

if TYPE_CHECKING:
    from kubernaut.history.operation import Operation
    from kubernaut.kubernaut import Kubernaut
    from kubernaut.server.prefer import Preferences
    from kubernaut.server.service import Service
    from kubernaut.server.workers import Slot

_log = logging.getLogger(__name__)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ETAG = re.compile(r'(W/)?"([^"]*)"')


class Act(Protocol):
    """Carries a verb out."""

    def __call__(self, kubernaut: Kubernaut, options: Options) -> Deployed:
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
    decide: Callable[[Kubernaut], tuple[str, Act]]
    note: str | None = None
    timeout: float | None = None
    lock_timeout: float | None = None
    create_namespace: bool = False
    dry_run: bool = False

    @property
    def options(self) -> Options:
        """What all verbs take alike."""
        return {"note": self.note, "timeout": self.timeout, "lock_timeout": self.lock_timeout}


def carry_out(write: Write, request: Request, service: Service) -> Response:
    """Check a write, accept it, have it carried out, and answer as the client prefers.

    Raises:
        NotAllowed: The caller may not, or the server does not serve the namespace.
        ServerBusy: Nobody is free to carry it out.
        KubernautError: It cannot be begun; nothing was accepted.
    """
    require(write.about.namespace, request.caller, service.namespaces, Role.DEPLOY)
    kubernaut = service.kubernaut.acting(request.caller.name)
    key, fingerprint = idempotency_key(request.headers.get("idempotency-key")), fingerprint_of(request)
    if write.dry_run:
        decided = _decided(write, request, kubernaut)
        return Response(body=decided.act(kubernaut, {**write.options, "dry_run": True}).plan, about={"release": str(write.about)})
    known = key and kubernaut.accepted(key, namespace=write.about.namespace, fingerprint=fingerprint)
    if not known:
        with service.workers.slot() as slot:
            known = _accepted(write, request, service, kubernaut, slot, key, fingerprint)
    return _answered(known, request, service)


def idempotency_key(header: str | None) -> str | None:
    """Return the key that ``Idempotency-Key`` holds, in quotes or not. Raises: RequestInvalid."""
    if header is None:
        return None
    quoted = len(header) > 1 and header[0] == header[-1] == '"'
    key = header[1:-1] if quoted else header
    if not _KEY.fullmatch(key):
        raise RequestInvalid("An Idempotency-Key has 1 to 255 visible ASCII characters.")
    return key


def fingerprint_of(request: Request) -> str:
    """Return what tells a request from others: a digest over what is asked for, not over how it is spelt."""
    asked = [request.method, request.path, _canonical(request.body), {**_canonical(request.query), "dryRun": None}]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


def _canonical(model: Any) -> Mapping[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True) if model is not None else {}


# what is checked


@dataclass(frozen=True)
class _Decided:
    """What is going to be done: the verb, what carries it out, and the ETag that the release must have then."""

    verb: str
    act: Act
    etag: str | None


def _decided(write: Write, request: Request, kubernaut: Kubernaut) -> _Decided:
    etag = _matched(write, request.headers.get("if-match"), kubernaut)
    return _Decided(*write.decide(kubernaut), etag)


def _check(write: Write, decided: _Decided, kubernaut: Kubernaut) -> None:
    """Raise what a dry run is refused for; who waits for his turn is not refused because it is somebody else's."""
    waits = kubernaut.settings.lock_timeout if write.lock_timeout is None else write.lock_timeout
    try:
        decided.act(kubernaut, {**write.options, "dry_run": True})
    except ReleaseLocked:
        if not waits:
            raise


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


# what is accepted


def _accepted(
    write: Write, request: Request, service: Service, kubernaut: Kubernaut, slot: Slot, key: str | None, fingerprint: str
) -> Operation:
    """Accept a write and give it to the worker; where the same key was accepted meanwhile, return what that began."""
    decided = _decided(write, request, kubernaut)
    _check(write, decided, kubernaut)
    how: dict[str, Any] = {**write.options, "create_namespace": write.create_namespace}
    operation, new = kubernaut.accept(
        decided.verb, write.about.name, namespace=write.about.namespace, fingerprint=fingerprint, key=key, **how
    )
    if new:
        _refresh(service, operation)
        options: Options = {**write.options, "operation": operation, "if_match": decided.etag}
        slot.start(operation, _work(decided.act, options, operation, request.caller.name, service))
    return operation


def _work(
    act: Act, options: Options, operation: Operation, actor: str, service: Service
) -> Callable[[Listener, Stopped], Deployed]:
    def work(listener: Listener, stopped: Stopped) -> Deployed:
        try:
            return act(service.kubernaut.acting(actor, listener=listener, stopped=stopped), options)
        finally:
            _refresh(service, operation)  # before it counts as done: whoever hears of it then finds it in every list

    return work


def _refresh(service: Service, operation: Operation) -> None:
    try:
        service.index.refresh(operation.namespace, operation.name)
    except KubernautError as failure:  # the index says itself how old it is, and goes on trying
        _log.warning("The index could not read %s.%s: %s", operation.namespace, operation.name, failure.message)


# what is answered


def _answered(operation: Operation, request: Request, service: Service) -> Response:
    followed = Followed(service, operation)
    headers = {"Location": f"/api/operations/{operation.id}"}
    preferred = preferences(request.headers.get("prefer"))
    done, applied = _waited(followed, preferred, service)
    headers |= applied
    if done:
        return answer(ending_of(followed, service), request, service, headers)
    release = f"{operation.namespace}.{operation.name}"
    return Response(202, followed.status, headers, about={"operation": operation.id, "release": release})


def _waited(followed: Followed, preferred: Preferences, service: Service) -> tuple[bool, dict[str, str]]:
    """Wait as long as is preferred; where no seat is free, not at all: a preference is no demand."""
    if preferred.wait is None:
        return False, {}
    try:
        with service.workers.waiting.take():
            return followed.wait_done(preferred.wait), preferred.applied
    except ServerBusy:
        return followed.wait_done(0), {}
