"""A real CI server of the Jenkins family, for tests and the demo: Hudson 3.3.2, from which Jenkins was forked.

It speaks Jenkins' remote API for freestyle jobs: createItem, config.xml, buildWithParameters, the queue, builds and their consoles,
crumbs, abort. It knows no Pipeline, and no git plugin for it is to be had. It is old: it listens on 127.0.0.1 and is no server
to run anything on that others depend on.
"""

from kubernaut_local.hudson.home import HudsonHome, User
from kubernaut_local.hudson.origin import Origin, make_repository
from kubernaut_local.hudson.server import Hudson

__all__ = ["Hudson", "HudsonHome", "Origin", "User", "make_repository"]
