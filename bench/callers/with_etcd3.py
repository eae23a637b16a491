"""etcd3, which speaks gRPC and blocks."""

import etcd3


class Blocking:
    """`etcd3.client`."""

    def __init__(self, nodes: list[tuple[str, int]], homes: dict[str, int]) -> None:
        host, port = nodes[0]
        self._store = etcd3.client(host, port)

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._store.get(key)[0]
        return found

    def put(self, key: bytes, value: bytes) -> None:
        self._store.put(key, value)
