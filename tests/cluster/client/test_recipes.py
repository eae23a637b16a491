"""The recipes of the documents keep what they promise, also while nodes die."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from tests.cluster.client.test_documents import BLOCK
from tests.support.cluster.cluster import HOST, Cluster
from tests.support.paths import ROOT
from tests.support.wait import until

from ringkeep.client import Client, LockLost

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def page(shared: Cluster) -> Iterator[Any]:
    """What the page defines, after all of it has run."""
    found = [f"http://{HOST}:{shared.places[name].http}" for name in shared.names]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGKEEP_ENDPOINTS", ",".join(found))
        for block in BLOCK.findall((ROOT / "docs" / "recipes.md").read_text()):
            exec(compile(block, "recipes.md", "exec"), names)
        yield SimpleNamespace(**names)
    names["scheduler"].shutdown()
    names["store"].close()


@pytest.fixture
def store(page: Any) -> Client[bytes]:
    found: Client[bytes] = page.store
    return found


def together(*each: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=one) for one in each]
    for thread in threads:
        thread.start()
    return threads


def test_counting_paying_and_working_while_a_node_dies(
    nodes: Cluster, page: Any, store: Client[bytes]
) -> None:
    """What is counted, paid and done by several at a time is so once."""
    store.put("{ada}balance", b"1000000")
    stopped = threading.Event()
    rounds = [0] * 3
    failures: list[Exception] = []

    def use(mine: int) -> None:
        try:
            while not stopped.is_set():
                number = rounds[mine]
                page.submit(f"{mine}-{number}", b"%d" % number)
                for _ in range(2):  # the second is the same one
                    page.count_view("home", f"{mine}-{number}")
                    assert page.pay("ada", f"{number}", 2)  # each by all three
                page.work(lambda _, job: job)
                rounds[mine] = number + 1
        except Exception as error:
            failures.append(error)

    def go_on() -> None:
        wanted = [done + 3 for done in rounds]
        until(lambda: failures or all(map(int.__ge__, rounds, wanted)), "three more rounds of each")
        assert not failures, failures

    threads = together(*[partial(use, mine) for mine in range(3)])
    try:
        go_on()
        nodes.kill(nodes.names[0])
        go_on()
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    page.work(lambda _, job: job)
    total = sum(rounds)
    assert not failures
    assert store.get("views/home").value == b"%d" % total
    assert store.get("{ada}balance").value == b"%d" % (1_000_000 - 2 * max(rounds))
    assert store.count("{ada}paid/") == max(rounds)
    assert store.count("{mail}done/") == total and store.count("{mail}job/") == 0


def test_nobody_pays_what_is_not_there(page: Any, store: Client[bytes]) -> None:
    store.put("{bob}balance", b"5")
    results: list[bool] = []

    def pay(payment_id: str) -> None:
        results.append(page.pay("bob", payment_id, 2))

    for thread in together(*[partial(pay, each) for each in "abcd"]):
        thread.join()
    assert sorted(results) == [False, False, True, True]
    assert store.get("{bob}balance").value == b"1"


def test_a_worker_that_dies_leaves_its_job_to_others(page: Any, store: Client[bytes]) -> None:
    class Died(Exception):
        pass

    def die(job_id: str, job: bytes) -> bytes:
        raise Died

    page.submit("1", b"job")
    with pytest.raises(Died):
        page.work(die, claim_s=0.1)
    until(lambda: page.work(lambda _, job: job) or store.count("{mail}job/") == 0, "another to do it")
    assert store.get("{mail}done/1").value == b"job"
    page.submit("1", b"job")
    assert store.count("{mail}job/") == 0  # it is done


def test_a_worker_that_is_too_slow_has_no_result(page: Any, store: Client[bytes]) -> None:
    def slow(job_id: str, job: bytes) -> bytes:
        until(lambda: not store.exists("{mail}claim/2"), "the claim to expire")
        page.work(lambda *_: b"quick")
        return b"slow"

    page.submit("2", b"job")
    page.work(slow, claim_s=0.1)
    assert store.get("{mail}done/2").value == b"quick"


def test_a_job_that_is_done_is_not_done_again_by_who_listed_it_before(page: Any) -> None:
    handled: list[str] = []

    def note(job_id: str, job: bytes) -> bytes:
        handled.append(job_id)
        page.work(note)  # another worker does all the rest meanwhile
        return job

    for job_id in "345":
        page.submit(job_id, b"job")
    page.work(note)
    assert sorted(handled) == ["3", "4", "5"]


def test_an_old_holder_is_refused(page: Any, store: Client[bytes]) -> None:
    page.write_report(b"first")
    with store.lock("{report}lock", ttl=10) as old:
        token = old.token
    page.write_report(b"second")
    with pytest.raises(LockLost):
        page.save_report(b"late", token)
    assert store.get("{report}text").value == b"second"


def test_one_leads_and_another_follows(page: Any, store: Client[bytes]) -> None:
    led: list[tuple[str, int]] = []
    stops = {name: threading.Event() for name in "ab"}

    def stand(name: str) -> None:
        def lead(token: int) -> None:
            led.append((name, token))
            time.sleep(0.01)

        page.stand(stops[name], lead)

    threads = together(lambda: stand("a"), lambda: stand("b"))
    until(lambda: len(led) > 5, "a leader")
    first, token = led[0]
    stops[first].set()
    until(lambda: led[-1][0] != first, "the other one to lead")
    stops[led[-1][0]].set()
    for thread in threads:
        thread.join()
    assert {each for name, each in led if name == first} == {token} and led[-1][1] > token


def test_a_cache_does_not_keep_what_is_old(page: Any, store: Client[bytes]) -> None:
    source = {"x": b"old"}

    def compute_slowly(name: str) -> bytes:
        value = source[name]
        source[name] = b"new"  # the source changes while we compute
        page.invalidate(name)
        return value

    assert page.read("x", compute_slowly) == b"old"
    assert page.read("x", source.__getitem__) == b"new"
    assert page.read("x", lambda _: pytest.fail("it is in the cache")) == b"new"
    page.invalidate("x")
    assert page.read("x", compute_slowly) == b"new"


def test_settings_follow(page: Any, store: Client[bytes]) -> None:
    changes: list[Any] = []
    with page.follow_settings(changes.append) as settings:
        store.put("config/limit", b"7")
        until(lambda: settings["config/limit"].value == 7, "the change")
    assert [change.value for change in changes] == [7]


def test_the_limit_is_one_for_all(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    results: list[bool] = []
    threads = together(*[lambda: results.extend(page.is_allowed("ada", 10) for _ in range(5))] * 4)
    for thread in threads:
        thread.join()
    assert (results.count(True), len(results)) == (10, 20)


def test_a_scheduled_job_runs_in_one_process(page: Any) -> None:
    ran: list[float] = []
    called: list[int] = []
    schedulers = [BackgroundScheduler() for _ in range(3)]

    def call(job: Callable[[], None]) -> None:
        job()
        called.append(1)

    for scheduler in schedulers:
        job = page.once("test", every_s=1_000_000)(lambda: ran.append(time.time()))
        scheduler.add_job(call, "interval", [job], seconds=3_600, next_run_time=datetime.now())
        scheduler.start()
    until(lambda: len(called) == 3, "all three to be called")
    for scheduler in schedulers:
        scheduler.shutdown()
    assert len(ran) == 1
