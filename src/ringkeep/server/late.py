"""A placeholder for an object that is made after the objects that call it."""

from typing import Any


class Late:
    """Stands for a part of the driver until it is made: the ports are made first, and call it only later."""

    sink: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)
