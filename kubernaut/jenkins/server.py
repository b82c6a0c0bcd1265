"""A Jenkins server, through python-jenkins; the only file that imports it.

One question and its answer each. What is asked when, and what it means, is for ``setup`` and ``run`` to say.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit

import jenkins

from kubernaut.adapters.http import HttpClient, Request, RequestError, Response, checked_address
from kubernaut.adapters.secret_files import TokenSource, token_from_settings
from kubernaut.errors import JenkinsUnreachable, JobInvalid, SettingInvalid
from kubernaut.jenkins import refusals
from kubernaut.jenkins.path import JobPath
from kubernaut.jenkins.responses import (
    BUILD_TREE,
    ITEM_TREE,
    JOB_TREE,
    Build,
    Console,
    Job,
    NotUnderstood,
    QueueItem,
    read_build,
    read_builds,
    read_console,
    read_item,
    read_items,
    read_job,
    read_object,
)
from kubernaut.jenkins.sending import as_sent, checked_values, read_config
from kubernaut.settings import Settings

__all__ = ["Build", "Console", "Job", "QueueItem", "Server", "TriggerUnsure", "open_server"]

_LIMIT = 64 << 20
_REFUSAL = 1 << 16  # what tells one 403 from another stands in a page of its own
_LAST = 50
_EXAMPLE = "https://ci.example.com"
_ITEM = re.compile(r"/queue/item/([0-9]{1,18})/?$")
_T = TypeVar("_T")


class TriggerUnsure(Exception):
    """The server was asked to run a job, and nobody knows whether it heard: there was no answer, or a server's that stumbles."""


class Server:
    """A Jenkins; not to be used by two threads at once.

    Every method raises :class:`~kubernaut.errors.JenkinsUnreachable` when there is no answer, or none of a Jenkins, and
    :class:`~kubernaut.errors.JenkinsDenied` when it refuses this user. A crumb that is refused is renewed once.

    Args:
        url: Where it is, without a slash at its end.
        user: Who asks; nobody in particular by default.
        token: Says what the user's API token or password is.
        timeout: Seconds to wait for an answer.
        plain_http: Says of a host, ``HOST[:PORT]``, whether it may be spoken to without TLS.

    Raises:
        SettingInvalid: The address is none, or what is sent there could be read on the way.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        token: TokenSource = lambda: None,
        timeout: float = 30.0,
        plain_http: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.url = checked_address(url, plain_http, example=_EXAMPLE, server="Jenkins")
        if user is not None and (":" in user or not user.isprintable() or not user):
            raise SettingInvalid("The name of Jenkins' user has a colon or what cannot be printed, or is empty.")
        self._user = user
        self._http = HttpClient(timeout=timeout, error_limit=_REFUSAL)
        self._connection = _Connection(self.url, self._http, user, token)

    def kind(self) -> Literal["jenkins", "hudson"]:
        """Return what the server is: Jenkins, or Hudson, from which it was forked and which knows freestyle jobs only."""
        if self._connection.kind is None:
            self._expect(self._get("api/json", "say what it is", tree="nodeName"), "say what it is")
        if self._connection.kind is None:  # Hudson says it on its front page only
            answer = self._expect(self._get("", "say what it is"), "say what it is")
            if "X-Hudson" not in answer.headers:
                raise refusals.no_jenkins(answer, self._question("say what it is"))
            self._connection.kind = "hudson"
        return self._connection.kind

    def config(self, path: JobPath) -> str | None:
        """Return a job's config.xml as the server has it; ``None`` where there is no such job."""
        to = f"read the configuration of the job {path}"
        answer = self._get(f"{path.url_path}/config.xml", to)
        return None if self._absent(answer) else self._read(answer, to, lambda answer: read_config(answer.body))

    def create(self, path: JobPath, config: str) -> None:
        """Make a job.

        Raises:
            JobConflict: There is one of that name, in whatever case.
            JobNotFound: There is no such folder.
            JobInvalid: The server refuses the configuration.
        """
        folder = JobPath(path.segments[:-1]).url_path + "/" if len(path.segments) > 1 else ""
        to = f"make the job {path}"
        answer = self._configure(f"{folder}createItem?name={quote(path.name, safe='')}", to, path, config)
        if answer.status != 200:
            self._absent(answer)
            there = self._taken(folder, path) if answer.status in (400, 409) else None
            raise refusals.creation(answer, self._question(to), path, there, hudson=self._connection.kind == "hudson")

    def reconfigure(self, path: JobPath, config: str) -> None:
        """Replace a job's config.xml.

        Raises:
            JobNotFound: There is no such job.
            JobInvalid: The server refuses the configuration; the job stays as it was.
        """
        to = f"change the job {path}"
        answer = self._configure(f"{path.url_path}/config.xml", to, path, config)
        if self._absent(answer) or answer.status != 200:
            raise refusals.configuration(answer, self._question(to), path)

    def job(self, path: JobPath) -> Job:
        """Return a job. Raises: JobNotFound."""
        to = f"read the job {path}"
        answer = self._get(f"{path.url_path}/api/json", to, tree=JOB_TREE)
        if self._absent(answer):
            raise refusals.no_job(path, self._question(to))
        return self._read(answer, to, lambda answer: read_job(read_object(answer.body), path, self._page(path)))

    def trigger(self, path: JobPath, parameters: Mapping[str, str]) -> int | None:
        """Ask for a build, once; the parameters go in the request's body.

        Returns:
            The queue item's id, where the server tells it.

        Raises:
            TriggerUnsure: The request may or may not have been heard.
            JobNotFound: There is no such job.
            JobInvalid: The server refuses what it is given, or the job takes no builds (409).
        """
        to = f"run the job {path}"
        checked_values(path, parameters)
        # A job that declares parameters has no `build`, and one that declares none has no `buildWithParameters`.
        verb = "buildWithParameters" if parameters or self.job(path).parameters else "build"
        try:
            answer = self._connection.post(f"{path.url_path}/{verb}", self._question(to), body=dict(parameters))
        except RequestError as error:
            if error.unsent:
                raise refusals.no_answer(error, self._question(to)) from error
            raise TriggerUnsure(f"{self.url} was asked to {to}, and whether it heard is not known: {error.reason}.") from error
        if answer.status >= 500 and not refusals.is_starting(answer):
            raise TriggerUnsure(f"{self.url} was asked to {to}, and answers HTTP {answer.status}.")
        target = urlsplit(answer.headers.get("Location") or "").path
        item = _ITEM.search(target) if answer.status < 400 else None
        # Hudson, and Jenkins for a while, show the job's page in place of the queue item.
        shown = answer.status in (302, 303) and unquote(target).rstrip("/").endswith(f"/{unquote(path.url_path)}")
        if self._absent(answer) or not (answer.status in (200, 201, 202) or item or shown):
            raise refusals.running(answer, self._question(to), path)
        return int(item[1]) if item else None

    def queue(self, path: JobPath) -> tuple[QueueItem, ...]:
        """Return what waits of a job."""
        to = "read its queue"
        answer = self._get("queue/api/json", to, tree=f"items[{ITEM_TREE}]")
        items = self._read(answer, to, lambda answer: read_items(read_object(answer.body), self.url))
        return tuple(item for item in items if item.job == str(path))

    def queue_item(self, id: int) -> QueueItem | None:
        """Return a queue item; ``None`` where the server has forgotten it, or keeps none."""
        to = f"read the item {id} of its queue"
        answer = self._get(f"queue/item/{id}/api/json", to, tree=ITEM_TREE)
        if self._absent(answer):
            return None
        return self._read(answer, to, lambda answer: read_item(read_object(answer.body), self.url))

    def builds(self, path: JobPath) -> tuple[Build, ...]:
        """Return a job's last builds, newest first. Raises: JobNotFound."""
        to = f"read the builds of the job {path}"
        # Hudson knows no ranges; it keeps as many builds as the job says.
        some = f"{{0,{_LAST}}}" if self._connection.kind == "jenkins" else ""
        answer = self._get(f"{path.url_path}/api/json", to, tree=f"builds[{BUILD_TREE}]{some}")
        if self._absent(answer):
            raise refusals.no_job(path, self._question(to))
        return self._read(answer, to, lambda answer: read_builds(read_object(answer.body), self._page(path)))[:_LAST]

    def build(self, path: JobPath, number: int) -> Build | None:
        """Return a build; ``None`` where there is none."""
        to = f"read the build {number} of the job {path}"
        answer = self._get(f"{path.url_path}/{number}/api/json", to, tree=BUILD_TREE)
        if self._absent(answer):
            return None
        return self._read(answer, to, lambda answer: read_build(read_object(answer.body), self._page(path)))

    def console(self, path: JobPath, number: int, start: int) -> Console | None:
        """Return what a build says from a byte on; ``None`` where there is no such build."""
        to = f"read the console of the build {number} of the job {path}"
        answer = self._get(f"{path.url_path}/{number}/logText/progressiveText", to, start=str(start))
        return None if self._absent(answer) else self._read(answer, to, lambda it: read_console(it.body, it.headers, start))

    def stop(self, path: JobPath, number: int) -> None:
        """Ask for a build to be stopped; one that has ended, or is not there, stays as it is."""
        self._do(f"{path.url_path}/{number}/stop", f"stop the build {number} of the job {path}")

    def cancel(self, item: QueueItem) -> None:
        """Take an item out of the queue; one that has left it stays as it is."""
        where = f"queue/cancelItem?id={item.id}" if self.kind() == "jenkins" else f"queue/item/{item.id}/cancelQueue"
        self._do(where, f"take a build of {item.job} out of its queue")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _question(self, to: str) -> refusals.Question:
        return refusals.Question(self.url, self._user, to)

    def _page(self, path: JobPath) -> str:
        return f"{self.url}/{path.url_path}/"

    def _get(self, where: str, to: str, **query: str) -> Response:
        try:
            return self._connection.get(where, query)
        except RequestError as error:
            raise refusals.no_answer(error, self._question(to)) from error

    def _post(self, where: str, to: str, body: bytes | None = None) -> Response:
        try:
            return self._connection.post(where, self._question(to), body=body)
        except RequestError as error:
            raise refusals.no_answer(error, self._question(to)) from error

    def _expect(self, answer: Response, to: str) -> Response:
        if answer.status != 200:
            raise refusals.refusal(answer, self._question(to))
        return answer

    def _read(self, answer: Response, to: str, read: Callable[[Response], _T]) -> _T:
        try:
            return read(self._expect(answer, to))
        except NotUnderstood as error:
            raise refusals.no_jenkins(answer, self._question(to)) from error

    def _absent(self, answer: Response) -> bool:
        """Say whether there is nothing; what is no Jenkins has nothing anywhere. Raises: JenkinsUnreachable."""
        if answer.status == 404:
            self.kind()
        return answer.status == 404

    def _do(self, where: str, to: str) -> None:
        answer = self._post(where, to)
        # What is done is answered with the way to some page; a way to a login, or to the same request elsewhere, is no answer.
        elsewhere = urlsplit(answer.redirect_url or "").path != urlsplit(answer.url).path and not refusals.wants_login(answer)
        if not (self._absent(answer) or answer.status in (200, 201, 204) or (answer.status in (302, 303) and elsewhere)):
            raise refusals.refusal(answer, self._question(to))

    def _configure(self, where: str, to: str, path: JobPath, config: str) -> Response:
        root, body = as_sent(path, config)
        if root != "project" and self.kind() == "hudson":
            raise JobInvalid(
                f"{self.url} is a Hudson: it knows freestyle jobs only, and the job {path} is none.",
                hint="Make it with --flavour freestyle.",
            )
        return self._post(where, to, body)

    def _taken(self, folder: str, path: JobPath) -> str | None:
        to = f"read which jobs are beside {path}"
        content = self._read(self._get(f"{folder}api/json", to, tree="jobs[name]"), to, lambda answer: read_object(answer.body))
        names = (str(job.get("name")) for job in content.get("jobs") or () if isinstance(job, dict))
        return next((name for name in names if name.casefold() == path.name.casefold()), None)


def open_server(settings: Settings) -> Server:
    """Return the Jenkins of the settings. Raises: SettingInvalid: None is set, or not with what it takes."""
    if settings.jenkins_url is None:
        raise SettingInvalid("No Jenkins is set.", hint=f"Name it with --url, or KUBERNAUT_JENKINS_URL={_EXAMPLE}.")
    token = token_from_settings(settings, "KUBERNAUT_JENKINS_TOKEN", settings.jenkins_token_file)
    user = settings.jenkins_user
    if (user is None) != (token() is None):
        missing = "the user whose it is" if user is None else f"the token of the user {user}"
        raise SettingInvalid(
            f"For Jenkins ({settings.jenkins_url}) {missing} is not set.",
            hint="Set `jenkins_user`, and KUBERNAUT_JENKINS_TOKEN or `jenkins_token_file`: an API token, or a password.",
        )
    return Server(settings.jenkins_url, user=user, token=token, plain_http=settings.speaks_plain_http)


@dataclass(frozen=True)
class _Heard:
    """An answer, as python-jenkins wants to have it."""

    answer: Response

    @property
    def text(self) -> str:
        return self.answer.body.decode("utf-8", "replace")


class _RefusedError(jenkins.JenkinsException):  # type: ignore[misc]  # python-jenkins has no types
    """What the server answers is another status than 200 and 404."""

    def __init__(self, answer: Response) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class _Connection(jenkins.Jenkins):  # type: ignore[misc]
    """python-jenkins, sending through our own :class:`HttpClient`: held to a size and a time, and sent on to nowhere.

    Its own ``__init__`` is passed by on purpose: it takes headers from JENKINS_API_EXTRA_HEADERS and logs them, lets
    PYTHONHTTPSVERIFY=0 turn the look at certificates off, and opens a session that follows redirects with the credentials.
    """

    def __init__(self, url: str, http: HttpClient, user: str | None, token: TokenSource) -> None:
        self.server = f"{url}/"
        self._auth_resolved = True  # see _request
        self.crumb: Any = None
        self.kind: Literal["jenkins", "hudson"] | None = None
        self._http = http
        self._user = user
        self._token = token

    def get(self, where: str, query: Mapping[str, str]) -> Response:
        """Read something. Raises: RequestError."""
        return self._answer(Request("GET", self.server + where, params=dict(query)))

    def post(self, where: str, question: refusals.Question, *, body: bytes | dict[str, str] | None) -> Response:
        """Ask for something to be done. A crumb that is refused is renewed once: nothing was done. Raises: RequestError."""
        headers = {"Content-Type": "text/xml; charset=utf-8"} if isinstance(body, bytes) else {}
        for _ in range(2):
            request = Request("POST", self.server + where, data=body, headers=dict(headers))
            self._add_crumb(request, question)
            answer = self._answer(request)
            if not refusals.refuses_crumb(answer):
                break
            self.crumb = None  # else it is kept for ever
        return answer

    def _add_crumb(self, request: Request, question: refusals.Question) -> None:
        """Add the crumb, and tell a failure of that from one of the request itself, which then was not sent."""
        try:
            self.maybe_add_crumb(request)
        except RequestError as error:
            raise refusals.no_answer(error, question) from error
        except _RefusedError as error:
            raise refusals.refusal(error.answer, question) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self.crumb = None
            raise JenkinsUnreachable(f"{question.url} gives a crumb like no Jenkins (asked to {question.to}).") from error

    def _answer(self, request: Request) -> Response:
        return self._request(request).answer

    # What python-jenkins calls when it asks for the crumb.

    def _request(self, req: Request, stream: bool | None = None) -> _Heard:  # noqa: ARG002 - as it is called
        headers = {str(name): str(value) for name, value in req.headers.items()}
        secret = self._token()
        if self._user is not None and secret is not None:
            headers["Authorization"] = "Basic " + b64encode(f"{self._user}:{secret}".encode()).decode()
        answer = self._http.send(
            req.method, req.url, limit=_LIMIT, headers=headers, query=req.params or None, body=req.data or None
        )
        if "X-Jenkins" in answer.headers:
            self.kind = "jenkins"
        return _Heard(answer)

    def _response_handler(self, response: _Heard) -> _Heard:
        if response.answer.status == 404:
            raise jenkins.NotFoundException
        if response.answer.status != 200:
            raise _RefusedError(response.answer)
        return response
