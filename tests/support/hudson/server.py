"""Running the server: a child process on a free port of 127.0.0.1, with an environment of its own, which ends with who started it.

What a build finds in its environment is the server's own environment and what the server adds. So the server gets what it is
given and the few variables below, and nothing of the environment of whoever starts it.
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
from kubernaut_local import parts as work
from kubernaut_local import ports, probe
from kubernaut_local.commands import tail
from kubernaut_local.layout import Cache, cache_home
from support.hudson import parts
from support.hudson.home import HudsonHome, User

READY_SECONDS = 120.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
# Below the range from which Linux gives out ports for outgoing connections: one could take it before the server does.
_PORTS_FROM = 21081
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
    # It would tell the network that it is there; any port of its own instead of the one that every Hudson has.
    *("hudson.udp=0", "hudson.DNSMultiCast.disabled=true"),
)


class Hudson:
    """A CI server; a context manager that starts it and ends it and what its builds have left running.

    The thread that starts it must outlive it: the kernel ends it with that thread.

    Args:
        home: Its home folder; made when it is first started.
        environment: What the server, and so every build, finds in its environment, beside PATH and the locale. Never a secret
            itself: a secret lies in a file.
        cache_home: Where the programs are kept instead of XDG_CACHE_HOME.
        listener: Is told of the progress.
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
        """Its address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def user(self) -> str:
        """The name of who may do everything there."""
        return self.home.admin.name

    @property
    def token_file(self) -> Path:
        """The file with that user's password."""
        return self.home.admin.token_file

    @property
    def reader(self) -> User:
        """Somebody who may only look."""
        return self.home.reader

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Hudson:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self.end_builds()

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ToolMissing: Java or Maven is not there.
            PlatformFailed: It could not be fetched, or cannot start; what its log says is in the details.
            PortTaken: Something else has taken its port meanwhile.
            DeadlineExceeded: It did not answer in time.
        """
        if self._process is not None:
            return
        cache = Cache(self._cache_home or cache_home())
        with self._progress.step("hudson", f"Hudson {parts.HUDSON_VERSION}, fetched with Maven and patched") as step:
            found, made = work.run(lambda commands: parts.get(cache, commands, step.log))
            (step.done if made else step.unchanged)("made" if made else "it was made before")
        self.home.prepare(f"{self.url}/")
        with self._progress.step("ci-server", self.url) as step:
            self._process = self._start(found)
            try:
                self._await(self._answers, "Hudson is ready", READY_SECONDS)
            except BaseException:
                self.stop()
                raise
            step.done(f"{self.url}/ answers")

    def stop(self) -> None:
        """End it, with a signal first; builds that run then go on by themselves, see :meth:`end_builds`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again, on the same home and port."""
        self.stop()
        self.start()

    def build_processes(self) -> list[int]:
        """Return the living processes that builds of this server have started."""
        mark = f"HUDSON_HOME={self.home.root}".encode()
        return [pid for pid in _pids() if pid != self.pid and mark in _environ(pid).split(b"\0")]

    def end_builds(self) -> None:
        """End what builds have left running: the server does not, neither when a build is aborted nor when it stops."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.build_processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(DeadlineExceeded):
                _wait(lambda: not self.build_processes(), "the builds' processes have ended", 5.0)

    def _start(self, found: parts.Parts) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": str(self.home.folder), **self._environment}
        # Each login puts its user's name into the map of the server's environment, which nothing guards: two at once that make the
        # entry ruin the map, and no build can read it any more. An entry that is there is only replaced.
        environment |= {"HUDSON_USER": self.user}
        opened = [argument for module in _OPENED for argument in ("--add-opens", f"{module}=ALL-UNNAMED")]
        places = (f"HUDSON_HOME={self.home.root}", f"java.io.tmpdir={self.home.tmp}")
        properties = [f"-D{each}" for each in (*_PROPERTIES, *places)]
        server = ["-jar", str(found.runner), "--port", str(self.port), "-Aaddress=127.0.0.1", "--access-log"]
        memory = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with self.home.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", pdeathsig_exec.__file__, str(os.getpid()), str(found.java)),
                    *(*memory, *opened, *properties, *server, str(found.war)),
                ],
                cwd=self.home.run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for whoever started it, who then ends it in order.
                start_new_session=True,
            )

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            details = tail(self.home.log)
            raise PlatformFailed(f"Hudson ended by itself, with status {self._process.returncode}.", details=details)
        # While it starts it refuses connections, and then answers 503 in HTML; and so for ever when it cannot read a job.
        self._check_log()
        admin = self.home.admin
        basic = base64.b64encode(f"{admin.name}:{admin.password()}".encode()).decode()
        try:
            status, content, _ = probe.http(self.port, "GET", "/api/json", headers={"Authorization": f"Basic {basic}"})
            return status == 200 and "mode" in json.loads(content)
        except (*probe.NO_ANSWER, ValueError):
            return False

    def _check_log(self) -> None:
        """Raise what the server says of its failure to start, since it was last started: it goes on without having started."""
        with self.home.log.open("rb") as log:
            log.seek(self._log_start)
            said = log.read().decode(errors="replace")
        _, failed, after = said.partition(_FAILED)
        if failed:
            reason = after.strip().splitlines()[:_FAILURE_LINES]
            raise PlatformFailed("Hudson cannot start with what is in its home folder.", details=reason)
        if _TAKEN in said:
            raise PortTaken(f"Port {self.port} of 127.0.0.1, for Hudson, is taken.", hint="Stop the other process, or start anew.")

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
    found = next((port for port in ports.candidates(str(home.folder), _PORTS_FROM) if ports.is_free(port)), None)
    if found is None:
        raise PortTaken(f"No port from {_PORTS_FROM} on of 127.0.0.1 is free.", hint="Stop what listens there.")
    return found


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"After {seconds:.0f} s still not so: {what}.")
        time.sleep(_POLL_SECONDS)


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""
