"""Plain command lines are read without typer's reader, and mean the same; and they load little."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import typer
import typer.testing
from tests.support.cli.fake_node import FakeNode

from ringkeep.cli import app
from ringkeep.cli.plain import NotPlain, arguments_of

PLAIN = (
    ("get", "k"),
    ("get", "k", "--stale", "--verbose", "--json", "--timeout", "2s", "--endpoint=a:1,b:2"),
    ("put", "k"),
    ("put", "k", "-"),
    ("put", "--ttl=30s", "k", "v", "--if-absent"),
    ("put", "k", "", "--timeout="),
    ("put", "k", "a=b"),
    ("delete", "k"),
    ("delete", "--prefix", "p", "--after", "q"),
    ("list",),
    ("list", "p", "--values", "--json"),
    ("count", "p"),
    ("append", "k", "v"),
    ("touch", "k", "5m"),
    ("persist", "k"),
    ("batch", "-", "--json"),
    ("export", "f", "--prefix", "p", "--resume"),
    ("status", "--wide"),
    ("members",),
    ("where", "k"),
)
NOT_PLAIN = (
    ("get",),
    ("get", "a", "b"),
    ("get", "k", "-v"),
    ("get", "k", "--colour"),
    ("get", "k", "--stale=yes"),
    ("get", "k", "--timeout"),
    ("get", "k", "--timeout", "1s", "--timeout", "2s"),
    ("get", "--", "-k"),
    ("get", "k", "--help"),
    ("put", "k", "v", "--if-version", "7"),  # it is bounded: typer checks that
    ("put", "k", "--file", "f"),
    ("touch", "k"),
)
HEAVY = frozenset(
    {"aiohttp", "asyncio", "kazoo", "msgspec", "multiprocessing", "pydantic", "rich", "urllib3", "yarl"}
)
"""What no plain data command may load: each costs more than the request."""


def function_of(command: str) -> Callable[..., Any]:
    """Return what a command calls."""
    for each in app.application([command]).registered_commands:
        assert each.callback is not None
        if (each.name or each.callback.__name__) == command:
            return each.callback
    raise AssertionError(command)


def as_typer_reads(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments with which typer calls a command."""
    seen: dict[str, Any] = {}
    application = app.application([words[0]])
    for each in application.registered_commands:
        function = each.callback
        assert function is not None
        if (each.name or function.__name__) == words[0]:
            each.callback = wraps(function)(lambda **values: seen.update(values))
    done = typer.testing.CliRunner().invoke(application, list(words))
    assert done.exit_code == 0, done.output
    return seen


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_plain_command_line_means_what_typer_reads(words: tuple[str, ...]) -> None:
    assert arguments_of(function_of(words[0]), words[1:]) == as_typer_reads(words)


@pytest.mark.parametrize("words", NOT_PLAIN, ids=" ".join)
def test_everything_else_is_left_to_typer(words: tuple[str, ...]) -> None:
    with pytest.raises(NotPlain):
        arguments_of(function_of(words[0]), words[1:])


def test_the_table_names_what_each_module_adds() -> None:
    for module, names in app.COMMANDS.items():
        commands = app.application([names[0]]).registered_commands
        added = [each.name or each.callback.__name__ for each in commands if each.callback is not None]
        groups = [each.name for each in app.application([names[0]]).registered_groups]
        assert {*added, *groups} == set(names), module


@pytest.mark.parametrize(
    "words", [("get", "k"), ("put", "k", "v"), ("delete", "k"), ("status",)], ids=lambda words: str(words[0])
)
def test_a_plain_command_loads_little(fake: Callable[..., FakeNode], words: tuple[str, ...]) -> None:
    cluster = json.dumps({"health": "healthy", "members": []}).encode()
    node = fake((200, {"ETag": '"3"'}, cluster if words[0] == "status" else b"v"))
    code = (
        "import sys; from ringkeep.cli import main\n"
        f"code = main.run({[*words, '--endpoint', node.url]!r})\n"
        f"print(code, *sorted({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)\n"
        "print(*(each for each in sys.modules if each.startswith('ringkeep.cli.commands.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    loaded, commands = done.stderr.decode().splitlines()[-2:]
    assert loaded == "0"
    assert len(commands.split()) <= 2, "the one that runs, and one that it shares something with"
