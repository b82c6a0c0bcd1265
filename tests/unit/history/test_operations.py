"""Tests of the codec of operations."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.records import STARTED, made, operation, record, record_secret

from kubernaut.events import Journal, LogLine, OperationEvent, RecordedEvent, StepFinished, StepOutcome, StepStarted
from kubernaut.history.operation_codec import LARGEST, decode_operation, encode_operation, operation_secret
from kubernaut.history.operations import (
    Operation,
    Outcome,
    is_operation_id,
    key_hash,
    new_operation_id,
    numbered_events,
    operation_events,
    with_recreated_record,
)
from kubernaut.history.repair import aside_secret
from kubernaut.models import Action, Plan


def event(text: str) -> OperationEvent:
    return OperationEvent(at=STARTED, step="deploy", kind="logLine", text=text)


def read(encoded: str) -> Operation:
    found = decode_operation({**operation_secret(operation()), "data": {"operation": encoded}})
    assert found is not None
    return found


def kept(content: Any, *, type: str = "kubernaut/operation.v1") -> dict[str, Any]:
    """Return the Secret that keeps this content."""
    packed = gzip.compress(content if isinstance(content, bytes) else json.dumps(content).encode())
    secret = operation_secret(operation())
    secret["metadata"]["creationTimestamp"] = "2026-11-22T11:00:00Z"
    return {**secret, "type": type, "data": {"operation": base64.b64encode(packed).decode()}}


def content_of(wrote: Operation) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(wrote.model_dump_json(by_alias=True, exclude_none=True))
    return content


def test_operation_survives_encoding_and_decoding() -> None:
    plan = Plan(actions=(Action(kind="helm-upgrade", subject="a.b", reason="c"),))
    wrote = operation(
        new_operation_id(), note="hé", plan=plan, timeout=30.5, events=(event("é"),), events_left_out=7, finished_at=STARTED
    )
    secret = operation_secret(wrote)
    assert secret["metadata"]["name"] == f"kubernaut.{wrote.id}"
    assert secret["type"] == "kubernaut/operation.v1"
    assert secret["metadata"]["labels"]["owner"] == "kubernaut"  # and not helm: Helm must not list it
    assert secret["metadata"]["labels"]["name"] == "hello"
    assert decode_operation(secret) == wrote


def test_operation_ids_sort_by_time_and_are_valid_names() -> None:
    ids = [new_operation_id(now) for now in (1.0, 2.0, 1_800_000_000.0, 1_800_000_000.002)]
    assert ids == sorted(ids)
    assert len({new_operation_id() for _ in range(100)}) == 100
    assert all(len(id) == 26 and id.isalnum() and id.islower() for id in ids)


def test_too_many_events_and_details_are_dropped_and_counted() -> None:
    lines = tuple(base64.b64encode(os.urandom(3000)).decode() for _ in range(200))
    wrote = operation(reason=None).model_copy(update={"outcome": Outcome(reason="deploy_failed", message="why", details=lines)})
    encoded = encode_operation(wrote)
    assert len(base64.b64decode(encoded)) <= LARGEST
    found = read(encoded).outcome
    assert found is not None
    assert found.message == "why"
    assert 80 < len(found.details) < 200  # as much as there is room for
    assert found.left_out == 200 - len(found.details)
    assert found.details == lines[-len(found.details) :]  # the last lines matter most


def test_events_are_dropped_before_details_and_first_events_last() -> None:
    lines = tuple(base64.b64encode(os.urandom(1500)).decode() for _ in range(50))
    events = tuple(event(f"{number} {base64.b64encode(os.urandom(900)).decode()}") for number in range(400))
    wrote = operation(reason=None, events=events, events_left_out=5).model_copy(
        update={"outcome": Outcome(reason="deploy_failed", message="why", details=lines)}
    )
    found = read(encode_operation(wrote))
    assert found.outcome == wrote.outcome
    assert found.events[:50] == events[:50]
    assert 50 < len(found.events) < 400
    assert found.events[50:] == events[-(len(found.events) - 50) :]
    assert found.events_left_out == 5 + 400 - len(found.events)


def noise(size: int, seed: int) -> str:
    """Return text that hardly gets smaller when it is packed."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()  # noqa: S311 - no secret


SIZES = st.sampled_from([0, 10, 3_000, 300_000])


@settings(max_examples=10, deadline=None)
@given(
    events=st.lists(SIZES, max_size=12),
    many=st.sampled_from([0, 550]),
    details=st.lists(SIZES, max_size=6),
    note=SIZES,
    message=SIZES,
    actions=st.sampled_from([1, 2000]),
    left_out=st.integers(0, 9),
    odd=st.sampled_from(["", "\ud800", "\x00", "é\U0001f680"]),
)
def test_encoded_operation_fits_and_counts_add_up(
    events: list[int], many: int, details: list[int], note: int, message: int, actions: int, left_out: int, odd: str
) -> None:
    texts = [noise(size, number) + odd for number, size in enumerate([*events, *[700] * many])]
    wrote = operation(
        reason=None,
        note=noise(note, 1) + odd,
        plan=Plan(actions=tuple(Action(kind="k", subject="s", reason=noise(300, number)) for number in range(actions))),
        events=tuple(event(text) for text in texts),
        events_left_out=left_out,
    ).model_copy(
        update={
            "outcome": Outcome(
                reason="deploy_failed",
                message=noise(message, 2) + odd,
                details=tuple(noise(size, number) for number, size in enumerate(details)),
                left_out=left_out,
            )
        }
    )
    encoded = encode_operation(wrote)
    assert len(base64.b64decode(encoded)) <= LARGEST
    found = read(encoded)
    assert found.unread is None
    assert (found.id, found.name, found.actor, found.chart) == (wrote.id, wrote.name, wrote.actor, wrote.chart)
    assert found.outcome is not None
    assert found.events_left_out == left_out + len(texts) - len(found.events)
    assert found.outcome.left_out == left_out + len(details) - len(found.outcome.details)
    if len(found.outcome.details) < len(details):
        assert found.events == ()


def test_recorded_events_are_stored_as_redacted_text() -> None:
    events = (
        StepStarted("deploy", "hello 1.0.0 to demo"),
        LogLine("deploy", "password=hunter22 and s3cr3t-value \ud800"),
        StepFinished("deploy", StepOutcome.FAILED, "it broke", 1.0),
        StepFinished("deploy", StepOutcome.DONE, "", 1.0),
    )
    kept = operation_events([RecordedEvent(STARTED, one) for one in events], secrets=iter(["s3cr3t-value"]))
    assert [(one.kind, one.text) for one in kept] == [
        ("stepStarted", "hello 1.0.0 to demo"),
        ("logLine", "password=*** and *** ?"),
        ("stepFinished", "failed it broke"),
        ("stepFinished", "done"),
    ]
    assert {(one.at, one.step) for one in kept} == {(STARTED, "deploy")}


def test_long_log_line_is_cut() -> None:
    (kept,) = operation_events([RecordedEvent(STARTED, LogLine("deploy", "x" * 100_000))])
    assert kept.text == "x" * 3999 + "…"


def test_reference_follows_a_recreated_record() -> None:
    before, after, other = record(2, "failed"), record(2, "failed", namespace="elsewhere"), record(3, "deployed")
    wrote = operation(made=(made(before), made(other)))
    moved = with_recreated_record(wrote, before.uid, after)
    assert [one.uid for one in moved.made] == [after.uid, other.uid]
    assert moved.made[0].chart == wrote.made[0].chart
    assert with_recreated_record(wrote, "another", after) == wrote


def test_decode_ignores_other_secrets() -> None:
    assert decode_operation({}) is None
    assert decode_operation(record_secret(1, "deployed")) is None
    assert decode_operation(aside_secret(record_secret(1, "deployed"))) is None
    assert decode_operation({**operation_secret(operation()), "type": "Opaque"}) is None
    secret = operation_secret(operation())
    secret["metadata"]["labels"]["owner"] = "helm"
    assert decode_operation(secret) is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "!!!",
        base64.b64encode(b"x").decode(),
        base64.b64encode(b"\x1f\x8b").decode(),
        base64.b64encode(gzip.compress(b"{}" * 99, mtime=0)[:-4]).decode(),
        kept(b"no json")["data"]["operation"],
        kept([])["data"]["operation"],
        kept(b"[" * 100_000)["data"]["operation"],
        kept(b'{"a":"\xff"}')["data"]["operation"],
    ],
    ids=range(9),
)
def test_undecodable_operation_is_read_from_its_labels(data: str) -> None:
    found = decode_operation({**kept({}), "data": {"operation": data}})
    assert found is not None
    assert found.unread
    assert (found.id, found.verb, found.name, found.namespace, found.actor) == ("op", "deploy", "hello", "demo", None)
    assert found.started_at == datetime(2026, 11, 22, 11, tzinfo=UTC)


def test_decompression_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = operation_secret(operation(note="x" * 5000))
    monkeypatch.setattr("kubernaut.history.records._LARGEST_PACKED", 1000)
    found = decode_operation(secret)
    assert found is not None
    assert found.unread
    monkeypatch.undo()
    found = decode_operation(secret)
    assert found is not None
    assert found.unread is None


def test_newer_schema_is_read_as_far_as_possible() -> None:
    for content, actor in ((content_of(operation()), "ada"), ({"steps": [1], "actor": {"name": "ada"}}, None), ([], None)):
        found = decode_operation(kept(content, type="kubernaut/operation.v2"))
        assert found is not None
        assert "operation.v2" in str(found.unread)
        assert (found.id, found.verb, found.actor) == ("op", "deploy", actor)


@pytest.mark.parametrize(
    ("changes", "strange"),
    [
        ({"approval": {"by": "eve"}}, "approval"),
        ({"chart": {"digest": "sha256:1", "signature": "x"}}, "chart.signature"),
        ({"made": [{"id": "i", "uid": "u", "revision": 1, "secret": "s", "more": 1}]}, "made.0.more"),
        ({"made": [{"id": "i"}]}, "made.0.uid"),
        ({"outcome": 7}, "outcome"),
        ({"startedAt": "soon"}, "startedAt"),
        ({"verb": "migrate"}, "verb migrate"),
        ({"actor": {"name": "ada"}}, "actor"),
    ],
)
def test_unknown_fields_are_named(changes: dict[str, Any], strange: str) -> None:
    found = decode_operation(kept(content_of(operation()) | changes))
    assert found is not None
    assert strange in str(found.unread)
    assert (found.id, found.commit, found.namespace) == ("op", None, "demo")
    if "actor" not in changes:
        assert found.actor == "ada"
    if "chart" in changes:
        assert found.chart is not None
        assert found.chart.digest == "sha256:1"
    if strange == "made.0.more":
        assert [one.uid for one in found.made] == ["u"]


@pytest.mark.parametrize("field", ["id", "verb", "namespace", "name", "startedAt"])
def test_missing_fields_are_named(field: str) -> None:
    content = content_of(operation())
    del content[field]
    found = decode_operation(kept(content) | {"metadata": {**kept({})["metadata"], "namespace": "demo"}})
    assert found is not None
    assert field in str(found.unread)
    assert (found.id, found.verb, found.namespace, found.name) == ("op", "deploy", "demo", "hello")


def test_unread_is_never_written() -> None:
    wrote = operation().model_copy(update={"unread": "why"})
    assert read(encode_operation(wrote)).unread is None
    assert "unread" not in wrote.model_dump_json()
    claimed = decode_operation(kept(content_of(operation()) | {"unread": "claimed"}))
    assert claimed is not None
    assert claimed.unread is None


@settings(max_examples=examples(60), deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["id", "verb", "actor", "chart", "plan", "made", "outcome", "events", "startedAt", "new"]),
        st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    )
)
def test_any_content_decodes_to_an_operation(changes: dict[str, Any]) -> None:
    found = decode_operation(kept(content_of(operation()) | changes))
    assert found is not None
    assert found.name == "hello"
    if "new" in changes:
        assert found.unread


# accepted operations and their outcome


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"waits_until": STARTED}, "accepted"),
        ({}, "running"),
        ({"reason": "deploy_failed"}, "running"),  # and is being rolled back
        ({"reason": "succeeded", "finished_at": STARTED}, "succeeded"),
        ({"reason": "unchanged", "finished_at": STARTED}, "unchanged"),
        ({"reason": "deploy_failed", "finished_at": STARTED}, "failed"),
        ({"finished_at": STARTED}, "failed"),
        ({"reason": "succeeded", "finished_at": STARTED, "unread": "why"}, "unread"),
    ],
)
def test_state_of_an_operation(more: dict[str, Any], state: str) -> None:
    assert operation(**{"reason": None, **more}).state == state


def test_accepted_operation_may_begin_until_its_deadline() -> None:
    second = timedelta(seconds=1)
    waiting = operation(reason=None, waits_until=STARTED)
    assert [waiting.may_begin(at) for at in (None, STARTED - second, STARTED, STARTED + second)] == [True, True, False, False]
    assert not operation(reason=None).may_begin(None)
    assert not operation(waits_until=STARTED, finished_at=STARTED).may_begin(None)


def test_accepted_operation_with_a_key_has_one_secret_name() -> None:
    key = key_hash("ada", "order-7")
    wrote = operation(new_operation_id(), reason=None, fingerprint="f", key=key, waits_until=STARTED)
    secret = operation_secret(wrote)
    assert decode_operation(secret) == wrote
    assert secret["metadata"]["name"] == f"kubernaut.key-{key}"
    assert len(secret["metadata"]["name"]) <= 253
    labels = secret["metadata"]["labels"]
    assert labels["kubernaut/operation"] == wrote.id
    assert key.startswith(labels["kubernaut/key"])
    assert all(len(label) <= 63 for label in labels.values())
    assert "kubernaut/outcome" not in labels
    assert "order-7" not in str(secret)
    assert key not in {key_hash("bob", "order-7"), key_hash("ada", "order-8"), key_hash("adao", "rder-7")}


def test_finished_operation_has_an_outcome_label() -> None:
    assert "kubernaut/outcome" not in operation_secret(operation())["metadata"]["labels"]
    finished = operation(reason="helm_failed", finished_at=STARTED)
    assert operation_secret(finished)["metadata"]["labels"]["kubernaut/outcome"] == "helm_failed"


def test_operation_without_acceptance_has_no_new_fields() -> None:
    content = content_of(operation())
    assert {"fingerprint", "key", "waitsUntil", "resourceVersion", "unread"}.isdisjoint(content)


def test_resource_version_comes_from_the_secret_only() -> None:
    content = {**content_of(operation()), "resourceVersion": "7", "unread": "x"}
    secret = kept(content)
    secret["metadata"]["resourceVersion"] = "12"
    found = decode_operation(secret)
    assert found is not None
    assert (found.resource_version, found.unread) == ("12", None)


def test_event_numbers_count_dropped_events() -> None:
    """Event 700 keeps its number when the journal drops events, and when the Secret drops more."""
    journal = Journal()
    numbers: dict[str, int] = {}
    for number in range(1, 801):
        journal(LogLine("deploy", f"line {number}"))
        numbers[f"line {number}"] = number
        if number in (1, 49, 50, 51, 549, 550, 551, 700, 800):
            stored = operation(events=operation_events(journal.events), events_left_out=journal.left_out)
            assert {event.text: seq for seq, event in numbered_events(stored)}.items() <= numbers.items()
            assert numbered_events(stored)[-1][0] == number
    many = tuple(event(noise(2000, number)) for number in range(550))
    smaller = read(encode_operation(operation(events=many, events_left_out=250)))
    assert len(smaller.events) < 550
    assert numbered_events(smaller)[0][0] == 1
    assert numbered_events(smaller)[-1][0] == 800


@pytest.mark.parametrize("text", ["", "x", "0" * 25, "0" * 27, "0" * 25 + "i", "0" * 25 + "A", "0" * 26 + "\n"])
def test_is_operation_id_rejects_invalid_ids(text: str) -> None:
    assert not is_operation_id(text)


def test_new_operation_id_is_valid() -> None:
    assert is_operation_id(new_operation_id())
