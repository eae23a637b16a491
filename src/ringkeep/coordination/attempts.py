"""Records why connecting to ZooKeeper fails: the last cause per server, from kazoo's log.

kazoo retries for ever, and reports the cause of a failure only in its log. So each client gets its own
logger, whose records go only here. Knows nothing of sessions.
"""

import logging
from typing import Final

ATTEMPT: Final = "Connecting to "
SUCCESS: Final = "Zookeeper connection established"
UNRESOLVED: Final = "Cannot resolve "
NO_CAUSE: Final = ("Transition to CONNECTING", "Failed connecting to Zookeeper", "Session has expired")
"""Logged beside a cause, or not a failure to connect."""

PREFIXES: Final = ("Connection dropped: ", "Connection time-out: ", "socket connection error: ")
CLOSED: Final = "socket connection broken"
TURNED_AWAY: Final = (
    "it closes the connection without an answer: it does not serve (no majority of its ensemble, or still"
    " starting), or holds less than this node has seen (wiped, or restored from an older copy)"
)


class Attempts(logging.Handler):
    """Takes the log records of one kazoo client, in its threads."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.logger = logging.Logger("ringkeep.coordination.kazoo", logging.INFO)  # it has no parent
        self.logger.addHandler(self)
        self.turned_away = False
        """Whether a server has closed a connection instead of opening a session, since there was one."""
        self._server = ""  # of the newest attempt
        self._established = False
        self._causes: dict[str, str] = {}  # by server; replaced, never changed: it is read in another thread

    @property
    def cause(self) -> str:
        """Why the last attempt at each server failed; "" if none has since there was a connection."""
        return "; ".join(f"{server}: {cause}" for server, cause in sorted(self._causes.items()))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what this record says about an attempt."""
        said = record.getMessage()
        if said.startswith(ATTEMPT):  # "Connecting to HOST(IP):PORT, use_ssl: …"
            host, _, rest = said.removeprefix(ATTEMPT).partition("(")
            self._server = f"{host}:{rest.partition('):')[2].partition(',')[0]}"
            self._established = False
            self._causes = {server: cause for server, cause in self._causes.items() if server != host}
        elif said.startswith(SUCCESS):
            self._established, self.turned_away, self._causes = True, False, {}
        elif record.levelno >= logging.WARNING and not said.startswith(NO_CAUSE):
            self._failed(said, record.exc_info[1] if record.exc_info else None)

    def _failed(self, said: str, error: BaseException | None) -> None:
        server = self._server
        if said.startswith(UNRESOLVED):  # "Cannot resolve HOST: …" comes before any attempt
            server, _, said = said.removeprefix(UNRESOLVED).partition(": ")
            said = f"the name cannot be resolved ({said})"
        for prefix in PREFIXES:
            said = said.removeprefix(prefix)
        if error is not None:
            said = f"its client failed: {error!r}"
        elif self._established:
            said = f"the connection was lost ({said})"
        elif said == CLOSED:
            self.turned_away, said = True, TURNED_AWAY
        self._causes = {**self._causes, server: said}
