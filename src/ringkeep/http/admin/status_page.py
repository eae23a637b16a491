"""The page of `/`: the cluster as this node sees it.

Everything that is not written here is escaped: names and states come from other machines.
"""

from collections import Counter
from html import escape
from typing import Any, Final

from ringkeep.http.admin.markup import page, table

_MEMBER: Final = ("name", "state", "http", "peer", "zone", "weight", "primaries", "replicas", "version")


def _text(value: object) -> str:
    return "–" if value is None else escape(str(value))


def _coordination(cluster: dict[str, Any]) -> str:
    if cluster.get("coordination") == "embedded":
        return "Coordination: embedded"
    return f"ZooKeeper: {_text(cluster.get('zookeeper'))}"


def status_page(
    node: str,
    address: str,
    cluster: dict[str, Any],
    partitions: dict[str, Any],
    ready: tuple[bool, list[str]],
) -> str:
    """Return the page of `/`. `address` is where the reader reached this node."""
    health = str(cluster.get("health", ""))
    shown = health if health in ("healthy", "degraded", "unavailable") else ""
    states = Counter(str(each.get("state")) for each in partitions.get("partitions", []))
    total = sum(states.values())
    members = [[_text(member.get(name)) for name in _MEMBER] for member in cluster.get("members", [])]
    waits = "".join(f"<li>{escape(what)}</li>" for what in ready[1])
    problems = "".join(f"<li>{escape(str(what))}</li>" for what in cluster.get("problems") or ())
    base = escape(f"http://{address}")
    body = (
        f"<h1>{_text(cluster.get('cluster'))}</h1>"
        f'<p>Health: <strong class="{shown}">{escape(health)}</strong>, seen from node '
        f"<code>{escape(node)}</code>, which is {'ready' if ready[0] else 'not ready'}. "
        f"{_coordination(cluster)}. "
        f"Controller: {_text(cluster.get('controller'))}. Map {_text(cluster.get('map_version'))}.</p>"
        + (f"<ul>{problems}</ul>" if problems else "")
        + (f"<p>This node waits for:</p><ul>{waits}</ul>" if waits else "")
        + "<h2>Members</h2>"
        + table(_MEMBER, members)
        + f"<h2>Partitions</h2><p>{total} in all.</p>"
        + table(
            ("state", "partitions"), [[escape(state), str(count)] for state, count in sorted(states.items())]
        )
        + "<h2>First steps</h2>"
        + f"<pre>curl -X POST {base}/put -d '{{&quot;key&quot;:&quot;hello&quot;,"
        + f"&quot;value&quot;:&quot;world&quot;}}'\ncurl '{base}/get?key=hello'</pre>"
        + '<p><a href="/docs">API</a> · <a href="/openapi.json">OpenAPI</a> · <a href="/metrics">Metrics</a>'
        + ' · <a href="/v1/cluster">Cluster as JSON</a> · <a href="/v1/cluster/moves">Moves as JSON</a>'
        + ' · <a href="/readyz?verbose">Readiness</a></p>'
    )
    return page(f"{cluster.get('cluster')} – Ringkeep", body)
