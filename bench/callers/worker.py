"""The process of one client: `python -m callers.worker KIND`, started by processes.py.

Takes one order a line, as JSON, and answers each with one line, so that whoever measures can read the process
from outside between two steps. KIND is a `Kind` as JSON, with `nodes`: where the client connects to, and
`homes`: by key, the index of its primary among them. Orders, by `do`:

  import                      import the library, and nothing else
  set_up                      import what measures it; answers the versions of its `distributions`
  open                        make a client, and get each of `keys` keys once, whatever it holds
  prepare                     make ready for `load` (get or put) of the values of these `generations`
  go                          do that for so many `seconds`, and `least` calls; answers the figures
"""

import gc
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


class Worker:
    """One client, and the steps that it goes through."""

    def __init__(self, kind: dict[str, Any]) -> None:
        self._kind = kind
        self._tasks: int = kind["tasks"]
        self._client: Any = None
        self._work: Any = None
        self._runner: Any = None

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        steps: dict[str, Callable[..., dict[str, Any]]] = {
            "import": self._import,
            "set_up": self._set_up,
            "open": self._open,
            "prepare": self._prepare,
            "go": self._go,
        }
        return steps[order.pop("do")](**order)

    def _import(self) -> dict[str, Any]:
        self._module = import_module(f"callers.with_{self._kind['library']}")
        gc.collect()
        return {}

    def _set_up(self, distributions: list[str]) -> dict[str, Any]:
        self._loops = import_module("callers.loops")
        if self._kind["caller"] == "Asynchronous":
            self._runner = import_module("asyncio").Runner()
        versions = {}
        if distributions:
            metadata = import_module("importlib.metadata")
            versions = {name: metadata.version(name) for name in distributions}
        gc.collect()
        return {"versions": versions}

    def _open(self, keys: int) -> dict[str, Any]:
        caller = getattr(self._module, self._kind["caller"])
        names = [self._loops.key_of(number) for number in range(keys)]
        if self._runner:
            self._runner.run(self._open_it(caller, names))
        else:
            self._client = caller(self._kind["nodes"], self._kind["homes"])
            for name in names:
                self._client.get(name)
        gc.collect()
        return {}

    async def _open_it(self, caller: Any, names: list[bytes]) -> None:
        from asyncio import gather

        self._client = caller(self._kind["nodes"], self._kind["homes"])
        await self._client.get(names[0])  # aetcd wants to connect before it is used by many
        for at in range(0, len(names), self._tasks):
            await gather(*(self._client.get(name) for name in names[at : at + self._tasks]))

    def _prepare(self, load: str, generations: list[int]) -> dict[str, Any]:
        self._work = self._loops.Work.of(load, generations)
        gc.collect()
        return {}

    def _go(self, seconds: float, least: int) -> dict[str, Any]:
        if self._runner:
            run = self._loops.side_by_side(self._client, self._work, seconds, least, self._tasks)
            found: dict[str, Any] = self._runner.run(run)
        else:
            found = self._loops.one_by_one(self._client, self._work, seconds, least)
        return found


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Say that it is there, then one answer for each order, until there are no more."""
    worker = Worker(json.loads(sys.argv[1]))
    gc.collect()
    say({})
    for line in sys.stdin:
        say(worker.answer(json.loads(line)))


if __name__ == "__main__":
    main()
