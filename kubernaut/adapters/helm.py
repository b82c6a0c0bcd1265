"""Helm, through a ``pyhelm3.Command`` whose runner is our own; the only file that imports ``pyhelm3``.

Each method starts Helm once. It reports what Helm said; what is true stands in the cluster's records (``history/``), not here.

pyhelm3 writes the arguments; ours is how Helm runs (:mod:`kubernaut.adapters.process`: no shell, a deadline, tied to us) and what
its messages mean (:mod:`kubernaut.adapters.helm_errors`). Values go in on standard input. Nothing here asks which Helm it is: the
flags used are those that Helm 3.17 and Helm 4 share. ``--atomic`` is never passed: on a failing reinstall it deletes the history.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyhelm3

from kubernaut.adapters import process
from kubernaut.adapters.helm_errors import explain
from kubernaut.adapters.process import Check, unchecked
from kubernaut.errors import (
    ChartInvalid,
    Conflict,
    DeadlineExceeded,
    DriverUnsupported,
    HelmFailed,
    Interrupted,
    RegistryUnreachable,
    ValuesInvalid,
)
from kubernaut.names import check_namespace, check_release_name
from kubernaut.redact import environment_secrets, is_secret_key, redact

Log = Callable[[str], None]
T = TypeVar("T")

# Helm sees these variables and no others: a CI job's environment is full of secrets that a chart's plugin has no business with.
# fmt: off
_ALLOWED = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY",
    "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME",
    "PASSWORD_STORE_DIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_REGISTRY_CONFIG",
    "HELM_BURST_LIMIT", "HELM_QPS", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "USE_GKE_GCLOUD_AUTH_PLUGIN",
))
# fmt: on
# A kubeconfig's exec plugins (aws, gcloud, kubelogin) and Docker's credential helpers (ecr-login, gcr) log in with these.
_ALLOWED_PREFIXES = ("AWS_", "AZURE_", "AAD_", "CLOUDSDK_", "GOOGLE_", "LC_")

_DIGEST = re.compile(r"^Digest:\s*(sha256:[0-9a-f]{64})\s*$", re.MULTILINE)
_CANCELLED = re.compile(rb"^Release \S+ has been cancelled\.$", re.MULTILINE)
_PACKAGE = re.compile(r"^Successfully packaged chart and saved it to: (.+)$", re.MULTILINE)

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

CHART_SECONDS = 60.0
"""How long Helm may take where no cluster is involved."""
REGISTRY_SECONDS = 300.0
"""How long a push may take."""
MARGIN_SECONDS = 5.0
"""How much longer than its own ``--timeout`` Helm may take, to write its record."""
_LARGEST_MANIFEST = 32 << 20


class _Command(pyhelm3.Command):  # type: ignore[misc]
    """pyhelm3's arguments, run our way; one object a start.

    Args:
        run: Runs Helm with arguments and input; returns its standard output.
        extra: Arguments that pyhelm3 cannot write.
        values: What goes in on standard input. Not as pyhelm3 writes it: Helm reads it as YAML, which does not know JSON's
            surrogate pairs, and an emoji in a value would fail.
        history_max: For the verbs that prune the history.
    """

    def __init__(
        self, run: Callable[[list[str], bytes], bytes], *extra: str, values: Mapping[str, Any] | None = None, history_max: int = 0
    ) -> None:
        super().__init__(history_max_revisions=history_max)
        self._run = run
        self._extra = extra
        self._input = b"" if values is None else values_input(values)

    async def run(self, command: list[Any], input: bytes | None = None) -> bytes:  # noqa: ARG002 - see ``values``
        """Run Helm, and hand nothing of what it prints to pyhelm3: the truth is the record.

        ``--output json`` is left out: it prints the whole release, values and all, which nobody here needs, and which nobody would
        read if kubernaut were killed meanwhile.
        """
        argv = [str(part) for part in command]
        if "--output" in argv:
            del argv[argv.index("--output") : argv.index("--output") + 2]
        self._run([*argv, *self._extra], self._input)
        return b"{}"


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, in this thread, whether or not an event loop runs in it."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("pyhelm3 waited for something other than Helm")


class Helm:
    """The Helm program.

    Args:
        program: Path or name of the executable.
        kubeconfig: The kubeconfig file, or several joined as in KUBECONFIG, or ``None`` for Helm's default.
        context: The kube context, or ``None`` for the current one.
        docker_config: The folder of Docker's config.json for OCI credentials, or ``None``.
        environment: Where the allow-listed variables are taken from.
        plain_http: Says whether a registry (``HOST[:PORT]/…``) is spoken to without TLS.
        grace: Seconds that Helm gets to end in when it is told to stop, before it is killed.

    Raises:
        DriverUnsupported: HELM_DRIVER names another driver than Secrets.
    """

    def __init__(
        self,
        program: str,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        docker_config: str | None = None,
        environment: Mapping[str, str],
        plain_http: Callable[[str], bool],
        grace: float = 10.0,
    ) -> None:
        driver = environment.get("HELM_DRIVER", "")
        if driver not in ("", "secret", "secrets"):
            raise DriverUnsupported(f"HELM_DRIVER is {driver!r}.")
        self._program = program
        self._context = context
        self._plain_http = plain_http
        self._grace = grace
        self._secrets = environment_secrets(environment)
        self._environment = allowed(environment)
        if kubeconfig or environment.get("KUBECONFIG"):
            self._environment["KUBECONFIG"] = kubeconfig or environment["KUBECONFIG"]
        if docker_config or environment.get("DOCKER_CONFIG"):
            self._environment["DOCKER_CONFIG"] = docker_config or environment["DOCKER_CONFIG"]

    def version(self) -> str:
        """Return Helm's version, such as ``3.17.3``. Raises: ToolMissing."""
        output = self._start(["version", "--template", "{{.Version}}"], what="Asking for Helm's version", seconds=CHART_SECONDS)
        return output.stdout.decode("utf-8", "replace").strip().removeprefix("v")

    # charts: no cluster needed

    def package(self, chart: Path, destination: Path) -> Path:
        """Package a chart folder; return the ``.tgz`` in ``destination``. Raises: ChartInvalid."""
        argv = ["package", _path(chart), f"--destination={_path(destination)}"]
        output = self._start(argv, what=f"Packaging the chart {chart.name}", seconds=CHART_SECONDS)
        match = _PACKAGE.search(output.stdout.decode("utf-8", "replace"))
        if match is None:
            raise HelmFailed(f"Packaging the chart {chart.name} failed: Helm did not say where the package is.")
        return destination / Path(match[1].strip()).name

    def template(self, chart: Path, *, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        """Render a chart; return the manifest, without hooks and tests. Raises: ChartInvalid, ValuesInvalid, Interrupted."""
        what = f"Rendering the chart {chart.name.removesuffix('.tgz')}"
        rendered: list[process.Finished] = []

        def run(argv: list[str], input: bytes) -> bytes:
            rendered.append(
                self._start(argv, input=input, what=what, seconds=CHART_SECONDS, secrets=_secrets(values), keep=_LARGEST_MANIFEST)
            )
            return b""

        check_release_name(name)
        _finish(_Command(run, values=values).template(name, _path(chart), namespace=check_namespace(namespace), no_hooks=True))
        if _CANCELLED.search(rendered[0].stdout):  # Helm prints it into the manifest, renders on and exits with 0
            raise self._cancelled(what, rendered[0], _secrets(values))
        if rendered[0].cut:
            raise ChartInvalid(f"{what} made more than {_LARGEST_MANIFEST >> 20} MiB.")
        return rendered[0].stdout.decode("utf-8", "replace")

    def push(self, package: Path, registry: str) -> str:
        """Push a package to ``oci://registry``; return the manifest digest. Raises: RegistryUnreachable, RegistryDenied."""
        registry = registry.removeprefix("oci://")
        argv = ["push", _path(package), f"oci://{registry}", *self._transport(registry)]
        output = self._start(argv, what=f"Pushing {package.name} to {registry}", seconds=REGISTRY_SECONDS)
        match = _DIGEST.search(output.stderr) or _DIGEST.search(output.stdout.decode("utf-8", "replace"))  # Helm 3, Helm 4
        if match is None:
            raise RegistryUnreachable(f"Pushing {package.name} to {registry} failed: Helm named no digest.")
        return match[1]

    # releases: each raises ClusterUnreachable, ClusterDenied, ReleaseLocked, HelmFailed (see deploy), DeadlineExceeded, or what
    # ``check`` raises, which is asked all the time whether Helm may go on

    def upgrade(
        self,
        name: str,
        chart: str,
        *,
        install: bool,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        history_max: int,
        log: Log,
        check: Check = unchecked,
    ) -> None:
        """Run ``helm upgrade --wait --reset-values``, with ``--install`` only where there is no record yet.

        Of releases that were deleted once, ``--install`` takes the record that is stored last for the newest, v9 after v10, and
        then installs what is there (Helm 3.17 to 4.2).
        """
        helm = self._runner(f"Deploying {namespace}.{name}", timeout, log, check, values)

        def run(argv: list[str], input: bytes) -> bytes:
            return helm(argv if install else [word for word in argv if word != "--install"], input)

        extra = ("--wait", "--hide-notes", *_labels(labels), *self._transport(chart))
        _finish(
            _Command(run, *extra, values=values, history_max=history_max).install_or_upgrade(
                check_release_name(name),
                _chart(chart),
                namespace=check_namespace(namespace),
                description=description,
                create_namespace=False,
                reset_values=True,
                timeout=_go_seconds(timeout),
            )
        )

    def install_replace(
        self,
        name: str,
        chart: str,
        *,
        namespace: str,
        values: Mapping[str, Any],
        labels: Mapping[str, str],
        description: str,
        timeout: float,
        log: Log,
        check: Check = unchecked,
    ) -> None:
        """Run ``helm install --replace --wait``: a deploy after a soft delete, which pyhelm3 cannot say."""
        run = self._runner(f"Deploying {namespace}.{name}", timeout, log, check, values)
        argv = ["install", check_release_name(name), _chart(chart), "--replace", "--wait", "--hide-notes", "--values", "-"]
        argv += ["--namespace", check_namespace(namespace), "--timeout", _go_seconds(timeout), "--description", description]
        run([*argv, *_labels(labels), *self._transport(chart)], values_input(values))

    def rollback(
        self, name: str, revision: int, *, namespace: str, timeout: float, history_max: int, log: Log, check: Check = unchecked
    ) -> None:
        """Run ``helm rollback --wait``."""
        run = self._runner(f"Rolling {namespace}.{name} back to revision {revision}", timeout, log, check)
        command = _Command(run, "--wait", history_max=history_max)
        _finish(
            command.rollback(check_release_name(name), revision, namespace=check_namespace(namespace), timeout=_go_seconds(timeout))
        )

    def uninstall(self, name: str, *, namespace: str, description: str, timeout: float, log: Log, check: Check = unchecked) -> None:
        """Run ``helm uninstall --keep-history --wait``: the soft delete. What is deleted already stays so."""
        run = self._runner(f"Deleting {namespace}.{name}", timeout, log, check)
        command, seconds = _Command(run, "--description", description), _go_seconds(timeout)
        name, namespace = check_release_name(name), check_namespace(namespace)
        try:
            _finish(command.uninstall(name, namespace=namespace, keep_history=True, wait=True, timeout=seconds))
        except Conflict as conflict:
            if "is already deleted" not in conflict.message:
                raise

    # how Helm runs

    def _runner(
        self, what: str, timeout: float, log: Log, check: Check, values: Mapping[str, Any] | None = None
    ) -> Callable[[list[str], bytes], bytes]:
        def run(argv: list[str], input: bytes) -> bytes:
            context = [f"--kube-context={self._context}"] if self._context else []
            self._start(
                [*argv, *context],
                input=input,
                what=what,
                seconds=timeout + MARGIN_SECONDS,
                secrets=_secrets(values or {}),
                log=log,
                check=check,
            )
            return b""

        return run

    def _start(
        self,
        argv: Sequence[str],
        *,
        what: str,
        seconds: float,
        input: bytes = b"",
        secrets: Sequence[str] = (),
        keep: int = 1 << 16,
        log: Log | None = None,
        check: Check = unchecked,
    ) -> process.Finished:
        program = process.find_program(self._program, self._environment.get("PATH"))
        hidden = (*self._secrets, *secrets)
        finished = process.run(
            [program, *argv],
            environment=self._environment,
            deadline=seconds,
            input=input,
            grace=self._grace,
            keep=keep,
            log=(lambda line: None if line.startswith("Error: ") else log(redact(line, hidden))) if log else None,
            check=check,
        )
        if finished.late:
            raise DeadlineExceeded(
                f"{what} took longer than {seconds:.0f} s, and Helm was stopped.", details=_tail(finished.stderr, hidden)
            )
        if finished.status == 0:
            return finished
        if _CANCELLED.search(finished.stdout):
            raise self._cancelled(what, finished, secrets, check)
        raise explain(what, redact(finished.stderr, hidden), finished.status)

    def _cancelled(self, what: str, finished: process.Finished, secrets: Sequence[str], check: Check = unchecked) -> Interrupted:
        """Return the error of a Helm that obeyed a signal, unless the same abort stops this process too: then that is raised."""
        process.await_stop(check)
        return Interrupted(f"{what} was stopped: Helm was told to end.", details=_tail(finished.stderr, (*self._secrets, *secrets)))

    def _transport(self, reference: str) -> list[str]:
        if reference.startswith(("/", ".")) or not self._plain_http(reference.removeprefix("oci://")):
            return []
        return ["--plain-http"]


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Helm may see."""
    return {name: value for name, value in environment.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)}


def values_input(values: Mapping[str, Any]) -> bytes:
    """Return values as Helm reads them: JSON that is YAML too. Raises: ValuesInvalid."""
    try:
        text = json.dumps(dict(values), ensure_ascii=False, allow_nan=False)
        return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValuesInvalid(f"The values cannot be written as JSON: {error}.") from error


def _chart(chart: str) -> str:
    if not chart.startswith(("oci://", "/")):
        raise ChartInvalid(f"{chart!r} is neither oci://… nor an absolute path.")
    return chart


def _path(path: Path) -> str:
    return os.fspath(path.absolute())


def _go_seconds(seconds: float) -> str:
    return f"{max(1, math.ceil(seconds))}s"


def _labels(labels: Mapping[str, str]) -> list[str]:
    return ["--labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items()))] if labels else []


def _tail(stderr: str, secrets: Sequence[str]) -> list[str]:
    return redact(stderr, secrets).splitlines()[-10:]


def _secrets(content: Any, telling: bool = False) -> tuple[str, ...]:
    """Return the texts that stand under a telling key of the values, at any depth: Helm must not repeat them to anybody.

    Of a text of several lines each line too, since Helm is heard line by line; and each as Helm quotes it.
    """
    return tuple(sorted(set(_telling_texts(content, telling)), key=len, reverse=True))


def _telling_texts(content: Any, telling: bool) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _telling_texts(value, telling or is_secret_key(str(key)))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _telling_texts(value, telling)
    elif telling and type(content) is int and len(str(content)) > 5:
        yield str(content)
    elif telling and isinstance(content, str) and len(content) > 3:
        for text in (content, *(line.strip() for line in content.splitlines())):
            if len(text) > 3:
                yield text
                yield json.dumps(text, ensure_ascii=False)[1:-1]
