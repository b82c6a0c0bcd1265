"""The two jobs of an application, as data: what each is called, takes and does. Pure; what a server calls it is in ``rendering``.

*Release* makes a published version of a commit, and hands it to *Deploy* where a namespace is given. Deploy puts a version into a
namespace. Both come in two flavours: a Pipeline, whose Jenkinsfile lies in the application's repository, and a freestyle job with
one shell step, for a server that has no Pipelines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.freestyle import deploy_script, release_script
from kubernaut.jenkins.path import JobPath
from kubernaut.names import check_name, check_namespace

Flavour = Literal["pipeline", "freestyle"]
Kind = Literal["release", "deploy"]
ServerKind = Literal["jenkins", "hudson"]

RELEASE_NAMESPACE = "where the version is deployed first; empty: nowhere"
APP_DIR = "the application's folder in the repository"
GIT_COMMIT = "the commit to release; empty: the newest of the branch"
OP_ID = "names this request; a build of the same name is not started twice"
VERSION = "the published version"
DEPLOY_NAMESPACE = "where to"
ENVIRONMENT = "whose packaged values; empty: those of the namespace's name"
NOTE = "a line for the history: why"

ARTIFACTS: dict[Kind, str] = {"release": "release.json", "deploy": "deployed.json"}
_DOES: dict[Kind, str] = {
    "release": "a commit becomes a published version",
    "deploy": "a published version becomes a release in a namespace",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BRANCH = re.compile(r"(?![/.-])(?!.*(?:\.\.|//|@\{|/\.))(?!.*(?:\.lock|[/.])$)[^\s\x00-\x20\x7f~^:?*\[\\]+")
_REPOSITORY = re.compile(r"(?![-.])[^\s\x00-\x1f\x7f]+")
_CREDENTIALS = re.compile(r"[A-Za-z0-9_.@-]+")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a job, a string; ``default`` is what it is when nobody says."""

    name: str
    description: str
    default: str = ""


@dataclass(frozen=True)
class Wish:
    """What somebody wants jobs for.

    Attributes:
        application: Its name; the jobs are called after it.
        repository: The git repository, without credentials.
        branch: Of which a push makes a version.
        directory: The application's folder in the repository, ``.`` for its top.
        flavour: What kind of jobs the server gets; by default what suits it.
        namespace: Where each new version goes first; nowhere by default.
        folder: The folder on the server that the jobs are in, ``team`` or ``team/shop``; none by default.
        credentials_id: How the server's credential for the repository is called; for a Pipeline, whose checkout Jenkins does.
        jenkinsfiles: The folder in the repository with ``release/Jenkinsfile`` and ``deploy/Jenkinsfile``.
    """

    application: str
    repository: str
    branch: str
    directory: str
    flavour: Flavour | None = None
    namespace: str = ""
    folder: str = ""
    credentials_id: str | None = None
    jenkinsfiles: str = "jenkins"


@dataclass(frozen=True)
class Shell:
    """What a freestyle job does: a script, of which one line tells that it is ours."""

    script: str
    mark: str


@dataclass(frozen=True)
class FromScm:
    """What a Pipeline does: a Jenkinsfile in a repository."""

    repository: str
    branch: str
    script_path: str
    credentials_id: str | None


@dataclass(frozen=True)
class WantedJob:
    """A job as it is to be: its own settings; whatever else an administrator adds to it is his.

    Attributes:
        application: Whose job it is.
        mark: The line of its description that says so.
        parameters: By name; a job may have others beside them.
        artifact: What a freestyle build archives; a Jenkinsfile does that itself.
        server: What kind of server it is for.
    """

    path: JobPath
    application: str
    mark: str
    parameters: tuple[Parameter, ...]
    work: Shell | FromScm
    artifact: str
    server: ServerKind = "jenkins"

    @property
    def flavour(self) -> Flavour:
        """Which of the two kinds of jobs it is on the server."""
        return "freestyle" if isinstance(self.work, Shell) else "pipeline"


def release_parameters(flavour: Flavour, *, namespace: str = "", directory: str = ".") -> tuple[Parameter, ...]:
    """Return what Release takes."""
    which = Parameter("APP_DIR", APP_DIR, directory) if flavour == "pipeline" else Parameter("GIT_COMMIT", GIT_COMMIT)
    return (Parameter("NAMESPACE", RELEASE_NAMESPACE, namespace), which, Parameter("OP_ID", OP_ID))


def deploy_parameters() -> tuple[Parameter, ...]:
    """Return what Deploy takes."""
    return (
        Parameter("VERSION", VERSION),
        Parameter("NAMESPACE", DEPLOY_NAMESPACE),
        Parameter("ENVIRONMENT", ENVIRONMENT),
        Parameter("NOTE", NOTE),
        Parameter("OP_ID", OP_ID),
    )


def job_path(application: str, kind: Kind, folder: str = "") -> JobPath:
    """Return where an application's job is. Raises: JobInvalid: The folder's name is none."""
    return JobPath.parse(f"{folder}/{application}-{kind}" if folder else f"{application}-{kind}")


def wanted_jobs(wish: Wish, server: ServerKind) -> tuple[WantedJob, WantedJob]:
    """Return the Release and the Deploy job of a wish, as they are on a server of that kind.

    Raises:
        NameInvalid: The application's name or the namespace's is none.
        JobInvalid: Something else of the wish cannot stand in a job, or the server has no such jobs.
    """
    flavour = choose_flavour(server, wish.flavour)
    _check(wish, flavour)
    return _wanted(wish, "release", flavour, server), _wanted(wish, "deploy", flavour, server)


def choose_flavour(server: ServerKind, asked: Flavour | None) -> Flavour:
    """Return which kind of jobs a server gets: Pipelines, and freestyle jobs where it has no Pipelines.

    Raises:
        JobInvalid: Pipelines are asked for, and the server is one that they would wreck.
    """
    if server == "hudson" and asked == "pipeline":
        raise JobInvalid(
            "The server is a Hudson, which has no Pipelines; one that is sent there keeps it from starting again.",
            hint="Leave --flavour out, or say --flavour freestyle.",
        )
    return asked or ("freestyle" if server == "hudson" else "pipeline")


def mark_of(application: str, does: str = "") -> str:
    """Return the line of a description by which a job is known as ours; without ``does``, what it begins with."""
    begin = f"Made by kubernaut for the application {application}:"
    return f"{begin} {does}. What is changed in its own settings is put back by the next setup." if does else begin


def check_credential_free(repository: str) -> None:
    """Refuse a repository's URL that holds a password or a token: whoever may read a job would read it too.

    Raises:
        JobInvalid: It does.
    """
    if "://" not in repository:
        return
    try:
        parts = urlsplit(repository)
        secret = parts.password is not None or (parts.username is not None and parts.scheme != "ssh")
    except ValueError as error:
        raise JobInvalid("The repository's URL cannot be read.") from error
    if secret or parts.query or parts.fragment:
        raise JobInvalid(
            "The repository's URL holds credentials, and a job's configuration is no place for them.",
            hint="Give the URL without them: a Pipeline takes --credentials-id, a freestyle job what git finds on the agent.",
        )


def _wanted(wish: Wish, kind: Kind, flavour: Flavour, server: ServerKind) -> WantedJob:
    path = job_path(wish.application, kind, wish.folder)
    parameters = deploy_parameters()
    if kind == "release":
        parameters = release_parameters(flavour, namespace=wish.namespace, directory=wish.directory)
    return WantedJob(
        path=path,
        application=wish.application,
        mark=mark_of(wish.application, _DOES[kind]),
        parameters=parameters,
        work=_shell(wish, kind) if flavour == "freestyle" else _from_scm(wish, kind),
        artifact=ARTIFACTS[kind],
        server=server,
    )


def _shell(wish: Wish, kind: Kind) -> Shell:
    mark = f"# kubernaut's {kind} step:"
    if kind == "deploy":
        return Shell(deploy_script(mark, wish.application), mark)
    deploy_job = str(job_path(wish.application, "deploy", wish.folder))
    script = release_script(mark, repository=wish.repository, branch=wish.branch, directory=wish.directory, deploy_job=deploy_job)
    return Shell(script, mark)


def _from_scm(wish: Wish, kind: Kind) -> FromScm:
    folder = "" if wish.jenkinsfiles == "." else f"{wish.jenkinsfiles}/"
    return FromScm(wish.repository, wish.branch, f"{folder}{kind}/Jenkinsfile", wish.credentials_id)


def _check(wish: Wish, flavour: Flavour) -> None:
    for what, text in vars(wish).items():
        if text and _NOT_XML.search(text):
            raise JobInvalid(f"The {what.replace('_', ' ')} {text!r} has characters that no job's configuration can have.")
    check_name(wish.application)
    if wish.namespace:
        check_namespace(wish.namespace)
    if not _REPOSITORY.fullmatch(wish.repository):
        raise JobInvalid(f"{wish.repository!r} is no git repository's URL or path.")
    check_credential_free(wish.repository)
    if not _BRANCH.fullmatch(wish.branch):
        raise JobInvalid(f"{wish.branch!r} cannot be a branch's name.")
    for what, path in (("application's folder", wish.directory), ("folder of the Jenkinsfiles", wish.jenkinsfiles)):
        if not path or path.startswith("/") or "\n" in path or ".." in path.split("/"):
            raise JobInvalid(f"The {what}, {path!r}, is no path inside the repository.")
    if wish.credentials_id is not None and not _CREDENTIALS.fullmatch(wish.credentials_id):
        raise JobInvalid(f"{wish.credentials_id!r} cannot be a credential's id.")
    if wish.credentials_id is not None and flavour == "freestyle":
        raise JobInvalid(
            "A freestyle job's shell step runs git itself: it can use no credential of the server's.",
            hint="Leave --credentials-id out, and let git on the agent find its own: an SSH key, or a credential helper.",
        )
