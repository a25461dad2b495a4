"""HTTP/1.1 on bare sockets: exactly the bytes that were meant, and exactly those that came."""

import re
import socket
import threading


class Reader:
    """Reads messages off a socket without interpreting more than their framing."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.buffer = b""

    def more(self):
        part = self.sock.recv(65536)
        if not part:
            raise EOFError("the connection was closed")
        self.buffer += part

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                while self.until(b"\r\n"):
                    pass
                return body
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def head(self):
        """The first line and the headers as (lower-case name, value) in their order."""
        lines = self.until(b"\r\n\r\n").split(b"\r\n")
        fields = [line.split(b":", 1) for line in lines[1:]]
        return lines[0], [(name.lower(), value.strip(b" \t")) for name, value in fields]


def first(headers, name):
    return next((value for key, value in headers if key == name), None)


def request_body(reader, headers):
    if first(headers, b"transfer-encoding") is not None:
        return reader.chunks(), "chunked"
    length = first(headers, b"content-length")
    return (reader.exactly(int(length)), "length") if length is not None else (b"", "none")


def answer_body(reader, method, status, headers):
    if method == b"HEAD" or status in (204, 304) or status < 200:
        return b"", "none"
    if first(headers, b"transfer-encoding") is not None:
        return reader.chunks(), "chunked"
    length = first(headers, b"content-length")
    assert length is not None, "neither length nor chunks"
    return reader.exactly(int(length)), "length"


def framed(body: bytes, framing: str, pieces: list[int]) -> tuple[bytes, bytes]:
    """The framing header and the framed body; `pieces` are sizes of chunks."""
    if framing == "none":
        return b"", b""
    if framing == "length":
        return b"content-length: %d\r\n" % len(body), body
    out, at, turn = b"", 0, 0
    while at < len(body):
        piece = body[at : at + pieces[turn % len(pieces)]]
        out += b"%x\r\n%s\r\n" % (len(piece), piece)
        at, turn = at + len(piece), turn + 1
    return b"transfer-encoding: chunked\r\n", out + b"0\r\n\r\n"


class Recorder:
    """An upstream that writes down what it got and answers what the exchange's script says."""

    def __init__(self):
        self.scripts: dict[bytes, bytes] = {}
        self.seen: dict[bytes, tuple] = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        try:
            while True:
                line, headers = reader.head()
                body, framing = request_body(reader, headers)
                name = first(headers, b"x-exchange")
                self.seen[name] = (line, headers, body, framing)
                sock.sendall(self.scripts[name])
        except (EOFError, OSError):
            sock.close()

    def stop(self):
        self.listener.close()


class Line:
    """A kept-alive connection to the gateway, opened again when it was closed."""

    def __init__(self, url: str):
        host, port = re.fullmatch(r"http://([^:/]+):(\d+)", url).groups()
        self.address = (host, int(port))
        self.reader = None

    def exchange(self, method: bytes, request: bytes):
        if self.reader is None:
            sock = socket.create_connection(self.address, timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader = Reader(sock)
        self.reader.sock.sendall(request)
        line, headers = self.reader.head()
        status = int(line.split(b" ")[1])
        body, framing = answer_body(self.reader, method, status, headers)
        if (first(headers, b"connection") or b"").lower() == b"close":
            self.close()
        return status, headers, body, framing

    def close(self):
        if self.reader is not None:
            self.reader.sock.close()
            self.reader = None
