"""`ringkeep moves` and `ringkeep plan`: what is moved, what would be moved, and holding it."""

import json
import os
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import typer

from ringkeep.cli.cluster import http_client, wait
from ringkeep.cli.cluster.cluster_poller import MOVES, ClusterPoller
from ringkeep.cli.cluster.responses import Json, cell, counted, items, number, seconds, text
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.tables import drawn_table, show_json, show_table
from ringkeep.cli.terminal.units import duration, size
from ringkeep.core.protocol.limits import WEIGHTS
from ringkeep.exit_codes import INTERRUPTED, UNAVAILABLE, USAGE

PLAN: Final = "/v1/cluster/plan"
COLUMNS: Final = ("PARTITION", "FROM", "TO", "STATE", "BYTES", "DONE", "RATE", "LEFT", "WAITS FOR")
SHOWN_FINISHED: Final = 10
SHOWN_PLANNED: Final = 20
DONE: Final = {
    "pause": "moves are paused: what is under way stays where it is; go on: ringkeep moves resume",
    "resume": "moves go on",
    "cancel": "moves are cancelled: what is under way goes back, leaving nodes stay; nothing begins until: "
    "ringkeep moves resume",
}

SHOWN_AS: Final = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
LOOK_S: Final = 0.1

plan_commands = typer.Typer(
    help="Show what a join or a leave would move, without moving it.",
    epilog=options.examples("ringkeep plan join node-6 --zone rack-2", "ringkeep plan leave node-3"),
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(
        epilog=options.examples(
            "ringkeep moves", "ringkeep moves --watch", "ringkeep moves pause", "ringkeep moves resume"
        )
    )(moves)
    app.add_typer(plan_commands, name="plan")


def moves(
    action: Annotated[
        Literal["pause", "resume", "cancel"] | None,
        typer.Argument(
            metavar="pause|resume|cancel",
            help="Hold all moves, let them go on, or undo what is under way. Nothing: show them.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing them until none is left.")] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show which replicas move between nodes: planned, under way, finished."""
    watched = ClusterPoller(http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout))
    if action is not None:
        if watch:
            raise Failure(f"--watch only shows; give it without {action}", USAGE)
        answer = watched.order(f"{MOVES}/{action}")
        _carried_out(watched, action)
        if as_json:
            show_json(answer)
        else:
            print(DONE[action])
    elif watch:
        _watch(watched, as_json)
    else:
        found = http_client.get_json(endpoint, MOVES, timeout)
        if as_json:
            show_json(found)
        else:
            print(summary(found))
            if rows := list(_rows(found)):
                show_table(COLUMNS, rows)


def _carried_out(watched: ClusterPoller, action: str) -> None:
    """Wait until an order shows: it is taken at once, and carried out after that. Raises Failure (4)."""
    deadline = time.monotonic() + watched.timeout_ms / 1_000
    while text(watched.moves(), "state") != SHOWN_AS[action]:
        if time.monotonic() >= deadline:
            late = f"{action} was ordered, and is not carried out yet; look again: ringkeep moves"
            raise Failure(late, UNAVAILABLE)
        time.sleep(LOOK_S)


def summary(document: Json) -> str:
    """Return the moves in one line."""
    running, planned = len(items(document, "running")), len(items(document, "planned"))
    state = text(document, "state")
    if not running and not planned:
        return "no moves are planned or under way" + ("" if state == "running" else f"; they are {state}")
    parts = [f"{running} under way, {planned} planned", f"{size(number(document, 'bytes_left'))} left"]
    if number(document, "rate"):
        parts.append(f"{size(number(document, 'rate'))}/s")
    if (left := seconds(document, "seconds_left")) is not None:
        parts.append(f"about {duration(left)}")
    return f"moves are {state}: {', '.join(parts)}"


def _rows(document: Json) -> Iterator[list[str]]:
    """Yield the rows of the table: what is under way, the next planned ones, the latest finished ones."""
    for move in items(document, "running"):
        yield _row(
            move, text(move, "stage"), size(number(move, "bytes_done")), f"{size(number(move, 'rate'))}/s"
        )
    planned = items(document, "planned")
    for move in planned[:SHOWN_PLANNED]:
        yield _row(move, "planned")
    if len(planned) > SHOWN_PLANNED:
        yield ["…", "", "", f"{len(planned) - SHOWN_PLANNED} more planned", "", "", "", "", ""]
    for move in items(document, "finished")[:SHOWN_FINISHED]:
        yield _row(move, f"{text(move, 'outcome')} {duration(seconds(move, 'age'))} ago")


def _row(move: Json, state: str, done: str = "–", rate: str = "–") -> list[str]:
    return [
        *(cell(move.get(name)) for name in ("partition", "from", "to")),
        state,
        size(number(move, "bytes")),
        done,
        rate,
        duration(seconds(move, "seconds_left")),
        "; ".join(wait.reasons_of(move)) or "–",
    ]


# --- watching ------------------------------------------------------------------------------------------


def _watch(watched: ClusterPoller, as_json: bool) -> None:
    """Show moves until none is left: a table that is redrawn on a terminal, JSON lines for programs, else
    nothing but what holds them up."""
    began = time.monotonic()
    try:
        for _ in _shown(watched, as_json):
            time.sleep(wait.POLL_S)
    except KeyboardInterrupt:
        go_on = "the moves go on; hold them: ringkeep moves pause"
        raise Failure(f"not watching any more; {go_on}", INTERRUPTED) from None
    if not as_json:
        print(f"no moves are planned or under way any more, {duration(time.monotonic() - began)}")


def _shown(watched: ClusterPoller, as_json: bool) -> Iterator[None]:
    """Show the moves at each step, until none is left."""
    stuck, last = wait.Stuck(), ""
    with ProgressLine() as progress, _Table(progress.on_terminal and not as_json) as table:
        while True:
            cluster, document = watched.look(), watched.moves()
            if cluster is not None and "running" in document:
                line = json.dumps(document, ensure_ascii=False)
                if as_json and line != last:
                    print(line, flush=True)
                last = line
                table.show(document)
                count = len(items(document, "running")) + len(items(document, "planned"))
                if not count:
                    return
                news = stuck.news((count, document.get("bytes_left")), wait.held_up(cluster, document))
                if news and not table.drawn:  # the table says it by itself
                    progress.say(news)
            yield


class _Table:
    """The moves on a terminal, redrawn; nothing unless `drawn`."""

    def __init__(self, drawn: bool) -> None:
        self.drawn = drawn
        self._live: Any = None

    def __enter__(self) -> "_Table":
        if self.drawn:
            from rich.live import Live

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, document: Json) -> None:
        """Draw it anew."""
        if self._live is not None:
            from rich.console import Group

            table = drawn_table(COLUMNS, list(_rows(document)))
            self._live.update(Group(summary(document), table), refresh=True)


# --- plans ---------------------------------------------------------------------------------------------


@plan_commands.command(epilog=options.examples("ringkeep plan join node-6 --zone rack-2 --weight 2"))
def join(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a node that would be added.")],
    zone: Annotated[str, typer.Option(metavar="ZONE", help="Its zone [default: its name].")] = "",
    weight: Annotated[
        int,
        typer.Option(metavar="W", min=WEIGHTS[0], max=WEIGHTS[-1], help="Its share of the data."),
    ] = 1,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show what a new node of that name would take over, and from whom."""
    query = {"join": name, "weight": str(weight)} | ({"zone": zone} if zone else {})
    _show_plan(query, endpoint, timeout, as_json)


@plan_commands.command(epilog=options.examples("ringkeep plan leave node-3"))
def leave(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a node of the cluster.")],
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show where everything of a node would go if it left."""
    _show_plan({"leave": name}, endpoint, timeout, as_json)


def _show_plan(query: dict[str, str], endpoint: str | None, timeout: str, as_json: bool) -> None:
    raw = {name: os.fsencode(value) for name, value in query.items()}
    plan = http_client.get_json(endpoint, PLAN, timeout, **raw)
    if as_json:
        show_json(plan)
        return
    moved = f"{counted(number(plan, 'replicas'), 'replica')} will move ({size(number(plan, 'bytes'))})"
    print(
        f"if {text(plan, 'node')} {text(plan, 'action')}s, {moved}; "
        f"the least possible is {number(plan, 'minimum'):,}"
    )
    fields = ("name", "replicas", "after", "primaries", "primaries_after")
    rows = [[cell(member.get(field)) for field in fields] for member in items(plan, "members")]
    show_table(("NAME", "REPLICAS", "AFTER", "PRIMARIES", "AFTER"), rows)
