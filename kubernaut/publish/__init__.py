"""A folder becomes a published version.

``application`` reads kubernaut.yaml, ``source`` says which bytes count, ``version`` what they are called, ``image`` and ``chart``
make the two artefacts, ``registry`` knows where they lie, ``publication`` does it all in order. No cluster is met here.
"""
