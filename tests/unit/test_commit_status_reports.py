"""GitHub hears what the verbs do, and whatever it answers, the verbs do the same."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.deploying import LATE
from support.github import CANARY, FakeGitHub
from support.shipping import Yard
from support.workshop import write

from kubernaut.cli.main import main
from kubernaut.cli.signals import Terminated
from kubernaut.commit_status import Patience
from kubernaut.errors import BuildFailed, DeployRolledBack, Interrupted, KubernautError, VersionNotFound
from kubernaut.events import Event, Notice, StepFinished
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore
from kubernaut.testing.registry import FakeRegistry

RELEASE, DEMO = "kubernaut/release", "kubernaut/deploy/demo"
BUILD = "https://ci.example.com/job/shop-deploy/7/"


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        yield github


@pytest.fixture
def yard(tmp_path: Path, github: FakeGitHub, caplog: pytest.LogCaptureFixture) -> Iterator[Yard]:
    """A checkout whose origin lies on the GitHub of the test, with a token for it."""
    caplog.set_level(logging.DEBUG)
    variables = {"KUBERNAUT_GITHUB_URL": github.url, "KUBERNAUT_GITHUB_TOKEN": CANARY, "BUILD_URL": BUILD}
    with FakeRegistry() as registry:
        yard = Yard(tmp_path, registry, variables)
        yard.shop.git("remote", "add", "origin", f"{github.url}/team/shop.git")
        yield yard
        kept = HistoryStore(yard.cluster).past("demo", "shop")  # type: ignore[arg-type]
        said = f"{yard.events!r} {caplog.text} {registry.requests!r} {kept!r} {yard.helm.pushed!r}"
        assert CANARY not in said
        assert all(CANARY not in told.body.values() for told in github.statuses)


def last(github: FakeGitHub, context: str) -> str:
    """The newest description of a context."""
    return next(str(told.body["description"]) for told in reversed(github.statuses) if told.body["context"] == context)


def test_a_publish_and_a_deploy_are_told(yard: Yard, github: FakeGitHub) -> None:
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    assert github.states(yard.commit) == {RELEASE: "success"}
    assert last(github, RELEASE) == "1.0.0 is published"
    kubernaut.deploy("shop", namespace="demo")
    assert github.states(yard.commit) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == "1.0.0 runs in demo as demo.shop.v1"
    assert {told.repository for told in github.statuses} == {"team/shop"}
    assert {told.body["target_url"] for told in github.statuses} == {BUILD}
    assert yard.notices == []


def test_what_is_done_now_is_told_while_it_is_done(yard: Yard, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    kubernaut = yard.open()
    told: list[str] = []
    monkeypatch.setattr(yard.helm, "push", _first(yard.helm.push, lambda: github.wait_told(f"{RELEASE} pending"), told))
    monkeypatch.setattr(yard.helm, "upgrade", _first(yard.helm.upgrade, lambda: github.wait_told(f"{DEMO} pending"), told))
    kubernaut.ship(yard.shop.app, namespace="demo")
    assert told == ["push", "upgrade"]
    assert github.lines == [f"{RELEASE} pending", f"{RELEASE} success", f"{DEMO} pending", f"{DEMO} success"]
    descriptions = [told.body["description"] for told in github.statuses]
    assert descriptions[::2] == ["1.0.0 is being published", "1.0.0 is being deployed to demo"]


def _first(call: Callable[..., object], before: Callable[[], None], told: list[str]) -> Callable[..., object]:
    def both(*arguments: object, **named: object) -> object:
        before()
        told.append(getattr(call, "__name__", ""))
        return call(*arguments, **named)

    return both


def test_what_runs_already_is_told_as_well(yard: Yard, github: FakeGitHub) -> None:
    kubernaut = yard.open()
    kubernaut.ship(yard.shop.app, namespace="demo")
    assert not kubernaut.ship(yard.shop.app, namespace="demo").changed
    assert github.states(yard.commit) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == "1.0.0 runs in demo already, as demo.shop.v1"


def test_a_failed_deploy_is_told_with_its_reason(yard: Yard, github: FakeGitHub) -> None:
    kubernaut = yard.open()
    kubernaut.ship(yard.shop.app, namespace="demo")
    good, bad = yard.commit, yard.release("1.1.0")
    yard.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        kubernaut.ship(yard.shop.app, namespace="demo")
    assert caught.value.exit_status == 6
    assert github.states(bad) == {RELEASE: "success", DEMO: "failure"}
    assert github.states(good) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == str(caught.value)[:139].rstrip() + ("…" if len(str(caught.value)) > 140 else "")
    assert "v1 runs again, as v3." in last(github, DEMO)


def test_a_failed_publish_is_told_and_no_deploy(yard: Yard, github: FakeGitHub) -> None:
    write(yard.shop.app / "Dockerfile", "FROM node:22-slim\nRUN exit 7\n")
    yard.release("1.1.0")
    with pytest.raises(BuildFailed):
        yard.open().ship(yard.shop.app, namespace="demo")
    assert github.states(yard.commit) == {RELEASE: "failure"}


def test_a_secret_in_a_reason_is_masked(yard: Yard, github: FakeGitHub) -> None:
    yard.variables["APP_PASSWORD"] = "hunter2-hunter2"
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    yard.helm.end_with(Status.FAILED, KubernautError("no login with hunter2-hunter2"))
    with pytest.raises(KubernautError):
        kubernaut.deploy("shop", namespace="demo")
    assert github.states(yard.commit)[DEMO] == "failure"
    assert "hunter2" not in str(github.statuses)


def test_nothing_is_told_of_what_is_only_looked_at_or_not_known(yard: Yard, github: FakeGitHub) -> None:
    kubernaut = yard.open()
    kubernaut.ship(yard.shop.app, namespace="demo", dry_run=True)
    kubernaut.publish(yard.shop.app, dry_run=True)
    with pytest.raises(VersionNotFound):
        kubernaut.deploy("shop", namespace="demo", version="9.9.9")
    assert (github.requests, yard.notices) == ([], [])


def test_a_chart_that_somebody_names_himself_is_not_told(yard: Yard, github: FakeGitHub) -> None:
    """Its annotations may name any commit of any repository that the token may write to."""
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    before = len(github.requests)
    kubernaut.deploy("shop", namespace="demo", chart=f"oci://{yard.registry.address}/charts/shop:1.0.0")
    assert (len(github.requests), yard.notices) == (before, [])


def test_without_a_token_nobody_is_asked_and_nothing_is_said(yard: Yard, github: FakeGitHub) -> None:
    del yard.variables["KUBERNAUT_GITHUB_TOKEN"]
    yard.open().ship(yard.shop.app, namespace="demo")
    assert (github.requests, yard.notices) == ([], [])


def test_a_token_may_come_from_a_file(yard: Yard, github: FakeGitHub) -> None:
    del yard.variables["KUBERNAUT_GITHUB_TOKEN"]
    file = write(yard.folder / "token", f"{CANARY}\n")
    file.chmod(0o600)
    yard.variables["KUBERNAUT_GITHUB_TOKEN_FILE"] = str(file)
    yard.open().ship(yard.shop.app, namespace="demo")
    assert github.states(yard.commit) == {RELEASE: "success", DEMO: "success"}


def test_a_token_without_a_repository_is_said_once(yard: Yard, github: FakeGitHub) -> None:
    yard.shop.git("remote", "set-url", "origin", "https://gitlab.com/team/shop.git")
    yard.open().ship(yard.shop.app, namespace="demo")
    assert github.requests == []
    assert yard.notices == [
        f"GitHub is not told of 1.0.0: its repository is not one of {github.url}; name it by `github_repository`."
    ]


def test_a_token_without_a_commit_is_said_once(yard: Yard, github: FakeGitHub) -> None:
    write(yard.shop.app / "index.js", "// not committed\n")
    yard.variables["KUBERNAUT_GITHUB_REPOSITORY"] = "team/shop"
    yard.open().ship(yard.shop.app, namespace="demo")
    assert github.requests == []
    (notice,) = yard.notices
    assert notice.endswith("it was made of more than its commit: files had been changed.")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda github: github.fail(401, message="Bad credentials"), "it does not know the token (HTTP 401): Bad credentials"),
        (lambda github: github.fail(404, message="Not Found"), "there is no team/shop, or the token may not see it (HTTP 404)"),
        (lambda github: github.limit(403, retry_after="3600"), "its rate limit is reached (HTTP 403)"),
        (lambda github: github.fail(503), "it answers HTTP 503"),
        (lambda github: github.hang(), "no answer in time"),
        (lambda github: github.__exit__(), "Connection refused"),
    ],
)
def test_what_github_was_not_told_is_said_once_and_changes_nothing(
    yard: Yard, github: FakeGitHub, fault: Callable[[FakeGitHub], None], reason: str
) -> None:
    yard.patience = Patience(0.4, 0.2)
    fault(github)
    kubernaut = yard.open()
    assert kubernaut.ship(yard.shop.app, namespace="demo").changed
    (notice,) = yard.notices
    claims = "1.0.0 is published, and that 1.0.0 runs in demo as demo.shop.v1"
    assert notice.startswith(f"GitHub was not told that {claims}: {reason}")
    yard.release("1.1.0")
    yard.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        kubernaut.ship(yard.shop.app, namespace="demo")
    assert caught.value.exit_status == 6
    assert yard.notices[-1].startswith(f"GitHub was not told that 1.1.0 is published, and that {DEMO} failed: {reason}")


def test_a_command_line_shows_it_and_ends_as_it_would(yard: Yard, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", lambda _settings, listener: yard.open(listener))
    github.fail(401, message="Bad credentials")
    done = CliRunner().invoke(main, ["ship", str(yard.shop.app), "-n", "demo", "-o", "json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["id"] == "demo.shop.v1"
    line = "github     GitHub was not told that 1.0.0 is published, and that 1.0.0 runs in demo as demo.shop.v1: it does not know"
    assert [shown for shown in done.stderr.splitlines() if shown.startswith("github")] == [
        f"{line} the token (HTTP 401): Bad credentials."
    ]
    yard.release("1.1.0")
    yard.helm.end_with(Status.FAILED, LATE)
    failed = CliRunner().invoke(main, ["ship", str(yard.shop.app), "-n", "demo"])
    assert failed.exit_code == 6
    assert failed.stderr.count("GitHub was not told") == 1
    assert CANARY not in done.output + failed.output


def test_a_rate_limit_and_a_stumble_are_survived(yard: Yard, github: FakeGitHub) -> None:
    github.limit(429, times=1, retry_after="1")
    github.fail(502, times=1)
    yard.open().ship(yard.shop.app, namespace="demo")
    assert github.states(yard.commit) == {RELEASE: "success", DEMO: "success"}
    assert yard.notices == []


def test_a_github_that_hangs_costs_no_more_than_the_patience(yard: Yard, github: FakeGitHub) -> None:
    yard.patience = Patience(0.8, 0.3)
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    kubernaut.deploy("shop", namespace="demo")
    told = _seconds(lambda: kubernaut.deploy("shop", namespace="demo"))
    github.hang()
    heard: list[tuple[Event, float]] = []
    ada = kubernaut.acting("ada", listener=lambda event: heard.append((event, time.monotonic())))
    began = time.monotonic()
    hung = _seconds(lambda: ada.deploy("shop", namespace="demo"))
    assert hung < told + 0.8 + 1.0
    ended = [at for event, at in heard if isinstance(event, StepFinished)]
    assert ended[-1] - began < told + 0.5, "the deploy itself did not wait"


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Terminated(signal.SIGTERM)])
def test_a_signal_is_told_after_all_is_tidied_up(yard: Yard, github: FakeGitHub, stop: KeyboardInterrupt) -> None:
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    yard.helm.end_with(Status.PENDING_INSTALL, stop)
    with pytest.raises(KeyboardInterrupt):
        kubernaut.deploy("shop", namespace="demo")
    assert github.states(yard.commit)[DEMO] == "failure"
    assert last(github, DEMO) == (str(stop) or "Stopped by Ctrl-C.")
    assert kubernaut.show("demo.shop").status == "failed"


def test_a_signal_waits_for_github_only_shortly(yard: Yard, github: FakeGitHub) -> None:
    yard.patience = Patience(30.0, 0.3)
    kubernaut = yard.open()
    kubernaut.publish(yard.shop.app)
    github.hang()
    yard.helm.end_with(Status.PENDING_INSTALL, KeyboardInterrupt())
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        kubernaut.deploy("shop", namespace="demo")
    assert time.monotonic() - began < 5
    assert kubernaut.show("demo.shop").status == "failed"
    assert yard.notices == [f"GitHub was not told that {DEMO} failed: no answer in time."]


def test_a_signal_while_only_github_is_waited_for(yard: Yard, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernaut.adapters.github_teller import StatusClient

    yard.patience = Patience(30.0, 0.3)
    kubernaut = yard.open()
    waited: list[float] = []
    finish = StatusClient.finish

    def interrupted(teller: StatusClient, seconds: float) -> object:
        waited.append(seconds)
        if len(waited) == 1:
            raise KeyboardInterrupt
        return finish(teller, seconds)

    monkeypatch.setattr(StatusClient, "finish", interrupted)
    github.hang()
    with pytest.raises(KeyboardInterrupt):
        kubernaut.publish(yard.shop.app)
    assert waited == [30.0, 0.3]
    assert yard.notices == ["GitHub was not told that 1.0.0 is published: no answer in time."]


def test_a_server_tells_for_each_operation_and_says_so_there(yard: Yard, github: FakeGitHub) -> None:
    heard: list[Event] = []
    server = yard.open()
    server.publish(yard.shop.app)
    bob = server.acting("bob", listener=heard.append)
    operation, _ = bob.accept("deploy", "shop", namespace="demo")
    bob.deploy("shop", namespace="demo", operation=operation)
    assert github.states(yard.commit)[DEMO] == "success"
    deploys = [told for told in github.statuses if told.body["context"] == DEMO]
    assert all("target_url" not in told.body for told in deploys), "the server's own build is not the caller's"
    github.fail(401)
    operation, _ = bob.accept("deploy", "shop", namespace="production")
    bob.deploy("shop", namespace="production", operation=operation)
    assert [event.text for event in heard if isinstance(event, Notice) and event.step == "github"] == [
        "GitHub was not told that 1.0.0 runs in production as production.shop.v1: "
        "it does not know the token (HTTP 401): told to fail."
    ]
    assert yard.notices == []
    assert server.operation(operation.id).state == "succeeded"


def test_an_operation_that_is_stopped_is_told(yard: Yard, github: FakeGitHub) -> None:
    server = yard.open()
    server.publish(yard.shop.app)
    bob = server.acting("bob", stopped=lambda: True)
    with pytest.raises(Interrupted) as caught:
        bob.deploy("shop", namespace="demo")
    assert github.states(yard.commit)[DEMO] == "failure"
    assert last(github, DEMO) == str(caught.value)


def test_a_listener_that_fails_is_no_reason_to_fail(yard: Yard, github: FakeGitHub) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            raise OSError("nobody listens")

    github.fail(401)
    kubernaut = yard.open()
    bob = kubernaut.acting("bob", listener=listen)
    assert bob.publish(yard.shop.app).changed


def test_no_thread_and_no_import_without_a_token(yard: Yard) -> None:
    del yard.variables["KUBERNAUT_GITHUB_TOKEN"]
    kubernaut = yard.open()
    with kubernaut._connections.telling(silent=False) as telling:
        assert telling._teller is None
    assert kubernaut._connections.clients.github is None
    kubernaut.close()
