"""Any answer is either read or invalid; a console is the same in any chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubernaut.jenkins.config_xml import decode
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import (
    InvalidResponse,
    read_build,
    read_builds,
    read_console,
    read_item,
    read_items,
    read_job,
    read_object,
)

URL = "https://ci.example.com"
_RESPONSE_KEYS = (
    "id",
    "number",
    "building",
    "result",
    "queueId",
    "builds",
    "items",
    "task",
    "url",
    "why",
    "cancelled",
    "executable",
)
_JOB_KEYS = ("actions", "parameters", "name", "value", "property", "parameterDefinitions", "buildable")
NAMES = st.sampled_from(_RESPONSE_KEYS + _JOB_KEYS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([f"{URL}/job/a/job/b/", "http://[", "job"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)


@given(st.dictionaries(NAMES, JSON))
@example({"id": 1, "task": {"url": "http://["}})
@example({"builds": [{"number": 10**30, "actions": [{"parameters": [{"name": "A", "value": {"b": []}}]}]}]})
def test_any_object_is_read_or_invalid(content: dict[str, Any]) -> None:
    content = read_object(json.dumps(content).encode())
    read_job(content, JobPath.parse("shop"), URL)
    for read in (read_build, read_builds, read_item, read_items):
        try:
            read(content, f"{URL}/")
        except InvalidResponse:
            continue


@given(st.binary())
@example(b"<?xml version='1.0' encoding='idna'?>" + b"." * 100)
@example(b"<?xml version='1.0' encoding='zlib_codec'?>")
@example(b"<?xml version='1.0' encoding='undefined'?>")
def test_any_bytes_are_read_or_invalid(body: bytes) -> None:
    for read in (read_object, decode):
        try:
            read(body)
        except InvalidResponse:
            continue


@given(st.binary().map(lambda log: log.replace(b"\r", b"")) | st.text("aé😀\n").map(str.encode), st.data())
def test_console_is_the_same_in_any_chunks(log: bytes, data: st.DataObject) -> None:
    texts, start, end = list[str](), 0, 0
    while end < len(log) or not texts:
        end = data.draw(st.integers(end, len(log)), "bytes written so far") if len(texts) < 8 else len(log)
        more = end < len(log)
        headers = {"X-Text-Size": str(end), **({"X-More-Data": "true"} if more else {})}
        console = read_console(log[start:end].replace(b"\n", b"\r\n"), headers, start)
        assert not console.reset
        assert console.more is more
        texts.append(console.text)
        start = console.next
    assert start == len(log)
    assert "".join(texts) == log.decode("utf-8", "replace")


@pytest.mark.parametrize("headers", [{}, {"X-Text-Size": "x"}, {"X-Text-Size": "-1"}, {"X-Text-Size": "1" * 19}])
def test_console_without_a_size_is_invalid(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidResponse):
        read_console(b"a", headers, 0)
