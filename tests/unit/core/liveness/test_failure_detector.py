"""What counts as a sign of life, and what is not held against a peer."""

from tests.support.core.parts import B, C, a_context

from ringkeep.core.liveness.failure_detector import Detector
from ringkeep.core.protocol import limits
from ringkeep.core.protocol.messages import Heartbeat
from ringkeep.core.protocol.types import Incarnation, MapVersion


def a_detector() -> Detector:
    detector = Detector(a_context())
    detector.set_peers([B, C])
    for peer in (B, C):
        detector.context.links[peer] = Incarnation(1)
        detector.on_up(peer)
    return detector


def tick(detector: Detector, now: int) -> None:
    detector.context.begin(now)
    detector.on_tick(MapVersion(1), 0, b"", True, [], [], False)


def echo(detector: Detector) -> Heartbeat:
    """A heartbeat of a peer that has heard our newest probe."""
    return Heartbeat(MapVersion(1), 0, 1, 1, detector.probe, [])


def test_any_byte_is_a_sign_of_life_but_says_nothing_of_the_other_way() -> None:
    detector = a_detector()
    end = 2 * limits.SUSPECT_AFTER_MS
    for now in range(0, end, limits.TICK_MS):
        tick(detector, now)
        detector.hear(B, now)
        detector.hear(C, now)
        detector.note_probes(B, echo(detector))
    assert detector.suspected() == [C], "B hears us by what it says; C may be deaf"
    assert detector.context.effects.renewals, "and its link is made anew"
    assert set(detector.context.effects.renewals) == {C}


def test_the_own_pause_is_not_held_against_others() -> None:
    detector = a_detector()
    tick(detector, 0)
    tick(detector, 5 * limits.SUSPECT_AFTER_MS)
    assert detector.suspected() == [], "nobody could be heard meanwhile"
    for now in range(limits.TICK_MS, limits.SUSPECT_AFTER_MS + 200, limits.TICK_MS):
        tick(detector, 5 * limits.SUSPECT_AFTER_MS + now)
    assert detector.suspected() == [B, C], "silence since is"


def test_heartbeats_go_on_while_no_turn_can_be_taken() -> None:
    detector = a_detector()
    tick(detector, 0)
    detector.context.effects.beats.clear()
    detector.context.begin(limits.HEARTBEAT_MS)
    detector.beat_again()
    assert detector.context.effects.beats.keys() == {B, C}
