"""Putting images into the platform's registry over its HTTP API, if they are not there yet."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from kubernaut.errors import RegistryUnreachable
from kubernaut_local import probe
from kubernaut_local.image import MANIFEST_TYPE, Image

_SECONDS = 60.0


class Seeder:
    """Pushes images of the cache; the registry must answer."""

    def __init__(self, port: int) -> None:
        self._port = port

    def push(self, image: Image, repository: str, tags: tuple[str, ...]) -> bool:
        """Make the tags name the image; return whether anything had to be pushed."""
        missing = [tag for tag in tags if self._digest(repository, tag) != image.digest]
        if not missing:
            return False
        for digest, file in image.blobs():
            if self._ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] != 200:
                self._upload(repository, digest, file)
        for tag in missing:
            status, answer, _ = self._ask(
                "PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, {"Content-Type": MANIFEST_TYPE}
            )
            if status != 201:
                raise RegistryUnreachable(f"The platform's registry refuses {repository}:{tag}: {status}.", details=[answer])
        return True

    def _digest(self, repository: str, tag: str) -> str:
        status, _, headers = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST_TYPE})
        return headers.get("docker-content-digest", "") if status == 200 else ""

    def _upload(self, repository: str, digest: str, file: Path) -> None:
        status, answer, headers = self._ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
        if status == 202:
            location = urlsplit(headers["location"])
            target = f"{location.path}?{location.query}&digest={digest}" if location.query else f"{location.path}?digest={digest}"
            status, answer, _ = self._ask("PUT", target, file.read_bytes(), {"Content-Type": "application/octet-stream"})
        if status != 201:
            raise RegistryUnreachable(f"The platform's registry refuses a blob of {repository}: {status}.", details=[answer])

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        try:
            status, answer, received = probe.http(self._port, method, path, body, headers, _SECONDS)
        except probe.NO_ANSWER as failure:
            raise RegistryUnreachable(f"The platform's registry does not answer on port {self._port}: {failure}.") from failure
        return status, answer.decode(errors="replace"), received
