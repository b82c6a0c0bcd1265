"""Tests of the index's summaries: small, and equal to the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import DIGEST, STARTED, made, operation, own, record, record_secret

from kubernaut.ci import CiBuild
from kubernaut.history.index.summaries import (
    MAX_JSON_BYTES,
    NamespacedName,
    parse_metadata,
    summarize_operation,
    summarize_release,
)
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import encode
from kubernaut.history.releases import Release, describe
from kubernaut.history.repair import aside_secret

MANIFEST = "kind: Pod\nspec: {containers: [" + ", ".join(f"{{image: 'r.io/{n}/{'i' * 60}@{DIGEST}'}}" for n in range(50)) + "]}\n"


def test_parse_metadata_of_records() -> None:
    mine = record_secret(2, "deployed", labels={"kubernaut/operation": "op", "kubernaut/revision": "2"})
    seen = parse_metadata({"metadata": mine["metadata"]})
    assert seen is not None
    assert (seen.name, seen.secret, seen.revision, seen.status) == (
        NamespacedName("demo", "hello"),
        mine["metadata"]["name"],
        2,
        "deployed",
    )
    assert (seen.uid, seen.record_uid, seen.version, seen.operation, seen.own) == (
        mine["metadata"]["uid"],
        mine["metadata"]["uid"],
        "1",
        "op",
        True,
    )
    copied = parse_metadata(record_secret(3, "deployed", labels={"kubernaut/operation": "op", "kubernaut/revision": "2"}))
    assert copied is not None
    assert (copied.operation, copied.own) == ("op", False)


def test_parse_metadata_of_a_copy_names_its_record() -> None:
    original = record_secret(2, "deployed")
    copy = aside_secret(original)
    copy["metadata"] |= {"namespace": "demo", "uid": "copy", "resourceVersion": "9"}
    seen = parse_metadata({"metadata": copy["metadata"]})
    assert seen is not None
    assert (seen.copy, seen.uid, seen.record_uid, seen.revision) == (True, "copy", original["metadata"]["uid"], 2)
    assert seen.secret == copy["metadata"]["name"]
    assert not seen.is_operation


@pytest.mark.parametrize(("ended", "finished"), [(None, False), (STARTED, True)])
def test_parse_metadata_of_an_operation_knows_its_end(ended: Any, finished: bool) -> None:
    seen = parse_metadata(operation_secret(operation(finished_at=ended)))
    assert seen is not None
    assert (seen.is_operation, seen.operation, seen.finished) == (True, "op", finished)


@pytest.mark.parametrize(
    "labels", [{}, {"owner": "helm"}, {"owner": "kubernaut"}, {"owner": "another", "kubernaut/operation": "op"}]
)
def test_parse_metadata_ignores_other_secrets(labels: dict[str, str]) -> None:
    assert parse_metadata({"metadata": {"name": "other", "namespace": "demo", "labels": labels}}) is None


def test_release_json_equals_the_described_release() -> None:
    mine = own(2, "deployed", manifest=MANIFEST)
    by = operation(made=(made(mine),), note="why")
    summary = summarize_release(mine, [summarize_operation(by)])
    assert summary.release(mine.resource_version) == describe(mine, [mine], [by])
    assert (summary.status, summary.chart_version, summary.operation, summary.whole) == (
        "deployed",
        "1.0.0",
        summarize_operation(by),
        True,
    )


def test_standing_changes_active_and_serving_only() -> None:
    summary = summarize_release(record(1, "deployed"), ())
    assert summary.standing(active=True, serving=1) is summary
    other = summary.standing(active=False, serving=2).release("1")
    assert other == summary.release("1").model_copy(update={"active": False, "serving": 2})


def test_short_release_is_not_shortened() -> None:
    summary = summarize_release(record(1, "deployed"), ())
    assert summary.shortened() is summary


def test_long_release_is_shortened_but_keeps_identifiers() -> None:
    nasty = record(1, "failed", manifest=MANIFEST, description="ä\x01" * 50_000)
    by = operation(made=(made(nasty),), note="n" * 50_000, build=CiBuild(url="https://" + "b" * 5000))
    whole = summarize_release(nasty, [summarize_operation(by)])
    short = whole.shortened()
    assert len(whole.json) > 50_000
    assert len(short.json) <= MAX_JSON_BYTES
    assert (whole.whole, short.whole) == (True, False)
    release, full = short.release("1"), whole.release("1")
    for kept in ("id", "uid", "namespace", "name", "revision", "status", "active", "created_at", "operation"):
        assert getattr(release, kept) == getattr(full, kept)
    for cut in ("description", "note"):
        assert getattr(release, cut).endswith("…")
        assert getattr(full, cut).startswith(getattr(release, cut)[:-1])
    assert release.images[-1].ref == "…"
    assert release.images[0].ref[:20] == full.images[0].ref[:20]


@given(
    st.text(max_size=3000),
    st.text(st.characters(codec="utf-8"), max_size=3000),
    st.lists(st.text("abc/:@.-", min_size=1, max_size=300), max_size=60),
)
def test_every_release_is_shortened_to_the_limit(description: str, note: str, images: list[str]) -> None:
    description = description.encode("utf-8", "replace").decode()
    containers = json.dumps([{"image": image} for image in images])
    one = record(1, "failed", manifest=f"kind: Pod\nspec: {{containers: {containers}}}", description=description)
    summary = summarize_release(one, [summarize_operation(operation(made=(made(one),), note=note))])
    short = summary.shortened()
    assert len(short.json) <= MAX_JSON_BYTES
    Release.model_validate_json(short.json)
    assert len(short.standing(active=False, serving=999_999_999).json) <= MAX_JSON_BYTES


@pytest.mark.parametrize(
    "content",
    [
        {"info": {"status": "deployed"}, "chart": {"metadata": {"name": 7}}},
        {"info": {"status": "deployed", "description": "\ud800"}},
        {"info": {"status": "deployed", "last_deployed": "0001-01-01T00:00:00+14:00"}},
        {"info": {"status": "deployed"}, "manifest": "kind: Pod\nspec: {containers: [{image: a}], initContainers: 7}"},
        {"info": {"status": "deployed"}, "manifest": 'kind: Pod\nspec: {containers: [{image: "\\ud800"}]}'},
        {"info": 7, "chart": [], "manifest": {}},
        {"info": {"status": ["deployed"]}, "chart": {"metadata": {"version": {}, "appVersion": []}}},
    ],
)
def test_invalid_content_still_gives_a_release(content: dict[str, Any]) -> None:
    odd = record(1, "failed", payload=encode(content))
    summary = summarize_release(odd, ())
    release = summary.release("1")
    assert (release.id, release.active) == ("demo.hello.v1", True)
    assert summary.status == release.status
    assert summary.shortened().json == summary.json


@pytest.mark.parametrize("payload", ["", "!!!", "aGVsbG8="])
def test_damaged_record_is_described_as_damaged(payload: str) -> None:
    release = summarize_release(record(1, "deployed", payload=payload), ()).release("1")
    assert release.description.startswith("damaged: ")
    assert (release.status, release.chart.version) == ("deployed", None)


def test_operation_summary_is_short() -> None:
    whole = operation(finished_at=STARTED)
    event = {"at": STARTED, "step": "deploy", "kind": "line", "text": "x" * 1000}
    long = type(whole).model_validate({**whole.model_dump(), "events": [event] * 200})
    assert summarize_operation(long) == summarize_operation(whole)
    assert len(summarize_operation(long).json) < 1000
    assert (summarize_operation(whole).finished, summarize_operation(operation()).finished) == (True, False)
    unread = operation().model_copy(update={"unread": "newer"})
    assert (summarize_operation(unread).finished, summarize_operation(unread).operation().unread) == (True, "newer")
    assert replace(summarize_operation(unread), unread=None) != summarize_operation(unread)
