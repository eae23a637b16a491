"""`ringkeep list` and `ringkeep count`: keys of a range, over all partitions, through any node."""

import json
import sys
from typing import Annotated

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.key_ranges import go_on_after, key_range, readable
from ringkeep.cli.cluster.key_stream import KeyStream, bytes_of
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.streams import is_unicode
from ringkeep.cli.terminal.tables import show_json
from ringkeep.exit_codes import INTERRUPTED

Prefix = Annotated[
    str, typer.Argument(metavar="[PREFIX]", help="Only keys that begin with this.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        "list",
        epilog=options.examples(
            "ringkeep list",
            "ringkeep list order- --limit 20",
            "ringkeep list order- --after order-20 --values",
            "ringkeep list user/ --json | jq -r .version",
        ),
    )(list_keys)
    app.command(epilog=options.examples("ringkeep count", "ringkeep count order-"))(count)


def list_keys(
    prefix: Prefix = "",
    after: options.After = None,
    before: options.Before = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many keys.")
    ] = None,
    values: Annotated[bool, typer.Option("--values", help="Print the value behind each key.")] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help='Print a line of JSON for each key: "key", "version", "ttl" in milliseconds if it expires, '
            'and with --values "value", "content_type". Bytes that are no UTF-8 are "key_base64", '
            '"value_base64".',
        ),
    ] = False,
) -> None:
    r"""List keys in byte order, one on each line, as they come.

    A key that is there from the beginning to the end of the listing is listed once. With --values a tab
    stands between key and value. Backslashes, and bytes that cannot be shown, are written \\, \n, \t, \r and
    \xNN. --timeout is how long it may take from one part to the next.

    Exit code 4: the listing could not begin, or broke. Then standard error says where to go on.
    """
    wanted = key_range(prefix, after, before)
    parameters = {"limit": str(limit)} if limit is not None else {}
    if values:
        parameters["values"] = "true"
    stream = KeyStream(
        http_client.endpoints_of(endpoint), wanted.target(**parameters), http_client.timeout_ms_of(timeout)
    )
    try:
        for lines in stream.parts():
            if as_json:
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()
            else:
                sys.stdout.write("".join(_shown(line, values) for line in lines))
                sys.stdout.flush()
    except Failure as failure:
        raise Failure(f"{failure}; {_came_so_far(stream, limit)}", failure.exit_code) from None
    except KeyboardInterrupt:
        raise Failure(f"interrupted; {_came_so_far(stream, limit)}", INTERRUPTED) from None
    finally:
        stream.close()
    if stream.next and stream.last is not None and sys.stdout.isatty():
        print(f"there may be more: {_go_on(stream.last)}", file=sys.stderr)


def count(
    prefix: Prefix = "",
    after: options.After = None,
    before: options.Before = None,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "30s",
    as_json: options.Json = False,
) -> None:
    """Count keys. The nodes read all of them: it takes a while for many."""
    request = http_client.HttpRequest(
        "GET",
        key_range(prefix, after, before).target(count="true"),
        timeout_ms=http_client.timeout_ms_of(timeout),
        tell_deadline=True,
    )
    answer = http_client.send(http_client.endpoints_of(endpoint), request)
    found = http_client.object_of(answer)["count"]
    if as_json:
        show_json({"count": found})
    else:
        print(found)


def _shown(line: bytes, values: bool) -> str:
    row = json.loads(line)
    plain = not is_unicode(sys.stdout)
    key = readable(bytes_of(row, "key"), plain)
    return f"{key}\t{readable(bytes_of(row, 'value'), plain)}\n" if values else f"{key}\n"


def _came_so_far(stream: KeyStream, limit: int | None) -> str:
    """Return how far a listing came, and how to get the rest of it."""
    if stream.last is None:
        return "no key was listed"
    left = f" --limit {limit - stream.count}" if limit is not None else ""
    number = "1 key was" if stream.count == 1 else f"{stream.count:,} keys were"
    return f"{number} listed; {_go_on(stream.last)}{left}"


def _go_on(line: bytes) -> str:
    return f"go on with the same command and {go_on_after(bytes_of(json.loads(line), 'key'))}"
