"""The client of the REST API: requests, repetition, and responses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from support.answers import CANARY, RELEASE, URL, accepted, client, problem, sent
from support.messages import facts

from kubernaut.client.transport import MAX_PAUSE, PROBLEM_JSON
from kubernaut.errors import IndexStale, KubernautError, ReleaseLocked, Unauthorized, Unreachable, ValuesInvalid


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


# requests


def test_deploy_sends_only_the_given_options(http: responses.RequestsMock, tmp_path: Path) -> None:
    accepted(http)
    (tmp_path / "a.yaml").write_text("image: {tag: a, pull: Always}\nreplicas: 1\n")
    client().deploy(
        "hello",
        namespace="demo",
        version="1.0.0",
        values=[tmp_path / "a.yaml", {"image": {"tag": "b"}}],
        set=["greeting=hi"],
        lock_timeout=0,
        timeout=90.0,
        on_failure="keep",
        on_conflict="take",
        take_ownership=True,
        always=True,
        create_namespace=True,
        reuse_values=False,
        no_hooks=True,
        if_match="u1-7",
    )
    assert sent(http) == {
        "name": "hello",
        "namespace": "demo",
        "version": "1.0.0",
        "values": {"image": {"tag": "b", "pull": "Always"}, "replicas": 1},
        "set": ["greeting=hi"],
        "timeout": 90.0,
        "lockTimeout": 0,
        "onFailure": "keep",
        "onConflict": "take",
        "takeOwnership": True,
        "always": True,
        "createNamespace": True,
        "noHooks": True,
    }
    headers = http.calls[0].request.headers
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert headers["If-Match"] == '"u1-7"'
    assert len(headers["Idempotency-Key"]) == 32


def test_content_of_files_is_sent_as_text(http: responses.RequestsMock, tmp_path: Path) -> None:
    accepted(http)
    (tmp_path / "motd").write_text("a,{b}\\\n")
    how: dict[str, Any] = {
        "set_string": ["n=1"],
        "set_file": [f"motd={tmp_path / 'motd'}"],
        "set_literal": ["l=x,y"],
        "set_json": ["j=[1]"],
    }
    client().deploy("hello", namespace="demo", skip_crds=True, **how)
    assert sent(http) == {
        "name": "hello",
        "namespace": "demo",
        "setString": ["n=1", "motd=a\\,\\{b\\}\\\\\n", "l=x\\,y"],
        "setJson": ["j=[1]"],
        "skipCrds": True,
    }


def test_each_write_has_its_own_key_and_a_dry_run_none(http: responses.RequestsMock) -> None:
    accepted(http)
    http.get(f"{URL}/api/releases/demo.hello.current", json=RELEASE)
    there = client()
    there.deploy("hello", namespace="demo")
    there.deploy("hello", namespace="demo")
    http.replace(responses.POST, f"{URL}/api/releases", json={"actions": [], "reason": "runs already"})
    assert there.deploy("hello", namespace="demo", dry_run=True).plan.reason == "runs already"
    posts = [call.request for call in http.calls if call.request.method == "POST"]
    keys = [request.headers.get("Idempotency-Key") for request in posts]
    assert len(set(keys)) == 3
    assert keys[2] is None
    assert str(posts[2].url).endswith("?dryRun=true")


def test_token_is_only_in_its_header(http: responses.RequestsMock) -> None:
    problem(http, "GET", f"{URL}/api/releases", 403, "not_allowed")
    with pytest.raises(KubernautError) as caught:
        client().list(namespace="demo")
    assert CANARY not in json.dumps(caught.value.problem()) + repr(caught.value.__cause__)
    assert CANARY not in str(http.calls[0].request.url)
    assert CANARY not in repr(client())


def test_netrc_is_ignored(http: responses.RequestsMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine kubernaut.example.com login ada password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    http.get(f"{URL}/api/releases", json={"items": [], "count": 0, "next": None})
    client(token=None).list()
    assert "Authorization" not in http.calls[0].request.headers


# repetition


@pytest.mark.parametrize("failure", [requests.ConnectionError("x"), requests.Timeout("x"), 502, 503])
def test_reads_are_repeated(http: responses.RequestsMock, failure: Any) -> None:
    if isinstance(failure, int):
        http.get(f"{URL}/api/releases/demo.hello.v1", "<html>", status=failure)
    else:
        http.get(f"{URL}/api/releases/demo.hello.v1", body=failure)
    http.get(f"{URL}/api/releases/demo.hello.v1", json=RELEASE)
    assert client().show("demo.hello.v1").id == "demo.hello.v1"
    assert len(http.calls) == 2


def test_write_without_a_response_is_repeated_with_its_key(http: responses.RequestsMock) -> None:
    http.post(f"{URL}/api/releases", body=requests.ConnectionError("cut"))
    problem(http, "POST", f"{URL}/api/releases", 503, "server_stopping")
    accepted(http)
    done = client().deploy("hello", namespace="demo")
    assert done.changed
    posts = [call.request for call in http.calls if call.request.method == "POST"]
    assert len(posts) == 3
    assert len({request.headers["Idempotency-Key"] for request in posts}) == 1
    assert len({request.body for request in posts}) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(409, "release_locked"), (401, "unauthorized"), (404, "release_not_found"), (500, "x")]
)
def test_refused_requests_are_not_repeated(http: responses.RequestsMock, status: int, code: str) -> None:
    problem(http, "POST", f"{URL}/api/releases", status, code)
    problem(http, "GET", f"{URL}/api/releases", status, code)
    for call in (lambda: client().deploy("hello", namespace="demo"), lambda: client().list()):
        with pytest.raises(KubernautError, match=f"It is {code}"):
            call()
    assert len(http.calls) == 2


def test_tls_failures_are_not_repeated(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/api/releases", body=requests.exceptions.SSLError("x"))
    with pytest.raises(Unreachable, match="TLS"):
        client().list()
    assert len(http.calls) == 1


def test_repeated_requests_raise_the_last_problem(http: responses.RequestsMock) -> None:
    problem(http, "GET", f"{URL}/api/releases", 503, "index_stale", detail="The watch is broken.", headers={"Retry-After": "0"})
    with pytest.raises(IndexStale, match="The watch is broken"):
        client().list()
    assert len(http.calls) == 4


def test_readiness_is_not_repeated(http: responses.RequestsMock) -> None:
    problem(http, "GET", f"{URL}/readyz", 503, "index_stale")
    with pytest.raises(IndexStale):
        client().ready()
    assert len(http.calls) == 1


def test_retry_after_is_respected(http: responses.RequestsMock) -> None:
    problem(http, "GET", f"{URL}/api/releases", 503, "server_busy", headers={"Retry-After": "1"})
    http.get(f"{URL}/api/releases", json={"items": [], "count": 0})
    begun = time.monotonic()
    client().list()
    assert 1 <= time.monotonic() - begun < MAX_PAUSE


def test_refused_connection_names_the_url_and_the_setting() -> None:
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9.*Connection refused") as caught:
        client(url="http://127.0.0.1:9").list()
    assert "`server`" in caught.value.hint


# responses


def test_problems_become_library_errors(http: responses.RequestsMock) -> None:
    problem(http, "POST", f"{URL}/api/releases", 409, "release_locked", holder={"user": "eve"}, details=["since 3 minutes"])
    with pytest.raises(ReleaseLocked, match="It is release_locked") as caught:
        client().deploy("hello", namespace="demo")
    assert caught.value.members["holder"] == {"user": "eve"}
    assert caught.value.details == ("since 3 minutes",)
    assert caught.value.http_hint == "Do so."
    assert caught.value.hint == ReleaseLocked.hint


def test_missing_token_hint_names_the_setting(http: responses.RequestsMock) -> None:
    problem(http, "GET", f"{URL}/api/releases", 401, "unauthorized")
    with pytest.raises(Unauthorized) as caught:
        client(token=None).list()
    assert "KUBERNAUT_TOKEN_FILE" in caught.value.hint
    with pytest.raises(Unauthorized) as caught:
        client().list()
    assert caught.value.http_hint == "Do so."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "<html>welcome</html>", "text/html"),
        (200, "[]", "application/json"),
        (404, "<html>no such page</html>", "text/html"),
        (401, "{}", "application/json"),
        (404, '{"code": "release_not_found"}', "application/json"),
        (404, "not json", PROBLEM_JSON),
        (500, "[" * 5000, "application/json"),
    ],
)
def test_responses_of_other_servers_are_unreachable(http: responses.RequestsMock, status: int, body: str, kind: str) -> None:
    http.get(f"{URL}/api/releases", body, status=status, content_type=kind)
    with pytest.raises(Unreachable) as caught:
        client().list()
    assert all(fact in caught.value.message for fact in (URL, str(status), kind))


def test_unknown_fields_are_ignored(http: responses.RequestsMock) -> None:
    newer = {
        **RELEASE,
        "colour": "green",
        "chart": {**RELEASE["chart"], "signature": {"by": "eve"}},
        "images": [{"ref": "r", "x": 1}],
    }
    http.get(f"{URL}/api/releases", json={"items": [newer, newer], "count": 2, "next": None, "took": 3})
    http.get(f"{URL}/api/releases/demo.hello.v1", json=newer, headers={"ETag": '"u1-77"'})
    there = client()
    assert [release.chart.version for release in there.list().items] == ["1.0.0", "1.0.0"]
    shown = there.show("demo.hello.v1")
    assert (shown.images[0].ref, shown.etag) == ("r", "u1-77")


def test_missing_fields_are_unreachable(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/api/releases/demo.hello.v1", json={"id": "demo.hello.v1", "more": 1})
    with pytest.raises(Unreachable, match="Release"):
        client().show("demo.hello.v1")


def test_endless_pages_stop(http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.client.client._MAX_PAGES", 3)
    http.get(f"{URL}/api/releases", json={"items": [], "count": 1, "next": "c"})
    with pytest.raises(Unreachable, match=facts("3")):
        client().list()
    assert len(http.calls) == 3


def test_values_without_a_json_form_are_not_sent() -> None:
    for values in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(ValuesInvalid):
            client().deploy("hello", namespace="demo", values=[values])
