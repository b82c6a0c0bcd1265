"""The Release and the Deploy job on a Jenkins: what they are, how they get there, how one is run and followed.

``path`` and ``server`` speak with the server, ``jobs`` and its neighbours say what the jobs are, ``setup`` brings them there,
``run`` runs one. Nothing here builds or deploys: that is what the jobs do, by calling kubernaut.
"""
