"""The REST API as typed Python calls: the verbs of :class:`kubernaut.Kubernaut`, carried out by a server.

It knows no cluster, no Helm and no registry. What the server says is read as the types that the library has, and its problems
become the library's errors again.
"""

from kubernaut.client.client import Client

__all__ = ["Client"]
