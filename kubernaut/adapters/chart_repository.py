"""Chart repositories: a web server with an ``index.yaml`` and packages. Only what reading needs.

The credentials are those of ``docker login`` for the host, as for registries. They are sent when a host asks for them, and to that
host only, over TLS unless the host is one that may be used without it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from urllib.parse import urlsplit

from kubernaut.adapters.http import HttpClient, RequestError, Response, ResponseTooLarge
from kubernaut.adapters.http_hints import bad_status, denied, unreachable
from kubernaut.adapters.registry import TOKEN_USER, Credentials
from kubernaut.errors import RegistryUnreachable, VersionNotFound

INDEX_LIMIT = 64 << 20
"""The largest index, in bytes."""
_HOPS = 6
_CHECK = "Check the reference; `helm repo add` takes the same URL, without the chart's name."


class ChartRepositoryClient:
    """Reads chart repositories; may be used by several threads at once.

    Args:
        plain_http: Whether a host, ``HOST[:PORT]``, may be used without TLS.
        credentials: Returns the credentials for a host, if any.
    """

    def __init__(
        self, *, plain_http: Callable[[str], bool], credentials: Callable[[str], Credentials | None] = lambda _: None
    ) -> None:
        self._plain_http = plain_http
        self._credentials = credentials
        self._has_credentials: dict[str, bool] = {}  # by host, of those that asked for some
        self._http = HttpClient(retries=2)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def index(self, repository: str) -> bytes:
        """Return the ``index.yaml`` of a repository. Raises: VersionNotFound, RegistryDenied, RegistryUnreachable."""
        return self._get(f"{repository}/index.yaml", INDEX_LIMIT)

    def package(self, url: str, limit: int) -> bytes:
        """Return a package of at most ``limit`` bytes. Raises: VersionNotFound, RegistryDenied, RegistryUnreachable."""
        return self._get(url, limit)

    def _get(self, url: str, limit: int) -> bytes:
        shown = _shown(url)
        for _ in range(_HOPS):
            response = self._send_with_login(url, limit, shown)
            target = _redirect(response, shown)
            if target is None:
                return self._body(response, shown, urlsplit(url).netloc)
            url = target
        raise RegistryUnreachable(f"{shown} redirects more than {_HOPS - 1} times.", hint=_CHECK)

    def _send_with_login(self, url: str, limit: int, shown: str) -> Response:
        host = self._host(url, shown)
        response = self._send(url, limit, shown)
        credentials = self._credentials(host) if response.status == 401 else None
        if response.status == 401:
            self._has_credentials[host] = credentials is not None
        if credentials is None or credentials.username == TOKEN_USER:
            return response
        login = b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()
        return self._send(url, limit, shown, {"Authorization": f"Basic {login}"})

    def _send(self, url: str, limit: int, shown: str, headers: dict[str, str] | None = None) -> Response:
        try:
            return self._http.send("GET", url, limit=limit, headers=headers)
        except ResponseTooLarge as error:
            raise RegistryUnreachable(f"{shown} is larger than {limit >> 20} MiB.", hint=_CHECK) from error
        except RequestError as error:
            raise unreachable(_shown(url), url, error) from error

    def _host(self, url: str, shown: str) -> str:
        """Return the host of a URL that may be read. Raises: RegistryUnreachable."""
        parts = urlsplit(url)
        if (
            "@" not in parts.netloc
            and parts.netloc
            and (parts.scheme == "https" or (parts.scheme == "http" and self._plain_http(parts.netloc)))
        ):
            return parts.netloc
        target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        leads = "" if shown.startswith(f"{target}/") else f" leads to {target}, which"
        raise RegistryUnreachable(
            f"{shown}{leads} is not read: charts are read over https://, without a password in the URL.",
            hint="Use https://. For a host in a network that you trust, `plain_http` permits http:// too: "
            f"`export KUBERNAUT_PLAIN_HTTP={parts.netloc.rpartition('@')[2]}`.",
        )

    def _body(self, response: Response, shown: str, host: str) -> bytes:
        if response.status == 200:
            return response.body
        if response.status == 404:
            raise VersionNotFound(f"{shown} does not exist (HTTP 404).", hint=_CHECK)
        if response.status in (401, 403):
            raise denied(shown, host, response.status, stored=self._has_credentials.get(host))
        raise bad_status(shown, host, response.status)


def _redirect(response: Response, shown: str) -> str | None:
    try:
        return response.redirect_url
    except ValueError as error:
        raise RegistryUnreachable(f"{shown} redirects to an invalid URL.", hint=_CHECK) from error


def _shown(url: str) -> str:
    """Return a URL without a password and without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
