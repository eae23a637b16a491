"""All commands of `ringkeep`, as one typer application.

The commands import what they need when they run, so that `ringkeep get` starts quickly, and works where only
the client is installed.
"""

from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from ringkeep import __version__
from ringkeep.cli.commands import (
    batch,
    bench,
    check,
    export_records,
    import_records,
    kv,
    moves,
    node,
    nodes,
    operations,
    ranges,
    recover,
    simulate,
    status,
    up,
    wait,
    watch,
    zookeeper,
)
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.help import GroupedCommands
from ringkeep.exit_codes import OK, USAGE

app = typer.Typer(
    name="ringkeep",
    cls=GroupedCommands,
    help="A distributed key-value store that keeps what it acknowledged.",
    epilog="\b\nStart here:\n  ringkeep up\n  ringkeep put hello world\n  ringkeep get hello",
    rich_markup_mode=None,  # plain help: loading rich would double the time that every command takes to start
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    up,
    node,
    zookeeper,
    kv,
    ranges,
    operations,
    batch,
    import_records,
    export_records,
    bench,
    watch,
    status,
    wait,
    moves,
    nodes,
    recover,
    simulate,
    check,
):
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


def invoke(arguments: list[str]) -> int:
    """Run one command and return its exit code. Raises Failure if the command line is wrong."""
    try:
        code = app(args=arguments, prog_name="ringkeep", standalone_mode=False)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        raise Failure(_usage(error), error.exit_code) from None
    return code if isinstance(code, int) else OK


def _usage(error: TyperException) -> str:
    """Return what was wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ringkeep"
    problem = " ".join(error.format_message().split()).rstrip(".")
    return f"{problem} (see: {command} --help)"
