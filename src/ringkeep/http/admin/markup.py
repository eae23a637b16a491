"""Building blocks of the HTML pages: a frame with its style, and tables. No script, no other host."""

from html import escape
from typing import Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2430;
background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid #dde3ea;vertical-align:top}th{color:#56606d;font-weight:600}
code,pre{font-family:ui-monospace,monospace;background:#f2f5f8;border-radius:4px;padding:.1rem .3rem}
pre{padding:.8rem;overflow:auto}h1{margin-bottom:0}h2{margin-top:2rem}h2,h3{margin-bottom:.3rem}.healthy{color:#0a7a3d}.degraded{color:#9a6700}
.unavailable{color:#b42318}.method{font-weight:700}
@media(prefers-color-scheme:dark){body{color:#e4e9f0;background:#11161d}th,td{border-color:#2a323d}
th{color:#9aa6b4}code,pre{background:#1b222c}a{color:#7db3ff}.healthy{color:#4cc38a}.degraded{color:#f1a10d}
.unavailable{color:#ff9592}}
"""


def page(title: str, body: str) -> str:
    """Return a whole page; `title` is text, `body` is markup."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table; the cells are escaped already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
