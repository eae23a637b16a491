"""One node that is alone (`ringkeep dev`), in a process of its own."""

import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from ringkeep.errors import StartError
from ringkeep.testing.key_space import KeySpace
from ringkeep.testing.process import HOST, NodeProcess, free_ports

ATTEMPTS: Final = 5
"""Somebody else may take the port that was free."""


class Node(KeySpace):
    """A node that is alone, with its data. Use it as a context, or `start` it and `close` it.

    `directory`: where its data is kept; by default in a temporary directory, which `close` removes. Start it
    in a thread that lives as long as it: on Linux it is killed when that thread ends.
    """

    def __init__(self, directory: Path | None = None) -> None:
        super().__init__()
        self._temporary = Path(tempfile.mkdtemp(prefix="ringkeep-")) if directory is None else None
        self.directory = directory or self._temporary or Path()
        self._new_process()
        self._was_ready = False

    def __enter__(self) -> "Node":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Its one endpoint, without a slash at the end."""
        return f"http://{self._process.http}"

    @property
    def endpoints(self) -> list[str]:
        return [self.url]

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """The last lines that it has printed."""
        return self._process.output

    def start(self) -> None:
        """Start it, also again after `kill` and `stop`, on the same port with the same data.

        Returns when it is ready; does nothing if it runs. Raises StartError.
        """
        for attempt in range(ATTEMPTS):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._process.launch()
            try:
                self._process.wait_ready()
            except StartError as error:
                self._process.end(signal.SIGKILL)
                if self._was_ready or " in use" not in str(error) or attempt == ATTEMPTS - 1:
                    raise
                self._new_process()
            else:
                self._was_ready = True
                return

    def kill(self) -> None:
        """kill -9; returns when it is gone. What it had acknowledged is there after `start`."""
        self._process.end(signal.SIGKILL)

    def stop(self) -> int | None:
        """Stop it in order, and return its exit code; None if it did not run."""
        return self._process.end(signal.SIGTERM)

    def pause(self) -> None:
        """Stop the process as it is (SIGSTOP): it answers nothing, and its connections stay open."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on (SIGCONT)."""
        self._process.signal(signal.SIGCONT)

    def restore(self) -> None:
        """Let it run, whatever was done to it; return when it is ready. Raises StartError."""
        if self.pid is not None:
            self.resume()
            self._process.wait_ready()
        self.start()

    def close(self) -> None:
        """Close its clients, end it, and remove a temporary directory."""
        self.close_clients()
        self._process.end(signal.SIGKILL if self._temporary is not None else signal.SIGTERM)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _new_process(self) -> None:
        http = f"{HOST}:{free_ports(1)[0]}"
        data = self.directory / "node"
        self._process = NodeProcess(
            ["dev", "--http", http, "--data", str(data)], http, self.directory / "output"
        )
