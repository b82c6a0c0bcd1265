"""A wanted job as config.xml: its own settings put into what is there, or into a new document. Pure; ElementTree makes every byte.

A job's own settings are the line of its description that says whose it is, its parameters by name, that no two builds run at once,
and what it does: the shell step that is known by its mark and the archived file, or the Jenkinsfile's place. A setting that is as
it should be is not touched, and what an administrator has beside them stays: so what changed is known without comparing layouts,
and what a server adds when it saves a job changes nothing.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from copy import deepcopy
from dataclasses import dataclass

from kubernaut.errors import JobConflict
from kubernaut.jenkins.hudson import PARAMETERS
from kubernaut.jenkins.jobs import FromScm, Parameter, Shell, WantedJob

ROOTS = {"freestyle": "project", "pipeline": "flow-definition"}
_STRING = "hudson.model.StringParameterDefinition"
_SHELL = "hudson.tasks.Shell"
_ARCHIVER = "hudson.tasks.ArtifactArchiver"
_ALONE = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
_DISCARDER = "jenkins.model.BuildDiscarderProperty"
_SCM_DEFINITION = "org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition"
_GIT = "hudson.plugins.git.GitSCM"
_REMOTE = "userRemoteConfigs/hudson.plugins.git.UserRemoteConfig"
_BRANCH = "branches/hudson.plugins.git.BranchSpec"
_KEPT = {"daysToKeep": "90", "numToKeep": "100", "artifactDaysToKeep": "-1", "artifactNumToKeep": "-1"}
_MARK = re.compile(r"^Made by kubernaut for the application ([^\s:]+):.*$", re.MULTILINE)


@dataclass(frozen=True)
class Merged:
    """A configuration with a job's own settings in it.

    Attributes:
        changed: The settings that were not as they should be, in words; empty where nothing changed.
    """

    root: ET.Element
    changed: tuple[str, ...]


def render(job: WantedJob) -> ET.Element:
    """Return a new job's configuration."""
    root = ET.Element(ROOTS[job.flavour])
    ET.SubElement(root, "description").text = job.mark
    ET.SubElement(root, "keepDependencies").text = "false"
    properties = ET.SubElement(root, "properties")
    if isinstance(job.work, Shell):
        _fill(ET.SubElement(root, "logRotator"), _KEPT)
        ET.SubElement(root, "scm", {"class": "hudson.scm.NullSCM"})
        _fill(root, {"canRoam": "true", "concurrentBuild": "false"})
    else:
        strategy = ET.SubElement(ET.SubElement(properties, _DISCARDER), "strategy", {"class": "hudson.tasks.LogRotator"})
        _fill(strategy, _KEPT)
    ET.SubElement(root, "disabled").text = "false"
    return merge(root, job).root


def merge(existing: ET.Element, job: WantedJob) -> Merged:
    """Put a job's own settings into a configuration in the classic layout, which stays as it is.

    Raises:
        JobConflict: It is of another kind of job, which no server turns into this one.
    """
    wanted = ROOTS[job.flavour]
    if existing.tag != wanted:
        raise JobConflict(
            f"{job.path} is no {job.flavour} job: its configuration is a {existing.tag!r}, not a {wanted!r}.",
            hint="Delete or rename it on the server, choose its --flavour, or put the jobs elsewhere with --folder.",
        )
    merging = _Merging(deepcopy(existing))
    merging.description(job.mark)
    merging.parameters(job.parameters)
    if isinstance(job.work, Shell):
        merging.text(merging.root, "concurrentBuild", "false", "concurrent builds", missing="false")
        merging.step(job.work)
        merging.archiver(job.artifact)
    else:
        merging.alone()
        merging.definition(job.work)
    return Merged(merging.root, tuple(dict.fromkeys(merging.changed)))


def owner(root: ET.Element) -> str | None:
    """Return the application whose job a configuration says it is; ``None`` where it is nobody's."""
    found = _MARK.search(_lines(root.findtext("description", "")))
    return found[1] if found else None


class _Merging:
    """A configuration while a job's own settings are put into it."""

    def __init__(self, root: ET.Element) -> None:
        self.root = root
        self.changed: list[str] = []

    def text(self, parent: ET.Element, path: str, wanted: str, what: str, *, missing: str = "") -> None:
        """Set an element's text where it is another; ``missing`` is what it means that the element is not there."""
        found = parent.find(path)
        current = missing if found is None else found.text or ""
        if _lines(current).rstrip() != wanted.rstrip():
            _make(parent, path).text = wanted
            self.changed.append(what)

    def description(self, mark: str) -> None:
        found = self.root.findtext("description", "")
        text = _lines(found)
        if mark in text.splitlines():
            return
        kept = _MARK.sub(lambda _: mark, text, count=1) if _MARK.search(text) else "\n".join(filter(None, (text, mark)))
        _make(self.root, "description").text = kept
        self.changed.append("description")

    def parameters(self, wanted: tuple[Parameter, ...]) -> None:
        definitions = _make(self.root, f"properties/{PARAMETERS}/parameterDefinitions")
        for number, parameter in enumerate(wanted):
            what = f"parameter {parameter.name}"
            named = [child for child in definitions if child.findtext("name") == parameter.name]
            definition = next((child for child in named if child.tag == _STRING), None)
            for other in named:
                if other is not definition:
                    definitions.remove(other)
                    self.changed.append(what)
            if definition is None:
                definition = ET.Element(_STRING)
                _fill(definition, {"name": parameter.name, "description": "", "defaultValue": ""})
                definitions.insert(number, definition)
                self.changed.append(what)
            self.text(definition, "description", parameter.description, what)
            self.text(definition, "defaultValue", parameter.default, what)

    def step(self, shell: Shell) -> None:
        builders = _make(self.root, "builders")
        ours = [child for child in builders.findall(_SHELL) if shell.mark in child.findtext("command", "")]
        for copy in ours[1:]:
            builders.remove(copy)
            self.changed.append("shell step")
        step = ours[0] if ours else ET.SubElement(builders, _SHELL)
        self.text(step, "command", shell.script, "shell step")

    def archiver(self, artifact: str) -> None:
        publishers = _make(self.root, "publishers")
        archivers = publishers.findall(_ARCHIVER)
        patterns = [pattern.strip() for archiver in archivers for pattern in archiver.findtext("artifacts", "").split(",")]
        if artifact in patterns:
            return
        if archivers:  # a server may know one only: what it archives besides stays
            before = archivers[0].findtext("artifacts", "").strip()
            _make(archivers[0], "artifacts").text = f"{before},{artifact}" if before else artifact
        else:
            _fill(ET.SubElement(publishers, _ARCHIVER), {"artifacts": artifact, "latestOnly": "false"})
        self.changed.append("archived file")

    def alone(self) -> None:
        properties = _make(self.root, "properties")
        if properties.find(_ALONE) is None:
            ET.SubElement(properties, _ALONE)
            self.changed.append("concurrent builds")

    def definition(self, work: FromScm) -> None:
        definition = self._of_class(self.root, "definition", _SCM_DEFINITION, "Jenkinsfile's place")
        scm = self._of_class(definition, "scm", _GIT, "repository")
        self.text(scm, f"{_REMOTE}/url", work.repository, "repository")
        self.text(scm, f"{_REMOTE}/credentialsId", work.credentials_id or "", "credential")
        branch = scm.findtext(f"{_BRANCH}/name", "").strip()
        if branch not in (work.branch, f"*/{work.branch}", f"refs/heads/{work.branch}"):
            self.text(scm, f"{_BRANCH}/name", f"*/{work.branch}", "branch")
        self.text(definition, "scriptPath", work.script_path, "Jenkinsfile's place")

    def _of_class(self, parent: ET.Element, tag: str, wanted: str, what: str) -> ET.Element:
        found = parent.find(tag)
        if found is not None and found.get("class") == wanted:
            return found
        if found is not None:
            parent.remove(found)
        made = ET.SubElement(parent, tag, {"class": wanted})
        _fill(made, {"lightweight": "true"} if tag == "definition" else {"configVersion": "2"})
        self.changed.append(what)
        return made


def _make(parent: ET.Element, path: str) -> ET.Element:
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = ET.SubElement(parent, tag) if found is None else found
    return parent


def _fill(parent: ET.Element, texts: dict[str, str]) -> None:
    for tag, text in texts.items():
        ET.SubElement(parent, tag).text = text


def _lines(text: str) -> str:
    """Return a text with one kind of line ends: a browser's form sends another."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
