"""``kubernaut.jenkins.server`` against a real server: Hudson, with security and crumbs."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar
from xml.etree import ElementTree

import pytest
from support.ci_server import leaks
from support.hudson import Hudson
from support.waiting import until

from kubernaut.adapters.secret_files import static_token
from kubernaut.errors import JenkinsDenied, JenkinsUnreachable, JobConflict, JobInvalid, JobNotFound, KubernautError
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import ConsoleChunk, QueueItem
from kubernaut.jenkins.server import JenkinsServer

pytestmark = pytest.mark.platform

HOSTILE = "a\"b'c $(id) `x` ]]> <b> é 😀\nnew line\ttab &amp; %41+ =&OP_ID=1 "
WAIT = '#!/bin/bash\nprintf "\\xc3"; until [ -e go ]; do sleep 0.05; done; printf "\\xa9\\nthe end\\n"\n'
Error = TypeVar("Error", bound=KubernautError)


@pytest.fixture
def jenkins(ci_server: Hudson) -> Iterator[JenkinsServer]:
    server = JenkinsServer(ci_server.url, user=ci_server.user, token=ci_server.home.admin.password)
    yield server
    server.close()


@pytest.fixture
def reader(ci_server: Hudson) -> Iterator[JenkinsServer]:
    server = JenkinsServer(ci_server.url, user=ci_server.reader.name, token=ci_server.reader.password)
    yield server
    server.close()


@pytest.fixture
def path() -> JobPath:
    return JobPath.parse(f"contract-{uuid.uuid4().hex[:8]}")


def config(script: str, *parameters: str, description: str = "") -> str:
    """Return a freestyle job."""
    project = ElementTree.Element("project")
    ElementTree.SubElement(project, "description").text = description
    if parameters:
        declared = ElementTree.SubElement(
            ElementTree.SubElement(project, "properties"), "hudson.model.ParametersDefinitionProperty"
        )
        definitions = ElementTree.SubElement(declared, "parameterDefinitions")
        for name in parameters:
            ElementTree.SubElement(
                ElementTree.SubElement(definitions, "hudson.model.StringParameterDefinition"), "name"
            ).text = name
    ElementTree.SubElement(project, "scm", {"class": "hudson.scm.NullSCM"})
    builders = ElementTree.SubElement(project, "builders")
    ElementTree.SubElement(ElementTree.SubElement(builders, "hudson.tasks.Shell"), "command").text = script
    for name in ("publishers", "buildWrappers"):
        ElementTree.SubElement(project, name)
    return ElementTree.tostring(project, encoding="unicode")


def ended(jenkins: JenkinsServer, path: JobPath, number: int) -> str | None:
    """Wait for a build to end, and return its result."""

    def over() -> bool:
        build = jenkins.build(path, number)
        return build is not None and not build.building

    until(over, f"the build {number} of {path} has ended")
    build = jenkins.build(path, number)
    assert build is not None
    return build.result


def console_text(jenkins: JenkinsServer, path: JobPath, number: int) -> str:
    """Wait for the end of a build's console, which may follow the build's end, and return its text."""

    def silent() -> bool:
        console = jenkins.console(path, number, 0)
        return console is not None and not console.more

    until(silent, f"the build {number} of {path} has printed everything")
    console = jenkins.console(path, number, 0)
    assert console is not None
    return console.text


def refused(ci_server: Hudson, call: Callable[[], object], kind: type[Error], *facts: str) -> Error:
    """Return how a call fails, and hold its message to facts; no password is in any of it."""
    with pytest.raises(kind) as caught:
        call()
    assert all(fact in caught.value.message for fact in facts), caught.value.message
    text = json.dumps(caught.value.problem()) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    for user in (ci_server.home.admin, ci_server.reader):
        assert user.password() not in text
    assert "<" not in caught.value.message
    return caught.value


def test_server_kind_is_hudson(jenkins: JenkinsServer, reader: JenkinsServer) -> None:
    assert jenkins.kind() == reader.kind() == "hudson"


# jobs


def test_job_is_created_read_and_reconfigured(jenkins: JenkinsServer, path: JobPath) -> None:
    assert jenkins.config(path) is None
    made = config("echo é 😀", "VERSION", "OP_ID", description="née ]]> <b> & 😀")
    jenkins.create(path, made)
    first = jenkins.config(path)
    assert first is not None
    assert first.endswith(made)
    job = jenkins.job(path)
    assert (job.path, job.url, job.parameters, job.buildable) == (path, f"{jenkins.url}/job/{path}/", ("VERSION", "OP_ID"), True)
    changed = config("true", "VERSION", description="another")
    jenkins.reconfigure(path, changed)
    second = jenkins.config(path)
    assert second is not None
    assert ElementTree.canonicalize(second) == ElementTree.canonicalize(changed)
    assert jenkins.job(path).parameters == ("VERSION",)
    jenkins.reconfigure(path, second)  # a configuration that was read can be sent back
    assert jenkins.config(path) == second


@pytest.mark.parametrize("same", [str, str.upper])
def test_existing_name_is_a_conflict(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath, same: Callable[[str], str]) -> None:
    jenkins.create(path, config("true"))
    again = JobPath.parse(same(str(path)))
    refused(ci_server, lambda: jenkins.create(again, config("false")), JobConflict, str(path), str(again))
    assert jenkins.config(path) is not None


def test_missing_job(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath) -> None:
    assert jenkins.build(path, 1) is jenkins.console(path, 1, 0) is jenkins.queue_item(123_456) is None
    assert jenkins.queue(path) == ()
    jenkins.stop(path, 1)
    jenkins.cancel(QueueItem(123_456, str(path), None, False, None, {}))
    for call in (
        lambda: jenkins.job(path),
        lambda: jenkins.builds(path),
        lambda: jenkins.trigger(path, {}),
        lambda: jenkins.trigger(path, {"A": "1"}),
        lambda: jenkins.reconfigure(path, config("true")),
    ):
        refused(ci_server, call, JobNotFound, str(path), ci_server.user)
    inside = JobPath.parse(f"{path}/inside")
    refused(ci_server, lambda: jenkins.create(inside, config("true")), JobNotFound, str(path))


@pytest.mark.parametrize("name", ["été {}", ".{}", "~{}", "{} (1) 'x' +=,", "a.b {}"])
def test_quoted_names(jenkins: JenkinsServer, path: JobPath, name: str) -> None:
    odd = JobPath.parse(name.format(path))
    jenkins.create(odd, config("echo ran", "OP_ID"))
    assert jenkins.job(odd).buildable
    jenkins.trigger(odd, {"OP_ID": "1"})
    until(lambda: jenkins.builds(odd), "it was run")
    assert "ran" in console_text(jenkins, odd, 1)


@pytest.mark.parametrize(
    "text", ["<project>", "", "<html>", "<project>&nope;</project>", "<flow-definition/>", "<maven2-moduleset/>"]
)
def test_harmful_configuration_is_not_sent(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath, text: str) -> None:
    refused(ci_server, lambda: jenkins.create(path, text), JobInvalid, str(path))
    assert not ci_server.home.job(str(path)).exists()
    jenkins.create(path, config("true"))
    before = jenkins.config(path)
    refused(ci_server, lambda: jenkins.reconfigure(path, text), JobInvalid, str(path))
    assert jenkins.config(path) == before


def test_rejected_configuration(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath) -> None:
    jenkins.kind()
    jenkins.create(path, config("true"))
    before = jenkins.config(path)
    wrong = config("true").replace("<publishers />", '<publishers reference="../nowhere" />')
    refused(ci_server, lambda: jenkins.reconfigure(path, wrong), JobInvalid, str(path), "500")
    assert jenkins.config(path) == before
    other = JobPath.parse(f"{path}-other")
    try:
        error = refused(ci_server, lambda: jenkins.create(other, wrong), JobInvalid, str(other))
        assert f"jobs/{other}" in error.hint
        assert jenkins.config(other) is None
    finally:
        ci_server.home.remove_job(str(other))  # else it does not start again


# builds


def test_hostile_values_arrive_unchanged(jenkins: JenkinsServer, path: JobPath) -> None:
    jenkins.create(
        path, config('#!/bin/bash\nprintf %s "$VERSION" | base64 -w0; echo; echo "${#LONG}"', "VERSION", "LONG", "OP_ID")
    )
    assert jenkins.trigger(path, {"VERSION": HOSTILE, "LONG": "x" * 20_000, "OP_ID": "one"}) is None  # Hudson returns no queue item
    until(lambda: any(build.parameters for build in jenkins.builds(path)), "it was run")  # it is listed before it has them
    (build,) = jenkins.builds(path)
    assert build.parameters == {"VERSION": HOSTILE, "LONG": "x" * 20_000, "OP_ID": "one"}
    assert (build.number, build.url, build.queue_id) == (1, f"{jenkins.url}/job/{path}/1/", None)
    shown = console_text(jenkins, path, 1)
    assert base64.b64encode(HOSTILE.encode()).decode() in shown
    assert "\n20000\n" in shown
    assert ended(jenkins, path, 1) == "SUCCESS"


@pytest.mark.parametrize("declared", [(), ("VERSION",)])
def test_job_runs_without_parameters(jenkins: JenkinsServer, path: JobPath, declared: tuple[str, ...]) -> None:
    jenkins.create(path, config("#!/bin/bash\nexit 3", *declared))
    jenkins.trigger(path, {})
    until(lambda: jenkins.builds(path), "it was run")
    assert ended(jenkins, path, 1) == "FAILURE"


def test_queue_item_is_read_and_cancelled(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath) -> None:
    jenkins.create(path, config(WAIT, "OP_ID"))
    jenkins.trigger(path, {"OP_ID": "one"})
    until(lambda: jenkins.builds(path), "it was run")
    for id in ("two", "three"):
        jenkins.trigger(path, {"OP_ID": id})
    until(lambda: all(item.why for item in jenkins.queue(path)), "the server knows why they wait")
    two, three = sorted(jenkins.queue(path), key=lambda item: item.id)
    assert [(item.job, item.parameters, item.number) for item in (two, three)] == [
        (str(path), {"OP_ID": "two"}, None),
        (str(path), {"OP_ID": "three"}, None),
    ]
    assert "#1 is already in progress" in str(two.why)
    jenkins.cancel(two)
    jenkins.cancel(two)
    assert [item.id for item in jenkins.queue(path)] == [three.id]
    jenkins.cancel(three)
    jenkins.stop(path, 1)
    assert ended(jenkins, path, 1) == "ABORTED"
    assert [build.number for build in jenkins.builds(path)] == [1]
    jenkins.stop(path, 1)
    assert ended(jenkins, path, 1) == "ABORTED"


def test_console_is_read_in_chunks(ci_server: Hudson, jenkins: JenkinsServer, path: JobPath) -> None:
    jenkins.create(path, config(WAIT, "OP_ID"))
    jenkins.trigger(path, {"OP_ID": "one"})
    pieces: list[ConsoleChunk] = []

    def piece() -> ConsoleChunk:
        console = jenkins.console(path, 1, pieces[-1].next if pieces else 0)
        assert console is not None
        pieces.append(console)
        return console

    until(lambda: jenkins.console(path, 1, 0) is not None, "it was run")
    until(lambda: piece().text == "" and "workspace" in "".join(it.text for it in pieces), "it has begun, and waits")
    assert pieces[-1].more
    (ci_server.home.job(str(path)) / "workspace" / "go").touch()
    until(lambda: not piece().more, "it has ended")
    text = "".join(it.text for it in pieces)
    assert "\né\nthe end\n" in text
    assert "\r" not in text
    assert not any(it.reset for it in pieces)
    whole = jenkins.console(path, 1, 0)
    assert whole == ConsoleChunk(text, pieces[-1].next, more=False, reset=False)
    assert jenkins.console(path, 1, pieces[-1].next) == ConsoleChunk("", pieces[-1].next, more=False, reset=False)
    assert jenkins.console(path, 1, pieces[-1].next + 1000) == ConsoleChunk(text, pieces[-1].next, more=False, reset=True)


# rights


def test_reader_is_denied_writes(ci_server: Hudson, jenkins: JenkinsServer, reader: JenkinsServer, path: JobPath) -> None:
    jenkins.create(path, config(WAIT, "OP_ID"))
    jenkins.trigger(path, {"OP_ID": "one"})
    until(lambda: reader.builds(path), "it was run")
    assert reader.job(path).parameters == ("OP_ID",)
    before = jenkins.config(path)
    other = JobPath.parse(f"{path}-other")
    for call, *facts in (
        (lambda: reader.config(path), str(path)),
        (lambda: reader.create(other, config("true")), str(other)),
        (lambda: reader.reconfigure(path, config("true")), str(path)),
        (lambda: reader.trigger(path, {"OP_ID": "two"}), str(path)),
        (lambda: reader.stop(path, 1), str(path), "1"),
    ):
        refused(ci_server, call, JenkinsDenied, ci_server.reader.name, *facts)
    assert [build.building for build in jenkins.builds(path)] == [True]
    assert jenkins.config(path) == before
    assert jenkins.config(other) is None
    jenkins.stop(path, 1)


def test_unknown_users(ci_server: Hudson, path: JobPath) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    strangers = {
        ci_server.user: JenkinsServer(ci_server.url, user=ci_server.user, token=static_token(canary)),
        "stranger": JenkinsServer(ci_server.url, user="stranger", token=static_token(canary)),
        "": JenkinsServer(ci_server.url),
    }
    for user, stranger in strangers.items():
        for call in (
            stranger.kind,
            lambda stranger=stranger: stranger.config(path),
            lambda stranger=stranger: stranger.create(path, config("true")),
            lambda stranger=stranger: stranger.trigger(path, {"A": "1"}),
            lambda stranger=stranger: stranger.stop(path, 1),
        ):
            error = refused(ci_server, call, JenkinsDenied, ci_server.url, user)
            assert canary not in json.dumps(error.problem()) + repr(stranger)
        stranger.close()
    assert not leaks(ci_server.home, [canary, ci_server.home.admin.password(), ci_server.reader.password()])


def test_crumb_of_another_session_is_renewed(jenkins: JenkinsServer, reader: JenkinsServer, path: JobPath) -> None:
    with pytest.raises(JenkinsDenied):
        reader.stop(path, 1) or reader.create(path, config("true"))
    jenkins._connection.crumb = dict(reader._connection.crumb)
    jenkins.create(path, config("true"))
    assert jenkins.config(path) is not None


def test_wrong_addresses(ci_server: Hudson, path: JobPath) -> None:
    beside = JenkinsServer(f"{ci_server.url}/static", user=ci_server.user, token=ci_server.home.admin.password)
    unreachable = JenkinsServer("http://127.0.0.1:9", user=ci_server.user, token=ci_server.home.admin.password)
    for server, facts in ((beside, (f"{ci_server.url}/static",)), (unreachable, ("http://127.0.0.1:9", "Connection refused"))):
        for call in (server.kind, lambda server=server: server.job(path), lambda server=server: server.trigger(path, {"A": "1"})):
            refused(ci_server, call, JenkinsUnreachable, *facts)
        server.close()
