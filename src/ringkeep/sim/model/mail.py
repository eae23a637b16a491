"""Frames in flight and queues of them, each stored once and known by a number.

A connection keeps order. Frames that the receiver would drop without effect, now and at any later time, are
removed at once: they would only multiply states.
"""

from typing import Any, Final, NamedTuple

from ringkeep.core.protocol import hot_messages as hot
from ringkeep.core.protocol import messages as m
from ringkeep.sim.model.projection import walk

_TO_PRIMARY: Final = (hot.Acks, m.Promise, m.Refuse, m.Entries, hot.Confirmed)
_ANSWERED: Final = (m.Fetch, hot.Confirm)
_REFUSED: Final = (m.Prepare, hot.Append)


class Standing(NamedTuple):
    """What decides whether a message still has an effect: the epoch that its receiver has promised, and the
    epochs that both ends lead (0: none).
    """

    promised: int
    receiver: int
    sender: int


class Frames:
    """Frames by number. Number 0 stands for none."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self.messages: list[list[m.Message]] = [[]]
        self._epochs: list[list[tuple[type, int]]] = [[]]

    def of(self, frame: list[m.Message]) -> int:
        """Return the number of a frame."""
        key = walk(frame, {})
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.messages)
            self.messages.append(frame)
            self._epochs.append(
                [(type(message), epoch) for message in frame for epoch in _epochs_of(message)]
            )
        return number

    def is_dead(self, frame: int, standing: Standing) -> bool:
        """Return whether a frame has no effect any more, whenever it arrives."""
        return all(_is_dead(kind, epoch, standing) for kind, epoch in self._epochs[frame])


def _epochs_of(message: m.Message) -> list[int]:
    if isinstance(message, hot.Acks | hot.Commits):
        return message.items[1::3]
    if isinstance(message, hot.Confirm | hot.Confirmed):
        return message.items[1::2]
    return [getattr(message, "epoch", 0)]


def _is_dead(kind: type, epoch: int, standing: Standing) -> bool:
    """Return whether a message has no effect from now on. An epoch's primary is created once, before any
    message of its epoch, and never again: an answer to it counts while it leads, or not at all. A promise
    never decreases while a connection lasts.
    """
    if kind in _TO_PRIMARY:
        return standing.receiver != epoch
    if kind in _ANSWERED:  # changes nothing here, and the answer would be dead
        return epoch < standing.promised or standing.sender != epoch
    if kind in _REFUSED:  # the refusal would be dead
        return epoch < standing.promised and standing.sender != epoch
    return kind is hot.Commits and epoch < standing.promised


class Queues:
    """Queues of frames by number. Number 0 is the empty one."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._numbers: dict[tuple[int, ...], int] = {(): 0}
        self.content: list[tuple[int, ...]] = [()]
        self._living: dict[tuple[int, int, int, int], int] = {}

    def of(self, content: tuple[int, ...]) -> int:
        """Return the number of a queue with these frames, the first to arrive first."""
        number = self._numbers.get(content)
        if number is None:
            number = self._numbers[content] = len(self.content)
            self.content.append(content)
        return number

    def living(self, queue: int, promised: int, receiver: int, sender: int) -> int:
        """Return the queue without the frames that have no effect any more."""
        name = (queue, promised, receiver, sender)
        found = self._living.get(name)
        if found is None:
            standing = Standing(promised, receiver, sender)
            left = [frame for frame in self.content[queue] if not self._frames.is_dead(frame, standing)]
            found = self._living[name] = self.of(tuple(left))
        return found
