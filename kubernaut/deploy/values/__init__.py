"""The values of a deploy: ``layers`` merges them, ``set_arguments`` parses ``--set``, ``hints`` and ``large_numbers`` name some.

``hints`` names the values behind a failure, ``large_numbers`` those that a chart contains in another form than it was given.
"""
