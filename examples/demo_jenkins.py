"""Push a commit that a real CI server releases and deploys to a real cluster. `make demo-jenkins` runs this.

It starts the local platform and a CI server of the Jenkins family, sets up the jobs of hello-world, and pushes a commit with a new
greeting to a repository whose hook runs the release job. It follows both builds and calls the application.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo import NAME, NAMESPACE, local_platform, wait_for_answer

from kubernaut.cli.error_handler import handle_errors
from kubernaut.cli.progress import show_progress
from kubernaut.cli.signals import handle_signals, wait_for_signal
from kubernaut.errors import BuildUnsuccessful
from kubernaut.events import Listener

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # the CI server is part of the tests

from support.hudson import Hudson, HudsonHome, Origin  # noqa: E402

APPLICATION = Path("examples", NAME)
RELEASE, DEPLOY = f"{NAME}-release", f"{NAME}-deploy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status, as documented for the `kubernaut` command."""
    options = _options(arguments)
    with handle_signals():
        return handle_errors(lambda: _demo(options), json=False, verbose=options.verbose)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    parser.add_argument("--greeting", default="Ahoj", help="the greeting of the pushed commit; %(default)s by default")
    parser.add_argument("--keep", action="store_true", help="keep the CI server running until Ctrl-C")
    parser.add_argument("--verbose", action="store_true", help="show the output of the tools")
    return parser.parse_args(arguments)


def _demo(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="kubernaut-demo-") as folder:
        with show_progress(options.verbose or not sys.stderr.isatty()) as listener:
            home = HudsonHome(Path(folder, "ci"))
            environment = _environment(options.name, home, listener)
            server = Hudson(home, environment, listener=listener)
            server.start()
        with server:
            _push_and_follow(server, Path(folder), environment, options.greeting)
            if options.keep:
                print(
                    f"\nThe CI server: {server.url}/, user {server.user}, password in {server.token_file}. Stop it with Ctrl-C.",
                    flush=True,
                )
                wait_for_signal()


def _environment(name: str, home: HudsonHome, listener: Listener) -> dict[str, str]:
    """Start the platform; return the environment of the CI server's builds. With the access, a release job runs the deploy job."""
    platform = local_platform(name, listener)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{platform['PATH']}"
    kept = ("KUBECONFIG", "DOCKER_HOST", "KUBERNAUT_REGISTRY", "KUBERNAUT_NODE_PORT")
    access = {"KUBERNAUT_JENKINS_USER": home.admin.name, "KUBERNAUT_JENKINS_TOKEN_FILE": str(home.admin.token_file)}
    return {"PATH": programs, **access, **{variable: platform[variable] for variable in kept}}


def _push_and_follow(server: Hudson, folder: Path, environment: Mapping[str, str], greeting: str) -> None:
    hook = {**environment, "KUBERNAUT_JENKINS_URL": server.url}  # builds get the URL from the server
    shell = {**os.environ, **hook}
    origin = Origin(folder, RELEASE, hook)
    _copy(origin.tree, environment["KUBERNAUT_NODE_PORT"])
    origin.commit("hello-world")

    # The jobs do not create the namespace.
    _run(["kubernaut", "ship", str(APPLICATION), "--namespace", NAMESPACE, "--create-namespace"], origin.tree, shell)
    where = ["--repository", str(origin.repository), "--namespace", NAMESPACE]
    _run(["kubernaut", "jenkins", "setup", str(APPLICATION), *where], origin.tree, shell)

    values = origin.tree / APPLICATION / "values" / f"{NAMESPACE}.yaml"
    values.write_text(f"{values.read_text(encoding='utf-8')}greeting: {json.dumps(greeting)}\n", encoding="utf-8")
    commit = origin.commit(f"say {greeting}")
    print(f"\n$ git push    # {commit[:7]}: say {greeting}", flush=True)
    pushed = time.monotonic()
    print(origin.push().rstrip(), flush=True)
    release = _follow(RELEASE, f"push-{commit}", origin.tree, shell)
    deploy = _follow(DEPLOY, f"hudson-{RELEASE}-{release['number']}", origin.tree, shell)
    url = f"http://127.0.0.1:{environment['KUBERNAUT_NODE_PORT']}/"
    answer = _wait_for_greeting(url, greeting)
    seconds = time.monotonic() - pushed

    _run(["kubernaut", "show", f"{NAMESPACE}.{NAME}.current"], origin.tree, shell)
    print(f"\n$ curl {url}\n{answer}\n")
    print(f"From the push to the new greeting: {seconds:.1f} s.")
    for job, build in ((RELEASE, release), (DEPLOY, deploy)):
        print(f"  {job} #{build['number']}  {build['result']}  {build['url']}")


def _copy(tree: Path, port: str) -> None:
    """Copy the example into the work tree, with values for the demo's namespace."""
    for part in (APPLICATION, Path("charts", NAME)):
        shutil.copytree(ROOT / part, tree / part)
    service = f"service:\n  type: NodePort\n  nodePort: {port}\n"
    (tree / APPLICATION / "values" / f"{NAMESPACE}.yaml").write_text(service, encoding="utf-8")
    description = tree / APPLICATION / "kubernaut.yaml"
    text = description.read_text(encoding="utf-8")
    description.write_text(
        text.replace("environments:\n", f"environments:\n  {NAMESPACE}: values/{NAMESPACE}.yaml\n"), encoding="utf-8"
    )


def _follow(job: str, operation: str, tree: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """Follow the build of an operation; return its result."""
    done = _run(["kubernaut", "jenkins", "run", job, "--op-id", operation, "--follow", "-o", "json"], tree, shell, capture=True)
    build: dict[str, str] = json.loads(done)
    return build


def _run(command: list[str], tree: Path, shell: Mapping[str, str], *, capture: bool = False) -> str:
    print(f"\n$ {shlex.join(command)}", flush=True)
    done = subprocess.run(
        command, cwd=tree, env=dict(shell), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if capture else None, text=True
    )
    if done.returncode:
        raise BuildUnsuccessful(f"`{shlex.join(command)}` exited with status {done.returncode}.", hint="See its output above.")
    return done.stdout or ""


def _wait_for_greeting(url: str, greeting: str) -> str:
    def check(answer: Any) -> None:
        if greeting not in answer["greeting"]:
            raise ValueError(f"the greeting is {answer['greeting']!r}")

    return wait_for_answer(url, check, f"{NAME} with the greeting {greeting!r}")


if __name__ == "__main__":
    sys.exit(main())
