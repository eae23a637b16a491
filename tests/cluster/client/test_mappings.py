"""The mapping and the shelf of ringkeep.contrib do what a dict and the standard library's shelf do."""

import random
import shelve as standard
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.cluster import HOST, Cluster

from ringkeep.client import JSON, Client, Conflict, json_of
from ringkeep.contrib import shelve
from ringkeep.contrib.mapping import StoreMapping

pytestmark = pytest.mark.cluster


@pytest.fixture
def endpoints(nodes: Cluster) -> list[str]:
    return [f"http://{HOST}:{nodes.places[name].http}" for name in nodes.names]


@pytest.fixture
def store(endpoints: list[str]) -> Iterator[Client[Any]]:
    with Client(endpoints, codec=JSON) as client:
        yield client
        client.delete_prefix("m/")


@pytest.fixture
def mapping(store: Client[Any]) -> StoreMapping[str, Any]:
    return StoreMapping(store, "m/")


def test_it_does_what_a_dict_does(mapping: StoreMapping[str, Any]) -> None:
    """The same random operations on both, compared after each."""
    chance = random.Random(7)
    known: dict[str, Any] = {}
    keys = ["", "a", "b/c", "ä €", "d"]

    def outcome(of: Any, name: str, *arguments: Any) -> object:
        try:
            return getattr(of, name)(*arguments)
        except KeyError as error:
            return type(error)

    for number in range(150):
        key = chance.choice(keys)
        steps: list[tuple[Any, ...]] = [
            ("__getitem__", key), ("__setitem__", key, number), ("__setitem__", key, None),
            ("__delitem__", key), ("__contains__", key), ("get", key), ("get", key, 7), ("pop", key),
            ("pop", key, None), ("setdefault", key, number), ("update", {key: number, "x": 1}),
            ("update", [(key, number)]), ("__len__",),
        ]  # fmt: skip
        name, *arguments = chance.choice(steps)
        assert outcome(mapping, name, *arguments) == outcome(known, name, *arguments), (
            number,
            name,
            arguments,
        )
    assert dict(mapping) == dict(mapping.items()) == known == mapping
    assert list(mapping) == sorted(known, key=str.encode)
    assert sorted(map(repr, mapping.values())) == sorted(map(repr, known.values()))
    assert bool(mapping) and mapping.popitem()[0] == min(known, key=str.encode)
    mapping.clear()
    assert not mapping and len(mapping) == 0 and list(mapping.items()) == []
    with pytest.raises(KeyError):
        mapping.popitem()


def test_prefixes_and_kinds_of_keys(store: Client[Any]) -> None:
    raw = StoreMapping(store, b"m/\xff", keys=bytes)
    raw[b"\x00"] = 1
    raw.update({b"": 2})
    assert list(raw) == [b"", b"\x00"] and store.get(b"m/\xff\x00").value == 1
    texts = StoreMapping(store, "m/t/")
    texts["k"] = 3
    raw.clear()
    others: list[Any] = [b"k", 5]
    assert texts == {"k": 3} and "k" in texts and not any(other in texts for other in others)
    with pytest.raises(TypeError):
        texts[b"k"]  # type: ignore[index]
    with pytest.raises(ValueError, match="everything"):
        StoreMapping(store, "")
    brief = StoreMapping(store, "m/b/", ttl=100)
    brief["a"] = 1
    brief.update(b=2)
    assert brief.setdefault("c", 3) == 3
    assert all((store.get(f"m/b/{key}").ttl or 0) > 90 for key in "abc")


def test_of_those_who_pop_or_set_a_default_at_once_one_is_first(mapping: StoreMapping[str, Any]) -> None:
    mapping.update({str(number): number for number in range(20)})
    popped: list[int] = []
    defaults: list[int] = []

    def run(mine: int) -> None:
        for number in range(20):
            found = mapping.pop(str(number), None)
            if found is not None:
                popped.append(found)
            defaults.append(mapping.setdefault(f"d{number}", mine))

    threads = [threading.Thread(target=run, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(popped) == list(range(20))
    assert sorted(defaults) == sorted(4 * [mapping[f"d{number}"] for number in range(20)])


def test_what_is_popped_is_what_was_removed(
    mapping: StoreMapping[str, Any], store: Client[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes between its read and its removal."""
    mapping["k"] = "old"
    get = store.get

    def get_and_meddle(*arguments: Any) -> Any:
        found = get(*arguments)
        if found.value == "old":
            store.put(found.key, "new")
        return found

    monkeypatch.setattr(store, "get", get_and_meddle)
    assert mapping.pop("k") == "new" and "k" not in mapping


# --- shelves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writeback", [False, True])
def test_it_does_what_the_standard_shelf_does(endpoints: list[str], tmp_path: Path, writeback: bool) -> None:
    shelves: list[Any] = [
        standard.open(str(tmp_path / "file"), writeback=writeback),  # noqa: SIM115  # with the other, below
        shelve.open("m/shelf", "n", endpoints=endpoints, writeback=writeback),
    ]
    told = []
    for shelf in shelves:
        with shelf:
            shelf["list"] = [1]
            shelf["list"].append(2)  # lost without writeback
            shelf["gone"] = {}
            del shelf["gone"]
            said = [shelf["list"], "gone" in shelf, shelf.get("gone"), len(shelf), list(shelf.keys())]
            shelf.sync()
            shelf["list"].append(3)
        with pytest.raises(ValueError, match="closed shelf"):
            shelf["list"]
        told.append(said)
    assert told[0] == told[1]
    with (
        standard.open(str(tmp_path / "file"), "r") as one,
        shelve.open("m/shelf", "r", endpoints=endpoints) as other,
    ):
        assert dict(one) == dict(other) == {"list": [1, 2, 3] if writeback else [1]}
        with pytest.raises(ValueError, match="reading only"):
            other["k"] = 1
    with shelve.open("m/shelf", "n", endpoints=endpoints) as emptied:
        assert not dict(emptied)


def test_what_another_has_written_is_not_written_over(store: Client[Any]) -> None:
    with shelve.Shelf(store, "m/shelf", writeback=True) as mine, shelve.Shelf(store, "m/shelf") as other:
        mine.update(a=[1], b=[1], c=[1])
        for key in "abc":
            mine[key].append(2)
        other["b"] = ["theirs"]
        other["c"] = [1, 2]  # what we would write
        with pytest.raises(Conflict, match=r"\['b'\]"):
            mine.sync()
        assert dict(other) == {"a": [1, 2], "b": ["theirs"], "c": [1, 2]}
        assert mine["b"] == ["theirs"]
        mine["b"].append("and ours")
        mine.sync()
        assert other["b"] == ["theirs", "and ours"]


@dataclass
class Order:
    drink: str
    cups: int = 1


def test_a_codec_says_which_values_there_are(endpoints: list[str]) -> None:
    with shelve.open("m/orders", endpoints=endpoints, codec=json_of(Order), writeback=True) as orders:
        orders["ada"] = Order("tea")
        orders["ada"].cups += 1
        orders.sync()
        assert orders["ada"] == Order("tea", 2)
        orders.clear()
    with shelve.open("m/any", endpoints=endpoints) as shelf, pytest.raises(TypeError):
        shelf["k"] = object()  # JSON cannot say it, and there is no pickle
