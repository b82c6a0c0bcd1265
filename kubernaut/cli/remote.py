"""The commands, carried out by a server: what it cannot do is done here, as a publish is, or refused with what to do instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Unpack
from urllib.parse import urlsplit

from kubernaut.client import Client
from kubernaut.errors import Usage
from kubernaut.events import Listener
from kubernaut.interface import Built, Deployed, DeployOptions, Published
from kubernaut.models import Action, Plan
from kubernaut.settings import Settings, is_loopback

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.publish.registry import PublishedVersion


class Remote(Client):
    """A server's client that knows what is done on this machine instead.

    Args:
        settings: The settings; ``server`` is set.
        listener: Is told of every step, the server's too.

    Raises:
        Usage: The command line names a cluster besides.
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
            plain_http=settings.speaks_plain_http,
        )
        self._told = listener

    @cached_property
    def _here(self) -> Kubernaut:
        from kubernaut.api import Kubernaut

        return Kubernaut(self._settings, listener=self._told)

    def build(self, app_dir: str | Path, *, version: str | None = None, dry_run: bool = False) -> Built:
        """Build the image alone, on this machine."""
        return self._here.build(app_dir, version=version, dry_run=dry_run)

    def publish(
        self, app_dir: str | Path, *, version: str | None = None, image: str | None = None, dry_run: bool = False
    ) -> Published:
        """Make a version, on this machine."""
        return self._here.publish(app_dir, version=version, image=image, dry_run=dry_run)

    def versions(self, name: str) -> Sequence[PublishedVersion]:
        """Return the versions that the server deploys from."""
        self._refuse_option("registry", "a registry")
        return super().versions(name)

    def deploy(
        self,
        name: str,
        *,
        namespace: str,
        version: str | None = None,
        pre: bool = False,
        chart: str | None = None,
        digest: str | None = None,
        **options: Unpack[DeployOptions],
    ) -> Deployed:
        """Have a version deployed that the server finds."""
        self._refuse_option("registry", "a registry")
        return super().deploy(name, namespace=namespace, version=version, pre=pre, chart=chart, digest=digest, **options)

    def ship(
        self, app_dir: str | Path, *, namespace: str, version: str | None = None, **options: Unpack[DeployOptions]
    ) -> Deployed:
        """Make a version on this machine, and have it deployed by the server."""
        from kubernaut._requests import choose_environment
        from kubernaut.client.requests import deploy_body
        from kubernaut.history.releases import ReleaseId
        from kubernaut.names import check_namespace
        from kubernaut.publish.application import load_application

        # What cannot be deployed as it is asked for is not published first.
        application = load_application(Path(app_dir))
        wanted = ReleaseId(check_namespace(namespace), application.name)
        deploy_body(wanted, version=version, pre=False, chart=None, options=options)
        choose_environment(application.environments, f"{app_dir} would be", namespace, options)
        published = self.publish(app_dir, version=version, dry_run=options.get("dry_run", False))
        if published.version is not None:
            deployed = super().deploy(application.name, namespace=namespace, version=published.version.version, **options)
        else:
            reason = f"{self._url} decides how once the version is published"
            action = Action(kind="deploy", subject=f"{wanted.namespace}.{wanted.name}", reason=reason)
            deployed = Deployed(Plan(actions=(action,)), False, self._current(wanted))
        plan = Plan(actions=(*published.plan.actions, *deployed.plan.actions), reason=deployed.plan.reason)
        return Deployed(plan, published.changed or deployed.changed, deployed.release)

    def logs(
        self,
        release: str,
        *,
        namespace: str | None = None,  # noqa: ARG002 - the verb's signature
        follow: bool = False,  # noqa: ARG002
        tail: int | None = None,  # noqa: ARG002
        previous: bool = False,  # noqa: ARG002
    ) -> Iterator[str]:
        """Refuse. Raises: Usage."""
        self._refuse("logs", f"`kubectl logs` shows them; of a deploy that failed, `kubernaut show {release}` tells why.")

    def unlock(
        self,
        release: str,
        *,
        namespace: str | None = None,  # noqa: ARG002 - the verb's signature
        note: str | None = None,  # noqa: ARG002
        dry_run: bool = False,  # noqa: ARG002
    ) -> Deployed:
        """Refuse. Raises: Usage."""
        self._refuse("unlock", f"The server ends by itself what a dead holder left; `kubernaut history {release}` shows it.")

    def _refuse(self, verb: str, instead: str) -> NoReturn:
        raise Usage(
            f"`kubernaut {verb}` needs the cluster itself, and the server {self._url} is set ({self._settings.origins['server']}).",
            hint=f"Run it without a server, where the cluster can be reached. {instead}",
        )

    def _refuse_option(self, name: str, what: str) -> None:
        origin = self._settings.origins[name]
        if origin.startswith("argument "):
            raise Usage(
                f"{origin.removeprefix('argument ')} names {what}, and the server {self._url} has its own.",
                hint=f"Leave out the one or the other; the server is set by {self._settings.origins['server']}.",
            )


def _token_file(settings: Settings) -> Path | None:
    """Return the file with the token: the one that is set; that of this machine's own server goes to no other machine."""
    path = settings.token_path()
    if settings.token_file is not None:
        return path
    return path if is_loopback(urlsplit(settings.server or "").hostname or "") and path.exists() else None
