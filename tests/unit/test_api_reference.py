"""The reference of the Python client says what the sources say."""

import subprocess
import sys

from tests.support.paths import ROOT

import ringkeep.client


def test_it_is_up_to_date() -> None:
    """If it is not: python scripts/api_reference.py."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "api_reference.py", "--check"], check=False)
    assert done.returncode == 0, "run: python scripts/api_reference.py"


def test_it_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in ringkeep.client.__all__ if f"\n### {name}\n" not in text]
    assert not missing
