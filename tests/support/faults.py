"""Shared code of the fault tests: a release on the real cluster, and kubernaut processes that reach it through proxies.

The processes are the real command, as users run it. One chart, published once, deploys in a second: a ConfigMap. Values make it
more: ``slow=N`` adds a hook that takes N seconds, ``hook=EVENTS`` one that fails, ``migration=EVENTS`` a Job that never ends as a
hook, ``image=REF`` a Deployment, with ``replicas=N``, ``extra=TEXT`` another ConfigMap, ``widget=GROUP`` a custom resource.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import NotFound
from support.api_calls import call_api
from support.fault_chart import NAME, Published
from support.faultpoints import POINTS
from support.faultproxy import FaultProxy
from support.invariants import Snapshot, Watched, look
from support.processes import DEADLINE, Ended, Running, marked
from support.waiting import until

PROGRAM = Path(sys.executable).with_name("kubernaut")


@dataclass
class Subject:
    """A user of kubernaut with their own proxy, Helm, home and folder for temporary files."""

    folder: Path
    proxy: FaultProxy
    environment: dict[str, str]
    namespace: str
    started: list[Running] = field(default_factory=list)

    def start(self, *arguments: str, pipes: bool = False, **environment: str) -> Running:
        """Start ``kubernaut ARGUMENTS`` in a new session."""
        return self._start([str(PROGRAM), *arguments], pipes, environment)

    def plain_upgrade(self, text: str) -> Running:
        """Start a plain ``helm upgrade``."""
        chart = f"oci://{self.environment['KUBERNAUT_REGISTRY']}/charts/{NAME}"
        command = [self.environment["KUBERNAUT_HELM"], "upgrade", "--install", NAME, chart, "--plain-http", "--version", "1.0.0"]
        return self._start([*command, "-n", self.namespace, "--set", f"text={text}"], False, {})

    def _start(self, command: list[str], pipes: bool, environment: Mapping[str, str]) -> Running:
        number = len(self.started)
        files = [self.folder / f"{number}.{name}" for name in ("stdout", "stderr")]
        opened = [file.open("wb") for file in files] if not pipes else []
        streams: list[Any] = list(opened) or [subprocess.PIPE, subprocess.PIPE]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=streams[0],
            stderr=streams[1],
            start_new_session=True,
        )
        for file in opened:
            file.close()
        ends: list[Any] = [process.stdout, process.stderr] if pipes else list(files)
        self.started.append(Running(process, *ends))
        return self.started[-1]

    @property
    def image(self) -> str:
        """An image that the cluster's nodes can run."""
        return f"{self.environment['KUBERNAUT_REGISTRY'].partition('/')[0]}/library/node:22"

    def run(self, *arguments: str, status: int | None = 0, seconds: float = DEADLINE, **environment: str) -> Ended:
        """Run ``kubernaut ARGUMENTS`` to its end, and hold it to its exit status."""
        ended = self.start(*arguments, **environment).wait(seconds)
        assert status is None or ended.status == status, f"{arguments}: {ended.status}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def verb(self, verb: str, text: str = "b", *more: str) -> list[str]:
        """Return the arguments of a verb on the release: ``deploy`` with a value, or another."""
        extra = {"deploy": ["--set", f"text={text}", "--create-namespace"], "delete": ["--yes"]}.get(verb, [])
        return [verb, NAME, "-n", self.namespace, "--timeout", "60s", *extra, *more]

    def held(self, point: str, *arguments: str, **how: Any) -> Running:
        """Start kubernaut and wait until it, or its Helm, is held at a point."""
        self.proxy.hold(point)
        running = self.start(*arguments, **how)
        self.proxy.wait_for(point)
        return running

    def killed(self, point: str, *arguments: str, who: Collection[str] = ("kubernaut",), forward: bool = True) -> Ended:
        """Start kubernaut, ``kill -9`` it or its Helm or both at a point, and let the held request go on or lose it."""
        running = self.held(point, *arguments)
        if {"helm", "kubernaut"} <= set(who):
            running.signal(signal.SIGSTOP)  # neither shall do anything about the other's end
        if "helm" in who:
            os.kill(running.helm(), signal.SIGKILL)
        if "kubernaut" in who:
            running.kill()
        self.let_go(point, forward=forward)
        return running.wait()

    def let_go(self, point: str, *, forward: bool = True) -> None:
        """Forward or drop a held request; return when a forwarded one has reached the API server."""
        self.proxy.release(point, forward=forward)
        if forward and not POINTS[point].answered:
            until(lambda: self.proxy.answered(point), f"{point}: the request has arrived")

    def settled(self, seconds: float = 10.0) -> None:
        """Wait until nothing that was started here lives."""
        until(lambda: not self.processes(), f"no process of {self.folder.name} lives", seconds)

    def deploy(self, text: str = "b", *more: str, **how: Any) -> Ended:
        """Deploy with a value, to the end."""
        return self.run(*self.verb("deploy", text), *more, **how)

    def processes(self) -> list[int]:
        """The living processes of this subject, including children and orphans."""
        return marked(str(self.proxy.kubeconfig))

    def leftovers(self) -> list[str]:
        """The names in its folder for temporary files."""
        return sorted(path.name for path in (self.folder / "tmp").iterdir())

    def close(self) -> None:
        """End everything that it started."""
        for one in self.started:
            with suppress(ProcessLookupError):
                one.process.kill()
            one.process.wait(10)
            for stream in (one.process.stdout, one.process.stderr):
                if stream is not None:
                    stream.close()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proxy.__exit__()


@dataclass
class FaultScenario:
    """A namespace on the real cluster with one release, and the subjects that change it."""

    folder: Path
    platform: Mapping[str, str]
    published: Published
    helms: Mapping[str, str]
    namespace: str = field(default_factory=lambda: f"f-{uuid.uuid4().hex[:8]}")
    subjects: list[Subject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.platform["KUBECONFIG"])
        self.watched = Watched()

    def subject(self, helm: str = "helm3", **environment: str) -> Subject:
        """Make another user; ``helm`` is one of :attr:`helms` or a program's path."""
        folder = self.folder / f"subject{len(self.subjects)}"
        for name in ("tmp", "home"):
            (folder / name).mkdir(parents=True)
        proxy = FaultProxy(Path(self.platform["KUBECONFIG"]), folder)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNAUT_", "HELM_", "XDG_"))}
        known = {
            **inherited,
            **self.platform,
            "KUBECONFIG": str(proxy.kubeconfig),
            "KUBERNAUT_REGISTRY": self.published.registry,
            "KUBERNAUT_HELM": self.helms.get(helm, helm),
            "KUBERNAUT_ACTOR": f"user{len(self.subjects)}",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            **environment,
        }
        self.subjects.append(Subject(folder, proxy, known, self.namespace))
        return self.subjects[-1]

    def look(self) -> Snapshot:
        """Read the state of the release."""
        return look(self.cluster, self.namespace, NAME)

    def check(self, *, recovered: bool = False, history_max: int = 50) -> Snapshot:
        """Check the invariants, and remember the state."""
        now = self.look()
        broken = self.watched.broken(now, recovered=recovered, history_max=history_max)
        assert not broken, "\n".join([*broken, str(now)])
        self.watched.remember(now)
        return now

    def check_settled(self, *, history_max: int = 50) -> Snapshot:
        """Check the invariants after a recovery: nothing pending, no lock, no process and no file left over."""
        for subject in self.subjects:
            until(lambda subject=subject: not subject.processes(), f"no process of {subject.folder.name} is left over")  # type: ignore[misc]
            assert subject.leftovers() == []
        return self.check(recovered=True, history_max=history_max)

    def statuses(self) -> list[str]:
        """The records' statuses, oldest first."""
        return [record.status for record in self.look().records]

    def text(self, name: str = NAME) -> str | None:
        """The text in a ConfigMap, by default the chart's, if it exists."""
        try:
            found = call_api(self.cluster, "GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")
        except NotFound:
            return None
        return str(found["data"]["text"])

    def record(self, revision: int) -> dict[str, Any]:
        """The Secret of a revision."""
        found = self.cluster.get_secret(self.namespace, f"sh.helm.release.v1.{NAME}.v{revision}")
        assert found is not None, f"v{revision} does not exist"
        return found

    def close(self) -> None:
        """End the subjects and delete the namespace."""
        for subject in self.subjects:
            subject.close()
        with suppress(NotFound):  # nothing was deployed
            call_api(self.cluster, "DELETE", f"/api/v1/namespaces/{self.namespace}")
        self.cluster.close()
