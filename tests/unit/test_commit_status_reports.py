"""Commit statuses of the verbs; no answer of GitHub changes what a verb does."""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.deploy_harness import LATE
from support.github import CANARY, FakeGitHub
from support.messages import facts
from support.ship_harness import ShipHarness
from support.source_tree import write

from kubernaut.adapters import github as github_adapter
from kubernaut.adapters.github import CommitStatusReporter, StatusClient
from kubernaut.adapters.github import Status as GitHubStatus
from kubernaut.cli.main import main
from kubernaut.cli.signals import Terminated
from kubernaut.context import Clients
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
def harness(tmp_path: Path, github: FakeGitHub, caplog: pytest.LogCaptureFixture) -> Iterator[ShipHarness]:
    """A checkout whose origin is on the test's GitHub, with a token for it."""
    caplog.set_level(logging.DEBUG)
    variables = {"KUBERNAUT_GITHUB_URL": github.url, "KUBERNAUT_GITHUB_TOKEN": CANARY, "BUILD_URL": BUILD}
    with FakeRegistry() as registry:
        harness = ShipHarness(tmp_path, registry, variables)
        harness.tree.git("remote", "add", "origin", f"{github.url}/team/shop.git")
        yield harness
        kept = HistoryStore(harness.cluster).get("demo", "shop")  # type: ignore[arg-type]
        output = f"{harness.events!r} {caplog.text} {registry.requests!r} {kept!r} {harness.helm.pushed!r}"
        assert CANARY not in output
        assert all(CANARY not in status.body.values() for status in github.statuses)


def last(github: FakeGitHub, context: str) -> str:
    """Return the newest description of a context."""
    return next(str(status.body["description"]) for status in reversed(github.statuses) if status.body["context"] == context)


def test_publish_and_deploy_are_reported(harness: ShipHarness, github: FakeGitHub) -> None:
    kubernaut = harness.open()
    kubernaut.publish(harness.tree.app)
    assert github.states(harness.commit) == {RELEASE: "success"}
    assert re.search(facts("1.0.0"), last(github, RELEASE))
    kubernaut.deploy("shop", namespace="demo")
    assert github.states(harness.commit) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == "1.0.0 runs in demo as demo.shop.v1"
    assert {status.repository for status in github.statuses} == {"team/shop"}
    assert {status.body["target_url"] for status in github.statuses} == {BUILD}
    assert harness.notices == []


def test_pending_is_reported_during_the_work(harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    kubernaut = harness.open()
    calls: list[str] = []
    monkeypatch.setattr(harness.helm, "push", _first(harness.helm.push, lambda: github.wait_for(f"{RELEASE} pending"), calls))
    monkeypatch.setattr(harness.helm, "upgrade", _first(harness.helm.upgrade, lambda: github.wait_for(f"{DEMO} pending"), calls))
    kubernaut.ship(harness.tree.app, namespace="demo")
    assert calls == ["push", "upgrade"]
    assert github.lines == [f"{RELEASE} pending", f"{RELEASE} success", f"{DEMO} pending", f"{DEMO} success"]
    descriptions = [status.body["description"] for status in github.statuses]
    assert descriptions[::2] == ["1.0.0 is being published", "1.0.0 is being deployed to demo"]


def _first(call: Callable[..., object], before: Callable[[], None], calls: list[str]) -> Callable[..., object]:
    def both(*arguments: object, **named: object) -> object:
        before()
        calls.append(getattr(call, "__name__", ""))
        return call(*arguments, **named)

    return both


def test_unchanged_deploy_is_reported(harness: ShipHarness, github: FakeGitHub) -> None:
    kubernaut = harness.open()
    kubernaut.ship(harness.tree.app, namespace="demo")
    assert not kubernaut.ship(harness.tree.app, namespace="demo").changed
    assert github.states(harness.commit) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == "1.0.0 runs in demo already, as demo.shop.v1"


def test_failed_deploy_is_reported_with_its_reason(harness: ShipHarness, github: FakeGitHub) -> None:
    kubernaut = harness.open()
    kubernaut.ship(harness.tree.app, namespace="demo")
    good, bad = harness.commit, harness.release("1.1.0")
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        kubernaut.ship(harness.tree.app, namespace="demo")
    assert caught.value.exit_status == 6
    assert github.states(bad) == {RELEASE: "success", DEMO: "failure"}
    assert github.states(good) == {RELEASE: "success", DEMO: "success"}
    assert last(github, DEMO) == str(caught.value)[:139].rstrip() + ("…" if len(str(caught.value)) > 140 else "")
    assert "v1 (1.0.0) runs again as v3" in last(github, DEMO)


def test_failed_publish_reports_no_deploy(harness: ShipHarness, github: FakeGitHub) -> None:
    write(harness.tree.app / "Dockerfile", "FROM node:22-slim\nRUN exit 7\n")
    harness.release("1.1.0")
    with pytest.raises(BuildFailed):
        harness.open().ship(harness.tree.app, namespace="demo")
    assert github.states(harness.commit) == {RELEASE: "failure"}


def test_secret_in_a_reason_is_masked(harness: ShipHarness, github: FakeGitHub) -> None:
    harness.variables["APP_PASSWORD"] = "hunter2-hunter2"
    kubernaut = harness.open()
    kubernaut.publish(harness.tree.app)
    harness.helm.end_with(Status.FAILED, KubernautError("no login with hunter2-hunter2"))
    with pytest.raises(KubernautError):
        kubernaut.deploy("shop", namespace="demo")
    assert github.states(harness.commit)[DEMO] == "failure"
    assert "hunter2" not in str(github.statuses)


def test_dry_run_and_unknown_version_report_nothing(harness: ShipHarness, github: FakeGitHub) -> None:
    kubernaut = harness.open()
    kubernaut.ship(harness.tree.app, namespace="demo", dry_run=True)
    kubernaut.publish(harness.tree.app, dry_run=True)
    with pytest.raises(VersionNotFound):
        kubernaut.deploy("shop", namespace="demo", version="9.9.9")
    assert (github.requests, harness.notices) == ([], [])


def test_explicit_chart_is_not_reported(harness: ShipHarness, github: FakeGitHub) -> None:
    """Its annotations may name any commit of any repository that the token may write to."""
    kubernaut = harness.open()
    kubernaut.publish(harness.tree.app)
    before = len(github.requests)
    kubernaut.deploy("shop", namespace="demo", chart=f"oci://{harness.registry.address}/charts/shop:1.0.0")
    assert (len(github.requests), harness.notices) == (before, [])


def test_without_a_token_nothing_is_sent_or_shown(harness: ShipHarness, github: FakeGitHub) -> None:
    del harness.variables["KUBERNAUT_GITHUB_TOKEN"]
    harness.open().ship(harness.tree.app, namespace="demo")
    assert (github.requests, harness.notices) == ([], [])


def test_token_from_a_file(harness: ShipHarness, github: FakeGitHub) -> None:
    del harness.variables["KUBERNAUT_GITHUB_TOKEN"]
    file = write(harness.folder / "token", f"{CANARY}\n")
    file.chmod(0o600)
    harness.variables["KUBERNAUT_GITHUB_TOKEN_FILE"] = str(file)
    harness.open().ship(harness.tree.app, namespace="demo")
    assert github.states(harness.commit) == {RELEASE: "success", DEMO: "success"}


def test_repository_elsewhere_is_one_warning(harness: ShipHarness, github: FakeGitHub) -> None:
    harness.tree.git("remote", "set-url", "origin", "https://gitlab.com/team/shop.git")
    harness.open().ship(harness.tree.app, namespace="demo")
    assert github.requests == []
    (notice,) = harness.notices
    assert "1.0.0" in notice
    assert "github_repository" in notice


def test_dirty_commit_is_one_warning(harness: ShipHarness, github: FakeGitHub) -> None:
    write(harness.tree.app / "index.js", "// not committed\n")
    harness.variables["KUBERNAUT_GITHUB_REPOSITORY"] = "team/shop"
    harness.open().ship(harness.tree.app, namespace="demo")
    assert github.requests == []
    (notice,) = harness.notices
    assert "uncommitted changes" in notice


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda github: github.fail(401, message="Bad credentials"), "(HTTP 401): Bad credentials"),
        (lambda github: github.fail(404, message="Not Found"), "(HTTP 404)"),
        (lambda github: github.fail(403, headers={"retry-after": "3600"}), "(HTTP 403)"),
        (lambda github: github.fail(503), "HTTP 503"),
        (lambda github: github.__exit__(), "Connection refused"),
    ],
)
def test_unsent_statuses_are_one_warning_and_change_nothing(
    harness: ShipHarness, github: FakeGitHub, fault: Callable[[FakeGitHub], None], reason: str
) -> None:
    fault(github)
    check_one_warning(harness, reason)


def test_unanswered_statuses_are_one_warning_and_change_nothing(
    harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_adapter, "WAIT", 0.5)
    github.hang()
    check_one_warning(harness, "no answer in time")


def check_one_warning(harness: ShipHarness, reason: str) -> None:
    """Ship twice, the second time in vain, and check that each has one warning with the reason."""
    kubernaut = harness.open()
    assert kubernaut.ship(harness.tree.app, namespace="demo").changed
    (notice,) = harness.notices
    assert f"{RELEASE} (success) and {DEMO} (success)" in notice
    assert reason in notice
    harness.release("1.1.0")
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        kubernaut.ship(harness.tree.app, namespace="demo")
    assert caught.value.exit_status == 6
    assert f"{RELEASE} (success) and {DEMO} (failure)" in harness.notices[-1]
    assert reason in harness.notices[-1]


def test_command_line_shows_the_warning_and_keeps_the_exit_status(
    harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", lambda _settings, listener: harness.open(listener))
    github.fail(401, message="Bad credentials")
    done = CliRunner().invoke(main, ["ship", str(harness.tree.app), "-n", "demo", "-o", "json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["id"] == "demo.shop.v1"
    (line,) = (shown for shown in done.stderr.splitlines() if shown.startswith("github "))
    assert f"{RELEASE} (success) and {DEMO} (success)" in line
    assert "(HTTP 401): Bad credentials" in line
    harness.release("1.1.0")
    harness.helm.end_with(Status.FAILED, LATE)
    failed = CliRunner().invoke(main, ["ship", str(harness.tree.app), "-n", "demo"])
    assert failed.exit_code == 6
    assert failed.stderr.count("(HTTP 401)") == 1
    assert CANARY not in done.output + failed.output


def test_hanging_github_delays_only_the_end_by_the_wait(
    harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_adapter, "WAIT", 0.8)
    kubernaut = harness.open()
    kubernaut.publish(harness.tree.app)
    kubernaut.deploy("shop", namespace="demo")
    answered = _seconds(lambda: kubernaut.deploy("shop", namespace="demo"))
    github.hang()
    events: list[tuple[Event, float]] = []
    ada = kubernaut.acting("ada", listener=lambda event: events.append((event, time.monotonic())))
    began = time.monotonic()
    assert _seconds(lambda: ada.deploy("shop", namespace="demo")) < answered + 0.8 + 1.0
    ended = [at for event, at in events if isinstance(event, StepFinished)]
    assert ended[-1] - began < answered + 0.5, "the deploy itself did not wait"


def test_wait_is_at_most_three_seconds() -> None:
    assert github_adapter.WAIT <= 3


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Terminated(signal.SIGTERM)])
def test_signal_is_reported_after_the_cleanup(harness: ShipHarness, github: FakeGitHub, stop: KeyboardInterrupt) -> None:
    kubernaut = harness.open()
    kubernaut.publish(harness.tree.app)
    harness.helm.end_with(Status.PENDING_INSTALL, stop)
    with pytest.raises(KeyboardInterrupt):
        kubernaut.deploy("shop", namespace="demo")
    assert github.states(harness.commit)[DEMO] == "failure"
    assert last(github, DEMO) == (str(stop) or "Stopped by Ctrl-C.")
    assert kubernaut.show("demo.shop").status == "failed"


def test_signal_while_waiting_for_github_ends_the_wait(
    harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "kubernaut-github":
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    github.hang()
    with pytest.raises(KeyboardInterrupt):
        harness.open().publish(harness.tree.app)
    (notice,) = harness.notices
    assert RELEASE in notice
    assert "no answer in time" in notice


def test_server_reports_each_operation_and_warns_in_its_events(harness: ShipHarness, github: FakeGitHub) -> None:
    events: list[Event] = []
    server = harness.open()
    server.publish(harness.tree.app)
    bob = server.acting("bob", listener=events.append)
    operation, _ = bob.accept("deploy", "shop", namespace="demo")
    bob.deploy("shop", namespace="demo", operation=operation)
    assert github.states(harness.commit)[DEMO] == "success"
    deploys = [status for status in github.statuses if status.body["context"] == DEMO]
    assert all("target_url" not in status.body for status in deploys), "the server's own build is not the caller's"
    github.fail(401)
    operation, _ = bob.accept("deploy", "shop", namespace="production")
    bob.deploy("shop", namespace="production", operation=operation)
    (notice,) = (event.text for event in events if isinstance(event, Notice) and event.step == "github")
    assert "kubernaut/deploy/production (success)" in notice
    assert "(HTTP 401)" in notice
    assert harness.notices == []
    assert server.operation(operation.id).state == "succeeded"


def test_stopped_operation_is_reported(harness: ShipHarness, github: FakeGitHub) -> None:
    server = harness.open()
    server.publish(harness.tree.app)
    bob = server.acting("bob", stopped=lambda: True)
    with pytest.raises(Interrupted) as caught:
        bob.deploy("shop", namespace="demo")
    assert github.states(harness.commit)[DEMO] == "failure"
    assert last(github, DEMO) == str(caught.value)


def test_failing_listener_does_not_fail_the_verb(harness: ShipHarness, github: FakeGitHub) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            raise OSError("broken pipe")

    github.fail(401)
    kubernaut = harness.open()
    bob = kubernaut.acting("bob", listener=listen)
    assert bob.publish(harness.tree.app).changed


def test_no_thread_and_no_client_without_a_token(harness: ShipHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    del harness.variables["KUBERNAUT_GITHUB_TOKEN"]
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with CommitStatusReporter(Clients(harness.settings).github, harness.settings, harness.events.append) as reporter:
        report(reporter)
    assert harness.events == []


def test_process_without_threads_is_a_warning(harness: ShipHarness, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_adapter, "WAIT", 0.1)
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with CommitStatusReporter(Clients(harness.settings).github, harness.settings, harness.events.append) as reporter:
        report(reporter)
    (notice,) = harness.notices
    assert DEMO in notice
    assert github.requests == []


def test_defect_of_the_client_is_a_warning(harness: ShipHarness) -> None:
    class Broken(StatusClient):
        def set_status(self, status: GitHubStatus) -> None:
            raise RuntimeError(CANARY)

    broken = Broken("https://127.0.0.1:1", token=lambda: CANARY, plain_http=lambda _: False)
    with CommitStatusReporter(broken, harness.settings, harness.events.append) as reporter:
        report(reporter)
    (notice,) = harness.notices
    assert "RuntimeError" in notice


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def report(reporter: CommitStatusReporter) -> None:
    """Report a deploy."""
    with reporter.deploying("demo") as status:
        status.begin("1.0.0", "a" * 40, f"{reporter.settings.github_url}/team/shop.git")
