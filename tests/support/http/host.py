"""Runs an HTTP server with a fake node on a loop of its own thread, so that tests can be plain clients."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tests.support.http.fake_service import FakeService

from ringkeep.http.limits import Patience
from ringkeep.http.server import HttpServer, serve_http

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # not on every platform
    from asyncio import new_event_loop

T = TypeVar("T")


class Host:
    """One server. `call` runs a function on its loop and returns the result."""

    def __init__(self, patience: Patience | None = None, **options: Any) -> None:
        self.service = FakeService()
        self.loop: asyncio.AbstractEventLoop = new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.server: HttpServer = self.wait(
            serve_http(self.service, "127.0.0.1", 0, self.loop, patience=patience, **options)
        )
        self.url = f"http://127.0.0.1:{self.server.port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def wait(self, coroutine: Any, timeout_s: float = 10.0) -> Any:
        """Run a coroutine on the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the server's loop and return its result."""

        async def run() -> T:
            return function()

        result: T = self.wait(run())
        return result

    def close(self, grace_s: float = 0.0) -> None:
        """Stop the server, with so much time for what is under way, and its loop."""
        if not self.loop.is_closed():
            self.wait(self.server.close(grace_s))
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(5)
            self.loop.close()
