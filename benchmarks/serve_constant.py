"""A server with one route that returns a constant body, for comparison with the lists of `kubernaut serve`.

It has the same app, authentication and listener, and no release index. `serve_runs.py` runs it as a separate process.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from kubernaut import Kubernaut, load_settings
from kubernaut.server.app import create_app
from kubernaut.server.listener import listen
from kubernaut.server.routing import Response, ResponseSpec, Route
from kubernaut.server.serving import ServeOptions, create_context


def main() -> int:
    """Serve the file given as argument, until SIGTERM."""
    body = Path(sys.argv[1]).read_bytes()
    settings = load_settings({"serve_port": 0})
    context = create_context(Kubernaut(settings), ServeOptions())
    route = Route(
        method="GET",
        path="/api/constant",
        name="getConstant",
        summary="The body.",
        handler=lambda _: Response(body=body),
        responses={200: ResponseSpec("The body.")},
    )
    listening = listen(create_app(context, [route]), settings.serve_host, settings.serve_port)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print(f"curl -H @{settings.token_path()} {listening.address}/api/releases", file=sys.stderr, flush=True)
    ended.wait()
    listening.stop()
    context.kubernaut.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
