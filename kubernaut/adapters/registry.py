"""OCI registries, over HTTP: manifests, blobs, tags, as the distribution API offers them.

It writes nothing: images are pushed by the engine and charts by Helm. Every answer has a size limit, what is fetched by digest is
checked against it, and a secret goes only to the registry that asked for it, or to the token service which that registry names.
What a tag means is for the registry itself to say: it is asked, and nobody whom it redirects to. Blobs it may keep elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from kubernaut.adapters.http import HttpClient, RequestError, Response, ResponseTooLarge, same_server
from kubernaut.errors import RegistryDenied, RegistryUnreachable

if TYPE_CHECKING:
    from kubernaut.adapters.docker import Credentials

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_LIMIT = 4 << 20
BLOB_LIMIT = 128 << 20
_TOKEN_USER = "<token>"  # noqa: S105 - the name that stands for an identity token
_PAGES = 1000
_HOPS = 5
_REDIRECT_HINT = "Name the registry itself in the `registry` setting; only the content of blobs may lie elsewhere, and over TLS."
_CHALLENGE = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry has it; ``digest`` is computed from its bytes."""

    digest: str
    content: Mapping[str, Any]


class RegistryClient:
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
        self._http = HttpClient(retries=2)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

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
        answer = self._get(repository, f"blobs/{digest}", limit, elsewhere=True)
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

    def _get(
        self, repository: str, path: str, limit: int, *, accept: str = "*/*", method: str = "GET", elsewhere: bool = False
    ) -> Response | None:
        key = (_host(repository), repository)
        with self._lock:
            grant = self._grants.get(key)
        question = _Question(repository, self._url(repository, path), limit, method, accept, authorization=grant)
        answer = self._send(question)
        if answer.status == 401:
            grant = self._grant(repository, answer.headers.get("WWW-Authenticate", ""))
            with self._lock:
                self._grants[key] = grant
            question = replace(question, authorization=grant)
            answer = self._send(question)
        answer = self._follow(question, answer, elsewhere=elsewhere)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise _refusal(repository, answer)
        return answer

    def _follow(self, question: _Question, answer: Response, *, elsewhere: bool = False) -> Response:
        """Go where we are sent: within the same server or, for a blob, ``elsewhere``; credentials stay with that server."""
        host = _host(question.repository)
        for _ in range(_HOPS):
            target = answer.redirect_url
            if target is None:
                return answer
            at_home = same_server(question.url, target)
            if not at_home and not (elsewhere and self._may_keep_blobs(target)):
                raise RegistryUnreachable(
                    f"{host} sends us to {_shown(target)} for {question.repository}; refused.", hint=_REDIRECT_HINT
                )
            answer = self._send(
                replace(question, url=target, query=None, authorization=question.authorization if at_home else None)
            )
        raise RegistryUnreachable(f"{host} sends us from one address to the next (asked for {question.repository}).")

    def _may_keep_blobs(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and self._plain_http(parts.netloc))

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

    def _token(self, repository: str, realm: str, query: dict[str, str], credentials: Credentials | None) -> Response:
        question = _Question(repository, realm, MANIFEST_LIMIT)
        if credentials is not None and credentials.username == _TOKEN_USER:
            form = {**query, "grant_type": "refresh_token", "client_id": "kubernaut", "refresh_token": credentials.secret}
            return self._send(replace(question, method="POST", form=form))
        question = replace(question, query=query, authorization=None if credentials is None else _basic(credentials))
        return self._follow(question, self._send(question))

    def _send(self, question: _Question) -> Response:
        headers = {"Accept": question.accept}
        if question.authorization is not None:
            headers["Authorization"] = question.authorization
        host, asked = _host(question.repository), f"asked for {question.repository}"
        try:
            return self._http.send(
                question.method, question.url, limit=question.limit, headers=headers, query=question.query, body=question.form
            )
        except ResponseTooLarge as error:
            raise RegistryUnreachable(f"{host} answers with {error.reason} ({asked}).") from error
        except RequestError as error:
            raise RegistryUnreachable(f"{host} does not answer ({asked}): {error.reason}.") from error


@dataclass(frozen=True)
class _Question:
    """A request, and for which repository it is sent."""

    repository: str
    url: str
    limit: int
    method: str = "GET"
    accept: str = "*/*"
    authorization: str | None = None
    query: Mapping[str, str] | None = None
    form: Mapping[str, str] | None = None


def _basic(credentials: Credentials) -> str:
    return "Basic " + b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()


def _host(repository: str) -> str:
    return repository.partition("/")[0]


def _shown(url: str) -> str:
    """Return as much of an address as may be shown: what comes after the host may be signed."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _refusal(repository: str, answer: Response) -> RegistryDenied | RegistryUnreachable:
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
