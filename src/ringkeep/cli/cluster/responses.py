"""Reads the JSON that a node answered, leniently: a newer or an older node may send more members, or fewer.

Knows JSON and how its parts are printed; nothing of the network.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def items(answer: Mapping[str, Any], name: str) -> list[Json]:
    """Return a list of objects, [] where there is none."""
    value = answer.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(answer: Mapping[str, Any], name: str) -> int | float:
    """Return a number, 0 where there is none."""
    value = answer.get(name)
    return value if isinstance(value, int | float) else 0


def seconds(answer: Mapping[str, Any], name: str) -> float | None:
    """Return a duration, None where it is unknown."""
    value = answer.get(name)
    return float(value) if isinstance(value, int | float) else None


def text(answer: Mapping[str, Any], name: str) -> str:
    """Return a member as a person reads it."""
    return cell(answer.get(name))


def cell(value: object) -> str:
    """Return any value as the cell of a table."""
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(part)}" for name, part in value.items())
    return str(value)


def counted(count: float, name: str, names: str = "") -> str:
    """Return "1 replica", "2 replicas"; `names` where the plural is no plain s."""
    return f"{count:,} {name if count == 1 else names or name + 's'}"


def same_member(cluster: Mapping[str, Any], member: Mapping[str, Any]) -> Json | None:
    """Return a member as `/v1/cluster` shows it now; None if it is not a member any more.

    Compares the id: a later node may have the same name.
    """
    return next((each for each in items(cluster, "members") if each.get("id") == member.get("id")), None)
