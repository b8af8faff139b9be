"""Cassandra through its driver, for asyncio: whole lists of requests with one wake-up of the event loop.

In: CQL with `?` and values. Out: rows, or TryLater once a request has failed for good.
Settings that were measured to matter: no Nagle delay on the driver's sockets, protocol 4, binding done here (the
driver's own costs more than the request), unlogged batches that never split a partition.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Self

from cassandra import ConsistencyLevel, DriverException, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement

from inventorybot.errors import SetupError, TryLater

Request = tuple[str, Sequence[Any]]
MIN_STATEMENTS, MAX_STATEMENTS = 8, 96
PARALLEL = 32
"""Requests that a list of writes is spread over, between those sizes. Cassandra applies one request's mutations one after
the other, each waiting for its commit log sync: a few large requests are slow, many small ones cost CPU."""
MAX_BATCH_BYTES = 40_000
"""Cassandra refuses a batch over 50 KiB; a partition's statements larger than that go in several batches."""
ATTEMPTS = 3
PAUSE_S = 0.2
"""A node that restarts its connection is back within this; anything longer is the caller's to wait for."""
_NODELAY = [(6, 1, 1)]  # IPPROTO_TCP, TCP_NODELAY: with Nagle's delay a small batch takes 55 ms


@dataclass(frozen=True, slots=True)
class Write:
    """One bound INSERT. Statements of the same `partition` in one list are applied together or not at all.

    Args:
        partition: what identifies the partition (any hashable).
        size: bytes of its values.
    """

    partition: tuple[Any, ...]
    statement: tuple[bool, bytes, list[Any]]
    size: int


class Prepared:
    """A prepared statement with packers for its columns. `bind` is what the driver's `bind` does, for our five types."""

    def __init__(self, statement: PreparedStatement) -> None:
        self.statement = statement
        self._packers = [_PACKERS.get(column.type.typename, _driver_packs_it) for column in statement.column_metadata]

    def bind(self, partition: tuple[Any, ...], values: Sequence[Any]) -> Write:
        """Values in the order of the statement's `?`; times are ms since the epoch; None leaves a column as it is."""
        bound = [UNSET_VALUE if v is None else pack(v) for pack, v in zip(self._packers, values, strict=True)]
        size = 12 * len(bound) + len(
            "".join([v for v in values if type(v) is str])
        )  # numbers take at most 12 with their length
        return Write(partition, (True, self.statement.query_id, bound), size)


def _packers() -> dict[str, Callable[[Any], bytes]]:
    long, short, double = struct.Struct(">q").pack, struct.Struct(">i").pack, struct.Struct(">d").pack
    return {
        "text": str.encode,
        "varchar": str.encode,
        "bigint": long,
        "timestamp": long,
        "int": short,
        "double": double,
    }


def _driver_packs_it(value: Any) -> bytes:
    raise TypeError(f"no packer for {value!r}: write it with `Database.write`, where the driver binds")


_PACKERS = _packers()


class Database:
    """One session. Args: the settings of the same names; `keyspace` may not exist yet (see `use`)."""

    def __init__(self, cluster: Cluster, session: Any) -> None:
        self._cluster, self.session = cluster, session
        self._prepared: dict[str, Prepared] = {}

    @classmethod
    def connect(
        cls, hosts: Sequence[str], port: int, *, datacenter: str, consistency: str, timeout_s: float,
        user: str = "", password: str = "", tls: Any = None,
    ) -> Self:  # fmt: skip
        """Raises: TryLater: no node answers."""
        policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=datacenter), shuffle_replicas=False)
        profile = ExecutionProfile(
            load_balancing_policy=policy, request_timeout=timeout_s,
            consistency_level=ConsistencyLevel.name_to_value[consistency],
        )  # fmt: skip
        cluster = Cluster(
            list(hosts), port=port, protocol_version=4, compression=False, sockopts=_NODELAY, ssl_context=tls,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=timeout_s, idle_heartbeat_interval=5,
            auth_provider=PlainTextAuthProvider(user, password) if user else None,
        )  # fmt: skip
        try:
            return cls(cluster, cluster.connect())
        except (NoHostAvailable, DriverException, OSError) as error:
            cluster.shutdown()
            raise TryLater("cassandra", _words(error)) from error

    def use(self, keyspace: str) -> Self:
        """Work in a keyspace. Raises: SetupError: there is none of that name."""
        try:
            self.session.set_keyspace(keyspace)
        except InvalidRequest as error:
            raise SetupError(f"Cassandra has no keyspace {keyspace}: run `inventorybot migrate` first") from error
        return self

    def close(self) -> None:
        """End the session and its threads."""
        self._cluster.shutdown()

    def prepared(self, cql: str) -> Prepared:
        """The statement, prepared once. Raises: TryLater, SetupError."""
        found = self._prepared.get(cql)
        if found is None:
            try:
                found = self._prepared[cql] = Prepared(self.session.prepare(cql))
            except InvalidRequest as error:
                raise SetupError(
                    f"Cassandra does not know this table: {error.args[0]}; run `inventorybot migrate`"
                ) from error
            except (NoHostAvailable, DriverException) as error:
                raise TryLater("cassandra", _words(error)) from error
        return found

    def execute(self, cql: str, values: Sequence[Any] = ()) -> list[Any]:
        """One statement, blocking; for start-up and for tools. `values` for `%s`. Raises: TryLater."""
        try:
            return list(self.session.execute(cql, tuple(values) or None, timeout=60))
        except (NoHostAvailable, DriverException) as error:
            raise TryLater("cassandra", _words(error)) from error

    async def rows(self, cql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Every row (all pages) of one query. Raises: TryLater."""
        return (await self.gather([(cql, values)]))[0]

    async def gather(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Rows of many queries at once, in order; every page of each. Raises: TryLater."""
        statements = [self.prepared(cql).statement for cql, _ in requests]
        calls = [partial(self.session.execute_async, s, v) for s, (_, v) in zip(statements, requests, strict=True)]
        return await self._all(calls)

    async def write(self, requests: Sequence[Request]) -> None:
        """Many independent writes at once. Raises: TryLater: at least one failed; all may be sent again."""
        await self.gather(requests)

    async def write_batches(self, writes: Iterable[Write]) -> None:
        """Many bound writes in few requests; those of one partition stay together. Raises: TryLater."""
        batches = _pack(writes)
        calls = []
        for statements in batches:
            batch = BatchStatement(BatchType.UNLOGGED)
            batch._statements_and_parameters = statements  # bound above, in the driver's own format
            calls.append(partial(self.session.execute_async, batch))
        await self._all(calls)

    async def _all(self, calls: Sequence[Callable[[], Any]]) -> list[list[Any]]:
        """Answers of many requests; those that fail are sent again, a few times."""
        results: list[list[Any]] = [[] for _ in calls]
        left = list(range(len(calls)))
        for attempt in range(ATTEMPTS):
            answers = await _gather([calls[i] for i in left])
            failed = [(i, a) for i, a in zip(left, answers, strict=True) if isinstance(a, BaseException)]
            for i, answer in zip(left, answers, strict=True):
                if not isinstance(answer, BaseException):
                    results[i] = answer
            if not failed:
                return results
            wrong = next((a for _, a in failed if isinstance(a, InvalidRequest)), None)
            if wrong is not None:
                raise SetupError(f"Cassandra refuses a request: {_words(wrong)}") from wrong
            left = [i for i, _ in failed]
            if attempt < ATTEMPTS - 1:
                await asyncio.sleep(PAUSE_S)
        raise TryLater("cassandra", _words(failed[0][1])) from failed[0][1]


async def _gather(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Rows or the exception of each request, with one wake-up of the event loop for all of them."""
    if not calls:
        return []
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    answers: list[Any] = [None] * len(calls)
    left, lock = [len(calls)], threading.Lock()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def settle(i: int, answer: Any) -> None:
        answers[i] = answer
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last and not loop.is_closed():
            loop.call_soon_threadsafe(finish)

    for i, call in enumerate(calls):
        try:
            _follow(call(), i, settle)
        except (NoHostAvailable, DriverException) as error:
            settle(i, error)
    await done
    return answers


def _follow(future: Any, i: int, settle: Callable[[int, Any], None]) -> None:
    """Collect every page of one answer."""
    rows: list[Any] = []

    def page(found: Any) -> None:
        rows.extend(found or ())
        if future.has_more_pages:
            future.start_fetching_next_page()
        else:
            settle(i, rows)

    future.add_callbacks(page, lambda error: settle(i, error))


def _pack(writes: Iterable[Write]) -> list[list[tuple[bool, bytes, list[Any]]]]:
    """Lists of statements for unlogged batches: whole partitions; at most MAX_STATEMENTS and MAX_BATCH_BYTES each."""
    partitions: dict[tuple[Any, ...], list[Write]] = {}
    for write in writes:
        partitions.setdefault(write.partition, []).append(write)
    total = sum(map(len, partitions.values()))
    limit = max(MIN_STATEMENTS, min(MAX_STATEMENTS, total // PARALLEL))
    out: list[list[Any]] = []
    current: list[Any] = []
    count = size = 0
    for group in partitions.values():
        group_size = sum(w.size for w in group)
        if current and (count + len(group) > limit or size + group_size > MAX_BATCH_BYTES):
            out.append(current)
            current, count, size = [], 0, 0
        for write in group:
            if size + write.size > MAX_BATCH_BYTES and current:
                out.append(current)
                current, count, size = [], 0, 0
            current.append(write.statement)
            count += 1
            size += write.size
    return [*out, current] if current else out


def ms(value: datetime | None) -> int | None:
    """Milliseconds since the epoch of a `timestamp` column as the driver gives it (naive, UTC)."""
    if value is None:
        return None
    since = value - datetime(1970, 1, 1)  # noqa: DTZ001  # the driver's times are naive and UTC
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _words(error: BaseException) -> str:
    if isinstance(error, NoHostAvailable) and error.errors:
        host, cause = next(iter(error.errors.items()))
        return f"no node answers ({host}: {cause})"
    return str(error) or type(error).__name__
