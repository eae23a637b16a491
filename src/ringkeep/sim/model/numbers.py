"""Small numbers for things that occur again and again, so that states are short and quickly compared."""

from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Numbers(Generic[Thing]):
    """Each different thing has a number, from 0, in the order of their first use."""

    __slots__ = ("_numbers", "things")

    def __init__(self) -> None:
        self._numbers: dict[Thing, int] = {}
        self.things: list[Thing] = []

    def of(self, thing: Thing) -> int:
        """Return the number of a thing."""
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return number
