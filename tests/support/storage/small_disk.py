"""A file system of a few megabytes, for nodes that run out of room. Needs root on Linux."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest


class SmallDisk:
    """A tmpfs mounted on a directory for as long as the block lasts; use it outside of the cluster's.

    Skips the test, with the reason, where it cannot be mounted; in CI that is a failure.
    """

    def __init__(self, directory: Path, mib: int) -> None:
        self._directory = directory
        self._mib = mib

    def __enter__(self) -> "SmallDisk":
        self._directory.mkdir(parents=True)
        try:
            self._mount("tmpfs", "-t", "tmpfs", "-o", f"size={self._mib}m")
        except (OSError, subprocess.CalledProcessError) as error:
            if os.environ.get("CI") and sys.platform == "linux":
                raise
            pytest.skip(f"no file system can be mounted here: {error}")
        return self

    def grow(self, mib: int) -> None:
        """Give it more room, with everything that is on it."""
        self._mount("tmpfs", "-o", f"remount,size={mib}m")

    def _mount(self, source: str, *options: str) -> None:
        command = ["mount", *options, source, str(self._directory)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: a node that was killed a moment ago may still be about to let go.
        subprocess.run(["umount", "--lazy", str(self._directory)], check=True, capture_output=True)
