"""Sends requests to a server over keep-alive connections and times each, at the maximum or a given rate; prints JSON.

A separate process, so that it does not share an interpreter with the code that it measures.
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
    """The result of a load.

    Attributes:
        seconds: The seconds of each request, in the order of the requests.
        errors: The number of responses with a status other than 200.
        duration: The seconds of all requests together.
    """

    seconds: list[float]
    errors: int
    duration: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return len(self.seconds) / self.duration

    def percentile(self, percent: float) -> float:
        """Return a percentile of the seconds."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def run(url: str, header: str, *, connections: int, requests: int, rate: float | None) -> Load:
    """Send requests and time them.

    Args:
        url: The URL to request.
        header: The line of the Authorization header.
        connections: The number of connections, each in its own thread.
        requests: The total number of requests.
        rate: Requests per second, or None for the maximum. A request is timed from its due time, so a wait for a slow one counts.
    """
    parts = urlsplit(url)
    name, _, value = header.partition(":")
    started = time.perf_counter()
    lock, seconds, errors, taken = threading.Lock(), [0.0] * requests, [0], iter(range(requests))

    def work() -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        while True:
            with lock:
                number = next(taken, None)
            if number is None:
                break
            due = time.perf_counter() if rate is None else started + number / rate
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
    return Load(seconds, errors[0], time.perf_counter() - started)


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
    load = run(options.url, header, connections=options.connections, requests=options.requests, rate=options.rate)
    json.dump(asdict(load), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
