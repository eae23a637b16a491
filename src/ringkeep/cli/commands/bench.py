"""`ringkeep bench`: how fast a running cluster is, and how evenly."""

import contextlib
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringkeep.cli.terminal import options
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.progress_line import ProgressLine
from ringkeep.cli.terminal.tables import show_json
from ringkeep.exit_codes import FAILED, INTERRUPTED, UNAVAILABLE, USAGE

if TYPE_CHECKING:
    from ringkeep.cli.load.generator import Generator
    from ringkeep.cli.load.tally import Tally
    from ringkeep.cli.load.workload import Workload


Mix = Annotated[
    str,
    typer.Option(
        "--mix",
        metavar="OP=N[,…]",
        help="Shares of get, put, delete and batch (of puts).",
        show_default=True,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        min=0.1,
        help="Open loop: so many requests each second, and latencies from when they should have been "
        "sent. Without it, closed loop: each connection sends when it has its last answer.",
    ),
]
Duration = Annotated[str, typer.Option("--duration", metavar="TIME", help="How long to measure.")]
WarmUp = Annotated[
    str, typer.Option("--warm-up", metavar="TIME", help="Load before that, which is not measured.")
]
Connections = Annotated[
    int, typer.Option("--connections", metavar="N", min=1, max=10_000, help="Requests under way at most.")
]
Keys = Annotated[
    int, typer.Option("--keys", metavar="N", min=1, max=10_000_000, help="How many keys there are.")
]
ValueSize = Annotated[
    str, typer.Option("--value-size", metavar="N[,N]", help="Bytes of a value; several are as likely.")
]
Distribution = Annotated[
    str, typer.Option("--distribution", metavar="uniform|zipf", help="Which keys are asked for.")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", metavar="N", min=1, max=1_000, help="Operations of a batch.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow/--no-follow", help="Ask each key's primary, or only the endpoints in turn."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the keys there.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=options.examples(
            "ringkeep bench",
            "ringkeep bench --mix get=90,put=10 --rate 2000 --duration 60s",
            "ringkeep bench --mix put=1 --value-size 100,10000 --connections 16",
            "ringkeep bench --keys 1000000 --distribution zipf --json",
        )
    )(bench)


def bench(
    mix: Mix = "get=50,put=50",
    rate: Rate = None,
    duration: Duration = "10s",
    warm_up: WarmUp = "2s",
    connections: Connections = 32,
    keys: Keys = 10_000,
    value_size: ValueSize = "100",
    distribution: Distribution = "uniform",
    batch_size: BatchSize = 100,
    follow: Follow = True,
    keep: Keep = False,
    endpoint: options.Endpoint = None,
    timeout: options.Timeout = "5s",
    as_json: options.Json = False,
) -> None:
    """Put load on a cluster, and measure throughput and latencies.

    Its keys have a prefix of their own; they are written first, and deleted at the end. Nothing is repeated:
    what a client would try again is an error here, counted by its kind. docs/tools.md describes the method.

    Exit code 0: measured. 1: no request was answered. 4: the cluster cannot be reached.
    """
    from ringkeep.cli.cluster import http_client
    from ringkeep.cli.cluster.cluster_poller import PARTITIONS, ClusterPoller
    from ringkeep.cli.load.generator import Generator
    from ringkeep.cli.load.route import Route
    from ringkeep.cli.load.workload import Workload, mix_of, sizes_of

    if distribution not in ("uniform", "zipf"):
        raise Failure(f"--distribution: '{distribution}' is none of uniform, zipf", USAGE)
    prefix = f"ringkeep-bench-{secrets.token_hex(4)}/"
    try:
        workload = Workload(
            prefix, mix_of(mix),
            keys=keys, sizes=sizes_of(value_size), distribution=distribution, batch=batch_size,
        )  # fmt: skip
    except ValueError as error:
        raise Failure(str(error), USAGE) from None
    seconds, warm_up_s = options.span_s(duration), options.span_s(warm_up)
    endpoints, timeout_ms = http_client.endpoints_of(endpoint), http_client.timeout_ms_of(timeout)
    poller = ClusterPoller(endpoints, timeout_ms)
    route = Route(endpoints, follow)
    route.learn(poller.cluster(), http_client.get_json(",".join(poller.endpoints), PARTITIONS, timeout))
    generator = Generator(workload, route, connections=connections, rate=rate, timeout_s=timeout_ms / 1_000)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    loop = "closed loop" if rate is None else f"open loop of {rate:g} requests/s"
    about = (
        f"{connections} connections to {route.nodes} nodes, {loop}, {mix}; {keys:,} keys, values of "
        f"{value_size} bytes, {distribution}"
    )
    tally, stopped = _measured(generator, workload, endpoints, warm_up_s, seconds, keep)
    _tell(tally, about, rate, as_json)
    if stopped:
        raise Failure("interrupted; the figures are of the time until then", INTERRUPTED)
    if not tally.latencies:
        raise typer.Exit(FAILED)


def _measured(
    generator: "Generator",
    workload: "Workload",
    endpoints: list[str],
    warm_up_s: float,
    seconds: float,
    keep: bool,
) -> tuple["Tally", bool]:
    """Write the keys, measure, and delete them; return what was measured, and whether it was interrupted."""
    import asyncio

    from ringkeep.client import AsyncClient, StoreError

    stopped = False

    async def run() -> "Tally":
        nonlocal stopped

        def stop() -> None:
            nonlocal stopped
            stopped = True
            generator.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        async with AsyncClient([f"http://{each}" for each in endpoints], timeout=30) as client:
            with ProgressLine() as progress:
                try:
                    await _fill(client, workload, progress, lambda: stopped)
                    return await generator.run(warm_up_s, seconds, _Shown(progress, warm_up_s, seconds))
                except StoreError as error:
                    raise Failure(f"writing the keys: {error.detail}", UNAVAILABLE) from None
                finally:
                    if not keep:
                        progress.show("deleting the keys")
                        await _clean(client, workload.prefix)

    return _runner()(run()), stopped


def _runner() -> Any:
    """Return what runs a coroutine: uvloop's where it is installed."""
    import asyncio

    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run
    return asyncio.run


async def _fill(client: Any, workload: "Workload", progress: ProgressLine, is_stopped: Any) -> None:
    """Write every key, so that reads find them."""
    largest = max(max(workload.sizes), 1)
    most = max(1, min(1_000, (1 << 20) // largest))
    for begin in range(0, workload.keys, most):
        if is_stopped():
            return
        numbers = range(begin, min(begin + most, workload.keys))
        if largest > 256 << 10:
            for number in numbers:
                await client.put(workload.key(number), workload.value())
        else:
            await client.put_many({workload.key(number): workload.value() for number in numbers})
        progress.show(f"writing the keys: {numbers.stop:,} of {workload.keys:,}")


async def _clean(client: Any, prefix: str) -> None:
    from ringkeep.client import StoreError

    try:
        await client.delete_prefix(prefix)
    except StoreError as error:
        how = f"ringkeep delete --prefix {prefix}"
        print(
            f"ringkeep: its keys were not all deleted: {error.detail}; delete them with {how}",
            file=sys.stderr,
        )


class _Shown:
    """Shows each second what it has brought."""

    def __init__(self, progress: ProgressLine, warm_up_s: float, seconds: float) -> None:
        self._progress = progress
        self._warm_up_s = warm_up_s
        self._seconds = seconds
        self._before = 0
        self._tally: Tally | None = None
        self._second = 0

    def __call__(self, tally: "Tally") -> None:
        from ringkeep.cli.load import report

        if tally is not self._tally:
            self._tally, self._before = tally, 0
        self._second += 1
        label = f"{self._second} of {self._warm_up_s + self._seconds:.0f} s"
        self._progress.show(report.progress(tally, self._before, label))
        self._before = tally.all.count


def _tell(tally: "Tally", about: str, rate: float | None, as_json: bool) -> None:
    from ringkeep.cli.load import report

    found = report.warnings(tally, rate)
    if as_json:
        show_json({"about": about, **tally.document(), "warnings": found})
        return
    print(f"{tally.seconds:.1f} s measured: {about}")
    report.show(tally)
    for each in found:
        print(f"warning: {each}")
