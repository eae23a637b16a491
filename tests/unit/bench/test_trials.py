"""How trials judge what they see: keys missing, repeated, out of place or invented are all noticed."""

import sys
from array import array

import pytest
from tests.support.paths import BENCH

sys.path.insert(0, str(BENCH))

from harness.load import Dated, percentile
from trials.due import Seen
from trials.felt import felt, worst_second
from trials.judge import Faults, Judge, key_of
from trials.report import Report

STOCK = [b"k%02d" % n for n in range(6)]


def judged(*keys: bytes, passing: frozenset[bytes] = frozenset()) -> tuple[int, int, int, int]:
    judge = Judge(STOCK, passing)
    for key in keys:
        judge.take([key])
    found = judge.end()
    return found.missing, found.twice, found.disordered, found.strange


def test_a_whole_listing_has_no_faults() -> None:
    assert judged(*STOCK) == (0, 0, 0, 0)
    assert Judge([]).end().none


@pytest.mark.parametrize(
    "keys, faults",
    [
        (STOCK[:2] + STOCK[3:], (1, 0, 0, 0)),
        (STOCK[:4], (2, 0, 0, 0)),
        ([*STOCK[:3], STOCK[2], *STOCK[3:]], (0, 1, 0, 0)),
        ([*STOCK[:3], STOCK[1], *STOCK[3:]], (0, 1, 1, 0)),
        ([STOCK[0], STOCK[2], STOCK[1], *STOCK[3:]], (1, 0, 1, 0)),
        ([*STOCK, b"k99"], (0, 0, 0, 1)),
        ([*STOCK, *STOCK], (0, 6, 5, 0)),
    ],
)  # fmt: skip
def test_each_fault_is_counted(keys: list[bytes], faults: tuple[int, int, int, int]) -> None:
    assert judged(*keys) == faults


def test_keys_that_come_and_go_may_be_listed_once_and_in_their_place() -> None:
    passing = frozenset({b"k01~", b"k99"})
    assert judged(*STOCK, passing=passing) == (0, 0, 0, 0)
    assert judged(*STOCK[:2], b"k01~", *STOCK[2:], b"k99", passing=passing) == (0, 0, 0, 0)
    assert judged(*STOCK[:2], b"k01~", b"k01~", *STOCK[2:], passing=passing) == (0, 1, 0, 0)
    assert judged(*STOCK[:3], b"k01~", *STOCK[3:], passing=passing) == (0, 0, 1, 0)


def test_faults_add_up_and_keep_some_examples() -> None:
    total = Faults()
    for number in range(9):
        total.add(Faults(missing=1, examples=[f"{number}"]))
    assert total.missing == 9 and total.examples == list("01234")


def test_a_key_is_cut_out_of_its_line() -> None:
    assert key_of(b'{"key":"k01","version":7}') == b"k01"
    with pytest.raises(ValueError, match="another form"):
        key_of(b'{"key_base64":"AA=="}')


def test_a_due_key_that_is_shown_is_noticed_by_reads_and_by_listings() -> None:
    seen = Seen()
    seen.take_read("a", 404)
    seen.take_listing("a", 200, b'{"items":[],"next":null}')
    assert not seen.readable and not seen.faults
    seen.take_read("b", 200)
    seen.take_listing("c", 200, b'{"items":[{"key":"c1"}],"next":null}')
    assert seen.readable == ["b by a read", "c1 by a listing"]
    seen.take_read("d", 503)
    seen.take_listing("d", 200, b'{"items":[],"next":"d7"}')
    assert len(seen.faults) == 2


def test_what_clients_feel_is_told_apart_by_time() -> None:
    tally = Dated(latencies=array("d"), at=array("d"))
    for number in range(1_000):
        tally.at.append(10 + number / 500)
        tally.latencies.append(0.001 if number < 500 else 0.005)
    assert felt(tally, 10, 11).p99 == 1.0
    assert felt(tally, 11, 12).p50 == 5.0 and felt(tally, 11, 12).requests == 500
    assert worst_second(tally, 10, 12) == 5.0
    assert percentile([], 0.99) == 0


def test_a_report_without_promises_keeps_none() -> None:
    report = Report("t")
    assert not report.kept
    report.judge("a", "0", "0", True)
    assert report.kept
    report.judge("b", "0", "1", False)
    assert not report.kept and "BROKEN" in report.text()
