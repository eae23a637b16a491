"""`ringkeep check`: what it prints, and how it ends."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support.paths import DOCS
from tests.support.sim.histories import Load, delete, get, made, put, untold

from ringkeep.cli import main
from ringkeep.sim.histories import checker
from ringkeep.sim.histories.history import Operation, write_history

GOOD = [put(1, 2, b"a", 1), put(3, None, b"b"), get(4, 5, b"a", 1), delete(6, 7, outcome="rejected")]
STALE = [put(10, 20, b"a", 1), put(30, 40, b"b", 2), get(50, 60, b"a", 1)]


def file(tmp_path: Path, history: Iterable[Operation]) -> str:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(write_history(history)))
    return str(path)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out.splitlines()


def error(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("ringkeep: ")
    assert shown.err.count("\n") == 1
    return shown.err


def test_a_good_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", file(tmp_path, GOOD)]) == 0
    first, second = lines(capsys)
    assert first == "4 operations on 1 key: linearizable"
    assert second.startswith("1 of unknown outcome, 1 rejected; ")


def test_a_bad_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.run(["check", file(tmp_path, STALE)]) == 1
    shown = lines(capsys)
    assert shown[0] == "3 operations on 1 key: NOT LINEARIZABLE"
    assert shown[2:] == [
        "",
        'key "k": version 1 after version 2 (stale, lost, or from the future)',
        "",
        "  line  client  operation  time →                      answer",
        '     1      10  put "a"    ├────┤                      ok, version 1',
        '     2      30  put "b"              ├────┤            ok, version 2',
        '     3      50  get                            ├────┤  "a", version 1',
    ]


@pytest.mark.parametrize(("columns", "most"), [("20", 80), ("80", 80), ("110", 110), ("400", 120)])
def test_the_time_line_fits_the_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
    most: int,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    history = [put(n, n + 1, b"long value %d" % n, 99_000_000 - n) for n in range(1, 60, 2)]
    assert main.run(["check", file(tmp_path, [*history, get(99, 100, b"long value 1", 5)])]) == 1
    assert max(map(len, lines(capsys))) <= most


def test_one_key_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = [*STALE, *made(Load(20, clients=2, keys=1), 1)]
    name = file(tmp_path, history)
    assert main.run(["check", name, "--key", "key-0"]) == 0
    assert lines(capsys)[0] == "20 operations on 1 key: linearizable"
    assert main.run(["check", name, "--key", "k"]) == 1
    assert lines(capsys)[0] == "3 operations on 1 key: NOT LINEARIZABLE"
    assert main.run(["check", name, "--key", "K"]) == 2
    assert "no operation on key K" in error(capsys)


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", file(tmp_path, GOOD), "--json"]) == 0
    good = json.loads("\n".join(lines(capsys)))
    assert good.pop("seconds") >= 0
    outcomes = {"ok": 2, "failed": 0, "rejected": 1, "unknown": 1}
    assert good == {"verdict": "linearizable", "operations": 4, "keys": 1, "outcomes": outcomes}
    assert main.run(["check", file(tmp_path, STALE), "--json"]) == 1
    bad = json.loads("\n".join(lines(capsys)))
    assert (bad["verdict"], bad["key"]) == ("violation", "k")
    assert [each.pop("line") for each in bad["contradiction"]] == [1, 2, 3]
    assert [json.loads(each) for each in write_history(STALE)] == bad["contradiction"]


def test_undecided_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY_CONFIGURATIONS", "CONFIGURATIONS", "LEAST_CONFIGURATIONS"):
        monkeypatch.setattr(checker, name, 20)
    name = file(tmp_path, untold(made(Load(300, clients=8, keys=2), 1)))
    assert main.run(["check", name]) == 4
    shown = lines(capsys)
    assert shown[0] == "300 operations on 2 keys: UNDECIDED"
    assert "too much is unknown" in shown[-1]
    assert main.run(["check", name, "--json"]) == 4
    report = json.loads("\n".join(lines(capsys)))
    assert report["verdict"] == "undecided"
    assert "too much is unknown" in report["reason"]


def test_an_empty_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", file(tmp_path, [])]) == 0
    assert lines(capsys)[0] == "0 operations on 0 keys: linearizable"


def test_what_cannot_be_read_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_bytes(b"".join(write_history(GOOD)) + b'{"client": 1}\n')
    assert main.run(["check", str(wrong)]) == 2
    assert error(capsys) == f"ringkeep: {wrong}:5: missing field `kind`\n"
    assert main.run(["check", str(tmp_path / "none")]) == 2
    assert "No such file" in error(capsys)
    assert main.run(["check", str(tmp_path)]) == 2
    assert "Is a directory" in error(capsys)
    assert main.run(["check"]) == 2
    assert "ringkeep check --help" in error(capsys)


def test_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ringkeep.cli.main", "check", "-"]

    def run(data: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, input=data, capture_output=True, timeout=60, env=os.environ)

    assert run(b"".join(write_history(GOOD))).returncode == 0
    assert run(b"".join(write_history(STALE))).returncode == 1
    wrong = run(b"\0\xff")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr.startswith(b"ringkeep: standard input:1: not JSON")


def test_the_example_of_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "histories.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0]
    expected = page.split("$ ringkeep check history.jsonl\n")[1].split("```")[0]
    (tmp_path / "history.jsonl").write_text(example, encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "100")
    assert main.run(["check", str(tmp_path / "history.jsonl")]) == 1
    timed = re.compile(r"\d+\.\d s$", re.MULTILINE)
    assert timed.sub("", capsys.readouterr().out) == timed.sub("", expected)
