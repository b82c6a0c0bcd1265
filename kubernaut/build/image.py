"""The image: built by the engine from exactly the bytes that the source digest names, labelled with where it comes from, pushed.

What the engine says of the push is not believed alone: the registry must give the same digest for the tag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from kubernaut.build.application import check_dockerfile
from kubernaut.build.registry import CREATED, REVISION, SOURCE, SOURCE_DIGEST, Registry
from kubernaut.build.source import Source, context_tar
from kubernaut.clients.engine import Credentials, Engine
from kubernaut.errors import RegistryUnreachable, VersionConflict
from kubernaut.events import Step

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"


def image_labels(source: Source, version: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the image's labels: the OCI ones, and the source digest.

    Args:
        source: What the image is built from.
        version: The version's name.
        facts: Revision, source and created, as far as they are known, under their OCI names.
    """
    labels = {TITLE: source.application.name, VERSION: version, SOURCE_DIGEST: source.digest}
    return labels | {name: facts[name] for name in (REVISION, SOURCE, CREATED) if name in facts}


def find_image(engine: Engine, source: Source, version: str) -> str | None:
    """Return the id of an image that the engine already built from the same source for the same version."""
    return engine.find_image({SOURCE_DIGEST: source.digest, TITLE: source.application.name, VERSION: version})


def make_image(
    engine: Engine, source: Source, *, tag: str, labels: Mapping[str, str], time: datetime | None, log: Callable[[str], None]
) -> str:
    """Build the image and return its id.

    Raises:
        DockerfileInvalid: The Dockerfile is missing, or lies outside the context.
        BuildFailed: A step of it failed; the error holds its last lines.
    """
    application = source.application
    check_dockerfile(application)
    with context_tar(source, time) as context:
        return engine.build(
            context,
            dockerfile=application.image.dockerfile,
            tag=tag,
            target=application.image.target,
            args=application.image.args,
            labels=labels,
            log=log,
        )


def push_image(
    engine: Engine, registry: Registry, repository: str, tag: str, *, credentials: Credentials | None, step: Step
) -> str:
    """Push the image and return the digest that the registry has for its tag.

    Raises:
        VersionConflict: Somebody else pushed another image under the tag at the same moment.
    """
    digest = engine.push(repository, tag, credentials=credentials, log=step.log)
    found = registry.image_digest(repository, tag)
    if found is None:
        raise RegistryUnreachable(f"{repository}:{tag} was pushed, and the registry does not have it.")
    if found != digest:
        raise VersionConflict(
            f"{repository}:{tag} was pushed as {digest}, and is now {found}: somebody else publishes the same version."
        )
    return digest
