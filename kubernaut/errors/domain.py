"""What may fail while something is built, published, deployed or looked at."""

from __future__ import annotations

from kubernaut.errors.base import BadInput, Conflict, DeployFailed, Forbidden, KubernautError, NotFound, Unreachable


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


class JobInvalid(BadInput):
    """A Jenkins job, or what it is given, cannot be as it is asked for: its name, its parameters, its configuration."""

    code = "job_invalid"
    hint = "`kubernaut jenkins setup --dry-run` shows the jobs; docs/jenkins.md says what they need."


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


class JobNotFound(NotFound):
    """Jenkins has no such job or build, or this user may not see it."""

    code = "job_not_found"
    hint = "Check the job's name and folder, `FOLDER/NAME`; `kubernaut jenkins setup APP_DIR` makes an application's jobs."


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


class JobConflict(Conflict):
    """Jenkins has a job of that name that somebody else made, or changed meanwhile."""

    code = "job_conflict"
    hint = "`kubernaut jenkins setup --dry-run` shows what differs; --force takes the job over, --folder puts it elsewhere."


class BuildAborted(Conflict):
    """Somebody stopped the Jenkins build, or took it out of the queue."""

    code = "build_aborted"
    hint = "The build's page says who; run the job again if it is still wanted."


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


class BuildUnsuccessful(KubernautError):
    """The Jenkins build came to its end without success."""

    code = "build_unsuccessful"
    exit_status = 10
    http_status = 422
    hint = "The end of the build's console says why; `kubernaut history NAME` shows what it did to a release."


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


class JenkinsUnreachable(Unreachable):
    """Jenkins does not answer, or what answers is no Jenkins."""

    code = "jenkins_unreachable"
    hint = "Check the `jenkins_url` setting (`kubernaut config`): the address that a browser shows before `/job/…`."


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


class JenkinsDenied(Forbidden):
    """Jenkins does not know this user, or does not let them do this."""

    code = "jenkins_denied"
    hint = "Check the `jenkins_user` setting and the token; the user needs Job/Read, Build and Cancel, for `setup` Configure too."


class NotRoot(Forbidden):
    """The local platform makes namespaces and mounts, which only root may."""

    code = "not_root"
    hint = "Run the command as root (sudo -E), or use a cluster of your own: CLUSTER=current."
