"""How the Kubernetes API is spoken to over HTTP: addresses, label selectors and dates, and what is sent again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx2

_BUSY = frozenset({429, 502, 503, 504})
_PAUSES = (0.1, 0.4, 1.5)
_LONGEST_PAUSE = 5.0


class Not(str):
    """Of a label: any other value, or none."""

    __slots__ = ()


Labels = Mapping[str, str | Sequence[str]]


def address_of(namespace: str | None, *parts: str, api: str = "/api/v1") -> str:
    """Return the address of something in a namespace, or of a kind of things in all."""
    place = ("namespaces", namespace, *parts) if namespace else parts
    return "/".join([api, *(quote(part, safe=":") for part in place)])


def selector(labels: Labels) -> str:
    """Return a label selector; a label's value may be a sequence, one of these, or :class:`Not` a value."""

    def wanted(key: str, value: str | Sequence[str]) -> str:
        if isinstance(value, str):
            return f"{key}{'!=' if isinstance(value, Not) else '='}{value}"
        return f"{key} in ({','.join(value)})"

    return ",".join(wanted(key, value) for key, value in labels.items())


def date(header: str) -> datetime | None:
    """Read the header Date; ``None`` for what is none."""
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def send(client: httpx2.Client, request: httpx2.Request, *, repeat: bool) -> httpx2.Response:
    """Send a request; with ``repeat``, again after a pause when the server is busy or the connection breaks."""
    for pause in (*_PAUSES, None) if repeat else (None,):
        try:
            response = client.send(request)
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            if pause is None:
                raise
        else:
            if pause is None or response.status_code not in _BUSY:
                return response
            after = response.headers.get("Retry-After", "")
            pause = min(float(after) if after.isdigit() else pause, _LONGEST_PAUSE)
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
