"""Ringkeep: a distributed key-value store.

Programs talk to it over HTTP, and people with the `ringkeep` command. There is no Python client yet:
`ringkeep.client` is the place that is kept for it, and is empty.
"""

__version__ = "0.1.0"
