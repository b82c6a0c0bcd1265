"""The Release and Deploy jobs of an application: names, parameters, scripts. Pure; ``config_xml`` renders them.

*Release* publishes a version of a commit, and passes it to *Deploy* if a namespace is given; Deploy deploys it to a namespace.
A Pipeline runs a Jenkinsfile of the application's repository; a freestyle job has one shell step, for servers without Pipelines.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.hudson import Flavour, ServerKind, choose_flavour
from kubernaut.models import check_name, check_namespace

Kind = Literal["release", "deploy"]

_OP_ID = "names this request; a build of the same name is not started twice"
ARTIFACTS: dict[Kind, str] = {"release": "release.json", "deploy": "deployed.json"}
_DOES: dict[Kind, str] = {
    "release": "a commit becomes a published version",
    "deploy": "a published version becomes a release in a namespace",
}
_INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BRANCH = re.compile(r"(?![/.-])(?!.*(?:\.\.|//|@\{|/\.))(?!.*(?:\.lock|[/.])$)[^\s\x00-\x20\x7f~^:?*\[\\]+")
_REPOSITORY = re.compile(r"(?![-.])[^\s\x00-\x1f\x7f]+")
_CREDENTIALS = re.compile(r"[A-Za-z0-9_.@-]+")
_INVALID_IN_NAMES = frozenset("?*/\\%!@#$^&|<>[]:;")  # as in Jenkins
_MAX_NAME_BYTES = 255  # a job is a folder on the disk of the server
# Jenkins stores the values of a build as XML, and loses a build with such characters when it restarts.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


# names


@dataclass(frozen=True)
class JobPath:
    """The full name of a job.

    Attributes:
        segments: The names of its folders and its own; at least one.
    """

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> JobPath:
        """Read ``FOLDER/…/NAME``.

        Raises:
            JobInvalid: A segment is empty, only dots, padded with blanks, too long, or contains an invalid character.
        """
        segments = tuple(text.split("/"))
        fault = next(filter(None, map(_name_fault, segments)), None)
        if fault is not None:
            shown = text if len(text) <= 80 else f"{text[:79]}…"
            raise JobInvalid(
                f"{shown!r} is not a valid job name: {fault}.", hint="Use FOLDER/NAME, such as team/shop-release, without `job/`."
            )
        return cls(segments)

    @property
    def name(self) -> str:
        """The name without folders."""
        return self.segments[-1]

    @property
    def folder(self) -> JobPath | None:
        """The folder; ``None`` at the top level."""
        return JobPath(self.segments[:-1]) if len(self.segments) > 1 else None

    @property
    def url_path(self) -> str:
        """The quoted path on the server, such as ``job/team/job/shop-release``."""
        return "/".join(f"job/{quote(segment, safe='')}" for segment in self.segments)

    def page(self, server: str) -> str:
        """Return the page of the job on a server."""
        return f"{server.rstrip('/')}/{self.url_path}/"

    def __str__(self) -> str:
        return "/".join(self.segments)


def _name_fault(segment: str) -> str | None:
    if not segment:
        return "a segment is empty"
    if segment != segment.strip() or segment.endswith("."):
        return "a segment starts or ends with a blank, or ends with a dot"
    invalid = next((char for char in segment if char in _INVALID_IN_NAMES or not char.isprintable()), None)
    if invalid is not None:
        return f"{invalid!r} is not allowed"
    return f"a segment is longer than {_MAX_NAME_BYTES} bytes" if len(segment.encode()) > _MAX_NAME_BYTES else None


def job_path(application: str, kind: Kind, folder: str = "") -> JobPath:
    """Return the path of an application's job. Raises: JobInvalid: The folder's name is invalid."""
    return JobPath.parse(f"{folder}/{application}-{kind}" if folder else f"{application}-{kind}")


# parameters


@dataclass(frozen=True)
class Parameter:
    """A string parameter of a job."""

    name: str
    description: str
    default: str = ""


def release_parameters(flavour: Flavour, *, namespace: str = "", directory: str = ".") -> tuple[Parameter, ...]:
    """Return the parameters of the Release job."""
    return (
        Parameter("NAMESPACE", "where the version is deployed first; empty: nowhere", namespace),
        Parameter("APP_DIR", "the application's folder in the repository", directory)
        if flavour == "pipeline"
        else Parameter("GIT_COMMIT", "the commit to release; empty: the newest of the branch"),
        Parameter("OP_ID", _OP_ID),
    )


def deploy_parameters() -> tuple[Parameter, ...]:
    """Return the parameters of the Deploy job."""
    return (
        Parameter("VERSION", "the published version"),
        Parameter("NAMESPACE", "where to"),
        Parameter("ENVIRONMENT", "whose packaged values; empty: those of the namespace's name"),
        Parameter("NOTE", "a line for the history: why"),
        Parameter("OP_ID", _OP_ID),
    )


def check_values(path: JobPath, values: Mapping[str, str]) -> None:
    """Check the values of parameters.

    Raises:
        JobInvalid: A name or value contains characters that a form or XML cannot hold. The message does not show the value.
    """
    for name, value in values.items():
        for text, what in ((name, "The name of a parameter"), (value, f"The value of {name!r}")):
            if _CONTROL.search(text) or any("\ud800" <= char <= "\udfff" for char in text):
                raise JobInvalid(
                    f"{what} of job {path} contains an invalid character.",
                    hint="Remove control characters other than tabs and line ends, and text that is not UTF-8.",
                )


# jobs


@dataclass(frozen=True)
class JobSettings:
    """The settings of an application's jobs.

    Attributes:
        application: The application, after which the jobs are named.
        repository: The git repository, without credentials.
        branch: The branch that is released.
        directory: The application's folder in the repository; ``.`` for the top.
        flavour: The kind of jobs; by default the one that suits the server.
        namespace: The namespace that each new version is deployed to first; none by default.
        folder: The folder on the server, ``team`` or ``team/shop``; none by default.
        credentials_id: The ID of the server's credential for the repository; Pipelines only.
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
class ShellStep:
    """The script of a freestyle job; ``marker`` is the line that identifies it."""

    script: str
    marker: str


@dataclass(frozen=True)
class PipelineFromScm:
    """The Jenkinsfile of a Pipeline."""

    repository: str
    branch: str
    script_path: str
    credentials_id: str | None


@dataclass(frozen=True)
class JobDefinition:
    """The settings of one job that kubernaut owns; an administrator may add others.

    Attributes:
        application: The owner.
        marker: The line of the description that names the owner.
        artifact: The file that a freestyle build archives; a Jenkinsfile archives it itself.
        server: The kind of server.
    """

    path: JobPath
    application: str
    marker: str
    parameters: tuple[Parameter, ...]
    steps: ShellStep | PipelineFromScm
    artifact: str
    server: ServerKind = "jenkins"

    @property
    def flavour(self) -> Flavour:
        """The kind of job."""
        return "freestyle" if isinstance(self.steps, ShellStep) else "pipeline"


def define_jobs(settings: JobSettings, server: ServerKind) -> tuple[JobDefinition, JobDefinition]:
    """Return an application's Release and Deploy job for a kind of server.

    Raises:
        NameInvalid: The name of the application or the namespace is invalid.
        JobInvalid: Another setting is invalid, or the server does not support it.
    """
    flavour = choose_flavour(server, settings.flavour)
    _check(settings, flavour)
    return _define(settings, "release", flavour, server), _define(settings, "deploy", flavour, server)


def check_credential_free(repository: str) -> None:
    """Refuse a repository URL with a password or token, which every reader of the job would see.

    Raises:
        JobInvalid: The URL contains credentials, or is invalid.
    """
    if "://" not in repository:
        return
    try:
        parts = urlsplit(repository)
        secret = parts.password is not None or (parts.username is not None and parts.scheme != "ssh")
    except ValueError as error:
        raise JobInvalid("The repository URL is invalid.") from error
    if secret or parts.query or parts.fragment:
        raise JobInvalid(
            "The repository URL contains credentials, which do not belong in a job's configuration.",
            hint="Remove them. A Pipeline takes --credentials-id; a freestyle job uses the credentials of git on the agent.",
        )


def _define(settings: JobSettings, kind: Kind, flavour: Flavour, server: ServerKind) -> JobDefinition:
    parameters = deploy_parameters()
    if kind == "release":
        parameters = release_parameters(flavour, namespace=settings.namespace, directory=settings.directory)
    return JobDefinition(
        path=job_path(settings.application, kind, settings.folder),
        application=settings.application,
        marker=f"Made by kubernaut for the application {settings.application}: {_DOES[kind]}. "
        "What is changed in its own settings is put back by the next setup.",
        parameters=parameters,
        steps=_shell_step(settings, kind) if flavour == "freestyle" else _pipeline(settings, kind),
        artifact=ARTIFACTS[kind],
        server=server,
    )


def _shell_step(settings: JobSettings, kind: Kind) -> ShellStep:
    if kind == "deploy":
        return shell_step(kind, application=settings.application)
    deploy_job = str(job_path(settings.application, "deploy", settings.folder))
    repository, branch, directory = settings.repository, settings.branch, settings.directory
    return shell_step(kind, repository=repository, branch=branch, directory=directory, deploy_job=deploy_job)


def _pipeline(settings: JobSettings, kind: Kind) -> PipelineFromScm:
    folder = "" if settings.jenkinsfiles == "." else f"{settings.jenkinsfiles}/"
    return PipelineFromScm(settings.repository, settings.branch, f"{folder}{kind}/Jenkinsfile", settings.credentials_id)


def _check(settings: JobSettings, flavour: Flavour) -> None:
    for name, text in vars(settings).items():
        if text and _INVALID_XML.search(text):
            raise JobInvalid(f"The {name.replace('_', ' ')} {text!r} contains invalid characters.")
    check_name(settings.application)
    if settings.namespace:
        check_namespace(settings.namespace)
    if not _REPOSITORY.fullmatch(settings.repository):
        raise JobInvalid(f"{settings.repository!r} is not the URL or path of a git repository.")
    check_credential_free(settings.repository)
    if not _BRANCH.fullmatch(settings.branch):
        raise JobInvalid(f"{settings.branch!r} is not a valid branch name.")
    folders = (("application folder", settings.directory), ("folder of the Jenkinsfiles", settings.jenkinsfiles))
    for name, path in folders:
        if not path or path.startswith("/") or "\n" in path or ".." in path.split("/"):
            raise JobInvalid(f"The {name} {path!r} is not a path in the repository.")
    if settings.credentials_id is not None and not _CREDENTIALS.fullmatch(settings.credentials_id):
        raise JobInvalid(f"{settings.credentials_id!r} is not a valid credential ID.")
    if settings.credentials_id is not None and flavour == "freestyle":
        raise JobInvalid(
            "--credentials-id cannot be combined with freestyle jobs: their shell step runs git itself.",
            hint="Omit --credentials-id, and set up git on the agent: an SSH key, or a credential helper.",
        )


# the shell steps; parameters are read from the environment, and nothing is echoed


def shell_step(kind: Kind, **values: str) -> ShellStep:
    """Return the shell step of a job; its ``values`` stand quoted in assignments at the top.

    Args:
        kind: The job. Release publishes a commit, and passes the version to ``deploy_job`` if a namespace is given; Deploy
            deploys a published version to a namespace.
        values: Of Release ``repository``, ``branch``, ``directory`` and ``deploy_job``; of Deploy ``application``.
    """
    marker = f"# kubernaut's {kind} step:"
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    script = f"{_HEADER.replace('{mark}', marker)}\n{assignments}{_RELEASE if kind == 'release' else _DEPLOY}"
    return ShellStep(script, marker)


_HEADER = """\
#!/bin/bash
{mark} `kubernaut jenkins setup` puts it back. Steps before and after it stay.
# Credentials come from the agent's environment (KUBECONFIG, DOCKER_CONFIG, KUBERNAUT_..., token files); none stands here.
set -euo pipefail
"""

_RELEASE = """
# The sources, all of the history: versions are counted from it. Fetched anew, in this workspace, once.
export GIT_TERMINAL_PROMPT=0
git init --quiet source
rm -f source/.git/index.lock # what a git leaves that was killed
git -C source config remote.origin.url "$repository"
git -C source fetch --quiet --force --prune origin '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*'

# The commit: the parameter GIT_COMMIT, or the newest of the branch.
wanted=${GIT_COMMIT:-refs/remotes/origin/$branch}
if ! commit=$(git -C source rev-parse --quiet --verify --end-of-options "$wanted^{commit}"); then
  printf 'error: %s has no commit %s\\n' "$repository" "${GIT_COMMIT:-on the branch $branch}" >&2
  exit 4
fi
git -C source checkout --quiet --force --detach "$commit"
git -C source clean -ffdxq
if [ -f source/.gitmodules ]; then git -C source submodule --quiet update --init --recursive --force; fi
export GIT_COMMIT=$commit GIT_URL=$repository

# The version: the archived file says which, and what it is made of.
rm -f release.json
kubernaut publish "source/$directory" --to release.json

# Where it goes first: the Deploy job takes it from here, and this build does not wait for it.
if [ -n "${NAMESPACE:-}" ]; then
  kubernaut jenkins run "$deploy_job" --from release.json --param NAMESPACE="$NAMESPACE" --op-id "$BUILD_TAG"
fi
"""

_DEPLOY = """
if [ -z "${VERSION:-}" ] || [ -z "${NAMESPACE:-}" ]; then
  echo 'error: the parameters VERSION and NAMESPACE say what goes where; one of them is empty.' >&2
  exit 3
fi
arguments=(--namespace="$NAMESPACE" --lock-timeout=10m --to=deployed.json)
if [ -n "${ENVIRONMENT:-}" ]; then arguments+=(--environment="$ENVIRONMENT"); fi
if [ -n "${NOTE:-}" ]; then arguments+=(--note="$NOTE"); fi

# exec: kubernaut itself hears when the build is stopped, and nothing of this step outlives it.
rm -f deployed.json
exec kubernaut deploy "$application@$VERSION" "${arguments[@]}"
"""
