"""Messages between the processes of a job: a TCP connection for every pair, made when the job starts.

A message has a tag.  A thread for every connection reads what arrives and keeps it until somebody asks for the tag, so
a sender never waits for its receiver to be ready, and messages may be asked for in any order.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from typing import Any

from .store import Store, TCPStore, receive

__all__ = ["Mesh"]

Tag = tuple[int, int]  # the group, and the number of the operation in it (negative: a send of the program, by its tag)
_HEAD = struct.Struct("<qqQ")
_HELLO = struct.Struct("<I32s")


def _address(store: Store) -> str:
    """The address by which the others can reach this process."""
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    if isinstance(store, TCPStore):
        return store.local_address()
    return "127.0.0.1"


class Mesh:
    """The connections of this process, number ``rank`` of ``size``."""

    def __init__(self, store: Store, rank: int, size: int, seconds: float) -> None:
        self.rank, self.size, self.seconds = rank, size, seconds
        self._arrived: dict[tuple[int, Tag], deque[bytearray]] = defaultdict(deque)
        self._changed = threading.Condition()
        self._gone: dict[int, str] = {}
        self._socks: dict[int, socket.socket] = {}
        self._locks = {peer: threading.Lock() for peer in range(size)}
        if size > 1:
            self._connect(store)

    def _connect(self, store: Store) -> None:
        """A connection to every other process: the one of higher rank dials."""
        host = _address(store)
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                                        backlog=self.size)  # fmt: skip
        if self.rank == 0:
            store.set("mesh/token", secrets.token_hex(16))
        store.set(f"mesh/{self.rank}", f"{host} {listener.getsockname()[1]}")
        token = store.get("mesh/token")[:32].ljust(32)
        for peer in range(self.rank):
            name, _, port = store.get(f"mesh/{peer}").decode().rpartition(" ")
            sock = socket.create_connection((name, int(port)), timeout=self.seconds)
            sock.sendall(_HELLO.pack(self.rank, token))
            self._keep(peer, sock)
        listener.settimeout(self.seconds)
        while len(self._socks) < self.size - 1:
            sock, _ = listener.accept()
            sock.settimeout(self.seconds)
            peer, said = _HELLO.unpack(receive(sock, _HELLO.size))
            if said != token or not self.rank < peer < self.size or peer in self._socks:
                sock.close()  # a stranger
                continue
            self._keep(peer, sock)
        listener.close()

    def _keep(self, peer: int, sock: socket.socket) -> None:
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socks[peer] = sock
        threading.Thread(target=self._read, args=(peer, sock), name=f"rank {peer}", daemon=True).start()

    def _read(self, peer: int, sock: socket.socket) -> None:
        reason = "closed the connection"
        try:
            while True:
                group, number, count = _HEAD.unpack(receive(sock, _HEAD.size))
                data = bytearray(count)
                view = memoryview(data)
                while view:
                    got = sock.recv_into(view)
                    if not got:
                        raise ConnectionError("closed the connection in the middle of a message")
                    view = view[got:]
                with self._changed:
                    self._arrived[peer, (group, number)].append(data)
                    self._changed.notify_all()
        except (OSError, ConnectionError, struct.error) as error:
            reason = str(error) or reason
        with self._changed:
            self._gone[peer] = reason
            self._changed.notify_all()

    def send(self, peer: int, tag: Tag, data: Any) -> None:
        """Sends bytes to another process; raises RuntimeError if it is gone."""
        view = memoryview(data).cast("B")
        try:
            with self._locks[peer]:
                sock = self._socks[peer]
                sock.sendall(_HEAD.pack(*tag, len(view)))
                sock.sendall(view)
        except OSError as error:
            raise RuntimeError(f"rank {peer} cannot be reached: {error}") from error

    def ready(self, peer: int, tag: Tag) -> bool:
        """Whether a message has arrived."""
        with self._changed:
            return bool(self._arrived.get((peer, tag)))

    def receive(self, peer: int, tag: Tag, seconds: float | None = None) -> bytearray:
        """The next message of a process with a tag; raises RuntimeError if it does not come in time, or the process is
        gone."""
        return self.receive_any((peer,), tag, seconds)[1]

    def receive_any(self, peers: tuple[int, ...], tag: Tag, seconds: float | None = None) -> tuple[int, bytearray]:
        """(who sent it, the next message with a tag) of any of these processes."""
        limit = self.seconds if seconds is None else seconds
        until = time.monotonic() + limit
        with self._changed:
            while True:
                for peer in peers:
                    queue = self._arrived.get((peer, tag))
                    if queue:
                        found = queue.popleft()
                        if not queue:
                            del self._arrived[peer, tag]
                        return peer, found
                lost = [p for p in peers if p in self._gone]
                if len(lost) == len(peers):
                    raise RuntimeError(f"Connection closed by peer: rank {lost[0]} {self._gone[lost[0]]}")
                rest = until - time.monotonic()
                if rest <= 0:
                    raise RuntimeError(
                        f"Timed out waiting {limit * 1000:.0f}ms for a message of rank {' or '.join(map(str, peers))}"
                    )
                self._changed.wait(rest)

    def close(self) -> None:
        """Ends all connections."""
        for sock in self._socks.values():
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                sock.close()
        self._socks.clear()
