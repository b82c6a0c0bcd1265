"""Running the server: a child process on a free port of 127.0.0.1, which is killed when its parent ends.

Builds inherit the server's environment. So the server gets the given variables and the few in ``_INHERITED``, and no others of
this process.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from kubernaut.adapters import pdeathsig_exec
from kubernaut.errors import DeadlineExceeded, PlatformFailed, PortTaken
from kubernaut.events import Listener, Progress, ignore_event
from kubernaut_local import clients, ports
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner, tail
from support.hudson.home import HudsonHome, User
from support.hudson.install import HUDSON_VERSION, Installation, install

READY_SECONDS = 120.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
# Below Linux' ephemeral ports, which outgoing connections may use at any time.
_FIRST_PORT = 21081
_FAILED = "Failed to initialize Hudson\n"
_TAKEN = "java.net.BindException"
_FAILURE_LINES = 3
_INHERITED = ("PATH", "JAVA_HOME", "TZ", "TMPDIR")
_OPENED = (
    *(
        "java.base/java.lang",
        "java.base/java.lang.ref",
        "java.base/java.lang.reflect",
        "java.base/java.util",
        "java.base/java.text",
    ),
    *("java.base/java.net", "java.base/java.io", "java.base/java.util.concurrent", "java.desktop/java.awt.font"),
)
_PROPERTIES = (
    *("hudson.skipInitSetup=true", "skipInitSetup=true", "java.awt.headless=true", "file.encoding=UTF-8"),
    # No announcements in the network, and a free UDP port instead of Hudson's fixed one.
    *("hudson.udp=0", "hudson.DNSMultiCast.disabled=true"),
)


class Hudson:
    """A CI server. A context manager that starts it, and stops it together with the processes that its builds left running.

    The thread that starts the server must outlive it: the kernel kills the server when that thread ends.

    Args:
        home: Its home folder, created at the first start.
        environment: Variables for the server and every build, in addition to PATH and the locale. Pass secrets in files.
        cache_home: The folder for the programs instead of XDG_CACHE_HOME.
        listener: Receives the progress.
    """

    def __init__(
        self,
        home: HudsonHome,
        environment: Mapping[str, str] | None = None,
        *,
        cache_home: Path | None = None,
        listener: Listener = ignore_event,
    ) -> None:
        self.home = home
        self.port = _free_port(home)
        self._environment = dict(environment or {})
        self._cache_home = cache_home
        self._progress = Progress(listener)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """The server's address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def user(self) -> str:
        """The administrator's name."""
        return self.home.admin.name

    @property
    def token_file(self) -> Path:
        """The file with the administrator's password."""
        return self.home.admin.token_file

    @property
    def reader(self) -> User:
        """The read-only user."""
        return self.home.reader

    @property
    def pid(self) -> int | None:
        """The server's pid, or None if it is not running."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Hudson:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self.end_builds()

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ToolMissing: Java or Maven is not installed.
            PlatformFailed: The server cannot be fetched or started; the end of its log is in the details.
            PortTaken: Another process has taken the port.
            DeadlineExceeded: The server did not answer in time.
        """
        if self._process is not None:
            return
        cache = Cache(self._cache_home) if self._cache_home else Cache.default()
        title = f"Hudson {HUDSON_VERSION}"
        with self._progress.step("hudson", f"{title}, fetched with Maven and patched") as step, CommandRunner() as commands:
            installation, created = install(cache, commands, step.log)
            (step.done if created else step.unchanged)(f"fetched {title}" if created else f"{title} is in the cache")
        self.home.prepare(f"{self.url}/")
        with self._progress.step("ci-server", self.url) as step:
            self._process = self._start(installation)
            try:
                self._await(self._answers, "Hudson is ready", READY_SECONDS)
            except BaseException:
                self.stop()
                raise
            step.done(f"{self.url}/ answers")

    def stop(self) -> None:
        """Stop the server with SIGTERM, then SIGKILL; running builds continue, see :meth:`end_builds`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the server with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it again, with the same home folder and port."""
        self.stop()
        self.start()

    def build_processes(self) -> list[int]:
        """Return the pids of the running processes that builds of this server started."""
        mark = f"HUDSON_HOME={self.home.root}".encode()
        return [pid for pid in _pids() if pid != self.pid and mark in _environ(pid).split(b"\0")]

    def end_builds(self) -> None:
        """Kill the processes that builds left running, which the server does not do when a build is aborted or when it stops."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.build_processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(DeadlineExceeded):
                _wait(lambda: not self.build_processes(), "the builds' processes have ended", 5.0)

    def _start(self, installation: Installation) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": str(self.home.folder), **self._environment}
        # Each login sets HUDSON_USER in the server's map of its environment, which is not thread-safe: two logins that add the
        # entry at once corrupt the map for all builds. An existing entry is only replaced.
        environment |= {"HUDSON_USER": self.user}
        opened = [argument for module in _OPENED for argument in ("--add-opens", f"{module}=ALL-UNNAMED")]
        folders = (f"HUDSON_HOME={self.home.root}", f"java.io.tmpdir={self.home.tmp}")
        properties = [f"-D{each}" for each in (*_PROPERTIES, *folders)]
        server = ["-jar", str(installation.runner), "--port", str(self.port), "-Aaddress=127.0.0.1", "--access-log"]
        memory = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with self.home.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", pdeathsig_exec.__file__, str(os.getpid()), str(installation.java)),
                    *(*memory, *opened, *properties, *server, str(installation.war)),
                ],
                cwd=self.home.run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach this process only, which then stops the server.
                start_new_session=True,
            )

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            details = tail(self.home.log)
            raise PlatformFailed(f"Hudson exited with status {self._process.returncode}.", details=details)
        # A starting server refuses connections and then answers 503; one that cannot read a job answers 503 for ever.
        self._check_log()
        admin = self.home.admin
        basic = base64.b64encode(f"{admin.name}:{admin.password()}".encode()).decode()
        try:
            status, content, _ = clients.http(self.port, "GET", "/api/json", headers={"Authorization": f"Basic {basic}"})
            return status == 200 and "mode" in json.loads(content)
        except (*clients.NO_ANSWER, ValueError):
            return False

    def _check_log(self) -> None:
        """Raise the failure that the log reports since the last start; the server does not exit when its start fails."""
        with self.home.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        _, failed, after = text.partition(_FAILED)
        if failed:
            reason = after.strip().splitlines()[:_FAILURE_LINES]
            raise PlatformFailed(f"Hudson cannot start with its home folder {self.home.root}.", details=reason)
        if _TAKEN in text:
            raise PortTaken(
                f"Port {self.port} of 127.0.0.1, for Hudson, is taken.", hint="Stop the other process, or run the command again."
            )

    def _await(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        try:
            _wait(condition, what, seconds)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(str(error), details=tail(self.home.log)) from None

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port(home: HudsonHome) -> int:
    found = next((port for port in ports.candidates(str(home.folder), _FIRST_PORT) if ports.is_free(port)), None)
    if found is None:
        raise PortTaken(f"No port from {_FIRST_PORT} on of 127.0.0.1 is free.", hint="Stop the processes that listen there.")
    return found


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"Not within {seconds:.0f} s: {what}.")
        time.sleep(_POLL_SECONDS)


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return b""
