"""Starts and asks the processes of clients (worker.py)."""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from callers.kinds import Kind
from harness.cluster import Trouble
from harness.load import Endpoint

BENCH: Final = Path(__file__).parent.parent
END_S: Final = 5.0


class Process:
    """A client in a process of its own. `homes`: by key, the index of its primary among `nodes`.

    What the client says goes to the file `log`. Every method raises Trouble if the process ends.
    """

    def __init__(
        self, kind: Kind, python: Path, nodes: Sequence[Endpoint], homes: Mapping[str, int], log: Path
    ) -> None:
        self.kind = kind
        self._log = log
        told = json.dumps(asdict(kind) | {"nodes": nodes, "homes": homes})
        # Without the compiled core of the servers: what pip installs for a client has none.
        hidden = ("PYTHONPATH", "RINGKEEP_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", "callers.worker", told], cwd=BENCH, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        self.pid = self._process.pid

    def started(self) -> None:
        """Wait until it takes orders."""
        self._answer()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Have an order carried out; return the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer, which is missing then, says more
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.end()
            raise Trouble(f"{self.kind.name} ended:\n{self._log.read_text(errors='replace')[-2_000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """End it. Harmless to repeat, and never raises."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
