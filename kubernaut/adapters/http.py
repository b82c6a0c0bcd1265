"""HTTP through requests; the only file that imports ``requests``.

One request and its response, limited in size and time. It follows no redirects and sends no credentials but those passed in: the
caller decides what may be sent where.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from kubernaut.errors import SettingInvalid
from kubernaut.settings import is_loopback

Request = requests.Request
"""A request, for a library that passes on those of ``requests``."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 16
_CONNECT_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443}
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The variables that name a file with certificate authorities, the first one first; Helm reads only the last."""
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate whose authority is not among those that are trusted."""
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
"""OpenSSL's reasons for an answer that is not TLS."""
_BAD_REQUEST = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.MissingSchema,
)
# The same request would fail in the same way.
_PERMANENT = (requests.exceptions.SSLError, *_BAD_REQUEST)
# No connection was established that the request could have been sent over.
_UNSENT = (
    *_BAD_REQUEST,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    ConnectionRefusedError,
)
# Loopback is never reached through a proxy, as in Go's programs (Docker, Helm).
_NO_PROXY: Any = {"http": None, "https": None, "all": None}


Cause: TypeAlias = Literal["name", "refused", "unreachable", "timeout", "proxy", "authority", "certificate", "no-tls", "other"]
"""Why a request got no response: ``no-tls`` is a server that does not use TLS, ``authority`` an unknown certificate authority."""


class RequestError(Exception):
    """The request got no response, or an unusable one.

    Args:
        reason: Why, as words that follow a colon.
        retryable: Whether the same request may soon succeed.
        unsent: Whether the server certainly did not receive the request.
        cause: The kind of the failure.
    """

    def __init__(self, reason: str, *, retryable: bool = True, unsent: bool = False, cause: Cause = "other") -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.retryable = retryable
        self.unsent = unsent


class ResponseTooLarge(RequestError):
    """The response is larger than the limit, in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes", retryable=False)


@dataclass(frozen=True)
class Response:
    """A server's response.

    Attributes:
        url: The requested URL.
        status: The HTTP status.
        headers: By their case-insensitive names.
        body: The whole body when the status is 2xx; otherwise its beginning, enough for a message.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def redirect_url(self) -> str | None:
        """The absolute URL that a redirect names; ``None`` for any other response."""
        location = self.headers.get("Location")
        return urljoin(self.url, location) if self.status in REDIRECTS and location else None

    @property
    def json_object(self) -> dict[str, Any] | None:
        """The JSON object in the body; ``None`` for any other content."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


class HttpClient:
    """Sends requests; may be used by several threads at once.

    Args:
        retries: How often a GET or HEAD is repeated when the server fails (500, 502, 503, 504) or cannot be reached.
        timeout: Seconds to wait for each part of a response.
        error_limit: The number of bytes read of a response whose status is not 2xx.
    """

    def __init__(self, *, retries: int = 0, timeout: float = 60.0, error_limit: int = 1 << 14) -> None:
        self._timeout = timeout
        self._error_limit = error_limit
        self._session = requests.Session()
        retry = urllib3.Retry(
            total=retries,
            backoff_factor=0.2,
            status_forcelist=(500, 502, 503, 504),
            allowed_methods={"GET", "HEAD"},
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        adapter = HTTPAdapter(max_retries=retry if retries else 0, pool_maxsize=_CONNECTIONS)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request and return its response.

        Args:
            method: Such as ``GET``.
            url: The absolute URL.
            limit: The largest body of a 2xx response, in bytes.
            headers: In addition to those of every request.
            query: Parameters to add to the URL.
            body: The bytes, or a form.
            timeout: Seconds to wait for the connection, at most 5, and for each part of this response.

        Raises:
            RequestError: There is no response.
            ResponseTooLarge: The response is larger than ``limit``.
        """
        wait = self._timeout if timeout is None else timeout
        variable, authorities = _authorities()
        try:
            with self._session.request(
                method,
                url,
                headers={"User-Agent": "kubernaut", "Accept-Encoding": "identity", **(headers or {})},
                params=query,
                data=body,
                auth=_no_netrc,
                stream=True,
                timeout=(min(_CONNECT_TIMEOUT, wait), wait),
                allow_redirects=False,
                verify=authorities or True,
                proxies=_NO_PROXY if is_loopback(urlsplit(url).hostname or "") else None,
            ) as response:
                return Response(url, response.status_code, response.headers, self._body(response, limit))
        except OSError as error:  # a RequestException too
            is_tls = isinstance(error, requests.exceptions.SSLError) or not isinstance(error, requests.RequestException)
            if is_tls and authorities and not _is_usable(authorities):
                reason = f"{variable} names {authorities}, which holds no certificate authorities"
                raise RequestError(reason, retryable=False, unsent=True, cause="authority") from error
            if not isinstance(error, requests.RequestException):
                raise
            unsent = any(isinstance(layer, _UNSENT) for layer in _layers(error))
            is_permanent = isinstance(error, _PERMANENT)
            raise RequestError(_reason(error), retryable=not is_permanent, unsent=unsent, cause=_cause(error)) from error

    def _body(self, response: requests.Response, limit: int) -> bytes:
        succeeded = 200 <= response.status_code < 300
        most = limit if succeeded else self._error_limit
        body = bytearray()
        for chunk in response.iter_content(1 << 16):
            body += chunk
            if len(body) > most:
                if succeeded:
                    raise ResponseTooLarge(limit)
                break
        return bytes(body)


def _authorities() -> tuple[str, str]:
    """Return the variable that names a file of certificate authorities, and the file; empty if the default ones are trusted."""
    name = next((name for name in _AUTHORITIES if os.environ.get(name)), "")
    return name, os.environ.get(name, "")


def _is_usable(authorities: str) -> bool:
    """Return whether certificate authorities can be read from a path."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(**{"capath" if Path(authorities).is_dir() else "cafile": authorities})
    except OSError:
        return False
    return True


def same_server(one: str, other: str) -> bool:
    """Return whether two URLs name the same server: scheme, host and port."""
    return _server(urlsplit(one)) == _server(urlsplit(other))


def checked_address(url: str, plain_http: Callable[[str], bool], *, example: str, server: str = "The server") -> str:
    """Return the address of a server that receives a token, without a trailing slash.

    The messages do not show the address: it may hold a password.

    Args:
        url: The address.
        plain_http: Whether a host, ``HOST[:PORT]``, may be used without TLS.
        example: An example of an address.
        server: The server's name in messages.

    Raises:
        SettingInvalid: The address is invalid, or would send the token without TLS.
    """
    hint = f"An address is such as {example}."
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is not a number
    except ValueError as error:
        raise SettingInvalid(f"{server}'s address is not a URL.", hint=hint) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingInvalid(f"{server}'s address must consist of http:// or https://, a host and optionally a path.", hint=hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not plain_http(parts.netloc):
        raise SettingInvalid(
            f"http://{parts.netloc} would send the token and the values without TLS.",
            hint=f"Use https://, or add the host to `plain_http` (KUBERNAUT_PLAIN_HTTP={parts.netloc}) if the network is safe.",
        )
    return url.rstrip("/")


def _server(url: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
    except ValueError:  # the port is not a number
        return url.scheme, url.netloc, None


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the request as it is; without ``auth``, requests would add credentials from ~/.netrc."""
    return request


def _reason(error: requests.RequestException) -> str:
    """Return the system's own message below the layers of libraries, whose messages contain addresses of objects."""
    if isinstance(error, requests.exceptions.SSLError):
        refused = next((layer for layer in _layers(error) if isinstance(layer, ssl.SSLCertVerificationError)), None)
        if refused is not None:
            unknown = getattr(refused, "verify_code", 0) in _UNKNOWN_AUTHORITY
            hint = "; SSL_CERT_FILE names the file with the certificate authorities to trust" if unknown else ""
            return f"its certificate is not accepted ({getattr(refused, 'verify_message', 'invalid')}){hint}"
        return "TLS fails; for a server without TLS set `plain_http`"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    message = next((layer.strerror for layer in _layers(error) if isinstance(layer, OSError) and layer.strerror), None)
    if message is not None:
        return message
    return "the connection was cut off" if isinstance(error, requests.exceptions.ChunkedEncodingError) else type(error).__name__


def _cause(error: requests.RequestException) -> Cause:
    layers = [*_layers(error)]
    refused = next((layer for layer in layers if isinstance(layer, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return "authority" if getattr(refused, "verify_code", 0) in _UNKNOWN_AUTHORITY else "certificate"
    if isinstance(error, requests.exceptions.ProxyError):
        return "proxy"
    if isinstance(error, requests.Timeout):
        return "timeout"
    for layer in layers:
        if isinstance(layer, socket.gaierror):
            return "name"
        if isinstance(layer, ConnectionRefusedError):
            return "refused"
        if isinstance(layer, ssl.SSLError) and layer.reason in _NOT_TLS:
            return "no-tls"
        if isinstance(layer, OSError) and layer.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "unreachable"
    return "other"


def _layers(error: BaseException) -> Iterator[BaseException]:
    layer: Any = error
    while isinstance(layer, BaseException):
        yield layer
        layer = getattr(layer, "reason", None) or layer.__cause__ or layer.__context__ or next(iter(layer.args), None)
