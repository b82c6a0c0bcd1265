"""The settings and the clients that the verbs work with.

The methods import the clients: `kubernaut --help` loads none of them, and a script that only lists releases loads no Docker client.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from kubernaut.errors import KubernautError
from kubernaut.events import Progress, StopCheck, never_stop
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.chart_repository import ChartRepositoryClient
    from kubernaut.adapters.docker import DockerEngine
    from kubernaut.adapters.github import CommitStatusReporter, StatusClient
    from kubernaut.adapters.helm import Helm
    from kubernaut.adapters.kube import Cluster
    from kubernaut.adapters.registry import Credentials, RegistryClient
    from kubernaut.deploy.execution import DeployContext
    from kubernaut.history.store import HistoryStore
    from kubernaut.publish.pipeline import PublishContext
    from kubernaut.publish.registry import Registry
    from kubernaut.rollout.health_reader import HealthReader

GITHUB_TOKEN = "KUBERNAUT_GITHUB_TOKEN"  # noqa: S105 - the variable's name


class Clients:
    """The clients at the addresses in the settings, each opened when it is first needed and then shared."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def engine(self) -> DockerEngine:
        """The Docker engine."""
        from kubernaut.adapters.docker import DockerEngine

        settings = self._settings
        return DockerEngine(settings.docker_host, docker_config=settings.docker_config, environment=settings.environment)

    @cached_property
    def helm(self) -> Helm:
        """The Helm command."""
        from kubernaut.adapters.helm import Helm

        settings = self._settings
        return Helm(
            settings.helm,
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            docker_config=settings.docker_config,
            environment=settings.environment,
            plain_http=settings.uses_plain_http,
        )

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster."""
        from kubernaut.adapters.kube import Cluster

        return Cluster(self._settings.kubeconfig, self._settings.context)

    @cached_property
    def history(self) -> HistoryStore:
        """The release history in the cluster."""
        from kubernaut.history.store import HistoryStore

        return HistoryStore(lambda: self.cluster)

    @cached_property
    def health(self) -> HealthReader:
        """The health of releases in the cluster."""
        from kubernaut.rollout.health_reader import HealthReader

        return HealthReader(self.history, lambda: self.cluster, self._settings)

    @cached_property
    def registry_client(self) -> RegistryClient:
        """The HTTP client of the registries."""
        from kubernaut.adapters.registry import RegistryClient

        return RegistryClient(plain_http=self._settings.uses_plain_http, credentials=self._credentials)

    @cached_property
    def chart_repositories(self) -> ChartRepositoryClient:
        """The HTTP client of chart repositories."""
        from kubernaut.adapters.chart_repository import ChartRepositoryClient

        return ChartRepositoryClient(plain_http=self._settings.uses_plain_http, credentials=self._credentials)

    @cached_property
    def registry(self) -> Registry:
        """The registries of images and charts."""
        from kubernaut.publish.registry import Registry

        return Registry(self.registry_client, self._settings)

    @cached_property
    def github(self) -> StatusClient | None:
        """GitHub, for commit statuses; ``None`` if no token is set."""
        settings = self._settings
        if not settings.environment.get(GITHUB_TOKEN) and settings.github_token_file is None:
            return None
        from kubernaut.adapters.github import StatusClient
        from kubernaut.adapters.secret_files import token_from_settings

        def token() -> str | None:  # read when a status is sent: a wrong token then fails no verb
            return token_from_settings(settings, GITHUB_TOKEN, settings.github_token_file)()

        return StatusClient(settings.github_url, token=token, plain_http=settings.uses_plain_http)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        for name in ("cluster", "registry_client", "chart_repositories", "github"):
            if self.__dict__.get(name) is not None:
                getattr(self, name).close()

    def _credentials(self, registry: str) -> Credentials | None:
        from kubernaut.adapters.docker import credentials_for

        return credentials_for(registry, self._settings.docker_config)


@dataclass(frozen=True)
class Context:
    """The settings of one actor, and the clients that all actors share.

    Attributes:
        settings: The settings, with the actor and its CI build.
        progress: Receives the steps of a verb.
        clients: The clients.
        stopped: Polled while Helm runs; once it returns true, Helm is stopped.
    """

    settings: Settings
    progress: Progress
    clients: Clients
    stopped: StopCheck = never_stop

    def status_reporter(self, *, silent: bool) -> CommitStatusReporter:
        """Return the reporter of a verb's commit statuses; with ``silent`` it reports nothing."""
        from kubernaut.adapters.github import CommitStatusReporter

        github = None if silent else self.clients.github
        return CommitStatusReporter(github, self.settings, self.progress.listener)

    @property
    def publish_context(self) -> PublishContext:
        """What ``publish/`` needs."""
        from kubernaut.publish.pipeline import PublishContext

        return PublishContext(
            engine=lambda: self.clients.engine,
            helm=lambda: self.clients.helm,
            registry=self.clients.registry,
            settings=self.settings,
            progress=self.progress,
        )

    @property
    def deploy_context(self) -> DeployContext:
        """What ``deploy/`` needs."""
        from kubernaut.deploy.execution import DeployContext

        return DeployContext(
            helm=lambda: self.clients.helm,
            cluster=lambda: self.clients.cluster,
            store=self.clients.history,
            settings=self.settings,
            progress=self.progress,
            stopped=self.stopped,
        )


def preload_deploy(clients: Clients, namespace: str) -> None:
    """Import what a deploy needs, which takes a quarter of a second, and open a connection to the cluster in a thread.

    Two threads must not import at the same time: packages with circular imports, such as asyncio, can then be seen half imported.
    The thread may be cut off by the end of the process, so the certificates, which pass through a temporary file, are read before.
    """
    for module in ("kubernaut.adapters.kube", "kubernaut.deploy.execute"):
        import_module(module)
    with suppress(KubernautError):  # the deploy itself reports it
        clients.cluster.read_credentials()
        threading.Thread(target=_connect, args=(clients.cluster, namespace), daemon=True, name="kubernaut-connect").start()


def _connect(cluster: Cluster, namespace: str) -> None:
    with suppress(KubernautError):
        cluster.namespace_exists(namespace)
