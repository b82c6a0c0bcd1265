"""The operation's codec."""

from __future__ import annotations

import base64
import os

from support.past import operation

from kubernaut.history.operation import LARGEST, Outcome, decode_operation, encode_operation, new_id, operation_secret
from kubernaut.model import Action, Plan


def test_there_and_back() -> None:
    wrote = operation(new_id(), note="hi", plan=Plan(actions=(Action(kind="helm-upgrade", subject="a.b", reason="c"),)))
    secret = operation_secret(wrote)
    assert secret["metadata"]["name"] == f"kubernaut.{wrote.id}"
    assert secret["type"] == "kubernaut/operation.v1"
    assert secret["metadata"]["labels"]["owner"] == "kubernaut"  # and not helm: Helm must not list it
    assert secret["metadata"]["labels"]["name"] == "hello"
    assert decode_operation(secret) == wrote


def test_ids_sort_by_time_and_are_names() -> None:
    ids = [new_id(now) for now in (1.0, 2.0, 1_800_000_000.0, 1_800_000_000.002)]
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(100)}) == 100
    assert all(len(id) == 26 and id.isalnum() and id.islower() for id in ids)


def test_what_is_too_large_is_left_out_and_counted() -> None:
    lines = tuple(base64.b64encode(os.urandom(3000)).decode() for _ in range(200))
    wrote = operation(reason=None).model_copy(update={"outcome": Outcome(reason="deploy_failed", message="why", details=lines)})
    encoded = encode_operation(wrote)
    assert len(base64.b64decode(encoded)) <= LARGEST
    read = decode_operation({**operation_secret(operation()), "data": {"operation": encoded}})
    assert read is not None
    assert read.outcome is not None
    assert read.outcome.message == "why"
    assert 0 < len(read.outcome.details) < 200
    assert read.outcome.left_out == 200 - len(read.outcome.details)
    assert read.outcome.details[-1] == lines[-1]  # the end tells most
