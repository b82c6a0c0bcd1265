"""Tests of patches, fences, set-aside copies and recreated records."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import NAMESPACE, operation, record, record_secret

from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import Record, decode, encode
from kubernaut.history.repair import (
    LARGEST_SECRET,
    aside_secret,
    failed_patch,
    recreated_secret,
    superseded_patch,
    uninstalled_patch,
)
from kubernaut.testing.cluster import FakeCluster

LABELS = {"kubernaut/operation": "op", "kubernaut/revision": "2"}


def patched(secret: dict[str, Any], patch: dict[str, Any]) -> Record:
    """Return the record that a patch makes of a Secret."""
    cluster = FakeCluster(NAMESPACE)
    made = cluster.create_secret(NAMESPACE, secret)
    patch["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    found = decode(cluster.patch_secret(NAMESPACE, made["metadata"]["name"], patch))
    assert found is not None
    return found


def test_failed_patch_changes_label_and_content_and_fences() -> None:
    secret = record_secret(2, "pending-upgrade", labels=LABELS, config={"a": "ä"})
    found = decode(secret)
    assert found is not None
    patch = failed_patch(found, "Marked failed by ada")
    assert patch["metadata"]["resourceVersion"] == found.resource_version
    assert patch["metadata"]["labels"]["modifiedAt"].isdigit()
    after = patched(secret, patch)
    assert (after.status, after.labelled_status, after.description) == ("failed", "failed", "Marked failed by ada")
    assert (after.immutable, after.config, after.labels["kubernaut/operation"]) == (True, {"a": "ä"}, "op")


def test_superseded_patch_does_not_fence() -> None:
    assert "immutable" not in superseded_patch(record(2, "deployed"))


def test_superseded_patch_keeps_the_description() -> None:
    secret = record_secret(2, "deployed")
    found = decode(secret)
    assert found is not None
    after = patched(secret, superseded_patch(found))
    assert (after.status, after.labelled_status, after.description) == ("superseded", "superseded", "revision 2")


def test_failed_patch_keeps_the_rollback_target() -> None:
    found = record(3, "pending-rollback", description="Rollback to 1")
    after = patched(record_secret(3, "pending-rollback"), failed_patch(found, "Marked failed by ada"))
    assert after.description == "Rollback to 1: Marked failed by ada"


def test_patch_of_a_damaged_record_keeps_its_content() -> None:
    secret = record_secret(2, "pending-upgrade", payload="!!!")
    found = decode(secret)
    assert found is not None
    patch = failed_patch(found, "x")
    assert "data" not in patch
    assert patched(secret, patch).labelled_status == "failed"


def test_full_record_loses_description_then_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server refuses a Secret that is too large: the record could never change."""
    long, notes = (base64.b64encode(os.urandom(900)).decode() for _ in range(2))
    found = record(2, "pending-upgrade", notes=notes, manifest="kind: Pod")
    short = long[:79] + "…"
    stages = [(long, notes), (short, notes), (short, None), ("", None)]
    tried = []
    for description, kept in stages:
        info = {**found.info, "status": "failed", "description": description, "notes": kept}
        if kept is None:
            del info["notes"]
        size = len(base64.b64decode(encode({**found.content, "info": info})))
        for largest in (size, size + 1):
            monkeypatch.setattr("kubernaut.history.repair.LARGEST_SECRET", largest)
            patch = failed_patch(found, long)
            assert len(base64.b64decode(patch["data"]["release"])) <= largest
            after = patched(record_secret(2, "pending-upgrade"), patch)
            assert (after.status, after.manifest) == ("failed", "kind: Pod")
            tried.append((after.description, after.info.get("notes")))
    assert tried == [stage for stage in stages for _ in range(2)]
    assert LARGEST_SECRET == 1048576  # the limit in the API server's refusal


def test_copy_decodes_as_its_record() -> None:
    secret = record_secret(2, "failed", labels=LABELS, name="a" * 53)
    secret["metadata"]["managedFields"] = [{"time": "2026-11-22T12:00:00Z"}, {}]
    secret["immutable"] = True
    copy = aside_secret(secret)
    assert copy["metadata"]["name"] == f"kubernaut.aside.{'a' * 53}.v2"
    assert copy["type"] == "kubernaut/record.v1"
    assert all(len(value) <= 63 for value in copy["metadata"]["labels"].values())
    own = decode(secret)
    for read in (copy, {"metadata": copy["metadata"]}):
        found = decode(read)
        assert own is not None
        assert found is not None
        for fact in ("name", "revision", "labelled_status", "secret", "uid", "created", "modified", "labels", "namespace"):
            assert getattr(found, fact) == getattr(own, fact), fact
        assert (found.aside, found.immutable, own.aside, own.immutable) == (True, False, False, True)
    whole = decode(copy)
    assert whole is not None
    assert whole.content == own.content
    assert whole.aside_secret == copy["metadata"]["name"]


@given(
    labels=st.dictionaries(st.text(min_size=1), st.text()),
    annotations=st.dictionaries(st.text(min_size=1), st.text()),
    payload=st.none() | st.text(),
    immutable=st.booleans(),
)
def test_recreated_secret_equals_the_original(
    labels: dict[str, str], annotations: dict[str, str], payload: str | None, immutable: bool
) -> None:
    secret = record_secret(2, "failed", labels=labels, payload=payload, name="my.app.v2")
    secret["metadata"]["annotations"] = annotations
    secret |= {"immutable": immutable}
    again = recreated_secret(aside_secret(secret))
    assert again == recreated_secret(secret) == recreated_secret(again)
    assert set(again["metadata"]) <= {"name", "namespace", "labels", "annotations"}
    assert set(again) == {"metadata", "type", "data"}
    assert again["data"] == secret["data"]
    assert again["metadata"]["labels"] == secret["metadata"]["labels"]
    assert again["metadata"].get("annotations", {}) == annotations


@given(
    labels=st.dictionaries(st.sampled_from(["a", "kubernaut/operation", "modifiedAt"]), st.text(max_size=5)),
    status=st.sampled_from(["uninstalling", "pending-upgrade", "pending-rollback", "deployed", "failed"]),
    description=st.text(max_size=200),
    change=st.sampled_from([failed_patch, uninstalled_patch, lambda record, _: superseded_patch(record)]),
)
def test_fenced_record_is_recreated_as_an_unfenced_one_is_patched(
    labels: dict[str, str], status: str, description: str, change: Callable[[Record, str], dict[str, Any]]
) -> None:
    secret = record_secret(2, status, labels=labels)
    found = decode(secret)
    assert found is not None
    patch = change(found, description)
    again = decode(
        FakeCluster(NAMESPACE).create_secret(NAMESPACE, recreated_secret(aside_secret({**secret, "immutable": True}), patch))
    )
    wanted = patched(secret, patch)
    assert again is not None
    for fact in ("status", "labelled_status", "description", "content", "labels", "immutable"):
        assert getattr(again, fact) == getattr(wanted, fact), fact


@pytest.mark.parametrize("note", [None, "", "[]", "{", json.dumps({}), "[" * 100_000])
def test_copy_without_annotation_is_read_by_its_name(note: str | None) -> None:
    copy = aside_secret(record_secret(2, "failed"))
    copy["metadata"]["annotations"] = {} if note is None else {"kubernaut/set-aside": note}
    found = decode(copy)
    assert found is not None
    assert (found.id, found.status, found.secret) == ("demo.hello.v2", "failed", "sh.helm.release.v1.hello.v2")
    assert recreated_secret(copy)["metadata"]["labels"] == {"name": "hello", "owner": "helm", "status": "failed", "version": "2"}


def test_only_records_can_be_set_aside_or_recreated() -> None:
    other = operation_secret(operation())
    copy = aside_secret(record_secret(1, "failed"))
    for wrong in (other, copy, {}):
        with pytest.raises(ValueError, match="set aside"):
            aside_secret(wrong)
    with pytest.raises(ValueError, match="recreated"):
        recreated_secret(other)
