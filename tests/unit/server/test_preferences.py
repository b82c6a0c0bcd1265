"""The headers Prefer and Accept: any value is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.server.operations.execution import MAX_WAIT_SECONDS, preferred_wait
from kubernaut.server.routes.operations import prefers_stream


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("wait=0", 0),
        ("WAIT=7", 7),
        ("wait = 10", 10),
        ('wait="10"', 10),
        ("respond-async, wait=10", 10),
        ("wait=10; why=tired, respond-async", 10),
        ('x="a, wait=3", wait=4', 4),
        ('x="a\\", wait=3", wait=4', 4),
        ("respond-async", None),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=ten", None),
        ("wait=1 0", None),
        ("wait=²", None),
        (", ,wait=5,", 5),
        ('wait=5, "', 5),
        ("wait=5, wait=9", 5),
        ("wait=ten, wait=9", None),
        ("wait=300", 300),
    ],
)
def test_prefer_is_parsed_and_malformed_parts_are_ignored(header: str | None, wait: int | None) -> None:
    assert preferred_wait(header) == wait


def test_a_wait_is_limited() -> None:
    assert preferred_wait("wait=86400") == MAX_WAIT_SECONDS


@given(st.text(max_size=200) | st.text(alphabet=' \t,;="\\waitq0159*/', max_size=400))
def test_any_header_is_accepted(header: str) -> None:
    assert preferred_wait(header) in (None, *range(MAX_WAIT_SECONDS + 1))
    assert prefers_stream(header) in (True, False)


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/*", True),
        ("text/event-stream, application/json", False),
        ("text/event-stream, application/json;q=0.9", True),
        ("text/event-stream;q=0.5, */*;q=0.1", True),
        ("text/event-stream;q=0.5, */*", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.2, application/json; q=0.1", True),
        ("text/html", False),
    ],
)
def test_a_stream_needs_a_higher_quality_than_json(accept: str | None, stream: bool) -> None:
    assert prefers_stream(accept) is stream
