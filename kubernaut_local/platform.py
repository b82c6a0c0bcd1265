"""The platform's commands: up, down, status and environment.

Each acts on the state that it finds, not on what an earlier command recorded as done. So `up` continues an interrupted `up`, and
`down` cleans up after a crash.
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
from kubernaut_local import clients, components, debian, host, images, layout, pid1, ports, readiness, state
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner
from kubernaut_local.components import Components
from kubernaut_local.layout import Layout
from kubernaut_local.locks import locked
from kubernaut_local.models import (
    DownResult,
    PlatformRecord,
    PlatformState,
    PlatformStatus,
    PortOptions,
    Ports,
    ProcessStatus,
    UpResult,
)

READY_SECONDS = 180.0
_LOCK_SECONDS = 4000.0
# Must pass before images are pushed, and before the administrator is granted access.
_REGISTRY_CHECKS = ("link", "registry")
_API_CHECKS = (*_REGISTRY_CHECKS, "dockerd", "kube-apiserver")


class Platform:
    """A local platform.

    Args:
        name: Its name, an RFC 1123 label; platforms of different names run side by side.
        state_home: The folder for state instead of XDG_STATE_HOME.
        cache_home: The folder for programs and images instead of XDG_CACHE_HOME.

    Raises:
        NameInvalid: The name is not valid.
    """

    def __init__(self, name: str = ports.DEFAULT_NAME, *, state_home: Path | None = None, cache_home: Path | None = None) -> None:
        self.name = layout.check_name(name)
        self._layout = Layout(state_home or layout.state_home(), name)
        self._cache = Cache(cache_home) if cache_home else Cache.default()

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._layout.root

    def ports_for(self, options: PortOptions | None = None) -> Ports:
        """Return the ports that `up` would use: those of the options, else those of the first `up`, else defaults or free ones."""
        return self._choose_ports(options or PortOptions(), lambda _port: True)

    def up(
        self, listener: Listener = ignore_event, ports: Ports | PortOptions | None = None, *, timeout: float = READY_SECONDS
    ) -> UpResult:
        """Start the platform, or complete an interrupted `up`; do nothing if the platform is ready.

        Args:
            listener: Receives the progress.
            ports: All or some of the ports on the host's 127.0.0.1; see :meth:`ports_for`.
            timeout: Seconds that the started processes have to become ready.

        Raises:
            NotRoot: The process does not run as root.
            PortTaken: Another process listens on one of the ports.
            SettingInvalid: The platform runs with other ports, or the state folder's path cannot be used.
            ToolMissing: Go or apt-get is missing or too old.
            PlatformFailed: A component cannot be started; the end of its log is in the details.
            DeadlineExceeded: The platform did not become ready in time.
        """
        self._check_host()
        self._layout.check()
        progress, started = Progress(listener), time.monotonic()
        options = PortOptions(api=ports.api, registry=ports.registry, node_ports=ports.node_ports) if ports else PortOptions()
        with self._locked(progress):
            changed, used = self._up(options, progress, timeout)
        return UpResult(name=self.name, changed=changed, ports=used, seconds=round(time.monotonic() - started, 3))

    def down(self, purge: bool = False, listener: Listener = ignore_event) -> DownResult:
        """Stop the platform.

        Args:
            purge: Also remove the state folder: the cluster's objects, the registry's and the engine's images, the certificates.
            listener: Receives the progress.

        Raises:
            NotRoot: The process does not run as root.
            PlatformFailed: The state folder cannot be purged.
        """
        self._check_host()
        progress, started = Progress(listener), time.monotonic()
        # The lock file without the folder: an `up` is building, or was stopped while building.
        if not self._layout.root.exists() and not self._layout.lock.exists():
            with progress.step("down", self.name) as step:
                changed = host.release(self._layout)
                (step.done if changed else step.unchanged)("the host's settings are restored" if changed else "not up, no data")
            return DownResult(name=self.name, changed=changed, purged=False, seconds=round(time.monotonic() - started, 3))
        with self._locked(progress):
            with progress.step("down", self.name) as step:
                changed = self._stop()
                if changed:
                    step.done("all processes have ended, the host's settings are restored")
                else:
                    step.unchanged("not up")
            if purge:
                with progress.step("purge", str(self._layout.root)) as step:
                    state.purge(self._layout)
                    step.done("removed")
        return DownResult(name=self.name, changed=changed or purge, purged=purge, seconds=round(time.monotonic() - started, 3))

    def status(self) -> PlatformStatus:
        """Return the current status: every process and every readiness check.

        Raises:
            NotRoot: The state folder is not readable.
        """
        paths, record = self._layout, state.read_record(self._layout)
        pid = pid1.find(paths)
        facts = {
            "name": self.name,
            "folder": paths.root,
            "ports": record.ports if record else None,
            "kubeconfig": paths.kubeconfig if paths.kubeconfig.exists() else None,
            "docker_host": f"unix://{paths.docker_socket}" if record else None,
            "registry": f"localhost:{record.ports.registry}" if record else None,
            "versions": self._versions(),
        }
        if pid is None or record is None:
            return PlatformStatus(state=PlatformState.DOWN, **facts)
        processes = tuple(clients.list_processes(paths, pid1.host_pids(pid)) or ())
        has_certificates = paths.admin_key.exists()
        checks = tuple(readiness.run_checks(readiness.Target(paths, record.ports))) if has_certificates else ()
        running = bool(processes) and all(process.state == "running" for process in processes)
        ready = running and bool(checks) and all(check.ready for check in checks)
        overall = PlatformState.READY if ready else PlatformState.NOT_READY
        return PlatformStatus(state=overall, checks=checks, processes=processes, **facts)

    def environment(self, helm: Literal[3, 4] = 4, listener: Listener = ignore_event) -> dict[str, str]:
        """Return the environment variables with which docker, helm, kubectl and kubernaut find the platform.

        Args:
            helm: The Helm version to put first on PATH.
            listener: Receives the progress if Helm 4 has to be built again.

        Raises:
            PlatformFailed: The platform is not up.
        """
        paths, record = self._layout, state.read_record(self._layout)
        if record is None or pid1.find(paths) is None:
            raise PlatformFailed(f"The platform {self.name!r} is not up.", hint=f"Start it with `{_command('up', self.name)}`.")
        link = self._helm_link(helm)
        state.replace_symlink(link, self.helm(helm, listener))
        others = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(entry).parent != paths.bin]
        return {
            "KUBECONFIG": str(paths.kubeconfig),
            "DOCKER_HOST": f"unix://{paths.docker_socket}",
            "KUBERNAUT_REGISTRY": f"localhost:{record.ports.registry}",
            "KUBERNAUT_NODE_PORT": str(record.ports.node_ports[0]),
            "PATH": os.pathsep.join([str(link.parent), *others]),
        }

    def helm(self, version: Literal[3, 4] = 4, listener: Listener = ignore_event) -> Path:
        """Return the path of Helm: Helm 4, which is built with Kubernetes, or Helm 3 of the Python package `helm-binary`.

        Raises:
            ToolMissing: The package is not installed, or Go is missing or too old.
        """
        if version == 3:
            return components.helm3()
        link = self._helm_link(4)
        if link.is_file():  # the one of `up`, also if the cache has moved since
            return link.resolve()
        with CommandRunner() as commands:
            return components.prepare_helm(self._cache, commands, Progress(listener))

    def _up(self, options: PortOptions, progress: Progress, timeout: float) -> tuple[bool, Ports]:
        paths, record = self._layout, state.read_record(self._layout)
        chosen = self.ports_for(options)
        starting = pid1.find_settled(paths) is None
        if starting:
            state.check_registry_port(self.name, record, chosen)
            # Checked before minutes of building, and again at the start.
            ports.check_free(chosen)
            prepared = components.prepare(self._cache, progress)
            try:
                chosen = self._start(options, prepared, progress)
            except BaseException:
                self._stop()
                raise
        elif record is None or record.ports != chosen:
            hint = f"Stop it first with `{_command('down', self.name)}`."
            raise SettingInvalid(f"The platform {self.name!r} runs with other ports.", hint=hint)
        elif self.status().ready and state.is_complete(paths):
            with progress.step("up", self.name) as step:
                step.unchanged("already up and ready")
            return False, chosen
        else:
            prepared = components.prepare(self._cache, progress)
        try:
            with progress.step("ready", "waiting until every component is ready") as step:
                self._complete(chosen, prepared, step, timeout)
        except KeyboardInterrupt:
            # Ctrl-C stops only what this `up` has started. After a timeout the platform is left running, for diagnosis.
            if starting:
                self._stop()
            raise
        return True, chosen

    def _stop(self) -> bool:
        """End all processes and restore the host's settings; return whether anything was left to do."""
        killed = pid1.kill(self._layout)
        return host.release(self._layout) or killed

    def _start(self, options: PortOptions, prepared: Components, progress: Progress) -> Ports:
        paths = self._layout

        def choose_ports(is_unreserved: Callable[[int], bool]) -> Ports:
            chosen = self._choose_ports(options, is_unreserved)
            ports.check_free(chosen)
            return chosen

        with progress.step("configure", str(paths.root)) as step:
            state.create_folders(paths)
            chosen = host.acquire(paths, choose_ports)
            record = state.read_record(paths)
            created_at = record.created_at if record else datetime.now(UTC)
            state.write_record(paths, PlatformRecord(name=self.name, ports=chosen, created_at=created_at))
            with CommandRunner() as commands:
                certified = state.write_configuration(paths, chosen, prepared, commands)
            step.done("certificates and configurations written" if certified else "configurations written")
        with progress.step("start", "the namespaces and their processes") as step:
            pid = pid1.start(paths, pid1.init_config(paths, prepared.packages))
            step.done(f"PID 1 is process {pid}")
        return chosen

    def _complete(self, used: Ports, prepared: Components, step: Step, timeout: float) -> None:
        """Wait until every component is ready; push the images and grant the administrator access as soon as possible."""
        paths, target = self._layout, readiness.Target(self._layout, used)
        waiter = readiness.Waiter(target, timeout, self._list_processes, lambda: pid1.find(paths) is not None)
        waiter.wait(step.log, _REGISTRY_CHECKS)
        registry = clients.RegistryClient(used.registry)
        registry.push(prepared.pause, "pause", ("local",))
        registry.push(prepared.node, "library/node", images.node_tags(images.node_version()))
        waiter.wait(step.log, _API_CHECKS)
        readiness.grant_rights(target)
        waiter.wait(step.log)
        waiter.wait_running()
        state.replace_symlink(self._helm_link(4), prepared.helm)
        state.mark_complete(paths)
        step.done(f"API 127.0.0.1:{used.api}, registry localhost:{used.registry}, node port {used.node_ports[0]}")

    def _choose_ports(self, options: PortOptions, is_unreserved: Callable[[int], bool]) -> Ports:
        record = state.read_record(self._layout)
        return ports.choose(
            self.name, record.ports if record else None, options, lambda port: is_unreserved(port) and ports.is_free(port)
        )

    def _helm_link(self, version: int) -> Path:
        return self._layout.bin / f"helm{version}" / "helm"

    def _list_processes(self) -> list[ProcessStatus] | None:
        return clients.list_processes(self._layout, {})

    def _versions(self) -> dict[str, str]:
        versions = {"kubernetes": components.KUBERNETES_VERSION}
        packages = debian.find_packages(self._cache)
        if packages is not None:
            known = packages.versions()
            versions |= {name: known[name] for name in debian.PACKAGES if name in known}
        return versions

    def _check_host(self) -> None:
        if sys.platform != "linux":
            raise ToolMissing(
                "The local platform runs on Linux only.",
                hint="Use your own cluster: `make demo CLUSTER=current REGISTRY=HOST/PREFIX`.",
            )
        if os.geteuid() != 0:
            raise NotRoot("The local platform creates namespaces and mounts, which needs root.")
        for tool in ("unshare", "nsenter", "setsid", "setpriv", "mount", "umount"):
            if shutil.which(tool) is None:
                raise ToolMissing(f"`{tool}` is not installed.", hint="Run `apt-get install util-linux mount`.")

    def _locked(self, progress: Progress) -> AbstractContextManager[None]:
        def on_wait(pid: int | None) -> None:
            with progress.step("wait", f"another `kubernaut local` works on {self.name} (pid {pid or 'unknown'})") as step:
                step.done("waiting for it to end")

        return locked(self._layout.lock, timeout=_LOCK_SECONDS, on_wait=on_wait)


def _command(verb: str, name: str) -> str:
    return f"kubernaut local {verb}" + ("" if name == ports.DEFAULT_NAME else f" --name {name}")
