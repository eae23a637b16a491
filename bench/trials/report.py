"""What a trial found: promises that were kept or not, figures, and both as a table and as JSON."""

import json
import subprocess
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import ringkeep
from harness.resources import machine
from systems.ringkeep_cluster import CORE


@dataclass(slots=True)
class Promise:
    """What must hold, what was found, and whether that is as it must be."""

    what: str
    must: str
    found: str
    kept: bool


@dataclass(slots=True)
class Report:
    """Of one trial. `figures`: by their name, of what is measured and not judged."""

    trial: str
    promises: list[Promise] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def judge(self, what: str, must: str, found: str, kept: bool) -> None:
        self.promises.append(Promise(what, must, found, kept))

    @property
    def kept(self) -> bool:
        """Whether every promise was kept; none at all is not enough."""
        return bool(self.promises) and all(each.kept for each in self.promises)

    def text(self) -> str:
        """Return the promises as a table, and the figures."""
        rows = [("promise", "must be", "found", "")]
        rows += [
            (each.what, each.must, each.found, "kept" if each.kept else "BROKEN") for each in self.promises
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines += [f"{name}: {value}" for name, value in self.figures.items()]
        return "\n".join(lines)

    def save(self, path: Path, data: Path, settings: dict[str, Any]) -> None:
        """Write all of it as JSON, with what the figures depend on. `data`: where the nodes kept theirs."""
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        )
        about = {
            "trial": self.trial, "date": date.today().isoformat(), "commit": commit.stdout.strip(),
            "version": ringkeep.__version__, "core": CORE, "settings": settings, "machine": machine(data),
        }  # fmt: skip
        promises = [
            {"what": each.what, "must": each.must, "found": each.found, "kept": each.kept}
            for each in self.promises
        ]
        path.write_text(
            json.dumps({"about": about, "promises": promises, "figures": self.figures}, indent=1) + "\n"
        )
