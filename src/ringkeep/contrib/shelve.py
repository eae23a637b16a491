"""What the standard library's `shelve` does, with a store instead of a file: a dictionary of Python values
that outlives the program, and that many programs may have open at once.

Values go through a codec, by default JSON, and not through pickle: whoever can write to the store could run
code in every program that reads. So there are those values that the codec can say; `json_of` and `msgpack_of`
of the client make codecs for dataclasses.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from ringkeep.client import JSON, Client, Codec, Conflict
from ringkeep.contrib.mapping import StoreMapping

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    """A value that was handed out, and what the store has of it."""

    value: T
    version: int
    data: bytes


class Shelf(MutableMapping[str, T], Generic[T]):
    """A shelf with this name: the keys `name/…` of the store. A context, which closes it.

    `flag`: "r" refuses writes, "n" begins empty; "c" and "w" are one, as there is no file to create.
    `writeback`: values that were read are kept, and what was changed inside them is written by `sync` and
    `close`, unless somebody else has written the key meanwhile.

    Raises ValueError once it is closed, KeyError for what is not there, and what the client raises.
    """

    def __init__(
        self, store: Client[T], name: str, flag: str = "c", writeback: bool = False, *, owns: bool = False
    ) -> None:
        if flag not in ("r", "w", "c", "n"):
            raise ValueError(f"a flag is one of 'r', 'w', 'c' and 'n', not {flag!r}")
        if not name:
            raise ValueError("a shelf has a name")
        self._store = store
        self._prefix = f"{name}/"
        self._mapping: StoreMapping[str, T] = StoreMapping(store, self._prefix)
        self._flag = flag
        self._owns = owns
        self._closed = False
        self._kept: dict[str, _Kept[T]] | None = {} if writeback else None
        if flag == "n":
            self._mapping.clear()

    def __enter__(self) -> "Shelf[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, writes: bool = False) -> StoreMapping[str, T]:
        if self._closed:
            raise ValueError("invalid operation on closed shelf")
        if writes and self._flag == "r":
            raise ValueError("the shelf was opened for reading only")
        return self._mapping

    # --- as a mapping ---------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> T:
        mapping = self._open()
        if self._kept is None:
            return mapping[key]
        if key not in self._kept:
            found = self._store.get(self._prefix + key, None)
            if found is None:
                raise KeyError(key)
            self._kept[key] = _Kept(found.value, found.version, self._store.codec.encode(found.value))
        return self._kept[key].value

    def __setitem__(self, key: str, value: T) -> None:
        self._open(writes=True)
        written = self._store.put(self._prefix + key, value)
        if self._kept is not None:
            self._kept[key] = _Kept(value, written.version, self._store.codec.encode(value))

    def __delitem__(self, key: str) -> None:
        mapping = self._open(writes=True)
        if self._kept is not None:
            self._kept.pop(key, None)
        del mapping[key]

    def __contains__(self, key: object) -> bool:
        return key in self._open()

    def __iter__(self) -> Iterator[str]:
        return iter(self._open())

    def __len__(self) -> int:
        return len(self._open())

    def clear(self) -> None:
        """Remove all that is in it."""
        mapping = self._open(writes=True)
        if self._kept is not None:
            self._kept.clear()
        mapping.clear()

    # --- to its end -----------------------------------------------------------------------------------

    def sync(self) -> None:
        """Write what was changed inside values that were read, with `writeback`, and keep them no longer.
        Without it there is nothing to do.

        Raises Conflict if somebody else has written, or deleted, some of these keys since they were read:
        all others are written, and of those the next read shows what the store has.
        """
        self._open()
        if not self._kept:
            return
        lost = []
        for key, kept in list(self._kept.items()):
            if self._flag != "r" and not self._write_back(key, kept):
                lost.append(key)
            del self._kept[key]
        if lost:
            raise Conflict(f"somebody else has written these keys of the shelf meanwhile: {lost}")

    def _write_back(self, key: str, kept: _Kept[T]) -> bool:
        """Store what was changed in a value; return False if somebody else was faster."""
        data = self._store.codec.encode(kept.value)
        if data == kept.data:
            return True
        name = self._prefix + key
        try:
            self._store.put(name, kept.value, if_version=kept.version)
        except Conflict:
            # An earlier try may have been ours, applied without an answer: then it says what we would say.
            found = self._store.get(name, None)
            return found is not None and self._store.codec.encode(found.value) == data
        return True

    def close(self) -> None:
        """Write back as `sync` does, and end it. Raises what `sync` does; then it is closed too."""
        if self._closed:
            return
        try:
            self.sync()
        finally:
            self._closed = True
            if self._owns:
                self._store.close()


@overload
def open(
    name: str, flag: str = "c", *, endpoints: str | Iterable[str] | None = None, writeback: bool = False
) -> Shelf[Any]: ...


@overload
def open(
    name: str, flag: str = "c", *, endpoints: str | Iterable[str] | None = None, codec: Codec[T],
    writeback: bool = False,
) -> Shelf[T]: ...  # fmt: skip


def open(
    name: str, flag: str = "c", *, endpoints: str | Iterable[str] | None = None, codec: Codec[Any] = JSON,
    writeback: bool = False,
) -> Shelf[Any]:  # fmt: skip
    """Open a shelf with a client of its own, which it closes. `endpoints`: as of `Client`."""
    return Shelf(Client(endpoints, codec=codec), name, flag, writeback, owns=True)
