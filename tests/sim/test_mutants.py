"""The simulator is checked too: each deliberate break of a rule is caught within a stated number of seeds."""

import pytest
from tests.sim.mutants import MUTANTS

from ringkeep.cli.simulate import outcomes
from ringkeep.sim.main import run_seed

pytestmark = pytest.mark.sim

# mutant -> within how many seeds, from 1, it must be caught (several times what it takes today), and by what
CAUGHT = {
    "ack before fsync": (5, "durable on 1 only"),
    "read without confirm": (120, "not linearizable"),
    "promise not persisted": (10, "is forgotten"),
    "epoch resumed after restart": (15, "two ACTIVE primaries"),
    "de-duplication lost in a snapshot": (80, "state at"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    within, by = CAUGHT[name]
    with MUTANTS[name]():
        for seed in range(1, within + 1):
            failure = run_seed(seed).failure
            if failure:
                break
    assert failure, f"{name}: not noticed in {within} seeds"
    assert by in failure, f"{name}: seed {seed} fails, but of something else"


def test_the_unbroken_core_passes_the_same_seeds() -> None:
    most = max(within for within, _ in CAUGHT.values())
    with outcomes(1, most) as found:
        failures = [f"seed {outcome.seed}: {outcome.failure}" for outcome in found if outcome.failure]
    assert not failures, "\n".join(failures)
