"""A gateway in memory: answers by a script or a function, for both libraries, sync and async."""

import json
import threading

import httpx
import httpx2

LIBRARIES = [httpx2, httpx]


class Wire:
    """The transport under a client; keeps what arrived."""

    def __init__(self, answer, library=httpx2):
        self.answer = answer
        self.library = library
        self.seen = []
        self.lock = threading.Lock()

    def handler(self, request):
        with self.lock:
            self.seen.append(request)
        made = self.answer(self, request)
        # As from a network: a stream that nobody has read yet.
        return self.library.Response(made.status_code, headers=made.headers, stream=self._stream(made.content))

    def _stream(self, content):
        class Both(self.library.SyncByteStream, self.library.AsyncByteStream):
            def __iter__(self):
                yield content

            async def __aiter__(self):
                yield content

        return Both()

    @property
    def sync(self):
        return self.library.MockTransport(self.handler)

    @property
    def asynchronous(self):
        return self.library.MockTransport(self.handler)

    def json(self, status, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.library.Response(status, json=body, headers=headers)


def envelope(code=None, kind="authentication_error"):
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": "no", **details}, "request_id": "req_1"}


def message(model="claude-opus-5-5", text="hello", **usage):
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5, **usage},
    }


def form_of(request):
    from urllib.parse import parse_qsl

    return dict(parse_qsl(request.content.decode(), strict_parsing=True))


