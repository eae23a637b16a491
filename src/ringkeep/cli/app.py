"""The commands of `ringkeep`, as a typer application.

A command line that names a command loads the module of that one alone: importing all of them, and describing
them to typer, takes several times as long as `ringkeep get` itself. What a command needs beyond its
description it imports when it runs; so it also works where only the client is installed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Final

import typer
from typer.exceptions import Abort, TyperException

from ringkeep import __version__
from ringkeep.cli.plain import NotPlain, arguments_of
from ringkeep.cli.terminal.failure import Failure
from ringkeep.cli.terminal.help import GroupedCommands
from ringkeep.exit_codes import OK, USAGE

COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "up": ("up",),
    "dev": ("dev",),
    "node": ("node",),
    "zookeeper": ("zookeeper",),
    "kv": ("put", "get", "delete"),
    "ranges": ("list", "count"),
    "operations": ("add", "append", "swap", "take", "touch", "persist"),
    "batch": ("batch",),
    "import_records": ("import",),
    "export_records": ("export",),
    "bench": ("bench",),
    "watch": ("watch",),
    "status": ("status", "members", "partitions", "ring", "where"),
    "wait": ("wait",),
    "moves": ("moves", "plan"),
    "nodes": ("drain", "undrain", "decommission", "forget", "weight", "settings"),
    "recover": ("recover",),
    "simulate": ("simulate",),
    "check": ("check",),
}
"""The modules of `cli.commands`, and the commands that each adds."""


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the application: with the commands of one module if that is what a command line asks for, else
    with all of them."""
    module = _module_of(arguments[0]) if arguments else None
    return _made(COMMANDS if module is None else [module])


def _module_of(command: str) -> str | None:
    return next((module for module, names in COMMANDS.items() if command in names), None)


def _made(modules: Iterable[str]) -> typer.Typer:
    app = typer.Typer(
        name="ringkeep",
        cls=GroupedCommands,
        help="A distributed key-value store that keeps what it acknowledged.",
        epilog="\b\nStart here:\n  ringkeep up\n  ringkeep put hello world\n  ringkeep get hello",
        rich_markup_mode=None,  # plain help: loading rich would double the time that it takes to start
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_start,
        invoke_without_command=True,
    )
    for module in modules:
        import_module(f"ringkeep.cli.commands.{module}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ringkeep {__version__}")
        raise typer.Exit


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
    plain = _plain(arguments)
    if plain is not None:
        return plain()
    try:
        code = application(arguments)(args=arguments, prog_name="ringkeep", standalone_mode=False)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        raise Failure(_usage(error), error.exit_code) from None
    return code if isinstance(code, int) else OK


def _plain(arguments: list[str]) -> Callable[[], int] | None:
    """Return what runs a plain command line; None for one that is left to typer."""
    if not arguments:
        return None
    for command in application(arguments).registered_commands if _module_of(arguments[0]) else ():
        function = command.callback
        assert function is not None, "a command calls something"
        name = command.name or function.__name__
        if name == arguments[0] and not command.context_settings:
            try:
                values = arguments_of(function, arguments[1:])
            except NotPlain:
                return None
            return partial(_run, function, values)
    return None


def _run(function: Callable[..., object], values: dict[str, object]) -> int:
    try:
        function(**values)
    except typer.Exit as end:
        return end.exit_code
    return OK


def _usage(error: TyperException) -> str:
    """Return what was wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ringkeep"
    problem = " ".join(error.format_message().split()).rstrip(".")
    return f"{problem} (see: {command} --help)"
