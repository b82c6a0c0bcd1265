"""The values of a deploy: ``layers`` merges them, ``set_arguments`` parses ``--set``, ``hints`` names those behind a failure."""
