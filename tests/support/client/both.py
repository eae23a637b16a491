"""Both clients behind the blocking one's names, so that one test tries both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ringkeep.client import AsyncClient, Client


class Bridged:
    """An AsyncClient on a loop of its own, called like a Client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **named)

    def __enter__(self) -> "Bridged":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._run(self._client.close())
        self._loop.close()

    def batch(self, *arguments: Any, **named: Any) -> "_Collecting":
        return _Collecting(self._loop, self._client.batch(*arguments, **named))

    def transaction(self, *arguments: Any, **named: Any) -> "_Collecting":
        return _Collecting(self._loop, self._client.transaction(*arguments, **named))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            made = method(*arguments, **named)
            return self._each(made) if isinstance(made, AsyncIterator) else self._run(made)

        return call

    def _each(self, found: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._run(anext(found))
            except StopAsyncIteration:
                return

    def _run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)


class _Collecting:
    """A batch or a transaction of an AsyncClient, as a context that blocks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, steps: Any) -> None:
        self._loop = loop
        self._steps = steps

    def __enter__(self) -> Any:
        return self._steps

    def __exit__(self, *details: Any) -> None:
        self._loop.run_until_complete(self._steps.__aexit__(*details))


BOTH: dict[str, Any] = {"blocking": Client, "asynchronous": Bridged}
