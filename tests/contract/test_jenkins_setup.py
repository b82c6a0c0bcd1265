"""Jobs are set up on a real server: once, again, after its own saves and starts, and after an administrator was there."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.ci_jobs import Jobs
from support.job_server import job_settings

from kubernaut.errors import JenkinsDenied, JobConflict, JobInvalid, JobNotFound
from kubernaut.jenkins.config_xml import read, write
from kubernaut.jenkins.jobs import JobSettings, Kind, job_path
from kubernaut.jenkins.server import JenkinsServer
from kubernaut.jenkins.setup import apply, plan_setup

if TYPE_CHECKING:
    from support.hudson import Hudson

pytestmark = pytest.mark.platform


@dataclass
class SetupHarness:
    """The server, an application of this test, and an administrator's changes to its jobs."""

    ci: Hudson
    server: JenkinsServer
    settings: JobSettings

    def setup(self, settings: JobSettings | None = None, *, force: bool = False) -> list[str]:
        changes = plan_setup(self.server, [settings or self.settings], force=force)
        return [item.change for item in apply(self.server, changes)]

    @property
    def release(self) -> str:
        return self.config("release")

    def config(self, kind: Kind) -> str:
        text = self.server.config(job_path(self.settings.application, kind))
        assert text is not None
        return text

    def edit(self, old: str, new: str) -> None:
        """Change Release as an administrator does, by its configuration."""
        text = write(read(self.release), hudson=True)
        assert old in text
        self.server.reconfigure(job_path(self.settings.application, "release"), text.replace(old, new, 1))

    def own_save(self) -> None:
        """Let the server save the jobs itself, in its own layout."""
        for kind in ("release", "deploy"):
            for verb in ("disable", "enable"):
                self.jobs.ask("POST", f"/job/{self.settings.application}-{kind}/{verb}", status=302)
        assert "<originalValue" in self.release

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.ci.url, self.ci.user, self.ci.token_file)


@pytest.fixture
def harness(ci_server: Hudson) -> Iterator[SetupHarness]:
    server = JenkinsServer(ci_server.url, user=ci_server.user, token=ci_server.home.admin.password)
    yield SetupHarness(ci_server, server, job_settings(application=f"setup-{uuid.uuid4().hex[:8]}"))
    server.close()


def test_second_setup_changes_nothing_after_saves_and_restarts(harness: SetupHarness) -> None:
    assert harness.setup() == ["created", "created"]
    assert harness.setup() == ["unchanged", "unchanged"]
    harness.own_save()
    assert harness.setup() == ["unchanged", "unchanged"]
    harness.ci.restart()
    assert harness.setup() == ["unchanged", "unchanged"]
    harness.own_save()
    assert harness.setup() == ["unchanged", "unchanged"]


def test_update_applies_to_the_running_server(harness: SetupHarness) -> None:
    harness.setup()
    harness.own_save()
    other = job_settings(application=harness.settings.application, namespace="other", branch="next")
    assert harness.setup(other) == ["updated", "unchanged"]
    harness.own_save()  # it writes its state in memory
    assert harness.setup(other) == ["unchanged", "unchanged"]
    assert "<defaultValue>other</defaultValue>" in harness.release
    assert "\nbranch=next\n" in harness.release
    harness.ci.restart()
    assert harness.setup(other) == ["unchanged", "unchanged"]


ADDED = {
    "<builders>": "<builders><hudson.tasks.Shell><command>echo before 😀 ]]&gt;</command></hudson.tasks.Shell>",
    "</builders>": "<hudson.tasks.Shell><command>echo after</command></hudson.tasks.Shell></builders>",
    "<publishers>": "<publishers><hudson.tasks.Mailer><recipients>ada@example.com</recipients>"
    "<dontNotifyEveryUnstableBuild>false</dontNotifyEveryUnstableBuild><sendToIndividuals>false</sendToIndividuals>"
    "</hudson.tasks.Mailer>",
    "</parameterDefinitions>": "<hudson.model.BooleanParameterDefinition><name>VERBOSE</name><description/>"
    "<defaultValue>true</defaultValue></hudson.model.BooleanParameterDefinition></parameterDefinitions>",
    "</project>": '<triggers class="vector"><hudson.triggers.TimerTrigger><spec>0 3 * * *</spec></hudson.triggers.TimerTrigger>'
    "</triggers><quietPeriod>7</quietPeriod></project>",
    "<description>": "<description>Ask Ada.\n",
}
KEPT = ("echo before 😀 ]]&gt;", "echo after", "ada@example.com", "VERBOSE", "0 3 * * *", ">7<", "Ask Ada.")


def test_additions_stay_and_changes_are_restored(harness: SetupHarness) -> None:
    harness.setup()
    for old, new in ADDED.items():
        harness.edit(old, new)
    harness.own_save()
    assert harness.setup() == ["unchanged", "unchanged"], "an addition is not a difference"
    harness.edit("set -euo pipefail", "set -x")
    harness.edit("<defaultValue>demo</defaultValue>", "<defaultValue>theirs</defaultValue>")
    harness.own_save()
    change, _ = plan_setup(harness.server, [harness.settings])
    assert "NAMESPACE" in change.reason
    assert re.search(r"^- *.*set -x.*\n", change.difference, re.MULTILINE)
    assert re.search(r"^\+ *.*set -euo pipefail.*\n", change.difference, re.MULTILINE)
    assert "-          <defaultValue>theirs</defaultValue>\n+          <defaultValue>demo</defaultValue>" in change.difference
    assert harness.setup() == ["updated", "unchanged"]
    harness.own_save()
    harness.ci.restart()
    assert harness.setup() == ["unchanged", "unchanged"]
    text = write(read(harness.release))
    assert [part for part in KEPT if part not in text] == []
    assert "set -x" not in text


def test_foreign_job_is_taken_over_with_force_only(harness: SetupHarness) -> None:
    step = "<hudson.tasks.Shell><command>make</command></hudson.tasks.Shell>"
    theirs = f"<project><description>é 😀</description><builders>{step}</builders></project>"
    harness.server.create(job_path(harness.settings.application, "deploy"), theirs)
    with pytest.raises(JobConflict):
        harness.setup()
    with pytest.raises(JobNotFound):
        harness.server.job(job_path(harness.settings.application, "release"))
    assert harness.setup(force=True) == ["created", "updated"]
    harness.own_save()
    assert harness.setup() == ["unchanged", "unchanged"]
    root = read(harness.config("deploy"))
    assert root.findtext("builders/*/command") == "make"
    described, _, mark = (root.findtext("description") or "").partition("\n")
    assert described == "é 😀"
    assert f" {harness.settings.application}:" in mark


def test_hostile_values_are_stored_unchanged(harness: SetupHarness) -> None:
    repository = "https://git.example.com/a'b$(id)`x`]]>&amp;😀.git"
    odd = job_settings(application=harness.settings.application, repository=repository, directory="my app/é 😀 $(id)")
    assert harness.setup(odd) == ["created", "created"]
    harness.own_save()
    assert harness.setup(odd) == ["unchanged", "unchanged"]
    odd = job_settings(application=harness.settings.application, repository=repository, directory="ü😀")
    assert harness.setup(odd) == ["updated", "unchanged"]
    harness.own_save()
    harness.ci.restart()
    assert harness.setup(odd) == ["unchanged", "unchanged"]


def test_reader_creates_no_jobs(harness: SetupHarness) -> None:
    reader = harness.ci.reader
    server = JenkinsServer(harness.ci.url, user=reader.name, token=reader.password)
    with pytest.raises(JenkinsDenied):
        apply(server, plan_setup(server, [harness.settings]))
    server.close()
    with pytest.raises(JobNotFound):
        harness.server.job(job_path(harness.settings.application, "release"))


def test_harmful_jobs_are_not_sent(harness: SetupHarness) -> None:
    for asked, error in (({"flavour": "pipeline"}, JobInvalid), ({"folder": "team"}, JobNotFound)):
        with pytest.raises(error):
            plan_setup(harness.server, [job_settings(application=harness.settings.application, **asked)])
