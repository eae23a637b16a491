"""One key as a register: what each operation needs of it, and what it leaves behind.

Versions count here: they only grow along a key, also where nobody told them. `linearize` finds the order of
operations.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from ringkeep.core.protocol.client_requests import PRESENT
from ringkeep.sim.histories.history import UNTOLD


class RegisterState(NamedTuple):
    """The register. `value` None: absent. `low`: the version of the last write, or unless `exact` its least.

    `not_`: versions above `low` that it does not have either, where it is not exact.
    """

    value: bytes | None
    low: int
    exact: bool
    not_: frozenset[int] = frozenset()

    def covers(self, other: "RegisterState") -> bool:
        """Whether this can have every version that the other can. The values are equal."""
        if self.exact:
            return other.exact and other.low == self.low
        if other.exact:
            return self.low <= other.low and other.low not in self.not_
        return self.low <= other.low and all(each < other.low or each in other.not_ for each in self.not_)


EMPTY: Final = RegisterState(None, 0, True)


@dataclass(slots=True, eq=False)
class Step:
    """One operation as the search sees it.

    `value`: what is written (None: a delete) or was read (None: only its version was seen, or an absence).
    `version` 0: not told, of a write or of a value that was read; otherwise the observation of an absence.
    UNTOLD: a condition failed, and nothing more was told. `expected`: the condition; of what writes nothing,
    one that failed. `deletes`: a failed delete, which asks for something to delete, too.
    `rank` and `lazy` are the search's: see `linearize`.
    """

    start: int
    end: int
    writes: bool
    value: bytes | None
    version: int
    expected: int | None
    deletes: bool = False
    rank: int = 0
    lazy: bool = False

    def after(self, state: RegisterState) -> RegisterState | None:
        """Return the register after this step, None where it cannot have happened.

        It is the same object where the register is left as it is.
        """
        if self.writes:
            return self._written(state)
        return self._refused(state) if self.version == UNTOLD else self._seen(state)

    def _written(self, state: RegisterState) -> RegisterState | None:
        value, low, exact, not_ = state
        expected = self.expected
        if self.value is None and (value is None or expected == 0):
            return None  # a delete is ok only where it deletes
        if expected is not None and expected > 0:
            if value is None or expected in not_ or (low != expected if exact else low > expected):
                return None
            low = expected
        elif expected is not None and (value is not None) != (expected == PRESENT):
            return None
        if not self.version:
            return RegisterState(self.value, low + 1, False)
        return RegisterState(self.value, self.version, True) if self.version > low else None

    def _seen(self, state: RegisterState) -> RegisterState | None:
        value, low, exact, not_ = state
        if self.value is not None and self.value != value:
            return None
        if self.expected is not None and self._held():
            return None
        if not self.version:
            return state if self.value is not None or value is None else None
        if value is None or self.version in not_:
            return None
        if exact:
            return state if low == self.version else None
        return RegisterState(value, self.version, True) if low <= self.version else None

    def _held(self) -> bool:
        """Whether a condition failed that held, by what was told of the version there was."""
        if not self.version:
            return self.expected == 0 and not self.deletes
        return self.expected in (PRESENT, self.version)

    def _refused(self, state: RegisterState) -> RegisterState | None:
        """A condition failed, and nothing more was told."""
        value, low, exact, not_ = state
        expected = self.expected
        assert expected is not None, "without a condition, a failure is an absence"
        if value is None:
            return state if self.deletes or expected != 0 else None
        if expected <= 0:
            return state if expected == 0 else None
        if exact:
            return state if low != expected else None
        if expected < low or expected in not_:
            return state
        not_ |= {expected}
        while low in not_:
            low += 1
        return RegisterState(value, low, False, frozenset(each for each in not_ if each > low))
