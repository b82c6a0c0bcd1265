"""Operations as they are written to the cluster: created before Helm runs, kept current meanwhile, finished once.

A deploy writes its operation's Secret twice, and a third time when a failure is rolled back. The first write is refused where the
namespace is missing or not writable, before Helm has done anything.

A server accepts an operation first and executes it later. Accepting is one atomic creation: of several servers that receive the
same Idempotency-Key at once, one creates the operation, and the others find it. An accepted operation always gets an outcome; one
that is not begun in time gets it from the next operation on the same release.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.errors import (
    BadInput,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    IdempotencyKeyReused,
    Interrupted,
    KubernautError,
    NamespaceNotFound,
    NotFound,
)
from kubernaut.events import Journal
from kubernaut.history.operation_codec import (
    KEY_LABEL,
    decode_operation,
    key_label,
    operation_data,
    operation_from_labels,
    operation_secret,
    outcome_labels,
)
from kubernaut.history.operations import (
    Operation,
    OperationChart,
    Outcome,
    ReleaseReference,
    Verb,
    key_hash,
    key_secret_name,
    new_operation_id,
    now,
    operation_events,
)
from kubernaut.history.records import KUBERNAUT_OWNER, Record
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Plan, check_namespace, check_release_name
from kubernaut.redact import redact

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

EVENTS_SECONDS = 3.0
"""The pause between two writes of an accepted operation's events."""
KEPT_WITHOUT_RELEASE = timedelta(days=7)
"""How long an operation without a release is kept; the others are collected when Helm prunes their records."""
BEGINS_WITHIN = timedelta(minutes=2)
"""How long an accepted operation may take to begin, beside its wait for the lock: a dead holder is observed first."""

_MAX_WRITE_WAIT = 2.0
_MAX_EXPIRED = 10
_MAX_DESCRIPTION = 256


# accepting


def new_operation(
    verb: str, namespace: str, name: str, settings: Settings, fingerprint: str | None, key: str | None, how: Mapping[str, Any]
) -> Operation:
    """Return an operation that can be accepted. Raises: BadInput, NameInvalid."""
    if verb not in get_args(Verb):
        raise BadInput(f"{verb!r} cannot be accepted as an operation; {', '.join(get_args(Verb))} can.")
    check_namespace(namespace)
    check_release_name(name)
    hashed = None if key is None else key_hash(settings.actor, key)
    return _operation(
        verb, namespace, name, settings, note=how["note"], timeout=how["timeout"], fingerprint=fingerprint, key=hashed
    )


def _operation(verb: str, namespace: str, name: str, settings: Settings, **known: Any) -> Operation:
    who: dict[str, Any] = {"actor": settings.actor, "build": settings.build}
    return Operation(id=new_operation_id(), verb=verb, namespace=namespace, name=name, started_at=now(), **who, **known)


def accept(operation: Operation, cluster: Cluster, *, patience: float, create_namespace: bool) -> tuple[Operation, bool]:
    """Write an operation that will be begun later; return it, and whether it is new.

    Args:
        operation: The operation.
        cluster: Where it is written.
        patience: Seconds that it may wait for the release's lock.
        create_namespace: Create the namespace if it does not exist.

    Raises:
        IdempotencyKeyReused: Its key belongs to another request.
        NamespaceNotFound: The namespace does not exist.
    """
    namespace = operation.namespace
    if not cluster.namespace_exists(namespace):
        if not create_namespace:
            raise NamespaceNotFound(f"The namespace {namespace} does not exist.")
        cluster.create_namespace(namespace)
    if operation.key is not None:
        _check_other_namespaces(operation, operation.key, cluster)
    until = (cluster.server_time or now()) + timedelta(seconds=patience) + BEGINS_WITHIN
    operation = operation.model_copy(update={"waits_until": until})
    try:
        written = cluster.create_secret(namespace, operation_secret(operation))
    except (Conflict, ClusterUnreachable):
        found = cluster.get_secret(namespace, operation.secret)
        before = decode_operation(found) if found else None
        if before is None:
            raise
        if before.id == operation.id:  # the creation succeeded, and its answer was lost
            return before, True
        if any(getattr(before, name) != getattr(operation, name) for name in ("fingerprint", "verb", "namespace", "name")):
            raise _key_reused(before) from None
        return before, False
    return operation.model_copy(update={"resource_version": str(written["metadata"]["resourceVersion"])}), True


def accepted_before(namespace: str, actor: str, key: str, fingerprint: str | None, cluster: Cluster) -> Operation | None:
    """Return the operation that was accepted with a key; ``None`` without one, also where the namespace does not exist.

    Raises:
        IdempotencyKeyReused: The key belongs to another request.
    """
    found = cluster.get_secret(namespace, key_secret_name(key_hash(actor, key)))
    before = decode_operation(found) if found else None
    if before is not None and before.fingerprint != fingerprint:
        raise _key_reused(before)
    return before


def _check_other_namespaces(operation: Operation, key: str, cluster: Cluster) -> None:
    """Check that the key is not used in another namespace; without the right to list them, each namespace has its own keys."""
    labels = {"owner": KUBERNAUT_OWNER, KEY_LABEL: key_label(key)}
    try:
        found = cluster.list_secrets(None, labels, metadata_only=True, cached=True)
    except ClusterDenied:
        return
    for secret in found:
        if secret["metadata"]["namespace"] != operation.namespace:
            raise _key_reused(operation_from_labels(secret))


def _key_reused(before: Operation) -> IdempotencyKeyReused:
    what = f"the operation {before.id}, a {before.verb} of {before.namespace}.{before.name}"
    return IdempotencyKeyReused(f"The Idempotency-Key belongs to another request: {what}.", members={"operation": before.id})


# what an operation consists of


def operation_for(request: OperationRequest, settings: Settings, accepted: Operation | None) -> Operation:
    """Return the operation of a request: a new one, or the accepted one with what is known now."""
    known: dict[str, Any] = {"note": request.note, "timeout": request.timeout}
    if isinstance(request, DeployRequest):
        chart = OperationChart(version=request.version, ref=request.chart_ref, digest=request.chart_digest)
        known |= {"chart": chart, "environment": request.environment, "commit": request.commit}
    if accepted is not None:
        return accepted.model_copy(update={**known, "waits_until": None})
    return _operation(request.verb, request.namespace, request.name, settings, **known)


def storable(plan: Plan) -> Plan:
    """Return a plan without the fields of later versions, which an older kubernaut could not read."""
    return plan.model_copy(update={"actions": tuple(action.model_copy(update={"objects": ()}) for action in plan.actions)})


def made(record: Record, chart: OperationChart | None) -> ReleaseReference:
    """Return how an operation refers to a record that it made or ended."""
    return ReleaseReference(id=record.id, uid=record.uid, revision=record.revision, secret=record.secret, chart=chart)


def outcome_of(failure: KubernautError, secrets: Sequence[str] = ()) -> Outcome:
    """Return the outcome of an operation that failed, without secrets."""
    kept = {"cause": failure.members.get("cause"), "evidence": failure.members.get("evidence", ())}
    details = tuple(redact(line, secrets) for line in failure.details)
    return Outcome(reason=failure.code, message=redact(failure.message, secrets), details=details, **kept)


def description_of(what: str, operation: Operation) -> str:
    """Return the line for plain ``helm history``, such as ``1.4.2 (31fba06) by jenkins: "new greeting"``."""
    commit = f" ({operation.commit[:7]})" if operation.commit else ""
    note = f': "{" ".join(operation.note.split())}"' if operation.note else ""
    text = "".join(character if character.isprintable() else "?" for character in f"{what}{commit} by {operation.actor}{note}")
    return text if len(text) <= _MAX_DESCRIPTION else text[: _MAX_DESCRIPTION - 1] + "…"


# writing


class OperationWriter:
    """Writes one operation.

    An accepted operation is begun only if its Secret has not changed since. While it is executed, a thread writes its events every
    few seconds for other servers to show. Nothing waits for these writes, their failures have no effect, and they never overwrite
    a newer version of the Secret.

    Args:
        cluster: Opens the cluster.
        journal: The events of the operation.
        accepted: The operation if it was accepted before; otherwise :meth:`begin` creates it.
        every: Seconds between two writes of the events.
        secrets: Values that are masked.
    """

    def __init__(
        self,
        cluster: Callable[[], Cluster],
        journal: Journal,
        accepted: Operation | None = None,
        *,
        every: float = EVENTS_SECONDS,
        secrets: Sequence[str] = (),
    ) -> None:
        self.secrets = tuple(secrets)
        self.journal = journal
        self.accepted = accepted
        self._open = cluster
        self._every = every
        self._written: Operation | None = None
        self._version = ""
        self._writing = threading.Lock()
        self._closed = threading.Event()

    def begin(self, operation: Operation) -> None:
        """Write the operation before anything is done.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            Conflict: The accepted operation has been begun or given an outcome elsewhere.
            ClusterDenied: The user may not write it.
            ClusterUnreachable: The API server does not answer.
        """
        if self.accepted is None:
            self._open().create_secret(operation.namespace, operation_secret(operation))
            self._written = operation
            return
        self._version = self._begin_accepted(operation, self.accepted)
        self._written = operation
        threading.Thread(target=self._keep_current, name=f"operation {operation.id}", daemon=True).start()

    def with_events(self, operation: Operation) -> Operation:
        """Return the operation with the events so far."""
        return operation.model_copy(
            update={"events": operation_events(self.journal.events, self.secrets), "events_left_out": self.journal.left_out}
        )

    def write(self, operation: Operation) -> None:
        """Write the operation as it is now, unless it could not be begun."""
        if self._written is None:
            return
        if operation.finished_at is not None:
            self.close()
        acquired = self._writing.acquire(timeout=_MAX_WRITE_WAIT)  # a hanging write has an older version and is refused later
        try:
            self._version = update_operation(self._open(), operation)
            self._written = operation
        finally:
            if acquired:
                self._writing.release()

    @contextmanager
    def recording_end(self, operation: Operation) -> Iterator[None]:
        """Write the outcome of an accepted operation that ends before it begins; in any case write its last events."""
        try:
            yield
        except KubernautError as failure:
            self.end_unbegun(outcome_of(failure, self.secrets))
            raise
        except BaseException as stopped:
            why = str(stopped) or type(stopped).__name__
            self.end_unbegun(outcome_of(Interrupted(f"The {operation.verb} was stopped before it began: {why}.")))
            raise
        finally:
            self.write_last_events()

    def end_unbegun(self, outcome: Outcome, **known: Any) -> None:
        """Write the outcome, and what else is known, of an accepted operation that was never begun; a newer version of it stays."""
        self.close()
        if self.accepted is None or self._written is not None:
            return
        ended = {"outcome": outcome, "finished_at": now(), "waits_until": None, **known}
        operation = self.with_events(self.accepted.model_copy(update=ended))
        with suppress(KubernautError):  # then it is overdue at some time, and is settled
            update_operation(self._open(), operation, version=self.accepted.resource_version)

    def write_last_events(self) -> None:
        """Write the events after the outcome of an accepted operation: how its last step ended."""
        if self.accepted is None or self._written is None or self._written.finished_at is None:
            return
        operation = self.with_events(self._written)
        if operation.events != self._written.events:
            with suppress(KubernautError):  # the outcome is written already
                self._version = update_operation(self._open(), operation, version=self._version)

    def close(self) -> None:
        """Stop writing events."""
        self._closed.set()

    def _begin_accepted(self, operation: Operation, accepted: Operation) -> str:
        try:
            return update_operation(self._open(), operation, version=accepted.resource_version)
        except NotFound as gone:
            raise Conflict(f"The operation {operation.id} was deleted before it began; nothing was changed.") from gone
        except Conflict as conflict:
            raise Conflict(f"The operation {operation.id} {self._what_became_of(operation)}; nothing was changed.") from conflict

    def _what_became_of(self, operation: Operation) -> str:
        secret = self._open().get_secret(operation.namespace, operation.secret)
        found = decode_operation(secret) if secret else None
        if found is None:
            return "was deleted before it began"
        if found.finished_at is None:
            return "is executed by another process"
        return f"has already ended ({found.outcome.reason if found.outcome else found.state})"

    def _keep_current(self) -> None:
        written = 0
        while not self._closed.wait(self._every):
            count = len(self.journal.events) + self.journal.left_out
            if count == written:
                continue
            try:
                self._write_events()
            except (Conflict, NotFound):
                return
            except KubernautError:  # tried again after the next pause
                continue
            written = count

    def _write_events(self) -> None:
        with self._writing:
            if self._closed.is_set() or self._written is None:
                return
            self._version = update_operation(self._open(), self.with_events(self._written), version=self._version)


def update_operation(cluster: Cluster, operation: Operation, *, version: str | None = None) -> str:
    """Update an operation's Secret, which the cluster collects together with the records that the operation made.

    Args:
        cluster: The operation's cluster.
        operation: The operation as it is to be written.
        version: The resource version that the Secret must have.

    Returns:
        The new resource version.

    Raises:
        Conflict: The Secret has another version.
        NotFound: The Secret does not exist.
    """
    metadata: dict[str, Any] = {}
    if operation.made:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Secret", "name": made.secret, "uid": made.uid} for made in operation.made
        ]
    if labels := outcome_labels(operation):
        metadata["labels"] = labels
    if version is not None:
        metadata["resourceVersion"] = version
    patch = {"data": operation_data(operation), **({"metadata": metadata} if metadata else {})}
    written = cluster.patch_secret(operation.namespace, operation.secret, patch)
    return str(written["metadata"]["resourceVersion"])


def delete_expired(cluster: Cluster, history: ReleaseHistory) -> None:
    """Delete a few of the operations without a release that are older than a week.

    An operation without an outcome stays if a record has its label, and so does one that cannot be read.
    """
    candidates = (one for one in history.without_release if not one.unread)
    expired = [one for one in candidates if now() - one.started_at > KEPT_WITHOUT_RELEASE]
    for operation in expired[:_MAX_EXPIRED]:
        cluster.delete_secret(operation.namespace, operation.secret)
