"""Assembles a node and runs it: the only package that knows every class."""

from ringkeep.server.run import run_node

__all__ = ["run_node"]
