"""The core's read access to the store. Writes go through `Effects` only."""

from typing import Protocol

from ringkeep.core.protocol.effects import Family


class Frozen(Protocol):
    """A frozen view of the data family, as `ports.Snapshot`."""

    def scan(self, begin: bytes, end: bytes, limit: int, limit_bytes: int) -> list[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class Reader(Protocol):
    """The reading half of the engine: applied state, synchronously, no side effects."""

    def get(self, family: Family, key: bytes) -> bytes | None: ...

    def scan(
        self, family: Family, begin: bytes, end: bytes, limit: int, limit_bytes: int | None = None
    ) -> list[tuple[bytes, bytes]]: ...

    def snapshot(self) -> Frozen: ...
