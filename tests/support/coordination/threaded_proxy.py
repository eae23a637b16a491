"""The way from a node to ZooKeeper, which a test may cut: a proxy that runs in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from tests.support.coordination.zookeeper import Proxy


class ThreadedProxy:
    """Moves bytes until it is cut, and again once it is mended. Close it last."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy(target, host)
        self.mend()

    @property
    def hosts(self) -> str:
        return f"{self._proxy.host}:{self._proxy.port}"

    def cut(self) -> None:
        self._run(self._proxy.cut())

    def mend(self) -> None:
        self._run(self._proxy.open())

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
