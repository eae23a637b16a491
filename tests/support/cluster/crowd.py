"""Clients as threads that run while a block does: what every load of the tests has in common."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self


class Client(Protocol):
    """A thread that ends once it is told that it is over."""

    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


class Crowd:
    """Starts its clients, and ends them. Use as a context: at its end nothing may have failed."""

    def __init__(self, over: threading.Event, clients: Sequence[Client]) -> None:
        self._is_over = over
        self._threads = clients

    @property
    def failures(self) -> list[str]:
        """What went wrong so far."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        for client in self._threads:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for client in self._threads:
            client.join(60)
        assert kind is not None or not self.failures, self.failures
