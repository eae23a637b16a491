"""The verdict on all that the clients of operations did in one world, at its end."""

from collections.abc import Mapping
from typing import Final

from ringkeep.core.cluster.slots import partition_of
from ringkeep.core.protocol.keys import RESULTS
from ringkeep.core.protocol.types import Millis, PartitionId
from ringkeep.sim.checks.committed_log import CommittedLog
from ringkeep.sim.checks.stored_rows import Stored, records_of, rows_of
from ringkeep.sim.operations.chained import in_order
from ringkeep.sim.operations.clients import OperationClients
from ringkeep.sim.operations.witness import Witness
from ringkeep.sim.world.world import World

SOON_MS: Final[Millis] = 1_000
"""Within so much log time the primary of a calm cluster has removed what was due."""


def judge(world: World, logs: Mapping[PartitionId, CommittedLog], clients: OperationClients) -> None:
    """Raise AssertionError unless the log explains every answer, and the stores hold what it says. Call when
    the cluster is at rest."""
    in_order(clients.calls)
    for number in range(world.partitions):
        partition = PartitionId(number)
        calls = [call for call in clients.calls if partition_of(call.key, world.partitions) == number]
        witness = Witness(f"partition {number}", logs[partition], calls, clients.calm_from)
        witness.judge()
        world.count("expired_after_failover", witness.outlived)
        wanted = {
            key: Stored(record.version, record.value, record.content_type, record.deadline)
            for key, record in witness.records.items()
        }
        left = _look_at_stores(world, partition, set(clients.keys), wanted)
        world.count("results_forgotten", witness.results - left)


def _look_at_stores(
    world: World, partition: PartitionId, keys: set[bytes], wanted: Mapping[bytes, Stored]
) -> int:
    """Compare the records of every replica, and look for what should have been removed by now; return how
    many results are still kept."""
    assert world.map is not None
    left = 0
    leading = world.nodes[world.map.partitions[partition].primary].driver.node.primaries[partition]
    for node in world.nodes.values():
        replica = node.driver.node.replicas.get(partition)
        if replica is None:
            continue
        rows = rows_of(node, replica)
        left = sum(key[0] == RESULTS for key, _ in rows)
        records = records_of(rows)
        found = {key: record for key, record in records.items() if key in keys}
        assert found == wanted, f"partition {partition}, {node.name}: holds {found}, not {wanted}"
        late = leading.log_time - SOON_MS
        due = {key: record for key, record in records.items() if 0 < record.deadline <= late}
        assert not due, f"partition {partition}, {node.name}: at {leading.log_time} still holds {due}"
    return left
