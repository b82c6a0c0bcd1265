"""Jobs on the CI server by plain HTTP, independent of kubernaut's own client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import requests

from support.waiting import until

ENDS = 120.0
"""Seconds after which a build that has not ended never ends."""


@dataclass
class Jobs:
    """A CI server, Jenkins or Hudson, seen by one of its users.

    Attributes:
        url: Without a slash at its end.
        folder: The jobs' folder, if they are in one.
        patience: How many seconds to wait for a build's end.
    """

    url: str
    user: str
    token_file: Path
    folder: str = ""
    patience: float = ENDS
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.auth = (self.user, self.token_file.read_text().strip())

    def path(self, job: str) -> str:
        """The path of a job."""
        return "".join(f"/job/{part}" for part in (*self.folder.split("/"), job) if part)

    def ask(
        self, method: str, path: str, *, status: int | None = 200, crumb: bool = True, headers: Mapping[str, str] = {}, **how: Any
    ) -> requests.Response:
        """Send a request, with a crumb for a POST, and check the status of the answer."""
        sent = {**(self.crumb() if crumb and method == "POST" else {}), **headers}
        answer = self.session.request(method, f"{self.url}{path}", headers=sent, timeout=30, allow_redirects=False, **how)
        assert status in (None, answer.status_code), f"{method} {path}: {answer.status_code}\n{answer.text[:2000]}"
        return answer

    def crumb(self) -> dict[str, str]:
        """A header with a fresh crumb; empty if the server uses none."""
        answer = self.session.get(f"{self.url}/crumbIssuer/api/json", timeout=30)
        return {} if answer.status_code == 404 else {answer.json()["crumbRequestField"]: answer.json()["crumb"]}

    def create(self, job: str, command: str, *parameters: str, concurrent: bool = False, status: int = 200) -> None:
        """Make a freestyle job of one shell step."""
        at = self.path(job).rpartition("/job/")[0]
        config = freestyle(command, *parameters, concurrent=concurrent)
        headers = {"Content-Type": "text/xml; charset=utf-8"}
        self.ask("POST", f"{at}/createItem", params={"name": job}, data=config, headers=headers, status=status)

    def run(self, job: str, **parameters: str) -> None:
        """Trigger a build."""
        verb = "buildWithParameters" if parameters else "build"
        answer = self.ask("POST", f"{self.path(job)}/{verb}", data=parameters, status=None)
        assert answer.status_code in (200, 201, 302), answer.text[:2000]

    def builds(self, job: str) -> list[dict[str, Any]]:
        """The builds, newest first, each with its ``parameters`` by name."""
        tree = "builds[number,url,building,result,actions[parameters[name,value]]]"
        answer = self.ask("GET", f"{self.path(job)}/api/json", params={"tree": tree})
        found: list[dict[str, Any]] = answer.json()["builds"]
        for build in found:
            pairs = [pair for action in build["actions"] if action for pair in action.get("parameters", ())]
            build["parameters"] = {pair["name"]: pair["value"] for pair in pairs}
        return found

    def build(self, job: str, number: int) -> dict[str, Any] | None:
        """A build, if there is one."""
        return next((build for build in self.builds(job) if build["number"] == number), None)

    def ended(self, job: str, number: int) -> dict[str, Any]:
        """Wait for a build's end, and return it."""

        def over() -> bool:
            build = self.build(job, number)
            return build is not None and not build["building"] and build["result"] is not None

        until(over, f"{job} #{number} has ended", self.patience)
        build = self.build(job, number)
        assert build is not None
        return build

    def console(self, job: str, number: int) -> str:
        """The console of a build, with plain line ends."""
        return self.ask("GET", f"{self.path(job)}/{number}/consoleText").text.replace("\r\n", "\n")

    def stop(self, job: str, number: int) -> None:
        """Abort a build, as the button on its page does."""
        self.ask("POST", f"{self.path(job)}/{number}/stop", status=302)

    def exists(self, job: str) -> bool:
        """Return whether a job exists."""
        return self.ask("GET", f"{self.path(job)}/api/json", status=None).status_code == 200

    def delete(self, job: str) -> None:
        """Delete a job."""
        self.ask("POST", f"{self.path(job)}/doDelete", status=302)

    def config(self, job: str) -> str:
        """A job's config.xml."""
        return self.ask("GET", f"{self.path(job)}/config.xml").text


def freestyle(command: str, *parameters: str, concurrent: bool = False) -> bytes:
    """Return the config.xml of a freestyle job of one shell step."""
    root = ElementTree.Element("project")
    properties = ElementTree.SubElement(root, "properties")
    if parameters:
        declared = ElementTree.SubElement(properties, "hudson.model.ParametersDefinitionProperty")
        definitions = ElementTree.SubElement(declared, "parameterDefinitions")
        for name in parameters:
            definition = ElementTree.SubElement(definitions, "hudson.model.StringParameterDefinition")
            for tag, text in (("name", name), ("description", ""), ("defaultValue", "")):
                ElementTree.SubElement(definition, tag).text = text
    ElementTree.SubElement(root, "scm", {"class": "hudson.scm.NullSCM"})
    ElementTree.SubElement(root, "concurrentBuild").text = str(concurrent).lower()
    step = ElementTree.SubElement(ElementTree.SubElement(root, "builders"), "hudson.tasks.Shell")
    ElementTree.SubElement(step, "command").text = f"#!/bin/bash{os.linesep}{command}"
    for tag in ("publishers", "buildWrappers"):
        ElementTree.SubElement(root, tag)
    return b"<?xml version='1.0' encoding='UTF-8'?>\n" + ElementTree.tostring(root, encoding="utf-8")
