"""A job's config.xml: read, merged with the settings of kubernaut, rendered, compared. Pure; ElementTree writes every byte.

kubernaut owns the marker line of the description, its parameters by name, the ban on concurrent builds, and the shell step with its
marker and archived file, or the path of the Jenkinsfile. A correct setting is not touched, and everything else stays, so the
additions of an administrator or of the server, when it saves a job, are not changes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from copy import deepcopy
from difflib import unified_diff
from typing import NamedTuple

from kubernaut.errors import JobConflict, JobInvalid
from kubernaut.jenkins import hudson as hudson_layout
from kubernaut.jenkins.jobs import JobDefinition, JobPath, Parameter, PipelineFromScm, ShellStep
from kubernaut.jenkins.responses import InvalidResponse
from kubernaut.redact import MASK

ROOT_TAGS = {"freestyle": "project", "pipeline": "flow-definition"}
_STRING = "hudson.model.StringParameterDefinition"
_SHELL = "hudson.tasks.Shell"
_ARCHIVER = "hudson.tasks.ArtifactArchiver"
_NO_CONCURRENT_BUILDS = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
_DISCARDER = "jenkins.model.BuildDiscarderProperty"
_SCM_DEFINITION = "org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition"
_GIT = "hudson.plugins.git.GitSCM"
_REMOTE = "userRemoteConfigs/hudson.plugins.git.UserRemoteConfig"
_BRANCH = "branches/hudson.plugins.git.BranchSpec"
_RETENTION = {"daysToKeep": "90", "numToKeep": "100", "artifactDaysToKeep": "-1", "artifactNumToKeep": "-1"}
_MARKER = re.compile(r"^Made by kubernaut for the application ([^\s:]+):.*$", re.MULTILINE)

_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml\b[^>]*\?>\s*")
_ENCODING = re.compile(rb"""<\?xml\b[^>]*\bencoding=["']([A-Za-z][\w.-]{0,40})["'][^>]*\?>""")
_SECRET_TAG = re.compile(r"pass(?:word|phrase)|token|secret|private.?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"\{A[A-Za-z0-9+/]{15,}={0,2}\}")  # an encrypted value of Jenkins


# the text


def decode(body: bytes) -> str:
    """Return the config.xml in a response. Raises: InvalidResponse: It is not XML."""
    declared = _ENCODING.match(body[:200].lstrip())
    try:
        text = body.decode(declared[1].decode() if declared else "utf-8")
    except (LookupError, UnicodeError) as error:
        raise InvalidResponse from error
    start = text.lstrip()[:20].lower()
    if not start.startswith("<") or start.startswith(("<!doctype", "<html")):
        raise InvalidResponse
    return text


def encode(path: JobPath, config: str) -> tuple[str, bytes]:
    """Return the root tag of a config.xml, and the bytes to send: UTF-8 and XML 1.0; Jenkins writes 1.1, which Hudson rejects.

    Raises:
        JobInvalid: It is not XML.
    """
    content = _DECLARATION.sub("", config, count=1)
    try:
        body = content.encode()
        root = ET.fromstring(body)  # noqa: S314 - expat limits entities
    except UnicodeEncodeError as error:
        raise JobInvalid(f"The configuration of job {path} contains invalid characters: {error.reason}.") from error
    except ET.ParseError as error:
        raise JobInvalid(f"The configuration of job {path} is not XML: {error}.") from error
    return root.tag, b"<?xml version='1.0' encoding='UTF-8'?>\n" + body


def read(text: str) -> ET.Element:
    """Read the config.xml of a server, in the layout of Jenkins.

    Raises:
        JobInvalid: It is not XML, or has a document type.
    """
    # Jenkins declares XML 1.1, which the parser does not know.
    body = hudson_layout.join_surrogates(_DECLARATION.sub("", text, count=1))
    if "<!DOCTYPE" in body:
        raise JobInvalid("The config.xml of the server has a document type, which is not allowed.")
    try:
        root = ET.fromstring(body)  # noqa: S314 - no entities without a document type
    except (ET.ParseError, ValueError) as error:
        raise JobInvalid(f"The config.xml of the server cannot be read: {error}.") from error
    hudson_layout.unfold(root)
    return root


def write(root: ET.Element, *, hudson: bool = False) -> str:
    """Return the config.xml to send, XML 1.0, for a Jenkins or a Hudson."""
    copy = deepcopy(root)
    if hudson:
        hudson_layout.fold(copy)
    ET.indent(copy)
    text = ET.tostring(copy, encoding="unicode").replace("\r", "&#13;")  # parsers drop a bare one
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{text}\n"


def difference(before: ET.Element, after: ET.Element) -> str:
    """Return a unified diff of two configurations, secrets masked."""
    return "\n".join(unified_diff(_display(before), _display(after), "current", "new", n=3, lineterm=""))


def _display(root: ET.Element) -> list[str]:
    copy = deepcopy(root)
    for element in copy.iter():
        text = element.text or ""
        if len(element) == 0 and text.strip() and _SECRET_TAG.search(element.tag):
            element.text = MASK
        elif _SECRET_TEXT.search(text):
            element.text = _SECRET_TEXT.sub(MASK, text)
        if not (element.text or "").strip():
            element.text = None
    ET.indent(copy)
    return ET.tostring(copy, encoding="unicode").splitlines()


# the settings


class MergedConfig(NamedTuple):
    """A configuration with the settings of kubernaut; ``changed`` names the settings that differed, if any."""

    root: ET.Element
    changed: tuple[str, ...]


def render(job: JobDefinition) -> ET.Element:
    """Return the configuration of a new job."""
    root = ET.Element(ROOT_TAGS[job.flavour])
    ET.SubElement(root, "description").text = job.marker
    ET.SubElement(root, "keepDependencies").text = "false"
    properties = ET.SubElement(root, "properties")
    if isinstance(job.steps, ShellStep):
        _fill(ET.SubElement(root, "logRotator"), _RETENTION)
        ET.SubElement(root, "scm", {"class": "hudson.scm.NullSCM"})
        _fill(root, {"canRoam": "true", "concurrentBuild": "false"})
    else:
        strategy = ET.SubElement(ET.SubElement(properties, _DISCARDER), "strategy", {"class": "hudson.tasks.LogRotator"})
        _fill(strategy, _RETENTION)
    ET.SubElement(root, "disabled").text = "false"
    return merge(root, job).root


def merge(existing: ET.Element, job: JobDefinition) -> MergedConfig:
    """Return a copy of a configuration, in the layout of Jenkins, with the settings of a job.

    Raises:
        JobConflict: It is of another kind of job; no server converts it.
    """
    expected = ROOT_TAGS[job.flavour]
    if existing.tag != expected:
        raise JobConflict(
            f"{job.path} is not a {job.flavour} job: its configuration is a {existing.tag!r}, not a {expected!r}.",
            hint="Delete or rename it on the server, choose its --flavour, or put the jobs elsewhere with --folder.",
        )
    merging = _Merge(deepcopy(existing))
    merging.description(job.marker)
    merging.parameters(job.parameters)
    if isinstance(job.steps, ShellStep):
        merging.text(merging.root, "concurrentBuild", "false", "concurrent builds", missing="false")
        merging.step(job.steps)
        merging.archiver(job.artifact)
    else:
        merging.no_concurrent_builds()
        merging.definition(job.steps)
    return MergedConfig(merging.root, tuple(dict.fromkeys(merging.changed)))


def owner(root: ET.Element) -> str | None:
    """Return the application in the marker of a configuration; ``None`` if kubernaut has not made the job."""
    found = _MARKER.search(_unix_lines(root.findtext("description", "")))
    return found[1] if found else None


class _Merge:
    """Puts settings into a configuration; ``changed`` names those that differed."""

    def __init__(self, root: ET.Element) -> None:
        self.root = root
        self.changed: list[str] = []

    def text(self, parent: ET.Element, path: str, wanted: str, name: str, *, missing: str = "") -> None:
        """Set the text of an element; ``missing`` is the meaning of an absent one."""
        found = parent.find(path)
        current = missing if found is None else found.text or ""
        if _unix_lines(current).rstrip() != wanted.rstrip():
            _make(parent, path).text = wanted
            self.changed.append(name)

    def description(self, marker: str) -> None:
        text = _unix_lines(self.root.findtext("description", ""))
        if marker in text.splitlines():
            return
        merged = _MARKER.sub(lambda _: marker, text, count=1) if _MARKER.search(text) else "\n".join(filter(None, (text, marker)))
        _make(self.root, "description").text = merged
        self.changed.append("description")

    def parameters(self, wanted: tuple[Parameter, ...]) -> None:
        definitions = _make(self.root, f"properties/{hudson_layout.PARAMETERS}/parameterDefinitions")
        for number, parameter in enumerate(wanted):
            name = f"parameter {parameter.name}"
            same_name = [child for child in definitions if child.findtext("name") == parameter.name]
            definition = next((child for child in same_name if child.tag == _STRING), None)
            for other in same_name:
                if other is not definition:
                    definitions.remove(other)
                    self.changed.append(name)
            if definition is None:
                definition = ET.Element(_STRING)
                _fill(definition, {"name": parameter.name, "description": "", "defaultValue": ""})
                definitions.insert(number, definition)
                self.changed.append(name)
            self.text(definition, "description", parameter.description, name)
            self.text(definition, "defaultValue", parameter.default, name)

    def step(self, shell: ShellStep) -> None:
        builders = _make(self.root, "builders")
        steps = [child for child in builders.findall(_SHELL) if shell.marker in child.findtext("command", "")]
        for copy in steps[1:]:
            builders.remove(copy)
            self.changed.append("shell step")
        step = steps[0] if steps else ET.SubElement(builders, _SHELL)
        self.text(step, "command", shell.script, "shell step")

    def archiver(self, artifact: str) -> None:
        publishers = _make(self.root, "publishers")
        archivers = publishers.findall(_ARCHIVER)
        patterns = [pattern.strip() for archiver in archivers for pattern in archiver.findtext("artifacts", "").split(",")]
        if artifact in patterns:
            return
        if archivers:  # a server may allow one archiver only: add to it
            before = archivers[0].findtext("artifacts", "").strip()
            _make(archivers[0], "artifacts").text = f"{before},{artifact}" if before else artifact
        else:
            _fill(ET.SubElement(publishers, _ARCHIVER), {"artifacts": artifact, "latestOnly": "false"})
        self.changed.append("archived file")

    def no_concurrent_builds(self) -> None:
        properties = _make(self.root, "properties")
        if properties.find(_NO_CONCURRENT_BUILDS) is None:
            ET.SubElement(properties, _NO_CONCURRENT_BUILDS)
            self.changed.append("concurrent builds")

    def definition(self, pipeline: PipelineFromScm) -> None:
        definition = self._of_class(self.root, "definition", _SCM_DEFINITION, "Jenkinsfile path")
        scm = self._of_class(definition, "scm", _GIT, "repository")
        self.text(scm, f"{_REMOTE}/url", pipeline.repository, "repository")
        self.text(scm, f"{_REMOTE}/credentialsId", pipeline.credentials_id or "", "credential")
        branch = scm.findtext(f"{_BRANCH}/name", "").strip()
        if branch not in (pipeline.branch, f"*/{pipeline.branch}", f"refs/heads/{pipeline.branch}"):
            self.text(scm, f"{_BRANCH}/name", f"*/{pipeline.branch}", "branch")
        self.text(definition, "scriptPath", pipeline.script_path, "Jenkinsfile path")

    def _of_class(self, parent: ET.Element, tag: str, wanted: str, name: str) -> ET.Element:
        found = parent.find(tag)
        if found is not None and found.get("class") == wanted:
            return found
        if found is not None:
            parent.remove(found)
        made = ET.SubElement(parent, tag, {"class": wanted})
        _fill(made, {"lightweight": "true"} if tag == "definition" else {"configVersion": "2"})
        self.changed.append(name)
        return made


def _make(parent: ET.Element, path: str) -> ET.Element:
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = ET.SubElement(parent, tag) if found is None else found
    return parent


def _fill(parent: ET.Element, texts: dict[str, str]) -> None:
    for tag, text in texts.items():
        ET.SubElement(parent, tag).text = text


def _unix_lines(text: str) -> str:
    """Return a text with Unix line ends; browsers' forms send others."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
