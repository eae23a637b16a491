"""What a machine gives, and what a process takes of it: disk, loopback, memory, processor. Linux only."""

import os
import random
import re
import socket
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


def written_bytes(pid: int) -> int:
    """Return how many bytes a process has caused to be written to the disk."""
    text = Path(f"/proc/{pid}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)", text, re.M)[1])  # type: ignore[index]  # the kernel writes it


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
