"""How much resident memory nodes take at most above what they had before. Linux only."""

from collections.abc import Mapping
from typing import Final

from harness.cluster import alive
from harness.resources import MB, forget_peak, memory

MIB: Final = float(1 << 20)
ALLOWED_MIB: Final = 64.0


class Growth:
    """Of some processes, by name, from now on. The kernel itself keeps the peak, so none is missed."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self.before = {name: memory(pid)["VmRSS"] for name, pid in pids.items()}
        for pid in pids.values():
            forget_peak(pid)

    def mib(self) -> dict[str, float]:
        """Return the growth up to the peak so far, in MiB, of those that still run."""
        found: dict[str, float] = {}
        for name, pid in self._pids.items():
            if alive(pid):
                found[name] = (memory(pid)["VmHWM"] - self.before[name]) * MB / MIB
        return found


def shown(growth: Mapping[str, float]) -> str:
    return " ".join(f"{each:.0f}" for each in growth.values()) + " MiB"
