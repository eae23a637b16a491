"""The `ringkeep` command: registers the commands, and turns their errors into one line and an exit code.

The commands import what they need when they run, so that `ringkeep get` starts quickly, and works where only
the client is installed.
"""

import contextlib
import json
import sys
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from ringkeep import __version__
from ringkeep.cli.commands import (
    check,
    kv,
    moves,
    node,
    nodes,
    recover,
    simulate,
    status,
    up,
    wait,
    zookeeper,
)
from ringkeep.cli.terminal import streams
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.help import GroupedCommands
from ringkeep.errors import ConfigurationError, RingkeepError, StorageError
from ringkeep.exit_codes import FAILED, INTERRUPTED, OK, REFUSED, USAGE

SERVER_PACKAGES: Final = frozenset(
    {
        "google_crc32c",
        "httptools",
        "kazoo",
        "prometheus_client",
        "rocksdict",
        "starlette",
        "uvicorn",
        "uvloop",
    }
)

app = typer.Typer(
    name="ringkeep",
    cls=GroupedCommands,
    help="A distributed key-value store that keeps what it acknowledged.",
    epilog="\b\nStart here:\n  ringkeep up\n  ringkeep put hello world\n  ringkeep get hello",
    rich_markup_mode=None,  # plain help: loading rich would double the time that every command takes to start
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (up, node, zookeeper, kv, status, wait, moves, nodes, recover, simulate, check):
    group.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ringkeep {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code. An error that a user can cause is one line on standard error.

    With --json among the arguments that line is a JSON object.
    """
    streams.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given[: given.index("--")] if "--" in given else "--json" in given
    try:
        try:
            code = app(args=arguments, prog_name="ringkeep", standalone_mode=False)
        finally:
            streams.flush_output()
        return code if isinstance(code, int) else OK
    except BrokenPipeError:
        return FAILED  # the reader of our output closed the pipe (`| head`)
    except (KeyboardInterrupt, Abort):
        _say(Failure("interrupted", INTERRUPTED), as_json)
        return INTERRUPTED
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        _say(problem, as_json)
        return problem.exit_code


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run())


def _problem(error: Exception) -> Failure | None:
    """Return the line and the exit code of an error that a user can cause; None for a defect."""
    match error:
        case Failure():
            return error
        case ConfigurationError():
            return Failure(str(error), getattr(error, "exit_code", REFUSED))
        case StorageError():
            return Failure(str(error))
        case RingkeepError():
            return Failure(str(error), FAILED)
        case TyperException():
            return Failure(_usage(error), error.exit_code)
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in SERVER_PACKAGES:
            return Failure("only the client is installed here; this needs: pip install 'ringkeep[server]'")
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return Failure(f"{where}{error.strerror or error}")
    return None


def _usage(error: TyperException) -> str:
    """Return what was wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ringkeep"
    problem = " ".join(error.format_message().split()).rstrip(".")
    return f"{problem} (see: {command} --help)"


def _say(problem: Failure, as_json: bool) -> None:
    text = f"ringkeep: {problem}"
    if as_json:
        text = json.dumps({"status": "Failed", "error": str(problem), "exit_code": problem.exit_code})
    with contextlib.suppress(OSError):  # standard error is closed; the exit code still reports the failure
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
