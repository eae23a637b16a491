"""The simulator is checked too: each deliberate break of a rule is caught within a stated number of seeds.

`make test` tries those that show soon; `make mutants` tries all of them, and prints the table of
docs/guarantees.md.
"""

import os

import pytest
from tests.sim.mutants import OF_REPLICAS
from tests.sim.mutants_map import OF_THE_MAP
from tests.sim.mutants_requests import OF_REQUESTS

from ringkeep.cli.simulate import outcomes
from ringkeep.sim.main import run_seed

MUTANTS = {**OF_REPLICAS, **OF_REQUESTS, **OF_THE_MAP}

# mutant -> within how many seeds, from 1, it must be caught (several times what it takes today), and by what
CAUGHT = {
    "ack before fsync": (5, "durable on"),
}

SOON = 15
"""Mutants that need no more seeds than this are tried by every run of the tests."""
LATER = not os.environ.get("ALL_MUTANTS")

pytestmark = [pytest.mark.sim, pytest.mark.timeout(3_000)]


def test_every_mutant_has_its_bound() -> None:
    assert CAUGHT.keys() == MUTANTS.keys()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(LATER and within > SOON, reason="for `make mutants`"))
        for name, (within, _) in CAUGHT.items()
    ],
)
def test_a_broken_rule_is_caught(name: str, record_property: pytest.RecordProperty) -> None:
    within, by = CAUGHT[name]
    with MUTANTS[name]():
        for seed in range(1, within + 1):
            failure = run_seed(seed).failure
            if failure:
                break
    assert failure, f"{name}: not noticed in {within} seeds"
    assert by in failure, f"{name}: seed {seed} fails, but of something else: {failure}"
    print(f"\n| {name} | {seed} | {within} | {by} |")


def test_the_unbroken_core_passes_the_same_seeds() -> None:
    most = max(within for within, _ in CAUGHT.values() if not LATER or within <= SOON)
    with outcomes(1, most) as found:
        failures = [f"seed {outcome.seed}: {outcome.failure}" for outcome in found if outcome.failure]
    assert not failures, "\n".join(failures)
