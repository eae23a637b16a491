"""What the benchmark of several systems makes of its rounds, and the page that it writes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import BENCH, ROOT

sys.path.insert(0, str(BENCH))

from reporting import charts, page
from reporting.figures import (
    Figure,
    as_json,
    comparison,
    from_json,
    grid,
    median_share,
    rates,
    shown,
    void_runs,
)
from reporting.report import Sample

SYSTEMS = ["ringkeep", "redis"]


def sample(rate: float, **more: Any) -> Sample:
    known: dict[str, Any] = {"p50_ms": 1.0, "p99_ms": 5.0, "p999_ms": 9.0, "server_cpu": 1.0}
    known |= {"generator_cpu": 0.1, "idle_cpu": 0.04, "foreign_cpu": 0.02}
    return Sample(requests=int(rate * 2), seconds=2.0, **(known | more))


def figure(*rounds: tuple[Sample, Sample], load: str = "put", connections: int = 64) -> Figure:
    return Figure(load, connections, [dict(zip(SYSTEMS, each, strict=True)) for each in rounds])


def result(*figures: Figure, **run: Any) -> dict[str, Any]:
    about = {"version": "V 1", "settings": "three nodes", "writes": "a majority", "reads": "the primary"}
    idle = {"processes": 3, "empty_mb": 10.0, "loaded_mb": 20.0}
    facts = {
        "date": "2026-01-02",
        "commit": "abc",
        "rounds": 5,
        "seconds": 2.0,
        "keys": 20_000,
        "took_s": 600.0,
    }
    return {
        "run": facts | run,
        "machine": {"cores": 2, "cpu": "a processor"},
        "systems": dict.fromkeys(SYSTEMS, about),
        "figures": as_json(figures),
        "idle": dict.fromkeys(SYSTEMS, idle),
    }


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was four times slower in the second round; that says nothing of either system."""
    found = figure((sample(2_000), sample(1_000)), (sample(500), sample(250)), (sample(900), sample(300)))
    assert found.ratios("ringkeep", "redis") == [2.0, 2.0, 3.0]
    assert "2.00 (2.00–3.00)" in comparison([found], "ringkeep", ["redis"])


def test_a_wrong_answer_voids_the_run_of_its_system_only() -> None:
    found = figure((sample(9_000, faults=["1 wrong"]), sample(1_000)), (sample(2_000), sample(3_000)))
    assert found.median("ringkeep", "rate") == 2_000
    assert found.median("redis", "rate") == 2_000
    assert found.ratios("ringkeep", "redis") == [2_000 / 3_000]
    assert void_runs([found]) == ["ringkeep, put 64, round 1: 1 wrong"]


def test_nothing_is_said_without_a_valid_run() -> None:
    found = figure((sample(9_000, faults=["1 wrong"]), sample(1_000)))
    assert found.verdict("ringkeep") == "void" and found.verdict("redis") == ""
    assert found.median("ringkeep", "rate") is None
    assert rates([found], SYSTEMS).splitlines()[2].split("|")[2].strip() == "–"


def test_nothing_is_claimed_where_the_generator_is_what_is_measured() -> None:
    found = figure((sample(2_000), sample(9_000, generator_cpu=1.5)))
    assert found.verdict("redis").startswith("no claim") and found.verdict("ringkeep") == ""
    assert "9,000°" in rates([found], SYSTEMS) and "2,000°" not in rates([found], SYSTEMS)
    assert "0.22°" in comparison([found], "ringkeep", ["redis"])


def test_late_answers_count_in_the_cost_only() -> None:
    found = sample(1_000, late=2_000)
    assert found.rate == 1_000
    assert found.server_us == pytest.approx(250)


def test_what_is_kept_can_be_read_again() -> None:
    figures = [figure((sample(2_000, late=3), sample(1_000, faults=["no"]))), figure(load="get")]
    assert from_json(json.loads(json.dumps(as_json(figures)))) == figures


def test_how_busy_the_machine_was() -> None:
    found = figure((sample(1, foreign_cpu=0.4), sample(1, foreign_cpu=0.8)))
    assert median_share([found], "foreign_cpu", 2) == pytest.approx(0.15)
    assert median_share([], "foreign_cpu", 2) == 0.0


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.021, "0.02"), (12.34, "12.3"), (4321.0, "4,321")]
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_a_table_is_aligned() -> None:
    lines = grid(["load", "a"], [["x", "1,000"], ["longer", "2"]]).splitlines()
    assert lines == ["| load   |     a |", "|--------|------:|", "| x      | 1,000 |", "| longer |     2 |"]


# --- the page ---------------------------------------------------------------------------------------------


def text_of(kept: dict[str, Any]) -> str:
    return " ".join(page.page(kept).replace("> ", "").split())


def test_a_short_run_and_a_busy_machine_are_said() -> None:
    quiet = result(figure((sample(2_000), sample(1_000))))
    assert "short run" not in text_of(quiet) and "busy with other work" not in text_of(quiet)
    busy = sample(2_000, foreign_cpu=0.8)
    assert "which took 20%" in text_of(result(figure((busy, busy))))
    assert "This is a short run** (2 rounds of 1 s)" in text_of(
        result(figure((busy, busy)), rounds=2, seconds=1.0)
    )


def test_void_runs_are_named_on_the_page() -> None:
    assert "No run of this page was void" in text_of(result(figure((sample(2), sample(1)))))
    wrong = result(figure((sample(2, faults=["a read found something else"]), sample(1))))
    assert "ringkeep, put 64, round 1: a read found something else." in text_of(wrong)


def test_memory_is_shown_if_it_was_measured() -> None:
    kept = result(figure((sample(2), sample(1))))
    assert "was not measured" in text_of(kept)
    each = {"empty_mb": 1.0, "loaded_mb": 1_234.0, "disk_mb": 2.0, "seconds": 3.0}
    kept["memory"] = {"keys": 1_000_000, "connections": 64, "systems": {"ringkeep": each}}
    assert "1,234" in text_of(kept) and "was not measured" not in text_of(kept)
    assert page.memory_groups(kept)["1,000,000 keys, loaded from empty"] == {"ringkeep": 1_234.0}


def test_a_new_run_replaces_everything(tmp_path: Path) -> None:
    page.write(tmp_path, result(figure((sample(2_000), sample(1_000)))))
    page.write(tmp_path, result(figure((sample(7_777), sample(1_000)))))
    assert "7,777" in (tmp_path / "benchmarks.md").read_text()
    assert "2,000" not in (tmp_path / "benchmarks.md").read_text()
    kept = json.loads((tmp_path / "benchmarks" / "reference.json").read_text())
    assert kept["figures"][0]["medians"]["ringkeep"]["rate"] == 7_777
    assert (tmp_path / "benchmarks" / "throughput-latency.svg").read_text().startswith("<svg")


def test_the_page_is_what_the_tool_makes_of_the_kept_run() -> None:
    """Nobody has edited it by hand, and nobody has changed the tool without writing it anew (`--page`)."""
    folder = ROOT / "docs" / "benchmarks"
    kept = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page.page(kept)
    for name, drawing in page.drawings(kept).items():
        assert (folder / f"{name}.svg").read_text(encoding="utf-8") == drawing, name


# --- charts -----------------------------------------------------------------------------------------------


def test_an_axis_holds_all_values() -> None:
    scale = charts.Scale([3.0, 70.0], 0, 100)
    assert scale.ticks == [2, 5, 10, 20, 50, 100]
    assert scale(2) == pytest.approx(0) and scale(100) == pytest.approx(100)
    assert charts.Scale([3.0, 70_000.0], 0, 100).ticks == [10, 100, 1_000, 10_000, 100_000]
    assert charts.Scale([], 0, 100).ticks == [1, 2]


def test_every_system_and_load_is_drawn() -> None:
    figures = [
        figure((sample(2_000 * count), sample(1_000)), load=load, connections=count)
        for load in ("put", "get")
        for count in (1, 64)
    ]
    drawn = charts.throughput_latency(figures, SYSTEMS)
    assert drawn.count("<polyline") == 4 and drawn.count("<circle") == 8
    assert charts.percentiles(figures, SYSTEMS, 64).count("<circle") == 12


def test_a_system_without_a_valid_run_leaves_no_point() -> None:
    found = figure((sample(2_000), sample(1_000, faults=["no"])))
    assert charts.throughput_latency([found], SYSTEMS).count("<circle") == 1
    assert "redis" not in charts.percentiles([found], SYSTEMS, 64).split("PUT")[1]


def test_labels_do_not_cover_each_other() -> None:
    assert charts.apart([100, 99, 50]) == [100, 100 - charts.TEXT_HEIGHT, 50]


def test_the_longest_bar_is_the_largest_value() -> None:
    drawn = charts.bars("title", {"PUT": {"ringkeep": 50.0, "etcd": 100.0}}, "µs")
    assert 'width="230.0"' in drawn and 'width="460.0"' in drawn
