"""Ringkeep's own clients, with their defaults: they follow the map."""

from ringkeep.client import AsyncClient, Client


def urls(nodes: list[tuple[str, int]]) -> list[str]:
    return [f"http://{host}:{port}" for host, port in nodes]


class Blocking:
    """`Client`."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        self._store = Client(urls(nodes))

    def get(self, key: bytes) -> bytes | None:
        record = self._store.get(key, None)
        return None if record is None else record.value

    def put(self, key: bytes, value: bytes) -> None:
        self._store.put(key, value)


class Asynchronous:
    """`AsyncClient`."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        self._store = AsyncClient(urls(nodes))

    async def get(self, key: bytes) -> bytes | None:
        record = await self._store.get(key, None)
        return None if record is None else record.value

    async def put(self, key: bytes, value: bytes) -> None:
        await self._store.put(key, value)
