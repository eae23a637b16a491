"""Reads a plain command line as typer would, without typer's reader: that loads pydantic to check each value,
which takes longer than the request of `ringkeep get`.

Plain are words, whole numbers and flags, each once. Everything else is left to typer, and all that is wrong,
which it explains.
"""

import re
import types
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_READ: Final = (str, int, bool)


class NotPlain(Exception):
    """This command line is for typer."""


def arguments_of(function: Callable[..., Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments with which typer would call this command. Raises NotPlain."""
    options, places, values = _parameters(function)
    left = iter(words)
    given: set[str] = set()
    for word in left:
        if not word.startswith("-") or word == "-":
            if not places:
                raise NotPlain
            name, kind = places.pop(0)
            text: str | None = word
        else:
            flag, joined, text = word.partition("=")
            if flag not in options:
                raise NotPlain
            name, kind = options[flag]
            if kind is bool:
                text = None if not joined else word
            elif not joined:
                text = next(left, "-")
                if text.startswith("-"):
                    raise NotPlain
        if name in given:
            raise NotPlain
        given.add(name)
        values[name] = _value(kind, text)
    if any(value is Parameter.empty for value in values.values()):
        raise NotPlain
    return values


_Read = tuple[str, type]


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, _Read], list[_Read], dict[str, Any]]:
    """Return a command's options by flag, its arguments in order, and the defaults of both."""
    options: dict[str, _Read] = {}
    places: list[_Read] = []
    values: dict[str, Any] = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in signature(function).parameters.items():
        hint = hints[name]
        if get_origin(hint) is not Annotated:
            raise NotPlain
        inner, info = get_args(hint)[:2]
        kind = _kind(inner)
        if info.envvar or info.callback or info.parser:
            raise NotPlain
        values[name] = parameter.default
        if isinstance(info, ArgumentInfo):
            places.append((name, kind if kind in (str, int) and not _bounded(info) else object))
        elif isinstance(info, OptionInfo):
            flags = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
            for flag in flags:
                plain = flag.startswith("--") and "/" not in flag and kind in _READ and not _bounded(info)
                options[flag] = (name, kind if plain else object)
    return options, places, values


def _kind(hint: Any) -> type:
    """Return the type of a hint, without None."""
    if get_origin(hint) in (Union, types.UnionType):
        some = [each for each in get_args(hint) if each is not types.NoneType]
        return some[0] if len(some) == 1 and isinstance(some[0], type) else object
    return hint if isinstance(hint, type) else object


def _bounded(info: ArgumentInfo | OptionInfo) -> bool:
    return info.min is not None or info.max is not None


def _value(kind: type, text: str | None) -> Any:
    if kind is bool and text is None:
        return True
    if kind is str:
        return text
    if kind is int and text is not None and _NUMBER.fullmatch(text):
        return int(text)
    raise NotPlain
