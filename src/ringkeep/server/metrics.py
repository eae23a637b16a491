"""A node's own metrics, read from the core's plain counters on each request."""

from collections import Counter

from ringkeep.core.replication.primary import Phase
from ringkeep.core.replication.replica import Replica
from ringkeep.driver.turns import Driver
from ringkeep.http.service import Labels, Sample
from ringkeep.server.views import Views
from ringkeep.status.cluster_health import Health, ReasonKind
from ringkeep.status.move_history import MoveHistory


def samples(driver: Driver, history: MoveHistory, views: Views) -> list[Sample]:
    """Return what `/metrics` shows beside the HTTP interface's own numbers."""
    node = driver.node
    replicas = list(node.replicas.values())
    primaries = list(node.primaries.values())
    held = node.context.cluster_map
    events: dict[Labels, float] = {
        (("event", name),): count for name, count in sorted(node.context.counters.items())
    }
    gauges: list[tuple[str, str, float]] = [
        *_held(replicas),
        ("primaries", "Primaryships held here.", len(primaries)),
        (
            "primaries_active",
            "Primaryships that serve.",
            sum(p.phase == Phase.ACTIVE and not p.paused for p in primaries),
        ),
        (
            "requests_unfinished",
            "Requests coordinated here and not answered.",
            node.coordinator.unfinished,
        ),
        ("ready", "1 while clients should send requests to this node.", not views.waiting_for(0)),
        ("map_version", "Number of the newest cluster map held.", held.version if held is not None else 0),
        (
            "peers_suspected",
            "Nodes that seem dead or cut off from here.",
            len(node.detector.suspected()),
        ),
        (
            "zookeeper_connected",
            "1 while ZooKeeper, or the embedded coordination, answers.",
            node.controller.connected,
        ),
        ("damaged", "1 if the store lost something durable.", node.context.damaged),
        *_disk(driver),
        ("change_readers", "Readers of changes at this node.", node.feeds.count),
        ("change_followers", "Streams of changes that its replicas tell.", node.followers.count),
        ("history_bytes", "Log rows that are kept for readers of changes.", node.context.history_bytes),
        (
            "moves_running",
            "Partitions of the cluster that change their replicas.",
            len(history.running),
        ),
    ]
    counts = [
        ("turns", "Turns of the loop in which the core did something.", driver.turns),
        ("syncs", "Group commits completed.", driver.syncs),
        ("frames_sent", "Frames sent to peers.", driver.frames),
        ("moved_bytes", "Bytes sent to newcomers, anywhere, since this start.", history.sent_bytes),
    ]
    return [
        Sample("events", "counter", "What the replication core did, by name.", events),
        *(Sample(name, "counter", text, {(): value}) for name, text, value in counts),
        *(Sample(name, "gauge", text, {(): value}) for name, text, value in gauges),
        *_health(views),
    ]


def _held(replicas: list[Replica]) -> list[tuple[str, str, float]]:
    """Return name, help and value of the gauges of the replicas and of what they take."""
    entries = sum(r.log.last_index - r.log.floor_index for r in replicas)
    return [
        ("replicas", "Replicas held here.", len(replicas)),
        ("replicas_caught_up", "Replicas that serve or follow.", sum(r.caught_up for r in replicas)),
        ("data_bytes", "Bytes of the rows held here.", sum(r.state.data_bytes for r in replicas)),
        ("log_entries", "Log entries kept, over all replicas.", entries),
        ("log_bytes", "Bytes of those entries.", sum(r.log.entry_bytes for r in replicas)),
    ]


def _disk(driver: Driver) -> list[tuple[str, str, float]]:
    """Return name, help and value of the disk's gauges."""
    disk = driver.node.context.disks.own
    return [
        (
            "disk_state",
            "0 fine, 1 slow, 2 less room than the reserve, 3 no room for entries, 4 it does not answer.",
            disk.state,
        ),
        ("disk_full", "1 while the disk has less room than its reserve.", disk.full),
        ("disk_free_bytes", "Free where the data is, as last seen.", disk.free),
        ("disk_reserve_bytes", "Free disk below which no value is taken.", disk.reserve),
        ("turns_unsynced", "Turns of the loop that wait for the disk to sync.", driver.unsynced),
    ]


def _health(views: Views) -> list[Sample]:
    """Return the health of the cluster as this node sees it."""
    health, reasons = views.health()
    kinds = Counter(reason.kind for reason in reasons)
    states: dict[Labels, float] = {(("state", name),): count for name, count in views.states().items()}
    copies = sum(reason.count for reason in reasons if reason.kind is ReasonKind.COPIES)
    moves = sum(reason.count for reason in reasons if reason.kind is ReasonKind.MOVES)
    return [
        Sample("health", "gauge", "1 for the state that the cluster is in.",
               {(("state", each.value),): each is health for each in Health}),
        Sample("problems", "gauge", "What keeps the cluster from being healthy, and notes, by kind.",
               {(("kind", kind.value),): kinds[kind] for kind in ReasonKind}),
        Sample("partitions", "gauge", "Partitions of the cluster by state.", states),
        Sample("copies_missing", "gauge", "Copies not in sync, where data is served.", {(): copies}),
        Sample("moves_left", "gauge", "Moves of replicas planned or under way.", {(): moves}),
    ]  # fmt: skip
