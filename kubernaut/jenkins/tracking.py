"""One request to run a job: its name, its build, its console, and the pace of the questions to the server.

A server may merge requests, forget queue items, and answer without naming the item. So each request has a name, the parameter
``OP_ID``, which identifies its build.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeVar

from kubernaut.errors import JenkinsUnreachable, JobInvalid, JobNotFound, KubernautError
from kubernaut.events import Step
from kubernaut.jenkins.jobs import JobPath, check_values
from kubernaut.jenkins.responses import Build, ConsoleChunk, Job, QueueItem
from kubernaut.jenkins.server import JenkinsServer

OP_ID = "OP_ID"
MAX_OP_ID = 255
LAST_LINES = 20
"""Console lines that an error shows."""
MAX_LINE = 1 << 16
_MAX_UNDECIDED = 10
_LOCKS = 64

T = TypeVar("T")
Found = TypeVar("Found", Build, QueueItem)


# the name of a request


def check_op_id(op_id: str) -> None:
    """Check that a server returns a request's name unchanged. Raises: JobInvalid."""
    if not op_id or op_id != op_id.strip() or not op_id.isprintable() or len(op_id) > MAX_OP_ID:
        raise JobInvalid(
            f"--op-id must be 1 to {MAX_OP_ID} printable characters without blanks at its ends.",
            hint='In a Jenkins job, --op-id "$BUILD_TAG" is the name of the build.',
        )


def choose_op_id(job: Job, op_id: str | None, reports_queue_ids: Callable[[], bool]) -> str | None:
    """Return the name of a request; ``None`` if the job has no parameter for it and the queue ID identifies the build.

    Args:
        job: The job.
        op_id: The requested name, checked.
        reports_queue_ids: Whether the server reports the queue item of a request.

    Raises:
        JobInvalid: Nothing would identify the build.
    """
    if OP_ID in job.parameters:
        return op_id or f"kubernaut-{uuid.uuid4().hex}"
    if op_id is None and reports_queue_ids():
        return None
    raise JobInvalid(
        f"Job {job.path} has no parameter {OP_ID}, which identifies its builds.",
        hint=f"Add a string parameter {OP_ID} to the job; `kubernaut jenkins setup APP_DIR` adds it to its own jobs.",
    )


def check_request(job: Job, parameters: Mapping[str, str]) -> None:
    """Check that a job can run with these parameters; the server drops unknown ones silently.

    Raises:
        JobInvalid: It cannot.
    """
    if not job.buildable:
        raise JobInvalid(f"Job {job.path} cannot run: it is disabled, or a folder.", hint=f"See {job.url}")
    if OP_ID in parameters:
        raise JobInvalid(f"{OP_ID} cannot be set as a parameter.", hint="Use --op-id ID.")
    for name in parameters:
        if name not in job.parameters:
            near = get_close_matches(name, job.parameters, n=1) or [it for it in job.parameters if it.lower() == name.lower()]
            suggestion = f"; did you mean {near[0]!r}?" if near else "."
            raise JobInvalid(
                f"Job {job.path} has no parameter {name!r}{suggestion}",
                hint=f"Its parameters: {', '.join(job.parameters) or 'none'}.",
            )
    check_values(job.path, parameters)


@dataclass(frozen=True)
class Lookup:
    """What identifies the build of a request.

    Attributes:
        op_id: The value of ``OP_ID``; ``None`` if the job has no such parameter.
        queue_id: The queue item, if the server reports it.
    """

    op_id: str | None
    queue_id: int | None = None

    def build(self, builds: Iterable[Build]) -> Build | None:
        """Return the build of the request; the first, as a build can be repeated with the same parameters."""
        by_item = [build for build in builds if self.queue_id is not None and build.queue_id == self.queue_id]
        return min(by_item or self._by_name(builds), key=lambda build: build.number, default=None)

    def is_undecided(self, builds: Iterable[Build]) -> bool:
        """Say whether a build may still turn out to be it: a server shows a new build before its parameters."""
        return self.op_id is not None and any(build.building and not build.parameters for build in builds)

    def item(self, items: Iterable[QueueItem]) -> QueueItem | None:
        """Return the queue item of the request."""
        waiting = [item for item in items if not item.cancelled]
        by_item = [item for item in waiting if item.id == self.queue_id]
        return min(by_item or self._by_name(waiting), key=lambda item: item.id, default=None)

    def _by_name(self, found: Iterable[Found]) -> list[Found]:
        return [one for one in found if self.op_id is not None and one.parameters.get(OP_ID) == self.op_id]


@contextmanager
def request_lock(name: str) -> Iterator[None]:
    """Hold a lock among the user's processes on this machine, so that the same request is not sent twice at once.

    The kernel releases it when the process ends. The block runs without it if the file cannot be created. Names may share a lock.
    """
    handle = _open_lock(int.from_bytes(hashlib.sha256(name.encode(errors="replace")).digest()[:4], "big") % _LOCKS)
    if handle is None:
        yield
        return
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open_lock(number: int) -> int | None:
    """Open a lock file in a folder that only the user may write."""
    if os.name != "posix":
        return None
    folder = Path(tempfile.gettempdir()) / f"kubernaut-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022 or folder.is_symlink():
            return None
        return os.open(folder / f"run-{number:02d}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None


# the pace of questions


@dataclass(frozen=True)
class PollTiming:
    """Times in seconds, and the clock that measures them.

    Attributes:
        interval: Between two requests.
        first: Before the first look for a new build.
        search: How long an unconfirmed request is looked for.
        outage: How long the server may not answer, as during a restart.
        stop: How long a build may take to stop.
        now: The clock.
        wait: Waits for a number of seconds.
    """

    interval: float = 1.0
    first: float = 0.5
    search: float = 30.0
    outage: float = 300.0
    stop: float = 20.0
    now: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep


class Poller:
    """Asks a server one question after the other, at intervals.

    Args:
        timing: The interval, and the longest outage.
        notify: Receives notices of the start and end of an outage.
        after: Seconds before the first question.
        until: The deadline, on the clock.
        late: Makes the error that is raised after the deadline.
    """

    def __init__(
        self,
        timing: PollTiming,
        notify: Callable[[str], None],
        *,
        after: float = 0.0,
        until: float = float("inf"),
        late: Callable[[], KubernautError] = lambda: KubernautError("The time limit is over."),
    ) -> None:
        self._timing, self._notify = timing, notify
        self._until, self._late = until, late
        self._next = timing.now() + after
        self._outage_began: float | None = None

    def __call__(self, question: Callable[[], T]) -> T:
        """Ask, and repeat the question during an outage.

        Raises:
            JenkinsUnreachable: The outage is too long.
            KubernautError: The deadline is over.
        """
        began = self._timing.now()
        while True:
            self._pause()
            try:
                answer = question()
            except JenkinsUnreachable as failure:
                if self._timing.now() - began >= self._timing.outage:
                    raise
                if self._outage_began is None:
                    self._outage_began = self._timing.now()
                    self._notify(f"{failure} Retrying for up to {self._timing.outage / 60:.0f} minutes")
                continue
            if self._outage_began is not None:
                self._notify(f"Jenkins answers again after {self._timing.now() - self._outage_began:.0f} s")
                self._outage_began = None
            return answer

    def _pause(self) -> None:
        pause = max(self._next - self._timing.now(), 0.0)
        if self._timing.now() + pause > self._until:
            raise self._late()
        if pause:
            self._timing.wait(pause)
        self._next = self._timing.now() + self._timing.interval


# the console


class LineBuffer:
    """Turns chunks of a console into whole lines, and recognises lines that a server sends again after a restart.

    Attributes:
        replaced: Whether the last chunk belongs to another log than the chunks before.
    """

    def __init__(self) -> None:
        self.replaced = False
        self._rest = ""
        self._length = 0
        self._digest = hashlib.sha256()

    def feed(self, chunk: ConsoleChunk) -> list[str]:
        """Return the lines that a chunk completes."""
        text, lines = chunk.text, []
        self.replaced = False
        if chunk.reset:
            if len(text) >= self._length and hashlib.sha256(_bytes(text[: self._length])).digest() == self._digest.digest():
                text = text[self._length :]
            else:
                self.replaced, lines = True, self.flush()
                self._length, self._digest = 0, hashlib.sha256()
        self._length += len(text)
        self._digest.update(_bytes(text))
        *complete, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > MAX_LINE:
            complete += self.flush()
        return lines + complete

    def flush(self) -> list[str]:
        """Return the last line, which has no line end."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []


def follow_build(server: JenkinsServer, path: JobPath, number: int, *, poll: Poller, step: Step) -> tuple[Build, tuple[str, ...]]:
    """Report the console of a build until it has ended; return the build, and its last lines that are not blank.

    Args:
        server: The server.
        path: The job.
        number: The number of the build.
        poll: Asks the server.
        step: Receives the lines of the console.

    Raises:
        JobNotFound: The build, or its job, was deleted.
        KubernautError: The server does not answer, or the deadline is over.
    """
    buffer, start, undecided = LineBuffer(), 0, 0
    last: deque[str] = deque(maxlen=LAST_LINES)

    def report(lines: list[str]) -> None:
        for line in lines:
            step.log(line)
            last.append(line)

    while True:
        chunk = poll(partial(server.console, path, number, start))
        if chunk is not None:
            start = chunk.next
            lines = buffer.feed(chunk)
            if buffer.replaced:
                step.notice("the server has replaced the console of the build; it starts again")
            report(lines)
            if chunk.more:
                continue
        build = poll(lambda: server.build(path, number))
        if build is None:
            raise JobNotFound(
                f"Build #{number} of {path} no longer exists: it, or its job, was deleted.",
                hint="What it has changed stays; `kubernaut history NAME -n NAMESPACE` shows the changes of a release.",
            )
        # A build that stopped without a result gets one soon, or never.
        undecided = undecided + 1 if not build.building and build.result is None else 0
        if not build.building and (build.result is not None or undecided > _MAX_UNDECIDED):
            report(buffer.flush())
            return build, tuple(line for line in last if line.strip())


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
