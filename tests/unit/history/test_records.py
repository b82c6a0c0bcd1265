"""Tests of the codec of Helm's records: valid, damaged and foreign ones."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import record, record_secret

from kubernaut.history.records import PENDING, Record, Status, decode, encode


def damaged(payload: str) -> Record:
    found = decode(record_secret(1, "deployed", payload=payload))
    assert found is not None
    return found


def packed(data: bytes) -> str:
    return base64.b64encode(base64.b64encode(data)).decode()


def test_record_is_decoded() -> None:
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


def test_release_name_may_contain_dots() -> None:
    found = decode(record_secret(3, "deployed", name="my.app.v2"))
    assert found is not None
    assert (found.name, found.revision) == ("my.app.v2", 3)


def test_status_comes_from_the_content_and_the_label_is_kept() -> None:
    found = record(1, "superseded", label="deployed")
    assert found.labelled_status != found.status
    assert (found.status, found.labelled_status) == ("superseded", "deployed")


def test_deleted_at_survives_a_new_deploy() -> None:
    found = record(1, "superseded", deleted="2026-11-22T12:00:00Z")
    assert found.deleted_at == "2026-11-22T12:00:00Z"
    assert record(1, "deployed", deleted="0001-01-01T00:00:00Z").deleted_at is None


def test_status_is_read_from_metadata_alone() -> None:
    secret = record_secret(4, "failed")
    del secret["data"]
    found = decode(secret)
    assert found is not None
    assert (found.revision, found.status) == (4, "failed")
    assert found.damaged


@pytest.mark.parametrize(
    "payload",
    [
        "!!!",
        base64.b64encode(b"!!!").decode(),
        packed(b"no json"),
        packed(b"[]"),
        packed(gzip.compress(b"no json", mtime=0)),
        packed(gzip.compress(b"{}" * 9, mtime=0)[:-4]),
        packed(gzip.compress(b'{"a": 1}', mtime=0)[:10] + b"garbage"),
        packed(b"\x1f\x8b"),
        packed(b"[" * 100_000),
    ],
    ids=range(9),
)
def test_damaged_record_raises_nothing(payload: str) -> None:
    found = damaged(payload)
    assert found.damaged
    assert (found.status, found.manifest, found.config, found.chart, found.annotations) == ("deployed", "", {}, {}, {})


def test_decompression_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(gzip.compress(json.dumps({"a": "b" * 5000}).encode()))
    assert not damaged(content).damaged
    monkeypatch.setattr("kubernaut.history.records._LARGEST_CONTENT", 1000)
    assert damaged(content).damaged


@pytest.mark.parametrize(
    "content", [{"info": None, "chart": None}, {"info": [], "chart": {"metadata": 1}, "config": None}, {"manifest": None}]
)
def test_content_of_wrong_types_raises_nothing(content: dict[str, object]) -> None:
    found = damaged(encode(content))
    assert (found.status, found.manifest, found.config, found.description) == ("deployed", "", {}, "")
    assert found.chart in ({}, 1)


def test_uncompressed_records_are_read() -> None:
    assert damaged(packed(b'{"info": {"status": "failed"}}')).status == "failed"


@pytest.mark.parametrize(
    ("name", "owner"),
    [("sh.helm.release.v1.x.v1", "other"), ("kubernaut.1", "helm"), ("sh.helm.release.v1.x", "helm"), ("", "helm")],
)
def test_decode_ignores_other_secrets(name: str, owner: str) -> None:
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
def test_encoded_content_is_decoded(content: dict[str, object]) -> None:
    assert damaged(encode(content)).content == content


def test_three_statuses_are_pending() -> None:
    assert {status.value for status in PENDING} == {"pending-install", "pending-upgrade", "pending-rollback"}
    assert Status("deployed") is Status.DEPLOYED
