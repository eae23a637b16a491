"""The elastic demo, with a few thousand records: three real nodes, two more, one less, one lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import BENCH

DEMO = BENCH / "demo_elastic.py"


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_the_demo_moves_no_more_than_it_must_and_fails_no_request(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--small", "--data", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for change in ("node-4 joins", "node-5 joins", "node-1 leaves", "node-3 is lost"):
        assert f"  {change}: " in done.stdout
    assert "node-1 has ended by itself with exit code 0" in done.stdout
    assert "node-2, node-4, node-5 are left" in done.stdout
    assert "no request failed" in done.stdout
    assert "\033" not in done.stdout + done.stderr, "plain in a pipe"
