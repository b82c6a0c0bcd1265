"""The whole way: a push reaches the CI server, Release makes a version of it, Deploy puts it on the cluster; each names the other.

In `make test` on the Hudson that the tests start, with freestyle jobs; by `make test-jenkins` on a genuine Jenkins, with Pipelines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api
from support.ci_scenario import DEPLOY, NAME, RELEASE, CiScenario
from support.server_process import serving
from support.waiting import until

pytestmark = [pytest.mark.platform, pytest.mark.usefixtures("nothing_leaks")]

NEVER_READY = 'console.error("cannot open the greeting file")\nprocess.exit(3)\n'
DEAF = "setInterval(() => {}, 1000)\n"


def test_second_setup_changes_nothing_also_after_a_restart(ci: CiScenario, setup_output: Any) -> None:
    def changes(output: Any) -> dict[str, str]:
        return {job["job"].rpartition("/")[2]: job["change"] for job in output["items"]}

    assert changes(setup_output) == {RELEASE: "created", DEPLOY: "created"}
    before = [ci.jobs.config(job) for job in (RELEASE, DEPLOY)]
    assert changes(ci.setup()) == {RELEASE: "unchanged", DEPLOY: "unchanged"}
    assert [ci.jobs.config(job) for job in (RELEASE, DEPLOY)] == before
    if ci.hudson is None:
        return  # a genuine Jenkins is not restarted
    for job in (RELEASE, DEPLOY):  # so that the server writes them its own way
        for verb in ("disable", "enable"):
            ci.jobs.ask("POST", f"{ci.jobs.path(job)}/{verb}", status=302)
    ci.hudson.restart()
    saved = [ci.jobs.config(job) for job in (RELEASE, DEPLOY)]
    assert saved != before
    assert changes(ci.setup()) == {RELEASE: "unchanged", DEPLOY: "unchanged"}
    assert [ci.jobs.config(job) for job in (RELEASE, DEPLOY)] == saved


def test_push_is_released_deployed_and_linked(ci: CiScenario, setup_output: Any, tmp_path: Path) -> None:
    commit, release, deploy = ci.ship("morning!")
    version = ci.artifact(RELEASE, release, "release.json")["version"]
    assert deploy["parameters"]["VERSION"] == version
    assert deploy["parameters"]["NAMESPACE"] == ci.namespace
    assert version in ci.console(RELEASE, release)
    made = ci.artifact(DEPLOY, deploy, "deployed.json")
    assert made["id"].startswith(f"{ci.namespace}.{NAME}.v")
    assert made["id"] in ci.console(DEPLOY, deploy)
    ci.shows(version)
    with serving(ci.checkout.environment, tmp_path, tmp_path) as server:
        shown = server.get(f"/api/releases/{made['id']}")
        versions = server.get(f"/api/versions/{NAME}")
    assert shown["build"]["url"] == deploy["url"]
    assert shown["build"]["number"] == deploy["number"]
    assert shown["build"]["job"].endswith(DEPLOY)
    assert shown["source"]["commit"] == commit
    assert version in {item["version"] for item in versions["items"]}
    if ci.github is not None:
        contexts = ("kubernaut/release", f"kubernaut/deploy/{ci.namespace}")
        of_commit = [status.body for status in ci.github.statuses if status.sha == commit]
        reported = [(body["context"], body["state"]) for body in of_commit]
        assert reported == [(context, state) for context in contexts for state in ("pending", "success")]
        pages = [(body["context"], body["target_url"]) for body in of_commit]
        assert set(pages) == {(contexts[0], release["url"]), (contexts[1], deploy["url"])}


def test_repeated_push_event_is_released_once(ci: CiScenario, serving_release: dict[str, Any]) -> None:
    commit, release, _ = ci.ship("twice!")
    again = ci.run(RELEASE, "--op-id", f"push-{commit}", **({"GIT_COMMIT": commit} if ci.flavour == "freestyle" else {}))
    assert again["number"] == release["number"]
    assert next(build["number"] for build in ci.jobs.builds(RELEASE)) == release["number"]


def test_failed_version_leaves_the_last_good_one_serving(ci: CiScenario, serving_release: dict[str, Any]) -> None:
    ci.shows(serving_release["chart"]["version"])
    ci.index(NEVER_READY)
    commit = ci.push("a program that ends at once")
    release = ci.released(commit)
    assert release["result"] == "SUCCESS", ci.console(RELEASE, release)
    deploy = ci.deployed(release)
    console = ci.console(DEPLOY, deploy)
    assert deploy["result"] == "FAILURE", console
    assert "cannot open the greeting file" in console
    ci.shows(serving_release["chart"]["version"])
    current = ci.current()
    assert (current["status"], current["images"]) == ("deployed", serving_release["images"])
    if ci.github is not None:
        assert ci.github.states(commit) == {"kubernaut/release": "success", f"kubernaut/deploy/{ci.namespace}": "failure"}


def test_aborted_deploy_does_not_block_the_next(ci: CiScenario, serving_release: dict[str, Any]) -> None:
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
    ci.in_order(last)
    assert (last + 1, "failed") in ci.history()


def test_concurrent_deploys_wait_for_each_other(ci: CiScenario, serving_release: dict[str, Any]) -> None:
    before = ci.history()[-1][0]
    release, deploy = ci.slowly("everybody at once!")
    # Jenkins runs the builds of a job one after the other; a manual deploy waits for the lock.
    queued = ci.run(
        DEPLOY, "--op-id", "by-bob", VERSION=serving_release["chart"]["version"], NAMESPACE=ci.namespace, NOTE="the old one"
    )
    assert queued.get("number") is None
    version = ci.artifact(RELEASE, release, "release.json")["version"]
    options = ("--set", "greeting=Hi", "--lock-timeout", "3m", "--timeout", "60s")
    by_hand = ci.checkout.run("deploy", f"{NAME}@{version}", "-n", ci.namespace, *options)
    assert deploy["url"] in by_hand.stderr, "it says for which build it waits"
    for build in (ci.deployed(release), ci.ended(DEPLOY, "by-bob")):
        assert build["result"] == "SUCCESS", ci.console(DEPLOY, build)
    ci.in_order(before)
    assert len(ci.history()) >= before + 3


def test_version_is_promoted_to_another_namespace(ci: CiScenario, serving_release: dict[str, Any]) -> None:
    version = serving_release["chart"]["version"]
    other = f"{ci.namespace}-2"
    ci.cluster.create_namespace(other)
    try:
        note = 'it\'s "ours" $(touch pwned) `id` ]]> & é'
        parameters = {"VERSION": version, "NAMESPACE": other, "ENVIRONMENT": "production", "NOTE": note}
        given = [part for name, value in parameters.items() for part in ("--param", f"{name}={value}")]
        followed = ci.checkout.run("jenkins", "run", ci.full(DEPLOY), *given, "--op-id", "promoted", "--follow")
        assert f"{other}.{NAME}.v1" in followed.stdout
        shown = ci.checkout.json("show", NAME, "-n", other)
        assert (shown["status"], shown["chart"]["version"], shown["images"]) == ("deployed", version, serving_release["images"])
        assert shown["note"] == note
        assert ci.ended(DEPLOY, "promoted")["url"] == shown["build"]["url"]
    finally:
        call_api(ci.cluster, "DELETE", f"/api/v1/namespaces/{other}")


def test_release_without_namespace_starts_no_deploy(ci: CiScenario, serving_release: dict[str, Any]) -> None:
    before = [build["number"] for build in ci.jobs.builds(DEPLOY)]
    ci.run(RELEASE, "--op-id", "nowhere", NAMESPACE="")
    release = ci.ended(RELEASE, "nowhere")
    assert release["result"] == "SUCCESS", ci.console(RELEASE, release)
    assert ci.artifact(RELEASE, release, "release.json")["name"] == NAME
    assert [build["number"] for build in ci.jobs.builds(DEPLOY)] == before
