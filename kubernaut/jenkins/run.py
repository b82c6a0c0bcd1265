"""A job is run: asked for once, its build found again, followed to its end, or stopped.

A request to run a job is never sent twice. Where nobody knows whether it was heard it is looked for, by the name that it was given;
whoever repeats it under that name takes up what is there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress

from kubernaut.errors import BuildAborted, BuildUnsuccessful, DeadlineExceeded, JenkinsUnreachable, KubernautError
from kubernaut.events import Progress, Step
from kubernaut.jenkins.asking import Asking, Clock, Timing
from kubernaut.jenkins.lookup import OP_ID, Lookup, check_id, check_job, name_request
from kubernaut.jenkins.once import alone
from kubernaut.jenkins.path import JobPath
from kubernaut.jenkins.server import Build, Job, QueueItem, Server, TriggerUnsure
from kubernaut.jenkins.tracking import Follower
from kubernaut.models import Model

LONGEST = 3600.0
"""Seconds for which a build is followed by default."""
_MISSES = 4
_LOOKS = 2
_QUEUE_EVERY = 10


class BuildRun(Model):
    """What came of running a job.

    Attributes:
        job: The job's full name.
        number: The build's number; ``None`` while it waits in the queue.
        url: Its page; the job's while it waits.
        result: ``SUCCESS``, ``UNSTABLE``, ``FAILURE``, ``ABORTED`` or ``NOT_BUILT``; ``None`` while it has none.
        op_id: The request's name, the build's parameter ``OP_ID``; ``None`` where the job has no such parameter.
        queue_id: The queue item that it was, where the server tells.
        why: What it waits for, in the server's words.
        triggered: Whether it was asked for now; else it was there already, under the same name.
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
    server: Server,
    path: JobPath,
    parameters: Mapping[str, str],
    *,
    op_id: str | None = None,
    follow: bool = False,
    abort_on_interrupt: bool = False,
    longest: float = LONGEST,
    timing: Timing = Timing(),  # noqa: B008 - frozen
    clock: Clock = Clock(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> BuildRun:
    """Run a job.

    Args:
        server: Where it is.
        path: Which.
        parameters: Those that are not to have the job's defaults.
        op_id: What the request is called. Where one of the last builds has that name, or one that waits, it is taken up and nothing
            is asked for.
        follow: Tell the console's lines, and wait until the build has ended.
        abort_on_interrupt: Stop the build when a signal stops this; else it goes on.
        longest: Seconds for which it is followed.
        timing: How often the server is asked, and how long it may be away.
        clock: The time.
        progress: Is told of it.

    Raises:
        JobNotFound: There is no such job; or it, or its build, was deleted meanwhile.
        JobInvalid: It cannot be run like this.
        BuildAborted: Somebody stopped the build, or took it out of the queue.
        BuildUnsuccessful: It ended without success.
        DeadlineExceeded: It takes longer than it was given; it goes on.
        JenkinsUnreachable: There is no answer; the message says what is known of the build.
        JenkinsDenied: The server does not let this user do so.
    """
    if op_id is not None:
        check_id(op_id)
    job = server.job(path)
    check_job(job, parameters)
    name = name_request(job, op_id, lambda: server.kind() == "jenkins")
    with (progress or Progress()).step("build", str(path)) as step:
        running = _Running(server, job, Lookup(name), step, timing, clock)
        try:
            running.begin(parameters, named=op_id is not None)
            if follow:
                return running.follow(longest)
            return running.glance()
        except KeyboardInterrupt as stop:
            note = running.stopped(abort=abort_on_interrupt)
            if note:
                stop.add_note(note)
            raise


def _kind(why: str | None) -> str:
    """Return what a build waits for without how long: the server counts the seconds down, and nobody wants to read each."""
    return re.sub(r"[\W\d]+", " ", why or "").strip()


class _Running:
    """One request, and what is known of it by now."""

    def __init__(self, server: Server, job: Job, sought: Lookup, step: Step, timing: Timing, clock: Clock) -> None:
        self._server = server
        self._job = job
        self._path = job.path
        self._sought = sought
        self._step = step
        self._timing = timing
        self._clock = clock
        self._asked = False
        self._heard = False
        self._forgotten = False
        self._build: Build | None = None
        self._item: QueueItem | None = None
        self._triggered = False

    # what is asked for

    def begin(self, parameters: Mapping[str, str], *, named: bool) -> None:
        """Ask for the build, unless it is there already."""
        if not named:
            self._trigger(parameters)
            return
        with alone(f"{self._server.url} {self._path} {self._sought.op_id}"):
            if self._look(self._at_once()):
                self._asked = self._heard = True
                self._step.say(f"{self._sought.op_id} is there already: {self._where()}")
                return
            self._trigger(parameters)
            with suppress(JenkinsUnreachable):
                self._look(self._at_once())  # before another one who says the same name looks

    def _trigger(self, parameters: Mapping[str, str]) -> None:
        name = {} if self._sought.op_id is None else {OP_ID: self._sought.op_id}
        self._asked = self._triggered = True
        try:
            queue_id = self._server.trigger(self._path, {**parameters, **name})
        except TriggerUnsure as unsure:
            self._step.say("Jenkins did not say whether it heard the request: looking for it")
            self._search(unsure)
        except KubernautError:
            self._asked = self._triggered = False
            raise
        else:
            self._sought = Lookup(self._sought.op_id, queue_id)
        self._heard = True

    def _search(self, unsure: TriggerUnsure) -> None:
        """Look for a request that may or may not have been heard; it is never sent again."""
        ask = self._asking()
        until = self._clock.now() + self._timing.unsure
        try:
            looks = 0
            while self._sought.op_id is not None and (looks < _LOOKS or self._clock.now() < until):
                if self._look(ask):
                    return
                looks += 1
        except JenkinsUnreachable as away:
            raise self._unknown(f" {away.message}") from unsure
        raise self._unknown("") from unsure

    def _unknown(self, more: str) -> JenkinsUnreachable:
        again = self._again()
        return JenkinsUnreachable(
            f"Jenkins did not answer the request to run {self._path}, and it is not known whether it heard it.{more}",
            hint=f"`{again}` looks for it first and runs the job only if there is none."
            if again
            else f"Look at {self._job.url} before you run it again.",
            members=self._members(),
        )

    # what is known

    def _look(self, ask: Asking) -> bool:
        """Look once for the build: among the builds, in the queue, and once more, for it may have gone from one to the other."""
        return self._look_at_item(ask) or self._look_at_builds(ask) or self._look_at_queue(ask) or self._look_at_builds(ask)

    def _look_at_item(self, ask: Asking) -> bool:
        """Look at the queue item; the server forgets it soon after it has left the queue."""
        queue_id = self._sought.queue_id
        if queue_id is None or self._forgotten:
            return False
        item = ask(lambda: self._server.queue_item(queue_id))
        if item is None:
            self._forgotten = True
            return False
        self._waits(item)
        if item.cancelled:
            raise self._cancelled()
        if item.number is not None:  # it has just begun: no need to ask for more
            url = f"{self._job.url.rstrip('/')}/{item.number}/"
            self._build = Build(item.number, url, building=True, result=None, parameters={}, queue_id=queue_id)
        return True

    def _look_at_builds(self, ask: Asking) -> bool:
        for _ in range(_LOOKS):
            builds = ask(lambda: self._server.builds(self._path))
            self._build = self._sought.build(builds)
            if self._build is not None or not self._sought.is_untold(builds):
                break
        return self._build is not None

    def _look_at_queue(self, ask: Asking) -> bool:
        item = self._sought.item(ask(lambda: self._server.queue(self._path)))
        if item is not None:
            self._waits(item)
        return item is not None

    def _waits(self, item: QueueItem) -> None:
        told = _kind(self._item.why) if self._item is not None else ""
        self._item = item
        if _kind(item.why) not in ("", told) and item.number is None and not item.cancelled:
            self._step.say(f"waits: {item.why}")

    # what is waited for

    def glance(self) -> BuildRun:
        """Say what is known at once."""
        with suppress(JenkinsUnreachable):
            if self._build is None and self._item is None:
                self._look(self._at_once())
        self._step.done(self._where())
        return self.told()

    def follow(self, longest: float) -> BuildRun:
        """Tell the console until the build has ended."""
        ask = self._asking(longest, after=0.0 if self._build else self._timing.first)
        try:
            build = self._build = self._build or self._started(ask)
            self._step.say(self._where())
            follower = Follower(self._server, self._path, build.number, ask=ask, step=self._step)
            self._build = follower.end()
        except JenkinsUnreachable as away:
            raise JenkinsUnreachable(
                f"{away.message} The build may go on: {self._where()}.", hint=self._up_again(), members=self._members()
            ) from away
        self._judge(self._build, follower.last)
        self._step.done(f"#{build.number} {self._build.result}")
        return self.told()

    def _started(self, ask: Asking) -> Build:
        """Wait until it is a build."""
        turn = misses = 0
        while True:
            # Among the builds it stands as soon as it has begun; only the queue tells that it was taken out, by its absence.
            there = not misses and (self._look_at_item(ask) or self._look_at_builds(ask))
            if not there and (misses or turn % _QUEUE_EVERY == 2):
                misses = 0 if self._look_at_queue(ask) or self._look_at_builds(ask) else misses + 1
            if self._build is not None:
                return self._build
            if misses >= _MISSES:
                raise self._vanished()
            turn += 1

    def _judge(self, build: Build, last: tuple[str, ...]) -> None:
        """Raise what a build without success means."""
        if build.result == "SUCCESS":
            return
        if build.result == "ABORTED":
            raise BuildAborted(
                f"{self._path} #{build.number} was aborted: {build.url}",
                hint="The build's page says by whom; run the job again if it is still wanted.",
                members=self._members(),
            )
        what = f"ended as {build.result}" if build.result else "ended without a result"
        raise BuildUnsuccessful(f"{self._path} #{build.number} {what}: {build.url}", details=last, members=self._members())

    def _cancelled(self) -> BuildAborted:
        return BuildAborted(f"{self._path} was taken out of the queue before it ran.", members=self._members())

    def _vanished(self) -> BuildAborted:
        """Return what it may mean that it is nowhere: not every server keeps what was taken out, or writes its queue down."""
        again = self._again()
        return BuildAborted(
            f"{self._path} is neither in the queue nor among the builds: it was taken out of the queue before it ran, "
            "or the server forgot it when it restarted.",
            hint=f"`{again}`, with the same parameters, asks for it again." if again else None,
            members=self._members(),
        )

    # what happens when a signal comes

    def stopped(self, *, abort: bool) -> str | None:
        """Deal with the build when this is stopped; return what a person may do next."""
        if not self._asked:
            return None
        if not abort:
            known = f"the build goes on: {self._where()}"
            self._step.say(known if self._heard else "it is not known whether Jenkins heard the request")
            return f"{self._up_again()} Its page stops it: {self._url()}"
        try:
            said = self._stop()
        except BuildAborted as aborted:
            said = aborted.message
        except KubernautError as failure:
            self._step.say(f"the build could not be stopped, and may go on: {self._where()}. {failure.message}")
            return f"Stop it on its page: {self._url()}"
        self._step.say(said)
        return "Run the job again if it is still wanted."

    def _stop(self) -> str:
        until = self._clock.now() + self._timing.stopping
        ask = Asking(self._timing, self._clock, self._step.say, until=until)
        if self._build is None:
            self._look(ask)
        if self._build is None and self._item is not None:
            waiting = self._item
            ask(lambda: self._server.cancel(waiting))
            if not self._look_at_builds(ask):
                return "taken out of the queue"
        if self._build is None:
            return "neither in the queue nor among the builds: there is nothing to stop, unless the request is still on its way"
        number = self._build.number
        ask(lambda: self._server.stop(self._path, number))
        while self._clock.now() + self._timing.pace < until:
            build = ask(lambda: self._server.build(self._path, number))
            if build is None or not build.building:
                self._build = build or self._build
                return f"#{number} is stopped"
        return f"#{number} was asked to stop, and has not ended yet: {self._build.url}"

    # what is said

    def told(self) -> BuildRun:
        """Return what is known."""
        item = self._item.id if self._item else None
        built = self._build.queue_id if self._build else None
        return BuildRun(
            job=str(self._path),
            number=self._build.number if self._build else None,
            url=self._url(),
            result=self._build.result if self._build else None,
            op_id=self._sought.op_id,
            queue_id=next((id for id in (self._sought.queue_id, item, built) if id is not None), None),
            why=self._item.why if self._item and self._build is None else None,
            triggered=self._triggered,
        )

    def _members(self) -> dict[str, object]:
        return self.told().model_dump(mode="json", by_alias=True, exclude_none=True)

    def _url(self) -> str:
        return self._build.url if self._build else self._job.url

    def _where(self) -> str:
        if self._build is None:
            return f"in the queue of {self._url()}"
        state = "runs" if self._build.building else f"has ended as {self._build.result}"
        return f"#{self._build.number} {state}: {self._url()}"

    def _again(self) -> str | None:
        if self._sought.op_id is None:
            return None
        return shlex.join(("kubernaut", "jenkins", "run", str(self._path), "--op-id", self._sought.op_id))

    def _up_again(self) -> str:
        again = self._again()
        return f"`{again} --follow` takes it up again." if again else f"Look at {self._url()}."

    def _asking(self, longest: float = float("inf"), after: float = 0.0) -> Asking:
        until = self._clock.now() + longest
        return Asking(self._timing, self._clock, self._step.say, after=after, until=until, late=lambda: self._late(longest))

    def _late(self, longest: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self._path} has not ended within {longest:.0f} s; it goes on: {self._where()}.",
            hint=self._up_again(),
            members=self._members(),
        )

    def _at_once(self) -> Asking:
        """Return one who asks without a pause, and not again."""
        return Asking(Timing(pace=0.0, away=0.0), self._clock, self._step.say)
