"""The failure detector: which nodes this node hears and reaches directly, by heartbeats.

`heartbeat_relay.py` adds what other nodes hear.

Suspicion decides only *when* something is tried; safety never depends on it.
"""

from dataclasses import dataclass, field

from ringkeep.core.context import Context
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Heartbeat
from ringkeep.core.protocol.types import MapVersion, Millis, NodeId, first_name


@dataclass(slots=True)
class PeerHealth:
    """What this node knows of a peer. `echoed`: when the newest probe that the peer has echoed was sent."""

    heard: Millis
    echoed: Millis
    refused: bool = False
    probe: int = 0  # newest probe of theirs
    beat: Heartbeat | None = None
    beat_at: Millis = 0
    links: int = 0  # how often our link to them was made, or what they had sent was lost here


@dataclass(slots=True)
class Detector:
    """The failure detector of one node."""

    context: Context
    peers: dict[NodeId, PeerHealth] = field(default_factory=dict)
    probe: int = field(init=False)
    """The newest probe that was sent."""
    _sent: dict[int, Millis] = field(default_factory=dict)
    _next_beat: Millis = 0
    _said: tuple[NodeId, ...] = ()
    _said_draining: bool = False
    _said_steers: bool = False
    _ticked: Millis = 0
    _last: tuple[MapVersion, int, bytes, bool, list[bytes], list[tuple[NodeId, int]], bool] | None = None
    changed: bool = False
    """Whether the last heartbeats reported other suspicions than the ones before."""

    def __post_init__(self) -> None:
        self.probe = first_name(self.context.incarnation)

    def set_peers(self, wanted: list[NodeId]) -> None:
        """Watch these nodes, and no others. A new one has SUSPECT_AFTER_MS to be heard."""
        now = self.context.now
        self.context.disks.keep_only(wanted)
        self.peers = {peer: self.peers.get(peer) or PeerHealth(now, now) for peer in sorted(wanted)}

    def on_up(self, peer: NodeId) -> None:
        """Our link to a peer is up: its process is alive."""
        health = self.peers.get(peer)
        if health is not None:
            health.refused = False
            health.links += 1
            health.heard = health.echoed = self.context.now
            self._next_beat = self.context.now

    def on_down(self, peer: NodeId, refused: bool) -> None:
        """Our link to a peer is down; `refused`: nobody listens there, so the peer is suspected at once."""
        health = self.peers.get(peer)
        if health is not None and refused:
            health.refused = True

    def on_frame_lost(self, peer: NodeId) -> None:
        """What a peer has sent was lost, though its link stands: the next heartbeat tells of a new link."""
        health = self.peers.get(peer)
        if health is not None:
            health.links += 1
            self._next_beat = self.context.now

    def hear(self, peer: NodeId, now: Millis) -> None:
        """Bytes came from a peer, if only a part of a message: it is alive. Its heartbeats report whether it
        hears us."""
        health = self.peers.get(peer)
        if health is not None and now > health.heard:
            health.heard = now

    def on_heartbeat(self, peer: NodeId, beat: Heartbeat) -> bool:
        """Note that the path from the peer works, and the path to it too if it echoes a recent probe.

        Return whether the peer has a new link to us since its last heartbeat: its answers may be lost.
        """
        health = self.peers.get(peer)
        if health is None:
            return False
        relinked = health.beat is None or health.beat.link != beat.link
        health.beat_at = self.context.now
        health.beat = beat
        self.context.disks.note(peer, beat.disk)
        self.note_probes(peer, beat)
        return relinked

    def note_probes(self, peer: NodeId, beat: Heartbeat) -> None:
        """Note what a heartbeat proves about the two directions."""
        health = self.peers.get(peer)
        if health is None:
            return
        health.probe = max(beat.probe, 0)
        sent = self._sent.get(beat.echo)
        if sent is not None and sent > health.echoed:
            health.echoed = sent

    def sent_at(self, probe: int) -> Millis | None:
        """Return when a probe of ours was sent, for as long as it is remembered."""
        return self._sent.get(probe)

    def suspects(self, peer: NodeId) -> bool:
        """Whether a node seems dead or cut off from here: it refuses, is silent, or does not hear us."""
        if peer == self.context.me:
            return False
        health = self.peers.get(peer)
        if health is None or health.refused:
            return True
        return self.context.now - min(health.heard, health.echoed) > limits.SUSPECT_AFTER_MS

    def suspected(self) -> list[NodeId]:
        """Return every suspected node, in order."""
        return [peer for peer in self.peers if self.suspects(peer)]

    def beat_of(self, peer: NodeId) -> Heartbeat | None:
        """Return the newest heartbeat of a node that answers; None for any other."""
        health = self.peers.get(peer)
        return None if health is None or self.suspects(peer) else health.beat

    def on_tick(
        self, map_version: MapVersion, map_digest: int, active: bytes, ready: bool, copies: list[bytes],
        behind: list[tuple[NodeId, int]], steers: bool,
    ) -> bool:  # fmt: skip
        """Send heartbeats when they are due, or at once after a change that others wait for; return whether
        they were sent."""
        now = self.context.now
        self._forgive(now)
        self._last = map_version, map_digest, active, ready, copies, behind, steers
        suspects = self.suspected()
        self.context.effects.renewals += [peer for peer in suspects if peer in self.context.links]
        stops = self.context.draining and not self._said_draining  # else primaryships would be handed back
        stops = stops or (self._said_steers and not steers)  # the next member must act at once
        if now < self._next_beat and tuple(suspects) == self._said and not stops:
            return False
        self._said_draining, self._said_steers = self.context.draining, steers
        self._next_beat = now + limits.HEARTBEAT_MS
        self.changed = tuple(suspects) != self._said
        self._said = tuple(suspects)
        self.probe += 1
        self._sent[self.probe] = now
        while len(self._sent) > 4 * limits.SUSPECT_AFTER_MS // limits.HEARTBEAT_MS:
            del self._sent[next(iter(self._sent))]
        for peer, health in self.peers.items():
            if peer in self.context.links:
                beat = Heartbeat(
                    map_version, map_digest, health.links, self.probe, health.probe, suspects,
                    active, self.context.draining, ready, self.context.damaged, self.context.disks.own.state,
                    copies, behind, steers,
                )  # fmt: skip
                self.context.effects.beats[peer] = [beat]
        return True

    def _forgive(self, now: Millis) -> None:
        """Do not count this node's own pause as silence of the peers: it could not hear them meanwhile.

        Source: local health in Lifeguard (Dadgar, Phillips and Currey, DSN-W 2018).
        """
        paused, self._ticked = now - self._ticked - limits.OWN_PAUSE_MS, now
        if paused > 0:
            for health in self.peers.values():
                health.heard = min(health.heard + paused, now)
                health.echoed = min(health.echoed + paused, now)

    def beat_again(self) -> bool:
        """Send the last heartbeat again if one is due; return whether it was."""
        return self._last is not None and self.on_tick(*self._last)
