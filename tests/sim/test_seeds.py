"""Thousands of simulated worlds: all invariants hold, and everything that should happen to them does."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from ringkeep.cli.simulate import FAULT, outcomes
from ringkeep.sim.faults import Faults
from ringkeep.sim.main import FAULT_KINDS, OPERATIONS
from ringkeep.sim.world import World

pytestmark = pytest.mark.sim

SEEDS = 2_000
RARE = (
    "answer_not_final",
    "append_refused_epoch",
    "append_refused_mismatch",
    "apply_skipped_duplicate",
    "commit_capped",
    "confirm_round_again",
    "deposed",
    "deposed_by_refusal",
    "duplicate_answered",
    "duplicate_waits",
    "handover_begun",
    "log_trimmed",
    "position_asked_again",
    "primary_paused",
    "request_sent_again",
    "snapshot_installed",
    "snapshot_kept_suffix",
    "snapshot_needed",
    "suffix_cut",
    "tail_fetched",
)
"""Paths of the core that only bad luck takes: a run that never took one has not tried it."""

TRACE = """
import hashlib, sys
from ringkeep.sim.main import run_seed
digest, lines = hashlib.sha256(), []
for seed in map(int, sys.argv[1:]):
    outcome = run_seed(seed, trace=lines.append)
    assert not outcome.failure, outcome.failure
    lines.append(repr(outcome))
print(len(lines), hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


@pytest.mark.timeout(600)
def test_every_seed_keeps_all_invariants_and_every_rare_path_is_taken() -> None:
    total: Counter[str] = Counter()
    failures, calm = [], []
    done = 0
    with outcomes(1, SEEDS) as found:
        for outcome in found:
            done += 1
            total.update(outcome.counters)
            if outcome.failure:
                again = f"again with: ringkeep simulate --seed {outcome.seed} --trace"
                failures.append(f"seed {outcome.seed}: {outcome.failure}\n{again}")
            elif not _was_rough(outcome.operations, outcome.counters):
                calm.append(outcome.seed)
    assert not failures, "\n".join(failures)
    assert done == SEEDS
    assert not calm, f"nothing much happened in the seeds {calm}"
    kinds = {FAULT.rstrip("_") + kind.__name__ for _, kind in Faults(World(0)).kinds}
    never = [name for name in (*sorted(kinds), *RARE) if not total[name]]
    assert not never, f"in {SEEDS} seeds this never happened: {', '.join(never)}"
    assert total["outcome_ok"] > SEEDS * OPERATIONS // 2, "most operations succeed, in spite of it all"


def _was_rough(operations: int, counters: Counter[str]) -> bool:
    """Whether a world met what each one must: operations, several kinds of fault, a change of primary."""
    kinds = sum(name.startswith(FAULT) for name in counters)
    return operations >= OPERATIONS and kinds >= FAULT_KINDS and counters["epochs"] > 2


def test_a_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", TRACE, "4", "5", "6"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
        )
        for hash_seed in ("1", "2")
    ]
    first, second = ((run.returncode, run.stdout, run.stderr) for run in runs)
    assert first[0] == 0, first[2]
    assert int(first[1].split()[0]) > 100, "the trace tells what happens"
    assert first == second


def test_another_seed_gives_another_trace() -> None:
    from ringkeep.sim.main import run_seed

    digests = set()
    for seed in (4, 5):
        lines: list[str] = []
        run_seed(seed, trace=lines.append)
        digests.add(hashlib.sha256("\n".join(lines).encode()).hexdigest())
    assert len(digests) == 2
