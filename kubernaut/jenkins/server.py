"""A Jenkins server, through python-jenkins; the only module that imports it. Each method is one question."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import jenkins

from kubernaut.adapters.http import HttpClient, Request, RequestError, Response, checked_address
from kubernaut.adapters.secret_files import TokenSource, token_from_settings
from kubernaut.errors import JenkinsUnreachable, SettingInvalid
from kubernaut.jenkins import config_xml, hudson, responses
from kubernaut.jenkins.hudson import ServerKind
from kubernaut.jenkins.jobs import JobPath, check_values
from kubernaut.jenkins.responses import Build, Call, ConsoleChunk, Job, QueueItem
from kubernaut.settings import Settings

_MAX_BODY = 64 << 20
_MAX_ERROR_BODY = 1 << 16  # enough of a page to tell one 403 from another
_MAX_BUILDS = 50
_EXAMPLE = "https://ci.example.com"
_ITEM = re.compile(r"/queue/item/([0-9]{1,18})/?$")
_T = TypeVar("_T")


class TriggerUnconfirmed(Exception):
    """The request to run a job may or may not have arrived: there was no answer, or HTTP 5xx."""


class JenkinsServer:
    """A Jenkins. Not thread-safe.

    Every method raises :class:`~kubernaut.errors.JenkinsUnreachable` without an answer of a Jenkins, and
    :class:`~kubernaut.errors.JenkinsDenied` when the user is refused. A rejected crumb is renewed once.

    Args:
        url: The address, without a slash at its end.
        user: The user; anonymous by default.
        token: Returns the user's API token or password.
        timeout: Seconds to wait for an answer.
        plain_http: Whether a host, ``HOST[:PORT]``, may be reached without TLS.

    Raises:
        SettingInvalid: The address or user is invalid, or the address has no TLS.
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
            raise SettingInvalid("The Jenkins user is empty, or contains a colon or unprintable characters.")
        self._user = user
        self._http = HttpClient(timeout=timeout, error_limit=_MAX_ERROR_BODY)
        self._connection = _Connection(self.url, self._http, user, token)

    def kind(self) -> ServerKind:
        """Return the kind of server."""
        call = self._call("detect the kind of server")
        if self._connection.kind is None:
            self._expect(self._get("api/json", call, tree="nodeName"), call)
        if self._connection.kind is None:  # Hudson reports it on its front page only
            answer = self._expect(self._get("", call), call)
            if self._connection.kind is None:
                raise responses.not_jenkins(answer, call)
        return self._connection.kind

    def config(self, path: JobPath) -> str | None:
        """Return the config.xml of a job; ``None`` if the job does not exist."""
        call = self._call(f"read the configuration of job {path}")
        return self._fetch(f"{path.url_path}/config.xml", call, lambda answer: config_xml.decode(answer.body))

    def create(self, path: JobPath, config: str) -> None:
        """Create a job.

        Raises:
            JobConflict: A job of that name exists, in any case.
            JobNotFound: The folder does not exist.
            JobInvalid: The server rejects the configuration.
        """
        folder = f"{path.folder.url_path}/" if path.folder is not None else ""
        call = self._call(f"create job {path}")
        answer = self._configure(f"{folder}createItem?name={quote(path.name, safe='')}", call, path, config)
        if answer.status != 200:
            self._is_absent(answer)
            existing = self._find_sibling(folder, path) if answer.status in (400, 409) else None
            raise responses.creation_error(answer, call, path, existing, self._connection.kind)

    def reconfigure(self, path: JobPath, config: str) -> None:
        """Replace the config.xml of a job.

        Raises:
            JobNotFound: The job does not exist.
            JobInvalid: The server rejects the configuration; the job stays as it was.
        """
        call = self._call(f"change job {path}")
        answer = self._configure(f"{path.url_path}/config.xml", call, path, config)
        if self._is_absent(answer) or answer.status != 200:
            raise responses.configuration_error(answer, call, path)

    def job(self, path: JobPath) -> Job:
        """Return a job. Raises: JobNotFound."""
        call = self._call(f"read job {path}")
        read = partial(responses.read_job, path=path, url=path.page(self.url))
        job = self._fetch_json(f"{path.url_path}/api/json", call, read, responses.JOB_TREE)
        if job is None:
            raise responses.job_not_found(path, call)
        return job

    def trigger(self, path: JobPath, parameters: Mapping[str, str]) -> int | None:
        """Request a build, once. The parameters are sent in the request's body.

        Returns:
            The ID of the queue item; ``None`` if the server does not report it.

        Raises:
            TriggerUnconfirmed: The request may or may not have arrived.
            JobNotFound: The job does not exist.
            JobInvalid: The server rejects the parameters, or the job accepts no builds (409).
        """
        call = self._call(f"run job {path}")
        check_values(path, parameters)
        # A job with parameters has no `build`, and one without has no `buildWithParameters`.
        verb = "buildWithParameters" if parameters or self.job(path).parameters else "build"
        try:
            answer = self._connection.post(f"{path.url_path}/{verb}", call, body=dict(parameters))
        except RequestError as error:
            if error.unsent:
                raise responses.unreachable(error, call) from error
            raise TriggerUnconfirmed(f"{self.url} did not confirm the request to run job {path}: {error.reason}.") from error
        if answer.status >= 500 and not responses.is_starting(answer):
            raise TriggerUnconfirmed(f"{self.url} did not confirm the request to run job {path}: HTTP {answer.status}.")
        target = urlsplit(answer.headers.get("Location") or "").path
        item = _ITEM.search(target) if answer.status < 400 else None
        job_page = answer.status in (302, 303) and hudson.is_job_page(target, path.url_path)
        if self._is_absent(answer) or not (answer.status in (200, 201, 202) or item or job_page):
            raise responses.trigger_error(answer, call, path)
        return int(item[1]) if item else None

    def queue(self, path: JobPath) -> tuple[QueueItem, ...]:
        """Return the queue items of a job."""
        call, read = self._call("read the queue"), partial(responses.read_items, root=self.url)
        content = self._read(self._get("queue/api/json", call, tree=f"items[{responses.ITEM_TREE}]"), call, _json(read))
        return tuple(item for item in content if item.job == str(path))

    def queue_item(self, id: int) -> QueueItem | None:
        """Return a queue item; ``None`` if the server has forgotten it, or keeps none."""
        call, read = self._call(f"read queue item {id}"), partial(responses.read_item, root=self.url)
        return self._fetch_json(f"queue/item/{id}/api/json", call, read, responses.ITEM_TREE)

    def builds(self, path: JobPath) -> tuple[Build, ...]:
        """Return the last builds of a job, newest first. Raises: JobNotFound."""
        call = self._call(f"read the builds of job {path}")
        tree = hudson.builds_tree(self._connection.kind, responses.BUILD_TREE, _MAX_BUILDS)
        builds = self._fetch_json(
            f"{path.url_path}/api/json", call, partial(responses.read_builds, job_url=path.page(self.url)), tree
        )
        if builds is None:
            raise responses.job_not_found(path, call)
        return builds[:_MAX_BUILDS]

    def build(self, path: JobPath, number: int) -> Build | None:
        """Return a build; ``None`` if it does not exist."""
        call = self._call(f"read build {number} of job {path}")
        read = partial(responses.read_build, job_url=path.page(self.url))
        return self._fetch_json(f"{path.url_path}/{number}/api/json", call, read, responses.BUILD_TREE)

    def console(self, path: JobPath, number: int, start: int) -> ConsoleChunk | None:
        """Return the console of a build from an offset in bytes; ``None`` if the build does not exist."""
        call = self._call(f"read the console of build {number} of job {path}")
        where = f"{path.url_path}/{number}/logText/progressiveText"
        return self._fetch(where, call, lambda it: responses.read_console(it.body, it.headers, start), start=str(start))

    def stop(self, path: JobPath, number: int) -> None:
        """Request that a build stops; no effect on one that has ended or does not exist."""
        self._submit(f"{path.url_path}/{number}/stop", f"stop build {number} of job {path}")

    def cancel(self, item: QueueItem) -> None:
        """Remove an item from the queue; no effect on one that has left it."""
        self._submit(hudson.cancel_url(self.kind(), item.id), f"remove a build of {item.job} from the queue")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, purpose: str) -> Call:
        return Call(self.url, self._user, purpose)

    def _get(self, where: str, call: Call, **query: str) -> Response:
        try:
            return self._connection.get(where, query)
        except RequestError as error:
            raise responses.unreachable(error, call) from error

    def _post(self, where: str, call: Call, body: bytes | None = None) -> Response:
        try:
            return self._connection.post(where, call, body=body)
        except RequestError as error:
            raise responses.unreachable(error, call) from error

    def _expect(self, answer: Response, call: Call) -> Response:
        if answer.status != 200:
            raise responses.error_for(answer, call)
        return answer

    def _read(self, answer: Response, call: Call, read: Callable[[Response], _T]) -> _T:
        try:
            return read(self._expect(answer, call))
        except responses.InvalidResponse as error:
            raise responses.not_jenkins(answer, call) from error

    def _fetch(self, where: str, call: Call, read: Callable[[Response], _T], **query: str) -> _T | None:
        answer = self._get(where, call, **query)
        return None if self._is_absent(answer) else self._read(answer, call, read)

    def _fetch_json(self, where: str, call: Call, read: Callable[[Mapping[str, Any]], _T], tree: str) -> _T | None:
        return self._fetch(where, call, _json(read), tree=tree)

    def _is_absent(self, answer: Response) -> bool:
        """Say whether a Jenkins answered 404; any server does, so it must prove to be one. Raises: JenkinsUnreachable."""
        if answer.status == 404:
            self.kind()
        return answer.status == 404

    def _submit(self, where: str, purpose: str) -> None:
        call = self._call(purpose)
        answer = self._post(where, call)
        # Success redirects to some page; a redirect to the login, or to the same path on another server, is a failure.
        elsewhere = urlsplit(answer.redirect_url or "").path != urlsplit(answer.url).path and not responses.is_login(answer)
        if not (self._is_absent(answer) or answer.status in (200, 201, 204) or (answer.status in (302, 303) and elsewhere)):
            raise responses.error_for(answer, call)

    def _configure(self, where: str, call: Call, path: JobPath, config: str) -> Response:
        root, body = config_xml.encode(path, config)
        if root != config_xml.ROOT_TAGS["freestyle"] and self.kind() == "hudson":
            raise hudson.unsupported_job(str(path), self.url)
        return self._post(where, call, body)

    def _find_sibling(self, folder: str, path: JobPath) -> str | None:
        call = self._call(f"read the jobs beside {path}")
        content = self._read(self._get(f"{folder}api/json", call, tree="jobs[name]"), call, _json(dict))
        names = (str(job.get("name")) for job in content.get("jobs") or () if isinstance(job, dict))
        return next((name for name in names if name.casefold() == path.name.casefold()), None)


def _json(read: Callable[[Mapping[str, Any]], _T]) -> Callable[[Response], _T]:
    return lambda answer: read(responses.read_object(answer.body))


def open_server(settings: Settings) -> JenkinsServer:
    """Return the Jenkins of the settings. Raises: SettingInvalid: The URL, or one of user and token, is missing."""
    if settings.jenkins_url is None:
        raise SettingInvalid("The URL of Jenkins is not set.", hint=f"Use --url, or set KUBERNAUT_JENKINS_URL={_EXAMPLE}.")
    token = token_from_settings(settings, "KUBERNAUT_JENKINS_TOKEN", settings.jenkins_token_file)
    user = settings.jenkins_user
    if (user is None) != (token() is None):
        missing = "user" if user is None else f"token of user {user}"
        raise SettingInvalid(
            f"The {missing} for Jenkins ({settings.jenkins_url}) is not set.",
            hint="Set `jenkins_user`, and KUBERNAUT_JENKINS_TOKEN or `jenkins_token_file`: an API token, or a password.",
        )
    return JenkinsServer(settings.jenkins_url, user=user, token=token, plain_http=settings.uses_plain_http)


@dataclass(frozen=True)
class _TextResponse:
    """An answer in the form that python-jenkins expects."""

    answer: Response

    @property
    def text(self) -> str:
        return self.answer.body.decode("utf-8", "replace")


class _StatusError(jenkins.JenkinsException):  # type: ignore[misc]  # python-jenkins has no types
    """A status other than 200 and 404."""

    def __init__(self, answer: Response) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class _Connection(jenkins.Jenkins):  # type: ignore[misc]
    """python-jenkins over :class:`HttpClient`, with its limits of size and time and without redirects.

    Its ``__init__`` is not called on purpose: it logs headers from JENKINS_API_EXTRA_HEADERS, lets PYTHONHTTPSVERIFY=0 disable the
    check of certificates, and opens a session that follows redirects with the credentials.
    """

    def __init__(self, url: str, http: HttpClient, user: str | None, token: TokenSource) -> None:
        self.server = f"{url}/"
        self._auth_resolved = True  # see _request
        self.crumb: Any = None
        self.kind: ServerKind | None = None
        self._http, self._user, self._token = http, user, token

    def get(self, where: str, query: Mapping[str, str]) -> Response:
        """Send a GET. Raises: RequestError."""
        return self._request(Request("GET", self.server + where, params=dict(query))).answer

    def post(self, where: str, call: Call, *, body: bytes | dict[str, str] | None) -> Response:
        """Send a POST; again with a new crumb after a rejected one, which has no effect. Raises: RequestError."""
        headers = {"Content-Type": "text/xml; charset=utf-8"} if isinstance(body, bytes) else {}
        for _ in range(2):
            request = Request("POST", self.server + where, data=body, headers=dict(headers))
            self._add_crumb(request, call)
            answer = self._request(request).answer
            if not responses.is_crumb_rejected(answer):
                break
            self.crumb = None  # or python-jenkins keeps it
        return answer

    def _add_crumb(self, request: Request, call: Call) -> None:
        """Add the crumb; its failures are errors of their own, as the request was not sent."""
        try:
            self.maybe_add_crumb(request)
        except RequestError as error:
            raise responses.unreachable(error, call) from error
        except _StatusError as error:
            raise responses.error_for(error.answer, call) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self.crumb = None
            raise JenkinsUnreachable(call.failed("returns an invalid crumb")) from error

    # python-jenkins calls the methods below to fetch the crumb.

    def _request(self, req: Request, stream: bool | None = None) -> _TextResponse:  # noqa: ARG002 - the signature of python-jenkins
        headers = {str(name): str(value) for name, value in req.headers.items()}
        secret = self._token()
        if self._user is not None and secret is not None:
            headers["Authorization"] = "Basic " + b64encode(f"{self._user}:{secret}".encode()).decode()
        query, body = req.params or None, req.data or None
        answer = self._http.send(req.method, req.url, limit=_MAX_BODY, headers=headers, query=query, body=body)
        self.kind = self.kind or hudson.kind_of_response(answer.headers)
        return _TextResponse(answer)

    def _response_handler(self, response: _TextResponse) -> _TextResponse:
        if response.answer.status == 404:
            raise jenkins.NotFoundException
        if response.answer.status != 200:
            raise _StatusError(response.answer)
        return response
