"""`ringkeep wait`: until the cluster is healthy."""

import time
from typing import Annotated, Literal

import typer

from ringkeep.cli.cluster import http_client
from ringkeep.cli.cluster.cluster_poller import ClusterPoller
from ringkeep.cli.cluster.health import ANSWER_MS, POLL_S, exit_code_of, lines_of
from ringkeep.cli.cluster.responses import Json, items, text
from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.tables import show_json
from ringkeep.cli.terminal.units import duration
from ringkeep.exit_codes import OK, UNAVAILABLE


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog=options.examples(
            "ringkeep wait healthy                  # before the next node is restarted",
            "ringkeep wait healthy --timeout 10m    # after a disk was replaced",
        )
    )(wait)


def wait(
    state: Annotated[Literal["healthy"], typer.Argument(metavar="healthy", help="What to wait for.")],
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait, like 30s, 10m or 2h.")
    ] = "60s",
    endpoint: options.Endpoint = None,
    as_json: options.Json = False,
) -> None:
    """Wait until every partition has all of its copies in sync, and tolerates one more failure.

    Then the exit code is 0. At the time-out it prints what is missing; the exit code is 5 if the cluster is
    degraded, 6 if some of it is unavailable, and 4 if no node answers.
    """
    limit_s = options.span_s(timeout)
    poller = ClusterPoller(http_client.endpoints_of(endpoint), ANSWER_MS)
    began = time.monotonic()
    with ProgressLine() as progress:
        while True:
            cluster, problem = _look(poller)
            spent = time.monotonic() - began
            code = exit_code_of(cluster) if cluster is not None else UNAVAILABLE
            if code == OK or spent >= limit_s:
                break
            lines = lines_of(cluster) if cluster is not None else [problem]
            progress.show(f"{_said(cluster)}: {'; '.join(lines)}")
            time.sleep(min(POLL_S, limit_s - spent))
            poller.timeout_ms = max(1, min(ANSWER_MS, int((limit_s - spent) * 1_000)))
    if as_json:
        health = cluster.get("health") if cluster is not None else None
        missing = items(cluster, "missing") if cluster is not None else []
        show_json({"health": health, "seconds": round(spent, 3), "missing": missing})
    elif code == OK:
        print(f"healthy, {duration(spent)}")
    if code != OK:
        reasons = "; ".join(lines_of(cluster)) if cluster is not None else problem
        raise Failure(f"not {state} after {duration(spent)}: {_said(cluster)}: {reasons}", code)


def _look(poller: ClusterPoller) -> tuple[Json | None, str]:
    """Return `/v1/cluster` of a node that is up to date; None, and why, if there is none just now."""
    try:
        cluster = poller.look()
    except Failure as failure:
        if failure.exit_code != UNAVAILABLE:
            raise
        return None, str(failure)
    return cluster, "waiting for a node that answers and is up to date"


def _said(cluster: Json | None) -> str:
    return "no answer" if cluster is None else text(cluster, "health")
