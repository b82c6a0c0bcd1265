"""Run a job: request a build once, find it, follow it to its end, or stop it.

A request is never sent twice. When it is unknown whether it has arrived, its build is looked for by the name of the request; a
second run with the same name continues with the same build.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from kubernaut.errors import BuildAborted, BuildUnsuccessful, DeadlineExceeded, JenkinsUnreachable, KubernautError
from kubernaut.events import Progress, Step
from kubernaut.jenkins.hudson import reports_queue_ids
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import Build, Job, QueueItem
from kubernaut.jenkins.server import JenkinsServer, TriggerUnconfirmed
from kubernaut.jenkins.tracking import (
    OP_ID,
    Lookup,
    Poller,
    PollTiming,
    check_op_id,
    check_request,
    choose_op_id,
    follow_build,
    request_lock,
)
from kubernaut.models import Model

FOLLOW_SECONDS = 3600.0
"""How long a build is followed by default."""
_MAX_MISSES = 4
_MAX_LOOKS = 2
_QUEUE_EVERY = 10


class BuildRun(Model):
    """The result of running a job.

    Attributes:
        job: The full name of the job.
        number: The number of the build; ``None`` while it is in the queue.
        url: The page of the build; that of the job while it is in the queue.
        result: ``SUCCESS``, ``UNSTABLE``, ``FAILURE``, ``ABORTED`` or ``NOT_BUILT``; ``None`` while there is none.
        op_id: The name of the request, the build's parameter ``OP_ID``; ``None`` if the job has no such parameter.
        queue_id: The queue item, if the server reports it.
        why: Why it is waiting, as the server describes it.
        triggered: Whether this run requested the build; ``False`` if a build of that name existed.
    """

    job: str
    number: int | None = None
    url: str
    result: str | None = None
    op_id: str | None = None
    queue_id: int | None = None
    why: str | None = None
    triggered: bool = True


def run_job(
    server: JenkinsServer,
    path: JobPath,
    parameters: Mapping[str, str],
    *,
    op_id: str | None = None,
    follow: bool = False,
    abort_on_interrupt: bool = False,
    longest: float = FOLLOW_SECONDS,
    timing: PollTiming = PollTiming(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> BuildRun:
    """Run a job.

    Args:
        server: The server.
        path: The job.
        parameters: Values of parameters; the others have the job's defaults.
        op_id: The name of the request. If a recent build or a queue item has it, nothing is requested.
        follow: Report the console, and wait for the end of the build.
        abort_on_interrupt: Stop the build when a signal interrupts this process.
        longest: Seconds to follow the build.
        timing: The pace of the requests.
        progress: Receives the steps and the console.

    Raises:
        JobNotFound: The job does not exist; or it, or its build, was deleted meanwhile.
        JobInvalid: The job cannot run with these parameters.
        BuildAborted: The build was stopped, or removed from the queue.
        BuildUnsuccessful: The build ended without success.
        DeadlineExceeded: The build has not ended in time; it goes on.
        JenkinsUnreachable: There is no answer; the message names what is known of the build.
        JenkinsDenied: The user lacks a permission.
    """
    if op_id is not None:
        check_op_id(op_id)
    job = server.job(path)
    check_request(job, parameters)
    name = choose_op_id(job, op_id, lambda: reports_queue_ids(server.kind()))
    with (progress or Progress()).step("build", str(path)) as step:
        run = _Run(server, job, Lookup(name), step, timing)
        try:
            run.begin(parameters, named=op_id is not None)
            return run.follow(longest) if follow else run.glance()
        except KeyboardInterrupt as stop:
            note = run.interrupted(abort=abort_on_interrupt)
            if note:
                stop.add_note(note)
            raise


class _Run:
    """One request, and what is known of its build."""

    def __init__(self, server: JenkinsServer, job: Job, lookup: Lookup, step: Step, timing: PollTiming) -> None:
        self._server, self._job, self._path = server, job, job.path
        self._lookup, self._step, self._timing = lookup, step, timing
        self._requested = self._confirmed = self._triggered = False
        self._item_forgotten = False
        self._build: Build | None = None
        self._item: QueueItem | None = None

    # request

    def begin(self, parameters: Mapping[str, str], *, named: bool) -> None:
        """Request the build, unless one with a name given by the caller exists."""
        if not named:
            self._trigger(parameters)
            return
        with request_lock(f"{self._server.url} {self._path} {self._lookup.op_id}"):
            if self._find(self._single_attempt()):
                self._requested = self._confirmed = True
                self._step.notice(f"found {self._lookup.op_id}: {self._state()}")
                return
            self._trigger(parameters)
            with suppress(JenkinsUnreachable):
                self._find(self._single_attempt())  # visible before the lock is released

    def _trigger(self, parameters: Mapping[str, str]) -> None:
        name = {} if self._lookup.op_id is None else {OP_ID: self._lookup.op_id}
        self._requested = self._triggered = True
        try:
            queue_id = self._server.trigger(self._path, {**parameters, **name})
        except TriggerUnconfirmed as unconfirmed:
            self._step.notice(f"Jenkins did not confirm the request to run {self._path}: looking for its build")
            self._search(unconfirmed)
        except KubernautError:
            self._requested = self._triggered = False
            raise
        else:
            self._lookup = Lookup(self._lookup.op_id, queue_id)
        self._confirmed = True

    def _search(self, unconfirmed: TriggerUnconfirmed) -> None:
        """Look for the build of an unconfirmed request, which is not sent again."""
        poll = self._poller()
        until = self._timing.now() + self._timing.search
        try:
            looks = 0
            while self._lookup.op_id is not None and (looks < _MAX_LOOKS or self._timing.now() < until):
                if self._find(poll):
                    return
                looks += 1
        except JenkinsUnreachable as outage:
            raise self._unconfirmed(f" {outage.message}") from unconfirmed
        raise self._unconfirmed("") from unconfirmed

    def _unconfirmed(self, details: str) -> JenkinsUnreachable:
        command = self._command()
        look = f"`{command}` looks for the build first, and requests one only if there is none."
        return JenkinsUnreachable(
            f"Jenkins did not confirm the request to run {self._path}, which may have arrived.{details}",
            hint=look if command else f"Check {self._job.url} before you run it again.",
            members=self._members(),
        )

    # find

    def _find(self, poll: Poller) -> bool:
        """Look once: at the builds, the queue, and the builds again, as it may move from the queue to the builds meanwhile."""
        return self._find_by_item(poll) or self._find_build(poll) or self._find_item(poll) or self._find_build(poll)

    def _find_by_item(self, poll: Poller) -> bool:
        """Look at the queue item, which the server forgets soon after it has left the queue."""
        queue_id = self._lookup.queue_id
        if queue_id is None or self._item_forgotten:
            return False
        item = poll(lambda: self._server.queue_item(queue_id))
        if item is None:
            self._item_forgotten = True
            return False
        self._note_item(item)
        if item.cancelled:
            raise BuildAborted(f"{self._path} was removed from the queue before it ran.", members=self._members())
        if item.number is not None:  # it has just begun
            url = f"{self._job.url.rstrip('/')}/{item.number}/"
            self._build = Build(item.number, url, building=True, result=None, parameters={}, queue_id=queue_id)
        return True

    def _find_build(self, poll: Poller) -> bool:
        for _ in range(_MAX_LOOKS):
            builds = poll(lambda: self._server.builds(self._path))
            self._build = self._lookup.build(builds)
            if self._build is not None or not self._lookup.is_undecided(builds):
                break
        return self._build is not None

    def _find_item(self, poll: Poller) -> bool:
        item = self._lookup.item(poll(lambda: self._server.queue(self._path)))
        if item is not None:
            self._note_item(item)
        return item is not None

    def _note_item(self, item: QueueItem) -> None:
        before = _without_times(self._item.why) if self._item is not None else ""
        self._item = item
        if _without_times(item.why) not in ("", before) and item.number is None and not item.cancelled:
            self._step.notice(f"waiting: {item.why}")

    # wait

    def glance(self) -> BuildRun:
        """Return what is known without waiting."""
        with suppress(JenkinsUnreachable):
            if self._build is None and self._item is None:
                self._find(self._single_attempt())
        self._step.done(self._state())
        return self.result()

    def follow(self, longest: float) -> BuildRun:
        """Report the console until the build has ended."""
        poll = self._poller(longest, after=0.0 if self._build else self._timing.first)
        try:
            build = self._build = self._build or self._wait_for_start(poll)
            self._step.notice(self._state())
            self._build, last = follow_build(self._server, self._path, build.number, poll=poll, step=self._step)
        except JenkinsUnreachable as outage:
            message = f"{outage.message} The build may go on: {self._state()}."
            raise JenkinsUnreachable(message, hint=self._follow_hint(), members=self._members()) from outage
        self._check_result(self._build, last)
        self._step.done(f"#{build.number} {self._build.result}")
        return self.result()

    def _wait_for_start(self, poll: Poller) -> Build:
        turn = misses = 0
        while True:
            # A build is among the builds as soon as it begins. That it was removed shows only as its absence from the queue.
            found = not misses and (self._find_by_item(poll) or self._find_build(poll))
            if not found and (misses or turn % _QUEUE_EVERY == 2):
                misses = 0 if self._find_item(poll) or self._find_build(poll) else misses + 1
            if self._build is not None:
                return self._build
            if misses >= _MAX_MISSES:
                raise self._lost()
            turn += 1

    def _check_result(self, build: Build, last: tuple[str, ...]) -> None:
        if build.result == "SUCCESS":
            return
        if build.result == "ABORTED":
            raise BuildAborted(
                f"{self._path} #{build.number} was aborted: {build.url}",
                hint="The page of the build shows by whom. Run the job again if it is still needed.",
                members=self._members(),
            )
        ended = f"ended as {build.result}" if build.result else "ended without a result"
        raise BuildUnsuccessful(f"{self._path} #{build.number} {ended}: {build.url}", details=last, members=self._members())

    def _lost(self) -> BuildAborted:
        command = self._command()
        return BuildAborted(
            f"{self._path} is neither in the queue nor among the builds: it was removed from the queue before it ran, "
            "or the server lost it in a restart.",
            hint=f"`{command}`, with the same parameters, requests it again." if command else None,
            members=self._members(),
        )

    # stop

    def interrupted(self, *, abort: bool) -> str | None:
        """Handle a signal: report the build, or stop it; return what to do next."""
        if not self._requested:
            return None
        if not abort:
            goes_on = f"the build goes on: {self._state()}"
            self._step.notice(goes_on if self._confirmed else "Jenkins has not confirmed the request, which may have arrived")
            return f"{self._follow_hint()} To stop the build, see {self._url()}"
        try:
            outcome = self._stop()
        except BuildAborted as aborted:
            outcome = aborted.message
        except KubernautError as failure:
            self._step.notice(f"could not stop the build, which may go on: {self._state()}. {failure.message}")
            return f"Stop the build on {self._url()}"
        self._step.notice(outcome)
        return "Run the job again if it is still needed."

    def _stop(self) -> str:
        until = self._timing.now() + self._timing.stop
        poll = Poller(self._timing, self._step.notice, until=until)
        if self._build is None:
            self._find(poll)
        if self._build is None and self._item is not None:
            waiting = self._item
            poll(lambda: self._server.cancel(waiting))
            if not self._find_build(poll):
                return "removed from the queue"
        if self._build is None:
            return "neither in the queue nor among the builds: nothing to stop, unless the request is still on its way"
        number = self._build.number
        poll(lambda: self._server.stop(self._path, number))
        while self._timing.now() + self._timing.interval < until:
            build = poll(lambda: self._server.build(self._path, number))
            if build is None or not build.building:
                self._build = build or self._build
                return f"#{number} has stopped"
        return f"#{number} has not stopped yet: {self._build.url}"

    # report

    def result(self) -> BuildRun:
        """Return what is known."""
        item = self._item.id if self._item else None
        built = self._build.queue_id if self._build else None
        return BuildRun(
            job=str(self._path),
            number=self._build.number if self._build else None,
            url=self._url(),
            result=self._build.result if self._build else None,
            op_id=self._lookup.op_id,
            queue_id=next((id for id in (self._lookup.queue_id, item, built) if id is not None), None),
            why=self._item.why if self._item and self._build is None else None,
            triggered=self._triggered,
        )

    def _members(self) -> dict[str, object]:
        return self.result().model_dump(mode="json", by_alias=True, exclude_none=True)

    def _url(self) -> str:
        return self._build.url if self._build else self._job.url

    def _state(self) -> str:
        if self._build is None:
            return f"in the queue of {self._url()}"
        state = "is running" if self._build.building else f"has ended as {self._build.result}"
        return f"#{self._build.number} {state}: {self._url()}"

    def _command(self) -> str | None:
        if self._lookup.op_id is None:
            return None
        return shlex.join(("kubernaut", "jenkins", "run", str(self._path), "--op-id", self._lookup.op_id))

    def _follow_hint(self) -> str:
        command = self._command()
        return f"`{command} --follow` continues to follow it." if command else f"See {self._url()}."

    def _poller(self, longest: float = float("inf"), after: float = 0.0) -> Poller:
        until = self._timing.now() + longest
        return Poller(self._timing, self._step.notice, after=after, until=until, late=lambda: self._late(longest))

    def _late(self, longest: float) -> DeadlineExceeded:
        message = f"{self._path} has not ended within {longest:.0f} s; it goes on: {self._state()}."
        return DeadlineExceeded(message, hint=self._follow_hint(), members=self._members())

    def _single_attempt(self) -> Poller:
        return Poller(replace(self._timing, interval=0.0, outage=0.0), self._step.notice)


def _without_times(why: str | None) -> str:
    """Return the reason without numbers, as the server counts seconds down."""
    return re.sub(r"[\W\d]+", " ", why or "").strip()
