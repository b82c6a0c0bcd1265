"""The REST API as typed Python calls: the verbs of :class:`kubernaut.Kubernaut`, run by a server.

It needs no cluster, no Helm and no registry. The server's JSON becomes the library's types, and its problems become the library's
errors. Only :class:`Client` is public.
"""

from kubernaut.client.client import Client

__all__ = ["Client"]
