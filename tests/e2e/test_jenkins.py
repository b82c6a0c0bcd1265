"""The whole way: a push reaches the CI server, Release makes a version of it, Deploy puts it on the cluster; each names the other.

In `make test` on the Hudson that the tests start, with freestyle jobs; by `make test-jenkins` on a genuine Jenkins, with Pipelines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import until
from support.jenkins_places import on_hudson, on_jenkins
from support.jenkins_world import DEPLOY, NAME, RELEASE, Ci, no_secret_in_arguments
from support.server import serving

pytestmark = pytest.mark.platform

NEVER_READY = 'console.error("cannot open the greeting file")\nprocess.exit(3)\n'
DEAF = "setInterval(() => {}, 1000)\n"


@pytest.fixture(scope="module")
def ci(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ci]:
    """The CI server, without jobs; KUBERNAUT_TEST_JENKINS says that it is a genuine Jenkins."""
    folder = tmp_path_factory.mktemp("jenkins")
    if os.environ.get("KUBERNAUT_TEST_JENKINS"):
        with on_jenkins(folder) as there:
            yield there
    else:
        with on_hudson(request.getfixturevalue("platform"), folder) as here:
            yield here


@pytest.fixture(scope="module")
def set_up(ci: Ci) -> Any:
    """The jobs, set up; what the command said."""
    return ci.setup()


@pytest.fixture(autouse=True)
def nothing_leaks(ci: Ci) -> Iterator[None]:
    """No test leaves a secret in a console, a URL, a config.xml, a log or a build's file, and none has one in an argument list."""
    with no_secret_in_arguments(ci.secrets):
        yield
    assert ci.leaks() == []


@pytest.fixture
def good(ci: Ci, set_up: Any) -> dict[str, Any]:
    """A good release that serves; made by the first who asks."""
    if not ci.answer():
        ci.ship("everybody!")
    return ci.current()


def test_a_second_setup_changes_nothing_also_after_a_restart(ci: Ci, set_up: Any) -> None:
    def changes(said: Any) -> dict[str, str]:
        return {job["job"].rpartition("/")[2]: job["change"] for job in said["items"]}

    assert changes(set_up) == {RELEASE: "created", DEPLOY: "created"}
    before = [ci.jobs.config(job) for job in (RELEASE, DEPLOY)]
    assert changes(ci.setup()) == {RELEASE: "unchanged", DEPLOY: "unchanged"}
    assert [ci.jobs.config(job) for job in (RELEASE, DEPLOY)] == before
    if ci.hudson is None:
        return  # somebody else's server is not restarted
    for job in (RELEASE, DEPLOY):  # so that the server writes them its own way
        for verb in ("disable", "enable"):
            ci.jobs.ask("POST", f"{ci.jobs.path(job)}/{verb}", status=302)
    ci.hudson.restart()
    saved = [ci.jobs.config(job) for job in (RELEASE, DEPLOY)]
    assert saved != before
    assert changes(ci.setup()) == {RELEASE: "unchanged", DEPLOY: "unchanged"}
    assert [ci.jobs.config(job) for job in (RELEASE, DEPLOY)] == saved


def test_a_push_travels_to_the_cluster_and_each_part_names_the_others(ci: Ci, set_up: Any, tmp_path: Path) -> None:
    commit, release, deploy = ci.ship("morning!")
    version = ci.artifact(RELEASE, release, "release.json")["version"]
    assert deploy["parameters"]["VERSION"] == version
    assert deploy["parameters"]["NAMESPACE"] == ci.namespace
    assert version in ci.console(RELEASE, release)
    made = ci.artifact(DEPLOY, deploy, "deployed.json")
    assert made["id"].startswith(f"{ci.namespace}.{NAME}.v")
    assert made["id"] in ci.console(DEPLOY, deploy)
    assert ci.answer()["version"] == version
    with serving(ci.world.environment, tmp_path, tmp_path) as server:
        shown = server.get(f"/api/releases/{made['id']}")
        versions = server.get(f"/api/versions/{NAME}")
    assert shown["build"]["url"] == deploy["url"]
    assert shown["build"]["number"] == deploy["number"]
    assert shown["build"]["job"].endswith(DEPLOY)
    assert shown["source"]["commit"] == commit
    assert version in {item["version"] for item in versions["items"]}
    if ci.github is not None:
        contexts = ("kubernaut/release", f"kubernaut/deploy/{ci.namespace}")
        of_commit = [told.body for told in ci.github.statuses if told.sha == commit]
        said = [(body["context"], body["state"]) for body in of_commit]
        assert said == [(context, state) for context in contexts for state in ("pending", "success")]
        pages = [(body["context"], body["target_url"]) for body in of_commit]
        assert set(pages) == {(contexts[0], release["url"]), (contexts[1], deploy["url"])}


def test_a_push_that_is_told_twice_is_released_once(ci: Ci, good: dict[str, Any]) -> None:
    commit, release, _ = ci.ship("twice!")
    again = ci.run(RELEASE, "--op-id", f"push-{commit}", **({"GIT_COMMIT": commit} if ci.flavour == "freestyle" else {}))
    assert again["number"] == release["number"]
    assert next(build["number"] for build in ci.jobs.builds(RELEASE)) == release["number"]


def test_a_version_that_never_becomes_ready_leaves_the_last_good_one_serving(ci: Ci, good: dict[str, Any]) -> None:
    before = ci.answer()
    ci.index(NEVER_READY)
    commit = ci.push("a program that ends at once")
    release = ci.released(commit)
    assert release["result"] == "SUCCESS", ci.console(RELEASE, release)
    deploy = ci.deployed(release)
    said = ci.console(DEPLOY, deploy)
    assert deploy["result"] == "FAILURE", said
    assert "cannot open the greeting file" in said
    assert ci.answer() == before
    current = ci.current()
    assert (current["status"], current["images"]) == ("deployed", good["images"])
    if ci.github is not None:
        assert ci.github.states(commit) == {"kubernaut/release": "success", f"kubernaut/deploy/{ci.namespace}": "failure"}


def test_an_abort_in_the_midst_of_a_deploy_holds_up_nobody(ci: Ci, good: dict[str, Any]) -> None:
    last = ci.history()[-1][0]
    ci.index(DEAF)  # it runs, and answers nothing
    release = ci.released(ci.push("a program that never answers"))
    deploy = ci.deploying(release)
    until(lambda: ci.history()[-1] == (last + 1, "pending-upgrade"), "Helm is in the midst of it", 60)
    ci.jobs.stop(DEPLOY, deploy["number"])
    # The next begins at once, while the aborted one may still be putting things in order.
    _, _, after = ci.ship("after the abort!")
    assert after["number"] > deploy["number"]
    assert ci.jobs.ended(DEPLOY, deploy["number"])["result"] == "ABORTED"
    ci.idle()
    history = ci.history()
    assert [status for _, status in history if status.startswith("pending")] == [], history
    assert [status for _, status in history].count("deployed") == 1
    assert history[-1][1] == "deployed"
    assert (last + 1, "failed") in history


def test_two_deploys_at_once_wait_for_each_other(ci: Ci, good: dict[str, Any]) -> None:
    before = ci.history()[-1][0]
    _, release, _ = ci.ship("both!")
    version = ci.artifact(RELEASE, release, "release.json")["version"]
    first = ci.run(DEPLOY, "--op-id", "by-ada", VERSION=version, NAMESPACE=ci.namespace, NOTE='it\'s "ours" $(id) ]]> & é')
    second = ci.run(
        DEPLOY, "--op-id", "by-bob", VERSION=good["chart"]["version"], NAMESPACE=ci.namespace, NOTE="back to the old one"
    )
    assert first["job"] == second["job"]
    by_hand = ci.world.run(
        *("deploy", f"{NAME}@{version}", "-n", ci.namespace, "--set", "greeting=Hi", "--lock-timeout", "2m", "--timeout", "60s")
    )
    for op_id in ("by-ada", "by-bob"):
        build = ci.ended(DEPLOY, op_id)
        assert build["result"] == "SUCCESS", ci.console(DEPLOY, build)
    assert "error" not in by_hand.stderr
    ci.idle()
    statuses = [status for revision, status in ci.history() if revision > before]
    assert statuses.count("deployed") == 1
    assert set(statuses) <= {"deployed", "superseded"}
