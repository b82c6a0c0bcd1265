"""Operations that are accepted before they are begun: a server answers first, and carries them out afterwards.

Accepting is one atomic creation: of several servers that are asked with the same Idempotency-Key at once, one has written the
operation, and the others find it. However it ends, even before it begins, its end is written down; what nobody begins in time is
ended by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from kubernaut.deploy.execute import Done, carry_out
from kubernaut.deploy.execution import Tools, outcome_of
from kubernaut.deploy.operations import OperationWriter
from kubernaut.deploy.requests import OperationRequest
from kubernaut.errors import (
    BadInput,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    IdempotencyKeyReused,
    Interrupted,
    KubernautError,
    NamespaceNotFound,
)
from kubernaut.events import Journal
from kubernaut.history.operations import (
    KEY_LABEL,
    UNCHANGED,
    Operation,
    Outcome,
    Verb,
    decode_operation,
    key_hash,
    key_label,
    key_secret_name,
    new_operation_id,
    now,
    operation_from_labels,
    operation_secret,
)
from kubernaut.history.records import KUBERNAUT_OWNER
from kubernaut.names import check_name, check_namespace, check_release_name

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

BEGINS_WITHIN = timedelta(minutes=2)
"""How long an accepted operation may take to begin, beside the time that it waits for its turn: a dead holder is watched first."""


def new_operation(
    verb: str, namespace: str, name: str, settings: Settings, fingerprint: str | None, key: str | None, how: Mapping[str, Any]
) -> Operation:
    """Return an operation that can be accepted. Raises: BadInput, NameInvalid."""
    if verb not in get_args(Verb):
        raise BadInput(f"{verb!r} is nothing that can be accepted; {', '.join(get_args(Verb))} are.")
    return Operation(
        id=new_operation_id(),
        verb=verb,
        namespace=check_namespace(namespace),
        name=check_name(name) if verb == "deploy" else check_release_name(name),
        actor=settings.actor,
        build=settings.build,
        note=how["note"],
        timeout=how["timeout"],
        started_at=now(),
        fingerprint=fingerprint,
        key=None if key is None else key_hash(settings.actor, key),
    )


def accept(operation: Operation, cluster: Cluster, *, patience: float, create_namespace: bool) -> tuple[Operation, bool]:
    """Write an operation down that is to be begun; return it, and whether it is new.

    Args:
        operation: The operation.
        cluster: Where it is written.
        patience: How many seconds it may wait for its turn.
        create_namespace: Make the namespace when it does not exist.

    Raises:
        IdempotencyKeyReused: Its key belongs to another one.
        NamespaceNotFound: There is no such namespace.
    """
    namespace = operation.namespace
    if not cluster.namespace_exists(namespace):
        if not create_namespace:
            raise NamespaceNotFound(f"The namespace {namespace} does not exist.")
        cluster.create_namespace(namespace)
    if operation.key is not None:
        _check_elsewhere(operation, operation.key, cluster)
    until = (cluster.server_time or now()) + timedelta(seconds=patience) + BEGINS_WITHIN
    operation = operation.model_copy(update={"waits_until": until})
    try:
        written = cluster.create_secret(namespace, operation_secret(operation))
    except (Conflict, ClusterUnreachable):
        found = cluster.get_secret(namespace, operation.secret)
        before = decode_operation(found) if found else None
        if before is None:
            raise
        if before.id == operation.id:  # it was written, and the answer was lost
            return before, True
        return _same(before, operation), False
    return operation.model_copy(update={"resource_version": str(written["metadata"]["resourceVersion"])}), True


def accepted_before(namespace: str, actor: str, key: str, fingerprint: str | None, cluster: Cluster) -> Operation | None:
    """Return the operation that was accepted with a key, if one was; a namespace that is not there has none.

    Raises:
        IdempotencyKeyReused: The key belongs to another request.
    """
    found = cluster.get_secret(namespace, key_secret_name(key_hash(actor, key)))
    before = decode_operation(found) if found else None
    if before is not None and before.fingerprint != fingerprint:
        raise _reused(before)
    return before


def carry_out_accepted(operation: Operation, wanted: Callable[[], OperationRequest], *, tools: Tools) -> Done:
    """Carry an accepted operation out, as :func:`kubernaut.deploy.execute.carry_out` does.

    Args:
        operation: As it was accepted.
        wanted: Prepares what is wanted; when that fails, that is the operation's end.
        tools: What the verbs need.

    Raises:
        Conflict: Somebody has given the operation up meanwhile; nothing was changed.
        KubernautError: What ``wanted`` and ``carry_out`` raise; it is written down.
    """
    ledger = OperationWriter(tools.cluster, Journal(tools.progress.listener), operation)
    try:
        planned, changed, release = carry_out(_checked(wanted(), operation), tools=tools, ledger=ledger)
    except KubernautError as failure:
        ledger.end_unbegun(outcome_of(failure))
        raise
    except BaseException as stopped:
        said = str(stopped) or type(stopped).__name__
        ledger.end_unbegun(outcome_of(Interrupted(f"The {operation.verb} was stopped before it began: {said}.")))
        raise
    finally:
        ledger.last_words()
    after = release.revision if release else 0
    ledger.end_unbegun(Outcome(reason=UNCHANGED, message=planned.reason), plan=planned, after=after)
    return planned, changed, release


def _checked(wanted: OperationRequest, operation: Operation) -> OperationRequest:
    accepted = (operation.verb, operation.namespace, operation.name)
    if (wanted.verb, wanted.namespace, wanted.name) != accepted:
        raise ValueError(f"accepted was the {' '.join(accepted)}, and not the {wanted.verb} {wanted.namespace} {wanted.name}")
    return replace(wanted, note=wanted.note or operation.note)


def _check_elsewhere(operation: Operation, key: str, cluster: Cluster) -> None:
    """Check that the key is not used in another namespace; where that may not be known, each namespace has keys of its own."""
    labels = {"owner": KUBERNAUT_OWNER, KEY_LABEL: key_label(key)}
    try:
        found = cluster.list_secrets(None, labels, metadata_only=True, cached=True)
    except ClusterDenied:
        return
    for secret in found:
        if secret["metadata"]["namespace"] != operation.namespace:
            raise _reused(operation_from_labels(secret))


def _same(found: Operation, wanted: Operation) -> Operation:
    """Return the operation that was accepted before, if the same was asked for."""
    asked = (found.fingerprint, found.verb, found.namespace, found.name)
    if asked != (wanted.fingerprint, wanted.verb, wanted.namespace, wanted.name):
        raise _reused(found)
    return found


def _reused(found: Operation) -> IdempotencyKeyReused:
    what = f"the operation {found.id}, a {found.verb} of {found.namespace}.{found.name}"
    return IdempotencyKeyReused(f"The Idempotency-Key belongs to another request: {what}.", members={"operation": found.id})
