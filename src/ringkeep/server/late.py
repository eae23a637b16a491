"""A stand-in for what is made later than those who call it."""

from typing import Any


class Late:
    """Stands for a part of the driver until it is made: ports are made first, and call only later."""

    sink: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)
