"""Puts the server together, once, and runs it, from its first request to its last.

Nothing here is global: two services live side by side in one process.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kubernaut.errors import KubernautError, SettingInvalid
from kubernaut.names import check_namespace
from kubernaut.redact import environment_secrets
from kubernaut.server.audit import Audit, AuditFile, to_stderr
from kubernaut.server.auth.authenticator import Gate
from kubernaut.server.auth.charts import Charts
from kubernaut.server.auth.hosts import Hosts
from kubernaut.server.auth.tokens import Token, generated_token, named_tokens
from kubernaut.server.heap import Heap
from kubernaut.server.metrics import Measured, Metrics
from kubernaut.server.operations.recovery import Recovery
from kubernaut.server.operations.workers import Running, Workers
from kubernaut.server.service import Service
from kubernaut.settings import Settings, is_loopback

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut

_LOOK_SECONDS = 0.5
_ANSWERS_SECONDS = 10.0
"""How long the last answers may take when the operations have ended."""


@dataclass(frozen=True)
class ServeOptions:
    """How a server is wished, beside the settings; those say where it listens.

    Attributes:
        tokens: A file of named tokens; without it there is one token, generated, in the settings' ``token_file``.
        namespaces: The only ones that it shows and changes; all when there are none.
        allow_hosts: Names that it answers to, beside its address.
        allow_charts: Registries that charts may come from, beside the settings' own.
        behind_tls_proxy: Whether somebody before it speaks TLS, so that it may listen beyond this machine.
        workers: How many operations it carries out at once.
        grace: How many seconds running operations may take to end when it is stopped.
        audit_log: The file for audit lines; stderr without it.
    """

    auth: Literal["token", "none"] = "token"
    tokens: Path | None = None
    namespaces: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    allow_charts: tuple[str, ...] = ()
    behind_tls_proxy: bool = False
    workers: int = 8
    grace: float = 300.0
    audit_log: Path | None = None


def open_service(kubernaut: Kubernaut, options: ServeOptions) -> Service:
    """Put a service together; nothing is begun yet.

    Raises:
        SettingInvalid: It would listen beyond this machine without what that needs, or an option cannot be used.
    """
    settings = kubernaut.settings
    _check_place(settings.serve_host, options)
    for namespace in options.namespaces:
        check_namespace(namespace)
    hosts = Hosts(settings.serve_host, settings.serve_port, options.allow_hosts)
    charts = Charts(_prefixes(settings, options))
    gate = Gate(hosts, _tokens(settings, options))
    secrets = environment_secrets(settings.environment)
    metrics = Metrics()
    write = AuditFile(options.audit_log).write if options.audit_log else to_stderr
    audit = Audit(write, secrets=secrets, lost=metrics.audit_lost)
    index = kubernaut.watch(options.namespaces)
    workers = Workers(options.workers, finished=lambda running: tell(running, audit, metrics), secrets=secrets)
    metrics.measure(Measured.INDEX_AGE, index.age)
    metrics.measure(Measured.OPERATIONS_RUNNING, workers.running)
    return Service(kubernaut, index, workers, charts, gate, audit, metrics, options.namespaces)


def tell(running: Running, audit: Audit, metrics: Metrics) -> None:
    """Count an operation that has ended, and write down what came of it."""
    operation, result = running.operation, running.result
    if isinstance(result, KubernautError) or result is None:
        outcome, release = (result or KubernautError("")).code, getattr(result, "release", None)
    else:
        outcome, release = "succeeded" if result.changed else "unchanged", result.release and result.release.id
    metrics.operation(operation.verb, outcome, running.seconds)
    audit.write(
        event="operation",
        caller=operation.actor,
        verb=operation.verb,
        release=release or f"{operation.namespace}.{operation.name}",
        operation=operation.id,
        outcome=outcome,
    )


def run(service: Service, options: ServeOptions, until: Callable[[str], None]) -> None:
    """Serve until somebody wants it to end; then let running operations end, and answer those who look as long as they do.

    Args:
        service: What the routes work with.
        options: How it is wished.
        until: Is given the server's address once it listens, and returns when the server is to end. A ``KeyboardInterrupt`` ends
            the operations too.
    """
    with _serving(service, options) as address:
        try:
            with _recovering(service):
                until(address)
            _stop(service.workers, options.grace)
        except KeyboardInterrupt:
            service.workers.stop(0)
            raise


def _stop(workers: Workers, grace: float) -> None:
    # In a thread of its own: a signal that another thread was handed is dealt with when this one, the main thread, runs.
    stopping = threading.Thread(target=workers.stop, args=(grace,), name="kubernaut-stop", daemon=True)
    stopping.start()
    while stopping.is_alive():
        stopping.join(_LOOK_SECONDS)


@contextmanager
def _serving(service: Service, options: ServeOptions) -> Iterator[str]:
    from kubernaut.server.app import create_app
    from kubernaut.server.listener import listen

    settings = service.kubernaut.settings
    with ExitStack() as stack:
        stack.callback(service.kubernaut.close)
        app = create_app(service)
        listening = listen(app, settings.serve_host, settings.serve_port, behind_tls_proxy=options.behind_tls_proxy)
        # Whoever is in a hurry does not wait for answers that are under way.
        stack.push(lambda hurry, *_: listening.stop(0.0 if hurry else _ANSWERS_SECONDS))
        service.index.start()
        stack.callback(service.index.stop)
        heap = Heap(service.index)
        heap.start()
        stack.callback(heap.stop)
        yield listening.address


@contextmanager
def _recovering(service: Service) -> Iterator[None]:
    recovery = Recovery(
        service.kubernaut,
        service.index,
        service.audit,
        actor=f"kubernaut-server@{socket.gethostname()}",
        busy=service.workers.busy,
    )
    recovery.start()
    try:
        yield
    finally:
        recovery.stop()


def _check_place(host: str, options: ServeOptions) -> None:
    if is_loopback(host):
        return
    if options.auth == "none":
        raise SettingInvalid(
            f"--auth none is for this machine alone, and {host} is reached from others.", hint="Leave --host or --auth out."
        )
    if not options.behind_tls_proxy:
        raise SettingInvalid(
            f"{host} is reached from other machines, and the server speaks no TLS: tokens could be read on the way.",
            hint="Put a proxy that speaks TLS before it, and say so with --behind-tls-proxy and --allow-host NAME.",
        )
    if not options.allow_hosts:
        raise SettingInvalid(
            "Behind a proxy the server must know the names that it is asked by.", hint="Name them: --allow-host NAME[:PORT]."
        )


def _prefixes(settings: Settings, options: ServeOptions) -> tuple[str, ...]:
    known = settings.chart_registry or settings.registry
    return (*((settings.require_chart_registry(),) if known else ()), *options.allow_charts)


def _tokens(settings: Settings, options: ServeOptions) -> tuple[Token, ...] | None:
    if options.auth == "none":
        return None
    return named_tokens(options.tokens) if options.tokens else (generated_token(settings.token_path()),)
