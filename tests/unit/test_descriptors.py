"""The shares of the file descriptors add up, whatever the limit, and a low soft limit is raised."""

import subprocess
import sys

import pytest

from ringkeep.descriptors import BURSTS, LEAST, PER_LINK, RESERVE, shares_of
from ringkeep.errors import StartError


@pytest.mark.parametrize("limit", [LEAST, 256, 300, 1_024, 10_240, 20_000, 65_536, 1 << 20])
def test_the_shares_stay_below_the_limit(limit: int) -> None:
    shares = shares_of(limit)
    used = shares.clients + shares.peers * PER_LINK + shares.openings + shares.tables + BURSTS * shares.burst
    assert used + RESERVE <= limit
    assert min(shares.clients, shares.openings, shares.burst) >= 8
    assert shares.peers >= 4, "a small cluster fits the least limit"
    assert shares.tables >= 48


def test_too_low_a_limit_is_refused_with_a_remedy() -> None:
    with pytest.raises(StartError, match="ulimit -n"):
        shares_of(LEAST - 1)


def test_a_low_soft_limit_is_raised() -> None:
    program = (
        "import resource; from ringkeep.descriptors import raise_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1_000))\n"
        "print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", "1000"]
