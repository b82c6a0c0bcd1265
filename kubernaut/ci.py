"""The CI build that runs kubernaut, as Jenkins and Hudson tell the programs that a build starts: by environment variables.

Pure. It is told by whom a version or a release was made, and nothing is decided by it: what is strange in it is cleaned or left
out, and never stands in the way of a deploy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from kubernaut.models import Model
from kubernaut.redact import redact, without_credentials

LONGEST_URL = 2000
LONGEST_TEXT = 500
LARGEST_NUMBER = 10**9 - 1

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SERVERS = ("JENKINS_URL", "HUDSON_URL")
_ANNOTATION = "kubernaut/build-"

HEADER = "Kubernaut-Build"
"""The header by which a server is told of its caller's build."""
HEADER_PATTERN = r"[\x20-\x7e]{0,4000}"


class CiBuild(Model):
    """A build of a CI server.

    Attributes:
        url: Its page, without credentials; only where the server knows its own address.
        job: The job's full name, folders and all.
        number: The build's number.
        tag: What names the build in one word, such as ``jenkins-shop-deploy-7``.
        change: The pull request that it is of.
    """

    url: str | None = None
    job: str | None = None
    number: int | None = None
    tag: str | None = None
    change: str | None = None

    @property
    def words(self) -> str:
        """Say which build it is: its page, else ``shop-deploy #7``; nothing of one that nothing is known of."""
        return self.url or " ".join(part for part in (self.job, self.number and f"#{self.number}") if part)


def ci_build(environment: Mapping[str, str], url: str | None = None) -> CiBuild | None:
    """Return the build that runs this process; ``None`` where no CI server does.

    Args:
        environment: The process's.
        url: The build's page, where it is set by hand.
    """
    page = url or environment.get("BUILD_URL")
    job, number = _line(environment.get("JOB_NAME")), _number(environment.get("BUILD_NUMBER"))
    if job is None or number is None:
        return build_of(url=page)
    return build_of(
        url=_page(page) or _page_of(environment, job, number),
        job=job,
        number=number,
        tag=environment.get("BUILD_TAG"),
        change=environment.get("CHANGE_ID"),
    )


def build_of(
    *,
    url: str | None = None,
    job: str | None = None,
    number: int | str | None = None,
    tag: str | None = None,
    change: str | None = None,
) -> CiBuild | None:
    """Return the build that somebody tells of, cleaned; ``None`` where nothing that makes sense is told.

    A page that is no address is left out, and credentials are taken out of one; of other texts a line is kept that is no longer
    than it need be.
    """
    told = CiBuild(url=_page(url), job=_line(job), number=_number(number), tag=_line(tag), change=_line(change))
    return told if told != CiBuild() else None


def cleaned(build: CiBuild | None) -> CiBuild | None:
    """Return a build as :func:`build_of` does."""
    return None if build is None else build_of(**build.model_dump())


def build_annotations(build: CiBuild | None) -> dict[str, str]:
    """Return a build as a chart and a lock are told of it: ``kubernaut/build-url``, ``kubernaut/build-job`` and so on."""
    told = build.model_dump(exclude_none=True) if build else {}
    return {f"{_ANNOTATION}{name}": str(value) for name, value in told.items()}


def annotated_build(annotations: Mapping[str, Any]) -> CiBuild | None:
    """Return the build that annotations tell of, whoever wrote them."""
    told = {name: annotations.get(f"{_ANNOTATION}{name}") for name in CiBuild.model_fields}
    return build_of(**{name: text for name, text in told.items() if isinstance(text, str)})


def build_header(build: CiBuild | None) -> dict[str, str]:
    """Return the header that tells a server of a build, such as ``url=https%3A%2F%2Fci%2F7&number=7``."""
    told = build.model_dump(exclude_none=True) if build else {}
    while told and not re.fullmatch(HEADER_PATTERN, urlencode(told)):
        told.popitem()  # the page comes first, and says most
    return {HEADER: urlencode(told)} if told else {}


def told_build(header: str | None) -> CiBuild | None:
    """Return the build that the header tells of; what makes no sense in it is left out."""
    told = dict(parse_qsl(header or "", max_num_fields=None, errors="replace"))
    return build_of(**{name: told[name] for name in CiBuild.model_fields if name in told})


def ci_user(environment: Mapping[str, str]) -> str | None:
    """Return who a build works for: the person who started it, where a plugin tells, else the CI server; ``None`` elsewhere."""
    if _line(environment.get("JOB_NAME")) is None or _number(environment.get("BUILD_NUMBER")) is None:
        return None
    server = "hudson" if environment.get("BUILD_TAG", "").startswith("hudson-") else "jenkins"
    return _line(environment.get("BUILD_USER_ID")) or server


def ci_source(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the commit and the repository that a build works on, as far as it tells; the repository without credentials."""
    commit = environment.get("GIT_COMMIT", "").strip().lower()
    return commit if _COMMIT.fullmatch(commit) else None, _repository(environment.get("GIT_URL"))


def _page_of(environment: Mapping[str, str], job: str, number: int) -> str | None:
    """Return a build's page, by the server's address; a job in folders is ``team/shop-deploy``."""
    server = next(filter(None, (_page(environment.get(name)) for name in _SERVERS)), None)
    names = job.split("/")
    if server is None or any(name in ("", ".", "..") for name in names):
        return None
    parts = urlsplit(server)
    path = "/".join((parts.path.rstrip("/"), *(f"job/{quote(name, safe='')}" for name in names), str(number), ""))
    return _page(urlunsplit((parts.scheme, parts.netloc, path, "", "")))


def _page(text: str | None) -> str | None:
    """Return an address without credentials; ``None`` for what is none."""
    url = _one_word(text)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return redact(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, "")))


def _repository(text: str | None) -> str | None:
    """Return a repository's address without credentials; ``git@host:path`` stays as it is."""
    url = _one_word(text)
    try:
        return url and redact(without_credentials(url))
    except ValueError:
        return None


def _one_word(text: str | None) -> str | None:
    text = (text or "").strip()
    sound = text.isprintable() and not any(character.isspace() for character in text)
    return text if text and sound and len(text) <= LONGEST_URL else None


def _line(text: str | None) -> str | None:
    """Return a text as one printable line, not endless; ``None`` where there is none."""
    line = "".join(character if character.isprintable() else "?" for character in (text or "")[:LONGEST_TEXT].strip())
    return redact(line) or None


def _number(value: int | str | None) -> int | None:
    text = str(value if value is not None else "").strip()
    return int(text) if text.isascii() and _NUMBER.fullmatch(text) else None
