"""A proxy on loopback between clients and a broker, which breaks connections on demand.

Clients are told the proxy's address instead of each broker's, so that no connection goes past it. It works before
any broker without TLS; of SASL, the handshake of this decade.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from kafka_wire import FETCH, Request, Rules, rewritten

__all__ = ["Proxy"]

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"
#: How long an order to the proxy's own thread may take, in seconds.
PATIENCE = 30.0


class Proxy:
    """`address` is for clients. A context manager; everything it does to connections is done when a call returns."""

    def __init__(self, upstream: str) -> None:
        """A proxy of the broker at `upstream`, "host:port"."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kafka-proxy", daemon=True)
        self._shown: dict[str, int] = {}
        self._times: dict[tuple[str, int], Sequence[int]] = {}
        self._rules = Rules(self._ours, self._shown, self._times)
        #: Port of ours → (host, port) of its broker; and the socket that has it.
        self._brokers: dict[int, tuple[str, int]] = {}
        self._places: dict[int, socket.socket] = {}
        self._accepts: dict[int, asyncio.Task[None]] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        #: All there ever were: a task that is cancelled in the wrong moment does not come to closing its own.
        self._made: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._going = asyncio.Event()
        self._refusing = False
        self._connections = 0
        self._fetched = 0
        self._cut_at: int | None = None
        self._cut_done = threading.Event()
        self._failures: list[BaseException] = []
        self._going.set()
        self._thread.start()
        host, port = upstream.rsplit(":", 1)
        self.address = "{}:{}".format(*self._call(self._run(lambda: self._ours(host, int(port)))))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        if kind is None and self._failures:
            raise self._failures[0]

    # -- faults --------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break all connections that there are, with a reset; new ones are taken."""
        self._call(self._run(self._cut))

    def cut_after(self, fetched: int) -> None:
        """Once so many more bytes of fetch responses have gone through, break all connections, in mid-response."""
        self._call(self._run(lambda: self._arm(fetched)))

    def wait_for_cut(self, timeout: float = PATIENCE) -> None:
        """Return once what `cut_after` asked for has happened; fails where it does not in time."""
        assert self._cut_done.wait(timeout), f"only {self._fetched} bytes were fetched"

    @property
    def was_cut(self) -> bool:
        """Whether what `cut_after` asked for has happened."""
        return self._cut_done.is_set()

    def refuse(self) -> None:
        """Refuse new connections; those that there are go on."""
        self._call(self._run(self._refuse))

    def down(self) -> None:
        """Refuse new connections and break all others: a broker that is not there."""
        self._call(self._run(self._down))

    def hang(self) -> None:
        """Hand on nothing more in either direction, but keep connections, and take new ones."""
        self._call(self._run(self._going.clear))

    def go_on(self) -> None:
        """No more `refuse`, `down` or `hang`."""
        self._call(self._run(self._resume))

    @property
    def connections(self) -> int:
        """How many connections clients have made so far."""
        return self._connections

    @property
    def fetched(self) -> int:
        """How many bytes of fetch responses have gone through so far."""
        return self._fetched

    # -- what clients are told -----------------------------------------------------------------

    def show_partitions(self, topic: str, count: int) -> None:
        """Clients see the first `count` partitions only. Called again with more: partitions have been added."""
        self._shown[topic] = count

    def answer_times(self, topic: str, partition: int, timestamps: Sequence[int]) -> None:
        """Answer which offset a time has (the timestamps, in ms, of all messages from offset 0 on)."""
        self._times[topic, partition] = timestamps

    # -- in the proxy's own thread -------------------------------------------------------------

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def _run(self, change: Callable[[], T]) -> T:
        return change()

    def _ours(self, host: str, port: int) -> tuple[str, int]:
        """The address of the listener for this broker, which is made where there is none yet."""
        known = next((ours for ours, broker in self._brokers.items() if broker == (host, port)), None)
        if known is None:
            place = _reserved(0)
            known = place.getsockname()[1]
            self._brokers[known], self._places[known] = (host, port), place
            if not self._refusing:
                self._listen(known)
        return _LOOPBACK, known

    def _listen(self, ours: int) -> None:
        place = self._places[ours]
        place.listen()  # from now on nobody is refused, even though nobody is served yet
        self._accepts[ours] = self._start(self._accept(ours, place))

    async def _accept(self, ours: int, place: socket.socket) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(place)
            self._connections += 1
            self._start(self._serve(connection, *self._brokers[ours]))

    def _start(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def _serve(self, connection: socket.socket, host: str, port: int) -> None:
        try:
            broker_in, broker_out = await asyncio.open_connection(host, port)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):  # the broker is not there, and so is not its proxy
                return
            raise
        self._made.append(broker_out)
        client_in, client_out = await asyncio.open_connection(sock=connection)
        self._made.append(client_out)
        ends = {client_out, broker_out}
        self._writers |= ends
        waiting: dict[int, Request] = {}
        pumps = [
            self._loop.create_task(self._requests(client_in, broker_out, waiting)),
            self._loop.create_task(self._responses(broker_in, client_out, waiting)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            ended = await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= ends
            for writer in ends:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in ends), return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception) and not isinstance(result, (OSError, asyncio.IncompleteReadError)):
                raise result

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, waiting: dict[int, Request]
    ) -> None:
        while True:
            frame = await _frame(source)
            correlation, request = Request.parse(frame)
            waiting[correlation] = request
            await self._hand_on(sink, frame)

    async def _responses(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, waiting: dict[int, Request]
    ) -> None:
        while True:
            frame = await _frame(source)
            request = waiting.pop(struct.unpack_from(">i", frame)[0])
            if request.key == FETCH:
                if self._cut_at is not None and self._fetched + len(frame) >= self._cut_at:
                    await self._cut_within(frame, sink)
                    return
                self._fetched += len(frame)
            else:
                frame = rewritten(request, frame, self._rules)
            await self._hand_on(sink, frame)

    async def _hand_on(self, sink: asyncio.StreamWriter, frame: bytes) -> None:
        await self._going.wait()
        sink.write(struct.pack(">i", len(frame)))
        sink.write(frame)
        await sink.drain()

    async def _cut_within(self, frame: bytes, sink: asyncio.StreamWriter) -> None:
        assert self._cut_at is not None
        left = self._cut_at - self._fetched
        self._fetched, self._cut_at = self._cut_at, None
        sink.write(struct.pack(">i", len(frame)) + frame[:left])
        sink.close()  # what is written still goes out; a reset could overtake it
        self._cut(but=sink)
        self._cut_done.set()

    def _cut(self, but: asyncio.StreamWriter | None = None) -> None:
        for writer in self._writers:
            if writer is not but:
                _reset(writer)

    def _arm(self, fetched: int) -> None:
        self._cut_at = self._fetched + fetched
        self._cut_done.clear()

    def _refuse(self) -> None:
        if self._refusing:
            return
        self._refusing = True
        for ours in self._places:
            self._stop_listening(ours)
            self._places[ours] = _reserved(ours)

    def _stop_listening(self, ours: int) -> None:
        place = self._places[ours]
        self._loop.remove_reader(place)
        if (accepting := self._accepts.pop(ours, None)) is not None:
            accepting.cancel()
        place.close()

    def _down(self) -> None:
        self._refuse()
        self._cut()

    def _resume(self) -> None:
        self._going.set()
        if self._refusing:
            self._refusing = False
            for ours in self._places:
                self._listen(ours)

    async def _close(self) -> None:
        self._going.set()
        for ours in self._places:
            self._stop_listening(ours)
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._made:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._made), return_exceptions=True)
        await asyncio.sleep(0)  # transports end in callbacks of their own


def _reserved(port: int) -> socket.socket:
    """A socket that has the port (0: any) and refuses connections until somebody listens."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setblocking(False)
    place.bind((_LOOPBACK, port))
    return place


async def _frame(source: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await source.readexactly(4))
    return await source.readexactly(length)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw.fileno() < 0:  # it is closed already, and about to be forgotten
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
