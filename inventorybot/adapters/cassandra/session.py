"""Cassandra through its driver, for asyncio: whole lists of requests with one wake-up of the event loop.

In: CQL with `?` and values. Out: rows, or TryLater once a request has failed for good.
Settings that were measured to matter: no Nagle delay on the driver's sockets, protocol 4, binding and batches done here
(the driver's own cost more than the request), unlogged batches of one partition, which Cassandra applies as one mutation.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import namedtuple
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

from cassandra import ConsistencyLevel, DriverException, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType, PreparedStatement

from inventorybot.errors import SetupError, TryLater

Request = tuple[str, Sequence[Any]]
MIN_STATEMENTS, PARALLEL = 32, 8
"""Small partitions share requests: a list of writes goes out in about PARALLEL of them, none much smaller than
MIN_STATEMENTS. Cassandra applies a request's partitions one after the other, each waiting for its commit log sync."""
MAX_BATCH_BYTES = 32_000
"""Cassandra refuses a batch over 50 KiB, and counts 20 bytes a cell that nobody sends: for rows of small cells up to 1.6
times what is sent. A partition's statements larger than that go in several batches."""
ATTEMPTS = 3
PAUSE_S = 0.2
"""A node that restarts its connection is back within this; anything longer is the caller's to wait for."""
_NODELAY = [(6, 1, 1)]  # IPPROTO_TCP, TCP_NODELAY: with Nagle's delay a small batch takes 55 ms


class Write(NamedTuple):
    """Bound statements that are applied together or not at all.

    Args:
        partition: what identifies the partition: its routing key (`partition_of`), or anything hashable.
        statements: each as a batch carries it (`Prepared.row`).
    """

    partition: Hashable
    statements: Sequence[bytes]


class Prepared:
    """A prepared statement with packers for its columns, which make the bytes that a batch carries."""

    def __init__(self, statement: PreparedStatement) -> None:
        self.statement = statement
        columns = statement.column_metadata
        self._packers: list[Callable[[Any], bytes]] = [
            _PACKERS.get(column.type.typename, _driver_packs_it) for column in columns
        ]
        self._head: bytes = b"\x01" + _SHORT(len(statement.query_id)) + statement.query_id + _SHORT(len(columns))

    def bind(self, partition: Hashable, values: Sequence[Any]) -> Write:
        """One row as a write of its own; see `row`."""
        return Write(partition, (self.row(values),))

    def row(self, values: Sequence[Any]) -> bytes:
        """Values in the order of the statement's `?`; times are ms since the epoch; None leaves a column as it is.

        Bytes are values that were packed before (see `packed`).
        Source: native protocol 4, section 4.1.7: kind 1, id, and each value with its length (-2: not set).
        """
        packed: list[bytes] = [
            v if v.__class__ is bytes else _UNSET if v is None else pack(v)
            for pack, v in zip(self._packers, values, strict=True)
        ]
        return b"".join([self._head, *packed])


def partition_of(*key: str | int) -> bytes:
    """The routing key of a partition with a composite key: what Cassandra hashes to find its replicas."""
    parts = [k.encode() if isinstance(k, str) else _INT(k) for k in key]
    return b"".join([_SHORT(len(p)) + p + b"\0" for p in parts])


_SHORT, _INT = struct.Struct(">H").pack, struct.Struct(">i").pack
_UNSET = _INT(-2)


def _pack_text(value: str) -> bytes:
    text = value.encode()
    return _INT(len(text)) + text


packed = lru_cache(maxsize=1 << 16)(_pack_text)
"""A text that comes again and again (a name, a kind) as `Prepared.row` takes it."""


def _driver_packs_it(value: Any) -> bytes:
    raise TypeError(f"no packer for {value!r}: write it with `Database.write`, where the driver binds")


_PACKERS: dict[str, Callable[[Any], bytes]] = {
    "text": _pack_text,
    "varchar": _pack_text,
    "bigint": partial(struct.Struct(">iq").pack, 8),
    "timestamp": partial(struct.Struct(">iq").pack, 8),
    "int": partial(struct.Struct(">ii").pack, 4),
    "double": partial(struct.Struct(">id").pack, 8),
}


class _Protocol(ProtocolHandler):  # type: ignore[misc]  # the driver has no types
    """The driver's protocol, but for batches, whose statements come bound; every one carries its own write time."""

    @classmethod
    def encode_message(
        cls, msg: Any, stream_id: int, protocol_version: int, compressor: Any, allow_beta_protocol_version: bool
    ) -> bytes:
        """One frame (native protocol 4, sections 2 and 4.1.7)."""
        if not isinstance(msg, BatchMessage):
            frame: bytes = super().encode_message(
                msg, stream_id, protocol_version, compressor, allow_beta_protocol_version
            )
            return frame
        ends = _SHORT(msg.consistency_level) + b"\0"
        body = b"".join([bytes([msg.batch_type.value]), _SHORT(len(msg.queries)), *msg.queries, ends])
        return _HEADER(protocol_version, 0, stream_id, msg.opcode, len(body)) + body


_HEADER = struct.Struct(">BBhBi").pack


class Database:
    """One session. Args: the settings of the same names; `keyspace` may not exist yet (see `use`)."""

    def __init__(self, cluster: Cluster, session: Any, timeout_s: float) -> None:
        self._cluster, self.session, self._timeout_s = cluster, session, timeout_s
        session.client_protocol_handler = _Protocol
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
            consistency_level=ConsistencyLevel.name_to_value[consistency], row_factory=_rows,
        )  # fmt: skip
        cluster = Cluster(
            list(hosts), port=port, protocol_version=4, compression=False, sockopts=_NODELAY, ssl_context=tls,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=timeout_s, idle_heartbeat_interval=5,
            auth_provider=PlainTextAuthProvider(user, password) if user else None,
        )  # fmt: skip
        try:
            return cls(cluster, cluster.connect(), timeout_s)
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
        calls = [
            partial(self.session.execute_async, s, v, timeout=None)
            for s, (_, v) in zip(statements, requests, strict=True)
        ]
        return await self._all(calls)

    async def write(self, requests: Sequence[Request]) -> None:
        """Many independent writes at once. Raises: TryLater: at least one failed; all may be sent again."""
        await self.gather(requests)

    async def write_batches(self, writes: Iterable[Write]) -> None:
        """Many bound writes in few requests; a partition's go together where they fit. Raises: TryLater."""
        calls = []
        for routing_key, statements in pack(writes):
            batch = BatchStatement(BatchType.UNLOGGED)
            batch._statements_and_parameters = statements  # bound above: `_Protocol` sends them as they are
            if routing_key is not None:
                batch.routing_key = routing_key
            calls.append(partial(self.session.execute_async, batch, timeout=None))
        await self._all(calls)

    async def _all(self, calls: Sequence[Callable[[], Any]]) -> list[list[Any]]:
        """Answers of many requests; those that fail are sent again, a few times."""
        results: list[list[Any]] = [[] for _ in calls]
        left = list(range(len(calls)))
        for attempt in range(ATTEMPTS):
            answers = await _gather([calls[i] for i in left], self._timeout_s)
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


async def _gather(calls: Sequence[Callable[[], Any]], timeout_s: float) -> list[Any]:
    """Rows or the exception of each request, with one wake-up of the event loop for all of them.

    Args: timeout_s: how long no page of any of them may come. The driver's own timer, one a request, keeps the request
        and the bytes of its batch in memory until it would have run out, long after the answer.
    """
    if not calls:
        return []
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    answers: list[Any] = [None] * len(calls)
    left, pages, lock = [len(calls)], [0], threading.Lock()

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
            _follow(call(), partial(settle, i), pages)
        except (NoHostAvailable, DriverException) as error:
            settle(i, error)
    before = 0
    while not (await asyncio.wait([done], timeout=timeout_s))[0]:
        if pages[0] == before:
            late = DriverException(f"no answer within {timeout_s:g} s")
            return [late if a is None else a for a in answers]
        before = pages[0]
    return answers


def _follow(future: Any, settle: Callable[[Any], None], pages: list[int]) -> None:
    """Collect every page of one answer; counts them, roughly, in `pages`."""
    rows: list[Any] = []

    def page(found: Any) -> None:
        rows.extend(found or ())
        pages[0] += 1
        if future.has_more_pages:
            future.start_fetching_next_page()
        else:
            end(rows)

    def end(answer: Any) -> None:
        future.clear_callbacks()  # they hold the future that holds them, and the batch with it
        settle(answer)

    future.add_callbacks(page, end)


def pack(writes: Iterable[Write]) -> list[tuple[bytes | None, list[bytes]]]:
    """Statements for unlogged batches of at most MAX_BATCH_BYTES, with the routing key where there is but one partition.

    Writes of one partition come in one batch, which makes them one mutation, or in several where they are too many; a
    single `Write` is never split.
    """
    partitions: dict[Hashable, list[Write]] = {}
    for write in writes:
        partitions.setdefault(write.partition, []).append(write)
    limit = max(MIN_STATEMENTS, sum(len(w.statements) for group in partitions.values() for w in group) // PARALLEL)
    batches: list[tuple[set[Hashable], list[bytes]]] = []
    size, full = 0, True
    for partition, group in partitions.items():
        full = full or len(batches[-1][1]) + sum(len(w.statements) for w in group) > limit
        for write in group:
            more = sum(map(len, write.statements))
            if full or size + more > MAX_BATCH_BYTES:
                batches.append((set(), []))
                size, full = 0, False
            batches[-1][0].add(partition)
            batches[-1][1].extend(write.statements)
            size += more
    return [(_routing_key(keys), statements) for keys, statements in batches]


def _routing_key(partitions: set[Hashable]) -> bytes | None:
    key = next(iter(partitions)) if len(partitions) == 1 else None
    return key if isinstance(key, bytes) else None


@lru_cache(maxsize=256)
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", [name.strip("[]") for name in columns], rename=True)  # [applied]: of a conditional write


def _rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Rows as named tuples of one class a query; the driver makes a class of every answer, which costs more than its rows."""
    return list(map(_row_type(tuple(columns))._make, rows))


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
