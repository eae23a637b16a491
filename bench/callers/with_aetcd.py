"""aetcd, which speaks gRPC and is awaited."""

import aetcd


class Asynchronous:
    """`aetcd.Client`."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        host, port = nodes[0]
        self._store = aetcd.Client(host, port)

    async def get(self, key: bytes) -> bytes | None:
        found = await self._store.get(key)
        return None if found is None else bytes(found.value)

    async def put(self, key: bytes, value: bytes) -> None:
        await self._store.put(key, value)
