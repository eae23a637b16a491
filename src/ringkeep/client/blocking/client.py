"""The blocking client. `asynchronous` has the same names."""

import copy
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Final, Generic, TypeVar, overload

from ringkeep.client.blocking.cached import Cached
from ringkeep.client.blocking.lock import Lock
from ringkeep.client.blocking.transport import Urllib3Transport
from ringkeep.client.blocking.watch import Watch
from ringkeep.client.calls import attempts
from ringkeep.client.calls.batches import AGAIN_PAUSE_S, AtomicSteps, Part, Steps, raise_gravest
from ringkeep.client.calls.exchange import Call, Failure, Pause, Response
from ringkeep.client.calls.feed import Bookmark, Change, Feed
from ringkeep.client.calls.nodes import Nodes
from ringkeep.client.calls.requests import (
    Key,
    Page,
    Requests,
    Span,
    Ttl,
    condition_of,
    key_of,
    length_of,
    new_idempotency_key,
)
from ringkeep.client.codecs import RAW, Codec
from ringkeep.client.errors import Conflict, Indeterminate, NotFound, Rejected, StoreError
from ringkeep.client.observing import Observer
from ringkeep.client.results import Appended, Counted, Item, Record, Swapped, Written
from ringkeep.client.settings import CONNECTIONS, MISSING, PAGE, TIMEOUT_S, Missing, endpoints_of, seconds_of

T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R")


_SIDE_BY_SIDE: Final = 16
"""So many requests of one call at most are under way at a time."""


class Client(Generic[T]):
    """A cluster, from the endpoints of some of its nodes. Safe for threads. Use it as a context, or close it.

    `endpoints`: URLs, as a list or with commas between; by default RINGKEEP_ENDPOINTS, or localhost:8000.
    `codec`: how values become bytes; by default they are bytes. `timeout`: seconds for each call that names
    none. `connections`: to one node, kept open. `follow`: learn the other nodes, and ask each key's primary
    directly; nodes that cannot be reached from here are left out by themselves. Not with https: nodes speak
    http only, behind a proxy. `observer`: is told of each call.

    Every call raises Rejected (nothing was applied), or one of its kinds, or Indeterminate (a write that may
    have been applied). Writes are repeated until there is an answer, and applied once: each carries an
    idempotency key, its own or a given one.
    """

    @overload
    def __init__(
        self: "Client[bytes]", endpoints: str | Iterable[str] | None = None, *, timeout: float = TIMEOUT_S,
        connections: int = CONNECTIONS, follow: bool = True, observer: Observer | None = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, endpoints: str | Iterable[str] | None = None, *, codec: Codec[T], timeout: float = TIMEOUT_S,
        connections: int = CONNECTIONS, follow: bool = True, observer: Observer | None = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, endpoints: str | Iterable[str] | None = None, *, codec: Codec[T] | None = None,
        timeout: float = TIMEOUT_S, connections: int = CONNECTIONS, follow: bool = True,
        observer: Observer | None = None,
    ) -> None:  # fmt: skip
        self.timeout = seconds_of(timeout, TIMEOUT_S)
        self.observer = observer
        self.codec: Codec[T] = codec or RAW  # type: ignore[assignment]  # see the overloads
        self._requests = Requests(self.codec)
        given = endpoints_of(endpoints)
        self._nodes = Nodes(given, follow and all(each.startswith("http:") for each in given))
        self._transport = Urllib3Transport(connections)

    def __enter__(self) -> "Client[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. A later call opens new ones."""
        self._transport.close()

    # --- one key --------------------------------------------------------------------------------------

    @overload
    def get(
        self, key: Key, *, stale: bool = False, at_least: int | None = None, timeout: float | None = None
    ) -> Record[T]: ...

    @overload
    def get(
        self,
        key: Key,
        default: D,
        *,
        stale: bool = False,
        at_least: int | None = None,
        timeout: float | None = None,
    ) -> Record[T] | D: ...

    def get(
        self,
        key: Key,
        default: D | Missing = MISSING,
        *,
        stale: bool = False,
        at_least: int | None = None,
        timeout: float | None = None,
    ) -> Record[T] | D:
        """Read a key. Raises NotFound if it does not exist, unless there is a `default`.

        `stale`: from any replica, perhaps an old value. `at_least`: only a state with this version or later.
        """
        try:
            return self._run(self._requests.get(key, stale=stale, at_least=at_least), timeout)
        except NotFound:
            if isinstance(default, Missing):
                raise
            return default

    def exists(self, key: Key, *, timeout: float | None = None) -> bool:
        """Tell whether there is such a key."""
        return self._run(self._requests.exists(key), timeout)

    def put(
        self, key: Key, value: T, *, ttl: Ttl = None, content_type: str = "", if_version: int | None = None,
        if_absent: bool = False, if_present: bool = False, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Written:  # fmt: skip
        """Store a value. Raises Conflict if the condition does not hold.

        `ttl`: seconds until it is gone; without it the key lives for ever, also if it had a ttl; "keep"
        leaves that as it is. `content_type`: instead of the codec's.
        """
        condition = condition_of(if_version, if_absent, if_present)
        call = self._requests.put(key, value, ttl, content_type, condition, idempotency_key)
        return self._run(call, timeout)

    def delete(
        self, key: Key, *, if_version: int | None = None, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> bool:  # fmt: skip
        """Delete a key; return whether it existed. Raises Conflict if it has another version."""
        call = self._requests.delete(key, condition_of(if_version), idempotency_key)
        return self._run(call, timeout)

    def add(
        self, key: Key, by: int = 1, *, initial: int = 0, ttl: Ttl = None, if_present: bool = False,
        idempotency_key: str = "", timeout: float | None = None,
    ) -> Counted:  # fmt: skip
        """Add to the decimal number that a key holds; one that does not exist counts as `initial`, or with
        `if_present` raises Conflict. Keeps its ttl, unless there is a new one. Raises WrongType if it is no
        number of 64 bits, or would be none."""
        condition = condition_of(if_present=if_present)
        return self._run(self._requests.add(key, by, initial, ttl, condition, idempotency_key), timeout)

    def append(
        self, key: Key, data: bytes, *, ttl: Ttl = None, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Appended:  # fmt: skip
        """Append bytes to the end of a value, as they are; a key that does not exist counts as empty."""
        return self._run(self._requests.append(key, data, ttl, idempotency_key), timeout)

    def swap(
        self, key: Key, value: T, *, ttl: Ttl = None, content_type: str = "", if_version: int | None = None,
        if_absent: bool = False, idempotency_key: str = "", timeout: float | None = None,
    ) -> Swapped[T]:  # fmt: skip
        """Store a value, and return the one before. That must not be larger than 64 KiB: else Invalid."""
        condition = condition_of(if_version, if_absent)
        call = self._requests.swap(key, value, ttl, content_type, condition, idempotency_key)
        return self._run(call, timeout)

    def take(
        self, key: Key, *, if_version: int | None = None, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Record[T]:  # fmt: skip
        """Delete a key, and return what it held, of up to 64 KiB. `version` is that of the deletion. Raises
        NotFound if it does not exist."""
        call = self._requests.take(key, condition_of(if_version), idempotency_key)
        return self._run(call, timeout)

    def touch(
        self, key: Key, ttl: Ttl, *, if_version: int | None = None, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Written:  # fmt: skip
        """Give a key another time to live, from now on. Raises NotFound if it does not exist."""
        call = self._requests.touch(key, ttl, condition_of(if_version), idempotency_key)
        return self._run(call, timeout)

    def persist(
        self, key: Key, *, if_version: int | None = None, idempotency_key: str = "",
        timeout: float | None = None,
    ) -> Written:  # fmt: skip
        """Let a key live for ever. Raises NotFound if it does not exist."""
        call = self._requests.persist(key, condition_of(if_version), idempotency_key)
        return self._run(call, timeout)

    def update(
        self, key: Key, function: Callable[[T | None], T], *, ttl: Ttl = "keep", timeout: float | None = None
    ) -> Record[T]:
        """Replace a key's value by `function` of it, and return the new record; None stands for no value.

        Called again with the newer value when somebody else was faster, so it must have no other effect.
        """
        deadline = time.monotonic() + seconds_of(timeout, self.timeout)
        pauses = 0
        while True:
            left = max(deadline - time.monotonic(), attempts.LEAST_S)
            old = self.get(key, None, timeout=left)
            value = function(None if old is None else old.value)
            left = max(deadline - time.monotonic(), attempts.LEAST_S)
            try:
                written = self.put(
                    key, value, ttl=ttl, if_version=old.version if old is not None else None,
                    if_absent=old is None, timeout=left,
                )  # fmt: skip
            except Conflict:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(attempts.jitter(pauses))
                pauses += 1
                continue
            lives = (old.ttl if old is not None else None) if ttl == "keep" else length_of(ttl)
            return Record(key_of(key), value, written.version, lives, self.codec.content_type)

    # --- many keys ------------------------------------------------------------------------------------

    def get_many(self, keys: Iterable[Key], *, timeout: float | None = None) -> dict[bytes, Record[T]]:
        """Read keys, as few requests as there may be; those that do not exist are left out."""
        steps = Steps(self.codec)
        handles = {key: steps.get(key) for key in dict.fromkeys(map(key_of, keys))}
        self._carry_out(steps, timeout)
        found: dict[bytes, Record[T]] = {}
        for key, handle in handles.items():
            if handle.status == 413:  # more than one answer may hold: read alone
                record = self.get(key, None, timeout=timeout)
                if record is not None:
                    found[key] = record
            elif handle.status != 404:
                found[key] = handle.result()
        return found

    def put_many(
        self, values: Mapping[Key, T] | Mapping[str, T] | Mapping[bytes, T], *, ttl: Ttl = None,
        timeout: float | None = None,
    ) -> dict[bytes, Written]:  # fmt: skip
        """Store values, each for itself: if some of them fails, others may have been stored."""
        steps = Steps(self.codec)
        handles = {key_of(key): steps.put(key, value, ttl=ttl) for key, value in values.items()}
        self._carry_out(steps, timeout)
        raise_gravest(handles.values())
        return {key: handle.result() for key, handle in handles.items()}

    def delete_many(self, keys: Iterable[Key], *, timeout: float | None = None) -> list[bytes]:
        """Delete keys, each for itself; return those that existed."""
        steps = Steps(self.codec)
        handles = {key: steps.delete(key) for key in dict.fromkeys(map(key_of, keys))}
        self._carry_out(steps, timeout)
        raise_gravest(handles.values())
        return [key for key, handle in handles.items() if handle.result()]

    def batch(self, *, timeout: float | None = None) -> "Batch[T]":
        """Return a context that collects operations, and sends them at its end: each for itself, those on one
        key in order."""
        return Batch(self, timeout)

    def transaction(
        self, tag: Key, *, on_error: str = "undo", idempotency_key: str = "", timeout: float | None = None
    ) -> "Transaction[T]":
        """Return a context that collects operations on keys with `{tag}` in them, and sends them at its end:
        all are carried out at once, or none. Then it raises Conflict, WrongType or Invalid.

        `on_error="continue"`: an operation that fails leaves the others alone.
        """
        return Transaction(self, tag, on_error, idempotency_key, timeout)

    def list(
        self, prefix: Key = b"", *, after: Key = b"", before: Key = b"", limit: int | None = None,
        values: bool = False, timeout: float | None = None,
    ) -> Iterator[Item[T]]:  # fmt: skip
        """Go through the keys of a range in byte order, with `values` if asked for. Read in pages as they are
        needed, each with the `timeout`; no snapshot: docs/guarantees.md."""
        span: Span | None = Span(prefix, after, before)
        left = limit
        while span is not None and (left is None or left > 0):
            most = PAGE if left is None else min(left, PAGE)
            page = self.page(span, limit=most, values=values, timeout=timeout)
            yield from page.items
            left = None if left is None else left - len(page.items)
            span = None if page.after is None else span.behind(page.after)

    def page(
        self, span: Span, *, limit: int = PAGE, values: bool = False, timeout: float | None = None
    ) -> Page[T]:
        """Read one page of a listing; the first of a range has the `cursor` from which a watch goes on."""
        return self._run(self._requests.page(span, limit=limit, values=values), timeout)

    def count(
        self, prefix: Key = b"", *, after: Key = b"", before: Key = b"", timeout: float | None = None
    ) -> int:
        """Count the keys of a range."""
        return self._run(self._requests.count(Span(prefix, after, before)), timeout)

    def delete_prefix(self, prefix: Key, *, timeout: float | None = None) -> int:
        """Delete the keys that begin with `prefix` as they were when this began; return how many, at
        least: an answer that was lost is not counted.

        The `timeout` is that of each part. May be repeated: what is written meanwhile stays. Raises
        ValueError for an empty prefix: that would be everything.
        """
        span = Span(prefix)
        if not span.prefix:
            raise ValueError("an empty prefix would delete everything")
        deleted, part = 0, self._run(self._requests.deletion(span, "", 0), timeout)
        until = part.until
        while True:
            try:
                part = self._run(self._requests.deletion(span, until, PAGE), timeout)
            except Rejected as error:
                if not deleted:
                    raise
                raise Indeterminate(f"{deleted} keys were deleted, and then: {error.detail}") from error
            deleted += part.count
            if part.after is None:
                return deleted
            span = span.behind(part.after)

    # --- what changes -----------------------------------------------------------------------------------

    def watch(
        self, prefix: Key = b"", *, after: str = "", values: bool = False,
        on_bookmark: Callable[[Bookmark], None] | None = None,
    ) -> Watch[T]:  # fmt: skip
        """Follow the changes of the keys that begin with `prefix`: of each key every one, once, in the order
        of its versions, whichever nodes die meanwhile.

        `after`: the `cursor` of an earlier watch, or of a listing; without it from now on. It goes on until
        it is closed, also while no node answers.
        """
        return Watch(self._run, Feed(self.codec, prefix, after, values), on_bookmark)

    def wait(self, key: Key, newer_than: int, seconds: float = 30.0) -> bool:
        """Wait until the key is in another state than this version (0: until it exists); False after so many
        seconds, at most 60."""
        return self._run(self._requests.wait(key, newer_than, seconds), 2 * seconds + 2)

    def lock(
        self,
        name: Key,
        ttl: float = 10.0,
        *,
        wait: float | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> Lock:
        """Return a lock, a context: held by one at a time, renewed until it is released, and gone `ttl`
        seconds after its holder is. `wait`: seconds until another's must be free, else Conflict; None: for
        ever. `on_lost` is called when it is lost."""
        return Lock(self.with_codec(RAW), name, ttl, wait, on_lost)

    def cached(
        self,
        prefix: Key = b"",
        *,
        timeout: float = 30.0,
        on_change: Callable[[Change[T]], None] | None = None,
    ) -> Cached[T]:
        """Return a mapping, a context: the keys that begin with `prefix`, in memory, kept true by the feed of
        changes. `timeout`: of the first complete copy. `on_change` is called with each change since."""
        return Cached(self, prefix, timeout, on_change)

    def with_codec(self, codec: Codec[D]) -> "Client[D]":
        """Return a client for values of another type, on the same connections: closing one closes both."""
        other: Client[D] = copy.copy(self)  # type: ignore[arg-type]  # but for these two
        other.codec = codec
        other._requests = Requests(codec)
        return other

    # --- carrying it out ------------------------------------------------------------------------------

    def _run(self, call: Call[R], timeout: float | None) -> R:
        steps = attempts.run(call, self._nodes, seconds_of(timeout, self.timeout), self.observer)
        done: Response | Failure | None = None
        try:
            while True:
                action = steps.send(done)
                done = None
                if isinstance(action, Pause):
                    time.sleep(action.seconds)
                else:
                    done = self._transport.send(action)
        except StopIteration as end:
            result: R = end.value
            return result
        finally:
            steps.close()

    def _carry_out(self, steps: Steps[T], timeout: float | None, idempotency_key: str = "") -> None:
        """Send a batch, again where that may still carry out some of it, until the deadline. What became of
        it is in its handles."""
        deadline = time.monotonic() + seconds_of(timeout, self.timeout)
        groups = steps.parts(self._nodes.place, idempotency_key)
        while groups:
            if len(groups) == 1:
                self._send_in_order(groups[0], deadline)
            else:
                with ThreadPoolExecutor(min(len(groups), _SIDE_BY_SIDE)) as threads:
                    # Each in a context like this one's: an observer finds there what it has put here.
                    contexts = [copy_context() for _ in groups]
                    list(
                        threads.map(
                            lambda context, group: context.run(self._send_in_order, group, deadline),
                            contexts,
                            groups,
                        )
                    )
            groups = [group for group in groups if any(part.unfinished for part in group)]
            if groups and time.monotonic() + AGAIN_PAUSE_S >= deadline:
                return
            if groups:
                time.sleep(random.uniform(0, AGAIN_PAUSE_S))

    def _send_in_order(self, group: "Sequence[Part]", deadline: float) -> None:
        """Send what is unfinished, until something fails: what comes behind it may be on the same keys."""
        for part in group:
            if part.unfinished:
                try:
                    self._run(part.call, max(deadline - time.monotonic(), attempts.LEAST_S))
                except StoreError as error:
                    part.fail(error)
                if part.unfinished:
                    return


class Batch(Steps[T]):
    """Operations that are sent when the context ends, unless it ends with an exception.

    Each has its own result: `result()` of what its method returned.
    """

    def __init__(self, client: Client[T], timeout: float | None) -> None:
        super().__init__(client.codec)
        self._client = client
        self._timeout = timeout

    def __enter__(self) -> "Batch[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.send()

    def send(self) -> None:
        """Send them now."""
        self._client._carry_out(self, self._timeout)


class Transaction(AtomicSteps[T]):
    """Operations that are sent when the context ends, unless it ends with an exception: all or none."""

    def __init__(
        self, client: Client[T], tag: Key, on_error: str, idempotency_key: str, timeout: float | None
    ) -> None:
        super().__init__(client.codec, tag, on_error)
        self._client = client
        self._idempotency_key = idempotency_key or new_idempotency_key()
        self._timeout = timeout

    def __enter__(self) -> "Transaction[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    def commit(self) -> None:
        """Send them now. Raises Conflict, WrongType or Invalid: then none was carried out."""
        self._client._run(self.call(self._idempotency_key), self._timeout)
