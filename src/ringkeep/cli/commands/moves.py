"""`ringkeep moves` and `ringkeep plan`: show, pause or cancel moves; preview a join or a leave."""

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
    "pause": "moves are paused; those under way keep their state; to resume: ringkeep moves resume",
    "resume": "moves are resumed",
    "cancel": "moves are cancelled: those under way are rolled back, leaving nodes stay; none starts until: "
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
            help="Pause all moves, resume them, or roll back those under way. Without it: show them.",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing them until none is left.")] = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show which replicas move between nodes: planned, under way, finished."""
    poller = ClusterPoller(http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout))
    if action is not None:
        if watch:
            raise Failure(
                f"--watch only shows moves, nothing was ordered; leave out --watch or {action}", USAGE
            )
        answer = poller.order(f"{MOVES}/{action}")
        _carried_out(poller, action)
        if as_json:
            show_json(answer)
        else:
            print(DONE[action])
    elif watch:
        _watch(poller, as_json)
    else:
        found = http_client.get_json(endpoint, MOVES, timeout)
        if as_json:
            show_json(found)
        else:
            print(summary(found))
            if rows := list(_rows(found)):
                show_table(COLUMNS, rows)


def _carried_out(poller: ClusterPoller, action: str) -> None:
    """Wait until an accepted order has taken effect. Raises Failure (4)."""
    deadline = time.monotonic() + poller.timeout_ms / 1_000
    while text(poller.moves(), "state") != SHOWN_AS[action]:
        if time.monotonic() >= deadline:
            late = f"{action} was accepted, but has not taken effect yet; check with: ringkeep moves"
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
    """Yield the rows of the table: the moves under way, the next planned ones, the latest finished ones."""
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


def _watch(poller: ClusterPoller, as_json: bool) -> None:
    """Show moves until none is left: on a terminal a table that is redrawn, JSON lines for programs, else
    only the reasons why there is no progress."""
    began = time.monotonic()
    try:
        for _ in _shown(poller, as_json):
            time.sleep(wait.POLL_S)
    except KeyboardInterrupt:
        hint = "the moves continue; to pause them: ringkeep moves pause"
        raise Failure(f"stopped watching; {hint}", INTERRUPTED) from None
    if not as_json:
        print(f"no moves are planned or under way any more, {duration(time.monotonic() - began)}")


def _shown(poller: ClusterPoller, as_json: bool) -> Iterator[None]:
    """Show the moves at each step, until none is left."""
    stuck, last = wait.Stuck(), ""
    with ProgressLine() as progress, _Table(progress.on_terminal and not as_json) as table:
        while True:
            cluster, document = poller.look(), poller.moves()
            if cluster is not None and "running" in document:
                line = json.dumps(document, ensure_ascii=False)
                if as_json and line != last:
                    print(line, flush=True)
                last = line
                table.show(document)
                count = len(items(document, "running")) + len(items(document, "planned"))
                if not count:
                    return
                report = stuck.report((count, document.get("bytes_left")), wait.held_up(cluster, document))
                if report and not table.drawn:  # the table has a column for it
                    progress.say(report)
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
        """Redraw it."""
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
    """Show which replicas a new node of that name would get, and how the others would change."""
    query = {"join": name, "weight": str(weight)} | ({"zone": zone} if zone else {})
    _show_plan(query, endpoint, timeout, as_json)


@plan_commands.command(epilog=options.examples("ringkeep plan leave node-3"))
def leave(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a node of the cluster.")],
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Show where a node's replicas would go if it left."""
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
        f"the minimum is {number(plan, 'minimum'):,}"
    )
    fields = ("name", "replicas", "after", "primaries", "primaries_after")
    rows = [[cell(member.get(field)) for field in fields] for member in items(plan, "members")]
    show_table(("NAME", "REPLICAS", "AFTER", "PRIMARIES", "AFTER"), rows)
