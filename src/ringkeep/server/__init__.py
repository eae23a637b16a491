"""The assembly of a node: the one place that knows every class."""

from ringkeep.server.run import run_node

__all__ = ["run_node"]
