"""Stores: values that processes leave for each other, by key.

What a store does is said once, by the table that holds the values; the kinds of stores differ in where the table is:
in this process, in that of the master (over TCP), or in a file.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

__all__ = ["FileStore", "HashStore", "PrefixStore", "Store", "TCPStore"]

_DEFAULT = timedelta(seconds=300)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _of_number(value: int) -> bytes:
    return int(value).to_bytes(8, "little", signed=True)


class _Table:
    """The values and queues, and the operations on them by name: bytes in, a list of bytes out."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.queues: dict[bytes, list[bytes]] = {}
        self.changed = threading.Condition()

    def run(self, name: str, args: Sequence[bytes]) -> list[bytes]:
        """One operation."""
        with self.changed:
            found: list[bytes] = getattr(self, f"_{name}")(*args)
            self.changed.notify_all()
        return found

    def wait(self, keys: Sequence[bytes], seconds: float) -> bool:
        """Waits until all keys have values; False if that takes too long."""
        with self.changed:
            return self.changed.wait_for(lambda: all(k in self.values for k in keys), seconds)

    def wait_queue(self, key: bytes, seconds: float) -> list[bytes]:
        """Waits for an element of a queue, and takes it: [] if that takes too long."""
        with self.changed:
            self.changed.wait_for(lambda: bool(self.queues.get(key)), seconds)
            return self._pop(key)

    def _set(self, key: bytes, value: bytes) -> list[bytes]:
        self.values[key] = value
        return []

    def _get(self, key: bytes) -> list[bytes]:
        return [self.values[key]] if key in self.values else []

    def _add(self, key: bytes, amount: bytes) -> list[bytes]:
        total = int(self.values.get(key, b"0")) + _number(amount)
        self.values[key] = str(total).encode()
        return [_of_number(total)]

    def _append(self, key: bytes, value: bytes) -> list[bytes]:
        self.values[key] = self.values.get(key, b"") + value
        return []

    def _compare_set(self, key: bytes, expected: bytes, desired: bytes) -> list[bytes]:
        current = self.values.get(key)
        if current == expected or (current is None and not expected):
            self.values[key] = desired
        return [self.values.get(key, expected)]

    def _delete(self, key: bytes) -> list[bytes]:
        return [b"1"] if self.values.pop(key, None) is not None else []

    def _check(self, *keys: bytes) -> list[bytes]:
        return [b"1"] if all(k in self.values for k in keys) else []

    def _count(self) -> list[bytes]:
        return [_of_number(len(self.values))]

    def _keys(self) -> list[bytes]:
        return list(self.values)

    def _push(self, key: bytes, value: bytes) -> list[bytes]:
        self.queues.setdefault(key, []).append(value)
        return []

    def _pop(self, key: bytes) -> list[bytes]:
        queue = self.queues.get(key)
        return [queue.pop(0)] if queue else []

    def _length(self, key: bytes) -> list[bytes]:
        return [_of_number(len(self.queues.get(key, ())))]


class Store:
    """Values that processes leave for each other.  ``get`` and ``wait`` wait until there is a value.

    Raises RuntimeError when that takes longer than ``timeout``.
    """

    def __init__(self) -> None:
        self._timeout = _DEFAULT

    # -- what a kind of store must do -------------------------------------------------------------------

    def _run(self, name: str, *args: bytes) -> list[bytes]:
        """One operation of the table."""
        refused = f"{type(self).__name__} does not say where its values are"
        raise NotImplementedError(refused)

    def _wait(self, keys: Sequence[bytes], seconds: float) -> bool:
        """Waits for values: looks again and again, less and less often."""
        until, pause = time.monotonic() + seconds, 0.001
        while not self._run("check", *keys):
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        return True

    # -- what programs call -----------------------------------------------------------------------------

    @property
    def timeout(self) -> timedelta:
        """How long ``get`` and ``wait`` wait."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Sets how long ``get`` and ``wait`` wait."""
        self._timeout = timeout

    def set(self, key: str, value: str | bytes) -> None:
        """Leaves a value."""
        self._run("set", _bytes(key), _bytes(value))

    def get(self, key: str) -> bytes:
        """A value, when it is there."""
        self.wait([key])
        return self._run("get", _bytes(key))[0]

    def add(self, key: str, amount: int) -> int:
        """Adds to a counter; returns it."""
        return _number(self._run("add", _bytes(key), _of_number(amount))[0])

    def append(self, key: str, value: str | bytes) -> None:
        """Adds to the end of a value."""
        self._run("append", _bytes(key), _bytes(value))

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Replaces the value if it is ``expected_value`` (empty: if there is none); returns what is there then."""
        return self._run("compare_set", _bytes(key), _bytes(expected_value), _bytes(desired_value))[0]

    def delete_key(self, key: str) -> bool:
        """Takes a value away; True if there was one."""
        return bool(self._run("delete", _bytes(key)))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all values are there."""
        return bool(self._run("check", *map(_bytes, keys)))

    def num_keys(self) -> int:
        """The number of values."""
        return _number(self._run("count")[0])

    def list_keys(self) -> list[str]:
        """The keys of all values."""
        return [k.decode() for k in self._run("keys")]

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Waits for values; raises RuntimeError (``DistStoreError``) if they do not come."""
        seconds = (timeout or self._timeout).total_seconds()
        if not self._wait([_bytes(k) for k in keys], seconds):
            raise RuntimeError(f"wait timeout after {seconds * 1000:.0f}ms, keys: {', '.join(keys)}")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Several values."""
        return [self.get(k) for k in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Leaves several values."""
        for key, value in zip(keys, values):
            self.set(key, value)

    def barrier(self, key: str, world_size: int, timeout: timedelta | None = None) -> None:
        """Waits until ``world_size`` processes have come here."""
        if self.add(f"{key}/count", 1) == world_size:
            self.set(f"{key}/all", b"1")
        self.wait([f"{key}/all"], timeout)

    def queue_push(self, key: str, value: str | bytes) -> None:
        """Adds to the end of a queue."""
        self._run("push", _bytes(key), _bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Takes the first of a queue; waits for one, unless ``block`` is off.  Raises RuntimeError if there is none."""
        until, pause = time.monotonic() + self._timeout.total_seconds(), 0.001
        while True:
            found = self._run("pop", _bytes(key))
            if found:
                return found[0]
            if not block or time.monotonic() > until:
                raise RuntimeError(f"queue {key!r} is empty")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def queue_len(self, key: str) -> int:
        """The length of a queue."""
        return _number(self._run("length", _bytes(key))[0])

    def has_extended_api(self) -> bool:
        """Whether ``append``, ``multi_get`` and ``multi_set`` are there."""
        return True

    def clone(self) -> Store:
        """Another connection to the same values."""
        return self


class HashStore(Store):
    """A store within this process."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()

    def _run(self, name: str, *args: bytes) -> list[bytes]:
        return self._table.run(name, args)

    def _wait(self, keys: Sequence[bytes], seconds: float) -> bool:
        return self._table.wait(keys, seconds)


class PrefixStore(Store):
    """Another store, with a prefix before all keys."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        self._prefix, self._store = prefix, store
        self._timeout = store.timeout

    @property
    def underlying_store(self) -> Store:
        """The other store."""
        return self._store

    def _run(self, name: str, *args: bytes) -> list[bytes]:
        head = f"{self._prefix}/".encode()
        if name == "keys":
            return [k[len(head) :] for k in self._store._run(name) if k.startswith(head)]
        if name in ("check",):
            return self._store._run(name, *(head + k for k in args))
        return self._store._run(name, *((head + args[0], *args[1:]) if args else ()))

    def _wait(self, keys: Sequence[bytes], seconds: float) -> bool:
        return self._store._wait([f"{self._prefix}/".encode() + k for k in keys], seconds)


# -- over TCP -----------------------------------------------------------------------------------------

_LONGEST = 1 << 30  # of a message: what claims to be longer comes from somebody else


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly ``count`` bytes; raises ConnectionError if the other side ends first."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view)
        if not got:
            raise ConnectionError("the connection was closed by the other side")
        view = view[got:]
    return bytes(data)


def _send_fields(sock: socket.socket, fields: Sequence[bytes]) -> None:
    body = struct.pack("<I", len(fields)) + b"".join(struct.pack("<Q", len(f)) + f for f in fields)
    sock.sendall(struct.pack("<Q", len(body)) + body)


def _receive_fields(sock: socket.socket) -> list[bytes]:
    (length,) = struct.unpack("<Q", receive(sock, 8))
    if length > _LONGEST:
        raise ConnectionError(f"a message of {length} bytes is too long")
    body = receive(sock, length)
    (count,) = struct.unpack_from("<I", body)
    fields, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from("<Q", body, at)
        if at + 8 + size > length:
            raise ConnectionError("a damaged message")
        fields.append(body[at + 8 : at + 8 + size])
        at += 8 + size
    return fields


_OPERATIONS = frozenset("set get add append compare_set delete check count keys push pop length".split())


class _Server:
    """The master's side: a thread for every connection."""

    def __init__(self, host: str, port: int, listener: socket.socket | None = None) -> None:
        self.table = _Table()
        self._listener = listener or socket.create_server((host, port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="store", daemon=True).start()

    def close(self) -> None:
        """Takes no further connections."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), name="store", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            while True:
                name, *args = _receive_fields(sock)
                operation = name.decode()
                if operation == "wait":
                    done = self.table.wait(args[1:], _number(args[0]) / 1000)
                    _send_fields(sock, [b"1"] if done else [])
                elif operation in _OPERATIONS:
                    _send_fields(sock, self.table.run(operation, args))
                else:
                    return
        except (ConnectionError, OSError, struct.error, TypeError, ValueError, UnicodeDecodeError):
            return
        finally:
            sock.close()


class TCPStore(Store):
    """A store in the process of the master, which the others reach over TCP.

    ``port`` 0 lets the master choose one.  ``wait_for_workers``: the master waits until ``world_size`` processes have
    connected.  Raises RuntimeError if the master cannot be reached within ``timeout``.
    """

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
        timeout: timedelta = _DEFAULT, wait_for_workers: bool = True, multi_tenant: bool = False,
        master_listen_fd: int | None = None, use_libuv: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self._timeout = timeout
        self._server = None
        self.libuvBackend = use_libuv
        if is_master:
            listener = None if master_listen_fd is None else socket.socket(fileno=master_listen_fd)
            self._server = _Server("", port, listener)
            weakref.finalize(self, self._server.close)
            port = self._server.port
        self.host, self.port = host_name, port
        self._lock = threading.Lock()
        self._sock = self._connect("localhost" if is_master else host_name, port, timeout.total_seconds())
        weakref.finalize(self, self._sock.close)
        if world_size is not None and world_size > 0:
            self.add("store/workers", 1)
            if wait_for_workers and is_master:
                until = time.monotonic() + timeout.total_seconds()
                while self.add("store/workers", 0) < world_size:
                    if time.monotonic() > until:
                        raise RuntimeError(f"TCPStore: not all of {world_size} processes came within {timeout}")
                    time.sleep(0.01)

    @staticmethod
    def _connect(host: str, port: int, seconds: float) -> socket.socket:
        until, pause = time.monotonic() + seconds, 0.01
        while True:
            try:
                sock = socket.create_connection((host, port), timeout=max(until - time.monotonic(), 0.1))
            except OSError as error:
                if time.monotonic() > until:
                    raise RuntimeError(
                        f"The client socket has timed out after {seconds:.0f}s while trying to connect to "
                        f"({host}, {port}): {error}"
                    ) from error
                time.sleep(pause)
                pause = min(pause * 1.5, 0.5)
                continue
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock

    def _ask(self, fields: Sequence[bytes]) -> list[bytes]:
        with self._lock:
            try:
                _send_fields(self._sock, fields)
                return _receive_fields(self._sock)
            except (ConnectionError, OSError) as error:
                raise RuntimeError(f"the store at {self.host}:{self.port} does not answer: {error}") from error

    def _run(self, name: str, *args: bytes) -> list[bytes]:
        return self._ask([name.encode(), *args])

    def _wait(self, keys: Sequence[bytes], seconds: float) -> bool:
        # in short pieces, so that other threads of this process get their turn on the connection
        until = time.monotonic() + seconds
        while True:
            rest = until - time.monotonic()
            piece = _of_number(int(1000 * min(max(rest, 0), 0.1)))
            if self._ask([b"wait", piece, *keys]):
                return True
            if rest <= 0:
                return False

    def local_address(self) -> str:
        """The address of this machine as the master sees it."""
        return str(self._sock.getsockname()[0])


# -- in a file ----------------------------------------------------------------------------------------


class FileStore(Store):
    """A store in a file that all processes can reach: a list of operations, which is run again to know the values."""

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self.path = file_name
        self._world_size = world_size
        self._table, self._read = _Table(), 0
        self._lock = threading.Lock()
        self._file = open(file_name, "a+b")  # kept open as long as the store lives
        weakref.finalize(self, self._file.close)

    def _run(self, name: str, *args: bytes) -> list[bytes]:
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._catch_up()
                if name not in ("get", "check", "count", "keys", "length"):
                    fields = [name.encode(), *args]
                    record = struct.pack("<I", len(fields)) + b"".join(struct.pack("<Q", len(f)) + f for f in fields)
                    self._file.write(record)
                    self._file.flush()
                    self._read += len(record)
                return self._table.run(name, args)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Runs what others have written."""
        self._file.seek(self._read)
        data = self._file.read()
        at = 0
        while at < len(data):
            (count,) = struct.unpack_from("<I", data, at)
            at += 4
            fields = []
            for _ in range(count):
                (size,) = struct.unpack_from("<Q", data, at)
                fields.append(data[at + 8 : at + 8 + size])
                at += 8 + size
            name = fields[0].decode()
            if name not in _OPERATIONS:
                raise RuntimeError(f"{self.path} is not the file of a store")
            self._table.run(name, fields[1:])
        self._read += len(data)
        self._file.seek(0, os.SEEK_END)

    def __reduce__(self) -> Any:
        return FileStore, (self.path, self._world_size)
