"""Clients of the outside world, one file per tool; internal to kubernaut.

Each third-party client is imported in one file only, which converts its errors into ours.
"""
