"""The demo, with a few thousand records: five real nodes, two kills during the import, three comparisons."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import BENCH

DEMO = BENCH / "demo.py"


@pytest.mark.cluster
def test_the_demo_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--small", "--data", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill -9") >= 2
    assert "no request failed" in done.stdout
