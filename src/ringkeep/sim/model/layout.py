"""The layout of a state of the world, which is a tuple of small numbers.

First one for each node's state, then one for each queue of frames, by ordered pair of nodes; then the maps
that some node does not know yet, the past, and the part of the bounds that is used up.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from struct import Struct
from typing import Final

State = tuple[int, ...]
Cells = list[int]
"""A state that is being changed."""

_Getter = Callable[[State], tuple[int, ...]]


class Layout:
    """The places of a state, for so many nodes.

    `links`: per node, (peer, queue to it, queue from it). `renamings`: per permutation of the nodes but the
    first, what takes nodes and queues out of a state in the order that they have once renamed.
    """

    def __init__(self, nodes: int, permutations: Sequence[Sequence[int]]) -> None:
        self.nodes: Final = nodes
        self.pairs: Final = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
        self.queue: Final = {pair: nodes + at for at, pair in enumerate(self.pairs)}
        self.chain: Final = nodes + len(self.pairs)
        self.past: Final = self.chain + 1
        self.spent: Final = self.chain + 2
        self.links: Final = [
            [(peer, self.queue[node, peer], self.queue[peer, node]) for peer in range(nodes) if peer != node]
            for node in range(nodes)
        ]
        self.pack: Final = Struct(f"!{self.spent + 1}I").pack
        self.renamings: Final = [self._renaming(permuted) for permuted in permutations[1:]]

    def _renaming(self, permuted: Sequence[int]) -> tuple[_Getter, _Getter]:
        back = {to: node for node, to in enumerate(permuted)}
        nodes = [back[node] for node in range(self.nodes)]
        return itemgetter(*nodes), itemgetter(*[self.queue[back[a], back[b]] for a, b in self.pairs])
