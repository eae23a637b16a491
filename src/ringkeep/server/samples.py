"""A node's own metrics, read from the core's plain counters when somebody asks."""

from ringkeep.core.node import Node
from ringkeep.core.primary import Phase
from ringkeep.http.service import Sample


def samples(node: Node) -> list[Sample]:
    """Return what `/metrics` shows beside the HTTP interface's own numbers."""
    replicas = list(node.replicas.values())
    primaries = [r.primary for r in replicas if r.primary is not None]
    active = sum(p.phase == Phase.ACTIVE and not p.paused for p in primaries)
    found = node.context.cluster_map
    return [
        Sample("events", "counter", "What the replication core did, by name.",
               {(("event", name),): count for name, count in sorted(node.context.counters.items())}),
        Sample("replicas", "gauge", "Replicas held here.", {(): len(replicas)}),
        Sample("replicas_caught_up", "gauge", "Replicas that serve or follow.", {(): sum(r.caught_up for r in replicas)}),
        Sample("primaries", "gauge", "Primaryships held here.", {(): len(primaries)}),
        Sample("primaries_active", "gauge", "Primaryships that serve.", {(): active}),
        Sample("requests_unfinished", "gauge", "Requests coordinated here and not answered.",
               {(): node.coordinator.unfinished}),
        Sample("map_version", "gauge", "Number of the newest cluster map held.", {(): found.version if found else 0}),
        Sample("peers_suspected", "gauge", "Nodes that seem dead or cut off from here.",
               {(): len(node.detector.suspected())}),
        Sample("zookeeper_connected", "gauge", "1 while ZooKeeper answers.", {(): int(node.steward.connected)}),
        Sample("damaged", "gauge", "1 if the store lost something durable.", {(): int(node.context.damaged)}),
        Sample("log_entries", "gauge", "Log entries kept, over all replicas.",
               {(): sum(r.log.last_index - r.log.floor_index for r in replicas)}),
    ]  # fmt: skip
