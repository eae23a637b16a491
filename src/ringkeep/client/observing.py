"""What a client tells while it works: the standard library's logger `ringkeep.client`, and an observer.

The logger says what a program does not see otherwise: attempts that came to nothing, nodes that do not
answer, primaries that changed (INFO), locks that were lost (WARNING). It is silent unless the program sets
logging up. Neither is told keys or values, but for the names of locks.
"""

import logging
from typing import Final

from ringkeep.client.errors import StoreError

LOG: Final = logging.getLogger("ringkeep.client")
LOG.addHandler(logging.NullHandler())  # else Python prints warnings where logging was not set up


class Observation:
    """One call of a client, from its first attempt to its end. Override what is of interest.

    The methods are called by the thread, or task, that makes the call: they must not block. What they raise
    is logged, and changes nothing.
    """

    def attempt(self, endpoint: str) -> None:
        """A request is sent to this endpoint; after the first one this is a repetition."""

    def failed(self, reason: str) -> None:
        """The attempt came to nothing, and the call has not ended yet."""

    def end(self, status: int, error: BaseException | None) -> None:
        """The call has ended. `status`: of the last HTTP answer, 0 without one. `error`: what it raises; a
        GeneratorExit if it was abandoned, for example because its task was cancelled."""


class Observer:
    """Is told of each call of a client that was made with it: Client(…, observer=…).

    A call is one request of the store with all its attempts, named `get`, `put`, `delete`, `add` and so on. A
    method of many keys makes several: `batch` each, of so many operations. With a `Client`, threads call it
    side by side.
    """

    def begin(self, name: str, operations: int) -> Observation:
        """A call begins; return what follows it."""
        return Observation()


class Told:
    """Tells an observer of one call, and keeps its mistakes away from the call."""

    def __init__(self, observer: Observer, name: str, operations: int) -> None:
        self._observation = Observation()
        try:
            self._observation = observer.begin(name, operations)
        except Exception:
            self._mistaken()

    def attempt(self, endpoint: str) -> None:
        try:
            self._observation.attempt(endpoint)
        except Exception:
            self._mistaken()

    def failed(self, reason: str) -> None:
        try:
            self._observation.failed(reason)
        except Exception:
            self._mistaken()

    def end(self, status: int, error: BaseException | None = None) -> None:
        if isinstance(error, StoreError) and error.status:
            status = error.status
        try:
            self._observation.end(status, error)
        except Exception:
            self._mistaken()

    def _mistaken(self) -> None:
        LOG.exception("the observer failed; the call goes on without it")
        self._observation = Observation()
