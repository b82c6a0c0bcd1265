"""The commands with ``--server``: the server runs the verbs, and this machine publishes."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Unpack
from urllib.parse import urlsplit

from typing_extensions import override

from kubernaut.client import Client
from kubernaut.errors import Usage
from kubernaut.events import Listener
from kubernaut.interface import Deployed, DeployOptions, ShipOptions, check_options
from kubernaut.models import Action, Plan
from kubernaut.settings import Settings, is_loopback

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.publish.version import PublishedVersions


class RemoteBackend(Client):
    """The client of the server that the settings name; it refuses what only this machine or the cluster can do.

    Args:
        settings: The settings, with a ``server``.
        listener: Receives every event, also the server's.

    Raises:
        Usage: The command line also names a cluster.
    """

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._url = settings.server or ""
        for name in ("context", "kubeconfig"):
            self._refuse_option(name, "a cluster")
        super().__init__(
            self._url,
            token_file=_token_file(settings),
            listener=listener,
            build=settings.build,
            plain_http=settings.uses_plain_http,
        )

    @cached_property
    def local(self) -> Kubernaut:
        """The verbs that build and publish, run by this process."""
        from kubernaut.api import Kubernaut

        return Kubernaut(self._settings, listener=self._listener)

    @override
    def versions(self, name: str) -> PublishedVersions:
        self._refuse_option("registry", "a registry")
        return super().versions(name)

    @override
    def deploy(self, name: str, *, namespace: str, **options: Unpack[DeployOptions]) -> Deployed:
        self._refuse_option("registry", "a registry")
        return super().deploy(name, namespace=namespace, **options)

    def ship(self, app_dir: str | Path, *, namespace: str, name: str | None = None, **options: Unpack[ShipOptions]) -> Deployed:
        """Publish a version from this machine, and deploy it on the server."""
        from kubernaut._requests import choose_environment
        from kubernaut.client.client import deploy_body
        from kubernaut.history.releases import ReleaseId
        from kubernaut.models import check_namespace, check_release_name
        from kubernaut.publish.application import load_application

        # What cannot be deployed is not published: the deploy's arguments are checked first.
        check_options(options, ShipOptions)
        application = load_application(Path(app_dir))
        release = ReleaseId(check_namespace(namespace), check_release_name(name or application.name))
        deploy_body(release, options)
        choose_environment(application.environments, str(app_dir), namespace, options)
        dry_run = options.get("dry_run", False)
        published = self.local.publish(app_dir, version=options.get("version"), dry_run=dry_run)
        if published.version is not None:
            options["version"] = published.version.version
            other = None if release.name == application.name else application.name
            return super().deploy(release.name, namespace=namespace, application=other, **options).after(published)
        reason = f"{self._url} decides how once the version is published"
        action = Action(kind="deploy", subject=f"{release.namespace}.{release.name}", reason=reason)
        return Deployed(Plan(actions=(action,)), False, self._current(release)).after(published)

    def logs(self, release: str, *, namespace: str | None = None, **_: object) -> NoReturn:
        """Refuse. Raises: Usage."""
        command = _command("explain", release, namespace)
        self._refuse("logs", f"`kubectl logs` shows the pods' logs; `{command}` explains a deploy that failed.")

    def unlock(self, release: str, *, namespace: str | None = None, **_: object) -> NoReturn:
        """Refuse. Raises: Usage."""
        command = _command("history", release, namespace)
        self._refuse("unlock", f"The server finishes by itself what a dead holder left; `{command}` shows it.")

    def _refuse(self, verb: str, instead: str) -> NoReturn:
        raise Usage(
            f"`kubernaut {verb}` cannot be combined with the server {self._url} ({self._settings.origins['server']}).",
            hint=f"Run it without a server, on a machine that reaches the cluster. {instead}",
        )

    def _refuse_option(self, name: str, what: str) -> None:
        origin = self._settings.origins[name]
        if origin.startswith("argument "):
            server = self._settings.origins["server"]
            raise Usage(
                f"{origin.removeprefix('argument ')} names {what}, but the server {self._url} ({server}) has its own.",
                hint="Use one of the two.",
            )


def _command(verb: str, release: str, namespace: str | None) -> str:
    return f"kubernaut {verb} {release}" + (f" -n {namespace}" if namespace else "")


def _token_file(settings: Settings) -> Path | None:
    """Return the file with the token: the one that is set; the one of this machine's own server is for loopback addresses only."""
    path = settings.token_path()
    if settings.token_file is not None:
        return path
    return path if is_loopback(urlsplit(settings.server or "").hostname or "") and path.exists() else None
