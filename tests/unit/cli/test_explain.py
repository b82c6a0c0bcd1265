"""Causes and evidence: `explain` and `show` print them, `history` has a column of causes, at any width."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from support.records import EVIDENCE, SENTENCE
from unit.cli.stub import StubKubernaut, explanation, release

from kubernaut.events import Progress
from kubernaut.history.releases import ReleaseList, ReleaseOutcome

Run = Callable[..., Result]
EXPLAIN = ("explain", "hello-world", "-n", "demo")
HISTORY = ("history", "hello-world", "-n", "demo")
SHOW = ("show", "demo.hello-world.v3")
FAILED = ReleaseOutcome(reason="deploy_failed", message=SENTENCE, cause="image_not_found", evidence=EVIDENCE)
LONG_SENTENCE = (
    f"{SENTENCE} It was asked for 12 times, by the pod web-7f9-x2 of the Deployment web, in the namespace demo of the cluster."
)


def words(text: str) -> str:
    return " ".join(text.split())


def test_explain_prints_cause_sentence_and_all_evidence(run: Run) -> None:
    result = run(*EXPLAIN)
    assert result.exit_code == 0
    first, second, *rest = result.stdout.splitlines()
    assert "demo.hello-world.v3" in first
    assert "image_not_found" in first
    assert second == SENTENCE
    assert "    starting" in rest
    assert "      cannot connect to db:5432" in rest, "a log keeps its own indentation"
    heading = next(line for line in rest if "Pod web-7f9-x2" in line)
    assert "12" in heading
    assert "2026-11-22T12:00:00Z" in heading
    assert all(one.about in result.stdout for one in EVIDENCE)
    assert "no right to list events" in result.stdout


@pytest.mark.parametrize("columns", [60, 160])
@pytest.mark.parametrize("line", [EXPLAIN, SHOW])
def test_evidence_is_complete_at_any_width(
    run: Run, stub: StubKubernaut, at_width: Callable[[int], None], line: tuple[str, ...], columns: int
) -> None:
    at_width(columns)
    stub.answers["explain"] = explanation(sentence=LONG_SENTENCE)
    stub.answers["show"] = release(status="failed", outcome=FAILED.model_copy(update={"message": LONG_SENTENCE}))
    text = run(*line).stdout
    assert words(text).count(LONG_SENTENCE) == 1
    assert all(words(one.text) in words(text) for one in EVIDENCE)
    if line == EXPLAIN:
        assert max(map(len, text.splitlines())) <= columns


def test_explain_json_is_the_whole_explanation(run: Run) -> None:
    content = json.loads(run(*EXPLAIN, "-o", "json").stdout)
    assert (content["id"], content["state"], content["cause"]) == ("demo.hello-world.v3", "failed", "image_not_found")
    assert [one["kind"] for one in content["evidence"]] == ["status", "event", "log", "unreadable"]


def test_explain_of_a_release_that_succeeded_says_so_and_names_the_failed_one(run: Run, stub: StubKubernaut) -> None:
    stub.answers["explain"] = explanation(
        state="succeeded", reason="succeeded", cause=None, sentence="", evidence=(), last_failed="demo.hello-world.v2"
    )
    result = run(*EXPLAIN)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["demo.hello-world.v3 succeeded"]
    assert "`kubernaut explain demo.hello-world.v2`" in result.stderr


@pytest.mark.parametrize("state", ["running", "unread"])
def test_explain_names_releases_without_a_result(run: Run, stub: StubKubernaut, state: str) -> None:
    stub.answers["explain"] = explanation(state=state, cause=None, sentence="newer kubernaut", evidence=())
    result = run(*EXPLAIN)
    assert result.exit_code == 0
    assert "demo.hello-world.v3" in result.stdout
    assert "newer kubernaut" in result.stdout


def test_explain_of_an_operation_without_a_release_names_the_operation(run: Run, stub: StubKubernaut) -> None:
    stub.answers["explain"] = explanation(id=None)
    first = run(*EXPLAIN).stdout.splitlines()[0]
    assert all(fact in first for fact in ("deploy", "demo.hello-world", "op-1", "image_not_found"))


def test_explain_passes_the_revision_on(run: Run, stub: StubKubernaut) -> None:
    run(*EXPLAIN, "--revision", "2")
    assert stub.calls == [("explain", ("hello-world",), {"namespace": "demo", "revision": 2})]


@pytest.mark.parametrize("description", [SENTENCE, f'Upgrade "hello-world" failed: {SENTENCE}', SENTENCE.rstrip(".")])
def test_show_prints_the_sentence_once(run: Run, stub: StubKubernaut, description: str) -> None:
    stub.answers["show"] = release(status="failed", outcome=FAILED, description=description)
    text = run(*SHOW).stdout
    assert text.count(SENTENCE.rstrip(".")) == 1
    assert [line.split() for line in text.splitlines() if line.startswith("cause")] == [["cause", "image_not_found"]]


def test_show_keeps_a_description_that_says_something_else(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(status="failed", outcome=FAILED, description="context deadline exceeded")
    text = run(*SHOW).stdout
    assert "context deadline exceeded" in text
    assert SENTENCE in text


def test_show_json_has_cause_and_evidence(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(outcome=FAILED)
    outcome = json.loads(run(*SHOW, "-o", "json").stdout)["outcome"]
    assert outcome["cause"] == "image_not_found"
    assert [one["about"] for one in outcome["evidence"]] == [one.about for one in EVIDENCE]


@pytest.mark.parametrize("columns", [None, 60, 80, 160])
@pytest.mark.parametrize("cause", ["image_not_found", "container_command_invalid"])
def test_history_has_whole_causes_at_any_width(
    run: Run, stub: StubKubernaut, at_width: Callable[[int], None], cause: str, columns: int | None
) -> None:
    if columns:
        at_width(columns)
    failed = release(revision=2, outcome=FAILED.model_copy(update={"cause": cause}), description="failed " * 30)
    stub.answers["history"] = ReleaseList(items=(release(), failed), count=2)
    text = run(*HISTORY).stdout
    assert text.splitlines()[0].split().count("CAUSE") == 1
    assert [line.split().count(cause) for line in text.splitlines() if cause in line] == [1]
    if columns:
        assert max(len(line.rstrip()) for line in text.splitlines()) <= columns


def test_history_json_has_the_causes(run: Run, stub: StubKubernaut) -> None:
    brief = FAILED.model_copy(update={"evidence": ()})
    stub.answers["history"] = ReleaseList(items=(release(outcome=brief), release()), count=2)
    items = json.loads(run(*HISTORY, "-o", "json").stdout)["items"]
    assert items[0]["outcome"] == {"reason": "deploy_failed", "message": SENTENCE, "cause": "image_not_found"}
    assert items[1]["outcome"] is None


def test_logs_of_an_earlier_release_has_kept_lines_and_a_notice(run: Run, stub: StubKubernaut) -> None:
    def kept(stub: StubKubernaut) -> list[str]:
        assert stub.listener is not None
        Progress(stub.listener).notice("logs", "demo.hello-world.v2 is not the current release")
        return ["pod a  starting"]

    stub.answers["logs"] = kept
    result = run("logs", "demo.hello-world.v2")
    assert (result.exit_code, result.stdout) == (0, "pod a  starting\n")
    assert "demo.hello-world.v2" in result.stderr
