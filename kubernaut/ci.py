"""The CI build that runs kubernaut, read from the environment variables of Jenkins and Hudson.

Pure. A build is only recorded with versions and releases: invalid values are cleaned or omitted, and never fail a deploy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from kubernaut.models import Model
from kubernaut.redact import redact, without_credentials

MAX_URL = 2000
MAX_TEXT = 500

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SERVERS = ("JENKINS_URL", "HUDSON_URL")
_ANNOTATION = "kubernaut/build-"

HEADER = "Kubernaut-Build"
"""The request header with the build of the caller."""
HEADER_PATTERN = r"[\x20-\x7e]{0,4000}"


class CiBuild(Model):
    """A build of a CI server.

    Attributes:
        url: Its page, without credentials; ``None`` if the server does not know its own address.
        job: The full name of the job, with folders.
        number: The number of the build.
        tag: The name of the build, such as ``jenkins-shop-deploy-7``.
        change: The pull request.
    """

    url: str | None = None
    job: str | None = None
    number: int | None = None
    tag: str | None = None
    change: str | None = None

    @property
    def label(self) -> str:
        """The page, else ``shop-deploy #7``; empty if neither is known."""
        return self.url or " ".join(part for part in (self.job, self.number and f"#{self.number}") if part)


def ci_build(environment: Mapping[str, str], url: str | None = None) -> CiBuild | None:
    """Return the build that runs this process; ``None`` outside a CI server.

    Args:
        environment: The environment of the process.
        url: The page of the build, if it is set explicitly.
    """
    page = url or environment.get("BUILD_URL")
    job, number = _line(environment.get("JOB_NAME")), _number(environment.get("BUILD_NUMBER"))
    if job is None or number is None:
        return make_build(url=page)
    return make_build(
        url=_page(page) or _page_of(environment, job, number),
        job=job,
        number=number,
        tag=environment.get("BUILD_TAG"),
        change=environment.get("CHANGE_ID"),
    )


def make_build(
    *,
    url: str | None = None,
    job: str | None = None,
    number: int | str | None = None,
    tag: str | None = None,
    change: str | None = None,
) -> CiBuild | None:
    """Return a build with sanitized values; ``None`` if no value is valid.

    An invalid page is omitted, and its credentials are removed; other texts become one line of bounded length.
    """
    build = CiBuild(url=_page(url), job=_line(job), number=_number(number), tag=_line(tag), change=_line(change))
    return build if build != CiBuild() else None


def sanitize_build(build: CiBuild | None) -> CiBuild | None:
    """Return a build as :func:`make_build` makes it."""
    return None if build is None else make_build(**build.model_dump())


def build_annotations(build: CiBuild | None) -> dict[str, str]:
    """Return the annotations of a build for a chart or Lease: ``kubernaut/build-url``, ``kubernaut/build-job`` and so on."""
    fields = build.model_dump(exclude_none=True) if build else {}
    return {f"{_ANNOTATION}{name}": str(value) for name, value in fields.items()}


def build_from_annotations(annotations: Mapping[str, Any]) -> CiBuild | None:
    """Return the build in annotations, which anyone may have written."""
    fields = {name: annotations.get(f"{_ANNOTATION}{name}") for name in CiBuild.model_fields}
    return make_build(**{name: text for name, text in fields.items() if isinstance(text, str)})


def build_header(build: CiBuild | None) -> dict[str, str]:
    """Return the request header with a build, such as ``url=https%3A%2F%2Fci%2F7&number=7``."""
    fields = build.model_dump(exclude_none=True) if build else {}
    while fields and not re.fullmatch(HEADER_PATTERN, urlencode(fields)):
        fields.popitem()  # the page, which matters most, comes first
    return {HEADER: urlencode(fields)} if fields else {}


def build_from_header(header: str | None) -> CiBuild | None:
    """Return the build in the request header; invalid values are omitted."""
    fields = dict(parse_qsl(header or "", max_num_fields=None, errors="replace"))
    return make_build(**{name: fields[name] for name in CiBuild.model_fields if name in fields})


def ci_user(environment: Mapping[str, str]) -> str | None:
    """Return the user who started the build, if a plugin reports it, else the CI server; ``None`` outside a CI server."""
    if _line(environment.get("JOB_NAME")) is None or _number(environment.get("BUILD_NUMBER")) is None:
        return None
    server = "hudson" if environment.get("BUILD_TAG", "").startswith("hudson-") else "jenkins"
    return _line(environment.get("BUILD_USER_ID")) or server


def ci_source(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the commit and the repository of a build, as far as they are known; the repository without credentials."""
    commit = environment.get("GIT_COMMIT", "").strip().lower()
    return commit if _COMMIT.fullmatch(commit) else None, _repository(environment.get("GIT_URL"))


def _page_of(environment: Mapping[str, str], job: str, number: int) -> str | None:
    """Return the page of a build by the address of the server; ``team/shop-deploy`` is a job in a folder."""
    server = next(filter(None, (_page(environment.get(name)) for name in _SERVERS)), None)
    names = job.split("/")
    if server is None or any(name in ("", ".", "..") for name in names):
        return None
    parts = urlsplit(server)
    path = "/".join((parts.path.rstrip("/"), *(f"job/{quote(name, safe='')}" for name in names), str(number), ""))
    return _page(urlunsplit((parts.scheme, parts.netloc, path, "", "")))


def _page(text: str | None) -> str | None:
    """Return an address without credentials; ``None`` if it is invalid."""
    url = _one_word(text)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return redact(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, "")))


def _repository(text: str | None) -> str | None:
    """Return the address of a repository without credentials; ``git@host:path`` is unchanged."""
    url = _one_word(text)
    try:
        return url and redact(without_credentials(url))
    except ValueError:
        return None


def _one_word(text: str | None) -> str | None:
    text = (text or "").strip()
    sound = text.isprintable() and not any(character.isspace() for character in text)
    return text if text and sound and len(text) <= MAX_URL else None


def _line(text: str | None) -> str | None:
    """Return a text as one printable line of bounded length; ``None`` if it is empty."""
    line = "".join(character if character.isprintable() else "?" for character in (text or "")[:MAX_TEXT].strip())
    return redact(line) or None


def _number(value: int | str | None) -> int | None:
    text = str(value if value is not None else "").strip()
    return int(text) if text.isascii() and _NUMBER.fullmatch(text) else None
