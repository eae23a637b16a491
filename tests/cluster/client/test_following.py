"""What follows changes in the Python client: watches, locks and local copies, across the death of nodes."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable

import pytest
from tests.support.client.following import FOLLOWING, Following
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.wait import until

from ringkeep.client import JSON, AsyncClient, Client, Conflict, Invalid, LockLost

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

KEYS = 8


def endpoints(nodes: Cluster) -> list[str]:
    return [f"http://{HOST}:{nodes.places[name].http}" for name in nodes.names]


class Writer(threading.Thread):
    """Writes and deletes keys until it is stopped. `versions`: of each key, all that were acknowledged."""

    def __init__(self, nodes: Cluster, prefix: str) -> None:
        super().__init__(daemon=True)
        self.versions: dict[bytes, list[int]] = defaultdict(list)
        self._endpoints = endpoints(nodes)
        self._prefix = prefix
        self._over = threading.Event()

    def run(self) -> None:
        with Client(self._endpoints, timeout=30) as store:
            number = 0
            while not self._over.is_set():
                number += 1
                key = f"{self._prefix}{number % KEYS}"
                if number % 5:
                    self.versions[key.encode()].append(store.put(key, b"%d" % number).version)
                else:
                    taken = store.swap(key, b"swapped")
                    self.versions[key.encode()].append(taken.version)

    def stop(self) -> None:
        self._over.set()
        self.join(60)


@pytest.mark.parametrize("kind", FOLLOWING)
def test_each_change_is_told_once_and_in_order_whoever_dies(nodes: Cluster, kind: str) -> None:
    make: Callable[..., Following] = FOLLOWING[kind]
    prefix = f"watched-{kind}/"
    writer = Writer(nodes, prefix)
    wanted: list[int] = []
    with make(endpoints(nodes), prefix) as following:
        writer.start()
        for name in nodes.names[:2]:
            until(lambda: len(following.changes) > 50, "changes")
            nodes.kill(name)
            wanted.append(len(following.changes) + 50)
            until(lambda: len(following.changes) > wanted[-1], "changes to go on")
            nodes.start(name).wait_ready(name)
        writer.stop()
        last = {key: versions[-1] for key, versions in writer.versions.items()}
        until(lambda: {each.key: each.version for each in following.changes} == last, "the last changes")
    told: dict[bytes, list[int]] = defaultdict(list)
    for change in following.changes:
        told[change.key].append(change.version)
    assert told == writer.versions, "every one, once, in order"
    with make(endpoints(nodes), prefix, following.cursor) as again, Client(endpoints(nodes)) as store:
        version = store.put(f"{prefix}end", b"").version
        until(lambda: again.changes and again.changes[-1].key.endswith(b"end"), "a change after the cursor")
    assert again.changes[-1].version == version


def test_what_is_no_cursor_is_refused(nodes: Cluster) -> None:
    with Client(endpoints(nodes)) as store, pytest.raises(Invalid) as refused:
        next(iter(store.watch("k", after="AX6Tx0")))
    assert refused.value.status == 400


def test_a_lock_is_held_by_one_and_its_tokens_grow(nodes: Cluster) -> None:
    held: list[tuple[int, int]] = []
    inside: list[int] = []

    def take(number: int) -> None:
        with Client(endpoints(nodes), timeout=20) as store:
            for _ in range(5):
                with store.lock("lock", ttl=5) as lock:
                    inside.append(number)
                    assert inside == [number], "alone"
                    held.append((lock.token, number))
                    inside.clear()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(held) == 20 and held == sorted(held), "each token is greater than those before"


def test_a_lock_renews_itself_and_says_when_it_is_lost(nodes: Cluster) -> None:
    lost = threading.Event()
    with Client(endpoints(nodes)) as store, store.lock("renewed", ttl=0.6, on_lost=lost.set) as lock:
        first = store.get("renewed").version
        until(lambda: store.get("renewed").version > first, "a renewal")
        assert lock.held and lock.token == first
        with pytest.raises(Conflict):
            store.lock("renewed", ttl=1, wait=0.1).acquire()
        store.delete("renewed")
        assert lost.wait(10)
        assert not lock.held
        with pytest.raises(LockLost):
            print(lock.token)
    assert not store.exists("renewed")


def test_an_asynchronous_lock(nodes: Cluster) -> None:
    async def run() -> None:
        async with AsyncClient(endpoints(nodes)) as store:
            async with store.lock("lock") as lock:
                other = store.lock("lock", wait=0.1)
                with pytest.raises(Conflict):
                    await other.acquire()
                taken = asyncio.create_task(store.lock("lock", wait=20).acquire())
                await asyncio.sleep(0)
                token = lock.token
            await taken
            assert (await store.get("lock")).version > token

    asyncio.run(run())


def test_a_local_copy_follows(nodes: Cluster) -> None:
    with Client(endpoints(nodes), codec=JSON) as store:
        store.put_many({f"copied/{number}": number for number in range(1_500)})
        with store.cached("copied/", timeout=5) as copy:  # less than until the next regular bookmark
            assert len(copy) == 1_500 and copy["copied/7"].value == 7
            nodes.kill(nodes.names[1])
            store.put("copied/7", 70)
            store.delete("copied/8")
            until(lambda: copy["copied/7"].value == 70 and "copied/8" not in copy, "the copy to follow")
            assert set(copy) == {item.key for item in store.list("copied/")}
            until(lambda: copy.staleness < 2, "the copy to know how old it is")

        async def run() -> None:
            async with AsyncClient(endpoints(nodes), codec=JSON) as other, other.cached("copied/") as copy:
                assert copy["copied/7"].value == 70
                await other.put("copied/7", 71)
                while copy["copied/7"].value != 71:
                    await asyncio.sleep(0.01)

        asyncio.run(run())
        store.delete_prefix("copied/")
