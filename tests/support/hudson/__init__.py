"""A real CI server of the Jenkins family for tests, the demo and the benchmarks: Hudson 3.3.2, the predecessor of Jenkins.

It supports the remote API for freestyle jobs: createItem, config.xml, buildWithParameters, the queue, builds and their consoles,
crumbs, abort. It does not support Pipeline or git plugins. It listens on 127.0.0.1 only; it is old and not fit for production.
"""

from support.hudson.home import HudsonHome, User
from support.hudson.origin import Origin, make_repository
from support.hudson.server import Hudson

__all__ = ["Hudson", "HudsonHome", "Origin", "User", "make_repository"]
