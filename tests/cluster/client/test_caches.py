"""The caches for Django and cachelib do what the ones do that come with them, and more of it atomically."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from cachelib.serializers import JSONSerializer
from cachelib.simple import SimpleCache
from django.core.cache import CacheHandler
from django.core.cache.backends.locmem import LocMemCache
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.wait import until

from ringkeep.client import Client, WrongType
from ringkeep.contrib import cachelib, django

pytestmark = pytest.mark.cluster

KEYS = ["a", "b", "ä", "d"]
VALUES = [1, -5, True, None, "text", b"\xff", 1.5, [1, {"x": (2,)}], date(2030, 1, 2)]


@pytest.fixture
def endpoints(nodes: Cluster) -> list[str]:
    return [f"http://{HOST}:{nodes.places[name].http}" for name in nodes.names]


@pytest.fixture
def store(endpoints: list[str]) -> Iterator[Client[bytes]]:
    with Client(endpoints) as client:
        for prefix in ("django/", "cachelib/"):
            client.delete_prefix(prefix)
        yield client


def outcome(of: Any, name: str, arguments: tuple[Any, ...]) -> object:
    try:
        return getattr(of, name)(*arguments)
    except Exception as error:
        return type(error)


def alike(ours: Any, known: Any, steps: Callable[[random.Random], list[tuple[Any, ...]]], count: int) -> None:
    """Do the same at random with both caches, and compare what each call returns, or how it fails."""
    chance = random.Random(11)
    for number in range(count):
        name, *arguments = chance.choice(steps(chance))
        found, expected = (outcome(cache, name, tuple(arguments)) for cache in (ours, known))
        assert (found, type(found)) == (expected, type(expected)), (number, name, arguments)


# --- Django -------------------------------------------------------------------------------------------


@pytest.fixture
def cache(endpoints: list[str], store: Client[bytes]) -> Any:
    return django.RingkeepCache(",".join(endpoints), {"KEY_PREFIX": "site"})


def of_django(chance: random.Random) -> list[tuple[Any, ...]]:
    key, value, version = chance.choice(KEYS), chance.choice(VALUES), chance.choice([None, 2])
    timeout = chance.choice([100, 100, None, 0, -1])
    many = {each: chance.choice(VALUES) for each in KEYS[:3]}
    return [
        ("set", key, value, timeout, version), ("set", key, chance.randrange(100), 100, version),
        ("get", key, "default", version), ("add", key, value, timeout, version), ("delete", key, version),
        ("touch", key, timeout, version), ("has_key", key, version), ("__contains__", key),
        ("incr", key, 3, version), ("decr", key, 2, version),
        ("incr_version", key), ("decr_version", key, 1, 2),
        ("get_or_set", key, value, 100, version), ("get_many", KEYS, version),
        ("set_many", many, timeout, version), ("delete_many", KEYS[2:], version),
    ]  # fmt: skip


class InMemory(LocMemCache):  # type: ignore[misc]  # Django has no types
    """Django's cache in memory, without what only it does."""

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        """Add to integers only: it would add to anything."""
        if type(self.get(key, 0, version=version)) is not int:
            raise TypeError
        return super().incr(key, delta, version=version)

    def delete(self, key: Any, version: int | None = None) -> Any:
        """Return whether the key existed: it would also count what has expired."""
        return self.has_key(key, version=version) and super().delete(key, version=version)


def test_django_it_does_what_the_cache_in_memory_does(cache: Any) -> None:
    known = InMemory("test", {"KEY_PREFIX": "site"})
    known.clear()
    alike(cache, known, of_django, 400)


def test_django_timeouts(cache: Any, store: Client[bytes], endpoints: list[str]) -> None:
    def ttl(key: str) -> float:
        return store.get(f"django/site:1:{key}").ttl or 0

    cache.set("k", "v")
    assert 290 < ttl("k") <= 300
    cache.set("k", "v", None)
    assert ttl("k") == 0
    cache.touch("k", 50)
    cache.set("n", 1, 70)
    cache.incr("n")
    assert 40 < ttl("k") <= 50 < ttl("n") <= 70
    cache.touch("k", None)
    assert ttl("k") == 0
    cache.set("brief", "v", 0.02)
    until(lambda: "brief" not in cache, "a key to expire")
    lasting = django.RingkeepCache(endpoints, {"TIMEOUT": None})
    lasting.set("k", "v")
    assert store.get("django/:1:k").ttl is None


def test_django_what_is_cleared(cache: Any, store: Client[bytes], endpoints: list[str]) -> None:
    other = django.RingkeepCache(endpoints, {"OPTIONS": {"prefix": "other/"}})
    for each in (cache, other):
        each.set("k", "v")
    store.put("django", b"no key of the cache")
    cache.clear()
    assert "k" not in cache and "k" in other and store.exists("django")
    other.clear()
    with pytest.raises(ValueError, match="prefix"):
        django.RingkeepCache(endpoints, {"OPTIONS": {"prefix": ""}})


def test_django_serializers_and_threads(endpoints: list[str], store: Client[bytes]) -> None:
    """JSON instead of pickle; and the caches of all threads share one client."""
    settings = {
        "BACKEND": "ringkeep.contrib.django.RingkeepCache",
        "LOCATION": endpoints,
        "OPTIONS": {"serializer": "django.core.signing.JSONSerializer", "timeout": 7},
    }
    caches = CacheHandler({"default": settings})
    caches["default"].set("k", [1, {"a": None}])
    assert store.get("django/:1:k").value == b'[1,{"a":null}]'
    caches["default"].set("n", 5)
    assert caches["default"].incr("n") == 6
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(caches["default"]))
    thread.start()
    thread.join()
    assert found[0] is not caches["default"] and found[0]._store is caches["default"]._store
    assert found[0]._store.timeout == 7


def test_django_asynchronous(cache: Any) -> None:
    async def run() -> None:
        await cache.aset("n", 1, 100)
        assert await asyncio.gather(*[cache.aincr("n") for _ in range(20)])
        assert await cache.aget("n") == 21 and await cache.adecr("n") == 20
        assert await cache.aadd("n", 5) is False and await cache.ahas_key("n")
        assert await cache.aset_many({"a": 1, "b": [2]}) == []
        assert await cache.aget_many(["a", "b", "none"]) == {"a": 1, "b": [2]}
        assert await cache.aget_or_set("c", lambda: 7) == 7 and await cache.atouch("c", 9)
        await cache.adelete_many(["a", "b"])
        assert not await cache.ahas_key("a") and await cache.adelete("c")
        with pytest.raises(ValueError, match="not found"):
            await cache.aincr("a")
        await cache.aclear()
        assert await cache.aget("n") is None

    asyncio.run(run())


def test_django_many_at_once(cache: Any) -> None:
    cache.set("n", 0)
    added: list[bool] = []

    def run() -> None:
        for number in range(25):
            cache.incr("n")
            added.append(cache.add(f"lock{number}", "mine"))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("n") == 100 and added.count(True) == 25


# --- cachelib -----------------------------------------------------------------------------------------


def of_cachelib(chance: random.Random) -> list[tuple[Any, ...]]:
    key, value, timeout = chance.choice(KEYS), chance.choice(VALUES), chance.choice([100, None, 0])
    return [
        ("set", key, value, timeout), ("add", key, value, timeout), ("get", key), ("delete", key),
        ("get_many", *KEYS), ("get_dict", *KEYS), ("has", key), ("set_many", {key: value, "x": 1}, timeout),
        ("delete_many", key, "x"), ("inc", "n", 3), ("dec", "n"), ("set", "n", 5, timedelta(seconds=100)),
    ]  # fmt: skip


def test_cachelib_it_does_what_the_cache_in_memory_does(store: Client[bytes]) -> None:
    ours = cachelib.RingkeepCache(store)
    alike(ours, SimpleCache(), of_cachelib, 300)
    assert ours.clear() and ours.get_many(*KEYS) == [None] * len(KEYS)


def test_cachelib_timeouts_and_serializers(store: Client[bytes], endpoints: list[str]) -> None:
    cache = cachelib.RingkeepCache(store, default_timeout=50)

    def ttl(key: str) -> float | None:
        return store.get(f"cachelib/{key}").ttl

    cache.set("k", "v")
    assert 40 < (ttl("k") or 0) <= 50
    cache.set("k", "v", 0)
    assert ttl("k") is None
    cache.inc("n", 5)
    assert 40 < (ttl("n") or 0) <= 50
    cache.set("k", "v", -1)
    assert not cache.has("k") and cache.add("k", "v", -1) and not cache.has("k")
    with pytest.raises(WrongType):
        cache.set("k", "v")
        cache.inc("k")
    for number in range(3):
        cache.set(f"k{number}", number)
    readable = cachelib.RingkeepCache(endpoints, prefix="cachelib/json/", serializer=JSONSerializer())
    readable.set("k", [1, None])
    assert store.get("cachelib/json/k").value == b"[1, null]" and readable.get("k") == [1, None]
    with pytest.raises(ValueError, match="cannot store"):
        readable.set("k", b"\xff")
    readable.clear()
    assert cache.get_many("k0", "k1", "k2", "json/k") == [0, 1, 2, None]
