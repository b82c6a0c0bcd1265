"""The setup of jobs: planned for all, then sent and read back; a second setup changes nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.job_server import URL, FakeJobServer, job_settings
from support.messages import facts

from kubernaut.errors import JenkinsDenied, JobConflict, JobInvalid, JobNotFound, NameInvalid
from kubernaut.jenkins.config_xml import read, render, write
from kubernaut.jenkins.jobs import JobDefinition, JobPath, ShellStep, define_jobs
from kubernaut.jenkins.setup import apply, as_plan, plan_job, plan_jobs, plan_setup

HUDSON = Path(__file__).parent / "hudson"
RELEASE, DEPLOY = "hello-world-release", "hello-world-deploy"
OTHERS = "<project><description>Ask Ada.</description><builders/></project>"


def saved(name: str) -> str:
    return (HUDSON / f"{name}.xml").read_text(encoding="utf-8")


def job_of_the_files() -> JobDefinition:
    """Return the job of the recorded files; its step may have changed since."""
    job, _ = define_jobs(job_settings(), "hudson")
    created = read(saved("created"))
    assert isinstance(job.steps, ShellStep)
    steps = ShellStep(created.findtext("builders/hudson.tasks.Shell/command", ""), job.steps.marker)
    return replace(job, steps=steps, marker=created.findtext("description", ""))


@pytest.mark.parametrize("name", ["created", "posted", "saved", "edited", "edited-saved"])
def test_job_as_the_server_saves_it_is_unchanged(name: str) -> None:
    change = plan_job(job_of_the_files(), saved(name))
    assert (change.kind, change.config, change.difference) == ("unchanged", None, "")


@pytest.mark.parametrize("name", ["created", "posted", "saved", "edited", "edited-saved", "edited-updated", "edited-updated-saved"])
def test_difference_is_restored_in_every_layout(name: str) -> None:
    job = job_of_the_files()
    job = replace(job, parameters=(replace(job.parameters[0], default="other"), *job.parameters[1:]))
    change = plan_job(job, saved(name))
    assert change.kind == "update"
    assert re.search(facts("NAMESPACE"), change.reason)
    marked = [line[1:].strip() for line in change.difference.splitlines()[2:] if line.startswith(("+", "-"))]
    before = "prod" if "updated" in name else "demo"
    assert marked == [f"<defaultValue>{before}</defaultValue>", "<defaultValue>other</defaultValue>"]
    assert change.config is not None
    assert "project-properties" in change.config, "or Hudson keeps the old parameters"
    assert plan_job(job, change.config).kind == "unchanged"


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("unmodified", [True, False])
def test_change_of_a_job(mine: bool, force: bool, unmodified: bool) -> None:
    job, _ = define_jobs(job_settings(), "hudson")
    text = write(render(job))
    text = text if unmodified else text.replace("set -euo pipefail", "set -x")
    text = text if mine else text.replace("the application hello-world:", "the application shop:")
    if not mine and not force:
        with pytest.raises(JobConflict, match=facts("hello-world-release", "shop")):
            plan_job(job, text, force=force)
        return
    change = plan_job(job, text, force=force)
    assert change.kind == ("unchanged" if mine and unmodified else "update")
    assert (change.config is None) is (change.kind == "unchanged")


def test_missing_jobs_are_created() -> None:
    server = FakeJobServer()
    changes = plan_setup(server, [job_settings()])
    assert server.sent == []
    assert [(action.kind, action.subject) for action in as_plan(changes).actions] == [
        ("create-job", RELEASE),
        ("create-job", DEPLOY),
    ]
    done = apply(server, changes)
    assert [(item.job, item.change) for item in done] == [(RELEASE, "created"), (DEPLOY, "created")]
    assert done[0].url == f"{URL}/job/{RELEASE}/"
    assert server.sent == [("create", RELEASE), ("create", DEPLOY)]


def test_second_setup_changes_nothing() -> None:
    server = FakeJobServer()
    apply(server, plan_setup(server, [job_settings()]))
    server.sent.clear()
    changes = plan_setup(server, [job_settings()])
    assert not as_plan(changes).changes
    assert as_plan(changes).reason
    assert {item.change for item in apply(server, changes)} == {"unchanged"}
    assert server.sent == []


def test_only_changed_jobs_are_sent() -> None:
    server = FakeJobServer()
    apply(server, plan_setup(server, [job_settings()]))
    server.sent.clear()
    done = apply(server, plan_setup(server, [job_settings(namespace="other")]))
    assert [item.change for item in done] == ["updated", "unchanged"]
    assert server.sent == [("reconfigure", RELEASE)]


def test_foreign_jobs_are_conflicts_and_all_are_named() -> None:
    server = FakeJobServer()
    server.configs = {RELEASE: OTHERS, DEPLOY: OTHERS}
    with pytest.raises(JobConflict) as refused:
        plan_setup(server, [job_settings()])
    text = str(refused.value.problem())
    assert RELEASE in text
    assert DEPLOY in text
    assert "--force" in text
    assert "+      <artifacts>release.json</artifacts>" in text, "the difference is shown"
    del server.configs[RELEASE]
    with pytest.raises(JobConflict, match=DEPLOY):
        plan_setup(server, [job_settings()])
    assert server.sent == []


def test_force_takes_over_jobs_and_keeps_their_settings() -> None:
    server = FakeJobServer()
    server.configs[DEPLOY] = "<project><description>Ask Ada.</description><triggers><x><spec>1</spec></x></triggers></project>"
    done = apply(server, plan_setup(server, [job_settings()], force=True))
    assert [item.change for item in done] == ["created", "updated"]
    root = read(server.configs[DEPLOY])
    assert root.findtext("triggers/x/spec") == "1"
    assert (root.findtext("description") or "").startswith("Ask Ada.\n")
    assert {change.kind for change in plan_setup(server, [job_settings()])} == {"unchanged"}


def test_force_does_not_change_the_kind_of_job() -> None:
    server = FakeJobServer("jenkins")
    server.configs[RELEASE] = OTHERS
    with pytest.raises(JobConflict, match="pipeline"):
        plan_setup(server, [job_settings()], force=True)


def test_unreadable_configuration_is_not_replaced() -> None:
    server = FakeJobServer()
    server.configs[RELEASE] = "<html><br></html>"
    with pytest.raises(JobInvalid):
        plan_setup(server, [job_settings()], force=True)
    assert server.sent == []


def test_one_invalid_application_prevents_all_changes() -> None:
    server = FakeJobServer()
    with pytest.raises(NameInvalid):
        plan_setup(server, [job_settings(), job_settings(application="Not A Name")])
    with pytest.raises(JobInvalid, match=facts(RELEASE, DEPLOY)):
        plan_setup(server, [job_settings(), job_settings(branch="other")])
    assert server.sent == []


def test_missing_folder_is_an_error() -> None:
    server = FakeJobServer("jenkins", folders=("team",))
    with pytest.raises(JobNotFound, match=facts("other", server.url)):
        plan_setup(server, [job_settings(), job_settings(application="shop", folder="other")])
    apply(server, plan_setup(server, [job_settings(folder="team")]))
    assert server.sent == [("create", f"team/{RELEASE}"), ("create", f"team/{DEPLOY}")]


def test_job_changed_meanwhile_is_not_overwritten() -> None:
    server = FakeJobServer()
    apply(server, plan_setup(server, [job_settings()]))
    changes = plan_setup(server, [job_settings(namespace="other")])
    server.configs[RELEASE] = server.configs[RELEASE].replace("<canRoam>true", "<canRoam>false")
    server.sent.clear()
    with pytest.raises(JobConflict, match=RELEASE):
        apply(server, changes)
    assert server.sent == []


@pytest.mark.parametrize("kept", [OTHERS, "<flow-definition/>"])
def test_server_that_stores_another_job_is_a_conflict(kept: str) -> None:
    server = FakeJobServer()
    server.keeps = lambda _: kept
    with pytest.raises(JobConflict):
        apply(server, plan_setup(server, [job_settings()]))


def test_failure_names_the_finished_jobs_and_the_next_setup_continues() -> None:
    server = FakeJobServer()

    def refuse(path: JobPath) -> None:
        if path.name == DEPLOY:
            raise JenkinsDenied("no permission")

    server.failing = refuse
    with pytest.raises(JenkinsDenied) as refused:
        apply(server, plan_setup(server, [job_settings()]))
    assert refused.value.details == (f"{RELEASE} is created",)
    server.failing = lambda _: None
    assert [item.change for item in apply(server, plan_setup(server, [job_settings()]))] == ["unchanged", "created"]


def test_plan_needs_a_configuration_for_each_job() -> None:
    with pytest.raises(ValueError, match="shorter"):
        plan_jobs(define_jobs(job_settings(), "hudson"), [None])


def test_hudson_layout_is_sent_to_hudson_only() -> None:
    for kind, flavour, there in (("hudson", None, True), ("jenkins", "freestyle", False), ("jenkins", "pipeline", False)):
        server = FakeJobServer(kind)  # type: ignore[arg-type]
        apply(server, plan_setup(server, [job_settings(flavour=flavour)]))
        assert ("project-properties" in server.configs[RELEASE]) is there
