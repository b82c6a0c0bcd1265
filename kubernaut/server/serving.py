"""Creates a server from settings and options, and runs it until it is stopped.

Nothing here is global: several servers can run in one process.
"""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kubernaut.errors import IndexStale, KubernautError, SettingInvalid
from kubernaut.models import check_namespace
from kubernaut.redact import environment_secrets
from kubernaut.server.audit import Audit, AuditFile, to_stderr
from kubernaut.server.auth.access import AllowedHosts, Authenticator, ChartPolicy, Token
from kubernaut.server.auth.tokens import generated_token, named_tokens
from kubernaut.server.metrics import GaugeName, Metrics
from kubernaut.server.operations.abandoned import AbandonedOperations
from kubernaut.server.operations.recovery import Recovery
from kubernaut.server.operations.workers import RunningOperation, Workers
from kubernaut.server.routing import ServerContext
from kubernaut.settings import Settings, is_loopback

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.index import Index

_POLL_SECONDS = 0.5
_RESPONSE_SECONDS = 10.0
"""How long open responses may take once the operations have finished."""


@dataclass(frozen=True)
class ServeOptions:
    """The options of a server, besides the settings with its address.

    Attributes:
        auth: Whether callers need a token.
        tokens: A file of named tokens; without it, one token is generated in the settings' ``token_file``.
        namespaces: The namespaces that the server shows and changes; all when empty.
        allow_hosts: Host names that it answers to, besides its address.
        allow_charts: Registries that charts may come from, besides the settings' own.
        behind_tls_proxy: Whether a proxy terminates TLS in front of it; required beyond the loopback interface.
        workers: The number of operations that run at once.
        grace: Seconds that running operations may take when the server is stopped.
        audit_log: The audit log's file; stderr without it.
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


def create_context(kubernaut: Kubernaut, options: ServeOptions) -> ServerContext:
    """Create the parts of a server; no thread is started and no port opened.

    Raises:
        SettingInvalid: An option is invalid, or the address needs a TLS proxy, tokens or a host name that are missing.
        NameInvalid: A namespace is invalid.
    """
    settings = kubernaut.settings
    _check_address(settings.serve_host, options)
    for namespace in options.namespaces:
        check_namespace(namespace)
    hosts = AllowedHosts(settings.serve_host, settings.serve_port, options.allow_hosts)
    chart_policy = ChartPolicy(_chart_prefixes(settings, options))
    authenticator = Authenticator(hosts, _tokens(settings, options))
    secrets = environment_secrets(settings.environment)
    metrics = Metrics()
    write = AuditFile(options.audit_log).write if options.audit_log else to_stderr
    audit = Audit(write, secrets=secrets, on_lost=metrics.count_lost_audit_line)
    index = kubernaut.index(options.namespaces)
    workers = Workers(options.workers, on_finished=lambda running: record_result(running, audit, metrics), secrets=secrets)
    metrics.set_gauge(GaugeName.INDEX_AGE, index.age)
    metrics.set_gauge(GaugeName.OPERATIONS_RUNNING, workers.running)
    return ServerContext(kubernaut, index, workers, chart_policy, authenticator, audit, metrics, options.namespaces)


def record_result(running: RunningOperation, audit: Audit, metrics: Metrics) -> None:
    """Count a finished operation, and write its result to the audit log."""
    operation, result = running.operation, running.result
    if isinstance(result, KubernautError) or result is None:
        outcome, release = (result or KubernautError("")).code, getattr(result, "release", None)
    else:
        outcome, release = "succeeded" if result.changed else "unchanged", result.release and result.release.id
    metrics.count_operation(operation.verb, outcome, running.seconds)
    audit.write(
        event="operation",
        caller=operation.actor,
        verb=operation.verb,
        release=release or f"{operation.namespace}.{operation.name}",
        operation=operation.id,
        outcome=outcome,
    )


def run(context: ServerContext, options: ServeOptions, until: Callable[[str], None]) -> None:
    """Serve until ``until`` returns; then let running operations finish, and answer requests meanwhile.

    Args:
        context: The server's parts.
        options: The options that they were created with.
        until: Called with the server's address once it listens; returns when the server is to stop. A ``KeyboardInterrupt`` from it
            also stops the operations.

    Raises:
        PortTaken: Another process listens on the port.
        SettingInvalid: The host is not an address of this machine.
    """
    actor = f"kubernaut-server@{socket.gethostname()}"
    recovery = Recovery(context.kubernaut, context.index, context.audit, actor=actor, busy=context.workers.busy)
    abandoned = AbandonedOperations(
        lambda: context.kubernaut.context.clients.cluster,
        context.index,
        context.audit,
        actor=actor,
        is_running=lambda operation: context.workers.find(operation) is not None,
    )
    with _serving(context, options) as address:
        try:
            recovery.start()
            abandoned.start()
            try:
                until(address)
            finally:
                abandoned.stop()
                recovery.stop()
            _stop(context.workers, options.grace)
        except KeyboardInterrupt:
            context.workers.stop(0)
            raise


def _stop(workers: Workers, grace: float) -> None:
    # In a separate thread: Python handles a signal only when the main thread runs, and not while it waits for a lock.
    stopping = threading.Thread(target=workers.stop, args=(grace,), name="kubernaut-stop", daemon=True)
    stopping.start()
    while stopping.is_alive():
        stopping.join(_POLL_SECONDS)


@contextmanager
def _serving(context: ServerContext, options: ServeOptions) -> Iterator[str]:
    from kubernaut.server.app import create_app
    from kubernaut.server.listener import listen

    settings = context.kubernaut.settings
    with ExitStack() as stack:
        stack.callback(context.kubernaut.close)
        app = create_app(context)
        server = listen(app, settings.serve_host, settings.serve_port, behind_tls_proxy=options.behind_tls_proxy)
        # After an exception, such as a second Ctrl-C, open responses are cut off.
        stack.push(lambda exception, *_: server.stop(0.0 if exception else _RESPONSE_SECONDS))
        context.index.start()
        stack.callback(context.index.stop)
        stack.enter_context(frozen_index(context.index))
        yield server.address


@contextmanager
def frozen_index(index: Index) -> Iterator[None]:
    """Exclude the index from garbage collection once it is loaded; traversing it causes most of the tail latency."""
    stopping = threading.Event()

    def freeze() -> None:
        while not stopping.wait(_POLL_SECONDS):
            try:
                index.check()
            except IndexStale:
                continue
            gc.collect()
            gc.freeze()
            return

    thread = threading.Thread(target=freeze, name="kubernaut-freeze", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        gc.unfreeze()


def _check_address(host: str, options: ServeOptions) -> None:
    if is_loopback(host):
        return
    if options.auth == "none":
        raise SettingInvalid(
            f"--auth none is only allowed on the loopback interface, and {host} is reachable from other machines.",
            hint="Omit --host, or omit --auth none.",
        )
    if not options.behind_tls_proxy:
        raise SettingInvalid(
            f"{host} is reachable from other machines, and the server does not speak TLS: tokens would be sent in clear text.",
            hint=f"Put a TLS proxy in front: kubernaut serve --host {host} --behind-tls-proxy --allow-host NAME",
        )
    if not options.allow_hosts:
        raise SettingInvalid(
            "A server behind a proxy needs the host name that clients use.",
            hint=f"Name it: kubernaut serve --host {host} --behind-tls-proxy --allow-host NAME",
        )


def _chart_prefixes(settings: Settings, options: ServeOptions) -> tuple[str, ...]:
    configured = settings.chart_registry or settings.registry
    return (*((settings.require_chart_registry(),) if configured else ()), *options.allow_charts)


def _tokens(settings: Settings, options: ServeOptions) -> tuple[Token, ...] | None:
    if options.auth == "none":
        return None
    return named_tokens(options.tokens) if options.tokens else (generated_token(settings.token_path()),)
