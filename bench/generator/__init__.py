"""The generator, a program in C in this folder: builds it, runs it, reads what it prints.

It drives every system with the same closed loop (see main.c), and only the bytes on the wire differ. A
generator in Python would use more of the machine than the servers do.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from harness.cluster import Trouble
from harness.load import Endpoint

SOURCES: Final = Path(__file__).parent
ABOUT: Final = "bench/generator, one thread, C"


@dataclass(frozen=True, slots=True)
class Order:
    """One run. `load`: load, put, get or mixed; `generation`: higher than that of every earlier run."""

    load: str
    connections: int
    seconds: float
    keys: int
    generation: int
    first: int = 0
    value_bytes: int = 128  # another size only of Ringkeep


def build(directory: Path) -> Path:
    """Compile the generator; return where it is. Raises Trouble."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Trouble("missing: cc (apt-get install gcc libc6-dev); or run `scripts/setup.sh --bench`")
    program = directory / "generator"
    sources = sorted(map(str, SOURCES.glob("*.c")))
    command = [compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", str(program), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"the generator cannot be compiled:\n{done.stderr[-2_000:]}")
    return program


def run(
    program: Path, system: str, endpoints: list[Endpoint], order: Order, mark: Callable[[], None]
) -> dict[str, Any]:
    """Run it once; return its figures. Calls `mark` right before and right after what is measured.

    Keys: requests, late, seconds, cpu, p50_ms, p99_ms, p999_ms, max_ms, faults (how many answers were wrong
    or missing), fault (the first of them). Raises Trouble.
    """
    command = [
        *(str(program), system, order.load, str(order.connections), str(order.seconds), str(order.keys)),
        *(str(order.generation), str(order.first), str(order.value_bytes)),
        *(f"{each.host}:{each.port}" for each in endpoints),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            _expect(process.stdout, "READY")
            mark()
            process.stdin.write("\n")
            process.stdin.flush()
            found = _expect(process.stdout, "RESULT")
            mark()
            for word in ("LATENCIES", "CHECKED"):
                found |= _expect(process.stdout, word)
        except Trouble as trouble:
            process.kill()
            raise Trouble(f"{trouble}: {process.stderr.read()[-500:]}") from None
        except BaseException:
            process.kill()
            raise
    return found


def _expect(stream: IO[str], word: str) -> dict[str, Any]:
    line = stream.readline()
    if not line.startswith(word):
        raise Trouble(f"the generator printed {line!r} instead of {word}")
    found: dict[str, Any] = json.loads(line[len(word) :] or "{}") if "{" in line else {}
    return found
