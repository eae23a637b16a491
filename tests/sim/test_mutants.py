"""The simulator is checked too: each deliberate break of a rule is caught within a stated number of seeds.

`make test` tries those that show soon; `make mutants` tries all of them, and prints the table of
docs/guarantees.md.
"""

import itertools
import os
import re

import pytest
from tests.sim.mutants import OF_REPLICAS
from tests.sim.mutants_copies import OF_COPIES
from tests.sim.mutants_disk import OF_DISKS
from tests.sim.mutants_feeds import OF_FEEDS
from tests.sim.mutants_health import OF_HEALTH
from tests.sim.mutants_listings import OF_LISTINGS
from tests.sim.mutants_losses import OF_LOSSES
from tests.sim.mutants_map import OF_THE_MAP
from tests.sim.mutants_operations import OF_OPERATIONS
from tests.sim.mutants_requests import OF_REQUESTS
from tests.sim.test_seeds import SEEDS

from ringkeep.cli.commands.simulate import outcomes
from ringkeep.sim.faults.disk_losses import loses_in_a_move
from ringkeep.sim.feeds.readers import has_readers
from ringkeep.sim.run import run_seed
from ringkeep.sim.world.environment import has_full_rooms, has_listers, has_operations

MUTANTS = {
    **OF_REPLICAS, **OF_REQUESTS, **OF_THE_MAP, **OF_HEALTH, **OF_COPIES, **OF_DISKS, **OF_LOSSES,
    **OF_OPERATIONS, **OF_FEEDS, **OF_LISTINGS,
}  # fmt: skip

# mutant -> within how many seeds, from 1 (or of OWN_WORLDS), it must be caught (several times what it takes
# today), and by what
CAUGHT = {
    "ack before fsync": (5, "durable on"),
    "own copy counted unsynced": (5, "durable on"),
    "acknowledged twice, counted for ever": (300, "bytes in flight|not healthy again"),
    "older entry committed by count": (
        2_000,
        "durable on|5\\. entry|differs from the committed|never cut|lacks",
    ),
    "backup's commit not capped": (30, "never cut|differs from the committed|applied past commit"),
    "ack names the backup's own tail": (250, "never sent|was acknowledged, and is gone|durable on"),
    "promise answered before the sync": (40, "is forgotten|durable on"),
    "repeated Prepare answered early": (25, "is forgotten|durable on"),
    "promise not persisted": (5, "is forgotten"),
    "promise deleted with the replica": (10, "is forgotten"),
    "epoch resumed after a restart": (15, "two ACTIVE primaries|two holders"),
    "snapshot erases an acknowledged suffix": (1_000, "was acknowledged, and is gone"),
    "snapshot merged": (100, "differs from|not linearizable|bytes of rows"),
    "snapshot taken too soon": (600, "differs from|not linearizable|bytes of rows"),
    "de-duplication lost in a snapshot": (10, "differs from|not linearizable"),
    "snapshot of rows not stored": (15, "differs from|bytes of rows"),
    "de-duplication ahead of the rows": (15, "is known of their rows"),
    "log cut before its rows": (100, "differs from|bytes of rows"),
    "read without Confirm": (15, "not linearizable"),
    "Confirm begun before the read": (700, "not linearizable|not healthy again"),
    "failed condition before its evidence": (80, "not linearizable"),
    "refused after append": (100, "not linearizable"),
    "results of the turn overlooked": (200, "differs from|bytes of rows"),
    "departed coordinator served": (200, "was forgotten"),
    "refused while a copy waits": (30, "not linearizable"),
    "time-out taken for failure": (15, "not linearizable|committed at"),
    "RETRY settles all copies": (900, "not linearizable"),
    "de-duplication lost in a failover": (8, "differs from|not linearizable"),
    "de-duplication not replayed at start": (80, "differs from|not linearizable"),
    "refused batch forgotten": (
        40,
        "not healthy|durable on|no holes|is forgotten|5\\. entry|differs from",
    ),
    "refused batch overtaken": (80, "durable on|no holes|is forgotten|5\\. entry|differs from"),
    "delayed report counts": (200, "was not settled"),
    "single-step replacement": (15, "without a joint step"),
    "single-step replacement, maps not looked at": (1_200, "5\\. entry|durable on|differs from|lacks"),
    "learner counted": (60, "durable on"),
    "nothing relayed": (150, "while a cut lasts"),
    "reports not passed on": (250, "while a cut lasts"),
    "controller without ZooKeeper waited for": (100, "while a cut lasts"),
    "newcomer out of reach waited for": (300, "while a cut lasts"),
    "release by one's own link only": (250, "while a cut lasts"),
    "relayed word outlives its source": (150, "while a cut lasts|not healthy again"),
    "replica deleted early": (15, "deleted, and votes"),
    "barrier opened early": (100, "the barrier is open"),
    "silent link kept": (45, "nothing is wrong between them"),
    "lost registration taken for death": (80, "without a reason"),
    "one suspicion is enough": (300, "without a reason"),
    "laggard in sync": (600, "says healthy"),
    "nobody lags": (70, "says healthy"),
    "mark not compared": (300, "old copy of its disk votes"),
    "loss told by a promise overlooked": (600, "filled up again"),
    "copy beside not looked for": (15, "takes its mark"),
    "hanging disk not noticed": (100, "does not answer|still leads"),
    "full disk leads on": (120, "still leads what others could"),
    "full backup appends": (100, "has no room, and appends"),
    "dropped frames not told of": (11, "requests are lost"),
    "only voters count as copies": (30, "recovered without entry"),
    "any copy does": (40, "recovered without entry"),
    "silence taken for loss": (300, "a majority of its disks is there"),
    "unsaid taken for nothing": (100, "recovered without entry"),
    "versions go on from the copy": (300, "was given out twice|is seen again"),
    "end of the copy keeps its versions": (120, "not appended anew|is seen again"),
    "end of the copy dropped": (120, "not appended anew"),
    "absence before its removal": (10, "no place in"),
    "expiry by a backup's own clock": (25, "no place in .* stale"),
    "log time taken back": (2, "log time 0 after"),
    "pending renewal expired": (2, "removed once, if not replaced"),
    "condition read from committed state": (
        2,
        "go together|removed once|touches|says|still saw|leaves another|was answered",
    ),
    "result lost in a replay": (19, "was answered"),
    "ttl counted from the confirmed clock": (15, "removes .* after|no place in"),
    "unknown kind acknowledged": (
        2,
        "removed once|was answered|says|leaves another|differs from|bytes of rows",
    ),
    "half a batch applied": (
        2,
        "touches|says|no place in|was answered|go together|removed once|bytes of rows|still saw|removes",
    ),
    "condition of a batch read from committed state": (40, "no place in|says|was answered|go together"),
    "change told before commit": (5, "told before it is committed|feed: .*: told"),
    "change skipped at a handover": (8, "feed: .* told .*, not"),
    "change skipped at a snapshot": (5, "feed: .* told .*, not"),
    "history cut under a reader": (8, "feed: .* told .*, not"),
    "bookmark inside a batch": (8, "feed: .* told .*, not"),
    "gone by one replica's word": (5, "gone after .* could tell"),
    "cursor that skips a partition": (8, "feed: .* told .*, not"),
    "now without confirmation": (30, "begins at .*, before"),
    "key dropped at a page boundary": (4, "is shown as None"),
    "newer version swept": (4, "after [0-9]+"),
    "chain overtaken": (4, "committed at|no place in"),
}

OWN_WORLDS = {
    **dict.fromkeys(OF_OPERATIONS, has_operations),
    **dict.fromkeys(OF_FEEDS, has_readers),
    **dict.fromkeys(OF_LISTINGS, has_listers),
    "refused while a copy waits": has_full_rooms,
    "only voters count as copies": loses_in_a_move,
    "any copy does": loses_in_a_move,
    "unsaid taken for nothing": loses_in_a_move,
}
"""Mutants that hardly show elsewhere are tried in the worlds that were made for them: each 16th or 8th."""

ALL = bool(os.environ.get("ALL_MUTANTS"))
SOON = 15
"""Mutants that need no more seeds than this are tried by every run of the tests."""
TRIED = [name for name, (within, _) in CAUGHT.items() if within <= SOON or ALL]


def seeds_for(name: str) -> list[int]:
    """Return the seeds within which a mutant must be caught."""
    tries = filter(OWN_WORLDS.get(name, lambda seed: True), itertools.count(1))
    return list(itertools.islice(tries, CAUGHT[name][0]))


pytestmark = [pytest.mark.sim, pytest.mark.plain, pytest.mark.timeout(3_000)]


def test_every_mutant_has_its_bound() -> None:
    assert CAUGHT.keys() == MUTANTS.keys()


@pytest.mark.parametrize("name", TRIED)
def test_a_broken_rule_is_caught(name: str) -> None:
    within, by = CAUGHT[name]
    with MUTANTS[name]():
        for seed in seeds_for(name):
            failure = run_seed(seed).failure
            if failure:
                break
    assert failure, f"{name}: not noticed in {within} worlds"
    assert re.search(by, failure), f"{name}: seed {seed} fails, but of something else: {failure}"
    print(f"caught: {name}, by seed {seed}: {failure.splitlines()[0]}")


@pytest.mark.skipif(not ALL, reason="tests/sim/test_seeds.py runs these seeds")
def test_the_unbroken_core_passes_the_same_seeds() -> None:
    last = max(max(seeds_for(name)) for name in TRIED)
    with outcomes(1, last) as found:
        failures = [f"seed {outcome.seed}: {outcome.failure}" for outcome in found if outcome.failure]
    assert not failures, "\n".join(failures)


def test_seeds_that_catch_soon_are_run_unbroken_too() -> None:
    assert max(max(seeds_for(name)) for name, (within, _) in CAUGHT.items() if within <= SOON) <= SEEDS
