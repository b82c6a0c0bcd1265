"""What a Jenkins tells of jobs, builds and its queue: read from its JSON, as data.

Pure. Its JSON is what plugins make of it: what is not needed is passed over, what is needed and missing is said.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from kubernaut.jenkins.path import JobPath

_GIVEN = "actions[parameters[name,value]]"
JOB_TREE = "buildable,property[parameterDefinitions[name]],actions[parameterDefinitions[name]]"
BUILD_TREE = f"number,building,result,queueId,{_GIVEN}"
ITEM_TREE = f"id,why,cancelled,executable[number],task[name,url],{_GIVEN}"


@dataclass(frozen=True)
class Job:
    """A job as the server tells of it.

    Attributes:
        url: Its page.
        parameters: The names of the parameters that it declares, in order; empty where it declares none.
        buildable: Whether it can be run at all: neither disabled nor a folder.
    """

    path: JobPath
    url: str
    parameters: tuple[str, ...]
    buildable: bool


@dataclass(frozen=True)
class Build:
    """A build as the server tells of it.

    Attributes:
        url: Its page.
        building: Whether it runs.
        result: ``SUCCESS``, ``UNSTABLE``, ``FAILURE``, ``ABORTED``, ``NOT_BUILT``; ``None`` while it is not known.
        parameters: The values that it was given. A server that stopped meanwhile may have forgotten them.
        queue_id: The queue item that it was; ``None`` where the server does not tell.
    """

    number: int
    url: str
    building: bool
    result: str | None
    parameters: Mapping[str, str]
    queue_id: int | None


@dataclass(frozen=True)
class QueueItem:
    """A build that waits, or has left the queue.

    Attributes:
        why: What it waits for, in the server's words.
        cancelled: Somebody took it out.
        number: The build that it became.
    """

    id: int
    job: str
    why: str | None
    cancelled: bool
    number: int | None
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Console:
    r"""A piece of a build's console.

    Attributes:
        text: With ``\n`` at its lines' ends.
        next: Where the next piece starts, in bytes of the log as the server has it.
        more: Whether there may be more.
        reset: The log is another one than before: this is it from its beginning.
    """

    text: str
    next: int
    more: bool
    reset: bool


class NotUnderstood(Exception):
    """This is not what a Jenkins answers."""


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises: NotUnderstood."""
    try:
        content = json.loads(body, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood from error
    if not isinstance(content, dict):
        raise NotUnderstood
    return content


def read_job(content: Mapping[str, Any], path: JobPath, url: str) -> Job:
    """Read a job; ``url`` is its page."""
    holders = [*_objects(content.get("property")), *_objects(content.get("actions"))]
    declared = next((_objects(holder["parameterDefinitions"]) for holder in holders if holder.get("parameterDefinitions")), ())
    names = tuple(str(entry["name"]) for entry in declared if "name" in entry)
    return Job(path, url, names, content.get("buildable") is True)


def read_build(content: Mapping[str, Any], job_url: str) -> Build:
    """Read a build of a job. Raises: NotUnderstood."""
    number, result = _number(content.get("number")), content.get("result")
    if number is None:
        raise NotUnderstood
    return Build(
        number,
        f"{job_url}{number}/",
        content.get("building") is True,
        result if isinstance(result, str) else None,
        _given(content),
        _number(content.get("queueId")),
    )


def read_builds(content: Mapping[str, Any], job_url: str) -> tuple[Build, ...]:
    """Read a job's builds, newest first. Raises: NotUnderstood."""
    builds = (read_build(entry, job_url) for entry in _objects(content.get("builds")))
    return tuple(sorted(builds, key=lambda build: -build.number))


def read_item(content: Mapping[str, Any], root: str) -> QueueItem:
    """Read a queue item; ``root`` is the server's address. Raises: NotUnderstood."""
    id, why, task, executable = (content.get(key) for key in ("id", "why", "task", "executable"))
    number = _number(id)
    if number is None:
        raise NotUnderstood
    return QueueItem(
        number,
        _job(task, root) if isinstance(task, dict) else "",
        why if isinstance(why, str) and why.strip("?") else None,  # Hudson does not know at first, and says "???"
        content.get("cancelled") is True,
        _number(executable.get("number")) if isinstance(executable, dict) else None,
        _given(content),
    )


def read_items(content: Mapping[str, Any], root: str) -> tuple[QueueItem, ...]:
    """Read a queue. Raises: NotUnderstood."""
    return tuple(read_item(entry, root) for entry in _objects(content.get("items")))


def read_console(body: bytes, headers: Mapping[str, str], start: int) -> Console:
    r"""Read a piece of a console that was asked for from ``start`` on. Raises: NotUnderstood.

    Where the next one starts says the server alone: it changes ``\n`` to ``\r\n`` and leaves out what only its pages show. A
    character of which the build has written a part so far is left to the next piece.
    """
    size = headers.get("X-Text-Size", "")
    if not (size.isascii() and size.isdigit()) or len(size) > 18:
        raise NotUnderstood
    next, more = int(size), headers.get("X-More-Data") == "true"
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(body, final=not more)
    held = len(decoder.getstate()[0])
    return Console(text.replace("\r\n", "\n"), next - held, more, next < start)


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of a name that stands in it twice, what says something counts."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if value or name not in members:
            members[name] = value
    return members


def _objects(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else ()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _given(content: Mapping[str, Any]) -> dict[str, str]:
    return dict(_values(content.get("actions")))


def _values(actions: Any) -> Iterator[tuple[str, str]]:
    for action in _objects(actions):
        for entry in _objects(action.get("parameters")):
            if isinstance(entry.get("name"), str):
                yield entry["name"], _text(entry.get("value"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _job(task: Mapping[str, Any], root: str) -> str:
    """Return the job's full name, by its page; the server may know itself by another address than we do."""
    try:
        path, base = (unquote(urlsplit(str(url)).path) for url in (task.get("url") or "", root))
    except ValueError:
        path, base = "", ""
    below = path.removeprefix(base) if path.startswith(f"{base}/") else path
    segments = below[max(below.find("/job/"), 0) :].strip("/").split("/")
    if len(segments) % 2 == 0 and set(segments[::2]) == {"job"}:
        return "/".join(segments[1::2])
    return str(task.get("name") or "")
