"""Errors of building, publishing, deploying and reading releases, and of Jenkins jobs."""

from __future__ import annotations

from kubernaut.errors.base import BadInput, Conflict, DeployFailed, Forbidden, KubernautError, NotFound, Unreachable

NO_HOOKS_HINT = "Run the same command again with `--no-hooks` to leave hooks out."
"""The end of the hint about a hook that failed; the command line makes a command of it."""
NO_HOOKS_HTTP_HINT = "Send the request again with `noHooks` set to true to leave hooks out."


class ApplicationInvalid(BadInput):
    """The application's ``kubernaut.yaml`` is missing or invalid."""

    code = "application_invalid"
    hint = "Compare kubernaut.yaml with `examples/hello-world/kubernaut.yaml` and docs/kubernaut-yaml.md."


class DockerfileInvalid(BadInput):
    """The Dockerfile is missing, or lies outside the build context."""

    code = "dockerfile_invalid"
    hint = "`image.dockerfile` in kubernaut.yaml is relative to `image.context` and must lie inside it."


class SourceUnreadable(BadInput):
    """A file that belongs to the version cannot be read, or changed while it was read."""

    code = "source_unreadable"
    hint = "Make the file readable and do not write to it during the build, or list it in .dockerignore."


class BuildFailed(BadInput):
    """A step of the Dockerfile failed."""

    code = "build_failed"
    hint = "The last lines of the build stand above; correct the Dockerfile or the program that it runs."
    http_hint = "`details` has the last lines of the build; correct the Dockerfile or the program that it runs."


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
    """A name that Kubernetes or Helm would refuse or misread."""

    code = "name_invalid"
    hint = "Names are RFC 1123 labels: lower-case letters, digits and inner dashes; at most 53 characters (63 for a namespace)."


class VersionInvalid(BadInput):
    """A version that is not SemVer without build metadata."""

    code = "version_invalid"
    hint = "Versions are SemVer without `+`, such as 1.4.2 or 1.5.0-rc.1."


class ShallowClone(BadInput):
    """The clone is shallow, so no version can be counted from its history."""

    code = "shallow_clone"
    hint = "Fetch the history with `git fetch --unshallow --tags`, or name the version with --version."
    http_hint = "Fetch the whole history and the tags of the repository."


class SettingInvalid(BadInput):
    """A setting is missing, unknown or out of range."""

    code = "setting_invalid"
    hint = "`kubernaut config` shows each setting, its value and its origin."
    http_hint = "Check the kubernaut server's settings."


class DriverUnsupported(BadInput):
    """HELM_DRIVER selects a storage other than Secrets."""

    code = "driver_unsupported"
    hint = "Unset HELM_DRIVER: releases are read from Secrets, Helm's default driver."
    http_hint = "Unset HELM_DRIVER for the kubernaut server: releases are read from Secrets, Helm's default driver."


class JobInvalid(BadInput):
    """A Jenkins job's name, parameters or configuration are invalid."""

    code = "job_invalid"
    hint = "`kubernaut jenkins setup APP_DIR --dry-run` shows the jobs; docs/jenkins.md describes their requirements."
    http_hint = "Compare the job with the requirements in docs/jenkins.md."


class VersionNotFound(NotFound):
    """The version is not published."""

    code = "version_not_found"
    hint = "`kubernaut versions NAME` lists the published versions."
    http_hint = "`GET /api/versions/NAME` lists the published versions."


class ImageNotFound(NotFound):
    """Neither the engine nor the registry has the image."""

    code = "image_not_found"
    hint = "Build it with `kubernaut build APP_DIR`, or check the digest."
    http_hint = "Check the digest, and that the image was pushed."


class ReleaseNotFound(NotFound):
    """The release is not in Helm's release history."""

    code = "release_not_found"
    hint = "`kubernaut list -n NAMESPACE --all` lists a namespace's releases, deleted ones too."
    http_hint = "`GET /api/releases?namespace=NAMESPACE&all=true` lists a namespace's releases, deleted ones too."


class NamespaceNotFound(NotFound):
    """The namespace does not exist."""

    code = "namespace_not_found"
    hint = "Create it, or add --create-namespace."
    http_hint = "Create it, or send `createNamespace: true`."


class EnvironmentNotFound(NotFound):
    """The version was published without values for this environment."""

    code = "environment_not_found"
    hint = "`environments:` in kubernaut.yaml names the environments that are packaged with a version."


class JobNotFound(NotFound):
    """The Jenkins job or build does not exist, or this user may not see it."""

    code = "job_not_found"
    hint = "Check the job's name and folder, `FOLDER/NAME`; `kubernaut jenkins setup APP_DIR` creates an application's jobs."
    http_hint = "Check the job's name and folder, `FOLDER/NAME`, and that the Jenkins user may read it."


class VersionConflict(Conflict):
    """The version exists with other content; versions are immutable."""

    code = "version_conflict"
    hint = "Publish the change under a new version: commit it, tag it, or name a version with --version."
    http_hint = "Publish the change under a new version."


class ReleaseLocked(Conflict):
    """Another operation on the release is running, or was left unfinished."""

    code = "release_locked"
    hint = "Add --lock-timeout 5m to wait. `kubernaut unlock NAME -n NAMESPACE` ends the lock of a holder that is known to be dead."
    http_hint = "Send `lockTimeout`, in seconds, to wait for the other operation; `holder` names who holds the lock."


class LockLost(Conflict):
    """Another process has taken the release's lock, so this operation stopped."""

    code = "lock_lost"
    hint = "`kubernaut history NAME -n NAMESPACE` shows what the other operation did; run the same command again if still needed."
    http_hint = "`GET /api/releases/ID/history` shows what the other operation did; send the request again if still needed."


class ReleaseNotCurrent(Conflict):
    """The operation works on the current release only, and an older one was named."""

    code = "release_not_current"
    hint = "Name the current release: NAMESPACE.NAME.current."


class PortTaken(Conflict):
    """Another process uses the port."""

    code = "port_taken"
    hint = "Stop the other process or choose another port."


class JobConflict(Conflict):
    """A Jenkins job of that name was not made by kubernaut, or changed meanwhile."""

    code = "job_conflict"
    hint = "`kubernaut jenkins setup APP_DIR --dry-run` shows the difference; --force takes the job over."
    http_hint = "Rename the other job, or use another folder."


class BuildAborted(Conflict):
    """The Jenkins build was stopped, or cancelled in the queue."""

    code = "build_aborted"
    hint = "The build's page shows by whom; run the job again if still needed."


class DeployRolledBack(DeployFailed):
    """The new release failed; the previous one runs again."""

    code = "deploy_rolled_back"
    exit_status = 6
    hint = "The previous release runs again; `kubernaut explain NAME -n NAMESPACE` shows why the new one failed."
    http_hint = "The previous release runs again; `GET /api/releases/ID/explanation` shows why the new one failed."


class DeployKept(DeployFailed):
    """The new release failed and was kept for inspection."""

    code = "deploy_failed"
    exit_status = 7


class HelmFailed(DeployFailed):
    """Helm failed for another reason."""

    code = "helm_failed"
    hint = "Helm's output stands above; `kubernaut history NAME -n NAMESPACE` shows the resulting releases."
    http_hint = "`details` has Helm's output; `GET /api/releases/ID/history` shows the resulting releases."


class BuildUnsuccessful(KubernautError):
    """The Jenkins build ended without success."""

    code = "build_unsuccessful"
    exit_status = 10
    http_status = 422
    hint = "The end of the build's console shows why; `kubernaut history NAME -n NAMESPACE` shows its effect on a release."
    http_hint = "The end of the build's console shows why."


class EngineUnreachable(Unreachable):
    """The Docker engine does not answer."""

    code = "engine_unreachable"
    hint = 'Start the Docker engine or set DOCKER_HOST; `eval "$(kubernaut local env)"` selects the local platform\'s engine.'
    http_hint = "Check that the kubernaut server reaches its Docker engine (DOCKER_HOST)."


class RegistryUnreachable(Unreachable):
    """The OCI registry does not answer."""

    code = "registry_unreachable"
    hint = "Check the `registry` setting (`kubernaut config`) and that the registry runs; nothing half-pushed is ever deployed."
    http_hint = "Check that the registry runs and that the kubernaut server reaches it, then send the request again."


class ClusterUnreachable(Unreachable):
    """The Kubernetes API does not answer."""

    code = "cluster_unreachable"
    hint = 'Check the kube context (`kubernaut config`); `eval "$(kubernaut local env)"` selects the local platform\'s cluster.'
    http_hint = "Check that the kubernaut server reaches the Kubernetes API, then send the request again."


class JenkinsUnreachable(Unreachable):
    """Jenkins does not answer, or the address is not a Jenkins server's."""

    code = "jenkins_unreachable"
    hint = "Check the `jenkins_url` setting (`kubernaut config`): the address that a browser shows before `/job/…`."
    http_hint = "Check the kubernaut server's setting `jenkins_url`: the address that a browser shows before `/job/…`."


class ToolMissing(Unreachable):
    """A program that kubernaut runs is not installed, or too old."""

    code = "tool_missing"
    hint = "Install the program, or set its path (`kubernaut config` lists the settings)."
    http_hint = "Install the program where the kubernaut server runs, or set its path there."


class GitFailed(Unreachable):
    """A git command failed or timed out."""

    code = "git_failed"
    hint = "Run the git command from the message by hand, in the same folder and as the same user."


class DeadlineExceeded(Unreachable):
    """The work was not done within its timeout."""

    code = "deadline_exceeded"
    http_status = 504
    hint = "Run the same command again, or allow more time with --timeout 10m."
    http_hint = "Send the request again, or allow more time with `timeout`, in seconds."


class PlatformFailed(Unreachable):
    """The local platform could not be started."""

    code = "platform_failed"
    hint = "`kubernaut local status` shows each process and its log file; `kubernaut local up` tries again."
    http_hint = "The local platform's log files show why."


class RegistryDenied(Forbidden):
    """The registry refuses the credentials, or requires some."""

    code = "registry_denied"
    hint = "`docker login REGISTRY` stores credentials where kubernaut reads them (DOCKER_CONFIG)."


class ClusterDenied(Forbidden):
    """Kubernetes' access control refuses the request.

    Attributes:
        unauthenticated: Whether the credentials are refused, as after they have expired; otherwise a right is missing.
    """

    code = "cluster_denied"
    unauthenticated: bool = False
    hint = "`kubectl auth can-i --list -n NAMESPACE` lists the rights."
    http_hint = "Grant the missing right in the namespace, with a Role and a RoleBinding."


class JenkinsDenied(Forbidden):
    """Jenkins refuses the user, or the user lacks a right."""

    code = "jenkins_denied"
    hint = "Check the `jenkins_user` setting and the token; the user needs Job/Read, Build and Cancel, for `setup` Configure too."


class NotRoot(Forbidden):
    """The local platform needs root to make namespaces and mounts."""

    code = "not_root"
    hint = "Run the command as root (sudo -E), or use a cluster of your own: CLUSTER=current."
    http_hint = "Start the local platform as root."
