"""Build the image from exactly the bytes of the source digest, label it, and push it.

After a push the registry must report the same digest for the tag as the engine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from kubernaut.adapters.docker import DockerEngine, is_ignored
from kubernaut.adapters.registry import Credentials
from kubernaut.errors import RegistryUnreachable, VersionConflict
from kubernaut.events import Step
from kubernaut.publish.application import check_dockerfile
from kubernaut.publish.registry import CREATED, REVISION, SOURCE, SOURCE_DIGEST, TITLE, VERSION, Registry
from kubernaut.publish.source import Source, context_tar, read_entry

_DOCKERFILE = ".kubernaut.Dockerfile"
_IGNORE = ".dockerignore"
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\"\\$`]*")


def image_labels(source: Source, version: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Return the image's labels: the OCI labels and the source digest.

    ``facts`` are revision, source and created, if known, under their OCI names.
    """
    labels = {TITLE: source.application.name, VERSION: version, SOURCE_DIGEST: source.digest}
    return labels | {name: facts[name] for name in (REVISION, SOURCE, CREATED) if name in facts}


def make_image(
    engine: DockerEngine, source: Source, *, tag: str, labels: Mapping[str, str], time: datetime | None, log: Callable[[str], None]
) -> str:
    """Build the image and return its ID.

    Raises:
        DockerfileInvalid: The Dockerfile is missing or outside the context.
        BuildFailed: A build step failed; the error holds its last lines.
    """
    application = source.application
    check_dockerfile(application)
    extra = _label_files(source, labels)
    with context_tar(source, time, extra) as context:
        return engine.build(
            context,
            dockerfile=_DOCKERFILE if _DOCKERFILE in extra else application.image.dockerfile,
            tag=tag,
            target=application.image.target,
            args=application.image.args,
            labels={} if extra else labels,
            log=log,
        )


def _label_files(source: Source, labels: Mapping[str, str]) -> dict[str, bytes]:
    """Return a Dockerfile that sets all labels in one instruction, and a .dockerignore that keeps it out of the image.

    The classic builder runs one step of about 0.1 s for each label of the API call. The labels are therefore appended to a copy of
    the Dockerfile, or to the Dockerfile itself if .dockerignore excludes it. An empty mapping means that appending is not safe.
    """
    image = source.application.image
    entries = {entry.name: entry for entry in source.section("context")}
    text = read_entry(entries[image.dockerfile]) if image.dockerfile in entries else b""
    last = text.rstrip().rpartition(b"\n")[2]
    if image.target is not None or not text or last.endswith((b"\\", b"`")) or _DOCKERFILE in entries:
        return {}
    if b"<<" in text or not all(_PLAIN.fullmatch(value) for value in labels.values()):
        return {}
    line = "LABEL " + " ".join(f'"{name}"="{value}"' for name, value in sorted(labels.items()))
    ignore = read_entry(entries[_IGNORE]) if _IGNORE in entries else _IGNORE.encode()
    name = image.dockerfile if is_ignored(source.application.context_path, image.dockerfile) else _DOCKERFILE
    return {name: text.rstrip() + b"\n" + line.encode() + b"\n", _IGNORE: ignore + b"\n" + os.fsencode(name) + b"\n"}


def push_image(
    engine: DockerEngine, registry: Registry, repository: str, tag: str, *, credentials: Credentials | None, step: Step
) -> str:
    """Push the image and return the digest that the registry reports for its tag.

    Raises:
        VersionConflict: Another publisher pushed a different image under the tag at the same moment.
    """
    digest = engine.push(repository, tag, credentials=credentials, log=step.log)
    found = registry.image_digest(repository, tag)
    if found is None:
        raise RegistryUnreachable(f"Pushed {repository}:{tag}, but the registry does not report it.")
    if found != digest:
        raise VersionConflict(
            f"Pushed {repository}:{tag} as {digest}, but the registry reports {found}: another process publishes the same version."
        )
    return digest
