"""The network link between the host and the platform: runs slirp4netns and forwards ports of the host's 127.0.0.1.

Run by supervisord as `link.py SOCKET NETNS GUEST_ADDRESS CIDR PORT…`. It ends when slirp4netns ends, and supervisord restarts
it; when it is killed, the kernel kills slirp4netns too (a parent-death signal).
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

START_SECONDS = 10.0


def main() -> int:
    """Run slirp4netns until it ends or SIGTERM arrives; return its exit status."""
    path, namespace, guest, cidr = sys.argv[1:5]
    ports = [int(port) for port in sys.argv[5:]]
    Path(path).unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(
                "setpriv",
                "--pdeathsig",
                "KILL",
                "slirp4netns",
                "--configure",
                f"--cidr={cidr}",
                "--mtu=1500",
                "--disable-host-loopback",
            ),
            *("--netns-type=path", f"--api-socket={path}", namespace, "eth0"),
        ]
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, stop)
    try:
        forward(process, path, guest, ports)
        return process.wait()
    finally:
        process.kill()


def forward(process: subprocess.Popen[bytes], path: str, guest: str, ports: list[int]) -> None:
    """Forward each port of the host's 127.0.0.1 to the same port inside."""
    for port in ports:
        arguments = {"proto": "tcp", "host_addr": "127.0.0.1", "host_port": port, "guest_addr": guest, "guest_port": port}
        answer = call(process, path, {"execute": "add_hostfwd", "arguments": arguments})
        if "error" in answer:
            sys.exit(f"port {port} cannot be forwarded: {answer['error']}")
        sys.stdout.write(f"forwarding 127.0.0.1:{port}\n")
        sys.stdout.flush()


def call(process: subprocess.Popen[bytes], path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to slirp4netns' API, waiting until it listens, and return the answer."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("slirp4netns did not start")
                time.sleep(0.02)
                continue
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        decoded: dict[str, Any] = json.loads(answer)
        return decoded


if __name__ == "__main__":
    sys.exit(main())
