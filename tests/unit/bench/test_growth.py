"""What the benchmark of growth measures where, and the page that it writes."""

import dataclasses
import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.paths import BENCH, ROOT

sys.path.insert(0, str(BENCH))

import growth
from growing import control_plane, data_plane, dimensions
from growing.dimensions import Dimension, Point
from harness.cluster import Trouble
from reporting import control_page, growth_page
from reporting.figures import Figure, as_json, from_json
from reporting.report import Sample
from ringkeep.core.protocol import limits
from ringkeep.http.limits import BATCH_BYTES
from trials.stock import BATCH

NAMES = growth.NAMES


def sample(rate: float, **more: Any) -> Sample:
    known: dict[str, Any] = {"p50_ms": 1.0, "p99_ms": 5.0, "p999_ms": 9.0, "server_cpu": 1.0}
    known |= {"generator_cpu": 0.1, "idle_cpu": 0.0, "foreign_cpu": 0.02}
    return Sample(requests=int(rate * 2), seconds=2.0, **(known | more))


def part(name: str, rates: dict[int, Sample], rounds: int = 3, **run: Any) -> dict[str, Any]:
    """What is kept of a dimension: every round found the same."""
    found = Figure("put", 0, [{str(at): each for at, each in rates.items()} for _ in range(rounds)])
    facts = {"date": "2026-01-02", "commit": "abc", "core": "compiled", "rounds": rounds, "seconds": 2.0}
    facts |= {"took_s": 60.0, "machine": {"cores": 2, "cpu": "a processor"}}
    return {
        "axis": name,
        "points": {str(at): dataclasses.asdict(Point(at)) for at in rates},
        "left_out": {},
        "figures": as_json([found]),
        "run": facts | run,
    }


def text_of(result: dict[str, Any]) -> str:
    return " ".join(growth_page.page(result, NAMES).replace("> ", "").split())


# --- dimensions -------------------------------------------------------------------------------------------


def places(name: str, quick: bool = False, reference: bool = True) -> list[int]:
    return [point.at for point in dimensions.all_of(quick, reference)[name].points]


def test_the_reference_goes_from_end_to_end() -> None:
    assert places("keys") == [100_000, 1_000_000, 10_000_000]
    assert (places("values")[0], places("values")[-1]) == (16, limits.VALUE_BYTES)
    assert (places("partitions")[0], places("partitions")[-1]) == (16, 4_096)
    assert (places("nodes")[0], places("nodes")[-1]) == (3, 12)
    assert control_plane.NODES[-1] == 200 and control_plane.PARTITIONS[-1] == 4_096


def test_what_a_shorter_run_leaves_out_has_a_reason() -> None:
    whole = dimensions.all_of(False, True)
    for quick, reference in ((True, False), (False, False)):
        for name, each in dimensions.all_of(quick, reference).items():
            if name == "keys" and quick:
                continue  # it has points of its own
            assert {point.at for point in each.points} | set(each.left_out) == {
                point.at for point in whole[name].points
            } | set(whole[name].left_out)
            assert all(each.left_out.values())
    assert list(dimensions.all_of(False, False)["keys"].left_out) == [10_000_000]


def test_connections_are_as_many_as_descriptors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 20_000))
    found = dimensions.all_of(False, True)["connections"]
    assert [point.at for point in found.points] == [10, 100]
    assert found.left_out[10_000] == "a process may open 1,024 descriptors here"


def test_every_point_can_be_asked_of_the_generator() -> None:
    for each in dimensions.all_of(False, True).values():
        for point in each.points:
            assert point.keys >= point.connections, "each connection has keys of its own"
            assert point.value_bytes >= 16, "a value tells its key and its run"
            assert point.nodes <= 16, "the generator knows so many addresses"
            assert point.keys < 100_000_000, "a key has eight digits"


def test_what_is_loaded_is_what_the_generator_reads() -> None:
    loaded = data_plane.Loaded("key-", 10, 32, generation=7)
    assert loaded.key(3) == "key-00000003"
    assert loaded.value(3) == "00000003-000007-00000001-vvvvvvv"
    assert dataclasses.replace(loaded, value_bytes=16).value(3) == "00000003-000007-"
    largest = dataclasses.replace(loaded, count=1_000, value_bytes=data_plane.BATCHED_BYTES)
    assert len(largest.puts(range(BATCH), None)) < BATCH_BYTES


# --- order and failures -----------------------------------------------------------------------------------


def measured(
    monkeypatch: pytest.MonkeyPatch, dimension: Dimension, failing: tuple[int, ...] = ()
) -> tuple[list[int], list[Figure]]:
    """Two rounds of clusters that are not there. Return the order of the places, and the figures."""
    order = []

    def measure(_: data_plane.Measuring, point: Point) -> dict[str, Sample]:
        order.append(point.at)
        if point.at in failing:
            raise Trouble("no free ports\nand more")
        return dict.fromkeys(data_plane.LOADS, sample(1_000))

    monkeypatch.setattr(data_plane.Measuring, "_measure", measure)
    measuring = data_plane.Measuring(Path("generator"), Path("nowhere"), 1.0)
    return order, measuring.run(dimension, 2)


def test_rounds_go_to_and_fro_unless_each_point_adds_to_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = [Point(1), Point(2), Point(3)]
    assert measured(monkeypatch, Dimension("nodes", "nodes", points))[0] == [1, 2, 3, 3, 2, 1]
    upwards = Dimension("keys", "keys", points, upwards=True)
    assert measured(monkeypatch, upwards)[0] == [1, 1, 2, 2, 3, 3]


def test_a_point_that_fails_is_left_out_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    dimension = Dimension("nodes", "nodes", [Point(1), Point(2), Point(3)])
    order, figures = measured(monkeypatch, dimension, failing=(2,))
    assert order == [1, 2, 3, 3, 1], "it is not tried again"
    assert dimension.left_out == {2: "no free ports"}
    assert [list(each) for each in figures[0].rounds] == [["1", "3"], ["3", "1"]]


# --- the control plane ------------------------------------------------------------------------------------


def test_a_refused_connection_is_noticed_at_once_and_a_silent_node_when_it_is_suspected() -> None:
    row = control_plane.measure(1, [5], [64])[0]
    for who in ("node", "controller"):
        assert row[f"{who}_refused_noticed_ms"] < limits.HEARTBEAT_MS
        assert limits.SUSPECT_AFTER_MS <= row[f"{who}_silent_noticed_ms"] < limits.SUSPECT_AFTER_MS + 100
        worked = row[f"{who}_silent_planned_ms"] + row[f"{who}_silent_encoded_ms"]
        assert row[f"{who}_silent_total_ms"] == pytest.approx(row[f"{who}_silent_noticed_ms"] + worked)
    assert row["join_planned_ms"] > 0 and row["bytes"] > row["new_bytes"]
    shown = control_page.section({"rows": [row], "run": {"rounds": 1}})
    assert "**Not included**: the write of the map to ZooKeeper" in shown
    assert f"{limits.SUSPECT_AFTER_MS:,} ms" in " ".join(shown.split())
    assert control_page.chart([row]).count("<polyline") == 3


# --- the page ---------------------------------------------------------------------------------------------


def test_bounds_say_how_far_it_is_within_them() -> None:
    felt = {100_000: sample(1_000), 10_000_000: sample(790, p99_ms=5.9)}
    text = text_of({"keys": part("keys", felt)})
    assert "100,000 → 10,000,000 keys, PUT | requests per second | 0.79 × | **no** |" in text
    assert "100,000 → 10,000,000 keys, PUT | p99 | 1.18 × | yes |" in text


def test_nodes_are_compared_by_what_requests_cost() -> None:
    """Twelve nodes on one machine answer half as many requests, with half of the processor time."""
    text = text_of({"nodes": part("nodes", {3: sample(1_000), 12: sample(500, server_cpu=0.5)})})
    assert "3 → 12 nodes, PUT | requests per CPU second | 1.00 × | yes |" in text
    assert growth_page.Bound("nodes", "rate", "").holds(3.0), "better is allowed"
    assert growth_page.Bound("nodes", "p99_ms", "").holds(0.1), "better is allowed"


def test_what_is_missing_is_said_and_how_to_measure_it() -> None:
    text = text_of({"keys": part("keys", {1: sample(1), 2: sample(1)})})
    assert "Not measured yet: values, partitions, nodes, connections, control" in text
    assert 'ARGS="--reference --missing"' in text
    assert "Not measured yet" not in growth_page.page({"keys": part("keys", {1: sample(1)})}, ["keys"])


def test_left_out_and_void_are_named() -> None:
    kept = part("values", {16: sample(1_000), 4 << 20: sample(10, faults=["no answer"])})
    kept["left_out"] = {"1048576": "this was a short run"}
    text = text_of({"values": kept})
    assert "- 1 MiB: not measured: this was a short run." in text
    assert "Void in this run (3), by the place on the axis: 4194304, put 0, round 1: no answer;" in text
    assert "| 4 MiB | void |" in text


def test_short_runs_and_a_busy_machine_are_said_of_the_dimension() -> None:
    quiet = part("keys", {1: sample(1), 2: sample(1)})
    assert "Short runs" not in text_of({"keys": quiet}) and "was busy" not in text_of({"keys": quiet})
    busy = part("nodes", {3: sample(1, foreign_cpu=0.8)}, rounds=1)
    text = text_of({"keys": quiet, "nodes": busy})
    assert "Short runs: nodes." in text and "busy with other work during: nodes." in text
    assert "20.0%" in text


def test_results_are_kept_after_each_dimension_and_read_again(tmp_path: Path) -> None:
    result = {"keys": part("keys", {1: sample(2_000), 2: sample(7_777)})}
    growth_page.write(tmp_path, result, NAMES)
    assert growth.read(growth_page.kept_in(tmp_path)) == result
    assert from_json(result["keys"]["figures"])[0].median("2", "rate") == 7_777
    drawn = (tmp_path / "growth" / "keys.svg").read_text()
    assert drawn.startswith("<svg") and drawn.count("<circle") == 6
    assert "7,777" in (tmp_path / "growth.md").read_text()
    assert growth.read(tmp_path / "nowhere") == {}


def test_the_page_is_what_the_tool_makes_of_the_kept_run() -> None:
    """Nobody has edited it by hand, and nobody has changed the tool without writing it anew (`--page`)."""
    docs = ROOT / "docs"
    kept = json.loads(growth_page.kept_in(docs).read_text(encoding="utf-8"))
    assert (docs / "growth.md").read_text(encoding="utf-8") == growth_page.page(kept, NAMES)
    for name, drawing in growth_page.drawings(kept).items():
        assert (docs / "growth" / f"{name}.svg").read_text(encoding="utf-8") == drawing, name
