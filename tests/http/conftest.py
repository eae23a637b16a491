"""The tests of the HTTP interface run against any node: RINGKEEP_TEST_URL names one, else a fake is started.

Tests that need the fake (forced answers, short patience) ask for `host`; they are skipped for a real node.
"""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from tests.support.http.fake_service import FakeService
from tests.support.http.host import Host
from tests.support.http.wire import Wire

_numbers = count()


@pytest.fixture(scope="session")
def shared_host() -> Iterator[Host | None]:
    """The fake node that most tests share; None for a real one."""
    if os.environ.get("RINGKEEP_TEST_URL"):
        yield None
        return
    host = Host()
    yield host
    host.close()


@pytest.fixture(scope="session")
def base_url(shared_host: Host | None) -> str:
    """Where the node under test listens."""
    return shared_host.url if shared_host else os.environ["RINGKEEP_TEST_URL"]


@pytest.fixture
def wire(base_url: str) -> Iterator[Wire]:
    """A connection to the node under test."""
    with Wire(base_url) as connection:
        yield connection


@pytest.fixture
def connect(base_url: str) -> Callable[[], Wire]:
    """More connections to the node under test."""
    return lambda: Wire(base_url)


@pytest.fixture
def key() -> str:
    """A key that no other test uses, also not in an earlier run against the same cluster."""
    return f"test-{os.getpid()}-{os.urandom(3).hex()}-{next(_numbers)}"


@pytest.fixture
def host(shared_host: Host | None) -> Iterator[Host]:
    """The fake node as if nobody had asked it for anything, put back as it was afterwards."""
    if shared_host is None:
        pytest.skip("needs the fake node")
    service = shared_host.service
    for name in ("submitted", "listed", "orders", "planned"):
        getattr(service, name).clear()
    yield shared_host
    fresh = FakeService()
    for name in (
        "delay_s",
        "mute",
        "forced",
        "forced_pages",
        "reason",
        "waits_for",
        "raises",
        "remember",
        "steered",
    ):
        setattr(service, name, getattr(fresh, name))


@pytest.fixture
def make_host() -> Iterator[Callable[..., Host]]:
    """A fake node of the test's own, such as one with little patience."""
    hosts: list[Host] = []

    def make(**options: object) -> Host:
        hosts.append(Host(**options))  # type: ignore[arg-type]  # passed through
        return hosts[-1]

    yield make
    for each in hosts:
        each.close()
