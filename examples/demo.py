"""hello-world travels the whole way: from its folder to a running release that answers. This is what `make demo` runs.

With `--cluster local` on the local platform, which is brought up first; with `--cluster current` on a cluster, registry and
Docker engine of your own: the current kube context and DOCKER_HOST are used, and nothing is started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kubernaut import Deployed, Kubernaut, Settings, load_settings
from kubernaut.cli.error_handler import handle_errors
from kubernaut.cli.progress import show_progress
from kubernaut.cli.signals import handle_signals
from kubernaut.errors import Unreachable
from kubernaut.events import Listener, Progress

APPLICATION = Path(__file__).parent / "hello-world"
NAME = "hello-world"
NAMESPACE = "demo"
ANSWERS_WITHIN = 60.0  # seconds; for pods that start again because the platform did


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status, which is the `kubernaut` command's."""
    options = _options(arguments)
    with handle_signals():
        return handle_errors(lambda: _demo(options), json=False, verbose=options.verbose)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cluster", choices=["local", "current"], default="local", help="where to; %(default)s by default")
    parser.add_argument("--registry", metavar="HOST/PREFIX", help="the OCI registry; the local platform's, or KUBERNAUT_REGISTRY")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    parser.add_argument("--verbose", action="store_true", help="show every line that the tools say")
    return parser.parse_args(arguments)


def _demo(options: argparse.Namespace) -> None:
    environment = dict(os.environ)
    if options.cluster == "local":
        # A log that says nothing for the minutes of the first build would look stuck.
        with show_progress(options.verbose or not sys.stderr.isatty()) as listener:
            environment |= local_platform(options.name, listener)
    with show_progress(options.verbose) as listener:
        settings = load_settings({"registry": options.registry}, environment=environment)
        port = environment["KUBERNAUT_NODE_PORT"] if options.cluster == "local" else None
        deployed = _ship(settings, port, listener)
        answer = _call(f"http://127.0.0.1:{port}/", deployed, listener) if port else None
    _show(deployed, _helm_history(settings), port, answer, settings)


def local_platform(name: str, listener: Listener) -> dict[str, str]:
    """Bring the local platform up; return the variables that make it the current cluster."""
    from kubernaut_local import Platform

    platform = Platform(name)
    platform.up(listener=listener)
    return platform.environment()


def _ship(settings: Settings, port: str | None, listener: Listener) -> Deployed:
    """Publish the application and deploy that version: everything that kubernaut is for."""
    values = ["service.type=NodePort", f"service.nodePort={port}"] if port else []
    return Kubernaut(settings, listener=listener).ship(APPLICATION, namespace=NAMESPACE, create_namespace=True, set=values)


def _call(url: str, deployed: Deployed, listener: Listener) -> str:
    """Ask the application until this version answers: the one before it may still finish its last requests."""
    version = deployed.release.app_version if deployed.release else None

    def check(answer: Any) -> None:
        if answer.get("version") != version:
            raise ValueError(f"what answers is still version {answer.get('version')}")

    with Progress(listener).step("call", url) as step:
        answer = answer_of(url, check, f"{NAME} {version}")
        step.done(answer)
        return answer


def answer_of(url: str, check: Callable[[Any], None], what: str) -> str:
    """Ask the application, past any proxy, until its answer is the right one; return it.

    Args:
        url: Where it answers.
        check: Raises ValueError while the answer is another.
        what: Whose answer it is to be.

    Raises:
        Unreachable: It does not come in time.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + ANSWERS_WITHIN
    while True:
        try:
            with opener.open(url, timeout=2) as response:
                answer = json.load(response)
            check(answer)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"{url} does not answer as {what}: {error}.") from error
            time.sleep(0.2)
        else:
            return json.dumps(answer)


def _helm_history(settings: Settings) -> str:
    """Ask plain Helm: a release that kubernaut made is a Helm release like any other."""
    context = ["--kube-context", settings.context] if settings.context else []
    kubeconfig = {"KUBECONFIG": settings.kubeconfig} if settings.kubeconfig else {}
    result = subprocess.run(
        [settings.helm, "history", NAME, "-n", NAMESPACE, "--max", "5", *context],
        env={**settings.environment, **kubeconfig},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (result.stdout or result.stderr).rstrip()


def _show(deployed: Deployed, history: str, port: str | None, answer: str | None, settings: Settings) -> None:
    if not deployed.changed:
        print(f"\nUnchanged: {deployed.plan.reason}")
    print(f"\n$ helm history {NAME} -n {NAMESPACE}\n{history}\n")
    if port:
        print(f"$ curl http://127.0.0.1:{port}/\n{answer}\n")
        first = 'eval "$(kubernaut local env)"    # from then on, this shell uses the local platform'
    else:
        print("The application answered through its Service: before that, no deploy is done.\n")
        first = f"kubectl -n {NAMESPACE} port-forward service/{NAME} 8080:80    # then: curl http://127.0.0.1:8080/"
    print("Try next:")
    for command in (
        *_activation(),
        first,
        "kubernaut list",
        f"kubernaut history {NAME} -n {NAMESPACE}",
        f"kubernaut logs {NAME} -n {NAMESPACE}",
        f"kubernaut ship examples/{NAME} -n {NAMESPACE} --reuse-values --set greeting=Ahoj",
        f"kubernaut delete {NAME} -n {NAMESPACE}    # the history stays; kubernaut restore brings it back",
    ):
        print(f"  {command}")
    server = f"http://{settings.serve_host}:{settings.serve_port}"
    print("The same over HTTP: `kubernaut serve`, and in another shell:")
    for path in ("", f"/{NAMESPACE}.{NAME}.current", f"/{NAMESPACE}.{NAME}.current/history"):
        print(f"  curl -H @{settings.token_path()} {server}/api/releases{path}")


def _activation() -> list[str]:
    """Say how this shell comes to know `kubernaut`, unless it does."""
    script = Path(sys.prefix, "bin", "activate")
    known = shutil.which("kubernaut") is not None or not script.exists()
    return [] if known else [f". {os.path.relpath(script)}    # puts kubernaut on this shell's PATH"]


if __name__ == "__main__":
    sys.exit(main())
