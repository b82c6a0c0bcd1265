"""The REST server (internal): releases, published versions and operations over HTTP, as docs/api.md describes them.

It keeps no state: the cluster's release history and the operation Secrets beside it are the store. Several servers on one cluster
therefore show the same, and a restart loses nothing.
"""
