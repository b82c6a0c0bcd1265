"""What a Jenkins' refusals and its silence mean, in words, and that no word holds a token, a crumb or a page."""

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
    """Let everything but the crumb be answered alike, and return a call that is."""
    crumbs(http)
    there = server()
    if call == "cancel":
        http.get(f"{URL}/api/json", "{}", headers=JENKINS)
        there.kind()
        http.remove(responses.GET, f"{URL}/api/json")
    for method in ("GET", "POST"):
        http.add(method, ANY, body, **how)
    return lambda: CALLS[call](there)


# refused


@pytest.mark.parametrize("call", CALLS)
def test_who_is_not_known(http: responses.RequestsMock, call: str) -> None:
    failing(
        answering(http, call, PLAIN, status=401), JenkinsDenied, "does not know the user ada with this token .HTTP 401; asked to"
    )


@pytest.mark.parametrize("call", CALLS)
def test_who_is_shown_the_login(http: responses.RequestsMock, call: str) -> None:
    failing(
        answering(http, call, LOGIN, status=403), JenkinsDenied, "does not know the user ada with this token .HTTP 403; asked to"
    )


@pytest.mark.parametrize("call", CALLS)
def test_who_is_sent_to_the_login(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, status=302, headers={"Location": f"{URL}/securityRealm/commenceLogin?from=%2F"})
    failing(there, JenkinsDenied, "does not know the user ada")


@pytest.mark.parametrize("call", CALLS)
def test_who_may_not(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, LACKING, status=403)
    error = failing(there, JenkinsDenied, "does not let the user ada .*: it takes the permission Job/Build")
    assert "Job/Read" in error.hint


def test_who_may_not_and_is_not_told_what(http: responses.RequestsMock) -> None:
    failing(
        answering(http, "trigger", PLAIN, status=403), JenkinsDenied, r"does not let the user ada run the job team/shop deploy\.$"
    )


def test_nobody_in_particular(http: responses.RequestsMock) -> None:
    http.get(ANY, LOGIN, status=403)
    http.get(f"{URL}/crumbIssuer/api/json", LOGIN, status=403)
    there = server(user=None, token=lambda: None)
    for call in (lambda: there.job(SHOP), lambda: there.stop(SHOP, 7)):
        error = failing(call, JenkinsDenied, "wants a login .HTTP 403; asked to")
        assert "KUBERNAUT_JENKINS_TOKEN" in error.hint


@pytest.mark.parametrize("call", WRITES)
def test_a_crumb_that_is_refused_twice(http: responses.RequestsMock, call: str) -> None:
    error = failing(answering(http, call, NO_CRUMB, status=403), JenkinsDenied, "refuses the crumb that it gave just before")
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
def test_no_crumb_nothing_sent(http: responses.RequestsMock, call: str, how: dict[str, Any], kind: type[KubernautError]) -> None:
    http.get(f"{URL}/api/json", "{}", headers=JENKINS)
    http.get(f"{URL}/crumbIssuer/api/json", **how)
    failing(lambda: WRITES[call](server()), kind)
    assert not posts(http)


# jobs that are not made


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("name", ["shop deploy", "Shop Deploy"])
def test_a_job_is_there_already(http: responses.RequestsMock, status: int, name: str) -> None:
    crumbs(http)
    http.get(f"{URL}/job/team/api/json", json={"jobs": [{}, None, {"name": "other"}, {"name": name}]})
    http.post(f"{URL}/job/team/createItem", PLAIN, status=status)
    failing(lambda: server().create(SHOP, XML), JobConflict, f"has a job {name} already, so team/shop deploy cannot be made")


@pytest.mark.parametrize("status", [400, 500])
def test_a_configuration_that_the_server_refuses(http: responses.RequestsMock, status: int) -> None:
    crumbs(http)
    http.get(f"{URL}/job/team/api/json", json={"jobs": None})
    http.post(ANY, PLAIN, status=status)
    for call in ("create", "reconfigure"):
        words = f"refuses the configuration of the job team/shop deploy .HTTP {status}."
        error = failing(lambda call=call: WRITES[call](server()), JobInvalid, words)
        assert "plugin" in error.hint


def test_what_hudson_keeps_of_a_refused_job_is_told(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.get(f"{URL}/api/json", "{}")
    http.get(f"{URL}/", "", headers={"X-Hudson": "3.3.2"})
    http.post(ANY, PLAIN, status=500)
    there = server()
    there.kind()
    assert "Remove the folder jobs/shop deploy" in failing(lambda: there.create(SHOP, XML), JobInvalid).hint


@pytest.mark.parametrize(("status", "words"), [(400, "refuses what the job"), (413, "refuses what"), (409, "takes no builds")])
def test_a_job_that_does_not_run(http: responses.RequestsMock, status: int, words: str) -> None:
    failing(answering(http, "trigger", PLAIN, status=status), JobInvalid, words)
    assert len(posts(http)) == 1


# no answer, and none of a Jenkins


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_starts(http: responses.RequestsMock, call: str) -> None:
    failing(answering(http, call, STARTING, status=503), JenkinsUnreachable, "is starting and not ready yet .asked to")


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"trigger"}))
@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_its_server(http: responses.RequestsMock, call: str, status: int) -> None:
    failing(answering(http, call, PLAIN, status=status), JenkinsUnreachable, f"answers HTTP {status} .asked to")


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize(
    "body", ["<!DOCTYPE html><html>Welcome", "\n<HTML>", "welcome", "[]", "", "[" * 5000, "\xff".encode("latin-1")]
)
def test_a_page_in_place_of_an_answer(http: responses.RequestsMock, call: str, body: Any) -> None:
    there = answering(http, call, body, content_type="text/html; charset=utf-8")
    failing(there, JenkinsUnreachable, "answers like no Jenkins: HTTP 200 and text/html .asked to")


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"cancel"}))
def test_what_has_nothing_anywhere_is_no_jenkins(http: responses.RequestsMock, call: str) -> None:
    there = answering(http, call, "<html>Not found", status=404, content_type="text/html")
    failing(there, JenkinsUnreachable, "answers like no Jenkins: HTTP 404 and text/html .asked to")


@pytest.mark.parametrize("content", ['{"number": "7"}', '{"number": true}', '{"number": -1}', "{}"])
def test_a_build_that_has_no_number(http: responses.RequestsMock, content: str) -> None:
    failing(answering(http, "build", content, content_type="application/json"), JenkinsUnreachable, "answers like no Jenkins")


@pytest.mark.parametrize("size", ["", "-1", "1e3", "9" * 5000, "٣"])
def test_a_console_of_no_size(http: responses.RequestsMock, size: str) -> None:
    there = answering(http, "console", "a\n", headers={"X-Text-Size": size.encode().decode("latin-1")})
    failing(there, JenkinsUnreachable, "answers like no Jenkins")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_followed_elsewhere(http: responses.RequestsMock, call: str, status: int) -> None:
    def moved(request: Any) -> tuple[int, dict[str, str], str]:
        return status, {"Location": request.url.replace("https://", f"https://u:{CANARY}@new.")}, ""

    crumbs(http)
    for method in ("GET", "POST"):
        http.add_callback(method, ANY, moved)
    there = server()
    error = failing(lambda: CALLS[call](there), JenkinsUnreachable, "sends us on to https://new.ci.example.com; not followed")
    assert "jenkins_url" in error.hint
    assert {str(it.request.url).split("/")[2] for it in http.calls} == {"ci.example.com"}


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"trigger"}))
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (requests.ReadTimeout(CANARY), "no answer in time"),
        (requests.exceptions.SSLError(CANARY), "TLS fails"),
        (requests.ConnectionError(CANARY), "ConnectionError"),
        (requests.exceptions.ChunkedEncodingError(CANARY), "cut off"),
    ],
)
def test_no_answer(http: responses.RequestsMock, call: str, failure: Exception, words: str) -> None:
    there = answering(http, call, failure)
    with pytest.raises(JenkinsUnreachable, match=f"does not answer: .*{words}.* .asked to") as caught:
        there()
    assert CANARY not in caught.value.message


# asked to run, and silent


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_stumbles_may_have_heard(http: responses.RequestsMock, status: int) -> None:
    failing(
        answering(http, "trigger", PLAIN, status=status), TriggerUnconfirmed, f"asked to run the job .*, and answers HTTP {status}"
    )
    assert len(posts(http)) == 1


@contextmanager
def silent(cut: bool) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that hears a request to run a job, and says nothing: it cuts the connection, or waits for the test to end."""
    over, heard = threading.Event(), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            if not cut:
                over.wait(30)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", heard
        finally:
            over.set()
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize(("cut", "words"), [(True, "whether it heard is not known"), (False, "no answer in time")])
def test_a_request_that_was_heard_and_not_answered(cut: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # loopback is never reached through a proxy
    with silent(cut) as (url, heard):
        there = server(url=url, timeout=0.3)
        failing(lambda: there.trigger(SHOP, {"A": "1"}), TriggerUnconfirmed, words)
        there.close()
    assert heard == [b"A=1"]


def test_a_request_that_nobody_heard() -> None:
    with silent(cut=True) as (url, heard):
        there = server(url=url)
        failing(lambda: there.trigger(SHOP, {"A": "1"}), TriggerUnconfirmed)
    # The server is gone. What it said of crumbs is known, so it is the request itself that finds nobody.
    failing(lambda: there.trigger(SHOP, {"A": "2"}), JenkinsUnreachable, r"does not answer: Connection refused .asked to run")
    there.close()
    assert heard == [b"A=1"]
