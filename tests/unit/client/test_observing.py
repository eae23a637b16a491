"""What an observer and the logger are told of a call, and that they cannot disturb it."""

import asyncio
import logging
import subprocess
import sys

import pytest

from ringkeep.client import AsyncClient, Client, Conflict, Observation, Observer, StoreError, Unavailable
from ringkeep.client.blocking.transport import Urllib3Transport
from ringkeep.client.calls.exchange import Failure, Response, Send
from ringkeep.client.calls.holding import Holding
from ringkeep.client.calls.nodes import Nodes

DONE = Response(201, {"etag": '"7"', "ringkeep-node": "n1"}, b"")
BUSY = Response(503, {"ringkeep-node": "n1"}, b'{"outcome":"not-applied","detail":"about SECRET"}')
REFUSED = Response(412, {"etag": '"9"', "ringkeep-node": "n1"}, b"{}")


class Notes(Observer, Observation):
    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, name: str, operations: int) -> Observation:
        self.told.append((name, operations))
        return self

    def attempt(self, endpoint: str) -> None:
        self.told.append(endpoint)

    def failed(self, reason: str) -> None:
        self.told.append(reason)

    def end(self, status: int, error: BaseException | None) -> None:
        self.told.append((status, type(error)))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Response | Failure]:
    """What a blocking client is answered, one after the other; the last one again and again."""
    given: list[Response | Failure] = []

    def send(_: object, action: Send) -> Response | Failure:
        return given.pop(0) if len(given) > 1 else given[0]

    monkeypatch.setattr(Urllib3Transport, "send", send)
    return given


def client(observer: Observer | None) -> Client[bytes]:
    return Client("http://a:1", follow=False, observer=observer, timeout=0.3)


def test_an_observer_is_told_of_every_attempt(answers: list[Response | Failure]) -> None:
    answers += [Failure("a is down", sent=False), BUSY, DONE]
    notes = Notes()
    client(notes).put("SECRET", b"SECRET")
    assert notes.told == [
        ("put", 1), "http://a:1", "a is down", "http://a:1", "http://a:1 answered 503", "http://a:1",
        (201, type(None)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [(REFUSED, 412, Conflict), (Failure("it is down", sent=False), 0, Unavailable)],
)
def test_it_is_told_how_the_call_ends(
    answers: list[Response | Failure], answer: Response | Failure, status: int, error: type[StoreError]
) -> None:
    answers.append(answer)
    notes = Notes()
    with pytest.raises(error):
        client(notes).put("k", b"v", if_version=7)
    assert notes.told[-1] == (status, error)


def test_a_batch_says_of_how_many_operations_it_is(answers: list[Response | Failure]) -> None:
    answers.append(
        Response(
            200,
            {"ringkeep-node": "n1"},
            b'{"results":[{"status":200,"version":7,"value":"v"},{"status":404}]}',
        )
    )
    notes = Notes()
    assert len(client(notes).get_many(["a", "b"])) == 1
    assert notes.told[0] == ("batch", 2)


def test_an_observer_that_fails_changes_nothing(
    answers: list[Response | Failure], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Notes):
        def begin(self, name: str, operations: int) -> Observation:
            raise ZeroDivisionError

    class BrokenLater(Notes):
        def attempt(self, endpoint: str) -> None:
            raise ZeroDivisionError

    answers.append(DONE)
    for broken in (Broken(), BrokenLater()):
        caplog.clear()
        assert client(broken).put("k", b"v").version == 7
        assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_call_that_is_cancelled_has_an_end() -> None:
    async def run(notes: Notes) -> None:
        async with AsyncClient("http://192.0.2.1:9", follow=False, observer=notes) as store:
            call = asyncio.ensure_future(store.get("k"))
            while len(notes.told) < 2:
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert notes.told[-1] == (0, GeneratorExit)

    asyncio.run(run(Notes()))


def test_the_log_tells_of_attempts_and_nodes_but_not_of_keys_and_values(
    answers: list[Response | Failure], caplog: pytest.LogCaptureFixture
) -> None:
    answers += [Failure("a is down", sent=False), BUSY, DONE]
    with caplog.at_level(logging.INFO, "ringkeep.client"):
        client(None).put("SECRET", b"SECRET")
    assert caplog.messages == [
        "put: a is down",
        "http://a:1 does not answer; others are asked first",
        "http://a:1 answers again",
        "put: http://a:1 answered 503",
    ]


def test_the_log_tells_of_failovers_and_lost_locks(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes(["http://a:1"])
    nodes.learned(
        b'{"members":[{"name":"n1","http":"a:1"},{"name":"n2","http":"b:1"}]}',
        b'{"partitions":[{"partition":0,"primary":"n1"}]}',
    )
    with caplog.at_level(logging.INFO, "ringkeep.client"):
        nodes.answered("http://a:1", b"SECRET", Response(200, {"ringkeep-primary": "n2"}, b""))
        Holding(b"nightly", 10).lose()
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "the primary of partition 0 is n2, no longer n1"),
        ("WARNING", "the lock b'nightly' is lost"),
    ]


def test_it_is_quiet_where_logging_was_not_set_up() -> None:
    """Python would print warnings on standard error."""
    script = "from ringkeep.client.calls.holding import Holding; Holding(b'nightly', 10).lose()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
