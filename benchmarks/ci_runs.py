"""What ci.py runs: builds of a real CI server beside the same commands by hand, on the local platform. Judges nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ci_figures import Followed, Turns
from measure import Failed, kubernaut, run

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import KubernautError
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.server import open_server
from kubernaut.settings import load_settings

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # the CI server is part of the tests

from support.hudson import Hudson, HudsonHome, Origin  # noqa: E402

NAME = "hello-world"
APPLICATION = Path("examples", NAME)
CI, HAND = "bench-jenkins", "bench-jenkins-hand"
TALK = "bench-talk"
LINES, PAUSE = 30, 0.4
PATIENCE = 180.0
"""Seconds after which what should have happened is given up."""
# Each line says when it was said.
_TALK = f"""#!/bin/bash
for _ in $(seq {LINES}); do date +said-%s.%N; sleep {PAUSE}; done
"""


@dataclass
class Place:
    """A CI server with the jobs of hello-world, a repository, and the two namespaces.

    Attributes:
        environment: In which `kubernaut` finds the platform and the server.
    """

    folder: Path
    environment: Mapping[str, str]
    server: Hudson
    origin: Origin
    edits: int = 0

    def edit(self) -> str:
        """Make a commit with another greeting; return the greeting."""
        self.edits += 1
        greeting = f"Hello {time.time_ns()}"
        values = self.origin.tree / "charts" / NAME / "values.yaml"
        lines = values.read_text(encoding="utf-8").splitlines()
        changed = [f"greeting: {json.dumps(greeting)}" if line.startswith("greeting:") else line for line in lines]
        values.write_text("\n".join(changed) + "\n", encoding="utf-8")
        self.origin.commit(f"edit {self.edits}")
        return greeting

    def run(self, *arguments: str) -> float:
        """Run the command in the work tree; return the seconds that it took."""
        return run([kubernaut(), *arguments], self.origin.tree, self.environment)

    def wait_for(self, greeting: str, namespace: str) -> None:
        """Wait until the application says so. Raises: Failed: It does not."""
        cluster = Cluster(self.environment["KUBECONFIG"])
        deadline = time.monotonic() + PATIENCE
        said = ""
        try:
            while greeting not in said:
                if time.monotonic() > deadline:
                    raise Failed(f"{namespace} still says {said!r}, not {greeting!r}")
                time.sleep(0.05)
                with suppress(KubernautError):
                    _, said = cluster.get_through_service(namespace, NAME, 80, "/", timeout=2)
        finally:
            cluster.close()


@contextmanager
def prepared(platform: Mapping[str, str], folder: Path) -> Iterator[Place]:
    """Bring the CI server up, with the jobs and a version that runs in both namespaces; take all of it away again."""
    home = HudsonHome(folder / "ci")
    kept = ("KUBECONFIG", "DOCKER_HOST", "PATH")
    environment = {
        **{variable: platform[variable] for variable in kept},
        "PATH": f"{Path(kubernaut()).parent}{os.pathsep}{platform['PATH']}",
        "KUBERNAUT_REGISTRY": f"{platform['KUBERNAUT_REGISTRY']}/bench-jenkins",
        "KUBERNAUT_JENKINS_USER": home.admin.name,
        "KUBERNAUT_JENKINS_TOKEN_FILE": str(home.admin.token_file),
    }
    with Hudson(home, environment) as server:
        shell = {**os.environ, **environment, "KUBERNAUT_JENKINS_URL": server.url}
        here = {name: shell[name] for name in (*environment, "KUBERNAUT_JENKINS_URL")}
        place = Place(folder, shell, server, Origin(folder, f"{NAME}-release", here))
        for part in (APPLICATION, Path("charts", NAME)):
            shutil.copytree(ROOT / part, place.origin.tree / part)
        place.edit()
        try:
            for namespace in (CI, HAND):
                place.run("ship", str(APPLICATION), "--namespace", namespace, "--create-namespace")
            where = ("--repository", str(place.origin.repository), "--namespace", CI)
            place.run("jenkins", "setup", str(APPLICATION), *where)
            place.origin.push()
            place.run("jenkins", "run", f"{NAME}-release", "--op-id", f"push-{_head(place)}", "--follow")
            yield place
        finally:
            for namespace in (CI, HAND):
                with suppress(Failed):
                    run(["helm", "uninstall", NAME, "--namespace", namespace, "--ignore-not-found"], folder, shell)


def pushes(place: Place, pairs: int) -> Turns:
    """Time the way from a commit to its greeting: by a push, and by `ship`."""
    ci: list[float] = []
    hand: list[float] = []
    for _ in range(pairs):
        greeting = place.edit()
        started = time.perf_counter()
        place.run("ship", str(APPLICATION), "--namespace", HAND)
        place.wait_for(greeting, HAND)
        hand.append(time.perf_counter() - started)
        greeting = place.edit()  # another commit: nothing of the one before helps it
        started = time.perf_counter()
        place.origin.push()
        place.wait_for(greeting, CI)
        ci.append(time.perf_counter() - started)
        place.run("jenkins", "run", f"{NAME}-deploy", "--op-id", _hand_over(place), "--follow")
    return Turns(ci, hand)


def deploys(place: Place, pairs: int) -> Turns:
    """Time builds of the Deploy job, as the server does, beside the same command by hand; two versions in turns."""
    versions = [json.loads(_said(place, "versions", NAME, "-o", "json"))["items"][number]["version"] for number in (0, 1)]
    ci: list[float] = []
    hand: list[float] = []
    for number in range(pairs + 1):
        version = versions[number % 2]
        seconds = place.run("deploy", f"{NAME}@{version}", "--namespace", HAND, "--lock-timeout", "10m")
        parameters = ("--param", f"VERSION={version}", "--param", f"NAMESPACE={CI}")
        build = json.loads(_said(place, "jenkins", "run", f"{NAME}-deploy", *parameters, "--follow", "-o", "json"))
        if number:  # the first one is not counted: it fills every cache
            hand.append(seconds)
            ci.append(_duration(place, build["number"]))
    return Turns(ci, hand)


def followed(place: Place) -> Followed:
    """Follow a build that says when it says something, and count what the server is asked meanwhile."""
    server = open_server(load_settings(environment=place.environment, directory=place.folder))
    server.create(JobPath((TALK,)), _talk())
    server.close()
    command = [kubernaut(), "jenkins", "run", TALK, "--op-id", "bench", "--follow"]
    before, started = _requests(place), time.perf_counter()
    behind: list[float] = []
    with subprocess.Popen(
        command, env=dict(place.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.time()
            if line.startswith("said-"):
                behind.append(now - float(line.removeprefix("said-")))
    if process.returncode or len(behind) != LINES:
        raise Failed(f"{' '.join(command)}: exit status {process.returncode}, {len(behind)} lines of {LINES}")
    return Followed(behind, _requests(place) - before, time.perf_counter() - started)


def _talk() -> str:
    root = ElementTree.Element("project")
    definitions = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "properties"), "hudson.model.ParametersDefinitionProperty"),
        "parameterDefinitions",
    )
    parameter = ElementTree.SubElement(definitions, "hudson.model.StringParameterDefinition")
    for name, text in (("name", "OP_ID"), ("description", ""), ("defaultValue", "")):
        ElementTree.SubElement(parameter, name).text = text
    ElementTree.SubElement(root, "scm", {"class": "hudson.scm.NullSCM"})
    shell = ElementTree.SubElement(ElementTree.SubElement(root, "builders"), "hudson.tasks.Shell")
    ElementTree.SubElement(shell, "command").text = _TALK
    return ElementTree.tostring(root, encoding="unicode")


def _requests(place: Place) -> int:
    """Count the access log's lines that are of the build; before there is one, the job and the queue are looked at."""
    log = place.server.home.log.read_text(encoding="utf-8", errors="replace")
    return sum(f"/job/{TALK}/1/" in line for line in log.splitlines())


def _duration(place: Place, number: int) -> float:
    """Return how long the server says that a build took, in seconds."""
    build = ElementTree.parse(place.server.home.job(f"{NAME}-deploy") / "builds" / str(number) / "build.xml")  # noqa: S314
    return float(build.findtext("duration") or "nan") / 1000


def _hand_over(place: Place) -> str:
    """Return what the newest release build called its request for a deploy."""
    done = _said(place, "jenkins", "run", f"{NAME}-release", "--op-id", f"push-{_head(place)}", "-o", "json")
    return f"hudson-{NAME}-release-{json.loads(done)['number']}"


def _head(place: Place) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=place.origin.tree, capture_output=True, text=True, check=True
    ).stdout.strip()


def _said(place: Place, *arguments: str) -> str:
    command = [kubernaut(), *arguments]
    done = subprocess.run(
        command, cwd=place.origin.tree, env=dict(place.environment), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout
