"""What a job is given, and which build came of it. Pure.

A server may fold requests, forget queue items and answer without saying what it made of a request; so each request has a name of
its own, the parameter ``OP_ID``, by which its build is known again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.sending import checked_values
from kubernaut.jenkins.server import Build, Job, QueueItem

OP_ID = "OP_ID"
LONGEST_ID = 255

Named = TypeVar("Named", Build, QueueItem)


def new_id() -> str:
    """Return a name for a request that no other has."""
    return f"kubernaut-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Lookup:
    """A request, by what its build is known again.

    Attributes:
        op_id: The value of ``OP_ID``; ``None`` where the job has no such parameter.
        queue_id: The queue item, where the server told it.
    """

    op_id: str | None
    queue_id: int | None = None

    def build(self, builds: Iterable[Build]) -> Build | None:
        """Return the request's build; the first one, should somebody have run it again with the same parameters."""
        by_item = [build for build in builds if self.queue_id is not None and build.queue_id == self.queue_id]
        return min(by_item or self._named(builds), key=lambda build: build.number, default=None)

    def is_untold(self, builds: Iterable[Build]) -> bool:
        """Say whether it may be among them all the same: a server shows a build a moment before it shows what it was given."""
        return self.op_id is not None and any(build.building and not build.parameters for build in builds)

    def item(self, items: Iterable[QueueItem]) -> QueueItem | None:
        """Return the request's item in the queue."""
        waiting = [item for item in items if not item.cancelled]
        by_item = [item for item in waiting if item.id == self.queue_id]
        return min(by_item or self._named(waiting), key=lambda item: item.id, default=None)

    def _named(self, found: Iterable[Named]) -> list[Named]:
        return [one for one in found if self.op_id is not None and one.parameters.get(OP_ID) == self.op_id]


def check_job(job: Job, parameters: Mapping[str, str]) -> None:
    """Check that a job can be run with these parameters: the server would drop what it does not know without a word.

    Raises:
        JobInvalid: It cannot.
    """
    if not job.buildable:
        raise JobInvalid(f"{job.path} cannot be run: it is disabled, or a folder.", hint=f"Look at {job.url}")
    if OP_ID in parameters:
        raise JobInvalid(f"{OP_ID} is not given as a parameter.", hint="--op-id ID names the request.")
    for name in parameters:
        if name not in job.parameters:
            raise _undeclared(job, name)
    checked_values(job.path, parameters)


def check_id(op_id: str) -> None:
    """Check that a server gives a request's name back as it is. Raises: JobInvalid."""
    if not op_id or op_id != op_id.strip() or not op_id.isprintable() or len(op_id) > LONGEST_ID:
        raise JobInvalid(
            f"The name of a request is 1 to {LONGEST_ID} printable characters, without blanks at its ends.",
            hint='In a Jenkins job, --op-id "$BUILD_TAG" names it after the build.',
        )


def name_request(job: Job, op_id: str | None, tells_items: Callable[[], bool]) -> str | None:
    """Return what the request is called; ``None`` where the job takes no names and can do without.

    Args:
        job: The job.
        op_id: What it shall be called, if somebody said so.
        tells_items: Says whether the server tells which queue item a request became.

    Raises:
        JobInvalid: Its build could not be known again.
    """
    if op_id is not None:
        check_id(op_id)
    if OP_ID in job.parameters:
        return op_id or new_id()
    if op_id is None and tells_items():
        return None
    raise JobInvalid(
        f"{job.path} has no parameter {OP_ID}, and nothing else tells its builds apart.",
        hint=f"Give the job a string parameter {OP_ID}; `kubernaut jenkins setup` does for its own jobs.",
    )


def _undeclared(job: Job, name: str) -> JobInvalid:
    near = get_close_matches(name, job.parameters, n=1) or [one for one in job.parameters if one.lower() == name.lower()]
    declared = ", ".join(job.parameters) or "none"
    return JobInvalid(
        f"{job.path} has no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."),
        hint=f"Its parameters: {declared}.",
    )
