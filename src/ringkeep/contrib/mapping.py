"""The keys with a prefix as a dictionary that is in the store.

Each operation is one request, or few: what is read is what all others read, and nothing is kept here (for a
copy in memory see `Client.cached`). Two operations are two: `counts["a"] += 1` can lose another's, and
`store.add` or `store.update` cannot.
"""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, Final, Generic, TypeVar, overload

from ringkeep.client import Client, Conflict, NotFound

K = TypeVar("K", str, bytes)
T = TypeVar("T")
D = TypeVar("D")

_GONE: Final = object()


class StoreMapping(MutableMapping[K, T], Generic[K, T]):
    """A mutable mapping over the keys that begin with `prefix`, which its own keys leave out.

    `store`: a Client, whose codec is that of the values. `keys`: str (their UTF-8 is stored) or bytes. `ttl`:
    seconds that each value lives from when it is written; None: for ever.

    Iteration is in byte order, page by page, and no snapshot. Raises what the client does, KeyError for what
    is not there, ValueError for an empty prefix: that would be everything in the store.
    """

    @overload
    def __init__(
        self: "StoreMapping[str, T]", store: Client[T], prefix: str | bytes, *, ttl: float | None = None
    ) -> None: ...

    @overload
    def __init__(
        self, store: Client[T], prefix: str | bytes, *, keys: type[K], ttl: float | None = None
    ) -> None: ...

    def __init__(
        self, store: Client[T], prefix: str | bytes, *, keys: type[Any] = str, ttl: float | None = None
    ) -> None:
        self._store = store
        self._prefix = prefix.encode() if isinstance(prefix, str) else prefix
        if not self._prefix:
            raise ValueError("a mapping needs a prefix: without one it would be everything in the store")
        if keys not in (str, bytes):
            raise TypeError(f"keys are str or bytes, not {keys!r}")
        self._keys = keys
        self._ttl = ttl

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix!r}>"

    def _name(self, key: object) -> bytes:
        """Return the key in the store."""
        if not isinstance(key, self._keys):
            raise TypeError(f"the keys of this mapping are {self._keys.__name__}, not {type(key).__name__}")
        return self._prefix + (key.encode() if isinstance(key, str) else key)

    def _key(self, name: bytes) -> K:
        rest = name[len(self._prefix) :]
        key: K = rest.decode() if self._keys is str else rest  # type: ignore[assignment]  # as _keys says
        return key

    # --- one key --------------------------------------------------------------------------------------

    def __getitem__(self, key: K) -> T:
        try:
            return self._store.get(self._name(key)).value
        except NotFound:
            raise KeyError(key) from None

    def __setitem__(self, key: K, value: T) -> None:
        self._store.put(self._name(key), value, ttl=self._ttl)

    def __delitem__(self, key: K) -> None:
        if not self._store.delete(self._name(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, self._keys) and self._store.exists(self._name(key))

    @overload
    def pop(self, key: K, /) -> T: ...
    @overload
    def pop(self, key: K, /, default: D) -> T | D: ...
    def pop(self, key: K, /, default: Any = _GONE) -> Any:
        """Remove a key, and return its value: of those who do that at once, one gets it."""
        while True:
            found = self._store.get(self._name(key), None)
            try:
                if found is not None and self._store.delete(found.key, if_version=found.version):
                    return found.value
            except Conflict:
                continue  # there is another value meanwhile
            if default is _GONE:
                raise KeyError(key)
            return default

    def popitem(self) -> tuple[K, T]:
        """Remove the first key in byte order, or one after it if others remove them too."""
        for item in self._store.list(self._prefix):
            key = self._key(item.key)
            value = self.pop(key, _GONE)
            if value is not _GONE:
                return key, value  # type: ignore[return-value]  # not what stands for none
        raise KeyError(f"{self!r} is empty")

    def setdefault(self, key: K, default: Any = None, /) -> Any:
        """Return the value of a key; store `default` if there is none, and nobody else was faster."""
        while True:
            found = self._store.get(self._name(key), None)
            if found is not None:
                return found.value
            try:
                self._store.put(self._name(key), default, ttl=self._ttl, if_absent=True)
                return default
            except Conflict:
                pass  # now there is one

    # --- many keys ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[K]:
        return (self._key(item.key) for item in self._store.list(self._prefix))

    def __len__(self) -> int:
        return self._store.count(self._prefix)

    def __bool__(self) -> bool:
        return any(True for _ in self._store.list(self._prefix, limit=1))

    def items(self) -> ItemsView[K, T]:
        """Return a view that reads keys with their values, page by page."""
        return _Items(self)

    def values(self) -> ValuesView[T]:
        """Return a view that reads values page by page."""
        return _Values(self)

    def _listed(self) -> Iterator[tuple[K, T]]:
        for item in self._store.list(self._prefix, values=True):
            yield self._key(item.key), item.value  # type: ignore[misc]  # values were asked for

    def update(self, other: Any = (), /, **named: T) -> None:
        """Store many values, in as few requests as there may be, each for itself."""
        pairs: Iterable[tuple[Any, T]] = other.items() if isinstance(other, Mapping) else other
        if not isinstance(other, Mapping) and hasattr(other, "keys"):
            pairs = ((key, other[key]) for key in other.keys())  # noqa: SIM118  # it need not be iterable
        values = dict(pairs) | named
        self._store.put_many({self._name(key): value for key, value in values.items()}, ttl=self._ttl)

    def clear(self) -> None:
        """Remove all that was there when this began."""
        self._store.delete_prefix(self._prefix)


class _Items(ItemsView[K, T]):
    _mapping: StoreMapping[K, T]

    def __iter__(self) -> Iterator[tuple[K, T]]:
        return self._mapping._listed()


class _Values(ValuesView[T]):
    _mapping: StoreMapping[Any, T]

    def __iter__(self) -> Iterator[T]:
        return (value for _, value in self._mapping._listed())
