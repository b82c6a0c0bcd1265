"""The jobs when something is not as it should be: on the Hudson that the tests start, which can be stopped and broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.ci_scenario import DEPLOY, NAME, RELEASE, CiScenario
from support.ci_server import files_of, files_with
from support.hudson import Hudson
from support.waiting import until

pytestmark = [pytest.mark.platform, pytest.mark.usefixtures("nothing_leaks")]

GOOD = "the version that serves"


@pytest.fixture
def hudson(ci: CiScenario, serving_release: dict[str, Any]) -> Iterator[Hudson]:
    """The server's process, left running."""
    if ci.hudson is None:
        pytest.skip("an external server is not disturbed")
    yield ci.hudson
    ci.hudson.start()


def test_queued_deploy_runs_once_after_a_restart(ci: CiScenario, serving_release: dict[str, Any], hudson: Hudson) -> None:
    before = ci.history()[-1][0]
    _, deploy = ci.slowly("the queue!")
    parameters = {"VERSION": serving_release["chart"]["version"], "NAMESPACE": ci.namespace, "NOTE": "after all"}
    assert ci.run(DEPLOY, "--op-id", "by-carol", **parameters).get("number") is None
    # Otherwise the server could start the queued build while it shuts down.
    ci.jobs.ask("POST", "/quietDown", status=302)
    hudson.restart()
    # Mostly the queue survives; now and then the server ends before it has written it. The same request works in both cases.
    for _ in range(2):
        ci.run(DEPLOY, "--op-id", "by-carol", **parameters)
    after = ci.ended(DEPLOY, "by-carol")
    assert after["result"] == "SUCCESS", ci.console(DEPLOY, after)
    assert ci.jobs.ended(DEPLOY, deploy["number"])["result"] in ("ABORTED", "FAILURE")
    ci.in_order(before)
    assert ci.current()["chart"]["version"] == serving_release["chart"]["version"]


def test_killed_server_leaves_its_deploy_running(ci: CiScenario, serving_release: dict[str, Any], hudson: Hudson) -> None:
    before = ci.history()[-1][0]
    _, deploy = ci.slowly("the survivors!")
    hudson.kill()
    # Its output is not read, and no signal comes: it finishes its deploy.
    ci.answers("the survivors!")
    ci.in_order(before)
    hudson.start()
    lost = ci.jobs.build(DEPLOY, deploy["number"])
    assert lost is not None
    assert not lost["building"]
    ci.ship("everybody again!")
    ci.in_order(before)


def test_push_during_an_outage_is_released_once(ci: CiScenario, hudson: Hudson) -> None:
    ci.index(ci.program("the patient!"))
    ci.checkout.commit("during the outage")
    hudson.stop()
    output = ci.notify_push(status=8)
    assert re.search(rf"^remote: .*{re.escape(hudson.url)}", output, re.MULTILINE)
    commit = ci.checkout.git("rev-parse", "HEAD").strip()
    assert ci.checkout.git("ls-remote", "origin", "main").startswith(commit), "the push itself succeeded"
    hudson.start()
    asked = [ci.run(RELEASE, "--op-id", f"push-{commit}", GIT_COMMIT=commit) for _ in range(2)]
    assert asked[0]["job"] == asked[1]["job"]
    release = ci.released(commit)
    assert ci.deployed(release)["result"] == "SUCCESS"
    ci.answers("the patient!")


@pytest.mark.parametrize(
    ("job", "parameters", "fact"),
    [
        (RELEASE, {"GIT_COMMIT": "--upload-pack=touch ../pwned"}, "--upload-pack=touch ../pwned"),
        (RELEASE, {"GIT_COMMIT": "$(touch pwned)`touch pwned`"}, "$(touch pwned)`touch pwned`"),
        (RELEASE, {"GIT_COMMIT": "0" * 40}, "0" * 40),
        (DEPLOY, {"VERSION": "", "NAMESPACE": "x"}, "VERSION"),
        (DEPLOY, {"VERSION": '1.0.0"; touch pwned; "', "NAMESPACE": "x"}, "touch pwned"),
        (DEPLOY, {"VERSION": "9.9.9", "NAMESPACE": "default"}, "9.9.9"),
        (DEPLOY, {"VERSION": GOOD, "NAMESPACE": "--kubeconfig=/dev/null"}, "--kubeconfig=/dev/null"),
        (DEPLOY, {"VERSION": GOOD, "NAMESPACE": "default", "ENVIRONMENT": "$(touch pwned)"}, "$(touch pwned)"),
        (DEPLOY, {"VERSION": GOOD, "NAMESPACE": "there-is-none"}, "there-is-none"),
        (DEPLOY, {"VERSION": GOOD, "NAMESPACE": "a b; touch pwned"}, "a b; touch pwned"),
    ],
)
def test_hostile_parameters_fail_the_build_and_are_named(
    ci: CiScenario, serving_release: dict[str, Any], hudson: Hudson, job: str, parameters: dict[str, str], fact: str
) -> None:
    op_id = f"hostile-{abs(hash((job, *parameters.items())))}"
    before = ci.history()
    version = serving_release["chart"]["version"]
    ci.run(job, "--op-id", op_id, **{name: version if value == GOOD else value for name, value in parameters.items()})
    build = ci.ended(job, op_id)
    console = ci.console(job, build)
    assert build["result"] == "FAILURE", console
    assert fact in console
    assert "Traceback" not in console
    assert [file for file in files_of(hudson.home.root) if file.name.startswith("pwned")] == []
    assert ci.history() == before


def test_refused_commit_status_is_a_console_warning(ci: CiScenario, hudson: Hudson) -> None:
    assert ci.github is not None
    ci.github.fail(401, message="Bad credentials")
    try:
        _, release, deploy = ci.ship("those who do not hear of it!")
    finally:
        ci.github.heal()
    for job, build in ((RELEASE, release), (DEPLOY, deploy)):
        assert re.search(r"\b401\b.*Bad credentials", ci.console(job, build))


def test_missing_job_is_recreated_by_setup(ci: CiScenario, hudson: Hudson) -> None:
    ci.jobs.delete(DEPLOY)
    problem = ci.run(DEPLOY, VERSION="1.0.0", NAMESPACE=ci.namespace, status=4)
    assert problem["code"] == "job_not_found"
    ci.index(ci.program("early birds!"))
    commit = ci.push("without a Deploy job")
    release = ci.released(commit)
    assert release["result"] == "FAILURE", "a release whose Deploy job is missing fails"
    assert ci.artifact(RELEASE, release, "release.json")["source"]["commit"] == commit
    changes = {job["job"]: job["change"] for job in ci.setup()["items"]}
    assert changes == {RELEASE: "unchanged", DEPLOY: "created"}
    ci.run(RELEASE, "--op-id", "again", GIT_COMMIT=commit)
    until(lambda: ci.answer().get("greeting") == "Hello, early birds!", "the version is deployed", 120)
    ci.idle()


def test_foreign_job_is_a_conflict(ci: CiScenario, hudson: Hudson) -> None:
    mine = ci.checkout.app / "kubernaut.yaml"
    mine.write_text(mine.read_text().replace(f"name: {NAME}", "name: theirs"))
    ci.jobs.create("theirs-deploy", "echo hello")
    before = ci.jobs.config("theirs-deploy")
    try:
        problem = ci.setup(status=5)
    finally:
        ci.checkout.git("checkout", "--quiet", "--", str(mine))
    assert problem["code"] == "job_conflict"
    assert "theirs-deploy" in json.dumps(problem)
    assert ci.jobs.config("theirs-deploy") == before
    ci.jobs.ask("GET", "/job/theirs-release/api/json", status=404)


@pytest.mark.parametrize("where", ["a closed port", "a registry", "a page of the server"])
def test_wrong_jenkins_address_is_unreachable(ci: CiScenario, hudson: Hudson, where: str) -> None:
    registry = ci.checkout.environment["KUBERNAUT_REGISTRY"].partition("/")[0]
    url = {
        "a closed port": "http://127.0.0.1:1",
        "a registry": f"http://{registry}",
        "a page of the server": f"{hudson.url}/login",
    }[where]
    problem = ci.setup("--url", url, status=8)
    assert problem["code"] == "jenkins_unreachable"
    assert url in problem["detail"]
    assert "<" not in json.dumps(problem)


def test_wrong_password_is_denied_and_not_repeated(ci: CiScenario, hudson: Hudson) -> None:
    known = ci.checkout.environment
    ci.checkout.environment = {**known, "KUBERNAUT_JENKINS_TOKEN": "canary-wrong-password"}
    try:
        problem = ci.setup(status=9)
    finally:
        ci.checkout.environment = known
    assert problem["code"] == "jenkins_denied"
    assert "canary" not in json.dumps(problem)
    assert files_with([hudson.home.log, hudson.home.root], ["canary-wrong-password"]) == []
