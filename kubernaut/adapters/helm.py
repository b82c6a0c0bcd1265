"""Helm: its commands for charts and releases.

Each method starts Helm once and reports Helm's result; the truth is in the cluster's records (``history/``).

pyhelm3 writes the arguments (:mod:`kubernaut.adapters.helm_command`), :mod:`kubernaut.adapters.process` runs Helm (no shell, a
deadline, tied to this process), and :mod:`kubernaut.adapters.helm_errors` interprets its messages. Values are passed on standard
input. Flags that only Helm 4 has are passed only to it. ``--atomic`` is never passed: on a failing reinstall it deletes the
history. Nor is ``--wait-for-jobs``: with it Helm 3 fails for a Job that is deleted once it is done
(``ttlSecondsAfterFinished``); ``rollout/`` waits for Jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernaut.adapters import process
from kubernaut.adapters.helm_arguments import (
    absolute,
    allowed_variables,
    checked_chart,
    flag_arguments,
    go_seconds,
    label_arguments,
    secret_arguments,
    values_input,
)
from kubernaut.adapters.helm_command import Command, run_sync
from kubernaut.adapters.helm_errors import helm_error
from kubernaut.adapters.process import Check, CompletedProcess, no_check
from kubernaut.errors import (
    ChartInvalid,
    Conflict,
    DeadlineExceeded,
    DriverUnsupported,
    HelmFailed,
    Interrupted,
    RegistryUnreachable,
)
from kubernaut.models import check_namespace, check_release_name
from kubernaut.redact import environment_secrets, redact

Log = Callable[[str], None]

_DIGEST = re.compile(r"^Digest:\s*(sha256:[0-9a-f]{64})\s*$", re.MULTILINE)
_CANCELLED = re.compile(rb"^Release \S+ has been cancelled\.$", re.MULTILINE)
_PACKAGE = re.compile(r"^Successfully packaged chart and saved it to: (.+)$", re.MULTILINE)

CHART_SECONDS = 60.0
"""Timeout of commands that need no cluster."""
REGISTRY_SECONDS = 300.0
"""Timeout of a push."""
MARGIN_SECONDS = 5.0
"""Time beyond its ``--timeout`` in which Helm may write its record."""
_LARGEST_MANIFEST = 32 << 20


class Helm:
    """The Helm program.

    Args:
        program: The executable's path or name.
        kubeconfig: The kubeconfig file, or several joined as in KUBECONFIG; ``None`` for Helm's default.
        context: The kube context; ``None`` for the current one.
        docker_config: The folder of Docker's config.json with OCI credentials, or ``None``.
        environment: The source of the variables that Helm may see.
        plain_http: Whether a registry (``HOST[:PORT]/…``) is used without TLS.
        grace: Seconds between asking Helm to stop and killing it.

    Raises:
        DriverUnsupported: HELM_DRIVER selects another driver than Secrets.
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
        self._kube_context = [f"--kube-context={context}"] if context else []
        self._version = ""
        self._plain_http = plain_http
        self._grace = grace
        self._secrets = environment_secrets(environment)
        allowed = allowed_variables(environment)
        files = {"KUBECONFIG": kubeconfig, "DOCKER_CONFIG": docker_config}
        self._environment = allowed | {name: file for name, own in files.items() if (file := own or environment.get(name))}

    def version(self) -> str:
        """Return Helm's version, such as ``3.17.3``; Helm is asked once. Raises: ToolMissing."""
        if not self._version:
            output = self._helm(["version", "--template", "{{.Version}}"], what="Asking for Helm's version", seconds=CHART_SECONDS)
            self._version = output.text.strip().removeprefix("v")
        return self._version

    def package(self, chart: Path, destination: Path) -> Path:
        """Package a chart folder; return the ``.tgz`` in ``destination``. Raises: ChartInvalid."""
        argv = ["package", absolute(chart), f"--destination={absolute(destination)}"]
        output = self._helm(argv, what=f"Packaging the chart {chart.name}", seconds=CHART_SECONDS)
        match = _PACKAGE.search(output.text)
        if match is None:
            raise HelmFailed(f"Packaging the chart {chart.name} failed: its output does not name the package.")
        return destination / Path(match[1].strip()).name

    def template(self, chart: Path, *, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        """Render a chart; return the manifest, without hooks and tests. Raises: ChartInvalid, ValuesInvalid, Interrupted."""
        what = f"Rendering the chart {chart.name.removesuffix('.tgz')}"
        rendered: list[CompletedProcess] = []

        def run(argv: list[str], input: bytes) -> None:
            rendered.append(
                self._helm(argv, input=input, what=what, seconds=CHART_SECONDS, secrets=secrets, keep=_LARGEST_MANIFEST)
            )

        secrets = secret_arguments(values)
        check_release_name(name)
        run_sync(Command(run, values=values).template(name, absolute(chart), namespace=check_namespace(namespace), no_hooks=True))
        if _CANCELLED.search(rendered[0].stdout):  # Helm prints it into the manifest, continues and exits with 0
            raise self._cancelled(what, rendered[0], secrets)
        if rendered[0].truncated:
            raise ChartInvalid(f"{what} produced more than {_LARGEST_MANIFEST >> 20} MiB.")
        return rendered[0].text

    def push(self, package: Path, registry: str) -> str:
        """Push a package to ``oci://registry``; return the manifest digest. Raises: RegistryUnreachable, RegistryDenied."""
        registry = registry.removeprefix("oci://")
        argv = ["push", absolute(package), f"oci://{registry}", *self._transport(registry)]
        output = self._helm(argv, what=f"Pushing {package.name} to {registry}", seconds=REGISTRY_SECONDS)
        match = _DIGEST.search(output.stderr) or _DIGEST.search(output.text)  # Helm 3, Helm 4
        if match is None:
            raise RegistryUnreachable(f"Pushing {package.name} to {registry} failed: Helm reported no digest.")
        return match[1]

    # The methods below raise ClusterUnreachable, ClusterDenied, ReleaseLocked, HelmFailed or DeadlineExceeded, or the exception of
    # ``check``, which is called while Helm runs and stops it by raising.

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
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        skip_crds: bool = False,
        force_conflicts: bool = False,
        take_ownership: bool = False,
    ) -> None:
        """Run ``helm upgrade --wait --reset-values``, with ``--install`` only if there is no record yet.

        With ``--install``, Helm 3.17 to 4.2 takes the record that is listed last for the newest, v9 after v10, once the release was
        deleted, and installs over it. ``force_conflicts`` is only for Helm 4, and for objects that it applies on the server.
        """
        helm = self._runner(f"Deploying {namespace}.{name}", timeout, log, check, values)

        def run(argv: list[str], input: bytes) -> None:
            helm(argv if install else [word for word in argv if word != "--install"], input)

        flags = flag_arguments(no_hooks=no_hooks, force_conflicts=force_conflicts, take_ownership=take_ownership)
        extra = ("--wait", "--hide-notes", *flags, *label_arguments(labels), *self._transport(chart))
        run_sync(
            Command(run, *extra, values=values, history_max=history_max).install_or_upgrade(
                check_release_name(name),
                checked_chart(chart),
                namespace=check_namespace(namespace),
                description=description,
                create_namespace=False,
                reset_values=True,
                timeout=go_seconds(timeout),
                skip_crds=skip_crds,
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
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        skip_crds: bool = False,
        force_conflicts: bool = False,
        take_ownership: bool = False,
    ) -> None:
        """Run ``helm install --replace --wait``, which pyhelm3 does not support: a deploy after a soft delete."""
        run = self._runner(f"Deploying {namespace}.{name}", timeout, log, check, values)
        argv = ["install", check_release_name(name), checked_chart(chart), "--replace", "--wait", "--hide-notes", "--values", "-"]
        argv += ["--namespace", check_namespace(namespace), "--timeout", go_seconds(timeout), "--description", description]
        argv += flag_arguments(skip_crds=skip_crds, no_hooks=no_hooks, take_ownership=take_ownership)
        extra = [*flag_arguments(force_conflicts=force_conflicts), *label_arguments(labels), *self._transport(chart)]
        run([*argv, *extra], values_input(values))

    def render(
        self,
        name: str,
        chart: str,
        *,
        command: str,
        namespace: str,
        values: Mapping[str, Any],
        skip_crds: bool,
        log: Log,
        take_ownership: bool = False,
    ) -> dict[str, Any]:
        """Return the release that ``helm upgrade`` or ``install`` would make (``--dry-run=server``): chart, manifest and hooks.

        Args:
            name: The release.
            chart: The chart.
            command: ``upgrade``, ``install`` for the first release of a name, or ``install-replace`` after a delete.
            namespace: The namespace.
            values: The values.
            skip_crds: As for :meth:`upgrade`.
            take_ownership: As for :meth:`upgrade`.
            log: Receives Helm's warnings.

        Raises:
            ChartInvalid, ValuesInvalid: It cannot be rendered.
        """
        words = {"upgrade": ["upgrade"], "install": ["upgrade", "--install"], "install-replace": ["install", "--replace"]}[command]
        argv = [*words, check_release_name(name), checked_chart(chart), "--dry-run=server", "--output", "json", "--values", "-"]
        argv += ["--namespace", check_namespace(namespace), *(["--reset-values"] if words[0] == "upgrade" else [])]
        argv += [*flag_arguments(skip_crds=skip_crds, take_ownership=take_ownership), *self._transport(chart), *self._kube_context]
        what, secrets = f"Rendering {namespace}.{name}", secret_arguments(values)
        known: dict[str, Any] = {"input": values_input(values), "seconds": REGISTRY_SECONDS, "secrets": secrets, "log": log}
        result = self._helm(argv, what=what, keep=_LARGEST_MANIFEST, **known)
        if result.truncated:
            raise ChartInvalid(f"{what} produced more than {_LARGEST_MANIFEST >> 20} MiB.")
        try:
            content: dict[str, Any] = json.loads(result.text[result.text.index("{") :])  # after what Helm 4 writes about the pull
        except ValueError as error:
            raise HelmFailed(f"{what} failed: Helm printed something other than the release.") from error
        return content

    def rollback(
        self,
        name: str,
        revision: int,
        *,
        namespace: str,
        timeout: float,
        history_max: int,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
        force_conflicts: bool = False,
    ) -> None:
        """Run ``helm rollback --wait``; ``force_conflicts`` as in :meth:`upgrade`."""
        run = self._runner(f"Rolling {namespace}.{name} back to revision {revision}", timeout, log, check)
        flags = flag_arguments(wait=True, no_hooks=no_hooks, force_conflicts=force_conflicts)
        command = Command(run, *flags, history_max=history_max)
        run_sync(
            command.rollback(check_release_name(name), revision, namespace=check_namespace(namespace), timeout=go_seconds(timeout))
        )

    def uninstall(
        self,
        name: str,
        *,
        namespace: str,
        description: str,
        timeout: float,
        no_hooks: bool = False,
        log: Log,
        check: Check = no_check,
    ) -> None:
        """Run ``helm uninstall --keep-history --wait``: the soft delete. Do nothing if the release is deleted already."""
        run = self._runner(f"Deleting {namespace}.{name}", timeout, log, check)
        command, seconds = Command(run, "--description", description, *flag_arguments(no_hooks=no_hooks)), go_seconds(timeout)
        name, namespace = check_release_name(name), check_namespace(namespace)
        try:
            run_sync(command.uninstall(name, namespace=namespace, keep_history=True, wait=True, timeout=seconds))
        except Conflict as conflict:
            if "is already deleted" not in conflict.message:
                raise

    def _runner(
        self, what: str, timeout: float, log: Log, check: Check, values: Mapping[str, Any] | None = None
    ) -> Callable[[list[str], bytes], object]:
        def run(argv: list[str], input: bytes) -> None:
            seconds, secrets = timeout + MARGIN_SECONDS, secret_arguments(values or {})
            self._helm([*argv, *self._kube_context], input=input, what=what, seconds=seconds, secrets=secrets, log=log, check=check)

        return run

    def _helm(
        self,
        argv: Sequence[str],
        *,
        what: str,
        seconds: float,
        input: bytes = b"",
        secrets: Sequence[str] = (),
        keep: int = 1 << 16,
        log: Log | None = None,
        check: Check = no_check,
    ) -> CompletedProcess:
        program = process.find_program(self._program, self._environment.get("PATH"))
        hidden = (*self._secrets, *secrets)
        result = process.run(
            [program, *argv],
            environment=self._environment,
            deadline=seconds,
            input=input,
            grace=self._grace,
            keep=keep,
            log=(lambda line: None if line.startswith("Error: ") else log(redact(line, hidden))) if log else None,
            check=check,
        )
        if result.timed_out:
            raise DeadlineExceeded(
                f"{what} took longer than {seconds:.0f} s, and Helm was stopped.", details=_tail(result.stderr, hidden)
            )
        if result.returncode == 0:
            return result
        if _CANCELLED.search(result.stdout):
            raise self._cancelled(what, result, secrets, check)
        raise helm_error(what, redact(result.stderr, hidden), result.returncode)

    def _cancelled(self, what: str, result: CompletedProcess, secrets: Sequence[str], check: Check = no_check) -> Interrupted:
        """Return the error of a Helm that a signal stopped, unless the same abort stops this process: then raise that."""
        process.await_stop(check)
        return Interrupted(f"{what} was stopped: Helm received a signal.", details=_tail(result.stderr, (*self._secrets, *secrets)))

    def _transport(self, reference: str) -> list[str]:
        if reference.startswith(("/", ".")) or not self._plain_http(reference.removeprefix("oci://")):
            return []
        return ["--plain-http"]


def _tail(stderr: str, secrets: Sequence[str]) -> list[str]:
    return redact(stderr, secrets).splitlines()[-10:]
