"""How `ringkeep bench` counts: percentiles, schedules, errors; against a small server of its own."""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringkeep.cli.load import report
from ringkeep.cli.load.generator import Generator
from ringkeep.cli.load.latencies import Latencies
from ringkeep.cli.load.route import Route
from ringkeep.cli.load.tally import INDETERMINATE, REJECTED, Tally
from ringkeep.cli.load.workload import Workload, mix_of, sizes_of
from ringkeep.core.cluster.slots import partition_of

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Answers = Callable[[int], Awaitable[bytes | None]]


@given(
    st.lists(st.integers(0, 10**8), min_size=1, max_size=200), st.sampled_from([0.1, 50, 90, 99, 99.9, 100])
)
def test_percentiles_are_exact_to_a_hundredth(values: list[int], percent: float) -> None:
    latencies, half = Latencies(), Latencies()
    for position, value in enumerate(values):
        (half if position % 2 else latencies).add((value + 0.5) / 1e6)
    latencies.merge(half)
    exact = sorted(values)[max(math.ceil(len(values) * percent / 100 - 1e-9), 1) - 1]
    assert exact <= latencies.percentile_us(percent) <= exact * 1.01
    assert (latencies.count, latencies.max_us, latencies.total_us) == (len(values), max(values), sum(values))


def test_no_latency_has_no_percentile() -> None:
    assert Latencies().percentile_us(99) == 0


# --- what is asked --------------------------------------------------------------------------------------


def test_mixes_and_sizes() -> None:
    assert mix_of("get=90, put=10") == {"get": 90, "put": 10}
    assert sizes_of("100,1000") == [100, 1000]
    for text in ("get", "get=x", "get=0", "take=1", "get=1,get=2", "get=-1", "get=inf", ""):
        with pytest.raises(ValueError):
            mix_of(text)
    for text in ("", "x", "-1", "5000000"):
        with pytest.raises(ValueError):
            sizes_of(text)


def test_requests_are_drawn_as_asked_for() -> None:
    workload = Workload(
        "p/", {"get": 3, "put": 1, "delete": 1, "batch": 1}, keys=50, sizes=[0, 7], batch=3, seed=1
    )
    asks = [workload.ask() for _ in range(3_000)]
    shares = Counter(each.operation for each in asks)
    assert 1_300 < shares["get"] < 1_700 and shares["put"] > 400 and shares["delete"] > 400
    assert {len(each.body) for each in asks if each.operation == "put"} == {0, 7}
    assert {each.key for each in asks} == {workload.key(number) for number in range(50)}
    assert {each.operations for each in asks if each.operation == "batch"} == {3}


def test_zipf_asks_for_few_keys_most_often() -> None:
    workload = Workload("", {"get": 1}, keys=1_000, sizes=[1], distribution="zipf", seed=1)
    seen = Counter(workload.ask().key for _ in range(20_000)).most_common()
    assert len(seen) > 500
    total = sum(1 / rank**0.99 for rank in range(1, 1_001))
    assert seen[0][1] / 20_000 == pytest.approx(1 / total, rel=0.1)


def test_requests_go_to_primaries_and_elsewhere_when_one_fails() -> None:
    route = Route(["a:1", "b:1"], follows=True)
    members = [{"name": name, "http": f"{name}:1"} for name in "abc"]
    rows = [{"partition": number, "primary": "abc"[number % 3]} for number in range(8)]
    route.learn({"members": members}, {"partitions": rows})
    keys = [b"k%d" % number for number in range(100)]
    assert [route.to(key) for key in keys] == [f"{'abc'[partition_of(key, 8) % 3]}:1" for key in keys]
    route.failed("a:1")
    assert {route.to(key) for key in keys} == {"b:1", "c:1"}
    turns = Route(["a:1", "b:1"], follows=False)
    turns.learn({"members": members}, {"partitions": rows})
    assert [turns.to(key) for key in keys[:4]] == ["a:1", "b:1", "a:1", "b:1"]


# --- measuring ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(answers: Answers) -> AsyncIterator[str]:
    """Serve requests; `answers` is told each one's number, and returns bytes, or None to break off."""
    number = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or b"0"))
                number += 1
                answer = await answers(number)
                if answer is None:
                    break
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}"


def measured(
    answers: Answers, seconds: float, *, rate: float | None, mix: str = "get=1", connections: int = 1
) -> Tally:
    async def run() -> Tally:
        async with served(answers) as endpoint:
            workload = Workload("p/", mix_of(mix), keys=10, sizes=[10], seed=1)
            generator = Generator(
                workload, Route([endpoint], False), connections=connections, rate=rate, timeout_s=0.4
            )
            return await generator.run(0.0, seconds, lambda _: None)

    return asyncio.run(run())


async def at_once(_: int) -> bytes:
    return ANSWER


async def stands_still(number: int) -> bytes:
    if number == 5:
        await asyncio.sleep(0.3)
    return ANSWER


def test_a_pause_makes_all_late_that_should_have_been_sent_meanwhile() -> None:
    """The closed loop has one slow request; the open loop has each that was due, from when it was due."""
    closed = measured(stands_still, 0.8, rate=None)
    assert closed.all.max_us > 290_000 and closed.all.percentile_us(95) < 100_000
    open_ = measured(stands_still, 0.8, rate=100)
    assert 60 <= open_.all.count <= 80
    late = [percent for percent in range(100) if open_.all.percentile_us(percent) > 100_000]
    assert len(late) > 15, "of 80 requests some 20 were due more than 0.1 s before they could be sent"


def test_a_rate_that_is_too_high_is_told() -> None:
    async def slow(_: int) -> bytes:
        await asyncio.sleep(0.02)
        return ANSWER

    tally = measured(slow, 0.4, rate=1_000)
    assert tally.unsent > 300 and "had not been sent" in " ".join(report.warnings(tally, 1_000))
    assert not [each for each in report.warnings(measured(at_once, 0.3, rate=50), 50) if "schedule" in each]


def test_errors_are_counted_by_what_may_have_happened() -> None:
    busy = b'HTTP/1.1 429 Busy\r\nContent-Length: 25\r\n\r\n{"outcome":"not-applied"}'
    unknown = b'HTTP/1.1 504 Late\r\nContent-Length: 21\r\n\r\n{"outcome":"unknown"}'

    async def bad(number: int) -> bytes | None:
        return (busy, unknown, None, ANSWER)[number % 4]

    tally = measured(bad, 0.6, rate=None, mix="put=1")
    assert {key for key in tally.errors if key[2].startswith(("429", "504"))} == {
        ("put", REJECTED, "429 busy"),
        ("put", INDETERMINATE, "504 no answer from the primary"),
    }
    broken = [outcome for _, outcome, what in tally.errors if not what.startswith(("429", "504"))]
    assert broken and set(broken) == {INDETERMINATE}
    assert tally.latencies["put"].count and tally.document()["errors"]
    reads = measured(bad, 0.6, rate=None, mix="get=1")
    assert {outcome for _, outcome, _ in reads.errors} == {REJECTED}, "a read changes nothing"


def test_a_busy_load_generator_is_told() -> None:
    tally = Tally()
    tally.seconds, tally.cpu_seconds = 10.0, 9.5
    assert "95% of a core: it is the bottleneck" in report.warnings(tally, None)[0]
    tally.cpu_seconds = 1.0
    assert not [each for each in report.warnings(tally, None) if "load generator" in each]
    for _ in range(100):
        tally.lag.add(0.02)
    assert "more than 20.0 ms late" in report.warnings(tally, 100)[0]
