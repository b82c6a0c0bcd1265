"""A private certificate authority, and a server's certificate that it has signed; made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """The files: the authority's certificate, and a server's certificate with its key."""

    authority: Path
    server: Path


def make_certificates(folder: Path, address: str = "127.0.0.1") -> Certificates:
    """Make an authority, and a certificate of it for a server at an IP address."""
    authority, key, server, server_key = (folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _openssl("req", "-x509", *curve, "-keyout", key, "-out", authority, "-subj", "/CN=test authority")
    signed_by = ["-CA", authority, "-CAkey", key]
    names = ["-subj", "/CN=test server", "-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl("req", "-x509", *curve, *signed_by, "-keyout", server_key, "-out", server, *names)
    server.write_text(server.read_text() + server_key.read_text())
    return Certificates(authority, server)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
