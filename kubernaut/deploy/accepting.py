"""Accepts operations that are executed later, and ends those whose process is gone before they began.

A server accepts an operation first and executes it later. Accepting is one atomic creation: of several servers that receive the
same Idempotency-Key at once, one creates the operation, and the others find it. An accepted operation always gets an outcome: its
process renews it until it begins, and one that is not renewed any more is ended by any server, or by the next operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

from kubernaut.deploy.operations import begin_operation, update_operation
from kubernaut.errors import (
    BadInput,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    IdempotencyKeyReused,
    NamespaceNotFound,
    NotFound,
)
from kubernaut.history.operation_codec import KEY_LABEL, decode_operation, key_label, operation_from_labels, operation_secret
from kubernaut.history.operations import Operation, Verb, key_hash, key_secret_name, now
from kubernaut.history.records import KUBERNAUT_OWNER
from kubernaut.history.repair import infer_outcome
from kubernaut.models import check_namespace, check_release_name

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

BEGINS_WITHIN = 120.0
"""Seconds until an accepted operation must be taken over by a process that executes it."""
RENEWED_FOR = timedelta(seconds=3)
"""For how long a renewal holds; the process that executes it renews it every second until it begins."""


def new_operation(
    verb: str, namespace: str, name: str, settings: Settings, fingerprint: str | None, key: str | None, how: Mapping[str, Any]
) -> Operation:
    """Return an operation that can be accepted. Raises: BadInput, NameInvalid."""
    if verb not in get_args(Verb):
        raise BadInput(f"{verb!r} cannot be accepted as an operation; {', '.join(get_args(Verb))} can.")
    check_namespace(namespace)
    check_release_name(name)
    hashed = None if key is None else key_hash(settings.actor, key)
    return begin_operation(
        verb, namespace, name, settings, note=how["note"], timeout=how["timeout"], fingerprint=fingerprint, key=hashed
    )


def accept(
    operation: Operation, cluster: Cluster, *, begins_within: float = BEGINS_WITHIN, create_namespace: bool
) -> tuple[Operation, bool]:
    """Write an operation that will be begun later; return it, and whether it is new.

    The key of an operation whose process ended before it began can be used again: that operation is kept without its key.

    Args:
        operation: The operation.
        cluster: Where it is written.
        begins_within: Seconds until a process must execute it, which then renews it as long as it waits for the lock.
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
    until = (cluster.server_time or now()) + timedelta(seconds=begins_within)
    operation = operation.model_copy(update={"waits_until": until})
    found, new = _create(operation, cluster)
    if not new and found.never_began:
        _release_key(found, cluster)
        found, new = _create(operation, cluster)
    return found, new


def _create(operation: Operation, cluster: Cluster) -> tuple[Operation, bool]:
    """Create an operation, or find the one that has its key; return it, and whether it is new. Raises: IdempotencyKeyReused."""
    try:
        written = cluster.create_secret(operation.namespace, operation_secret(operation))
    except (Conflict, ClusterUnreachable):
        before = _read(operation, cluster)
        if before is None:
            raise
        if before.id == operation.id:  # the creation succeeded, and its answer was lost
            return before, True
        if any(getattr(before, name) != getattr(operation, name) for name in ("fingerprint", "verb", "namespace", "name")):
            raise _key_reused(before) from None
        return before, False
    return operation.model_copy(update={"resource_version": str(written["metadata"]["resourceVersion"])}), True


def _read(operation: Operation, cluster: Cluster) -> Operation | None:
    found = cluster.get_secret(operation.namespace, operation.secret)
    return decode_operation(found) if found else None


def _release_key(ended: Operation, cluster: Cluster) -> None:
    """Keep an operation under its ID, so that its key is free; another process may do the same at once."""
    with suppress(Conflict):
        cluster.create_secret(ended.namespace, operation_secret(ended.model_copy(update={"key": None})))
    with suppress(Conflict):
        cluster.delete_secret(ended.namespace, ended.secret, resource_version=ended.resource_version)


def find_abandoned(operation: Operation, cluster: Cluster) -> Operation | None:
    """Return an accepted operation as it is now, if it was not renewed in time and has not begun; ``None`` otherwise."""
    found = _read(operation, cluster)
    if found is None or found.id != operation.id or found.state != "accepted":
        return None
    return None if found.may_begin(cluster.server_time) else found


def end_abandoned(operation: Operation, cluster: Cluster) -> bool:
    """End an abandoned operation as interrupted; return false if it has been begun, renewed or ended meanwhile.

    It has changed nothing, so the release's lock, which another operation may hold for long, is not needed.
    """
    inferred = infer_outcome(operation, ())
    if inferred is None:
        return False
    try:
        update_operation(cluster, inferred.apply(operation, now()), version=operation.resource_version)
    except (Conflict, NotFound):
        return False
    return True


def accepted_before(namespace: str, actor: str, key: str, fingerprint: str | None, cluster: Cluster) -> Operation | None:
    """Return the operation that was accepted with a key; ``None`` if the key is free, also where the namespace does not exist.

    Raises:
        IdempotencyKeyReused: The key belongs to another request.
    """
    found = cluster.get_secret(namespace, key_secret_name(key_hash(actor, key)))
    before = decode_operation(found) if found else None
    if before is not None and before.fingerprint != fingerprint:
        raise _key_reused(before)
    return None if before is not None and before.never_began else before


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
