"""Helm's records, decoded: whole ones, broken ones, and those of others."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.past import record, record_secret

from kubernaut.history.records import PENDING, Record, Status, decode, encode


def damaged(payload: str) -> Record:
    found = decode(record_secret(1, "deployed", payload=payload))
    assert found is not None
    return found


def packed(data: bytes) -> str:
    return base64.b64encode(base64.b64encode(data)).decode()


def test_a_record_is_decoded() -> None:
    found = record(
        12, "deployed", config={"a": None}, deleted="", labels={"team": "x"}, annotations={"kubernaut/build-url": "http://b"}
    )
    assert (found.namespace, found.name, found.revision, found.status, found.id) == (
        "demo",
        "hello",
        12,
        "deployed",
        "demo.hello.v12",
    )
    assert found.damaged is None
    assert found.labelled_status == found.status
    assert found.config == {"a": None}
    assert found.labels["team"] == "x"
    assert found.annotations == {"kubernaut/build-url": "http://b"}
    assert found.deleted_at is None
    assert found.created == "2026-11-22T11:00:00Z"


def test_dots_belong_to_the_name() -> None:
    found = decode(record_secret(3, "deployed", name="my.app.v2"))
    assert found is not None
    assert (found.name, found.revision) == ("my.app.v2", 3)


def test_the_content_is_believed_and_the_label_told() -> None:
    found = record(1, "superseded", label="deployed")
    assert found.labelled_status != found.status
    assert (found.status, found.labelled_status) == ("superseded", "deployed")


def test_the_time_of_deletion_survives_a_new_deploy() -> None:
    found = record(1, "superseded", deleted="2026-11-22T12:00:00Z")
    assert found.deleted_at == "2026-11-22T12:00:00Z"
    assert record(1, "deployed", deleted="0001-01-01T00:00:00Z").deleted_at is None


def test_metadata_alone_is_enough_for_the_status() -> None:
    secret = record_secret(4, "failed")
    del secret["data"]
    found = decode(secret)
    assert found is not None
    assert (found.revision, found.status) == (4, "failed")
    assert "no release" in str(found.damaged)


@pytest.mark.parametrize(
    "payload",
    [
        "!!!",
        base64.b64encode(b"!!!").decode(),
        packed(b"no json"),
        packed(b"[]"),
        packed(gzip.compress(b"no json")),
        packed(gzip.compress(b"{}" * 9)[:-4]),
        packed(gzip.compress(b'{"a": 1}')[:10] + b"garbage"),
        packed(b"\x1f\x8b"),
        packed(b"[" * 100_000),
    ],
    ids=range(9),
)
def test_a_broken_record_says_so_and_raises_nothing(payload: str) -> None:
    found = damaged(payload)
    assert found.damaged
    assert (found.status, found.manifest, found.config, found.chart, found.annotations) == ("deployed", "", {}, {}, {})


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.history.records._LARGEST_CONTENT", 1000)
    assert "larger than" in str(damaged(packed(gzip.compress(json.dumps({"a": "b" * 5000}).encode()))).damaged)


@pytest.mark.parametrize(
    "content", [{"info": None, "chart": None}, {"info": [], "chart": {"metadata": 1}, "config": None}, {"manifest": None}]
)
def test_odd_content_does_no_harm(content: dict[str, object]) -> None:
    found = damaged(encode(content))
    assert (found.status, found.manifest, found.config, found.description) == ("deployed", "", {}, "")
    assert found.chart in ({}, 1)


def test_records_without_compression_are_read() -> None:
    assert damaged(packed(b'{"info": {"status": "failed"}}')).status == "failed"


@pytest.mark.parametrize(
    ("name", "owner"),
    [("sh.helm.release.v1.x.v1", "other"), ("kubernaut.1", "helm"), ("sh.helm.release.v1.x", "helm"), ("", "helm")],
)
def test_other_secrets_are_no_records(name: str, owner: str) -> None:
    secret = record_secret(1, "deployed")
    secret["metadata"] |= {"name": name, "labels": {"owner": owner}}
    assert decode(secret) is None
    assert decode({}) is None


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
        ),
    )
)
def test_what_is_encoded_is_decoded(content: dict[str, object]) -> None:
    assert damaged(encode(content)).content == content


def test_pending_are_three() -> None:
    assert {status.value for status in PENDING} == {"pending-install", "pending-upgrade", "pending-rollback"}
    assert Status("deployed") is Status.DEPLOYED
