"""The platform's verbs: up, down, status and environment.

Each decides what is to be done from what is found, never from what an earlier run believed; so `up` goes on where a killed one
ended, and `down` after a crash removes what is left.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kubernaut.errors import NotRoot, PlatformFailed, SettingInvalid, ToolMissing
from kubernaut.events import Listener, Progress, Step, ignore_event
from kubernaut_local import debian, gates, host, image, namespace, parts, ports, programs, state, supervision
from kubernaut_local import layout as layouts
from kubernaut_local.gates import Target, Waiter
from kubernaut_local.layout import Cache, Layout
from kubernaut_local.locks import locked
from kubernaut_local.model import Down, PlatformStatus, Ports, ProcessStatus, Record, State, Up, Wishes
from kubernaut_local.parts import Parts
from kubernaut_local.seed import Seeder

READY_SECONDS = 180.0
_LOCK_SECONDS = 4000.0
_GATES_OF_START = ("link", "registry", "dockerd", "kube-apiserver")


class Platform:
    """A local platform, by its name.

    Args:
        name: An RFC 1123 label; platforms of different names run side by side.
        state_home: Where state is kept instead of XDG_STATE_HOME.
        cache_home: Where programs and images are kept instead of XDG_CACHE_HOME.
    """

    def __init__(self, name: str = ports.DEFAULT_NAME, *, state_home: Path | None = None, cache_home: Path | None = None) -> None:
        self.name = layouts.check_name(name)
        self._layout = Layout(state_home or layouts.state_home(), name)
        self._cache = Cache(cache_home or layouts.cache_home())

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._layout.root

    def ports_for(self, wishes: Wishes | None = None) -> Ports:
        """Return the ports that `up` would take: those wished for, else those of the first `up`, else defaults or free ones."""
        return self._choose(wishes or Wishes(), lambda _port: True)

    def up(self, listener: Listener = ignore_event, ports: Ports | Wishes | None = None, *, timeout: float = READY_SECONDS) -> Up:
        """Bring the platform up, or finish what an interrupted `up` began; do nothing if it is up and ready.

        Args:
            listener: Is told of the progress.
            ports: The ports on the host's 127.0.0.1, or only some of them; see :meth:`ports_for`.
            timeout: How many seconds the started processes have to become ready.

        Raises:
            NotRoot: Only root may make namespaces and mounts.
            PortTaken: Something else listens on one of the ports.
            ToolMissing: Go or apt-get is missing or too old.
            PlatformFailed: A part did not start; the end of its log is in the details.
            DeadlineExceeded: The platform did not become ready in time.
        """
        self._check_host()
        self._layout.check()
        progress, started = Progress(listener), time.monotonic()
        wishes = Wishes(api=ports.api, registry=ports.registry, node_ports=ports.node_ports) if ports else Wishes()
        with self._locked(progress):
            changed, taken = self._up(wishes, progress, timeout)
        return Up(name=self.name, changed=changed, ports=taken, seconds=round(time.monotonic() - started, 3))

    def down(self, purge: bool = False, listener: Listener = ignore_event) -> Down:
        """Take the platform down; its data stays unless it is purged.

        Args:
            purge: Remove the state folder too: the cluster's objects, the registry's and the engine's images, the certificates.
            listener: Is told of the progress.
        """
        self._check_host()
        progress, started = Progress(listener), time.monotonic()
        layout = self._layout
        # The lock without the folder: an `up` that is still building, or was stopped while it did.
        if not layout.root.exists() and not layout.lock.exists():
            with progress.step("down", self.name) as step:
                left = host.leave(layout)
                (step.done if left else step.unchanged)("the host is as it was" if left else "not up, and nothing is kept")
            return Down(name=self.name, changed=left, purged=False, seconds=round(time.monotonic() - started, 3))
        with self._locked(progress):
            with progress.step("down", self.name) as step:
                changed = self._undo()
                if changed:
                    step.done("every process has ended, the host is as it was")
                else:
                    step.unchanged("it was not up")
            if purge:
                with progress.step("purge", str(layout.root)) as step:
                    state.purge(layout)
                    step.done("its data is gone")
        return Down(name=self.name, changed=changed or purge, purged=purge, seconds=round(time.monotonic() - started, 3))

    def status(self) -> PlatformStatus:
        """Return what is so now: every process and every readiness gate, asked afresh."""
        layout, recorded = self._layout, state.read(self._layout)
        one = namespace.pid_one(layout)
        facts = {
            "name": self.name,
            "folder": layout.root,
            "ports": recorded.ports if recorded else None,
            "kubeconfig": layout.kubeconfig if layout.kubeconfig.exists() else None,
            "docker_host": f"unix://{layout.docker_socket}" if recorded else None,
            "registry": f"localhost:{recorded.ports.registry}" if recorded else None,
            "versions": self._versions(),
        }
        if one is None or recorded is None:
            return PlatformStatus(state=State.DOWN, **facts)
        processes = tuple(supervision.ask(layout, namespace.host_pids(one)) or ())
        found = tuple(gates.check(Target(layout, recorded.ports))) if state.has_certificates(layout) else ()
        running = bool(processes) and all(process.state == "running" for process in processes)
        ready = running and bool(found) and all(gate.ready for gate in found)
        return PlatformStatus(state=State.READY if ready else State.NOT_READY, gates=found, processes=processes, **facts)

    def environment(self, helm: Literal[3, 4] = 3, listener: Listener = ignore_event) -> dict[str, str]:
        """Return the variables with which docker, helm, kubectl and kubernaut find the platform.

        Args:
            helm: Which Helm comes first on PATH; Helm 4 is built when it is first asked for.
            listener: Is told of the progress of that build.
        """
        layout, recorded = self._layout, state.read(self._layout)
        if recorded is None or namespace.pid_one(layout) is None:
            raise PlatformFailed(f"The platform {self.name!r} is not up.", hint=f"Bring it up with `{_command('up', self.name)}`.")
        program = self.helm(helm, listener)
        folder = layout.bin / f"helm{helm}"
        state.link(folder / "helm", program)
        others = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(entry).parent != layout.bin]
        return {
            "KUBECONFIG": str(layout.kubeconfig),
            "DOCKER_HOST": f"unix://{layout.docker_socket}",
            "KUBERNAUT_REGISTRY": f"localhost:{recorded.ports.registry}",
            "KUBERNAUT_NODE_PORT": str(recorded.ports.node_ports[0]),
            "PATH": os.pathsep.join([str(folder), *others]),
        }

    def helm(self, version: Literal[3, 4] = 3, listener: Listener = ignore_event) -> Path:
        """Return Helm's program: the one of the Python package `helm-binary`, or Helm 4, built when it is first asked for."""
        if version == 3:
            return programs.helm3()
        with Progress(listener).step("helm", f"Helm {programs.HELM_VERSION}, built from its Go module") as step:
            program, made = parts.run(lambda commands: programs.helm4(self._cache, commands, step.log))
            (step.done if made else step.unchanged)(f"Helm {programs.HELM_VERSION}" + ("" if made else " was built before"))
        return program

    def _up(self, wishes: Wishes, progress: Progress, timeout: float) -> tuple[bool, Ports]:
        layout, recorded = self._layout, state.read(self._layout)
        wanted = self.ports_for(wishes)
        is_ours = namespace.settled(layout) is None
        if is_ours:
            state.check_change(self.name, recorded, wanted)
            # Once more in time, before minutes of building; what counts is what is found at the start.
            ports.check_free(wanted)
            found = parts.get(self._cache, progress)
            try:
                wanted = self._start(wishes, found, progress)
            except BaseException:
                self._undo()
                raise
        elif recorded is None or recorded.ports != wanted:
            hint = f"Take it down first: `{_command('down', self.name)}`."
            raise SettingInvalid(f"The platform {self.name!r} is up with other ports.", hint=hint)
        elif self.status().ready and state.is_finished(layout):
            with progress.step("up", self.name) as step:
                step.unchanged("up and ready already")
            return False, wanted
        else:
            found = parts.get(self._cache, progress)
        try:
            with progress.step("ready", "waiting for every part to answer") as step:
                self._finish(wanted, found, step, timeout)
        except KeyboardInterrupt:
            # What this `up` started it also stops; what ran before, or is not ready in time, is left as it is, to be looked at.
            if is_ours:
                self._undo()
            raise
        return True, wanted

    def _undo(self) -> bool:
        """End what runs and put the host back as it was; return whether there was anything to do."""
        ended = namespace.end(self._layout)
        return host.leave(self._layout) or ended

    def _start(self, wishes: Wishes, found: Parts, progress: Progress) -> Ports:
        layout = self._layout

        def decide(is_unreserved: Callable[[int], bool]) -> Ports:
            decided = self._choose(wishes, is_unreserved)
            ports.check_free(decided)
            return decided

        with progress.step("configure", str(layout.root)) as step:
            state.prepare(layout)
            wanted = host.enter(layout, decide)
            recorded = state.read(layout)
            created = recorded.created_at if recorded else datetime.now(UTC)
            state.write(layout, Record(name=self.name, ports=wanted, created_at=created))
            made = parts.run(lambda commands: state.configure(layout, wanted, found, commands))
            step.done("certificates and configurations written" if made else "configurations written")
        with progress.step("start", "namespaces of their own, and every process in them") as step:
            pid = namespace.start(layout, namespace.plan(layout, found.packages.busybox))
            step.done(f"PID 1 is process {pid}")
        return wanted

    def _finish(self, wanted: Ports, found: Parts, step: Step, timeout: float) -> None:
        """Wait for the parts, and put in what a new cluster and a new registry lack."""
        layout, target = self._layout, Target(self._layout, wanted)
        waiter = Waiter(target, timeout, self._processes, lambda: namespace.pid_one(layout) is not None)
        waiter.wait(step.log, _GATES_OF_START[:2])
        seeder = Seeder(wanted.registry)
        seeder.push(found.pause, "pause", ("local",))
        seeder.push(found.node, "library/node", image.node_tags(image.node_version()))
        waiter.wait(step.log, _GATES_OF_START)
        gates.grant_admin(target)
        waiter.wait(step.log)
        waiter.wait_running()
        state.finish(layout)
        step.done(f"API 127.0.0.1:{wanted.api}, registry localhost:{wanted.registry}, node port {wanted.node_ports[0]}")

    def _choose(self, wishes: Wishes, is_unreserved: Callable[[int], bool]) -> Ports:
        recorded = state.read(self._layout)
        return ports.choose(
            self.name, recorded.ports if recorded else None, wishes, lambda port: is_unreserved(port) and ports.is_free(port)
        )

    def _processes(self) -> list[ProcessStatus] | None:
        return supervision.ask(self._layout, {})

    def _versions(self) -> dict[str, str]:
        versions = {"kubernetes": programs.KUBERNETES_VERSION}
        packages = debian.find(self._cache)
        if packages is not None:
            known = packages.versions()
            versions |= {name: known[name] for name in debian.WANTED if name in known}
        return versions

    def _check_host(self) -> None:
        if sys.platform != "linux":
            raise ToolMissing("The local platform runs on Linux only.", hint="Use a cluster of your own: CLUSTER=current.")
        if os.geteuid() != 0:
            raise NotRoot("The local platform makes namespaces and mounts, which only root may.")
        for tool in ("unshare", "nsenter", "setsid", "setpriv", "mount", "umount"):
            if shutil.which(tool) is None:
                raise ToolMissing(f"`{tool}` is not installed.", hint="It is part of util-linux.")

    def _locked(self, progress: Progress) -> AbstractContextManager[None]:
        def waiting(pid: int | None) -> None:
            with progress.step("wait", f"another `kubernaut local` works on {self.name} (pid {pid or 'unknown'})") as step:
                step.done("waiting for it to end")

        return locked(self._layout.lock, timeout=_LOCK_SECONDS, waiting=waiting)


def _command(verb: str, name: str) -> str:
    return f"kubernaut local {verb}" + ("" if name == ports.DEFAULT_NAME else f" --name {name}")
