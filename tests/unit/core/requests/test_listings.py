"""Listings in simulated clusters, with low bounds: what was put is listed once, in order, come what may."""

from collections.abc import Iterator
from random import Random

import pytest

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.client_requests import Item, Kind, ListRequest, Page, Request, Result, Status
from ringkeep.sim.world.machine import SimMachine
from ringkeep.sim.world.world import World

SEEDS = [seed for seed in range(24) if seed % 16 != 6]  # those of an older version do not list
LAPS = 100  # at most, until a newcomer leads a partition


class Store:
    """A simulated cluster, and a client of it that asks one thing after the other."""

    def __init__(self, seed: int, partitions: int = 0) -> None:
        self.random = Random(seed)
        partitions = partitions or self.random.choice([1, 2, 7, 16])
        self.world = World(seed, 5 if seed % 2 else 3, partitions)
        self.world.start()
        self.versions: dict[bytes, int] = {}
        self.values: dict[bytes, bytes] = {}

    def run(self, milliseconds: int) -> None:
        self.world.events.run_until(lambda: False, self.world.events.now + milliseconds)

    def node(self) -> SimMachine:
        """A node that serves."""
        serving: list[SimMachine] = []

        def found() -> bool:
            serving[:] = [each for each in self.world.nodes.values() if each.alive and each.driver.serving]
            return bool(serving)

        assert self.world.events.run_until(found, self.world.events.now + 20_000), "some node serves"
        return self.random.choice(serving)

    def ask(self, kind: Kind, key: bytes, value: bytes = b"", ttl_ms: int = 0) -> Result:
        """Ask until there is a definite answer; a node that dies takes its answer with it."""
        for _ in range(20):
            results: list[Result] = []
            request = Request(kind, key, value, timeout_ms=3_000, ttl_ms=ttl_ms, done=results.append)
            if not self.world.submit(self.node(), request):
                continue
            self.world.events.run_until(lambda: bool(results), self.world.events.now + 5_000)  # noqa: B023
            if results and results[0].status not in (Status.UNAVAILABLE, Status.UNKNOWN, Status.BUSY):
                return results[0]
            self.run(200)
        raise AssertionError(f"no answer to {kind.name} {key!r}")

    def put(self, key: bytes, value: bytes = b"v", ttl_ms: int = 0) -> None:
        result = self.ask(Kind.PUT, key, value, ttl_ms)
        self.versions[key], self.values[key] = result.version, value

    def page(self, **wanted: object) -> Page:
        """Return a page that some node gives."""
        for _ in range(20):
            pages: list[Page] = []
            request = ListRequest(done=pages.append, **wanted)  # type: ignore[arg-type]  # passed through
            self.node().driver.submit_listing(request)
            self.world.events.run_until(lambda: bool(pages), self.world.events.now + 8_000)  # noqa: B023
            if pages and pages[0].status == Status.FOUND:
                return pages[0]
            assert not pages or pages[0].status in (Status.BUSY, Status.UNAVAILABLE)
            self.run(200)
        raise AssertionError("no page")

    def pages(self, begin: bytes = b"", **wanted: object) -> Iterator[Page]:
        """List to the end, with pages of few keys."""
        while True:
            page = self.page(begin=begin, limit=self.random.choice([1, 3, 10]), **wanted)
            yield page
            if not page.next:
                return
            assert page.next > begin, "it comes on"
            begin = page.next

    def listed(self, begin: bytes = b"", **wanted: object) -> list[Item]:
        return [item for page in self.pages(begin, **wanted) for item in page.items]

    def fill(self, count: int = 40) -> None:
        for _ in range(count):
            self.put(b"k%03d" % self.random.randrange(200), b"x" * self.random.choice([0, 3, 200]))

    def expected(self, begin: bytes = b"", end: bytes = b"\xff") -> list[tuple[bytes, int]]:
        return [(key, self.versions[key]) for key in sorted(self.versions) if begin <= key < end]


def told(items: list[Item]) -> list[tuple[bytes, int]]:
    return [(item.key, item.version) for item in items]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_put_is_listed(seed: int) -> None:
    store = Store(seed)
    store.fill()
    for key in store.random.sample(sorted(store.versions), 5):
        assert store.ask(Kind.DELETE, key).status == Status.DELETED
        del store.versions[key]
    assert told(store.listed()) == store.expected()
    assert told(store.listed(b"k1", end=b"k2")) == store.expected(b"k1", b"k2")
    found = store.listed(values=True)  # large ones are read one by one: the bounds are low
    assert told(found) == store.expected()
    assert [item.value for item in found] == [store.values[item.key] for item in found]
    assert store.page(count=True).count == len(store.versions)
    assert store.page(count=True, begin=b"k1", end=b"k2").count == len(store.expected(b"k1", b"k2"))


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_while_nodes_fail_and_partitions_move(seed: int) -> None:
    """What nobody touches is listed once, with its version; beside it keys come and go."""
    store = Store(seed, partitions=7)
    store.fill(30)
    world = store.world
    joined = world.add_machine()
    joined.start()
    for lap in range(LAPS):
        found: list[Item] = []
        for number, page in enumerate(store.pages()):
            found += page.items
            if number % 4 == 1:
                store.ask(Kind.PUT, b"w%d" % store.random.randrange(9), b"v")
            if number == 2 + lap and lap < 2:
                victim = store.random.choice([each for each in world.nodes.values() if each.alive])
                world.lose(victim, lambda count: count)
                world.events.after(store.random.choice([50, 1_500]), victim.start)
        assert [item.key for item in found] == sorted({item.key for item in found}), "in order, once"
        assert [pair for pair in told(found) if pair[0] < b"w"] == store.expected(end=b"w")
        assert world.map is not None
        if lap > 0 and any(part.primary == joined.id for part in world.map.partitions):
            break
        store.run(50)  # it leads nothing before it has its copies, and the cluster is at rest
    else:
        raise AssertionError("partitions move to the newcomer while they are listed")
    assert world.events.run_until(world.healthy, world.events.now + 60_000)


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_a_key_that_was_seen_to_be_gone_is_not_listed_again(seed: int) -> None:
    store = Store(seed)
    for number in range(12):
        store.put(b"k%02d" % number, b"v", ttl_ms=0 if number % 3 == 0 else 100 + 150 * number)
    kept = [(b"k%02d" % number, store.versions[b"k%02d" % number]) for number in range(0, 12, 3)]
    gone: set[bytes] = set()
    for lap in range(30):
        found = told(store.listed())
        assert gone.isdisjoint(key for key, _ in found)
        gone = set(store.versions) - {key for key, _ in found}
        for key in store.random.sample(sorted(store.versions), 3):
            if store.ask(Kind.GET, key).status == Status.NOT_FOUND:
                gone.add(key)
            else:
                assert key not in gone
        if len(gone) == 8 and lap > 3:
            break
        store.run(150)
    assert told(store.listed()) == kept
    assert store.page(count=True).count == len(kept)


def test_a_key_says_how_long_it_lives() -> None:
    store = Store(1)
    store.put(b"a", b"v", ttl_ms=60_000)
    store.put(b"b", b"v")
    first, second = store.listed()
    assert 50_000 < first.ttl_ms <= 60_000 and second.ttl_ms == 0


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_what_is_newer_than_positions_is_left_out(seed: int) -> None:
    store = Store(seed)
    store.fill(20)
    positions = store.page(positions=True).positions
    before = store.expected()
    assert len(positions) == store.world.partitions
    assert all(version <= positions[partition_of(key, len(positions))] for key, version in before)
    store.fill(10)
    assert told(store.listed(until=positions)) == [pair for pair in store.expected() if pair in before]


def test_beyond_the_bounds_a_listing_is_refused() -> None:
    store = Store(0)
    node = store.node()
    pages: list[Page] = []
    for _ in range(100):
        node.driver.submit_listing(ListRequest(done=pages.append))
    store.world.events.run_until(lambda: len(pages) == 100, store.world.events.now + 8_000)
    assert {page.status for page in pages} == {Status.FOUND, Status.BUSY}


def test_without_a_primary_it_ends_at_its_deadline() -> None:
    store = Store(1)
    store.fill(10)
    for victim in list(store.world.nodes.values())[:3]:
        store.world.lose(victim, lambda count: count)
    pages: list[Page] = []
    store.node().driver.submit_listing(ListRequest(timeout_ms=2_000, done=pages.append))
    assert store.world.events.run_until(lambda: bool(pages), store.world.events.now + 2_500)
    assert pages[0].status == Status.UNAVAILABLE


def test_nodes_of_an_older_version_are_not_asked() -> None:
    world = World(6, 3, 2)
    world.start()
    node = next(each for each in world.nodes.values() if each.alive and each.driver.serving)
    assert node.driver.node.context.feature_level == 1
    pages: list[Page] = []
    node.driver.submit_listing(ListRequest(done=pages.append))
    assert world.events.run_until(lambda: bool(pages), world.events.now + 100)
    assert pages[0].status == Status.UNAVAILABLE and "older version" in pages[0].detail
