"""Requests to a Jenkins, and how its answers are read."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import responses
from support.jenkins_answers import ANY, CANARY, CRUMB, JENKINS, JOB, SHOP, URL, crumbs, failing, posts, server

from kubernaut.errors import JobInvalid, JobNotFound, SettingInvalid
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import Build, QueueItem
from kubernaut.jenkins.server import JenkinsServer, open_server
from kubernaut.settings import load_settings

HOSTILE = "a\"b'c $(id) `x` ]]> <b> é 😀\nnew\r\nline\ttab &amp; %41+ =&A=1"
XML = "<project><description>é 😀</description></project>"


@pytest.fixture
def http(caplog: pytest.LogCaptureFixture) -> Iterator[responses.RequestsMock]:
    caplog.set_level(0)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock
        assert all(CANARY not in str(call.request.url) + str(call.request.body) for call in mock.calls)
    assert CANARY not in caplog.text
    assert CRUMB not in caplog.text


# running a job


def test_build_is_triggered_once_with_parameters_in_the_body(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.post(f"{JOB}/buildWithParameters", status=201, headers={"Location": "http://inside:8080/queue/item/81/"})
    assert server().trigger(SHOP, {"VERSION": HOSTILE, "OP_ID": "x" * 20_000}) == 81
    (request,) = posts(http)
    assert dict(parse_qsl(request.body, strict_parsing=True)) == {"VERSION": HOSTILE, "OP_ID": "x" * 20_000}
    assert urlsplit(request.url).query == ""
    assert request.headers["Jenkins-Crumb"] == CRUMB
    scheme, _, credentials = request.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(credentials).decode()) == ("Basic", f"ada:{CANARY}")


@pytest.mark.parametrize(
    ("status", "headers"),
    [(201, {}), (302, {"Location": "/jenkins/job/team/job/shop%20deploy/"}), (303, {"Location": f"{JOB}"}), (200, {})],
)
def test_trigger_without_a_queue_item(http: responses.RequestsMock, status: int, headers: dict[str, str]) -> None:
    crumbs(http)
    http.post(f"{JOB}/buildWithParameters", status=status, headers=headers)
    assert server().trigger(SHOP, {"A": "1"}) is None
    assert len(posts(http)) == 1


@pytest.mark.parametrize(("declared", "verb"), [([], "build"), ([{"name": "A"}], "buildWithParameters")])
def test_trigger_without_parameters_depends_on_the_job(http: responses.RequestsMock, declared: Any, verb: str) -> None:
    crumbs(http)
    http.get(f"{JOB}/api/json", json={"buildable": True, "property": [{}, {"parameterDefinitions": declared}]})
    http.post(f"{JOB}/{verb}", status=201)
    server().trigger(SHOP, {})
    assert not posts(http)[0].body


@pytest.mark.parametrize("value", ["a\x00b", "\x1b[31m", "\udc80", "\uffff", "\x9b"])
def test_invalid_value_is_not_sent(http: responses.RequestsMock, value: str) -> None:
    for given in ({"A": CANARY + value}, {value: "1"}):
        failing(lambda given=given: server().trigger(SHOP, given), JobInvalid, "invalid character")
    assert not http.calls


# crumbs


def test_rejected_crumb_is_renewed_once(http: responses.RequestsMock) -> None:
    crumbs(http, "old", CRUMB)
    http.post(f"{JOB}/buildWithParameters", "<html>No valid crumb was included in the request</html>", status=403)
    http.post(f"{JOB}/buildWithParameters", status=201)
    there = server()
    there.trigger(SHOP, {"A": "1"})
    first, second = posts(http)
    assert [first.headers["Jenkins-Crumb"], second.headers["Jenkins-Crumb"]] == ["old", CRUMB]
    assert first.body == second.body == "A=1"
    http.post(f"{JOB}/7/stop")
    there.stop(SHOP, 7)
    assert len([call for call in http.calls if "crumbIssuer" in str(call.request.url)]) == 2
    assert posts(http)[-1].headers["Jenkins-Crumb"] == CRUMB


def test_server_without_crumbs_is_asked_once(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/crumbIssuer/api/json", status=404)
    http.post(f"{JOB}/7/stop")
    there = server()
    there.stop(SHOP, 7)
    there.stop(SHOP, 7)
    assert len(http.calls) == 3


def test_reading_needs_no_crumb(http: responses.RequestsMock) -> None:
    http.get(f"{JOB}/api/json", json={"buildable": True})
    server().job(SHOP)
    assert len(http.calls) == 1


# jobs


def test_job_is_read(http: responses.RequestsMock) -> None:
    body = """{"buildable": true, "actions": [{}, null], "property": [
      {"parameterDefinitions": [{"name": "VERSION"}, {"name": "OP_ID"}, {}]}], "property": [], "name": "other"}"""
    http.get(f"{JOB}/api/json", body, content_type="application/javascript;charset=UTF-8")
    job = server().job(SHOP)
    assert (job.path, job.url, job.parameters, job.buildable) == (SHOP, f"{JOB}/", ("VERSION", "OP_ID"), True)


@pytest.mark.parametrize("content", [{}, {"buildable": False}, {"buildable": None, "property": None}])
def test_folder_and_disabled_job_are_not_buildable(http: responses.RequestsMock, content: dict[str, Any]) -> None:
    http.get(f"{JOB}/api/json", json=content)
    job = server().job(SHOP)
    assert (job.parameters, job.buildable) == ((), False)


def test_job_is_created_in_its_folder(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.post(f"{URL}/job/team/createItem")
    server().create(SHOP, "<?xml version='1.1' encoding='UTF-8'?>\n" + XML)
    (request,) = posts(http)
    assert str(request.url) == f"{URL}/job/team/createItem?name=shop%20deploy"
    assert request.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert request.body == f"<?xml version='1.0' encoding='UTF-8'?>\n{XML}".encode()


def test_job_is_reconfigured(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.post(f"{JOB}/config.xml")
    server().reconfigure(SHOP, XML)
    assert posts(http)[0].body.endswith(XML.encode())


@pytest.mark.parametrize(
    "config", ["", "<project>", "no xml", "<a/><b/>", "<a>&nbsp;</a>", "<a>\x01</a>", "<a>\udc80</a>", "<a>&#55357;</a>"]
)
def test_invalid_xml_is_not_sent(http: responses.RequestsMock, config: str) -> None:
    for call in (server().create, server().reconfigure):
        failing(lambda call=call: call(SHOP, config), JobInvalid, "configuration of job team/shop deploy ")
    assert not http.calls


def test_hudson_gets_freestyle_jobs_only(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/api/json", "{}", content_type="application/javascript")
    http.get(f"{URL}/", "<html>", headers={"X-Hudson": "3.3.2"})
    there = server()
    for call in (there.create, there.reconfigure):
        failing(lambda call=call: call(SHOP, "<flow-definition/>"), JobInvalid, "Hudson.*freestyle")
    assert not posts(http)


def test_jenkins_gets_pipelines(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.get(f"{URL}/api/json", "{}", headers=JENKINS)
    http.post(f"{URL}/job/team/createItem")
    there = server()
    there.create(SHOP, "<flow-definition/>")
    assert there.kind() == "jenkins"
    assert len(http.calls) == 3


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<?xml version='1.1' encoding='UTF-8'?>\n<a>\xc3\xa9</a>", "<?xml version='1.1' encoding='UTF-8'?>\n<a>é</a>"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>', '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'),
        (b"<a/>", "<a/>"),
    ],
)
def test_configuration_is_decoded(http: responses.RequestsMock, body: bytes, text: str) -> None:
    http.get(f"{JOB}/config.xml", body, content_type="application/xml")
    assert server().config(SHOP) == text


def test_missing_job(http: responses.RequestsMock) -> None:
    crumbs(http)
    http.get(f"{URL}/api/json", "{}", headers=JENKINS)
    http.get(re.compile(f"{URL}/(?!crumbIssuer|api/json)"), "<html>", status=404)
    http.post(ANY, "<html>", status=404)
    there = server()
    assert there.config(SHOP) is there.build(SHOP, 1) is there.console(SHOP, 1, 0) is there.queue_item(1) is None
    there.stop(SHOP, 1)
    for call in (
        lambda: there.job(SHOP),
        lambda: there.builds(SHOP),
        lambda: there.trigger(SHOP, {"A": "1"}),
        lambda: there.reconfigure(SHOP, XML),
    ):
        failing(call, JobNotFound, "[Jj]ob team/shop deploy .* user ada")
    failing(lambda: there.create(SHOP, XML), JobNotFound, "[Ff]older team ")


# builds and the queue


def build(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "building": False, "result": "SUCCESS", "url": "http://inside/x", **more}


def test_builds_are_newest_first(http: responses.RequestsMock) -> None:
    given = [
        {},
        None,
        {"parameters": [{"name": "OP_ID", "value": "o"}, {"name": "DRY", "value": True}, {"name": "F", "value": None}]},
    ]
    running = build(8, building=True, result=None, queueId=81, actions=given)
    http.get(f"{JOB}/api/json", json={"builds": [build(7), running, *(build(n) for n in range(60, 100))]}, headers=JENKINS)
    there = server()
    builds = there.builds(SHOP)
    assert builds[-2:] == (
        Build(8, f"{JOB}/8/", True, None, {"OP_ID": "o", "DRY": "true", "F": ""}, 81),
        Build(7, f"{JOB}/7/", False, "SUCCESS", {}, None),
    )
    there.builds(SHOP)
    first, second = (parse_qs(urlsplit(str(call.request.url)).query)["tree"][0] for call in http.calls)
    assert second == first + "{0,50}"  # once it is known for a Jenkins: Hudson refuses a range


def test_at_most_fifty_builds_are_read(http: responses.RequestsMock) -> None:
    http.get(f"{JOB}/api/json", json={"builds": [build(n) for n in range(1, 201)]})
    assert [it.number for it in server().builds(SHOP)] == list(range(200, 150, -1))


def test_queue_items_of_other_jobs_are_ignored(http: responses.RequestsMock) -> None:
    def waiting(id: int, url: str, **more: Any) -> dict[str, Any]:
        return {"id": id, "task": {"name": "shop deploy", "url": url}, "actions": [], **more}

    items = [
        waiting(1, "http://inside:8080/jenkins/job/team/job/shop%20deploy/", why="Waiting for an executor"),
        waiting(2, "http://inside:8080/jenkins/job/shop%20deploy/"),
        waiting(3, "https://ci.example.com/jenkins/job/other/job/team/job/shop%20deploy/"),
        waiting(4, "https://elsewhere.example.com/job/team/job/shop%20deploy/", why="???"),
        {"id": 5, "task": {"name": "shop deploy"}},
        {"id": 6},
    ]
    http.get(f"{URL}/queue/api/json", json={"items": items})
    there = server()
    assert [(item.id, item.why) for item in there.queue(SHOP)] == [(1, "Waiting for an executor"), (4, None)]
    assert [item.id for item in there.queue(JobPath.parse("shop deploy"))] == [2, 5]


def test_queue_item_is_read(http: responses.RequestsMock) -> None:
    task = {"name": "shop deploy", "url": f"{JOB}/"}
    http.get(f"{URL}/queue/item/81/api/json", json={"id": 81, "task": task, "executable": {"number": 8}, "cancelled": False})
    http.get(f"{URL}/queue/item/82/api/json", json={"id": 82, "task": task, "executable": None, "cancelled": True, "why": None})
    assert server().queue_item(81) == QueueItem(81, str(SHOP), None, False, 8, {})
    assert server().queue_item(82) == QueueItem(82, str(SHOP), None, True, None, {})


@pytest.mark.parametrize(
    ("front", "where"), [(JENKINS, f"{URL}/queue/cancelItem?id=81"), ({"X-Hudson": "3.3.2"}, f"{URL}/queue/item/81/cancelQueue")]
)
@pytest.mark.parametrize("status", [200, 204, 302, 404])
def test_queue_item_is_cancelled(http: responses.RequestsMock, front: dict[str, str], where: str, status: int) -> None:
    crumbs(http)
    http.get(f"{URL}/api/json", "{}", headers=front if "X-Jenkins" in front else {})
    http.get(f"{URL}/", "<html>", headers=front)
    http.post(where, status=status, headers={"Location": f"{URL}/queue/"} if status == 302 else {})
    server().cancel(QueueItem(81, str(SHOP), None, False, None, {}))
    assert str(posts(http)[0].url) == where


@pytest.mark.parametrize("location", [".", "..", f"{JOB}/", "http://inside:8080/job/x/"])
def test_build_is_stopped(http: responses.RequestsMock, location: str) -> None:
    crumbs(http)
    http.post(f"{JOB}/7/stop", status=302, headers={"Location": location})
    server().stop(SHOP, 7)
    assert len(http.calls) == 2


# consoles


@pytest.mark.parametrize(
    ("start", "body", "size", "more", "expected"),
    [
        (0, b"a\r\nb\r\n", 4, True, ("a\nb\n", 4, True, False)),
        (4, b"", 4, True, ("", 4, True, False)),
        (4, b"c", 5, False, ("c", 5, False, False)),
        (900, b"a\r\n", 2, True, ("a\n", 2, True, True)),
        (0, b"10%\r20%\r\r\n", 9, True, ("10%\r20%\r\n", 9, True, False)),
        (0, b"a\xc3", 2, True, ("a", 1, True, False)),
        (7, b"\xf0\x9f\x98", 10, True, ("", 7, True, False)),
        (0, b"a\xc3", 2, False, ("a\ufffd", 2, False, False)),
        (0, b"\xffa\n", 3, True, ("\ufffda\n", 3, True, False)),
        (0, "é😀\r\n".encode(), 7, True, ("é😀\n", 7, True, False)),
    ],
)
def test_console_chunk_is_read(http: responses.RequestsMock, start: int, body: bytes, size: int, more: bool, expected: Any) -> None:
    headers = {"X-Text-Size": str(size), **({"X-More-Data": "true"} if more else {})}
    http.get(f"{JOB}/7/logText/progressiveText?start={start}", body, headers=headers, content_type="text/plain;charset=UTF-8")
    console = server().console(SHOP, 7, start)
    assert console is not None
    assert (console.text, console.next, console.more, console.reset) == expected


# settings


@pytest.mark.parametrize(
    "url", ["ci.example.com", "ftp://x", "http://ci.example.com", f"https://ada:{CANARY}@x", "https://x?a=b", "https://x:y"]
)
def test_invalid_addresses(url: str) -> None:
    failing(lambda: server(url=url), SettingInvalid)


@pytest.mark.parametrize("user", ["a:b", "a\nb", ""])
def test_invalid_users(user: str) -> None:
    failing(lambda: server(user=user), SettingInvalid)


def test_variables_of_python_jenkins_have_no_effect(http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JENKINS_API_EXTRA_HEADERS", f"X-Canary: {CANARY}\nAuthorization: Basic {CANARY}")
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    http.get(f"{JOB}/api/json", json={})
    server(user=None, token=lambda: None).job(SHOP)
    (call,) = http.calls
    assert not {"X-Canary", "Authorization"} & set(call.request.headers)
    assert call.request.req_kwargs["verify"]  # type: ignore[attr-defined]
    assert call.request.req_kwargs["timeout"][1] == 30.0  # type: ignore[attr-defined]


def test_open_server_from_the_settings(http: responses.RequestsMock, tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(CANARY)
    http.get(f"{JOB}/api/json", json={})

    def opened(**environment: str) -> JenkinsServer:
        return open_server(load_settings(environment=environment, directory=tmp_path))

    opened(JENKINS_URL=URL + "/", JENKINS_USER="ada", KUBERNAUT_JENKINS_TOKEN_FILE=str(file)).job(SHOP)
    opened(JENKINS_URL=URL, JENKINS_USER="ada", KUBERNAUT_JENKINS_TOKEN=CANARY).job(SHOP)
    opened(JENKINS_URL=URL).job(SHOP)
    sent = [call.request.headers.get("Authorization", "") for call in http.calls]
    assert b64decode(sent[0].removeprefix("Basic ")).decode() == f"ada:{CANARY}"
    assert sent[1:] == [sent[0], ""]
    failing(opened, SettingInvalid, "URL")
    failing(lambda: opened(JENKINS_URL=URL, JENKINS_USER="ada"), SettingInvalid, "token of user ada")
    failing(lambda: opened(JENKINS_URL=URL, KUBERNAUT_JENKINS_TOKEN=CANARY), SettingInvalid, "user for Jenkins")
    failing(lambda: opened(JENKINS_URL="http://ci.example.com"), SettingInvalid, "without TLS")
