"""HTTP to OCI registries, through requests; the only file that imports ``requests``.

Reads what the distribution API offers: manifests, blobs, tags. It writes nothing: images are pushed by the engine and charts by
Helm. Every answer has a size limit, what is fetched by digest is checked against it, and a secret goes only to the registry that
asked for it, or to the token service which that registry names.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from kubernaut.errors import RegistryDenied, RegistryUnreachable
from kubernaut.settings import is_loopback

if TYPE_CHECKING:
    from kubernaut.clients.engine import Credentials

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_LIMIT = 4 << 20
BLOB_LIMIT = 128 << 20
_TOKEN_USER = "<token>"  # noqa: S105 - the name that stands for an identity token
_TIMEOUT = (5.0, 60.0)
_PAGES = 1000
_CHALLENGE = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Loopback is never reached through a proxy, as Go's programs have it (Docker, Helm).
_NO_PROXY: Any = {"http": None, "https": None, "all": None}


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry has it; ``digest`` is computed from its bytes."""

    digest: str
    content: Mapping[str, Any]


class Web:
    """Reads OCI registries; may be used by several threads at once.

    Args:
        plain_http: Says whether a registry is spoken to without TLS.
        credentials: Returns a registry's credentials; asked only when the registry wants to see some.
    """

    def __init__(
        self, *, plain_http: Callable[[str], bool], credentials: Callable[[str], Credentials | None] = lambda _: None
    ) -> None:
        self._plain_http = plain_http
        self._credentials = credentials
        self._grants: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._session = requests.Session()
        retry = urllib3.Retry(
            total=2,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            allowed_methods={"GET", "HEAD"},
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        adapter = HTTPAdapter(max_retries=retry, pool_maxsize=16)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._session.close()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return the manifest of a tag or digest; ``None`` where there is none."""
        answer = self._get(repository, f"manifests/{reference}", MANIFEST_LIMIT, accept=", ".join(MANIFEST_TYPES))
        if answer is None:
            return None
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if _DIGEST.fullmatch(reference) and digest != reference:
            raise RegistryUnreachable(f"{_host(repository)} answers {repository}@{reference} with other content ({digest}).")
        return Manifest(digest, self._json(repository, answer.body))

    def manifest_digest(self, repository: str, reference: str) -> str | None:
        """Return the digest of a tag without fetching its manifest; ``None`` where there is none."""
        answer = self._get(repository, f"manifests/{reference}", 0, accept=", ".join(MANIFEST_TYPES), method="HEAD")
        if answer is None:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            manifest = self.manifest(repository, reference)
            return None if manifest is None else manifest.digest
        return digest

    def blob(self, repository: str, digest: str, limit: int = BLOB_LIMIT) -> bytes | None:
        """Return a blob, checked against its digest; ``None`` where there is none."""
        answer = self._get(repository, f"blobs/{digest}", limit)
        if answer is None:
            return None
        found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if found != digest:
            raise RegistryUnreachable(f"{_host(repository)} answers {repository}@{digest} with other content ({found}).")
        return answer.body

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags, all pages of them; none where there is no repository."""
        tags: list[str] = []
        seen: set[str] = set()
        path = "tags/list?n=1000"
        while path and path not in seen and len(seen) < _PAGES:
            seen.add(path)
            answer = self._get(repository, path, MANIFEST_LIMIT)
            if answer is None:
                break
            tags += [str(tag) for tag in self._json(repository, answer.body).get("tags") or ()]
            path = self._next_page(repository, answer.headers.get("Link", ""))
        return tags

    def _next_page(self, repository: str, link: str) -> str:
        match = re.match(r'\s*<([^>]*)>\s*;\s*rel="?next"?', link)
        if not match:
            return ""
        query = urlsplit(urljoin(self._url(repository, "tags/list"), match[1])).query
        return f"tags/list?{query}" if query else ""

    def _url(self, repository: str, path: str) -> str:
        host, _, name = repository.partition("/")
        return f"{'http' if self._plain_http(repository) else 'https'}://{host}/v2/{name}/{path}"

    def _json(self, repository: str, body: bytes) -> Mapping[str, Any]:
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RegistryUnreachable(
                f"{_host(repository)} does not answer like an OCI registry (asked for {repository})."
            ) from error
        if not isinstance(content, dict):
            raise RegistryUnreachable(f"{_host(repository)} does not answer like an OCI registry (asked for {repository}).")
        return content

    def _get(self, repository: str, path: str, limit: int, *, accept: str = "*/*", method: str = "GET") -> _Answer | None:
        url = self._url(repository, path)
        key = (_host(repository), repository)
        with self._lock:
            grant = self._grants.get(key)
        answer = self._send(method, url, repository, limit, accept=accept, authorization=grant)
        if answer.status == 401:
            grant = self._grant(repository, answer.headers.get("WWW-Authenticate", ""))
            with self._lock:
                self._grants[key] = grant
            answer = self._send(method, url, repository, limit, accept=accept, authorization=grant)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise _refusal(repository, answer)
        return answer

    def _grant(self, repository: str, challenge: str) -> str:
        """Turn the registry's challenge into the value of an Authorization header."""
        host = _host(repository)
        scheme, _, rest = challenge.partition(" ")
        credentials = self._credentials(host)
        if scheme.lower() == "basic":
            if credentials is None:
                raise RegistryDenied(f"{host} wants credentials for {repository}, and there are none.")
            return _basic(credentials)
        if scheme.lower() != "bearer":
            raise RegistryDenied(f"{host} asks for a login that kubernaut does not know (asked for {repository}).")
        fields = {name.lower(): quoted or plain for name, quoted, plain in _CHALLENGE.findall(rest)}
        realm = fields.get("realm", "")
        if urlsplit(realm).scheme != "https" and not (urlsplit(realm).scheme == "http" and self._plain_http(repository)):
            raise RegistryDenied(f"{host} sends logins to {urlsplit(realm).netloc or 'nowhere'} without TLS; refused.")
        name = repository.partition("/")[2]
        query = {"scope": fields.get("scope") or f"repository:{name}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        answer = self._token(repository, realm, query, credentials)
        if answer.status != 200:
            raise _refusal(repository, answer)
        content = self._json(repository, answer.body)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise RegistryDenied(f"The token service of {host} gives no token for {repository}.")
        return f"Bearer {token}"

    def _token(self, repository: str, realm: str, query: dict[str, str], credentials: Credentials | None) -> _Answer:
        if credentials is not None and credentials.username == _TOKEN_USER:
            form = {**query, "grant_type": "refresh_token", "client_id": "kubernaut", "refresh_token": credentials.secret}
            return self._send("POST", realm, repository, MANIFEST_LIMIT, form=form)
        authorization = None if credentials is None else _basic(credentials)
        return self._send("GET", realm, repository, MANIFEST_LIMIT, authorization=authorization, query=query)

    def _send(
        self,
        method: str,
        url: str,
        repository: str,
        limit: int,
        *,
        accept: str = "*/*",
        authorization: str | None = None,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> _Answer:
        headers = {"Accept": accept, "User-Agent": "kubernaut", "Accept-Encoding": "identity"}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                params=query,
                data=form,
                auth=_as_it_is,
                stream=True,
                timeout=_TIMEOUT,
                allow_redirects=method != "POST",
                proxies=_NO_PROXY if is_loopback(urlsplit(url).hostname or "") else None,
            ) as response:
                return _Answer(response.status_code, response.headers, _body(response, limit, repository))
        except requests.RequestException as error:
            raise RegistryUnreachable(f"{_host(repository)} does not answer (asked for {repository}): {_reason(error)}.") from error


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding what it finds in ~/.netrc."""
    return request


def _body(response: requests.Response, limit: int, repository: str) -> bytes:
    # A refusal's body is read only as far as its message may stand in it.
    limit = limit if response.status_code == 200 else 1 << 14
    body = bytearray()
    for chunk in response.iter_content(1 << 16):
        body += chunk
        if len(body) > limit:
            if response.status_code != 200:
                break
            raise RegistryUnreachable(f"{_host(repository)} answers with more than {limit} bytes (asked for {repository}).")
    return bytes(body)


def _basic(credentials: Credentials) -> str:
    return "Basic " + b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()


def _host(repository: str) -> str:
    return repository.partition("/")[0]


def _refusal(repository: str, answer: _Answer) -> RegistryDenied | RegistryUnreachable:
    host = _host(repository)
    said = _said(answer.body)
    if answer.status in (401, 403):
        return RegistryDenied(f"{host} refuses access to {repository} (HTTP {answer.status}){said}.")
    return RegistryUnreachable(f"{host} answers HTTP {answer.status} (asked for {repository}){said}.")


def _said(body: bytes) -> str:
    """Return the registry's own message, if it answers with one: the distribution API has a form for it."""
    try:
        message = json.loads(body)["errors"][0]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    text = "".join(char for char in str(message)[:200] if char.isprintable())
    return f": {text}" if text else ""


def _reason(error: requests.RequestException) -> str:
    """Find what the system said below the layers of libraries; their own texts hold addresses of objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS fails; for a registry without TLS set `plain_http`"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    seen: Any = error
    while isinstance(seen, BaseException):
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__ or next(iter(seen.args), None)
    return "the connection was cut off" if isinstance(error, requests.exceptions.ChunkedEncodingError) else type(error).__name__
