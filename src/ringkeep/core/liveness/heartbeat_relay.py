"""Relays heartbeats: a node that cannot hear another one directly receives its heartbeats through others.

A node passes on to each peer the newest heartbeats of the nodes that this peer suspects and that it hears
itself, directly or relayed. So two nodes whose link is cut know about each other what the others know.
A relayed heartbeat counts only while there is a path to its sender: links that neither end suspects. A path
works in both directions, so nodes that can reach each other agree on the live nodes, and on the controller
among them. While every link works nothing is relayed, and neither is a node that no node hears.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final

from ringkeep.core.context import Context
from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Heartbeat, Relayed
from ringkeep.core.protocol.types import Millis, NodeId

RELAYS: Final = 2  # how many nodes relay the heartbeats of one node to one peer, if so many hear both

_contents: Final = attrgetter(*[field.name for field in fields(Heartbeat)])


@dataclass(frozen=True, slots=True)
class Word:
    """A relayed heartbeat, and when it reached the first relaying node."""

    beat: Heartbeat
    said: Millis


class Relay:
    """What this node knows about the others from their heartbeats, direct or relayed."""

    def __init__(self, context: Context, detector: Detector) -> None:
        self._context = context
        self._detector = detector
        self._words: dict[NodeId, Word] = {}
        self._ways: dict[NodeId, NodeId] | None = None
        self._looked_in = -1  # the turn of the last search for paths

    # --- what is known --------------------------------------------------------------------------------

    def silent(self, node: NodeId) -> bool:
        """Return whether a node answers neither this node nor any node that this one hears, directly or
        relayed.

        As with `Detector.suspects`, a new peer has some time before it counts as silent.
        """
        return self._detector.suspects(node) and node not in self._found_ways()

    def beat_of(self, node: NodeId) -> Heartbeat | None:
        """Return the newest heartbeat of a node that is not silent; None for any other."""
        if not self._detector.suspects(node):
            return self._newest(node)
        return self._words[node].beat if node in self._found_ways() else None

    def _newest(self, node: NodeId) -> Heartbeat | None:
        """Return the newest heartbeat of a node that answers here, direct or relayed.

        When a node is heard directly again, a relayed heartbeat may still be the newer one.
        """
        beat, word = self._detector.beat_of(node), self._words.get(node)
        return beat if word is None or (beat is not None and beat.probe >= word.beat.probe) else word.beat

    def suspected_by(self, reporter: NodeId) -> Sequence[NodeId] | None:
        """Return the nodes that `reporter` suspects, by its newest heartbeat; None if it is silent."""
        if reporter == self._context.me:
            return self._detector.suspected()
        beat = self.beat_of(reporter)
        return None if beat is None else beat.suspects

    def cut_off(self, pairs: Collection[tuple[NodeId, NodeId | None]]) -> set[tuple[NodeId, NodeId | None]]:
        """Return the pairs whose first node reports that it does not hear the second, although that one is
        alive."""
        return {
            (one, other)
            for one, other in pairs
            if other is not None and other in (self.suspected_by(one) or ()) and not self.silent(other)
        }

    def way_to(self, node: NodeId) -> NodeId | None:
        """Return the peer through which a message reaches this node; None if there is no path."""
        if not self._detector.suspects(node):
            return node
        return self._found_ways().get(node)

    def _found_ways(self) -> dict[NodeId, NodeId]:
        """Return the first hop to each node that is heard through others only."""
        if not self._words:
            return {}
        if self._ways is None or self._looked_in != self._context.turn:
            self._looked_in = self._context.turn
            self._ways = self._look_for_ways()
        return self._ways

    def _look_for_ways(self) -> dict[NodeId, NodeId]:
        """Find the shortest paths, over links that neither end suspects by its newest heartbeat."""
        now, direct = self._context.now, self._detector
        self._words = {
            node: word for node, word in self._words.items() if now - word.said <= limits.SUSPECT_AFTER_MS
        }
        wanted = {node for node in self._words if direct.suspects(node)}
        edge = [(peer, peer) for peer in direct.peers if direct.beat_of(peer) is not None]
        ways: dict[NodeId, NodeId] = {}
        while edge and wanted:
            further = []
            for node, first in edge:
                beat = self._words[node].beat if node in ways else self._newest(node)
                if beat is None:
                    continue
                for other in sorted(wanted):
                    if other not in beat.suspects and node not in self._words[other].beat.suspects:
                        wanted.discard(other)
                        ways[other] = first
                        further.append((other, first))
            edge = further
        return ways

    # --- what is passed on ----------------------------------------------------------------------------

    def on_relayed(self, peer: NodeId, message: Relayed) -> bool:
        """Take a relayed heartbeat; return whether it is newer than the one known. Ignored if the relaying
        peer does not hear us, because paths must work in both directions.
        """
        if message.node == self._context.me or self._detector.suspects(peer):
            return False
        known = self._words.get(message.node)
        if known is not None and message.probe <= known.beat.probe:
            return False
        self._words[message.node] = Word(message, self._context.now - message.age_ms)
        self._ways = None
        return known is None or known.beat.suspects != message.suspects or known.beat.steers != message.steers

    def pass_on(self) -> None:
        """Relay to peers the heartbeats that they do not hear. Called with each of our own heartbeats."""
        detector = self._detector
        for peer in detector.peers:
            beat = detector.beat_of(peer)
            if beat is None or not beat.suspects or peer not in self._context.links:
                continue
            for node in beat.suspects:
                if node not in (peer, self._context.me) and self._is_ours_to_tell(peer, beat, node):
                    self._tell(peer, node)

    def _tell(self, peer: NodeId, node: NodeId) -> None:
        beat, now = self.beat_of(node), self._context.now
        if beat is not None:
            word = self._words.get(node)
            said = word.said if word is not None and word.beat is beat else self._detector.peers[node].beat_at
            relayed = Relayed(*_contents(beat))
            relayed.node, relayed.age_ms = node, now - said
            self._context.effects.beats.setdefault(peer, []).append(relayed)

    def _is_ours_to_tell(self, peer: NodeId, beat: Heartbeat, node: NodeId) -> bool:
        """Return whether this node should relay: of the nodes that hear both, only the first few do."""
        word = self.beat_of(node)
        if word is None:
            return False
        both = (
            other
            for other in self._detector.peers
            if other not in (peer, node) and self._hears_both(other, beat.suspects, word.suspects, peer, node)
        )
        if self._detector.suspects(node):
            return next(both, None) is None  # no node is nearer
        return sum(1 for other in both if other < self._context.me) < RELAYS

    def _hears_both(
        self, other: NodeId, at_peer: Collection[NodeId], at_node: Collection[NodeId],
        peer: NodeId, node: NodeId,
    ) -> bool:  # fmt: skip
        found = self._detector.beat_of(other)
        return (
            found is not None
            and other not in at_peer
            and other not in at_node
            and peer not in found.suspects
            and node not in found.suspects
        )
