"""A cache for Django. What it holds outlives processes and nodes, and `add`, `incr` and `touch` are atomic
for all of them:

CACHES = {
    "default": {
        "BACKEND": "ringkeep.contrib.django.RingkeepCache",
        "LOCATION": ["http://10.0.0.1:8000", "http://10.0.0.2:8000"],
    }
}

Django's cache takes any Python value, so values are pickled, as in every other backend of Django. Whoever can
write to the store could therefore run code in the site: give OPTIONS a `serializer` such as
"django.core.signing.JSONSerializer" where the store has other users.
"""

import pickle
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from ringkeep.client import Client, Conflict, NotFound, WrongType

P = ParamSpec("P")
R = TypeVar("R")

PREFIX: Final = "django/"


class Serializer(Protocol):
    """Makes bytes of values. Integers must become decimal digits, if `incr` and `decr` are used."""

    def dumps(self, value: Any, /) -> bytes: ...
    def loads(self, data: bytes, /) -> Any: ...


class PickleSerializer:
    """Pickle, but for integers, to which the store can add."""

    def dumps(self, value: Any) -> bytes:
        if type(value) is int:  # a bool is none
            return b"%d" % value
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        try:
            return int(data)
        except ValueError:  # a pickle ends with a dot
            return pickle.loads(data)


_clients: dict[tuple[Any, ...], Client[bytes]] = {}
_making = threading.Lock()


def _client(endpoints: tuple[str, ...] | None, options: Mapping[str, Any]) -> Client[bytes]:
    """Return the process's client for these: Django makes a cache for each thread, which may share one."""
    described = (endpoints, *sorted(options.items()))
    with _making:
        if described not in _clients:
            _clients[described] = Client(endpoints, **options)
        return _clients[described]


class RingkeepCache(BaseCache):  # type: ignore[misc]  # Django has no types
    """Django's cache in the keys that begin with OPTIONS["prefix"], by default "django/"; `clear` removes
    those, and no others.

    LOCATION: endpoints, as a list or with commas between; by default those of RINGKEEP_ENDPOINTS. OPTIONS:
    `prefix`, `serializer` (an object, a class or its dotted name), and what a Client takes: `timeout`,
    `connections`, `follow`, `observer`. There is no MAX_ENTRIES: nothing is evicted before its timeout.

    Errors of the store are raised, as Django's Redis backend does.
    """

    def __init__(self, server: str | Iterable[str], params: dict[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        for name in ("MAX_ENTRIES", "CULL_FREQUENCY"):
            options.pop(name, None)
        prefix: str = options.pop("prefix", PREFIX)
        if not prefix:
            raise ValueError("the cache needs a prefix: `clear` removes what begins with it")
        self._prefix = prefix.encode()
        self._serializer = _serializer(options.pop("serializer", PickleSerializer))
        endpoints = re.split("[;,]", server) if isinstance(server, str) else server
        self._described = (tuple(each for each in endpoints if each.strip()) or None, options)

    @property
    def _store(self) -> Client[bytes]:
        return _client(*self._described)

    def _name(self, key: Any, version: int | None) -> bytes:
        name: str = self.make_and_validate_key(key, version=version)
        return self._prefix + name.encode()

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> float | None:
        """Return the seconds that a key lives; None for ever, and 0 or less: not at all."""
        seconds: float | None = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return seconds

    # --- one key --------------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or `default`."""
        found = self._store.get(self._name(key, version), None)
        return default if found is None else self._serializer.loads(found.value)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Store a value; one that does not live at all removes the key."""
        name, ttl, data = (
            self._name(key, version),
            self.get_backend_timeout(timeout),
            self._serializer.dumps(value),
        )
        if ttl is not None and ttl <= 0:
            self._store.delete(name)
        else:
            self._store.put(name, data, ttl=ttl)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Store a value if there is none; return whether that was so: of those who try at once, for one."""
        name, ttl, data = (
            self._name(key, version),
            self.get_backend_timeout(timeout),
            self._serializer.dumps(value),
        )
        if ttl is not None and ttl <= 0:
            return not self._store.exists(name)
        try:
            self._store.put(name, data, ttl=ttl, if_absent=True)
        except Conflict:
            return False
        return True

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a key another timeout from now on; return whether there is such a key."""
        name, ttl = self._name(key, version), self.get_backend_timeout(timeout)
        if ttl is not None and ttl <= 0:
            return self._store.delete(name)
        try:
            if ttl is None:
                self._store.persist(name)
            else:
                self._store.touch(name, ttl)
        except NotFound:
            return False
        return True

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove a key; return whether it existed."""
        return self._store.delete(self._name(key, version))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether there is such a key."""
        return self._store.exists(self._name(key, version))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to an integer, atomically, and keep its timeout. Raises ValueError if there is no such key, and
        TypeError if it is no integer of 64 bits, or would be none."""
        try:
            return self._store.add(self._name(key, version), delta, if_present=True).value
        except Conflict:
            raise ValueError(f"Key '{key}' not found") from None
        except WrongType as error:
            raise TypeError(error.detail) from error

    # --- many keys ------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those keys that exist."""
        names = {self._name(key, version): key for key in keys}
        found = self._store.get_many(names)
        return {
            key: self._serializer.loads(found[name].value) for name, key in names.items() if name in found
        }

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store values. Raises what went wrong with some of them, if anything did; else returns []."""
        values = {self._name(key, version): self._serializer.dumps(value) for key, value in data.items()}
        ttl = self.get_backend_timeout(timeout)
        if ttl is not None and ttl <= 0:
            self._store.delete_many(values)
        else:
            self._store.put_many(values, ttl=ttl)
        return []

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove keys."""
        self._store.delete_many([self._name(key, version) for key in keys])

    def clear(self) -> None:
        """Remove all that caches with this prefix hold, also those of another KEY_PREFIX or version."""
        self._store.delete_prefix(self._prefix)

    # --- asynchronous ---------------------------------------------------------------------------------
    # Django's own run the methods above in a thread, but for these, which would do one key after the other,
    # or read and write where `incr` adds.

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return await _in_thread(self.get_many, keys, version)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        return await _in_thread(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        await _in_thread(self.delete_many, keys, version)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        return await _in_thread(self.has_key, key, version)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return await _in_thread(self.incr, key, delta, version)


async def _in_thread(method: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    return await sync_to_async(method, thread_sensitive=True)(*arguments, **named)


def _serializer(given: Any) -> Serializer:
    """Return the serializer that the settings name, as Django's Redis backend takes it."""
    found = import_string(given) if isinstance(given, str) else given
    made: Serializer = found() if callable(found) else found
    return made
