"""Asks a server for its answers over kept connections, and times each: as fast as it can, or at a given rate.

Run as a program of its own, so that it does not share its interpreter with what it measures; it prints its times as JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What came of it: the seconds of each answer, in order of asking; how many were no 200; how long it all took."""

    seconds: list[float]
    errors: int
    took: float

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.seconds) / self.took

    def percentile(self, percent: float) -> float:
        """Return the seconds within which that many of the answers came."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def ask(url: str, header: str, *, connections: int, requests: int, rate: float | None) -> Load:
    """Ask.

    Args:
        url: What to ask for.
        header: The line of the Authorization header.
        connections: How many connections are kept, each of a thread.
        requests: How many requests in all.
        rate: How many in a second, evenly; each is timed from when it was due, so that none hides behind a slow one.
    """
    parts = urlsplit(url)
    name, _, value = header.partition(":")
    begun = time.perf_counter()
    lock, seconds, errors, taken = threading.Lock(), [0.0] * requests, [0], iter(range(requests))

    def work() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        while True:
            with lock:
                number = next(taken, None)
            if number is None:
                break
            due = time.perf_counter() if rate is None else begun + number / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers={name: value.strip()})
            with connection.getresponse() as response:
                response.read()
            seconds[number] = time.perf_counter() - due
            if response.status != 200:
                with lock:
                    errors[0] += 1
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(seconds, errors[0], time.perf_counter() - begun)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--header-file", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args(arguments)
    header = options.header_file.read_text(encoding="ascii").strip()
    load = ask(options.url, header, connections=options.connections, requests=options.requests, rate=options.rate)
    json.dump(asdict(load), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
