"""The one error tree.

Every failure that kubernaut foresees is a :class:`KubernautError`; each class carries a stable ``code``, an exit status for the
command line, an HTTP status for the REST door and a hint that says what to do next. Nothing here knows a client or a door::

    KubernautError          1 · 500   a defect
    ├── Usage               2 · 400   the command line
    ├── BadInput            3 · 422   the user's files, names or arguments
    ├── NotFound            4 · 404
    ├── Conflict            5 · 409   taken, locked, or changed meanwhile
    ├── DeployFailed        6/7 · 422 the cluster did not accept or did not run it
    ├── Unreachable         8 · 503   a part that kubernaut talks to does not answer
    ├── Forbidden           9 · 403   a part answers, and refuses
    └── Interrupted         130 · 499 a signal stopped the work
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar


class KubernautError(Exception):
    """A foreseen failure.

    Args:
        message: What was being done to what, and what went wrong, in the user's words.
        hint: What to do next; the class's own hint by default.
        details: Further lines, such as the end of a build's output; never a secret.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    hint: str = "This is a defect in kubernaut: please report it with the output of the same command and --verbose."

    def __init__(self, message: str, *, hint: str | None = None, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        if hint is not None:
            self.hint = hint

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem."""
        problem: dict[str, Any] = {
            "type": f"urn:kubernaut:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.http_status,
            "detail": self.message,
            "code": self.code,
            "hint": self.hint,
        }
        if self.details:
            problem["details"] = list(self.details)
        return problem


class BadInput(KubernautError):
    """Something that the user wrote cannot be used."""

    code = "bad_input"
    exit_status = 3
    http_status = 422
    hint = "Correct the input and run the same command again; nothing has been changed."


class Usage(KubernautError):
    """The command line cannot be understood."""

    code = "usage"
    exit_status = 2
    http_status = 400
    hint = "`kubernaut --help` lists the commands, `kubernaut COMMAND --help` explains one."


class NotFound(KubernautError):
    """What was named does not exist."""

    code = "not_found"
    exit_status = 4
    http_status = 404
    hint = "Check the name; `kubernaut list --all` and `kubernaut versions NAME` show what exists."


class Conflict(KubernautError):
    """Somebody else was first, or holds it now."""

    code = "conflict"
    exit_status = 5
    http_status = 409
    hint = "Look at the present state with `kubernaut history NAME`, then decide."


class DeployFailed(KubernautError):
    """A release was tried and did not become ready; what it left says the subclass.

    Attributes:
        release: The id of the release that failed, if there is one.
        operation: The id of the operation that tried.
    """

    code = "deploy_failed"
    exit_status = 7
    http_status = 422
    hint = "`kubernaut show NAME` shows the failed release, `kubernaut logs NAME` what its pods said."
    release: str | None = None
    operation: str | None = None

    def problem(self) -> dict[str, Any]:
        """Return the failure as an RFC 9457 problem, with the release and the operation."""
        named = {"release": self.release, "operation": self.operation}
        return {**super().problem(), **{key: value for key, value in named.items() if value is not None}}


class Unreachable(KubernautError):
    """A part that kubernaut needs does not answer."""

    code = "unreachable"
    exit_status = 8
    http_status = 503
    hint = "Check that the part runs and that this machine reaches it, then run the same command again."


class Forbidden(KubernautError):
    """A part answers, and does not let this user in."""

    code = "forbidden"
    exit_status = 9
    http_status = 403
    hint = "Check the credentials and what they are allowed to do."


class Interrupted(KubernautError):
    """A signal stopped the work; children are stopped and temporary files are gone."""

    code = "interrupted"
    exit_status = 130
    http_status = 499
    hint = "Run the same command again: it continues where this one was stopped."


class ApplicationInvalid(BadInput):
    """The application's ``kubernaut.yaml`` is missing or cannot be understood."""

    code = "application_invalid"
    hint = "Compare kubernaut.yaml with `examples/hello-world/kubernaut.yaml` and docs/kubernaut-yaml.md."


class DockerfileInvalid(BadInput):
    """The Dockerfile is missing, or lies outside the build context."""

    code = "dockerfile_invalid"
    hint = "`image.dockerfile` in kubernaut.yaml is relative to `image.context` and must lie inside it."


class SourceUnreadable(BadInput):
    """A file that counts for the version cannot be read, or changed while it was read."""

    code = "source_unreadable"
    hint = "Make the file readable and let nothing write to it meanwhile, or name it in .dockerignore."


class BuildFailed(BadInput):
    """The engine ran the Dockerfile and a step of it failed."""

    code = "build_failed"
    hint = "The last lines of the build stand above; correct the Dockerfile or what it runs."


class ChartInvalid(BadInput):
    """Helm cannot load, render or package the chart."""

    code = "chart_invalid"
    hint = "`helm lint CHART` and `helm template CHART` show the same failure."


class ValuesInvalid(BadInput):
    """The values cannot be read, or do not fit the chart's ``values.schema.json``."""

    code = "values_invalid"
    hint = "Compare the values with the chart's values.yaml and values.schema.json."


class ImageNotPinned(BadInput):
    """The rendered chart does not run the image that was built."""

    code = "image_not_pinned"
    hint = "`pin:` in kubernaut.yaml must name the values from which the chart's template makes `image: REPOSITORY@DIGEST`."


class NameInvalid(BadInput):
    """A name that Kubernetes or Helm would refuse, or take for something else."""

    code = "name_invalid"
    hint = "Names are RFC 1123 labels: lower-case letters, digits and inner dashes; at most 53 characters (63 for a namespace)."


class VersionInvalid(BadInput):
    """A version that is not SemVer without build metadata."""

    code = "version_invalid"
    hint = "Versions are SemVer without `+`, such as 1.4.2 or 1.5.0-rc.1."


class ShallowClone(BadInput):
    """The git history is cut off, so no version can be counted from it."""

    code = "shallow_clone"
    hint = "Fetch the history with `git fetch --unshallow --tags`, or name the version with --version."


class SettingInvalid(BadInput):
    """A setting is missing, unknown or out of range."""

    code = "setting_invalid"
    hint = "`kubernaut config` shows each setting, its value and where it came from."


class DriverUnsupported(BadInput):
    """Helm is told to keep its history elsewhere than in Secrets."""

    code = "driver_unsupported"
    hint = "Unset HELM_DRIVER: kubernaut reads Helm's release history from Secrets, Helm's default."


class VersionNotFound(NotFound):
    """No such version was published."""

    code = "version_not_found"
    hint = "`kubernaut versions NAME` lists what was published."


class ImageNotFound(NotFound):
    """The engine or the registry has no such image."""

    code = "image_not_found"
    hint = "Build it with `kubernaut build APP_DIR`, or check the digest."


class ReleaseNotFound(NotFound):
    """No such release is in Helm's release history."""

    code = "release_not_found"
    hint = "`kubernaut list --all` lists the releases; give the namespace with -n."


class NamespaceNotFound(NotFound):
    """The namespace does not exist."""

    code = "namespace_not_found"
    hint = "Create it, or let kubernaut do it with --create-namespace."


class EnvironmentNotFound(NotFound):
    """The version was published without values for this environment."""

    code = "environment_not_found"
    hint = "`environments:` in kubernaut.yaml names the environments that are packaged with a version."


class VersionConflict(Conflict):
    """The version exists with other content; versions are immutable."""

    code = "version_conflict"
    hint = "Publish the change under a new version: commit it, tag it, or name one with --version."


class ReleaseLocked(Conflict):
    """Another operation on the release is under way, or was left unfinished."""

    code = "release_locked"
    hint = "`--lock-timeout 5m` waits for its turn; `kubernaut unlock NAME` is for a holder that is known to be dead."


class LockLost(Conflict):
    """Another one has taken the lock of the release, so this attempt stopped."""

    code = "lock_lost"
    hint = "`kubernaut history NAME` shows what the other one did; run the same command again if it is still wanted."


class ReleaseNotCurrent(Conflict):
    """The verb works on the current release only, and another one was named."""

    code = "release_not_current"
    hint = "Name the current release: NAMESPACE.NAME.current."


class PortTaken(Conflict):
    """A port that kubernaut was told to use belongs to another process."""

    code = "port_taken"
    hint = "Stop the other process or choose another port."


class DeployRolledBack(DeployFailed):
    """The new release failed; the one before it runs again."""

    code = "deploy_rolled_back"
    exit_status = 6
    hint = "The release before it is running again; `kubernaut history NAME` shows both, `kubernaut show ID` the failed one."


class DeployKept(DeployFailed):
    """The new release failed and was left as it is, to be looked at."""

    code = "deploy_failed"
    exit_status = 7


class HelmFailed(DeployFailed):
    """Helm refused or broke off, for a reason of its own."""

    code = "helm_failed"
    hint = "Helm's own words stand above; `kubernaut history NAME` shows what it left."


class EngineUnreachable(Unreachable):
    """The Docker engine does not answer."""

    code = "engine_unreachable"
    hint = 'Start the Docker engine or set DOCKER_HOST; `eval "$(kubernaut local env)"` uses the local platform\'s.'


class RegistryUnreachable(Unreachable):
    """The OCI registry does not answer."""

    code = "registry_unreachable"
    hint = "Check the `registry` setting (`kubernaut config`) and that the registry runs; nothing half-pushed is ever deployed."


class ClusterUnreachable(Unreachable):
    """The Kubernetes API does not answer."""

    code = "cluster_unreachable"
    hint = 'Check the kube context (`kubernaut config`); `eval "$(kubernaut local env)"` uses the local platform\'s.'


class ToolMissing(Unreachable):
    """A program that kubernaut runs is not installed, or too old."""

    code = "tool_missing"
    hint = "Install the program, or set where it is (`kubernaut config`)."


class GitFailed(Unreachable):
    """git answers with a failure, or takes too long."""

    code = "git_failed"
    hint = "Run the git command that the message names by hand, in the same folder and as the same user."


class DeadlineExceeded(Unreachable):
    """A part took longer than it was given."""

    code = "deadline_exceeded"
    http_status = 504
    hint = "Run the same command again, or give it longer with --timeout."


class PlatformFailed(Unreachable):
    """The local platform could not be brought up."""

    code = "platform_failed"
    hint = "`kubernaut local status` shows each process and its log file; `kubernaut local up` tries again."


class RegistryDenied(Forbidden):
    """The registry refuses the credentials, or has none."""

    code = "registry_denied"
    hint = "`docker login REGISTRY` stores credentials where kubernaut reads them (DOCKER_CONFIG)."


class ClusterDenied(Forbidden):
    """Kubernetes' access control refuses the request."""

    code = "cluster_denied"
    hint = "`kubectl auth can-i --list -n NAMESPACE` shows what this user may do."


class NotRoot(Forbidden):
    """The local platform makes namespaces and mounts, which only root may."""

    code = "not_root"
    hint = "Run the command as root (sudo -E), or use a cluster of your own: CLUSTER=current."


def error_classes(root: type[KubernautError] = KubernautError) -> Iterator[type[KubernautError]]:
    """Yield the tree's classes, a parent before its children."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)
