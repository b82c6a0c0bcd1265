"""Tests of an operation's CI build: older and newer versions read each other's operations."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from support.records import operation

from kubernaut.ci import CiBuild
from kubernaut.history.operation_codec import LARGEST, decode_operation, encode_operation, operation_secret
from kubernaut.history.operations import Operation
from kubernaut.history.records import unpack

BUILD = CiBuild(url="https://ci/job/shop-deploy/7/", job="shop-deploy", number=7, tag="jenkins-shop-deploy-7", change="31")
KNOWN_TO_OLDER_ONES = {
    *("id", "verb", "namespace", "name", "actor", "buildUrl", "note", "environment", "commit", "chart", "plan", "timeout", "after"),
    *("startedAt", "finishedAt", "outcome", "made", "fingerprint", "key", "waitsUntil", "events", "eventsLeftOut"),
}


def packed(content: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()


def read(secret: dict[str, Any]) -> Operation:
    found = decode_operation(secret)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "build", [None, BUILD, CiBuild(url="https://ci/7"), CiBuild(job="shop-deploy", number=7), CiBuild(tag="t", change="ü")]
)
def test_build_survives_encoding_and_decoding(build: CiBuild | None) -> None:
    wrote = operation(build=build)
    found = read(operation_secret(wrote))
    assert (found.build, found.unread) == (build, None)


def test_older_version_reads_the_operation_without_unknown_fields() -> None:
    content = unpack(encode_operation(operation(build=BUILD)))
    assert content.keys() <= KNOWN_TO_OLDER_ONES
    assert content["buildUrl"] == BUILD.url
    assert "buildUrl" not in unpack(encode_operation(operation(build=CiBuild(job="shop", number=7))))


def test_build_of_an_older_version_is_read() -> None:
    content = unpack(encode_operation(operation(build=None)))
    secret = {**operation_secret(operation()), "data": {"operation": packed({**content, "buildUrl": "http://ci/7"})}}
    found = read(secret)
    assert (found.build, found.unread) == (CiBuild(url="http://ci/7"), None)


def test_rewritten_operation_keeps_the_build() -> None:
    """An update writes the operation only; an older kubernaut that ends it knows the page alone."""
    secret = operation_secret(operation(build=BUILD))
    ended = encode_operation(read(secret).model_copy(update={"build": CiBuild(url=BUILD.url), "note": "later"}))
    found = read({**secret, "data": {**secret["data"], "operation": ended}})
    assert (found.build, found.note) == (BUILD, "later")


@pytest.mark.parametrize(
    "strange",
    ["", "!", packed([]), packed({}), packed({"url": 7, "number": "x", "job": []}), packed({"more": 1})],
    ids=["nothing", "no base64", "a list", "empty", "other types", "unknown"],
)
def test_unreadable_build_is_ignored(strange: str) -> None:
    secret = operation_secret(operation(build=CiBuild(url="http://ci/7")))
    secret["data"]["build"] = strange
    found = read(secret)
    assert (found.build, found.unread) == (CiBuild(url="http://ci/7"), None)


@pytest.mark.parametrize("page", [7, None, [], {"url": "x"}, "javascript:alert(1)"])
def test_invalid_build_url_is_ignored(page: Any) -> None:
    content = unpack(encode_operation(operation(build=None)))
    found = read({**operation_secret(operation()), "data": {"operation": packed({**content, "buildUrl": page})}})
    assert (found.id, found.build) == (operation().id, None)


def test_build_does_not_count_toward_the_operation_size() -> None:
    wrote = operation(build=BUILD, note="n" * 900_000)
    assert len(base64.b64decode(operation_secret(wrote)["data"]["operation"])) <= LARGEST
    assert read(operation_secret(wrote)).build == BUILD
