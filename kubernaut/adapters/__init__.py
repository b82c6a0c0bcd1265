"""The outside, one file each: engine (docker-py), helm (pyhelm3), cluster (lightkube), web (requests), git.

Each third-party client is imported in its file only, and its failures leave it as our own errors.
"""
