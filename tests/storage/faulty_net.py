"""A TCP proxy that does harm: to chosen connections, or to what passes."""

from __future__ import annotations

import contextlib
import socket
import threading

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FaultyNet:
    """Passes bytes on to a server; ``faults`` are used up by the next connections, one each.

    ``busy`` answers 503, ``cut`` closes after the request has begun, an integer cuts the answer after so many bytes.
    ``rewrite`` changes what is sent to the server.
    """

    def __init__(self, port, faults=(), rewrite=lambda data: data):
        self.faults = list(faults)
        self.used = 0
        self._rewrite = rewrite
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                fault = self.faults.pop(0) if self.faults else None
                self.used += fault is not None
                threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client, fault):
        with client, contextlib.suppress(OSError):
            if fault in ("busy", "cut"):
                client.recv(1 << 16)
                if fault == "busy":
                    client.sendall(BUSY)
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                threading.Thread(target=self._pump, args=(client, server, None, self._rewrite), daemon=True).start()
                self._pump(server, client, fault, lambda data: data)

    @staticmethod
    def _pump(source, target, limit, rewrite):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                data = rewrite(data)
                if limit is not None:
                    data, limit = data[:limit], limit - len(data)
                target.sendall(data)
                if limit is not None and limit <= 0:
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
