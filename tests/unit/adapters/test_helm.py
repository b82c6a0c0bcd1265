"""How `Helm` starts its program; the programs are small scripts that record their input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.messages import facts

from kubernaut.adapters.helm import Helm, values_input
from kubernaut.errors import DeadlineExceeded, DriverUnsupported, Interrupted, LockLost, NameInvalid, ToolMissing, ValuesInvalid

CANARY = "canary-8f3a-secret"
RECORD = """
import json, os, sys, time, signal
seen = {{"argv": sys.argv[1:], "environment": dict(os.environ), "cmdline": open("/proc/self/cmdline").read()}}
seen["input"] = sys.stdin.read()
json.dump(seen, open({path!r}, "w"))
"""

Make = Callable[..., Helm]


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    return lambda: json.loads((tmp_path / "seen").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A Helm that writes down what it sees, then runs the given code."""

    def write(body: str = "", environment: dict[str, str] | None = None, **options: Any) -> Helm:
        program = tmp_path / "helm"
        program.write_text(f"#!{sys.executable} -IS" + RECORD.format(path=str(tmp_path / "seen")) + body)
        program.chmod(0o755)
        arguments: dict[str, Any] = {"kubeconfig": "/kube/config", "plain_http": lambda registry: registry.startswith("localhost")}
        return Helm(str(program), environment={"PATH": os.environ["PATH"], **(environment or {})}, **{**arguments, **options})

    return write


def deploy(helm: Helm, *, replace: bool = False, install: bool = True, **options: Any) -> None:
    arguments: dict[str, Any] = {
        "namespace": "demo",
        "values": {"a": 1},
        "labels": {"kubernaut/revision": "2", "kubernaut/operation": "one"},
        "description": '1.0 by ada: "hi, $(rm -rf /) `x`"',
        "timeout": 89.2,
        "log": print,
        **options,
    }
    if replace:
        helm.install_replace("app", "oci://localhost:5000/charts/app@sha256:1", **arguments)
    else:
        helm.upgrade("app", "oci://localhost:5000/charts/app@sha256:1", install=install, history_max=7, **arguments)


def test_upgrade_arguments(make: Make, recorded: Callable[[], Any]) -> None:
    deploy(make(context="the context"))
    argv = recorded()["argv"]
    assert argv[:3] == ["upgrade", "app", "oci://localhost:5000/charts/app@sha256:1"]
    text = " ".join(argv)
    for argument in (
        "--install",
        "--wait",
        "--reset-values",
        "--history-max 7",
        "--timeout 90s",
        "--namespace demo",
        "--values -",
        "--labels=kubernaut/operation=one,kubernaut/revision=2",
        "--plain-http",
        "--kube-context=the context",
    ):
        assert argument in text
    assert argv[argv.index("--description") + 1] == '1.0 by ada: "hi, $(rm -rf /) `x`"'  # no shell has touched it
    assert "--output" not in argv  # it would print all values
    assert not {"--atomic", "--rollback-on-failure", "--create-namespace", "--wait-for-jobs", "--force"} & set(argv)
    assert json.loads(recorded()["input"]) == {"a": 1}


def test_upgrade_of_an_existing_release_omits_install(make: Make, recorded: Callable[[], Any]) -> None:
    deploy(make(), install=False)
    assert recorded()["argv"][0] == "upgrade"
    assert "--install" not in recorded()["argv"]


def test_arguments_of_other_commands(make: Make, recorded: Callable[[], Any]) -> None:
    helm = make()
    deploy(helm, replace=True)
    assert recorded()["argv"][:4] == ["install", "app", "oci://localhost:5000/charts/app@sha256:1", "--replace"]
    assert {"--wait", "--plain-http", "--labels=kubernaut/operation=one,kubernaut/revision=2"} <= set(recorded()["argv"])
    helm.rollback("app", 3, namespace="demo", timeout=10, history_max=7, log=print)
    assert recorded()["argv"] == ["rollback", "app", "3", "--history-max", "7", "--timeout", "10s", "--namespace", "demo", "--wait"]
    helm.uninstall("app", namespace="demo", description="gone", timeout=10, log=print)
    assert recorded()["argv"] == [
        "uninstall",
        "app",
        "--timeout",
        "10s",
        "--keep-history",
        "--namespace",
        "demo",
        "--wait",
        "--description",
        "gone",
    ]


def test_hooks_are_left_out_on_request_only(make: Make, recorded: Callable[[], Any]) -> None:
    helm = make()
    start: tuple[Callable[..., None], ...] = (
        lambda **how: deploy(helm, **how),
        lambda **how: deploy(helm, replace=True, **how),
        lambda **how: helm.rollback("app", 3, namespace="demo", timeout=10, history_max=7, log=print, **how),
        lambda **how: helm.uninstall("app", namespace="demo", description="gone", timeout=10, log=print, **how),
    )
    for run in start:
        run()
        assert "--no-hooks" not in recorded()["argv"]
        run(no_hooks=True)
        assert "--no-hooks" in recorded()["argv"]


def test_registry_with_tls_is_used_without_plain_http(make: Make, recorded: Callable[[], Any]) -> None:
    helm = make(plain_http=lambda _: False)
    deploy(helm)
    assert "--plain-http" not in recorded()["argv"]


def test_environment_is_allow_listed(make: Make, recorded: Callable[[], Any]) -> None:
    helm = make(
        environment={
            "HOME": "/home/ada",
            "HTTPS_PROXY": "http://proxy",
            "AWS_PROFILE": "team",
            "HELM_CACHE_HOME": "/cache",
            "JENKINS_TOKEN": CANARY,
            "GITHUB_TOKEN": CANARY,
            "HELM_KUBETOKEN": CANARY,
            "HELM_KUBEAPISERVER": "https://elsewhere",
            "HELM_NAMESPACE": "elsewhere",
            "HELM_DEBUG": "true",
            "LD_PRELOAD": "/evil.so",
            "PYTHONPATH": "/evil",
        },
        docker_config="/docker",
    )
    deploy(helm)
    assert set(recorded()["environment"]) - {"LC_CTYPE"} == {
        "PATH",
        "HOME",
        "HTTPS_PROXY",
        "AWS_PROFILE",
        "HELM_CACHE_HOME",
        "KUBECONFIG",
        "DOCKER_CONFIG",
    }
    assert recorded()["environment"]["KUBECONFIG"] == "/kube/config"


def test_secrets_are_masked_in_output_and_errors(make: Make, recorded: Callable[[], Any]) -> None:
    """A canary in the values and in the environment: not in the arguments, not in the log, not in the error."""
    body = (
        f'sys.stderr.write("level=WARN password {CANARY}\\nError: execution error at (a/templates/x.yaml:1:1): {CANARY} '
        f'and {CANARY}-env\\nmore {CANARY}\\n"); sys.exit(1)'
    )
    helm = make(body, environment={"AWS_SECRET_ACCESS_KEY": f"{CANARY}-env"})
    lines: list[str] = []
    with pytest.raises(Exception, match=r"a/templates/x\.yaml:1:1\): \*\*\*") as caught:
        deploy(
            helm,
            values={"db": {"password": CANARY, "credentials": {"user": CANARY}}, "list": [{"apiToken": CANARY}]},
            log=lines.append,
        )
    assert CANARY not in str(recorded()["argv"])
    assert CANARY not in recorded()["cmdline"]
    assert CANARY in recorded()["input"]
    assert CANARY not in "\n".join(lines)
    assert CANARY not in str(caught.value) + "".join(getattr(caught.value, "details", ()))


def test_each_line_of_a_multi_line_secret_is_masked(make: Make) -> None:
    key = '-----BEGIN KEY-----\nabcdefgh\nij"klmnop\n-----END KEY-----\n'
    body = r"""sys.stderr.write("Error: x: bad\nabcdefgh\nvalue ij\\\"klmnop\nij\"klmnop\n"); sys.exit(1)"""
    lines: list[str] = []
    with pytest.raises(Exception, match="bad") as caught:
        deploy(make(body), values={"tls": {"password": key}}, log=lines.append)
    shown = "\n".join([*lines, str(caught.value), *getattr(caught.value, "details", ())])
    assert lines == ["***", "value ***", "***"]
    assert "abcdefgh" not in shown
    assert "klmnop" not in shown


def test_log_omits_the_error_line(make: Make) -> None:
    lines: list[str] = []
    helm = make('sys.stderr.write("Pulled: x\\nError: bad\\n"); sys.exit(1)')
    with pytest.raises(Exception, match="bad"):
        deploy(helm, log=lines.append)
    assert lines == ["Pulled: x"]


def test_deadline_stops_helm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.adapters.helm.MARGIN_SECONDS", 0.0)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=facts("demo.app")):
        deploy(make("time.sleep(60)"), timeout=0.5)
    assert time.monotonic() - started < 10


def test_helm_stopped_by_a_signal_is_interrupted(make: Make) -> None:
    with pytest.raises(Interrupted):
        deploy(make('print("Release app has been cancelled."); sys.exit(1)'))


def test_ctrl_c_stops_helm(make: Make, tmp_path: Path) -> None:
    helm = make(f"""
def stop(*_):
    open({str(tmp_path / "failed")!r}, "w").write("x")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("up", file=sys.stderr, flush=True)
time.sleep(60)
""")

    def interrupt(line: str) -> None:
        if line == "up":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        deploy(helm, log=interrupt)
    assert (tmp_path / "failed").exists()


@pytest.mark.parametrize("verb", ["upgrade", "install", "rollback", "uninstall"])
def test_check_stops_helm(make: Make, recorded: Callable[[], Any], tmp_path: Path, verb: str) -> None:
    helm = make(f"""
signal.signal(signal.SIGTERM, lambda *_: (open({str(tmp_path / "failed")!r}, "w").close(), sys.exit(1)))
open({str(tmp_path / "up")!r}, "w").close()
time.sleep(60)
""")

    def check() -> None:
        if (tmp_path / "up").exists():
            raise LockLost("taken")

    known: dict[str, Any] = {"namespace": "demo", "timeout": 50, "log": print, "check": check}
    start: dict[str, Callable[[], None]] = {
        "upgrade": lambda: deploy(helm, check=check),
        "install": lambda: deploy(helm, replace=True, check=check),
        "rollback": lambda: helm.rollback("app", 3, history_max=7, **known),
        "uninstall": lambda: helm.uninstall("app", description="gone", **known),
    }
    with pytest.raises(LockLost, match="taken"):
        start[verb]()
    assert recorded()["argv"][0] == verb
    assert (tmp_path / "failed").exists()


@pytest.mark.parametrize("name", ["--post-renderer=x", "-n", "A", "a/b", "a\n", "", "a..b", "é", "x" * 54])
def test_names_that_look_like_flags_are_refused(make: Make, tmp_path: Path, name: str) -> None:
    helm = make()
    with pytest.raises(NameInvalid):
        helm.rollback(name, 1, namespace="demo", timeout=1, history_max=1, log=print)
    with pytest.raises(NameInvalid):
        helm.uninstall("app", namespace=name + "x" * 64, description="", timeout=1, log=print)
    assert not (tmp_path / "seen").exists()


def test_other_storage_drivers_are_refused(make: Make) -> None:
    with pytest.raises(DriverUnsupported, match="'configmap'"):
        make(environment={"HELM_DRIVER": "configmap"})
    make(environment={"HELM_DRIVER": "secret"})


def test_missing_helm_is_reported() -> None:
    helm = Helm("no-such-helm", environment=dict(os.environ), plain_http=lambda _: False)
    with pytest.raises(ToolMissing, match="no-such-helm"):
        helm.version()


def test_helm_runs_inside_an_event_loop(make: Make, recorded: Callable[[], Any]) -> None:
    import asyncio

    async def main() -> None:
        deploy(make())

    asyncio.run(main())
    assert recorded()["argv"][0] == "upgrade"


@pytest.mark.parametrize("values", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": "\ud800"}])
def test_values_that_are_not_json_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValuesInvalid):
        values_input(values)


@pytest.mark.parametrize("replace", [False, True])
def test_values_that_are_nested_too_deeply_are_refused(make: Make, recorded: Callable[[], Any], replace: bool) -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"a": nested}
    with pytest.raises(ValuesInvalid):
        deploy(make(), replace=replace, values=nested)
    with pytest.raises(FileNotFoundError):
        recorded()


def test_importing_kubernaut_imports_no_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import kubernaut, sys; print([m for m in ('pyhelm3', 'lightkube', 'httpx2') if m in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "[]\n"
