"""Errors for refusals and missing answers; no message contains a token, a crumb or a page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import responses
from support.jenkins_answers import (
    ANY,
    CANARY,
    CRUMB,
    JENKINS,
    LACKING,
    LOGIN,
    NO_CRUMB,
    PLAIN,
    SHOP,
    STARTING,
    URL,
    crumbs,
    failing,
    posts,
    server,
)

from kubernaut.errors import JenkinsDenied, JenkinsUnreachable, JobConflict, JobInvalid, KubernautError
from kubernaut.jenkins.responses import QueueItem
from kubernaut.jenkins.server import JenkinsServer, TriggerUnconfirmed

XML = "<project/>"
ITEM = QueueItem(81, str(SHOP), None, False, None, {})
READS: dict[str, Callable[[JenkinsServer], object]] = {
    "kind": lambda there: there.kind(),
    "config": lambda there: there.config(SHOP),
    "job": lambda there: there.job(SHOP),
    "queue": lambda there: there.queue(SHOP),
    "queue_item": lambda there: there.queue_item(81),
    "builds": lambda there: there.builds(SHOP),
    "build": lambda there: there.build(SHOP, 7),
    "console": lambda there: there.console(SHOP, 7, 0),
}
WRITES: dict[str, Callable[[JenkinsServer], object]] = {
    "create": lambda there: there.create(SHOP, XML),
    "reconfigure": lambda there: there.reconfigure(SHOP, XML),
    "trigger": lambda there: there.trigger(SHOP, {"A": "1"}),
    "stop": lambda there: there.stop(SHOP, 7),
    "cancel": lambda there: there.cancel(ITEM),
}
CALLS = READS | WRITES


@pytest.fixture
def http(caplog: pytest.LogCaptureFixture) -> Iterator[responses.RequestsMock]:
    caplog.set_level(0)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock
    assert CANARY not in caplog.text
    assert CRUMB not in caplog.text


def answering(http: responses.RequestsMock, call: str, body: Any = "", **how: Any) -> Callable[[], object]:
    """Answer everything but the crumb alike; return a call."""
    crumbs(http)
    there = server()
    if call == "cancel":
        http.get(f"{URL}/api/json", "{}", headers=JENKINS)
        there.kind()
        http.remove(responses.GET, f"{URL}/api/json")
    for method in ("GET", "POST"):
        http.add(method, ANY, body, **how)
    return lambda: CALLS[call](there)


# denied


@pytest.mark.parametrize("call", CALLS)
def test_unknown_user(http: responses.RequestsMock, call: str) -> None:
    failing(answering(http, call, PLAIN, status=401), JenkinsDenied, r"user ada \(HTTP 401\)")


@pytest.mark.parametrize("call", CALLS)
def test_login_page(http: responses.RequestsMock, call: str) -> None:
    failing(answering(http, call, LOGIN, status=403), JenkinsDenied, r"user ada \(HTTP 403\)")


@pytest.mark.parametrize("call", CALLS)
def test_redirect_to_the_login(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, status=302, headers={"Location": f"{URL}/securityRealm/commenceLogin?from=%2F"})
    failing(there, JenkinsDenied, "user ada")


@pytest.mark.parametrize("call", CALLS)
def test_missing_permission_is_named(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, LACKING, status=403)
    error = failing(there, JenkinsDenied, "user ada .*Job/Build")
    assert "Job/Read" in error.hint


def test_denied_without_a_named_permission(http: responses.RequestsMock) -> None:
    failing(answering(http, "trigger", PLAIN, status=403), JenkinsDenied, r"job team/shop deploy\b.*\buser ada\b")


def test_anonymous_user(http: responses.RequestsMock) -> None:
    http.get(ANY, LOGIN, status=403)
    http.get(f"{URL}/crumbIssuer/api/json", LOGIN, status=403)
    there = server(user=None, token=lambda: None)
    for call in (lambda: there.job(SHOP), lambda: there.stop(SHOP, 7)):
        error = failing(call, JenkinsDenied, "HTTP 403")
        assert "KUBERNAUT_JENKINS_TOKEN" in error.hint


@pytest.mark.parametrize("call", WRITES)
def test_crumb_rejected_twice(http: responses.RequestsMock, call: str) -> None:
    error = failing(answering(http, call, NO_CRUMB, status=403), JenkinsDenied, "crumb")
    assert "API token" in error.hint
    assert len(posts(http)) == 2


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"status": 401}, JenkinsDenied),
        ({"status": 403, "body": LOGIN}, JenkinsDenied),
        ({"status": 500, "body": PLAIN}, JenkinsUnreachable),
        ({"status": 200, "body": PLAIN}, JenkinsUnreachable),
        ({"status": 200, "json": [CRUMB]}, JenkinsUnreachable),
        ({"status": 200, "json": {"crumb": CRUMB}}, JenkinsUnreachable),
        ({"status": 302, "headers": {"Location": "https://elsewhere.example.com/"}}, JenkinsUnreachable),
        ({"body": requests.ConnectionError("cut")}, JenkinsUnreachable),
        ({"body": requests.ReadTimeout("late")}, JenkinsUnreachable),
    ],
)
def test_no_crumb_sends_nothing(http: responses.RequestsMock, call: str, how: dict[str, Any], kind: type[KubernautError]) -> None:
    http.get(f"{URL}/api/json", "{}", headers=JENKINS)
    http.get(f"{URL}/crumbIssuer/api/json", **how)
    failing(lambda: WRITES[call](server()), kind)
    assert not posts(http)


# configurations


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("name", ["shop deploy", "Shop Deploy"])
def test_existing_job_is_a_conflict(http: responses.RequestsMock, status: int, name: str) -> None:
    crumbs(http)
    http.get(f"{URL}/job/team/api/json", json={"jobs": [{}, None, {"name": "other"}, {"name": name}]})
    http.post(f"{URL}/job/team/createItem", PLAIN, status=status)
    failing(lambda: server().create(SHOP, XML), JobConflict, f"team/shop deploy: .* has a job {name}")


@pytest.mark.parametrize("status", [400, 500])
def test_rejected_configuration(http: responses.RequestsMock, status: int) -> None:
    crumbs(http)
    http.get(f"{URL}/job/team/api/json", json={"jobs": None})
    http.post(ANY, PLAIN, status=status)
    for call in ("create", "reconfigure"):
        words = rf"job team/shop deploy\b.*HTTP {status}"
        error = failing(lambda call=call: WRITES[call](server()), JobInvalid, words)
        assert "plugin" in error.hint


def test_failed_creation_on_hudson_names_the_folder_to_remove(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.get(f"{URL}/api/json", "{}")
    http.get(f"{URL}/", "", headers={"X-Hudson": "3.3.2"})
    http.post(ANY, PLAIN, status=500)
    there = server()
    there.kind()
    assert "jobs/shop deploy" in failing(lambda: there.create(SHOP, XML), JobInvalid).hint


@pytest.mark.parametrize(("status", "words"), [(400, "HTTP 400"), (413, "HTTP 413"), (409, "team/shop deploy")])
def test_rejected_trigger(http: responses.RequestsMock, status: int, words: str) -> None:
    failing(answering(http, "trigger", PLAIN, status=status), JobInvalid, words)
    assert len(posts(http)) == 1


# missing and foreign answers


@pytest.mark.parametrize("call", CALLS)
def test_starting_server(http: responses.RequestsMock, call: str) -> None:
    failing(answering(http, call, STARTING, status=503), JenkinsUnreachable, URL)


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"trigger"}))
@pytest.mark.parametrize("status", [502, 503, 504])
def test_proxy_without_its_server(http: responses.RequestsMock, call: str, status: int) -> None:
    failing(answering(http, call, PLAIN, status=status), JenkinsUnreachable, f"HTTP {status}")


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize(
    "body", ["<!DOCTYPE html><html>Welcome", "\n<HTML>", "welcome", "[]", "", "[" * 5000, "\xff".encode("latin-1")]
)
def test_page_instead_of_an_answer(http: responses.RequestsMock, call: str, body: Any) -> None:
    there = answering(http, call, body, content_type="text/html; charset=utf-8")
    failing(there, JenkinsUnreachable, "HTTP 200, text/html")


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"cancel"}))
def test_404_of_another_server(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, "<html>Not found", status=404, content_type="text/html")
    failing(there, JenkinsUnreachable, "HTTP 404, text/html")


@pytest.mark.parametrize("content", ['{"number": "7"}', '{"number": true}', '{"number": -1}', "{}"])
def test_build_without_a_number(http: responses.RequestsMock, content: str) -> None:
    failing(answering(http, "build", content, content_type="application/json"), JenkinsUnreachable, URL)


@pytest.mark.parametrize("size", ["", "-1", "1e3", "9" * 5000, "٣"])
def test_console_without_a_size(http: responses.RequestsMock, size: str) -> None:
    there = answering(http, "console", "a\n", headers={"X-Text-Size": size.encode().decode("latin-1")})
    failing(there, JenkinsUnreachable, URL)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(http: responses.RequestsMock, call: str, status: int) -> None:
    def moved(request: Any) -> tuple[int, dict[str, str], str]:
        return status, {"Location": request.url.replace("https://", f"https://u:{CANARY}@new.")}, ""

    crumbs(http)
    for method in ("GET", "POST"):
        http.add_callback(method, ANY, moved)
    there = server()
    error = failing(lambda: CALLS[call](there), JenkinsUnreachable, r"https://new\.ci\.example\.com\b")
    assert "jenkins_url" in error.hint
    assert {str(it.request.url).split("/")[2] for it in http.calls} == {"ci.example.com"}


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"trigger"}))
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (requests.ReadTimeout(CANARY), ""),
        (requests.exceptions.SSLError(CANARY), "TLS"),
        (requests.ConnectionError(CANARY), "ConnectionError"),
        (requests.exceptions.ChunkedEncodingError(CANARY), ""),
    ],
)
def test_no_answer(http: responses.RequestsMock, call: str, failure: Exception, words: str) -> None:
    there = answering(http, call, failure)
    with pytest.raises(JenkinsUnreachable, match=f"{URL}.*{words}") as caught:
        there()
    assert CANARY not in caught.value.message


# unconfirmed triggers


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error_leaves_the_trigger_unconfirmed(http: responses.RequestsMock, status: int) -> None:
    failing(answering(http, "trigger", PLAIN, status=status), TriggerUnconfirmed, f"run job .*: HTTP {status}")
    assert len(posts(http)) == 1


@contextmanager
def silent(cut: bool) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that receives requests and does not answer: it cuts the connection, or waits for the end of the test."""
    over, bodies = threading.Event(), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if not cut:
                over.wait(30)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", bodies
        finally:
            over.set()
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize(("cut", "words"), [(True, "did not confirm"), (False, "no answer in time")])
def test_unanswered_trigger_is_unconfirmed(cut: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # loopback is never reached through a proxy
    with silent(cut) as (url, bodies):
        there = server(url=url, timeout=0.3)
        failing(lambda: there.trigger(SHOP, {"A": "1"}), TriggerUnconfirmed, words)
        there.close()
    assert bodies == [b"A=1"]


def test_refused_connection_is_unreachable() -> None:
    with silent(cut=True) as (url, bodies):
        there = server(url=url)
        failing(lambda: there.trigger(SHOP, {"A": "1"}), TriggerUnconfirmed)
    # The server is gone. The crumb is known, so the request itself is refused.
    failing(lambda: there.trigger(SHOP, {"A": "2"}), JenkinsUnreachable, r"Cannot run job .* Connection refused")
    there.close()
    assert bodies == [b"A=1"]
