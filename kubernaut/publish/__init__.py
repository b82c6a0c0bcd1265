"""Make a folder a published version. Internal; :class:`kubernaut.Kubernaut` is the public API.

``application`` reads kubernaut.yaml, ``source`` lists the bytes of a version, ``version`` names them, ``image`` and ``chart``
make the two artefacts, ``registry`` reads what is published, and ``pipeline`` runs the steps in order. This package does not use
a cluster.
"""
