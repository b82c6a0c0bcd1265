"""OCI registries over HTTP, read-only: manifests, blobs and tags of the distribution API.

The engine pushes images, Helm pushes charts. Every response has a size limit, content fetched by digest is checked against it, and
a secret is sent only to the registry that requests it or to the token service which that registry names. Only blobs may come from
another server that the registry redirects to; manifests and tags may not.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin, urlsplit

from kubernaut.adapters.http import HttpClient, RequestError, Response, ResponseTooLarge, same_server
from kubernaut.adapters.http_hints import bad_status, denied, unreachable
from kubernaut.errors import RegistryDenied, RegistryUnreachable

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_LIMIT = 4 << 20
BLOB_LIMIT = 128 << 20
TOKEN_USER = "<token>"  # noqa: S105 - the user name by which credential helpers mark an identity token
_SERVERS = {"docker.io": "registry-1.docker.io"}
"""The registries whose name is not that of their server, as Helm and Docker know them."""
_PAGES = 1000
_HOPS = 5
_REDIRECT_HINT = "Set `registry` to the address of the registry itself; only blobs may come from another server, over TLS."
_CHALLENGE = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Credentials:
    """A registry's user name and password, or :data:`TOKEN_USER` and an identity token; the secret is not in the repr."""

    username: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Manifest:
    """A manifest; ``digest`` is computed from its bytes."""

    digest: str
    content: Mapping[str, Any]


class RegistryClient:
    """Reads OCI registries; may be used by several threads at once.

    Args:
        plain_http: Whether a registry is used without TLS.
        credentials: Returns a registry's credentials; called only when the registry requires some.
    """

    def __init__(
        self, *, plain_http: Callable[[str], bool], credentials: Callable[[str], Credentials | None] = lambda _: None
    ) -> None:
        self._plain_http = plain_http
        self._credentials = credentials
        self._authorizations: dict[str, str] = {}  # by repository; one read or write at a time is atomic
        self._has_credentials: dict[str, bool] = {}  # by host, of those that asked for some
        self._http = HttpClient(retries=2)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return the manifest of a tag or digest; ``None`` if it does not exist."""
        response = self._get(repository, f"manifests/{reference}", MANIFEST_LIMIT, accept=", ".join(MANIFEST_TYPES))
        if response is None:
            return None
        digest = content_digest(response.body)
        if _DIGEST.fullmatch(reference) and digest != reference:
            raise RegistryUnreachable(f"{_host(repository)} returned other content for {repository}@{reference} ({digest}).")
        return Manifest(digest, self._json(repository, response.body))

    def manifest_digest(self, repository: str, reference: str) -> str | None:
        """Return the digest of a tag without fetching its manifest; ``None`` if the tag does not exist."""
        response = self._get(repository, f"manifests/{reference}", 0, accept=", ".join(MANIFEST_TYPES), method="HEAD")
        if response is None:
            return None
        digest = response.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            manifest = self.manifest(repository, reference)
            return None if manifest is None else manifest.digest
        return digest

    def blob(self, repository: str, digest: str, limit: int = BLOB_LIMIT) -> bytes | None:
        """Return a blob, checked against its digest; ``None`` if it does not exist."""
        response = self._get(repository, f"blobs/{digest}", limit, allow_redirect=True)
        if response is None:
            return None
        found = content_digest(response.body)
        if found != digest:
            raise RegistryUnreachable(f"{_host(repository)} returned other content for {repository}@{digest} ({found}).")
        return response.body

    def tags(self, repository: str) -> list[str]:
        """Return all tags of a repository; empty if the repository does not exist."""
        tags: list[str] = []
        seen: set[str] = set()
        path = "tags/list?n=1000"
        while path and path not in seen and len(seen) < _PAGES:
            seen.add(path)
            response = self._get(repository, path, MANIFEST_LIMIT)
            if response is None:
                break
            tags += [str(tag) for tag in self._json(repository, response.body).get("tags") or ()]
            path = self._next_page(repository, response.headers.get("Link", ""))
        return tags

    def _next_page(self, repository: str, link: str) -> str:
        match = re.match(r'\s*<([^>]*)>\s*;\s*rel="?next"?', link)
        if not match:
            return ""
        query = urlsplit(urljoin(self._url(repository, "tags/list"), match[1])).query
        return f"tags/list?{query}" if query else ""

    def _url(self, repository: str, path: str) -> str:
        host, _, name = repository.partition("/")
        return f"{'http' if self._plain_http(repository) else 'https'}://{_SERVERS.get(host, host)}/v2/{name}/{path}"

    def _json(self, repository: str, body: bytes) -> Mapping[str, Any]:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RegistryUnreachable(
                f"{_host(repository)} does not answer like an OCI registry (requested {repository}).",
                hint="Check the host. A chart of a chart repository is named by https://HOST/PATH/CHART@VERSION.",
            )
        return content

    def _get(
        self, repository: str, path: str, limit: int, *, accept: str = "*/*", method: str = "GET", allow_redirect: bool = False
    ) -> Response | None:
        authorization = self._authorizations.get(repository)
        what = _content(repository, path)
        request = _Request(repository, self._url(repository, path), what, limit, method, accept, authorization=authorization)
        response = self._send(request)
        if response.status == 401:
            authorization = self._authorize(request, response.headers.get("WWW-Authenticate", ""))
            self._authorizations[repository] = authorization
            request = replace(request, authorization=authorization)
            response = self._send(request)
        response = self._follow(request, response, allow_redirect=allow_redirect)
        if response.status == 404:
            return None
        if response.status != 200:
            raise self._error(request, response)
        return response

    def _follow(self, request: _Request, response: Response, *, allow_redirect: bool = False) -> Response:
        """Follow redirects: on the same server or, with ``allow_redirect``, elsewhere without the credentials."""
        host = _host(request.repository)
        for _ in range(_HOPS):
            target = response.redirect_url
            if target is None:
                return response
            same = same_server(request.url, target)
            if not same and not (allow_redirect and self._is_secure(target)):
                raise RegistryUnreachable(
                    f"{host} redirects {request.repository} to {_without_path(target)}; refused.", hint=_REDIRECT_HINT
                )
            response = self._send(replace(request, url=target, query=None, authorization=request.authorization if same else None))
        raise RegistryUnreachable(f"{host} redirects more than {_HOPS - 1} times (requested {request.repository}).")

    def _is_secure(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and self._plain_http(parts.netloc))

    def _authorize(self, request: _Request, challenge: str) -> str:
        """Return the value of the Authorization header for the registry's challenge."""
        repository, host = request.repository, _host(request.repository)
        scheme, _, rest = challenge.partition(" ")
        credentials = self._credentials(host)
        self._has_credentials[host] = credentials is not None
        if scheme.lower() == "basic":
            if credentials is None:
                raise denied(request.what, host, 401, stored=False)
            return _basic(credentials)
        if scheme.lower() != "bearer":
            raise RegistryDenied(f"{host} requires an unsupported login, {scheme[:20]!r} (requested {repository}).")
        fields = {name.lower(): quoted or plain for name, quoted, plain in _CHALLENGE.findall(rest)}
        realm = fields.get("realm", "")
        if urlsplit(realm).scheme != "https" and not (urlsplit(realm).scheme == "http" and self._plain_http(repository)):
            raise RegistryDenied(f"{host} wants the login sent to {urlsplit(realm).netloc or 'nowhere'} without TLS; refused.")
        name = repository.partition("/")[2]
        query = {"scope": fields.get("scope") or f"repository:{name}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        response = self._token(request, realm, query, credentials)
        if response.status != 200:
            raise self._error(request, response)
        content = self._json(repository, response.body)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise RegistryDenied(f"The token service of {host} returned no token for {repository}.")
        return f"Bearer {token}"

    def _token(self, target: _Request, realm: str, query: dict[str, str], credentials: Credentials | None) -> Response:
        request = _Request(target.repository, realm, f"a token for {target.what}", MANIFEST_LIMIT)
        if credentials is not None and credentials.username == TOKEN_USER:
            form = {**query, "grant_type": "refresh_token", "client_id": "kubernaut", "refresh_token": credentials.secret}
            return self._send(replace(request, method="POST", form=form))
        request = replace(request, query=query, authorization=None if credentials is None else _basic(credentials))
        return self._follow(request, self._send(request))

    def _send(self, request: _Request) -> Response:
        headers = {"Accept": request.accept}
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        try:
            return self._http.send(
                request.method, request.url, limit=request.limit, headers=headers, query=request.query, body=request.form
            )
        except ResponseTooLarge as error:
            raise RegistryUnreachable(f"{_host(request.repository)} answers with {error.reason} for {request.what}.") from error
        except RequestError as error:
            raise unreachable(request.what, request.url, error, setting=True) from error

    def _error(self, request: _Request, response: Response) -> RegistryDenied | RegistryUnreachable:
        host, message = _host(request.repository), _registry_message(response.body)
        if response.status in (401, 403):
            return denied(request.what, host, response.status, stored=self._has_credentials.get(host), message=message)
        return bad_status(request.what, host, response.status, message)


@dataclass(frozen=True)
class _Request:
    """A request, the repository that it is for, and what it reads, for messages."""

    repository: str
    url: str
    what: str
    limit: int
    method: str = "GET"
    accept: str = "*/*"
    authorization: str | None = None
    query: Mapping[str, str] | None = None
    form: Mapping[str, str] | None = None


def content_digest(content: bytes) -> str:
    """Return the OCI digest of content, ``sha256:…``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _basic(credentials: Credentials) -> str:
    return "Basic " + b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()


def _content(repository: str, path: str) -> str:
    """Return what a path of the distribution API reads, for messages."""
    kind, _, name = path.partition("/")
    if kind == "tags":
        return f"the tags of {repository}"
    return f"{repository}{'@' if _DIGEST.fullmatch(name) else ':'}{name}"


def _host(repository: str) -> str:
    return repository.partition("/")[0]


def _without_path(url: str) -> str:
    """Return a URL's scheme and host, which may be shown; its path and query may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _registry_message(body: bytes) -> str:
    """Return the message in an error of the distribution API, after a colon; empty if there is none."""
    try:
        message = json.loads(body)["errors"][0]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    text = "".join(char for char in str(message)[:200] if char.isprintable())
    return f": {text}" if text else ""
