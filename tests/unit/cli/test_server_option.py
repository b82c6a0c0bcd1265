"""``--server``: the same commands, output and exit statuses, run by a server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from support.backend import Backend
from support.backend import backend as backend
from support.clients import library, listening, token_file
from support.deploy_harness import LATE
from support.in_process_server import READER
from support.messages import facts
from support.source_tree import make_source_tree

from kubernaut import Kubernaut, Published
from kubernaut.cli.main import COMMANDS, main
from kubernaut.history.records import Status
from kubernaut.models import Action, Plan

Run = Callable[..., Result]


@pytest.fixture
def url(backend: Backend) -> Iterator[str]:
    with listening(backend.server(watching=False)) as address:
        yield address


@pytest.fixture
def remote(url: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line with a server."""
    monkeypatch.chdir(backend.folder)
    environment = {"KUBERNAUT_SERVER": url, "KUBERNAUT_TOKEN_FILE": str(token_file(backend.folder)), "HOME": str(backend.folder)}

    def run(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(main, arguments, env={**environment, **more.pop("env", {})}, **more)

    return run


@pytest.fixture
def local(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line without a server, on the same cluster."""
    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", lambda _settings, listener: library(backend, listener))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env={"KUBERNAUT_SERVER": ""})

    return run


def problem(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(result.stdout)
    return content


READS = (
    ("list",),
    ("list", "-n", "demo", "--all"),
    ("show", "hello", "-n", "demo"),
    ("show", "demo.hello.v1"),
    ("history", "hello", "-n", "demo"),
    ("diff", "hello", "-n", "demo"),
    ("diff", "hello", "-n", "demo", "--to", "1"),
    ("versions", "hello"),
    ("show", "nothing", "-n", "demo"),
)


@pytest.mark.parametrize("output", [(), ("-o", "json")])
def test_reads_print_the_same_with_and_without_a_server(remote: Run, local: Run, output: tuple[str, ...]) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert remote("deploy", f"hello@{version}", "-n", "demo", "--note", f"greeting of {version}").exit_code == 0
    asked = [remote(*line, *output) for line in READS]
    for line, from_server in zip(READS, asked, strict=True):
        from_here = local(*line, *output)
        assert from_server.exit_code == from_here.exit_code, line
        if from_here.exit_code == 0:
            assert from_server.stdout == from_here.stdout, line
        elif output:
            shown, expected = problem(from_server), problem(from_here)
            assert {key: shown[key] for key in expected} == expected
        else:
            assert from_server.stderr == from_here.stderr


def test_release_lifecycle_on_a_server(remote: Run, local: Run) -> None:
    made = remote("deploy", "hello@1.0.0", "-n", "demo", "--note", "first")
    assert made.exit_code == 0, made.output
    assert re.search(facts("hello", "1.0.0", "demo", "demo.hello.v1"), made.stdout)
    assert re.search(r"^deploy +started +hello 1\.0\.0\b.*\bdemo$", made.stderr, re.MULTILINE)
    assert re.search(r"^deploy +done\b", made.stderr, re.MULTILINE)
    assert "kubernaut history hello -n demo" in made.stderr
    assert "kubernaut logs" not in made.stderr
    again = remote("deploy", "hello@1.0.0", "-n", "demo")
    assert re.search(facts("hello", "1.0.0", "demo", "demo.hello.v1"), again.stdout)
    assert remote("deploy", "hello", "-n", "demo").exit_code == 0
    assert "demo.hello.v3" in remote("rollback", "hello", "-n", "demo").stdout
    assert "demo.hello.v3" in remote("delete", "hello", "-n", "demo", "--yes").stdout
    assert json.loads(remote("list", "-o", "json").stdout)["items"] == []
    assert "demo.hello.v4" in remote("restore", "hello", "-n", "demo").stdout
    assert json.loads(local("show", "hello", "-n", "demo", "-o", "json").stdout)["id"] == "demo.hello.v4"


def test_deploy_from_a_file_records_the_ci_build(remote: Run, backend: Backend) -> None:
    build = {
        "JOB_NAME": "team/hello-deploy",
        "BUILD_NUMBER": "7",
        "BUILD_TAG": "jenkins-team-hello-deploy-7",
        "JENKINS_URL": "https://ci/",
    }
    versions = json.loads(remote("versions", "hello", "-o", "json").stdout)["items"]
    file, made = backend.folder / "release.json", backend.folder / "deployed.json"
    file.write_text(json.dumps(next(one for one in versions if one["version"] == "1.0.0")))
    line = ("deploy", "--from", str(file), "-n", "demo", "--to", str(made))
    done = remote(*line, env=build)
    assert done.exit_code == 0, done.output
    shown = json.loads(made.read_text())
    assert (shown["chart"]["version"], shown["createdBy"]) == ("1.0.0", "ada")
    page = "https://ci/job/team/job/hello-deploy/7/"
    assert shown["build"] == {"url": page, "job": "team/hello-deploy", "number": 7, "tag": build["BUILD_TAG"], "change": None}
    assert f"build        {page}" in remote("show", "hello", "-n", "demo").stdout

    backend.publisher.publish("1.0.0", template="kind: ConfigMap\napiVersion: v1\nmetadata: {name: other}\n")
    other = remote(*line, "-o", "json", env=build)
    assert (other.exit_code, problem(other)["code"]) == (5, "version_conflict")
    assert not made.exists()


def test_failed_deploys_exit_alike(remote: Run, backend: Backend) -> None:
    remote("deploy", "hello@1.0.0", "-n", "demo")
    backend.helm.end_with(Status.FAILED, LATE)
    failed = remote("deploy", "hello@1.1.0", "-n", "demo", "-o", "json")
    assert failed.exit_code == 6
    shown = problem(failed)
    assert (shown["code"], shown["release"]) == ("deploy_rolled_back", "demo.hello.v2")
    assert shown["operation"]
    backend.helm.end_with(Status.FAILED, LATE)
    assert remote("deploy", "hello@1.1.0", "-n", "demo", "--on-failure", "keep").exit_code == 7


@pytest.mark.parametrize(
    "line",
    [("--server", "{url}", "list"), ("list", "--server", "{url}"), ("--server", "http://127.0.0.1:9", "list", "--server", "{url}")],
)
def test_server_option_before_and_after_the_command(remote: Run, url: str, line: tuple[str, ...]) -> None:
    done = remote(*(word.format(url=url) for word in line), env={"KUBERNAUT_SERVER": ""})
    assert done.exit_code == 0, done.output
    assert (done.stdout, f"kubernaut list --all --server {url}" in done.stderr) == ("", True)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_on_a_cluster_have_the_server_option(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--server" in options) is (("--context" in options and name != "serve") or name == "versions")


def test_unreachable_server_exits_8(remote: Run) -> None:
    failed = remote("--server", "http://127.0.0.1:9", "list")
    assert failed.exit_code == 8
    assert "http://127.0.0.1:9" in failed.stderr


def test_insufficient_token_exits_9(remote: Run, backend: Backend) -> None:
    (backend.folder / "reader").mkdir()
    reader = str(token_file(backend.folder / "reader", READER))
    assert remote("list", env={"KUBERNAUT_TOKEN_FILE": reader}).exit_code == 0
    failed = remote("deploy", "hello", "-n", "demo", "-o", "json", env={"KUBERNAUT_TOKEN_FILE": reader})
    assert (failed.exit_code, problem(failed)["code"]) == (9, "not_allowed")
    failed = remote("list", env={"KUBERNAUT_TOKEN_FILE": ""})
    assert failed.exit_code == 9
    assert "KUBERNAUT_TOKEN_FILE" in failed.stderr


def test_local_token_is_sent_to_loopback_servers_only(remote: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    state = backend.folder / ".local" / "state" / "kubernaut"
    state.mkdir(parents=True)
    token_file(state)
    own = {"KUBERNAUT_TOKEN_FILE": "", "XDG_STATE_HOME": ""}
    assert remote("list", env=own).exit_code == 0
    sent: list[Any] = []
    monkeypatch.setattr("kubernaut.cli.remote.Client.__init__", lambda _self, _url, **how: sent.append(how["token_file"]))
    monkeypatch.setattr("kubernaut.cli.remote.Client.list", lambda _self, **_: (_ for _ in ()).throw(KeyboardInterrupt))
    remote("list", env={**own, "KUBERNAUT_SERVER": "https://kubernaut.example.com"})
    assert sent == [None]


def test_only_configured_durations_are_sent(remote: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def deploy(_self: object, _name: str, **how: Any) -> None:
        asked.append(how)
        raise KeyboardInterrupt

    monkeypatch.setattr("kubernaut.cli.remote.RemoteBackend.deploy", deploy)
    remote("deploy", "hello", "-n", "demo")
    remote("deploy", "hello", "-n", "demo", "--timeout", "90s", env={"KUBERNAUT_LOCK_TIMEOUT": "1m"})
    assert "timeout" not in asked[0]
    assert "lock_timeout" not in asked[0]
    assert (asked[1]["timeout"], asked[1]["lock_timeout"]) == (90.0, 60.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("logs", "hello", "-n", "demo"), "kubernaut explain hello -n demo"),
        (("unlock", "hello", "-n", "demo", "--yes"), "kubernaut history hello -n demo"),
        (("list", "--context", "kind"), "--context"),
        (("show", "demo.hello.v1", "--kubeconfig", "k"), "--kubeconfig"),
        (("versions", "hello", "--registry", "r.example.com"), "--registry"),
        (("deploy", "hello", "-n", "demo", "--registry", "r.example.com"), "--registry"),
    ],
)
def test_commands_and_options_that_a_server_refuses_exit_2(remote: Run, line: tuple[str, ...], words: str) -> None:
    refused = remote(*line)
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert "KUBERNAUT_SERVER" in refused.stderr


def test_serve_has_no_server_option(remote: Run) -> None:
    refused = remote("serve", "--server", "http://127.0.0.1:9")
    assert (refused.exit_code, "--server" in refused.stderr) == (2, True)


# ship: published locally, deployed on the server


@pytest.fixture
def published(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the engine: `publish` returns version 1.1.0."""
    calls: list[dict[str, Any]] = []

    def publish(_self: Kubernaut, _app: Any, **how: Any) -> Published:
        calls.append(how)
        plan = Plan(actions=(Action(kind="push-chart", subject="hello:1.1.0", reason="the registry does not have it"),))
        if how["dry_run"]:
            return Published(plan, False, None)
        return Published(plan, True, library(backend).versions("hello")[0])

    monkeypatch.setattr("kubernaut.Kubernaut.publish", publish)
    return calls


@pytest.fixture
def app(tmp_path: Path) -> str:
    tree = make_source_tree(tmp_path / "tree")
    definition = tree.app / "kubernaut.yaml"
    definition.write_text(definition.read_text().replace(f"name: {tree.app.name}", "name: hello"))
    return str(tree.app)


def test_ship_publishes_locally_and_deploys_on_the_server(remote: Run, local: Run, published: list[Any], app: str) -> None:
    done = remote("ship", app, "-n", "demo", "--note", "new greeting", "-o", "json")
    assert done.exit_code == 0, done.output
    assert len(published) == 1
    shown = json.loads(done.stdout)
    assert (shown["id"], shown["chart"]["version"], shown["note"], shown["createdBy"]) == (
        "demo.hello.v1",
        "1.1.0",
        "new greeting",
        "ada",
    )


def test_ship_deploys_under_another_name_on_the_server(remote: Run, published: list[Any], app: str) -> None:
    assert remote("ship", app, "-n", "demo").exit_code == 0
    done = remote("ship", app, "-n", "demo", "--name", "canary", "-o", "json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["id"], shown["chart"]["name"], shown["chart"]["version"]) == ("demo.canary.v1", "hello", "1.1.0")
    assert len(published) == 2
    refused = remote("ship", app, "-n", "demo", "--name", "Canary", "-o", "json")
    assert (problem(refused)["code"], len(published)) == ("name_invalid", 2)


def test_local_charts_are_not_deployed_on_a_server(remote: Run, tmp_path: Path) -> None:
    for chart in (str(tmp_path), "https://charts.example.com/web@1.0.0"):
        refused = remote("deploy", "web", "-n", "demo", "--chart", chart, "-o", "json")
        assert (refused.exit_code, problem(refused)["code"]) == (3, "bad_input")
        assert "helm push" in problem(refused)["hint"]


def test_ship_dry_run_publishes_nothing(remote: Run, published: list[Any], app: str, url: str) -> None:
    done = remote("ship", app, "-n", "demo", "--dry-run")
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()
    assert first.startswith("1. push-chart hello:1.1.0: ")
    assert second.startswith("2. deploy demo.hello: ")
    assert url in second
    assert [call["dry_run"] for call in published] == [True]


@pytest.mark.parametrize(
    ("option", "code"), [(("--set", "a[x]=1"), "values_invalid"), (("--environment", "nowhere"), "environment_not_found")]
)
def test_ship_checks_the_deploy_before_it_publishes(
    remote: Run, published: list[Any], app: str, option: tuple[str, str], code: str
) -> None:
    refused = remote("ship", app, "-n", "demo", *option, "-o", "json")
    assert problem(refused)["code"] == code
    assert published == []
