"""What a Jenkins' refusal means, in the words of who asked.

Pure. Nothing of an answer's body gets into a message but the name of a permission: its pages hold crumbs, and what plugins
like to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubernaut.adapters.http import RequestError, Response
from kubernaut.errors import JenkinsDenied, JenkinsUnreachable, JobConflict, JobInvalid, JobNotFound, KubernautError
from kubernaut.jenkins.path import JobPath

_STARTING = (b"Please wait while", b"is getting ready to work", b"is restarting")
_LOGIN = re.compile(rb"/login\?from=")
_LACKS = re.compile(rb"is missing the ([A-Za-z ]{1,40}/[A-Za-z ]{1,40}) permission")
_BY_HAND = "Name the user (`jenkins_user`), and have the token in KUBERNAUT_JENKINS_TOKEN or in a file (`jenkins_token_file`)."
_CRUMB = "An API token needs no crumb, as a password does. Else what stands before Jenkins drops its cookies or headers."


@dataclass(frozen=True)
class Question:
    """Who asks whom for what.

    Attributes:
        url: The server's address.
        user: Who asks; ``None`` is nobody in particular.
        to: What is to be done, such as ``run the job shop-release``.
    """

    url: str
    user: str | None
    to: str


def refuses_crumb(answer: Response) -> bool:
    """Say whether the server did nothing because the request's crumb is missing or out of date."""
    return answer.status == 403 and b"No valid crumb" in answer.body


def is_starting(answer: Response) -> bool:
    """Say whether the server tells that it starts or ends, and so has done nothing."""
    return answer.status == 503 and any(word in answer.body for word in _STARTING)


def wants_login(answer: Response) -> bool:
    """Say whether the server shows the way to its login in place of what it was asked for."""
    if answer.redirect_url is not None:
        return bool(re.search(r"/(login|commenceLogin)$", urlsplit(answer.redirect_url).path))
    return answer.status == 403 and bool(_LOGIN.search(answer.body))


def refusal(answer: Response, question: Question) -> KubernautError:
    """Return what an answer means that is none of those one hoped for."""
    url, status = question.url, answer.status
    if status == 401 or wants_login(answer):
        return _unknown(question, status)
    if refuses_crumb(answer):
        return JenkinsDenied(f"{url} refuses the crumb that it gave just before (asked to {question.to}).", hint=_CRUMB)
    if status == 403:
        return _lacking(question, answer)
    if is_starting(answer):
        return JenkinsUnreachable(f"{url} is starting and not ready yet (asked to {question.to}).", hint="Run the same again soon.")
    if answer.redirect_url is not None:
        return _sent_on(answer, question)
    if status < 400 or status == 404:
        return no_jenkins(answer, question)
    return JenkinsUnreachable(f"{url} answers HTTP {status} (asked to {question.to}).", hint=_HINTS.get(status))


def no_answer(error: RequestError, question: Question) -> JenkinsUnreachable:
    """Return what it means that there is no answer."""
    return JenkinsUnreachable(f"{question.url} does not answer: {error.reason} (asked to {question.to}).")


def no_jenkins(answer: Response, question: Question) -> JenkinsUnreachable:
    """Return what an answer means that no Jenkins gives."""
    kind = re.match(r"[\w.+-]+/[\w.+-]+", answer.headers.get("Content-Type") or "")
    what = f"HTTP {answer.status} and {kind[0] if kind else 'nothing that says what it is'}"
    return JenkinsUnreachable(f"{question.url} answers like no Jenkins: {what} (asked to {question.to}).")


def no_job(path: JobPath, question: Question) -> JobNotFound:
    """Return the failure of a job that is not there, or not for this user's eyes."""
    return JobNotFound(f"{question.url} has no job {path}, or does not show it to {_who(question)}.")


def creation(answer: Response, question: Question, path: JobPath, there: str | None, *, hudson: bool) -> KubernautError:
    """Return why a job could not be made.

    Args:
        answer: The server's.
        question: Who asked.
        path: The job.
        there: The name of the job that is there already.
        hudson: Whether the server is one.
    """
    if there is not None:
        return JobConflict(f"{question.url} has a job {there} already, so {path} cannot be made.")
    folder = "/".join(path.segments[:-1])
    if answer.status == 404 and folder:
        return JobNotFound(
            f"{question.url} has no folder {folder}, or does not show it to {_who(question)}.",
            hint="Make the folder first, or name another with --folder.",
        )
    refused = configuration(answer, question, path)
    if hudson and isinstance(refused, JobInvalid) and answer.status >= 500:
        refused.hint = f"Remove the folder jobs/{path.name} in the server's home by hand: with that it does not start again."
    return refused


def configuration(answer: Response, question: Question, path: JobPath) -> KubernautError:
    """Return why a configuration was not taken."""
    if answer.status == 404:
        return no_job(path, question)
    if answer.status in (400, 409, 413, 500):
        return JobInvalid(
            f"{question.url} refuses the configuration of the job {path} (HTTP {answer.status}).",
            hint="The server's log says why: often a plugin is missing that the configuration names.",
        )
    return refusal(answer, question)


def running(answer: Response, question: Question, path: JobPath) -> KubernautError:
    """Return why a job does not run."""
    if answer.status == 404:
        return no_job(path, question)
    if answer.status == 409:
        return JobInvalid(f"The job {path} on {question.url} takes no builds: it is disabled, or the server takes none now.")
    if answer.status in (400, 413, 414, 422):
        return JobInvalid(f"{question.url} refuses what the job {path} was given (HTTP {answer.status}).")
    return refusal(answer, question)


_HINTS = {
    502: "What stands before Jenkins does not reach it; run the same again soon.",
    503: "Jenkins, or what stands before it, is not ready; its log says why if that lasts.",
    504: "What stands before Jenkins had no answer from it in time; run the same again soon.",
}


def _who(question: Question) -> str:
    return f"the user {question.user}" if question.user is not None else "who gives no name"


def _unknown(question: Question, status: int) -> JenkinsDenied:
    if question.user is None:
        return JenkinsDenied(f"{question.url} wants a login (HTTP {status}; asked to {question.to}).", hint=_BY_HAND)
    return JenkinsDenied(
        f"{question.url} does not know the user {question.user} with this token (HTTP {status}; asked to {question.to}).",
        hint=f"A token may have been revoked: a new one is made on the user's page in Jenkins, under Security. {_BY_HAND}",
    )


def _lacking(question: Question, answer: Response) -> JenkinsDenied:
    found = _LACKS.search(answer.body)
    lacks = f": it takes the permission {found[1].decode()}" if found else ""
    return JenkinsDenied(f"{question.url} does not let {_who(question)} {question.to}{lacks}.")


def _sent_on(answer: Response, question: Question) -> JenkinsUnreachable:
    target = urlsplit(answer.redirect_url or "")
    host = target.netloc.rpartition("@")[2]
    return JenkinsUnreachable(
        f"{question.url} sends us on to {target.scheme}://{host}; not followed (asked to {question.to}).",
        hint="Set `jenkins_url` to the address itself, as a browser shows it in the end, if it is the server's.",
    )
