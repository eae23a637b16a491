"""Shortens a failing seed, and prints it as a story for people. The shortest failing prefix is found by
bisection: faults and clients stop after so many steps, then the world is healed and checked as always.
Shorter prefixes need not all pass, so the result is one that fails next to one that does not. The story is
that of this shorter run, not the end of the longer one.
"""

import re
from typing import Final

from ringkeep.core.cluster.slots import partition_of
from ringkeep.sim.run import SeedOutcome, run_seed, size_of

LINES: Final = 70
"""The most lines of a story: a person reads no more."""

_PARTITION: Final = re.compile(r"partition (\d+)")
_KEY: Final = re.compile(r"key b?['\"]?([\w]+)")
_CALL: Final = re.compile(r"client -?\d+: \w+.* on b'([^']*)'")


def shortest(failed: SeedOutcome) -> int:
    """Return how many steps of a failing seed still fail, by bisection. Cost: about fifteen runs."""
    low, high = 0, failed.steps
    while high - low > 1:
        middle = (low + high) // 2
        if run_seed(failed.seed, middle).failure:
            high = middle
        else:
            low = middle
    return high


def tell(seed: int, steps: int) -> list[str]:
    """Run this prefix once more, and return what happened as lines: who, when, what, and how it ended."""
    lines: list[str] = []
    outcome = run_seed(seed, steps, trace=lines.append)
    nodes, partitions = size_of(seed)
    concerned = [line for line in lines if _concerns(outcome.failure, line, partitions)]
    left_out = len(concerned) - LINES
    return [
        f"Seed {seed}: {nodes} nodes, {partitions} partitions. After {steps} steps nothing new begins.",
        "Milliseconds, who, what:",
        *([f"  … {left_out} earlier lines: --trace shows all"] if left_out > 0 else []),
        *("  " + line for line in concerned[-LINES:]),
        "And then: " + (outcome.failure or "nothing went wrong this time"),
        f"again with: ringkeep simulate --seed {seed} --steps {steps} --trace",
    ]


def _concerns(failure: str, line: str, partitions: int) -> bool:
    """Return whether a line may concern the failure: its key or partition, or the whole world."""
    call = _CALL.search(line)
    partition, key = _PARTITION.search(failure), _KEY.search(failure)
    if call is not None:
        asked = call[1].encode()
        if key is not None:
            return asked == key[1].encode()
        if partition is None:
            return True
        return ": get ->" not in line and partition_of(asked, partitions) == int(partition[1])
    told = _PARTITION.search(line)
    return told is None or partition is None or told[1] == partition[1]
