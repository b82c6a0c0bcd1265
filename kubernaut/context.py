"""The clients as the settings say, each opened when first needed, and handed to the rooms.

The imports stand in the methods on purpose: `kubernaut --help` pays for none of them, and a script that only lists releases pays
for no Docker and no Helm.
"""

from __future__ import annotations

import threading
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from kubernaut.commit_status import CommitStatusReporter
from kubernaut.events import Progress, Stopped, never
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.docker import Credentials, DockerEngine
    from kubernaut.adapters.github import StatusClient
    from kubernaut.adapters.helm import Helm
    from kubernaut.adapters.kube import Cluster
    from kubernaut.adapters.registry import RegistryClient
    from kubernaut.deploy import execution
    from kubernaut.history.store import HistoryStore
    from kubernaut.publish import pipeline as publication
    from kubernaut.publish.registry import Registry

GITHUB_TOKEN = "KUBERNAUT_GITHUB_TOKEN"  # noqa: S105 - the variable's name


class Clients:
    """The clients, opened once for all who work with the same settings.

    Args:
        settings: Where everything is.
    """

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
        """The Helm program."""
        from kubernaut.adapters.helm import Helm

        settings = self._settings
        return Helm(
            settings.helm,
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            docker_config=settings.docker_config,
            environment=settings.environment,
            plain_http=settings.speaks_plain_http,
        )

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster."""
        from kubernaut.adapters.kube import Cluster

        return Cluster(self._settings.kubeconfig, self._settings.context)

    @cached_property
    def history(self) -> HistoryStore:
        """The releases in the cluster."""
        from kubernaut.history.store import HistoryStore

        return HistoryStore(lambda: self.cluster)

    @cached_property
    def web(self) -> RegistryClient:
        """HTTP to the registries."""
        from kubernaut.adapters.registry import RegistryClient

        return RegistryClient(plain_http=self._settings.speaks_plain_http, credentials=self._credentials)

    @cached_property
    def registry(self) -> Registry:
        """The registries of images and charts."""
        from kubernaut.publish.registry import Registry

        return Registry(self.web, self._settings)

    @cached_property
    def github(self) -> StatusClient | None:
        """GitHub, which is told what became of commits; ``None`` where no token is set for it."""
        settings = self._settings
        if not settings.environment.get(GITHUB_TOKEN) and settings.github_token_file is None:
            return None
        from kubernaut.adapters.github import StatusClient
        from kubernaut.adapters.secret_files import token_from_settings

        def token() -> str | None:  # what is wrong with it is found out when it is needed, where it stops nothing
            return token_from_settings(settings, GITHUB_TOKEN, settings.github_token_file)()

        return StatusClient(settings.github_url, token=token, plain_http=settings.speaks_plain_http)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        for name in ("cluster", "web", "github"):
            if self.__dict__.get(name) is not None:
                getattr(self, name).close()

    def _credentials(self, registry: str) -> Credentials | None:
        from kubernaut.adapters.docker import credentials_for

        return credentials_for(registry, self._settings.docker_config)


class Context:
    """What the verbs work with.

    Args:
        settings: Where everything is, and who works.
        progress: Who is told of the steps.
        clients: The clients, where others work with them too.
        stopped: Whether a running Helm shall be stopped.
    """

    def __init__(self, settings: Settings, progress: Progress, *, clients: Clients | None = None, stopped: Stopped = never) -> None:
        self.clients = clients or Clients(settings)
        self._settings = settings
        self._progress = progress
        self._stopped = stopped

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.clients.cluster

    @property
    def history(self) -> HistoryStore:
        """The releases in the cluster."""
        return self.clients.history

    @property
    def registry(self) -> Registry:
        """The registries of images and charts."""
        return self.clients.registry

    def telling(self, *, silent: bool) -> CommitStatusReporter:
        """Return what a verb tells GitHub with; ``silent`` tells it nothing."""
        github = None if silent else self.clients.github
        return CommitStatusReporter(github, self._settings, self._progress.listener)

    def expect_cluster(self) -> None:
        """Import beside other work what a deploy needs: it takes a quarter of a second, and a build mostly waits."""
        threading.Thread(target=_import_deploying, name="kubernaut-import").start()

    @property
    def publishing(self) -> publication.Tools:
        """What ``build`` works with."""
        from kubernaut.publish.pipeline import Tools

        return Tools(
            engine=lambda: self.clients.engine,
            helm=lambda: self.clients.helm,
            registry=self.registry,
            settings=self._settings,
            progress=self._progress,
        )

    @property
    def deploying(self) -> execution.Tools:
        """What ``deploy`` works with."""
        from kubernaut.deploy.execution import Tools

        return Tools(
            helm=lambda: self.clients.helm,
            cluster=lambda: self.cluster,
            history=self.history,
            settings=self._settings,
            progress=self._progress,
            stopped=self._stopped,
        )


def _import_deploying() -> None:
    for module in ("kubernaut.adapters.kube", "kubernaut.deploy.execute"):
        import_module(module)
