"""Ringkeep: a distributed key-value store.

Programs talk to it over HTTP, Python programs with `ringkeep.client`, and people with the `ringkeep` command.
"""

__version__ = "0.1.0"
