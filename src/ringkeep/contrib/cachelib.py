"""A cache for `cachelib`, and so for Flask-Session and Flask-Caching: what it holds outlives each process and
any node, and `inc`, `dec` and `add` are atomic for all of them.

Values are pickled, as in every other backend of cachelib, by its own serializer. Whoever can write to the
store could therefore run code in the program: give `serializer=JSONSerializer()` of cachelib where the store
has other users.
"""

import datetime
from collections.abc import Iterable
from typing import Any, Final

from cachelib.base import BaseCache
from cachelib.serializers import BaseSerializer, RedisSerializer

from ringkeep.client import Client, Conflict

_FOR_EVER: Final = 0  # as cachelib has it


class RingkeepCache(BaseCache):
    """A cachelib cache in the keys that begin with `prefix`; `clear` removes those, and no others.

    `store`: a Client of bytes, or endpoints for one. A timeout of 0 is for ever, a negative one is over
    already. Errors of the store are raised, as cachelib's Redis backend does.
    """

    def __init__(
        self,
        store: Client[bytes] | str | Iterable[str] | None = None,
        prefix: str = "cachelib/",
        default_timeout: int | datetime.timedelta = 300,
        ignore_delete_many_errors: bool = True,
        serializer: BaseSerializer | None = None,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        if not prefix:
            raise ValueError("a cache needs a prefix: `clear` removes what begins with it")
        self._store = store if isinstance(store, Client) else Client(store)
        self._prefix = prefix.encode()
        self.serializer = RedisSerializer() if serializer is None else serializer

    def _name(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _dumped(self, value: Any) -> bytes:
        data = self.serializer.dumps(value)
        if data is None:
            raise ValueError(f"the serializer cannot store a {type(value).__name__}")
        return data

    def _ttl(self, timeout: int | datetime.timedelta | None) -> float | None:
        seconds = self._normalize_timeout(timeout)
        return None if seconds == _FOR_EVER else seconds

    def get(self, key: str) -> Any:
        """Return the value, None if there is none."""
        found = self._store.get(self._name(key), None)
        return None if found is None else self.serializer.loads(found.value)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of these keys in their order, None for each that has none."""
        found = self._store.get_many(map(self._name, keys))
        records = [found.get(self._name(key)) for key in keys]
        return [None if record is None else self.serializer.loads(record.value) for record in records]

    def set(self, key: str, value: Any, timeout: int | datetime.timedelta | None = None) -> bool:
        """Store a value; return True."""
        name, ttl, data = self._name(key), self._ttl(timeout), self._dumped(value)
        if ttl is not None and ttl < 0:
            self._store.delete(name)
        else:
            self._store.put(name, data, ttl=ttl)
        return True

    def add(self, key: str, value: Any, timeout: int | datetime.timedelta | None = None) -> bool:
        """Store a value if there is none; return whether that was so."""
        ttl, data = self._ttl(timeout), self._dumped(value)
        if ttl is not None and ttl < 0:
            return not self.has(key)
        try:
            self._store.put(self._name(key), data, ttl=ttl, if_absent=True)
        except Conflict:
            return False
        return True

    def set_many(self, mapping: dict[str, Any], timeout: int | datetime.timedelta | None = None) -> list[Any]:
        """Store values; return their keys."""
        ttl = self._ttl(timeout)
        values = {self._name(key): self._dumped(value) for key, value in mapping.items()}
        if ttl is not None and ttl < 0:
            self._store.delete_many(values)
        else:
            self._store.put_many(values, ttl=ttl)
        return list(mapping)

    def delete(self, key: str) -> bool:
        """Remove a key; return whether it existed."""
        return self._store.delete(self._name(key))

    def delete_many(self, *keys: str) -> list[Any]:
        """Remove keys; return them, as none of them exists afterwards."""
        self._store.delete_many(map(self._name, keys))
        return list(keys)

    def has(self, key: str) -> bool:
        """Return whether there is such a key."""
        return self._store.exists(self._name(key))

    def clear(self) -> bool:
        """Remove all that the cache holds; return True."""
        self._store.delete_prefix(self._prefix)
        return True

    def inc(self, key: str, delta: int = 1) -> int:
        """Add to a number, atomically; one that does not exist counts as 0. It lives for the default timeout
        from now on, as in cachelib's own backends. Raises WrongType for what is no integer."""
        return self._store.add(self._name(key), delta, ttl=self._ttl(None)).value

    def dec(self, key: str, delta: int = 1) -> int:
        """Subtract from a number: `inc`."""
        return self.inc(key, -delta)
