"""The `ringkeep` command: which commands there are, and how each of them ends.

The commands import what they need when they run, so that `ringkeep get` starts fast, and works where only
the client is installed.
"""

import contextlib
import os
import sys
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from ringkeep import __version__
from ringkeep.cli import check, data, inspect, moves, node, recover, simulate, steer, up, zookeeper
from ringkeep.cli.failure import FAILED, INTERRUPTED, OK, REFUSED, USAGE, Failure
from ringkeep.errors import ConfigurationError, RingkeepError

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
    help="A distributed key-value store that keeps what it acknowledged.",
    epilog="\b\nStart here:\n  ringkeep up\n  ringkeep put hello world\n  ringkeep get hello",
    rich_markup_mode=None,  # plain help: loading rich would double the time that every command takes to start
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (up, node, zookeeper, data, inspect, moves, steer, recover, simulate, check):
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
    """Run one command and return its exit code. What a user can cause is one line on standard error."""
    try:
        code = app(args=arguments, prog_name="ringkeep", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except Failure as failure:
        return _fail(str(failure), failure.exit_code)
    except ConfigurationError as error:
        return _fail(str(error), getattr(error, "exit_code", REFUSED))
    except RingkeepError as error:
        return _fail(str(error), FAILED)
    except TyperException as error:
        return _fail(_usage(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in SERVER_PACKAGES:
            raise
        return _fail("only the client is installed here; this needs: pip install 'ringkeep[server]'", FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Python would complain at exit otherwise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", FAILED)
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run())


def _usage(error: TyperException) -> str:
    """Return what was wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ringkeep"
    problem = " ".join(error.format_message().split()).rstrip(".")
    return f"{problem} (see: {command} --help)"


def _fail(message: str, exit_code: int) -> int:
    with contextlib.suppress(OSError):  # nobody reads it any more; the exit code still says it
        print(f"ringkeep: {message}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    main()
