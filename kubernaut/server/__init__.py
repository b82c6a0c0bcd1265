"""The REST door: what runs where, over HTTP, and the verbs that change it.

It decides nothing and keeps nothing: the cluster's records and the operations beside them are the store, so that a second server on
the same cluster shows the same, and a restart loses nothing.
"""
