"""A CI server with an application's jobs, the repository whose pushes reach it, and the cluster that its builds deploy to.

The same scenario runs on two servers: on the Hudson that the tests start, with freestyle jobs, and on a genuine Jenkins that
`make test-jenkins` names, with Pipelines. Tests that stop or break the server need :attr:`CiScenario.hudson`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import KubernautError, NotFound
from support.api_calls import call_api
from support.checkout import Checkout
from support.ci_jobs import Jobs
from support.ci_server import files_with
from support.github import FakeGitHub
from support.hudson import Hudson
from support.waiting import until

NAME = "hello-world"
RELEASE, DEPLOY = f"{NAME}-release", f"{NAME}-deploy"
REPOSITORY = "team/hello-world"
SLOW_SECONDS = 15
"""How long a slow program takes to start: long enough for concurrent deploys, shorter than a deploy's deadline."""
_INDEX = "world!"

Build = dict[str, Any]


@dataclass
class CiScenario:
    """The CI server with its jobs, the checkout and the cluster.

    Attributes:
        jobs: The server, looked at by plain HTTP.
        checkout: The team's checkout, and the environment in which jobs are set up and run by hand.
        repository: Where the team pushes to and the jobs fetch from; a folder here, or the URL of a real one.
        cluster: Where the builds deploy to.
        flavour: The kind of jobs.
        hudson: The server's process, where the tests started it.
        github: The fake GitHub; none where a real one receives the statuses.
        secrets: Secrets that must be nowhere but in the files that hold them.
        places: Files and folders that builds and the server write to.
    """

    jobs: Jobs
    checkout: Checkout
    repository: str
    cluster: Cluster
    flavour: Literal["freestyle", "pipeline"]
    hudson: Hudson | None = None
    github: FakeGitHub | None = None
    secrets: tuple[str, ...] = ()
    places: list[Path] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.checkout.namespace

    def setup(self, *more: str, status: int = 0) -> Any:
        """Set the jobs up; a new version goes to the checkout's namespace first."""
        folder = ["--folder", self.jobs.folder] if self.jobs.folder else []
        where = ["--repository", self.repository, "--branch", "main", "--namespace", self.namespace, *folder]
        return self.checkout.json("jenkins", "setup", str(self.checkout.app), *where, *more, status=status)

    def run(self, job: str, *more: str, status: int = 0, **parameters: str) -> Any:
        """Run a job by the command line."""
        given = [part for name, value in parameters.items() for part in ("--param", f"{name}={value}")]
        return self.checkout.json("jenkins", "run", self.full(job), *given, *more, status=status)

    def index(self, content: str) -> None:
        """Replace the application's program."""
        (self.checkout.app / "index.js").write_text(content)

    def program(self, greeted: str) -> str:
        """Return the application's program with another greeting."""
        old, new = f"${{GREETING}}, {_INDEX}", f"${{GREETING}}, {greeted}"
        original = self.checkout.git("show", f"v1.0.0:examples/{NAME}/index.js")
        assert original.count(old) == 1, "the example greets otherwise"
        return original.replace(old, new)

    def push(self, message: str) -> str:
        """Commit and push, which runs Release; return the commit."""
        self.checkout.commit(message)
        commit = self.checkout.git("rev-parse", "HEAD").strip()
        if Path(self.repository).is_dir():
            self.notify_push(status=0)
        else:  # a real one, with no hook of ours, that is given away for the scenario
            self.checkout.git("push", "--quiet", "--force", "origin", "main", "--tags")
            self.run(RELEASE, "--op-id", f"push-{commit}")
        return commit

    def notify_push(self, status: int | None = None) -> str:
        """Push to the repository in this folder, check its hook's exit status, and return the output."""
        pushed = subprocess.run(
            ["git", "push", "--quiet", "origin", "main", "--tags"],
            cwd=self.checkout.tree,
            env=dict(self.checkout.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        ended = re.findall(r"^remote: the hook exited with status (\d+)", pushed.stderr, re.MULTILINE)
        assert status is None or ended == [str(status)], pushed.stderr
        return pushed.stderr

    def released(self, commit: str) -> Build:
        """Wait for the end of the Release build of a pushed commit."""
        return self._ended(RELEASE, f"push-{commit}")

    def deploying(self, release: Build) -> Build:
        """Wait until the Deploy build has begun that a Release build handed its version to."""
        return self._begun(DEPLOY, *self._tags(release))

    def deployed(self, release: Build) -> Build:
        """Wait for that Deploy build's end."""
        return self._ended(DEPLOY, *self._tags(release))

    def ended(self, job: str, op_id: str) -> Build:
        """Wait for the end of the build of a request."""
        return self._ended(job, op_id)

    def console(self, job: str, build: Build) -> str:
        """The console of a build."""
        return self.jobs.console(job, build["number"])

    def artifact(self, job: str, build: Build, name: str) -> Any:
        """An artifact of a build, parsed as JSON."""
        return self.jobs.ask("GET", f"{self.jobs.path(job)}/{build['number']}/artifact/{name}").json()

    def ship(self, greeted: str) -> tuple[str, Build, Build]:
        """Push a greeting, and see it through both jobs to the cluster; return the commit and the builds."""
        self.index(self.program(greeted))
        commit = self.push(f"greet {greeted}")
        release = self.released(commit)
        assert release["result"] == "SUCCESS", self.console(RELEASE, release)
        deploy = self.deployed(release)
        assert deploy["result"] == "SUCCESS", self.console(DEPLOY, deploy)
        self.answers(greeted)
        return commit, release, deploy

    def slowly(self, greeted: str) -> tuple[Build, Build]:
        """Push a program that takes its time to start, and return its builds while Helm waits for its pods."""
        last = self.history()[-1][0]
        self.index(f"await new Promise((done) => setTimeout(done, {SLOW_SECONDS}000))\n{self.program(greeted)}")
        release = self.released(self.push(f"greet {greeted} later"))
        assert release["result"] == "SUCCESS", self.console(RELEASE, release)
        deploy = self.deploying(release)
        until(lambda: self.history()[-1] == (last + 1, "pending-upgrade"), "Helm is in the midst of it", 60)
        return release, deploy

    def in_order(self, before: int) -> None:
        """Check Helm's history after a revision: the last is deployed, none is pending."""
        self.idle()
        statuses = [status for revision, status in self.history() if revision > before]
        assert statuses.count("deployed") == 1, statuses
        assert statuses[-1] == "deployed", statuses
        assert set(statuses) <= {"deployed", "superseded", "failed"}, statuses

    def answer(self) -> dict[str, Any]:
        """The application's answer on the cluster; empty while it does not answer."""
        try:
            status, text = self.cluster.get_through_service(self.namespace, NAME, 80, "/", timeout=5)
            answer: dict[str, Any] = json.loads(text) if status == 200 else {}
        except (KubernautError, ValueError):
            return {}
        return answer

    def answers(self, greeted: str) -> None:
        """Wait for a greeting: the previous pod may still finish its last requests."""
        until(lambda: self.answer().get("greeting") == f"Hello, {greeted}", f"hello-world greets {greeted}: {self.answer()}", 60)

    def shows(self, version: str) -> None:
        """Wait until the application answers with a version: the previous pod may still be there."""
        until(lambda: self.answer().get("version") == version, f"hello-world answers as {version}: {self.answer()}", 60)

    def history(self) -> list[tuple[int, str]]:
        """Helm's history, oldest first, as plain Helm shows it."""
        listed = json.loads(self.checkout.helm("history", NAME, "-n", self.namespace, "-o", "json"))
        return [(entry["revision"], entry["status"]) for entry in listed]

    def current(self) -> dict[str, Any]:
        """The current release, as kubernaut shows it."""
        shown: dict[str, Any] = self.checkout.json("show", NAME, "-n", self.namespace)
        return shown

    def idle(self) -> None:
        """Wait until the release's lock is free, and no process of an ended build is left."""
        until(lambda: self.cluster.get_lease(self.namespace, f"kubernaut.{NAME}") is None, "the lock is free", 60)
        if self.hudson is not None:
            until(lambda: not self.hudson or not self.hudson.build_processes(), "the builds' processes have ended", 60)

    def leaks(self) -> list[str]:
        """Return the places that contain a secret and must not."""
        found = files_with(self.places, self.secrets)
        for job in (RELEASE, DEPLOY):
            if not self.jobs.exists(job):
                continue
            texts = {f"{job}'s config.xml": self.jobs.config(job)}
            texts |= {f"{job} #{build['number']}": self.console(job, build) for build in self.jobs.builds(job)}
            found += [where for where, text in texts.items() if any(secret in text for secret in self.secrets)]
        return found

    def close(self) -> None:
        """Delete the namespace."""
        with suppress(NotFound):
            call_api(self.cluster, "DELETE", f"/api/v1/namespaces/{self.namespace}")
        self.cluster.close()

    def full(self, job: str) -> str:
        """A job's name with its folders."""
        return f"{self.jobs.folder}/{job}" if self.jobs.folder else job

    def _tags(self, build: Build) -> tuple[str, ...]:
        """BUILD_TAG of a Release build, as a Jenkins has it and as a Hudson."""
        full = self.full(RELEASE).replace("/", "-")
        return tuple(f"{server}-{full}-{build['number']}" for server in ("jenkins", "hudson"))

    def _of(self, job: str, op_ids: tuple[str, ...]) -> Build | None:
        same = [build for build in self.jobs.builds(job) if build["parameters"].get("OP_ID") in op_ids]
        assert len(same) < 2, f"{job} ran {len(same)} times for {op_ids[0]}"
        return same[0] if same else None

    def _begun(self, job: str, *op_ids: str) -> Build:
        until(lambda: self._of(job, op_ids), f"{job} has a build for {op_ids[0]}", self.jobs.patience)
        build = self._of(job, op_ids)
        assert build is not None
        return build

    def _ended(self, job: str, *op_ids: str) -> Build:
        build = self._begun(job, *op_ids)
        ended = self.jobs.ended(job, build["number"])
        return {**ended, "parameters": ended["parameters"] or build["parameters"]}


@contextmanager
def no_secret_in_arguments(secrets: tuple[str, ...]) -> Iterator[set[str]]:
    """Check the arguments of all processes while the block runs, as any user of the machine could.

    Yields the programs whose arguments had a secret so far; fails at the end if there is one.
    """
    over, found = threading.Event(), set[str]()
    encoded = [secret.encode() for secret in secrets]

    def look() -> None:
        while not over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments = path.read_bytes()
                except OSError:
                    continue
                if any(secret in arguments for secret in encoded):
                    found.add(arguments.split(b"\0", 1)[0].decode(errors="replace"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()
    assert not found, f"a secret stood in the arguments of {', '.join(sorted(found))}"


def path_with_kubernaut() -> str:
    """PATH with the programs of this Python's environment in front."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
