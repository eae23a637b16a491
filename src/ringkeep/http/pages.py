"""The two pages for people: `/` (the cluster as this node sees it) and `/docs`. No script, no other host.

Everything that is not written here is escaped: names and states come from other machines.
"""

from collections import Counter
from html import escape
from typing import Any, Final

from ringkeep.http.problems import KINDS

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2430;
background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #dde3ea;vertical-align:top}th{color:#56606d;font-weight:600}
code,pre{font-family:ui-monospace,monospace;background:#f2f5f8;border-radius:4px;padding:.1rem .3rem}
pre{padding:.8rem;overflow:auto}h1{margin-bottom:0}h2{margin-top:2rem}.healthy{color:#0a7a3d}.degraded{color:#9a6700}
.unavailable{color:#b42318}.method{font-weight:700}
@media(prefers-color-scheme:dark){body{color:#e4e9f0;background:#11161d}th,td{border-color:#2a323d}
th{color:#9aa6b4}code,pre{background:#1b222c}a{color:#7db3ff}.healthy{color:#4cc38a}.degraded{color:#f1a10d}
.unavailable{color:#ff9592}}
"""
_MEMBER: Final = ("name", "state", "http", "peer", "zone", "weight", "primaries", "replicas", "version")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table; the cells are escaped already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    return "–" if value is None else escape(str(value))


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
        f"ZooKeeper: {_text(cluster.get('zookeeper'))}. "
        f"Controller: {_text(cluster.get('controller'))}. Map {_text(cluster.get('map_version'))}.</p>"
        + (f"<ul>{problems}</ul>" if problems else "")
        + (f"<p>This node waits for:</p><ul>{waits}</ul>" if waits else "")
        + "<h2>Members</h2>"
        + _table(_MEMBER, members)
        + f"<h2>Partitions</h2><p>{total} in all.</p>"
        + _table(
            ("state", "partitions"), [[escape(state), str(count)] for state, count in sorted(states.items())]
        )
        + "<h2>First steps</h2>"
        + f"<pre>curl -X POST {base}/put -d '{{&quot;key&quot;:&quot;hello&quot;,"
        + f"&quot;value&quot;:&quot;world&quot;}}'\ncurl '{base}/get?key=hello'</pre>"
        + '<p><a href="/docs">API</a> · <a href="/openapi.json">OpenAPI</a> · <a href="/metrics">Metrics</a>'
        + ' · <a href="/v1/cluster">Cluster as JSON</a> · <a href="/v1/cluster/moves">Moves as JSON</a>'
        + ' · <a href="/readyz?verbose">Readiness</a></p>'
    )
    return _page(f"{cluster.get('cluster')} – Ringkeep", body)


def docs_page(document: dict[str, Any]) -> str:
    """Return the page of `/docs`, made from the OpenAPI document and the table of problems."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(path, method, operation))
    rows = [
        [f'<span id="{kind.slug}">{kind.slug}</span>', str(kind.status), escape(kind.title)]
        for kind in sorted(KINDS, key=lambda kind: kind.status)
    ]
    parts.append(
        "<h2>Problems</h2><p>Errors are <code>application/problem+json</code>; <code>outcome</code> says "
    )
    parts.append(
        "whether a write was applied: <code>not-applied</code> (and never will be), or <code>unknown</code>."
    )
    parts.append(_table(("type", "status", "title"), rows))
    return _page("Ringkeep API", "".join(parts))


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = [
        [f"<code>{escape(each['name'])}</code>", escape(each["in"]), escape(each.get("description", ""))]
        for each in operation.get("parameters", [])
    ]
    answers = [
        [escape(status), escape(answer["description"])] for status, answer in operation["responses"].items()
    ]
    return (
        f'<h2><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation['summary'])}</p>"
        + (_table(("parameter", "in", "meaning"), parameters) if parameters else "")
        + _table(("status", "meaning"), answers)
    )
