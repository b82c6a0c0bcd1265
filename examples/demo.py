"""Publish and deploy hello-world, from its folder to a running release, and call it. `make demo` runs this.

`--cluster local` starts the local platform and uses it. `--cluster current` starts nothing and uses your own cluster, registry and
Docker engine: the current kube context, --registry and DOCKER_HOST.
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
ANSWER_SECONDS = 60.0  # long enough for pods that restart with the platform


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status, as documented for the `kubernaut` command."""
    options = _options(arguments)
    with handle_signals():
        return handle_errors(lambda: _demo(options), json=False, verbose=options.verbose)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--cluster", choices=["local", "current"], default="local", help="the cluster to use; %(default)s by default"
    )
    parser.add_argument(
        "--registry", metavar="HOST/PREFIX", help="the OCI registry; by default the local platform's, or KUBERNAUT_REGISTRY"
    )
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    parser.add_argument("--verbose", action="store_true", help="show the output of the tools")
    return parser.parse_args(arguments)


def _demo(options: argparse.Namespace) -> None:
    environment = dict(os.environ)
    if options.cluster == "local":
        # The first build takes minutes: without a terminal, print every line, so that it does not look stuck.
        with show_progress(options.verbose or not sys.stderr.isatty()) as listener:
            environment |= local_platform(options.name, listener)
    with show_progress(options.verbose) as listener:
        settings = load_settings({"registry": options.registry}, environment=environment)
        port = environment["KUBERNAUT_NODE_PORT"] if options.cluster == "local" else None
        deployed = _ship(settings, port, listener)
        answer = _call(f"http://127.0.0.1:{port}/", deployed, listener) if port else None
    _show(deployed, _helm_history(settings), port, answer, settings, options.name)


def local_platform(name: str, listener: Listener) -> dict[str, str]:
    """Start the local platform; return the environment variables with which programs use it."""
    from kubernaut_local import Platform

    platform = Platform(name)
    platform.up(listener=listener)
    return platform.environment()


def _ship(settings: Settings, port: str | None, listener: Listener) -> Deployed:
    """Publish the application and deploy that version. This is the whole use of kubernaut's library."""
    values = ["service.type=NodePort", f"service.nodePort={port}"] if port else []
    return Kubernaut(settings, listener=listener).ship(APPLICATION, namespace=NAMESPACE, create_namespace=True, set=values)


def _call(url: str, deployed: Deployed, listener: Listener) -> str:
    """Call the application until this version answers; the previous one may still answer for a moment."""
    version = deployed.release.app_version if deployed.release else None

    def check(answer: Any) -> None:
        if answer.get("version") != version:
            raise ValueError(f"version {answer.get('version')} still answers")

    with Progress(listener).step("call", url) as step:
        answer = wait_for_answer(url, check, f"{NAME} {version}")
        step.done(answer)
        return answer


def wait_for_answer(url: str, check: Callable[[Any], None], expected: str) -> str:
    """Call a URL, without a proxy, until it returns the expected JSON; return that as text.

    Args:
        url: The URL to call.
        check: Raises ValueError for an unexpected answer.
        expected: A description of the expected answer, for the error.

    Raises:
        Unreachable: The expected answer did not come in time.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with opener.open(url, timeout=2) as response:
                answer = json.load(response)
            check(answer)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"{url} does not answer as {expected}: {error}.") from error
            time.sleep(0.2)
        else:
            return json.dumps(answer)


def _helm_history(settings: Settings) -> str:
    """Return the output of `helm history`: kubernaut's releases are ordinary Helm releases."""
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


def _show(deployed: Deployed, history: str, port: str | None, answer: str | None, settings: Settings, platform: str) -> None:
    if not deployed.changed:
        print(f"\nUnchanged: {deployed.plan.reason}")
    print(f"\n$ helm history {NAME} -n {NAMESPACE}\n{history}\n")
    if port:
        print(f"$ curl http://127.0.0.1:{port}/\n{answer}\n")
        named = "" if platform == "default" else f" --name {platform}"
        first = f'eval "$(kubernaut local env{named})"    # use the local platform in this shell'
    else:
        print("The application answered through its Service; a deploy waits for that.\n")
        first = f"kubectl -n {NAMESPACE} port-forward service/{NAME} 8080:80    # then: curl http://127.0.0.1:8080/"
    print("Try next:")
    for command in (
        *_activation(),
        first,
        "kubernaut list",
        f"kubernaut history {NAME} -n {NAMESPACE}",
        f"kubernaut logs {NAME} -n {NAMESPACE}",
        f"kubernaut ship examples/{NAME} -n {NAMESPACE} --reuse-values --set greeting=Ahoj",
        f"kubernaut delete {NAME} -n {NAMESPACE}    # keeps the history; `kubernaut restore` brings it back",
    ):
        print(f"  {command}")
    server = f"http://{settings.serve_host}:{settings.serve_port}"
    print("The same over HTTP: run `kubernaut serve`, and in another shell:")
    for path in ("", f"/{NAMESPACE}.{NAME}.current", f"/{NAMESPACE}.{NAME}.current/history"):
        print(f"  curl -H @{settings.token_path()} {server}/api/releases{path}")


def _activation() -> list[str]:
    """Return the command that puts `kubernaut` on PATH, if it is not there."""
    script = Path(sys.prefix, "bin", "activate")
    on_path = shutil.which("kubernaut") is not None or not script.exists()
    return [] if on_path else [f". {os.path.relpath(script)}    # put kubernaut on this shell's PATH"]


if __name__ == "__main__":
    sys.exit(main())
