"""The measurements of ci.py: builds of a CI server and the same commands, on the local platform."""

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

from ci_figures import Following, Pairs
from measure import MeasurementFailed, kubernaut, run

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
CI_NAMESPACE, COMMAND_NAMESPACE = "bench-jenkins", "bench-jenkins-command"
TIMESTAMPS_JOB = "bench-timestamps"
LINES, PAUSE = 30, 0.4
TIMEOUT_SECONDS = 180.0
# Each line of the console contains the time of its output.
_TIMESTAMPS_SCRIPT = f"""#!/bin/bash
for _ in $(seq {LINES}); do date +time-%s.%N; sleep {PAUSE}; done
"""


@dataclass
class Setup:
    """A CI server with the jobs of hello-world, a repository, and the two namespaces.

    Attributes:
        folder: A folder for files.
        environment: The environment with which `kubernaut` uses the platform and the server.
        server: The CI server.
        origin: The repository and its work tree.
        edits: The number of commits so far.
    """

    folder: Path
    environment: Mapping[str, str]
    server: Hudson
    origin: Origin
    edits: int = 0

    def edit(self) -> str:
        """Commit a new greeting; return it."""
        self.edits += 1
        greeting = f"Hello {time.time_ns()}"
        values = self.origin.tree / "charts" / NAME / "values.yaml"
        lines = values.read_text(encoding="utf-8").splitlines()
        changed = [f"greeting: {json.dumps(greeting)}" if line.startswith("greeting:") else line for line in lines]
        values.write_text("\n".join(changed) + "\n", encoding="utf-8")
        self.origin.commit(f"edit {self.edits}")
        return greeting

    def run(self, *arguments: str) -> float:
        """Run `kubernaut` in the work tree; return its duration in seconds."""
        return run([kubernaut(), *arguments], self.origin.tree, self.environment)

    def wait_for(self, greeting: str, namespace: str) -> None:
        """Wait until the application answers with a greeting. Raises: MeasurementFailed."""
        cluster = Cluster(self.environment["KUBECONFIG"])
        deadline = time.monotonic() + TIMEOUT_SECONDS
        answer = ""
        try:
            while greeting not in answer:
                if time.monotonic() > deadline:
                    raise MeasurementFailed(f"the application in {namespace} still answers {answer!r}, expected {greeting!r}")
                time.sleep(0.05)
                with suppress(KubernautError):
                    _, answer = cluster.get_through_service(namespace, NAME, 80, "/", timeout=2)
        finally:
            cluster.close()


@contextmanager
def prepared(platform: Mapping[str, str], folder: Path) -> Iterator[Setup]:
    """Start the CI server, set up the jobs and deploy hello-world to both namespaces; remove all of it at the end."""
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
        hook = {name: shell[name] for name in (*environment, "KUBERNAUT_JENKINS_URL")}
        setup = Setup(folder, shell, server, Origin(folder, f"{NAME}-release", hook))
        for part in (APPLICATION, Path("charts", NAME)):
            shutil.copytree(ROOT / part, setup.origin.tree / part)
        setup.edit()
        try:
            for namespace in (CI_NAMESPACE, COMMAND_NAMESPACE):
                setup.run("ship", str(APPLICATION), "--namespace", namespace, "--create-namespace")
            where = ("--repository", str(setup.origin.repository), "--namespace", CI_NAMESPACE)
            setup.run("jenkins", "setup", str(APPLICATION), *where)
            setup.origin.push()
            setup.run("jenkins", "run", f"{NAME}-release", "--op-id", f"push-{_head(setup)}", "--follow")
            yield setup
        finally:
            for namespace in (CI_NAMESPACE, COMMAND_NAMESPACE):
                with suppress(MeasurementFailed):
                    run(["helm", "uninstall", NAME, "--namespace", namespace, "--ignore-not-found"], folder, shell)


def pushes(setup: Setup, pairs: int) -> Pairs:
    """Time a push, and `ship`, until the application answers with the greeting of the commit."""
    ci: list[float] = []
    command: list[float] = []
    for _ in range(pairs):
        greeting = setup.edit()
        started = time.perf_counter()
        setup.run("ship", str(APPLICATION), "--namespace", COMMAND_NAMESPACE)
        setup.wait_for(greeting, COMMAND_NAMESPACE)
        command.append(time.perf_counter() - started)
        greeting = setup.edit()  # another commit, so that no cache helps
        started = time.perf_counter()
        setup.origin.push()
        setup.wait_for(greeting, CI_NAMESPACE)
        ci.append(time.perf_counter() - started)
        setup.run("jenkins", "run", f"{NAME}-deploy", "--op-id", _deploy_operation(setup), "--follow")
    return Pairs(ci, command)


def deploys(setup: Setup, pairs: int) -> Pairs:
    """Time builds of the Deploy job, as the server reports them, and the same command, with two versions alternately."""
    versions = [json.loads(_output(setup, "versions", NAME, "-o", "json"))["items"][number]["version"] for number in (0, 1)]
    ci: list[float] = []
    command: list[float] = []
    for number in range(pairs + 1):
        version = versions[number % 2]
        seconds = setup.run("deploy", f"{NAME}@{version}", "--namespace", COMMAND_NAMESPACE, "--lock-timeout", "10m")
        parameters = ("--param", f"VERSION={version}", "--param", f"NAMESPACE={CI_NAMESPACE}")
        build = json.loads(_output(setup, "jenkins", "run", f"{NAME}-deploy", *parameters, "--follow", "-o", "json"))
        if number:  # the first round fills the caches
            command.append(seconds)
            ci.append(_duration(setup, build["number"]))
    return Pairs(ci, command)


def follow(setup: Setup) -> Following:
    """Follow a build whose console has timestamps; measure the delays and count the requests to the server."""
    server = open_server(load_settings(environment=setup.environment, directory=setup.folder))
    server.create(JobPath((TIMESTAMPS_JOB,)), _timestamps_job())
    server.close()
    command = [kubernaut(), "jenkins", "run", TIMESTAMPS_JOB, "--op-id", "bench", "--follow"]
    before, started = _requests(setup), time.perf_counter()
    delays: list[float] = []
    with subprocess.Popen(
        command, env=dict(setup.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.time()
            if line.startswith("time-"):
                delays.append(now - float(line.removeprefix("time-")))
    if process.returncode or len(delays) != LINES:
        raise MeasurementFailed(f"{' '.join(command)}: exit status {process.returncode}, {len(delays)} of {LINES} lines")
    return Following(delays, _requests(setup) - before, time.perf_counter() - started)


def _timestamps_job() -> str:
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
    ElementTree.SubElement(shell, "command").text = _TIMESTAMPS_SCRIPT
    return ElementTree.tostring(root, encoding="unicode")


def _requests(setup: Setup) -> int:
    """Return the number of requests about the build in the access log; those before the build started do not count."""
    log = setup.server.home.log.read_text(encoding="utf-8", errors="replace")
    return sum(f"/job/{TIMESTAMPS_JOB}/1/" in line for line in log.splitlines())


def _duration(setup: Setup, number: int) -> float:
    """Return the duration of a build in seconds, as the server reports it."""
    build = ElementTree.parse(setup.server.home.job(f"{NAME}-deploy") / "builds" / str(number) / "build.xml")  # noqa: S314
    return float(build.findtext("duration") or "nan") / 1000


def _deploy_operation(setup: Setup) -> str:
    """Return the operation ID of the deploy that the newest release build started."""
    build = _output(setup, "jenkins", "run", f"{NAME}-release", "--op-id", f"push-{_head(setup)}", "-o", "json")
    return f"hudson-{NAME}-release-{json.loads(build)['number']}"


def _head(setup: Setup) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=setup.origin.tree, capture_output=True, text=True, check=True
    ).stdout.strip()


def _output(setup: Setup, *arguments: str) -> str:
    command = [kubernaut(), *arguments]
    done = subprocess.run(
        command, cwd=setup.origin.tree, env=dict(setup.environment), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise MeasurementFailed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout
