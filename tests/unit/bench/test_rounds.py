"""What the benchmark makes of its rounds: ratios within a round, void rounds left out, no claim too many."""

import json
import sys

import pytest
from tests.support.paths import BENCH

sys.path.insert(0, str(BENCH))

from harness.load import percentile
from reporting.report import Row, Sample, as_json, chart, table, verdict

SYSTEMS = ("ringkeep", "etcd")


def sample(rate: int, generator_cpu: float = 0.1, faults: list[str] | None = None) -> Sample:
    return Sample(rate * 2, 2.0, 1.0, 5.0, 1.0, generator_cpu, 0.0, faults or [])


def row(*rounds: tuple[Sample, Sample], reach: float | None = 1.5) -> Row:
    return Row("PUT", 64, reach, list(rounds))


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was four times slower in the second round; that says nothing of either system."""
    found = row((sample(2_000), sample(1_000)), (sample(500), sample(250)), (sample(900), sample(300)))
    assert found.ratios == [2.0, 2.0, 3.0]
    assert verdict(found) == "reached"
    assert as_json([found], SYSTEMS)[0]["ratio_median"] == 2.0


def test_a_wrong_answer_voids_its_round() -> None:
    found = row((sample(2_000), sample(1_000)), (sample(9_000, faults=["status 3"]), sample(1_000)))
    assert found.ratios == [2.0]
    assert len(as_json([found], SYSTEMS)[0]["rounds"]) == 2


def test_nothing_is_said_without_a_valid_round() -> None:
    found = row((sample(2_000), sample(1_000, faults=["timeout 1"])))
    assert verdict(found) == "void"
    assert "void" in table([found], SYSTEMS)


def test_nothing_is_claimed_where_the_generator_is_what_is_measured() -> None:
    found = row((sample(9_000, generator_cpu=1.5), sample(1_000)))
    assert verdict(found).startswith("no claim")


def test_cpu_per_request() -> None:
    assert sample(1_000).server_us == pytest.approx(500)


def test_what_is_kept_can_be_read_again() -> None:
    rows = [row((sample(2_000), sample(1_000))), row(reach=None)]
    assert json.loads(json.dumps(as_json(rows, SYSTEMS)))[0]["rounds"][0]["etcd"]["rate"] == 1_000
    drawn = chart(rows, SYSTEMS, "caption")
    assert drawn.startswith("<svg") and "2.00 ×" in drawn


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value
    assert percentile([], share) == 0
