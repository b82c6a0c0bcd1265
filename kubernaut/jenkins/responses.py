"""Answers of a Jenkins: its JSON and consoles as data, and its refusals as errors. Pure.

Fields that are not needed are ignored; a needed field that is missing is an :class:`InvalidResponse`. No error shows the body of an
answer, except the name of a permission: pages contain crumbs and output of plugins.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from kubernaut.adapters.http import RequestError, Response
from kubernaut.errors import JenkinsDenied, JenkinsUnreachable, JobConflict, JobInvalid, JobNotFound, KubernautError
from kubernaut.jenkins import hudson
from kubernaut.jenkins.jobs import JobPath

_PARAMETERS = "actions[parameters[name,value]]"
JOB_TREE = "buildable,property[parameterDefinitions[name]],actions[parameterDefinitions[name]]"
BUILD_TREE = f"number,building,result,queueId,{_PARAMETERS}"
ITEM_TREE = f"id,why,cancelled,executable[number],task[name,url],{_PARAMETERS}"

_STARTING = (b"Please wait while", b"is getting ready to work", b"is restarting")
_LOGIN = re.compile(rb"/login\?from=")
_MISSING_PERMISSION = re.compile(rb"is missing the ([A-Za-z ]{1,40}/[A-Za-z ]{1,40}) permission")
_CREDENTIALS_HINT = "Set `jenkins_user`, and KUBERNAUT_JENKINS_TOKEN or `jenkins_token_file`."
_CRUMB_HINT = "Use an API token, which needs no crumb. With a password, a proxy before Jenkins must keep cookies and headers."
_PROXY_HINT = "Jenkins, or the proxy before it, is not ready. Run the same command again soon; if that lasts, see its log."


# data


@dataclass(frozen=True)
class Job:
    """A job on the server.

    Attributes:
        url: Its page.
        parameters: The names of its parameters, in order.
        buildable: Whether it can run: it is neither disabled nor a folder.
    """

    path: JobPath
    url: str
    parameters: tuple[str, ...]
    buildable: bool


@dataclass(frozen=True)
class Build:
    """A build on the server.

    Attributes:
        url: Its page.
        building: Whether it is running.
        result: ``SUCCESS``, ``UNSTABLE``, ``FAILURE``, ``ABORTED``, ``NOT_BUILT``; ``None`` while unknown.
        parameters: Its values. A server that restarted may have lost them.
        queue_id: The ID of its queue item; ``None`` if the server does not report it.
    """

    number: int
    url: str
    building: bool
    result: str | None
    parameters: Mapping[str, str]
    queue_id: int | None


@dataclass(frozen=True)
class QueueItem:
    """A build that is waiting, or has left the queue.

    Attributes:
        job: The full name of its job.
        why: Why it is waiting, as the server describes it.
        cancelled: Whether it was removed from the queue.
        number: The number of the build that it became.
    """

    id: int
    job: str
    why: str | None
    cancelled: bool
    number: int | None
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class ConsoleChunk:
    r"""A part of a build's console.

    Attributes:
        text: With ``\n`` line ends.
        next: The offset of the next chunk, in bytes of the server's log.
        more: Whether more may follow.
        reset: Whether the log was replaced: this chunk starts at its beginning.
    """

    text: str
    next: int
    more: bool
    reset: bool


class InvalidResponse(Exception):
    """An answer that does not come from a Jenkins."""


def read_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises: InvalidResponse."""
    try:
        content = json.loads(body, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise InvalidResponse from error
    if not isinstance(content, dict):
        raise InvalidResponse
    return content


def read_job(content: Mapping[str, Any], path: JobPath, url: str) -> Job:
    """Read a job; ``url`` is its page."""
    holders = [*_objects(content.get("property")), *_objects(content.get("actions"))]
    declared = next((_objects(holder["parameterDefinitions"]) for holder in holders if holder.get("parameterDefinitions")), ())
    names = tuple(str(entry["name"]) for entry in declared if "name" in entry)
    return Job(path, url, names, content.get("buildable") is True)


def read_build(content: Mapping[str, Any], job_url: str) -> Build:
    """Read a build of a job. Raises: InvalidResponse."""
    number, result = _number(content.get("number")), content.get("result")
    if number is None:
        raise InvalidResponse
    return Build(
        number,
        f"{job_url}{number}/",
        content.get("building") is True,
        result if isinstance(result, str) else None,
        _parameters(content),
        _number(content.get("queueId")),
    )


def read_builds(content: Mapping[str, Any], job_url: str) -> tuple[Build, ...]:
    """Read the builds of a job, newest first. Raises: InvalidResponse."""
    builds = (read_build(entry, job_url) for entry in _objects(content.get("builds")))
    return tuple(sorted(builds, key=lambda build: -build.number))


def read_item(content: Mapping[str, Any], root: str) -> QueueItem:
    """Read a queue item; ``root`` is the URL of the server. Raises: InvalidResponse."""
    id, task, executable = _number(content.get("id")), content.get("task"), content.get("executable")
    if id is None:
        raise InvalidResponse
    return QueueItem(
        id,
        _job_name(task, root) if isinstance(task, dict) else "",
        hudson.waiting_reason(content.get("why")),
        content.get("cancelled") is True,
        _number(executable.get("number")) if isinstance(executable, dict) else None,
        _parameters(content),
    )


def read_items(content: Mapping[str, Any], root: str) -> tuple[QueueItem, ...]:
    """Read the queue. Raises: InvalidResponse."""
    return tuple(read_item(entry, root) for entry in _objects(content.get("items")))


def read_console(body: bytes, headers: Mapping[str, str], start: int) -> ConsoleChunk:
    r"""Read the chunk of a console at an offset. Raises: InvalidResponse.

    Only the server knows the next offset: it replaces ``\n`` with ``\r\n`` and omits annotations. An incomplete character at
    the end is left to the next chunk.
    """
    size = headers.get("X-Text-Size", "")
    if not (size.isascii() and size.isdigit()) or len(size) > 18:
        raise InvalidResponse
    next, more = int(size), headers.get("X-More-Data") == "true"
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(body, final=not more)
    incomplete = len(decoder.getstate()[0])
    return ConsoleChunk(text.replace("\r\n", "\n"), next - incomplete, more, next < start)


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of a repeated key, a value that is not empty wins."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if value or name not in members:
            members[name] = value
    return members


def _objects(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else ()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _parameters(content: Mapping[str, Any]) -> dict[str, str]:
    entries = (entry for action in _objects(content.get("actions")) for entry in _objects(action.get("parameters")))
    return {entry["name"]: _text(entry.get("value")) for entry in entries if isinstance(entry.get("name"), str)}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _job_name(task: Mapping[str, Any], root: str) -> str:
    """Return the full name of a job by its page; the server may know its own address as another one."""
    try:
        path, base = (unquote(urlsplit(str(url)).path) for url in (task.get("url") or "", root))
    except ValueError:
        path, base = "", ""
    below = path.removeprefix(base) if path.startswith(f"{base}/") else path
    segments = below[max(below.find("/job/"), 0) :].strip("/").split("/")
    if len(segments) % 2 == 0 and set(segments[::2]) == {"job"}:
        return "/".join(segments[1::2])
    return str(task.get("name") or "")


# errors


@dataclass(frozen=True)
class Call:
    """A request: the URL of the server, the user or ``None`` for anonymous, and the purpose, such as ``run job shop-release``."""

    url: str
    user: str | None
    purpose: str

    @property
    def who(self) -> str:
        """The user, in a message."""
        return f"user {self.user}" if self.user is not None else "an anonymous user"

    def failed(self, reason: str) -> str:
        """Return the message for a failure of the server."""
        return f"Cannot {self.purpose}: {self.url} {reason}."


def is_crumb_rejected(answer: Response) -> bool:
    """Say whether the server did nothing because the crumb is missing or outdated."""
    return answer.status == 403 and b"No valid crumb" in answer.body


def is_starting(answer: Response) -> bool:
    """Say whether the server is starting or stopping, and did nothing."""
    return answer.status == 503 and any(word in answer.body for word in _STARTING)


def is_login(answer: Response) -> bool:
    """Say whether the server redirects to its login."""
    if answer.redirect_url is not None:
        return bool(re.search(r"/(login|commenceLogin)$", urlsplit(answer.redirect_url).path))
    return answer.status == 403 and bool(_LOGIN.search(answer.body))


def error_for(answer: Response, call: Call) -> KubernautError:
    """Return the error for an unexpected answer."""
    status = answer.status
    if status == 401 or is_login(answer):
        return _login_error(call, status)
    if is_crumb_rejected(answer):
        return JenkinsDenied(call.failed("rejects its own new crumb"), hint=_CRUMB_HINT)
    if status == 403:
        found = _MISSING_PERMISSION.search(answer.body)
        missing = f" without the permission {found[1].decode()}" if found else ""
        return JenkinsDenied(call.failed(f"denies it to {call.who}{missing}"))
    if is_starting(answer):
        return JenkinsUnreachable(call.failed("is starting"), hint="Run the same command again soon.")
    if answer.redirect_url is not None:
        target = urlsplit(answer.redirect_url)
        return JenkinsUnreachable(
            call.failed(f"redirects to {target.scheme}://{target.netloc.rpartition('@')[2]}, which is not followed"),
            hint="If the server has moved there, set `jenkins_url` to the address that a browser shows in the end.",
        )
    if status < 400 or status == 404:
        return not_jenkins(answer, call)
    return JenkinsUnreachable(call.failed(f"answers HTTP {status}"), hint=_PROXY_HINT if status in (502, 503, 504) else None)


def unreachable(error: RequestError, call: Call) -> JenkinsUnreachable:
    """Return the error for a missing answer."""
    return JenkinsUnreachable(call.failed(f"does not answer: {error.reason}"))


def not_jenkins(answer: Response, call: Call) -> JenkinsUnreachable:
    """Return the error for an answer that does not come from a Jenkins."""
    kind = re.match(r"[\w.+-]+/[\w.+-]+", answer.headers.get("Content-Type") or "")
    content = kind[0] if kind else "no content type"
    return JenkinsUnreachable(call.failed(f"does not answer like a Jenkins: HTTP {answer.status}, {content}"))


def job_not_found(path: JobPath, call: Call) -> JobNotFound:
    """Return the error for a job that does not exist, or is hidden from the user."""
    return JobNotFound(f"Job {path} does not exist on {call.url}, or is hidden from {call.who}.")


def creation_error(
    answer: Response, call: Call, path: JobPath, existing: str | None, kind: hudson.ServerKind | None
) -> KubernautError:
    """Return the error for a job that was not created; ``existing`` is the job of that name, in any case."""
    if existing is not None:
        return JobConflict(call.failed(f"already has a job {existing}"))
    if answer.status == 404 and path.folder is not None:
        return JobNotFound(
            f"Folder {path.folder} does not exist on {call.url}, or is hidden from {call.who}.",
            hint="Create the folder first, or choose another with --folder.",
        )
    error = configuration_error(answer, call, path)
    if kind == "hudson" and isinstance(error, JobInvalid) and answer.status >= 500:
        error.hint = hudson.failed_creation_hint(path.name)
    return error


def configuration_error(answer: Response, call: Call, path: JobPath) -> KubernautError:
    """Return the error for a configuration that was not accepted."""
    if answer.status == 404:
        return job_not_found(path, call)
    if answer.status in (400, 409, 413, 500):
        return JobInvalid(
            call.failed(f"rejects its configuration (HTTP {answer.status})"),
            hint="See the log of the server: often a plugin is missing that the configuration uses.",
        )
    return error_for(answer, call)


def trigger_error(answer: Response, call: Call, path: JobPath) -> KubernautError:
    """Return the error for a job that was not triggered."""
    if answer.status == 404:
        return job_not_found(path, call)
    if answer.status == 409:
        return JobInvalid(call.failed("accepts no builds: the job is disabled, or the server accepts none now"))
    if answer.status in (400, 413, 414, 422):
        return JobInvalid(call.failed(f"rejects its parameters (HTTP {answer.status})"))
    return error_for(answer, call)


def _login_error(call: Call, status: int) -> JenkinsDenied:
    if call.user is None:
        return JenkinsDenied(call.failed(f"requires a login (HTTP {status})"), hint=_CREDENTIALS_HINT)
    return JenkinsDenied(
        call.failed(f"does not accept the token of {call.who} (HTTP {status})"),
        hint=f"Create a new API token on the user's page in Jenkins, under Security. {_CREDENTIALS_HINT}",
    )
