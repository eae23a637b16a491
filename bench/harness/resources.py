"""What a machine gives, and what a process takes of it: disk, loopback, memory, processor. Linux only."""

import contextlib
import os
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
STREAM_BYTES: Final = 1 << 20  # per write
MB: Final = 1e6


def memory(pid: int) -> dict[str, float]:
    """Return what a process has in memory now, and had at most since `forget_peak`; MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(kib) * 1024 / MB for name, kib in re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", text, re.M)}


def forget_peak(pid: int) -> None:
    """Let the peak be counted from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def busy_s() -> float:
    """Return the time that all processors together have worked since the machine started, for anybody."""
    columns = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, columns[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def written_bytes(pid: int) -> int:
    """Return how many bytes a process has caused to be written to the disk."""
    text = Path(f"/proc/{pid}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)", text, re.M)[1])  # type: ignore[index]  # the kernel writes it


def disk_mb(directory: Path) -> float:
    """Return what all files below a directory take of the disk. They may come and go meanwhile."""
    blocks = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            blocks += path.stat().st_blocks if path.is_file() else 0
    return blocks * 512 / MB


def disk_rate(directory: Path, size: int) -> float:
    """Write so many bytes to one file with one fsync at the end; return bytes per second."""
    block = random.Random(1).randbytes(STREAM_BYTES)
    path = directory / "stream"
    began = time.perf_counter()
    with path.open("wb", buffering=0) as stream:
        for _ in range(max(size // STREAM_BYTES, 1)):
            stream.write(block)
        os.fsync(stream.fileno())
    took = time.perf_counter() - began
    path.unlink()
    return size / took


READER: Final = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
room = bytearray(1 << 20)
while connection.recv_into(room):
    pass
connection.sendall(b"!")
"""


def loopback_rate(size: int) -> float:
    """Send so many bytes to another process over TCP; return bytes per second."""
    block = random.Random(1).randbytes(STREAM_BYTES)
    with socket.create_server((HOST, 0)) as server:
        reader = subprocess.Popen([sys.executable, "-c", READER, str(server.getsockname()[1])])
        connection, _ = server.accept()
        with connection:
            began = time.perf_counter()
            for _ in range(max(size // STREAM_BYTES, 1)):
                connection.sendall(block)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            took = time.perf_counter() - began
        reader.wait()
    return size / took


def machine(data: Path) -> dict[str, str]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        model = names[0].partition(":")[2].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": f"{os.cpu_count()} × {model}",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(data),
        "fdatasync of 4 KiB": f"{sync_us(data):.0f} µs (median)",
        "python": platform.python_version(),
    }


def file_system(path: Path) -> str:
    shown = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def sync_us(directory: Path) -> float:
    """How long the disk takes to make one small write durable."""
    times = []
    with (directory / "sync-probe").open("wb", buffering=0) as probe:
        for _ in range(50):
            probe.write(bytes(4_096))
            began = time.perf_counter()
            os.fdatasync(probe.fileno())
            times.append(time.perf_counter() - began)
    (directory / "sync-probe").unlink()
    return 1e6 * statistics.median(times)
