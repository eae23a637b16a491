"""Where things of the repository are, whatever folder a test is moved to."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BENCH = ROOT / "bench"
