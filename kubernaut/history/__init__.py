"""Helm's release history, read.

``record`` decodes what Helm stores in the cluster, ``operation`` what kubernaut keeps beside it, ``release`` is what is told of
both; ``mending`` and ``settling`` say how what was left unfinished is put right. All that is pure; ``store`` reads, and nothing
here writes. ``detail`` tells more of one release: its manifest, its values, what it changed. ``index/`` is for who asks often: it
keeps the facts of all releases current by a watch.
"""
