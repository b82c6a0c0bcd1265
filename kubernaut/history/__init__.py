"""Helm's release history, read.

``record`` decodes what Helm stores in the cluster (pure), ``release`` is what kubernaut tells of it, ``store`` reads. Nothing
is written here but by Helm.
"""
