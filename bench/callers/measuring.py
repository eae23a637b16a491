"""Runs every client against its system in turn, round by round, and reads what all of them used."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from callers.kinds import Kind
from callers.processes import Process
from harness.cluster import Trouble
from harness.resources import busy_s, cpu_s
from reporting.figures import Figure
from reporting.report import Sample
from systems import System

LOADS: Final = ("put", "get")
WARM_UP_S: Final = 0.3


class Measuring:
    """Clients that are open, and what was written last of each key of their systems.

    `keys`: so many in each system; `warm_up` writes them all.
    """

    def __init__(self, systems: Mapping[str, System], clients: Sequence[Process], keys: int) -> None:
        self._systems = systems
        self._clients = clients
        self._generation = 0
        self._written = {name: [0] * keys for name in systems}

    def warm_up(self) -> None:
        """Write every key of every system; then a short run of each kind. Raises Trouble if one is wrong."""
        for client in self._clients:
            written = self._written[client.kind.system]
            if 0 in written:
                self._checked(client, "put", least=len(written))
            for load in LOADS:
                self._checked(client, load)

    def _checked(self, client: Process, load: str, least: int = 1) -> None:
        sample = self.run(client, load, WARM_UP_S, least)
        if sample.faults:
            raise Trouble(f"{client.kind.name}, warming up with {load}: {'; '.join(sample.faults)}")

    def rounds(self, count: int, seconds: float) -> list[Figure]:
        """Return the figures of both loads. Prints each run."""
        figures = [Figure(load, 0, []) for load in LOADS]
        for number in range(1, count + 1):
            for figure in figures:
                figure.rounds.append({})
                for client in self._clients:
                    sample = self.run(client, figure.load, seconds)
                    figure.rounds[-1][client.kind.name] = sample
                    print(line(number, figure.load, client.kind, sample), flush=True)
        return figures

    def run(self, client: Process, load: str, seconds: float, least: int = 1) -> Sample:
        """One run of one client, of `least` calls at least.

        A run of writes begins a generation, and writes the keys from the first on.
        """
        system = client.kind.system
        written = self._written[system]
        if load == "put":
            self._generation += 1
            client.ask("prepare", load=load, generations=[self._generation] * len(written))
        else:
            client.ask("prepare", load=load, generations=written)
        before = self._used(client)
        found = client.ask("go", seconds=seconds, least=least)
        servers, own, idle, busy = (
            after - then for then, after in zip(before, self._used(client), strict=True)
        )
        if load == "put":
            reached = min(found["calls"], len(written))
            written[:reached] = [self._generation] * reached
        return Sample(
            requests=found["calls"],
            seconds=found["seconds"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            server_cpu=servers,
            generator_cpu=found["cpu_s"],
            idle_cpu=idle,
            foreign_cpu=max(busy - servers - own - idle, 0.0),
            faults=faults_of(found),
        )

    def _used(self, client: Process) -> tuple[float, float, float, float]:
        """Processor time so far: of its servers, its own, of all that wait, of the machine."""
        own = self._systems[client.kind.system]
        others = [pid for system in self._systems.values() if system is not own for pid in system.pids()]
        others += [other.pid for other in self._clients if other is not client]
        return sum(map(cpu_s, own.pids())), cpu_s(client.pid), sum(map(cpu_s, others)), busy_s()


def faults_of(found: Mapping[str, Any]) -> list[str]:
    """What was wrong with a run, in words."""
    if found["faults"]:
        return [f"{found['faults']} wrong answers, the first: {found['fault']}"]
    return []


def line(number: int, load: str, kind: Kind, sample: Sample) -> str:
    """One run in words."""
    void = f" VOID {sample.faults}" if sample.faults else ""
    return (
        f"round {number}, {load}, {kind.name}: {sample.generator_us:,.0f} µs of CPU a call,"
        f" servers {sample.server_us:,.0f} µs, {sample.rate:,.0f}/s{void}"
    )
