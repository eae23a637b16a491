"""redis-py, to the primary. A write is SET and WAIT 1 in one packet, as in bench/generator."""

from redis import Redis

WAIT_MS = 5_000


class Unreplicated(Exception):
    """No replica had the write in time, or it was refused."""


class Blocking:
    """`Redis`."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        host, port = nodes[0]
        self._store = Redis(host, port)

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._store.get(key)
        return found

    def put(self, key: bytes, value: bytes) -> None:
        both = self._store.pipeline(transaction=False)
        both.set(key, value)
        both.wait(1, WAIT_MS)
        written, replicas = both.execute()
        if not written or replicas < 1:
            raise Unreplicated(f"SET: {written}, WAIT 1: {replicas}")
