"""HTTP, through requests; the only file that imports ``requests``.

One request and its answer, held to a size and a time. It follows no redirect and shows no credentials but those that it is given:
what may be sent where is for its callers to decide, and it tells them in words why there was no answer.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from kubernaut.settings import is_loopback

Request = requests.Request
"""What is to be sent, for a library that hands on requests' own."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 16
_CONNECT_TIMEOUT = 5.0
_PORTS = {"http": 80, "https": 443}
# The same request would fail alike.
_LASTING = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.MissingSchema,
)
# No connection came about that a request could have gone over.
_UNSENT = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    ConnectionRefusedError,
)
# Loopback is never reached through a proxy, as Go's programs have it (Docker, Helm).
_NO_PROXY: Any = {"http": None, "https": None, "all": None}


class NoAnswer(Exception):
    """There is no answer, or none that is taken.

    Args:
        reason: Why, in words that follow a colon.
        passing: Whether the same request may have another end soon.
        unsent: Whether it is sure that nobody got the request.
    """

    def __init__(self, reason: str, *, passing: bool = True, unsent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.unsent = unsent


class TooLarge(NoAnswer):
    """The answer has more bytes than were allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes", passing=False)


@dataclass(frozen=True)
class Answer:
    """What a server answers.

    Attributes:
        url: What was asked.
        headers: By their names in any case.
        body: All of it when the status is 2xx; of any other only as much as its message may stand in.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def sent_to(self) -> str | None:
        """The address that a redirect names; ``None`` for any other answer."""
        location = self.headers.get("Location")
        return urljoin(self.url, location) if self.status in REDIRECTS and location else None


class Http:
    """Sends requests; may be used by several threads at once.

    Args:
        retries: How often a GET or HEAD is sent again by itself when the server stumbles (500, 502, 503, 504) or cannot be reached.
        timeout: Seconds to wait for each part of an answer.
        refusal: How many bytes are read of an answer whose status is not 2xx.
    """

    def __init__(self, *, retries: int = 0, timeout: float = 60.0, refusal: int = 1 << 14) -> None:
        self._timeout = timeout
        self._refusal = refusal
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
    ) -> Answer:
        """Send a request, and read its answer.

        Args:
            method: Such as ``GET``.
            url: Where to, with its scheme.
            limit: How many bytes an answer may have.
            headers: Beside those that every request has.
            query: What is added to the URL.
            body: The bytes, or a form.
            timeout: Seconds to wait for each part of this answer.

        Raises:
            NoAnswer: There is none.
            TooLarge: There is one, and it is larger than ``limit``.
        """
        try:
            with self._session.request(
                method,
                url,
                headers={"User-Agent": "kubernaut", "Accept-Encoding": "identity", **(headers or {})},
                params=query,
                data=body,
                auth=_as_it_is,
                stream=True,
                timeout=(_CONNECT_TIMEOUT, self._timeout if timeout is None else timeout),
                allow_redirects=False,
                proxies=_NO_PROXY if is_loopback(urlsplit(url).hostname or "") else None,
            ) as response:
                return Answer(url, response.status_code, response.headers, self._body(response, limit))
        except requests.RequestException as error:
            raise NoAnswer(_reason(error), passing=not isinstance(error, _LASTING), unsent=_unsent(error)) from error

    def _body(self, response: requests.Response, limit: int) -> bytes:
        taken = 200 <= response.status_code < 300
        most = limit if taken else self._refusal
        body = bytearray()
        for chunk in response.iter_content(1 << 16):
            body += chunk
            if len(body) > most:
                if taken:
                    raise TooLarge(limit)
                break
        return bytes(body)


def same_server(one: str, other: str) -> bool:
    """Say whether two URLs lead to the same server: scheme, host and port."""
    return _server(urlsplit(one)) == _server(urlsplit(other))


def _server(url: SplitResult) -> tuple[str, str | None, int | None]:
    try:
        return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
    except ValueError:  # no port is called like that
        return url.scheme, url.netloc, None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from adding what it finds in ~/.netrc."""
    return request


def _reason(error: requests.RequestException) -> str:
    """Find what the system said below the layers of libraries; their own texts hold addresses of objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS fails; for a server without TLS set `plain_http`"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    said = next((below.strerror for below in _layers(error) if isinstance(below, OSError) and below.strerror), None)
    if said is not None:
        return said
    return "the connection was cut off" if isinstance(error, requests.exceptions.ChunkedEncodingError) else type(error).__name__


def _unsent(error: requests.RequestException) -> bool:
    return any(isinstance(below, _UNSENT) for below in _layers(error))


def _layers(error: BaseException) -> Iterator[BaseException]:
    seen: Any = error
    while isinstance(seen, BaseException):
        yield seen
        seen = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__ or next(iter(seen.args), None)
