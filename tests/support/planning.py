"""Requests for tests of the plan, and the plan's outcome as one word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.deploy.lock.lease import Holder, Lock, LockState
from kubernaut.deploy.planning.plan import plan as decide
from kubernaut.deploy.requests import (
    DeployRequest,
    OperationRequest,
    RestoreRequest,
    RollbackRequest,
    UninstallRequest,
    UnlockRequest,
)
from kubernaut.deploy.values.layers import Values
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseNotFound
from kubernaut.history.operations import Operation
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan
from support.records import DIGEST, history, operation, own, record

VERBS = ("deploy", "rollback", "restore", "delete")
UNCHANGED = "unchanged"
LIVE = Lock(LockState.LIVE, Holder("ada@ci-7/op", verb="deploy", actor="ada", host="ci-7"))
EXPIRED = Lock(LockState.EXPIRED, LIVE.holder)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KINDS: dict[str, type[OperationRequest]] = {
    "rollback": RollbackRequest,
    "restore": RestoreRequest,
    "delete": UninstallRequest,
    "unlock": UnlockRequest,
}


def deploy_request(digest: str = DIGEST, *, values: Mapping[str, Any] | None = None, **more: Any) -> DeployRequest:
    return DeployRequest(
        "demo", "hello", "1.0.0", f"oci://r/hello@{digest}", digest, values=Values(environment=values or {}), **more
    )


def plan(
    verb: str,
    known: ReleaseHistory,
    lock: Lock = Lock(),  # noqa: B008
    *,
    namespace_missing: bool = False,
    gone: bool = False,
    **more: Any,
) -> Plan:
    asked = deploy_request(**more) if verb == "deploy" else KINDS[verb]("demo", "hello", **more)
    return decide(known, lock, asked, namespace_missing=namespace_missing, gone=gone)


def outcome(verb: str, known: ReleaseHistory, lock: Lock = Lock(), **more: Any) -> object:  # noqa: B008
    """The outcome of a plan as one word: the kinds of its actions, or the error."""
    try:
        planned = plan(verb, known, lock, **more)
    except (Conflict, ReleaseNotFound, NamespaceNotFound) as error:
        return type(error)
    assert all(action.reason and action.subject for action in planned.actions)
    assert planned.actions or planned.reason
    return ", ".join(action.kind for action in planned.actions) or UNCHANGED


def uninstall_of(record: Record, **more: Any) -> Operation:
    """An operation that was about to uninstall a record."""
    action = Action(kind="helm-uninstall", subject=record.id, reason="because")
    return operation("del", verb="delete", reason=None, plan=Plan(actions=(action,)), **more)


def known_of(status: str | None) -> ReleaseHistory:
    if status is None:
        return history()
    current = own(2, status)
    return history(own(1, "superseded", "old", config={"was": "other"}), current, operations=(uninstall_of(current), operation()))


def plain(status: str, *, age: float | None) -> ReleaseHistory:
    """A release whose current record plain Helm left unfinished, so many seconds ago by the API server's clock."""
    written = (NOW - timedelta(seconds=age or 0)).isoformat()
    current = replace(record(2, status), modified=written, created=written)
    return replace(history(own(1, "deployed", config={"was": "other"}), current), read_at=None if age is None else NOW)
