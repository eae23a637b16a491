"""Nodes in network namespaces of their own, on a bridge, whose packets a test can lose without a word.

To cut a way, the sender is told a wrong hardware address for the receiver: its packets leave, and nobody
takes them. No refusal, no reset, no error tells of it, in one direction or in both. Needs Linux, root and
`ip`; where namespaces cannot be made, the tests that need them are skipped, and fail in CI.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import product
from types import TracebackType
from typing import Self

import pytest

NOBODY = "02:52:4b:00:00:ff"
DEVICE = "eth0"


class Wires:
    """The bridge and the namespaces. Use as a context."""

    def __init__(self) -> None:
        number = os.getpid() % 65_536
        self._stem = f"rk{number:x}"
        self._net = f"10.{100 + (number >> 8) % 100}.{number & 255}"
        self._nodes: dict[str, int] = {}
        self.host = f"{self._net}.254"
        """Where the test itself is reached from within."""

    def __enter__(self) -> Self:
        reason = _missing()
        if not reason:
            try:
                _ip("link", "add", self._bridge, "type", "bridge")
                _ip("address", "add", f"{self.host}/24", "dev", self._bridge)
                _ip("link", "set", self._bridge, "up")
            except subprocess.CalledProcessError as error:
                reason = f"no bridge can be made: {error.stderr.decode().strip()}"
        if reason:
            self._remove()
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def attach(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Make a namespace for a node; return its address, and the words that run a program in it."""
        number = len(self._nodes) + 1
        space, outer = self._space(name), f"{self._stem}p{number}"
        _ip("netns", "add", space)
        inner = ("type", "veth", "peer", "name", DEVICE, "address", _hardware(number), "netns", space)
        _ip("link", "add", outer, *inner)
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", space, "address", "add", f"{self._address(number)}/24", "dev", DEVICE)
        for device in (DEVICE, "lo"):
            _ip("-n", space, "link", "set", device, "up")
        self._nodes[name] = number
        for other in self._nodes:
            if other != name:
                self._open(name, other)
                self._open(other, name)
        return self._address(number), ("ip", "netns", "exec", space)

    def cut_off(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Let nothing through between these two groups, in either direction."""
        for here, there in product(tuple(one), tuple(other)):
            self.mute(here, there)
            self.mute(there, here)

    def mute(self, sender: str, receiver: str) -> None:
        """Let nothing through from one node to another; what comes back arrives."""
        self._know(sender, receiver, NOBODY)

    def heal(self) -> None:
        """Let everything through."""
        for sender, receiver in product(self._nodes, self._nodes):
            if sender != receiver:
                self._open(sender, receiver)

    @property
    def _bridge(self) -> str:
        return f"{self._stem}br"

    def _space(self, name: str) -> str:
        return f"{self._stem}-{name}"

    def _address(self, number: int) -> str:
        return f"{self._net}.{number}"

    def _open(self, sender: str, receiver: str) -> None:
        self._know(sender, receiver, _hardware(self._nodes[receiver]))

    def _know(self, sender: str, receiver: str, hardware: str) -> None:
        whom = (self._address(self._nodes[receiver]), "lladdr", hardware, "nud", "permanent", "dev", DEVICE)
        _ip("-n", self._space(sender), "neigh", "replace", *whom)

    def _remove(self) -> None:
        """Leave nothing behind; the ends of the wires go with the namespaces."""
        for name in self._nodes:
            subprocess.run(["ip", "netns", "delete", self._space(name)], capture_output=True, check=False)
        if shutil.which("ip"):
            subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)
        self._nodes.clear()


def _missing() -> str:
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    if shutil.which("ip") is None:
        return "there is no `ip` (package iproute2)"
    return "" if os.geteuid() == 0 else "only root makes network namespaces"


def _hardware(number: int) -> str:
    return f"02:52:4b:00:00:{number:02x}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)
