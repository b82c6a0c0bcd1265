"""The CI build that runs kubernaut, as Jenkins and Hudson tell the programs that a build starts: by environment variables.

Pure. It is told by whom a version or a release was made, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubernaut.model import Model


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


def ci_build(environment: Mapping[str, str], url: str | None = None) -> CiBuild | None:
    """Return the build that runs this process; ``None`` where no CI server does.

    Args:
        environment: The process's.
        url: The build's page, where it is set by hand.
    """
    raise NotImplementedError
