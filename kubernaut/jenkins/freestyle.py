"""The shell steps of the freestyle jobs: what an administrator reads who opens the job, and what an agent runs.

Pure. Whatever comes from outside stands in an assignment at the top, quoted for the shell, and nowhere else; parameters are read
from the environment and never become part of the text. No line shows what it runs: there is no ``-x``.
"""

from __future__ import annotations

import shlex

_ABOUT = """\
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


def release_script(mark: str, *, repository: str, branch: str, directory: str, deploy_job: str) -> str:
    """Return the step of Release: a commit becomes a version, the version is handed over where a namespace is given.

    Args:
        mark: The comment by which the step is known as ours.
        repository: What to clone.
        branch: Of which the newest commit is taken when no commit is named.
        directory: The application's folder in the repository.
        deploy_job: The job that takes the version over.
    """
    given = {"repository": repository, "branch": branch, "directory": directory, "deploy_job": deploy_job}
    return _about(mark) + _assignments(given) + _RELEASE


def deploy_script(mark: str, application: str) -> str:
    """Return the step of Deploy: a published version becomes a release in a namespace."""
    return _about(mark) + _assignments({"application": application}) + _DEPLOY


def _about(mark: str) -> str:
    return _ABOUT.replace("{mark}", mark)


def _assignments(given: dict[str, str]) -> str:
    return "\n" + "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
