"""What makes two requests one: the key that the client gives them (`Idempotency-Key`), and what is asked for. Pure.

The key is kept in the cluster, as a hash and together with the fingerprint, so that a restart or another server honours it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from kubernaut.errors import RequestInvalid
from kubernaut.models import Model
from kubernaut.server.http.routing import Request

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(header: str | None) -> str | None:
    """Return the key that ``Idempotency-Key`` holds, in quotes or not. Raises: RequestInvalid."""
    if header is None:
        return None
    quoted = len(header) > 1 and header[0] == header[-1] == '"'
    key = header[1:-1] if quoted else header
    if not _KEY.fullmatch(key):
        raise RequestInvalid("An Idempotency-Key has 1 to 255 visible ASCII characters.")
    return key


def fingerprint_of(request: Request) -> str:
    """Return what tells a request from others: a digest over what is asked for, not over how it is spelt."""
    asked = [request.method, request.path, _canonical(request.body), {**_canonical(request.query), "dryRun": None}]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


def _canonical(model: Model | None) -> Mapping[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True) if model is not None else {}
