"""The settings of kubernaut in a config.xml: rendered, restored, and beside the settings of others."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.job_server import job_settings

from kubernaut.errors import JobConflict, JobInvalid, NameInvalid
from kubernaut.jenkins.config_xml import difference, merge, owner, read, render, write
from kubernaut.jenkins.jobs import JobDefinition, PipelineFromScm, ShellStep, define_jobs

RELEASE, DEPLOY = define_jobs(job_settings(), "hudson")
PIPELINE, _ = define_jobs(job_settings(credentials_id="team-git"), "jenkins")
STRINGS = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions"

nasty = st.text(max_size=40) | st.sampled_from(
    ["]]>", "<!--", "&amp;", "&#55357;", "a'b\"c", "$(id)", "`id`", "😀", "-x", "\\", "${X}"]
)


def sent(job: JobDefinition) -> ET.Element:
    """Return a new job as a server that does not change it returns it."""
    return read(write(render(job)))


def shell_step(root: ET.Element, command: str, at: int) -> None:
    builders = root.find("builders")
    assert builders is not None
    step = ET.Element("hudson.tasks.Shell")
    ET.SubElement(step, "command").text = command
    builders.insert(at, step)


def commands(root: ET.Element) -> list[str]:
    return [command.text or "" for command in root.findall("builders/hudson.tasks.Shell/command")]


@given(
    st.builds(job_settings, repository=nasty, branch=nasty, directory=nasty, namespace=st.sampled_from(["", "demo"]), folder=nasty)
)
def test_settings_are_returned_unchanged_or_refused(settings: object) -> None:
    for kind in ("jenkins", "hudson"):
        try:
            jobs = define_jobs(settings, kind)  # type: ignore[arg-type]
        except (JobInvalid, NameInvalid):
            continue
        for job in jobs:
            root = sent(job)
            assert merge(root, job).changed == ()
            assert owner(root) == "hello-world"
            if isinstance(job.steps, ShellStep):
                assert commands(root) == [job.steps.script]
            else:
                assert root.findtext(".//url") == job.steps.repository
                assert root.findtext("definition/scriptPath") == job.steps.script_path
            assert [child.findtext("defaultValue") or "" for child in root.findall(f"{STRINGS}/*")] == [
                parameter.default for parameter in job.parameters
            ]


xml_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)


@given(before=xml_text, after=xml_text, default=xml_text, described=xml_text)
def test_additions_of_an_administrator_stay(before: str, after: str, default: str, described: str) -> None:
    root = sent(RELEASE)
    shell_step(root, before, 0)
    shell_step(root, after, 2)
    definitions = root.find(STRINGS)
    assert definitions is not None
    theirs = ET.SubElement(definitions, "hudson.model.StringParameterDefinition")
    ET.SubElement(theirs, "name").text = "THEIRS"
    ET.SubElement(theirs, "defaultValue").text = default
    description = root.find("description")
    assert description is not None
    description.text = f"{described}\n{description.text}\n{described}"
    root = read(write(root))
    assert merge(root, RELEASE).changed == ()
    changed = merge(root, define_jobs(job_settings(namespace="other"), "hudson")[0])
    assert changed.changed == ("parameter NAMESPACE",)
    lines = [line for line in difference(root, changed.root).splitlines()[2:] if line.startswith(("+", "-"))]
    assert [line.strip("+- ") for line in lines] == ["<defaultValue>demo</defaultValue>", "<defaultValue>other</defaultValue>"]


@pytest.mark.parametrize("job", [RELEASE, DEPLOY, PIPELINE])
def test_new_job_needs_no_change(job: JobDefinition) -> None:
    assert merge(sent(job), job).changed == ()


def without(path: str) -> str:
    root = sent(RELEASE)
    parent = root.find(path.rpartition("/")[0] or ".")
    assert parent is not None
    child = root.find(path)
    assert child is not None
    parent.remove(child)
    return write(root)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (without("description"), ("description",)),
        (without("builders"), ("shell step",)),
        (without("publishers"), ("archived file",)),
        (without("properties"), ("parameter NAMESPACE", "parameter GIT_COMMIT", "parameter OP_ID")),
        (without(f"{STRINGS}/*[2]"), ("parameter GIT_COMMIT",)),
        (without("logRotator"), ()),
        (without("concurrentBuild"), ()),
        (without("disabled"), ()),
        (without("scm"), ()),
        (write(render(RELEASE)).replace("<concurrentBuild>false", "<concurrentBuild>true"), ("concurrent builds",)),
        (write(render(RELEASE)).replace("set -euo pipefail", "set -x"), ("shell step",)),
        (write(render(RELEASE)).replace("<artifacts>release.json", "<artifacts>*.log"), ("archived file",)),
        (write(render(RELEASE)).replace("<artifacts>release.json", "<artifacts>a, release.json"), ()),
        (write(render(RELEASE)).replace("where the version", "wo die Version"), ("parameter NAMESPACE",)),
        (write(render(RELEASE)).replace("by the next setup", "never"), ("description",)),
        (write(render(RELEASE)).replace("<disabled>false", "<disabled>true"), ()),
        (write(render(RELEASE)).replace("<canRoam>true", "<canRoam>false"), ()),
        (write(render(RELEASE)).replace("\nset -euo", "&#13;\nset -euo"), ()),
    ],
)
def test_changed_settings_are_restored(text: str, changed: tuple[str, ...]) -> None:
    merged = merge(read(text), RELEASE)
    assert merged.changed == changed
    assert merge(merged.root, RELEASE).changed == ()


def test_other_archived_files_stay() -> None:
    root = read(write(render(RELEASE)).replace("<artifacts>release.json", "<artifacts>*.log"))
    assert merge(root, RELEASE).root.findtext("publishers/hudson.tasks.ArtifactArchiver/artifacts") == "*.log,release.json"


def test_parameter_of_another_kind_is_replaced() -> None:
    text = write(render(DEPLOY)).replace(
        "<parameterDefinitions>",
        "<parameterDefinitions><hudson.model.TextParameterDefinition><name>NOTE</name></hudson.model.TextParameterDefinition>"
        "<hudson.model.BooleanParameterDefinition><name>LOUD</name></hudson.model.BooleanParameterDefinition>",
    )
    merged = merge(read(text), DEPLOY)
    assert merged.changed == ("parameter NOTE",)
    names = [child.findtext("name") for child in merged.root.findall(f"{STRINGS}/*")]
    assert names == ["LOUD", "VERSION", "NAMESPACE", "ENVIRONMENT", "NOTE", "OP_ID"]


def test_second_copy_of_the_step_is_removed() -> None:
    root = sent(RELEASE)
    shell_step(root, commands(root)[0] + "\n# copied", 1)
    shell_step(root, "echo theirs", 2)
    merged = merge(root, RELEASE)
    assert merged.changed == ("shell step",)
    assert [command.splitlines()[-1] for command in commands(merged.root)] == ["fi", "echo theirs"]


def test_taken_over_job_keeps_its_settings() -> None:
    text = """<project><description>Ask Ada.</description>
        <builders><hudson.tasks.Shell><command>make</command></hudson.tasks.Shell></builders>
        <triggers><hudson.triggers.TimerTrigger><spec>0 3 * * *</spec></hudson.triggers.TimerTrigger></triggers></project>"""
    merged = merge(read(text), RELEASE)
    assert owner(read(text)) is None
    assert owner(merged.root) == "hello-world"
    assert (merged.root.findtext("description") or "").startswith("Ask Ada.\n")
    assert commands(merged.root)[0] == "make"
    assert len(commands(merged.root)) == 2
    assert merged.root.findtext("triggers/*/spec") == "0 3 * * *"
    assert merged.root.find("logRotator") is None


def test_marker_of_another_application_is_replaced() -> None:
    merged = merge(sent(replace(RELEASE, application="shop", marker=RELEASE.marker.replace("hello-world", "shop"))), RELEASE)
    assert merged.root.findtext("description") == RELEASE.marker


@pytest.mark.parametrize(("job", "root"), [(RELEASE, "flow-definition"), (RELEASE, "maven2-moduleset"), (PIPELINE, "project")])
def test_another_kind_of_job_is_a_conflict(job: JobDefinition, root: str) -> None:
    with pytest.raises(JobConflict, match=root):
        merge(ET.Element(root), job)


AS_JENKINS_SAVES_IT = re.sub(
    "Made by kubernaut.*MARK", PIPELINE.marker, (Path(__file__).parent / "pipeline.xml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("", "", ()),
        ("<name>*/main<", "<name>refs/heads/main<", ()),
        ("<name>*/main<", "<name>*/old<", ("branch",)),
        ("hello-world.git<", "hallo.git<", ("repository",)),
        ("<credentialsId>team-git</credentialsId>", "", ("credential",)),
        ("jenkins/release/Jenkinsfile", "Jenkinsfile", ("Jenkinsfile path",)),
        ('class="hudson.plugins.git.GitSCM"', 'class="hudson.scm.NullSCM"', ("repository", "credential", "branch")),
        ("cps.CpsScmFlowDefinition", "cps.CpsFlowDefinition", ("Jenkinsfile path", "repository", "credential", "branch")),
        ("DisableConcurrentBuildsJobProperty>", "Other>", ("concurrent builds",)),
    ],
)
def test_pipeline_saved_by_jenkins_is_unchanged_and_changes_are_restored(old: str, new: str, changed: tuple[str, ...]) -> None:
    root = read(AS_JENKINS_SAVES_IT.replace(old, new) if old else AS_JENKINS_SAVES_IT)
    merged = merge(root, PIPELINE)
    assert merged.changed == changed
    assert merge(merged.root, PIPELINE).changed == ()
    assert merged.root.find(".//com.cloudbees.jenkins.GitHubPushTrigger") is not None
    if "scm" not in new.lower() and "Cps" not in new:
        assert merged.root.find(".//hudson.plugins.git.extensions.impl.CloneOption") is not None


def test_pipeline_has_neither_plugin_versions_nor_a_script() -> None:
    text = write(render(PIPELINE))
    assert "plugin=" not in text
    assert "<script>" not in text
    assert isinstance(PIPELINE.steps, PipelineFromScm)
