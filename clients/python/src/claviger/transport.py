"""What stands between `ClavigerAuth` and the network: cache, limiter, retries, statistics."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any

from ._body import is_replayable, whole_body
from ._effects import CloseAnswer, Send, Sleep
from ._http import AsyncStreamBase, AsyncTransportBase, SyncStreamBase, TransportBase, connection_failure, httpx, library_of
from .cache import Kept, ResponseCache
from .errors import ClavigerError, WrongOrigin
from .limiter import Limiter
from .retry import Decision, Failed, Retry, decide
from .signing import origin_of
from .statistics import Statistics
from .tokens import LOST_HEADER, REPEATED_SECS
from .usage import Decoded, reader_for

Flow = Generator[Any, Any, Any]
_NOT_KEPT = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive"})


class Exchange:
    """The rules that both transports follow; one per client."""

    def __init__(
        self,
        *,
        limiter: Limiter | None = None,
        retry: Retry | None = None,
        cache: ResponseCache | None = None,
        statistics: Statistics | None = None,
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiter = limiter
        self.retry = retry or Retry()
        self.cache = cache
        self.statistics = statistics or Statistics()
        self._chance = chance
        self._wall = wall
        self._monotonic = monotonic

    def flow(self, request: Any) -> Flow:
        """From a signed request to its answer; the result is the response."""
        context = request.extensions.get("claviger", {})
        if isinstance(context.get("refused"), ClavigerError):
            return _local_answer(request, context["refused"])
        try:
            _stay(request, context)
            return (yield from self._exchange(request, context))
        except ClavigerError as error:
            if not _is_sdks(request, context):
                raise
            return _local_answer(request, error)
        except Exception as error:
            if not context.get("dispensable") or connection_failure(error) is None:
                raise
            return library_of(request).Response(503, headers={LOST_HEADER: "1"}, request=request)

    def _exchange(self, request: Any, context: dict[str, Any]) -> Flow:
        key = self._cache_key(request)
        kept = self.cache.get(key) if self.cache is not None and key is not None else None
        if kept is not None:
            self.statistics.hit()
            return _answer_from(request, kept)
        purchase = bool(context.get("purchase"))
        limiter = None if purchase else self.limiter
        if limiter is not None:
            yield from limiter.acquire()
            # The wait may have been long, and signatures have their time.
            context.get("resign", lambda: None)()
        ticket = _Ticket(self, limiter, None if purchase else self._monotonic(), key, context)
        try:
            response = yield from self._attempts(request, context)
        except BaseException:
            ticket.end(None)
            raise
        ticket.status = response.status_code
        ticket.headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _NOT_KEPT]
        if whole_body(response) is not None:
            # A transport that answers from memory: there is nothing left to pass by.
            ticket.end(response.status_code)
            return response
        ticket.reader = None if purchase else reader_for(response.headers)
        response.stream = _Tap(response.stream, ticket)
        return response

    def _attempts(self, request: Any, context: dict[str, Any]) -> Flow:
        sdk = _is_sdks(request, context)
        replayable = is_replayable(request)
        attempt, begun = 0, self._monotonic()
        while True:
            response, error = None, None
            try:
                response = yield Send(request)
            except Exception as raised:
                if connection_failure(raised) is None:
                    raise
                error = raised
            is_young = self._monotonic() - begun < REPEATED_SECS
            if error is not None and connection_failure(error) == "lost" and context.pop("refresh", False) and is_young:
                context.get("resign", lambda: None)()
                continue
            decision = self._decide(request, replayable, (sdk, attempt), response, error)
            if decision.forbid and response is not None:
                response.headers["x-should-retry"] = "false"
            if decision.wait_secs is None:
                if error is not None:
                    raise error
                return response
            if response is not None:
                yield CloseAnswer(response)
            self.statistics.retry()
            yield Sleep(decision.wait_secs)
            context.get("resign", lambda: None)()
            attempt += 1

    def _decide(
        self, request: Any, replayable: bool, round: tuple[bool, int], response: Any, error: Exception | None
    ) -> Decision:
        if response is not None and response.status_code < 400:
            return Decision()
        failure = connection_failure(error) if error is not None else None
        failed = Failed(
            method=request.method,
            attempt=round[1],
            sdk=round[0],
            status=response.status_code if response is not None else None,
            error="connect" if failure == "connect" else "lost" if failure else None,
            headers=response.headers if response is not None else None,
            replayable=replayable,
        )
        return decide(self.retry, failed, self._chance(), self._wall())

    def _cache_key(self, request: Any) -> str | None:
        if self.cache is None:
            return None
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        return self.cache.key(request.method, path, query, request.headers, whole_body(request))


class _Ticket:
    """What is still open about a call until its answer is closed: the slot, the usage, the place in the cache."""

    def __init__(
        self, exchange: Exchange, limiter: Limiter | None, started: float | None, key: str | None, context: dict[str, Any]
    ) -> None:
        self._exchange = exchange
        self._limiter = limiter
        self._context = context
        self._started = started
        self._key = key
        self._open = True
        self._body: bytearray | None = bytearray() if key is not None else None
        self.status: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.reader: Decoded | None = None
        self.whole = False

    def feed(self, chunk: bytes) -> None:
        if self.reader is not None:
            self.reader.feed(chunk)
        if self._body is not None:
            self._body += chunk
            cache = self._exchange.cache
            if cache is None or len(self._body) > cache.max_answer:
                self._body = None

    def end(self, status: int | None) -> None:
        """Once, whoever comes first: the stream's end, its closing, or an error."""
        if not self._open:
            return
        self._open = False
        if self._limiter is not None:
            self._limiter.release()
        if self._started is None:
            return
        reader = self.reader
        if reader is not None:
            reader.close()
        latency_ms = (self._exchange._monotonic() - self._started) * 1000
        usage = None if reader is None or status != 200 else reader.reader.usage
        model = None if reader is None else reader.reader.model
        count = partial(self._exchange.statistics.sent, status=status, latency_ms=latency_ms, model=model, usage=usage)
        if status == 401 and self._context.get("may_repeat"):
            self._context["settle"] = lambda repeats: self._exchange.statistics.retry() if repeats else count()
        else:
            count()
        self._keep(status)

    def _keep(self, status: int | None) -> None:
        cache, reader = self._exchange.cache, self.reader
        if cache is None or self._key is None or status != 200 or not self.whole or self._body is None:
            return
        if reader is not None and reader.reader.ended:
            cache.put(self._key, self.headers, bytes(self._body))


class _Tap(SyncStreamBase, AsyncStreamBase):
    """The answer's bytes, unchanged, with an eye on them."""

    def __init__(self, inner: Any, ticket: _Ticket) -> None:
        self._inner = inner
        self._ticket = ticket

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._ticket.feed(chunk)
                yield chunk
            self._ticket.whole = True
        except Exception:
            self._ticket.end(None)
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._ticket.feed(chunk)
                yield chunk
            self._ticket.whole = True
        except Exception:
            self._ticket.end(None)
            raise

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._ticket.end(self._ticket.status)

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._ticket.end(self._ticket.status)


class ClavigerTransport(TransportBase):
    """For `Client(transport=…)`: the rules of an `Exchange` around another transport."""

    def __init__(self, exchange: Exchange | None = None, inner: Any = None, *, verify: Any = True) -> None:
        self.exchange = exchange or Exchange()
        self._inner = inner if inner is not None else httpx.HTTPTransport(verify=verify, limits=_limits())

    def handle_request(self, request: Any) -> Any:
        flow = self.exchange.flow(request)
        try:
            effect = next(flow)
            while True:
                try:
                    result = self._inner.handle_request(effect.request) if isinstance(effect, Send) else effect.run()
                except Exception as error:
                    effect = flow.throw(error)
                    continue
                effect = flow.send(result)
        except StopIteration as done:
            return done.value
        finally:
            flow.close()

    def close(self) -> None:
        self._inner.close()


class AsyncClavigerTransport(AsyncTransportBase):
    """For `AsyncClient(transport=…)`."""

    def __init__(self, exchange: Exchange | None = None, inner: Any = None, *, verify: Any = True) -> None:
        self.exchange = exchange or Exchange()
        self._inner = inner if inner is not None else httpx.AsyncHTTPTransport(verify=verify, limits=_limits())

    async def handle_async_request(self, request: Any) -> Any:
        flow = self.exchange.flow(request)
        try:
            effect = next(flow)
            while True:
                try:
                    if isinstance(effect, Send):
                        result = await self._inner.handle_async_request(effect.request)
                    else:
                        result = await effect.arun()
                except Exception as error:
                    effect = flow.throw(error)
                    continue
                effect = flow.send(result)
        except StopIteration as done:
            return done.value
        finally:
            flow.close()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _limits() -> Any:
    # Those of the SDK's own client.
    return httpx.Limits(max_connections=1000, max_keepalive_connections=100)


def _stay(request: Any, context: dict[str, Any]) -> None:
    """A client that follows redirects takes the credential along."""
    meant = context.get("origin")
    if meant is not None and origin_of(str(request.url)) != meant:
        raise WrongOrigin(f"no credential is sent to {request.url.host}: the gateway is {meant}")


def _is_sdks(request: Any, context: dict[str, Any]) -> bool:
    """Whether an official SDK made the request, which tries again by itself."""
    return bool(context.get("sdk", "x-stainless-retry-count" in request.headers))


def _local_answer(request: Any, error: ClavigerError) -> Any:
    """An error of this side as an answer: an SDK shows it as it is, and does not try again."""
    body = {"type": "error", "error": {"type": error.kind, "message": str(error)}}
    headers = {"x-should-retry": "false", "x-claviger-local": "error"}
    return library_of(request).Response(error.status, json=body, headers=headers, request=request)


def _answer_from(request: Any, kept: Kept) -> Any:
    headers = [*kept.headers, ("x-claviger-cache", "hit")]
    return library_of(request).Response(200, headers=headers, content=kept.body, request=request)
