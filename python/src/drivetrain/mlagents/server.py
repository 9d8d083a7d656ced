"""The gRPC side of one player: a server on this machine's own address, one port, one line of talk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from drivetrain.mlagents import messages
from drivetrain.mlagents.wire import quit_answer

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Observations of many agents in a few frames instead of dozens of 16 KiB: a quarter of the exchange's time.
    ("grpc.http2.max_frame_size", 4 << 20),
    ("grpc.http2.lookahead_bytes", 16 << 20),
    ("grpc.so_reuseport", 0),  # a port that somebody else uses is an error, not shared
)


class _Threads(Executor):
    """Two threads that end with the process, whatever they wait for: one for the player, one to refuse another."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future, Callable[..., Any], tuple, dict]] = SimpleQueue()
        for _ in range(2):
            threading.Thread(target=self._work, name="player", daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have a thread call ``fn``."""
        future: Future = Future()
        self._calls.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end once they are idle."""
        for _ in range(2):
            self.submit(_end_thread)

    def _work(self) -> None:
        while True:
            future, call, args, kwargs = self._calls.get()
            try:
                future.set_result(call(*args, **kwargs))
            except SystemExit:
                return
            except BaseException as error:
                future.set_exception(error)


def _end_thread() -> None:
    raise SystemExit


class PlayerServer:
    """Receives a player's messages as bytes; each waits until it is answered."""

    def __init__(self) -> None:
        """Listen on a free port of 127.0.0.1: nobody else's machine can connect."""
        self._arrived: SimpleQueue[bytes] = SimpleQueue()
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._is_waiting = False
        self._is_closed = False
        self._threads = _Threads()
        self._server = grpc.server(self._threads, options=_OPTIONS)  # type: ignore[arg-type]
        service, method = messages.EXCHANGE.strip("/").split("/")
        # Without serializers both directions are bytes.
        handler = grpc.unary_unary_rpc_method_handler(self._exchange)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _exchange(self, request: bytes, context: Any) -> bytes:
        if self._is_closed:
            return quit_answer()
        if self._is_waiting:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another player speaks on this port")
        self._is_waiting = True
        self._arrived.put(request)
        return self._answers.get()

    def receive(self, *, timeout_s: float) -> bytes | None:
        """Return the next message, which then waits for :meth:`answer`; None where none came in time."""
        try:
            return self._arrived.get(timeout=timeout_s)
        except Empty:
            return None

    def answer(self, data: bytes) -> None:
        """Answer the message that waits."""
        self._is_waiting = False
        self._answers.put(data)

    def close(self) -> None:
        """Tell the player to end, now or when it next says something, and listen no more."""
        self._is_closed = True
        # For the message that waits, or one that slips in now.
        self.answer(quit_answer())
        self._server.stop(grace=0.5)
        self._threads.shutdown()
