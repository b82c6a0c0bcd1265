"""A Docker engine in memory: it reads simple Dockerfiles and pushes to a real registry.

An image is the bytes of the context with its labels. ``RUN`` understands ``exit N``, ``false``, ``echo WORDS`` and sequences with
``;`` and ``&&``; other commands succeed. Nothing is executed.
"""

from __future__ import annotations

import http.client
import json
import shlex
import tarfile
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

from kubernaut.adapters.docker import TAIL, DockerEngine
from kubernaut.adapters.registry import Credentials, content_digest
from kubernaut.errors import BuildFailed, EngineUnreachable, ImageNotFound, RegistryDenied, RegistryUnreachable

# fmt: off
_INSTRUCTIONS = frozenset((
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN",
    "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
))
# fmt: on
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class _Image:
    id: str
    config: bytes
    layer: bytes
    labels: Mapping[str, str]


class FakeEngine(DockerEngine):
    """A Docker engine for tests.

    Attributes:
        running: Whether the engine responds.
        builds: The tags that were built, in order.
        pushes: The tags that were pushed, in order.
    """

    def __init__(self) -> None:
        super().__init__("unix:///fake")
        self.running = True
        self.builds: list[str] = []
        self.pushes: list[str] = []
        self._images: list[_Image] = []
        self._tags: dict[str, _Image] = {}

    def check(self) -> str:
        """Return the engine's version."""
        self._answer()
        return "0.0.0-fake"

    def find_image(self, labels: Mapping[str, str]) -> str | None:
        """Return the ID of the newest image with these labels, or ``None``."""
        self._answer()
        for image in reversed(self._images):
            if labels.items() <= image.labels.items():
                return image.id
        return None

    def build(
        self,
        context: IO[bytes],
        *,
        dockerfile: str,
        tag: str,
        target: str | None,
        args: Mapping[str, str],
        labels: Mapping[str, str],
        log: Callable[[str], None],
    ) -> str:
        """Read the Dockerfile, log its steps, and keep an image of the context's bytes."""
        self._answer()
        layer = context.read()
        text = _dockerfile(context, dockerfile)
        lines: deque[str] = deque(maxlen=TAIL)

        def say(line: str) -> None:
            lines.append(line)
            log(line)

        steps = [
            line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.strip().startswith("#")
        ]
        if not steps:
            raise BuildFailed("The build failed: the Dockerfile cannot be empty")
        for number, line in enumerate(steps, 1):
            word = line.split()[0].upper()
            if word not in _INSTRUCTIONS:
                raise BuildFailed(f"The build failed: dockerfile parse error line {number}: unknown instruction: {word}")
        for number, line in enumerate(steps, 1):
            say(f"Step {number}/{len(steps)} : {line}")
            if line.upper().startswith("RUN "):
                _run(line, f"Step {number}/{len(steps)} : {line}", say, lines)
        labels = {**labels, **_labels(steps)}
        config = json.dumps({"labels": labels, "args": dict(args), "target": target, "layer": content_digest(layer)}).encode()
        image = _Image(content_digest(config), config, layer, labels)
        self._images = [other for other in self._images if other.id != image.id] + [image]
        self._tags[tag] = image
        self.builds.append(tag)
        say(f"Successfully tagged {tag}")
        return image.id

    def push(self, repository: str, tag: str, *, credentials: Credentials | None, log: Callable[[str], None]) -> str:
        """Push an image with the distribution API over plain HTTP."""
        self._answer()
        image = self._tags.get(f"{repository}:{tag}")
        if image is None:
            raise ImageNotFound(f"The engine has no image {repository}:{tag} to push.")
        host, _, name = repository.partition("/")
        log(f"The push refers to repository [{repository}]")
        headers = {}
        if credentials is not None:
            headers["Authorization"] = "Basic " + b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()
        manifest = _manifest(image)
        try:
            with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
                for blob in (image.config, image.layer):
                    location = _send(connection, "POST", f"/v2/{name}/blobs/uploads/", b"", headers, repository)["location"]
                    mark = "&" if "?" in location else "?"
                    _send(connection, "PUT", f"{location}{mark}digest={content_digest(blob)}", blob, headers, repository)
                typed = {**headers, "Content-Type": _MANIFEST_TYPE}
                _send(connection, "PUT", f"/v2/{name}/manifests/{tag}", manifest, typed, repository)
        except (OSError, http.client.HTTPException) as error:
            raise RegistryUnreachable(f"The push of {repository}:{tag} failed: {error}") from error
        self.pushes.append(f"{repository}:{tag}")
        log(f"{tag}: digest: {content_digest(manifest)} size: {len(manifest)}")
        return content_digest(manifest)

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Tag an image."""
        self._answer()
        for known in self._images:
            if known.id == image:
                self._tags[f"{repository}:{tag}"] = known
                return
        raise ImageNotFound(f"The engine has no image {image}.")

    def _answer(self) -> None:
        if not self.running:
            raise EngineUnreachable("The Docker engine at unix:///fake does not answer: No such file or directory.")


def _dockerfile(context: IO[bytes], dockerfile: str) -> str:
    context.seek(0)
    with tarfile.open(fileobj=context) as tar:
        try:
            file = tar.extractfile(dockerfile)
        except KeyError:
            file = None
        if file is None:
            raise BuildFailed(f"The build failed: Cannot locate specified Dockerfile: {dockerfile}")
        return file.read().decode()


def _labels(steps: list[str]) -> dict[str, str]:
    words = [word for step in steps if step.upper().startswith("LABEL ") for word in shlex.split(step)[1:]]
    return dict(word.split("=", 1) for word in words if "=" in word)


def _run(line: str, step: str, say: Callable[[str], None], lines: deque[str]) -> None:
    for command in line[4:].replace("&&", ";").split(";"):
        words = command.split()
        if words[:1] == ["echo"]:
            say(" ".join(words[1:]))
        status = 1 if words == ["false"] else int(words[1]) if words[:1] == ["exit"] else 0
        if status:
            raise BuildFailed(
                f"The build failed in {step}: The command '/bin/sh -c {line[4:]}' returned a non-zero code: {status}",
                details=tuple(lines),
            )


def _manifest(image: _Image) -> bytes:
    def descriptor(kind: str, blob: bytes) -> dict[str, Any]:
        return {"mediaType": f"application/vnd.docker.{kind}", "size": len(blob), "digest": content_digest(blob)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": descriptor("container.image.v1+json", image.config),
            "layers": [descriptor("image.rootfs.diff.tar.gzip", image.layer)],
        }
    ).encode()


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str], repository: str
) -> Mapping[str, str]:
    path = path.partition("//")[2].partition("/")[2] if "://" in path else path.lstrip("/")
    connection.request(method, f"/{path}", body, dict(headers))
    response = connection.getresponse()
    response.read()
    if response.status in (401, 403):
        raise RegistryDenied(f"The registry refuses the push of {repository}: HTTP {response.status}")
    if response.status >= 400:
        raise RegistryUnreachable(f"The push of {repository} failed: HTTP {response.status}")
    return {name.lower(): value for name, value in response.getheaders()}
