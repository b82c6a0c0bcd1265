"""Writes, from the request to the end of the operation: accepted once, carried out beside the request, followed, recovered."""
