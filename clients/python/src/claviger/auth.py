"""`ClavigerAuth`: shows the gateway who calls. For sync and async clients of httpx2 and httpx alike."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from typing import Any, Literal
from urllib.parse import urlencode

from ._body import is_replayable, pieces_of
from ._effects import Call, ReadAnswer, Send, Wait
from ._http import AuthBase, connection_failure, library_of
from .dpop import DPOP_HEADER, ProofKey, Prover
from .errors import ClavigerError, ConfigurationError, TokenError, WrongOrigin
from .secret import Secret, public_id
from .signing import HmacKey, Signer, Target, origin_of
from .sources import CachedKey, KeySource
from .succession import SUCCESSOR_HEADER, SUCCESSOR_PATH
from .tokens import LOST_HEADER, Grant, TokenBox, error_code

Flow = Generator[Any, Any, Any]
_OWN_TIMEOUT_SECS = 30.0
# A call waits for it, and can do without.
_ASKING_TIMEOUT_SECS = 5.0
_TIMEOUTS = ("connect", "read", "write", "pool")
_NONCE_DEMANDED = "use_dpop_nonce"
_CREDENTIALS = (
    "x-api-key", "authorization", "x-request-signature", "x-request-signature-version", "x-request-timestamp",
    "x-request-nonce", "signature", "signature-input", DPOP_HEADER,
)


class ClavigerAuth(AuthBase):
    """Adds the key or an access token, and a signature if there is a signer.

    Whatever credential the SDK put in is taken out. Requests to another origin than `base_url` are refused. Access tokens are
    bought by the key and refreshed shortly before their end, by one call for all threads and tasks; a call that is told
    `token_expired` or `token_revoked` is repeated once. With a `proof_key` they are bound to it, and each request holds a proof
    of its own (DPoP); a nonce that the gateway demands is put in, and the call repeated once for it. A refusal of the token endpoint is the answer to the call, so that the
    SDK shows it like any other. `answers_locally`: there is a `ClavigerTransport` below, which turns an error of this side into
    an answer for an SDK.

    Give it to a client that follows no redirects (`follow_redirects=False`, which is not the default of the SDK's own clients): a
    redirect would carry the key elsewhere. The clients that `Claviger` makes follow none, and stop what was led elsewhere.
    """

    # Bodies are read by the flow itself, which keeps long ones out of memory.
    requires_request_body = False

    def __init__(
        self,
        base_url: str,
        key: KeySource,
        *,
        auth: Literal["key", "token"] = "key",
        signer: Signer | None = None,
        key_id: str | None = None,
        scope: str | None = None,
        proof_key: ProofKey | None = None,
        max_body_bytes: int = 512 * 1024 * 1024,
        answers_locally: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if auth not in ("key", "token"):
            raise ConfigurationError("auth is `key` or `token`")
        if proof_key is not None and auth != "token":
            raise ConfigurationError("a proof key binds access tokens: it needs auth = token")
        self._base_url = base_url.rstrip("/")
        self._origin = origin_of(base_url)
        self._key = key if isinstance(key, CachedKey) else CachedKey(key)
        self._uses_tokens = auth == "token"
        self._signer = signer
        self._secret = signer.key if signer is not None and isinstance(signer.key, HmacKey) else None
        self._key_id = key_id
        self._scope = scope
        self._prover = None if proof_key is None else Prover(proof_key)
        self._max_body_bytes = max_body_bytes
        self._answers_locally = answers_locally
        self._monotonic = monotonic
        self._tokens = TokenBox()

    def now(self) -> float:
        """Seconds since 1970, by the clock that requests are signed with."""
        return time.time() if self._signer is None else self._signer.clock()

    def forget(self) -> None:
        """Drops the cached key and tokens; the next call fetches both anew."""
        self._key.forget()
        self._tokens.clear()

    # === the two drivers ===

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Called by `Client`."""
        flow = self._flow(request)
        try:
            effect = next(flow)
            while True:
                if isinstance(effect, Send):
                    result = yield effect.request
                else:
                    try:
                        result = effect.run()
                    except Exception as error:
                        effect = flow.throw(error)
                        continue
                effect = flow.send(result)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Called by `AsyncClient`."""
        flow = self._flow(request)
        try:
            effect = next(flow)
            while True:
                if isinstance(effect, Send):
                    result = yield effect.request
                else:
                    try:
                        result = await effect.arun()
                    except Exception as error:
                        effect = flow.throw(error)
                        continue
                effect = flow.send(result)
        except StopIteration:
            return
        finally:
            flow.close()

    # === the one flow ===

    def _flow(self, request: Any) -> Flow:
        try:
            yield from self._call(request)
        except ClavigerError as error:
            if not (self._answers_locally and "x-stainless-retry-count" in request.headers):
                raise
            for name in _CREDENTIALS:
                request.headers.pop(name, None)
            request.extensions.setdefault("claviger", {})["refused"] = error
            yield Send(request)

    def _call(self, request: Any) -> Flow:
        if origin_of(str(request.url)) != self._origin:
            raise WrongOrigin(f"no credential is sent to {request.url.host}: the gateway is {self._origin}")
        yield from self._succeed(request)
        repeated = renewed = False
        while True:
            found = yield from self._credentials(request)
            if found is None:
                return
            key, grant = found
            # Asked before sending: a stream that was sent may look like a body in memory.
            replayable = is_replayable(request)
            context = request.extensions.setdefault("claviger", {})
            # Below, what a redirect led elsewhere is stopped.
            context["origin"] = self._origin
            # A 401 that is repeated is no call of its own: it is counted once it is clear that it stands.
            context["may_repeat"] = replayable and not (repeated and renewed)
            response = yield Send(request)
            if SUCCESSOR_HEADER in response.headers and self._secret is not None:
                self._secret.announce(response.headers[SUCCESSOR_HEADER])
            has_nonce = self._notice(response)
            if response.status_code != 401 or not replayable:
                return
            code = error_code((yield ReadAnswer(response)))
            if code == _NONCE_DEMANDED:
                again, renewed = has_nonce and not renewed, True
            elif repeated:
                again = False
            else:
                again = repeated = yield from self._may_repeat(key, grant, code)
            settle: Callable[[bool], None] = context.pop("settle", lambda repeats: None)
            settle(again)
            if not again:
                return

    def _succeed(self, request: Any) -> Flow:
        """Before a call: fetches the successor of the signing secret, if one was announced. The call goes on without it."""
        secret = self._secret
        if secret is None or not secret.wants_successor():
            return
        asked = self._built(request, "GET", SUCCESSOR_PATH)
        asked.extensions["timeout"] = dict.fromkeys(_TIMEOUTS, _ASKING_TIMEOUT_SECS)
        # Below, it is tried once, and a broken connection is an answer: an `Auth` is not told of failures.
        asked.extensions["claviger"].update(sdk=True, dispensable=True)
        if (yield from self._credentials(asked)) is None:
            return
        response = yield from self._own(asked)
        try:
            answer: bytes = yield ReadAnswer(response)
        except Exception as error:
            if connection_failure(error) is None:
                raise
            return
        if response.status_code == 200:
            yield Call(lambda: secret.succeed(answer, response.headers.get("date")))

    def _credentials(self, request: Any) -> Flow:
        """Puts key or token and signature into a request. None: the token endpoint refused, and its answer stands."""
        key: str = yield Call(self._key.get)
        grant, shown = None, ("x-api-key", key)
        if self._uses_tokens:
            grant = yield from self._grant(request, key)
            if grant is None:
                return None
            scheme = "Bearer" if self._prover is None else "DPoP"
            shown = ("authorization", f"{scheme} {grant.access.reveal()}")
        yield from self._show(request, key, shown, grant)
        return key, grant

    def _may_repeat(self, key: str, grant: Grant | None, code: str | None) -> Flow:
        if grant is not None:
            return self._tokens.refused(grant.access, code)
        # A key that was replaced at its source is read again; the same key is not tried twice.
        return (yield Call(lambda: self._key.changed(key))) if code is None else False

    def _show(self, request: Any, key: str, shown: tuple[str, str], grant: Grant | None) -> Flow:
        for name in _CREDENTIALS:
            request.headers.pop(name, None)
        access = None if grant is None else grant.access
        if self._signer is not None:
            target = Target.of(request.method, str(request.url))
            signing = self._signer.begin(target, self._key_id or public_id(key) or "")
            for piece in (yield from pieces_of(request, self._max_body_bytes)):
                signing.update(piece)
            request.headers.update(signing.headers())
        elif self._prover is not None:
            # A proof whose nonce is over is made anew, and then the body is sent again.
            yield from pieces_of(request, self._max_body_bytes)
        if self._prover is not None:
            self._prover.prove(request, access)
        name, value = shown
        request.headers[name] = value
        request.extensions.setdefault("claviger", {})["resign"] = lambda: self._resign(request, key, access)

    def _resign(self, request: Any, key: str, access: Secret | None) -> None:
        """For a repeated attempt below: a new proof, a new time and nonce. The body was read by then."""
        if self._prover is not None:
            self._prover.prove(request, access)
        if self._signer is None:
            return
        signing = self._signer.begin(Target.of(request.method, str(request.url)), self._key_id or public_id(key) or "")
        pieces = pieces_of(request, self._max_body_bytes)
        try:
            next(pieces)
        except StopIteration as done:
            for piece in done.value:
                signing.update(piece)
        request.headers.update(signing.headers())

    def _notice(self, response: Any) -> bool:
        """Whether the answer gives a nonce for the next proof."""
        return self._prover is not None and self._prover.notice(response)

    def _own(self, asked: Any) -> Flow:
        """Sends a request of our own, once more where its proof lacked the nonce that the answer gives."""
        response = yield Send(asked)
        # RFC 9449, section 8: token endpoints answer 400, others 401.
        if self._notice(response) and response.status_code in (400, 401):
            if error_code((yield ReadAnswer(response))) == _NONCE_DEMANDED:
                asked.extensions["claviger"]["resign"]()
                response = yield Send(asked)
                self._notice(response)
        return response

    # === tokens ===

    def _grant(self, request: Any, key: str) -> Flow:
        """A grant; None when the token endpoint refused, and its answer stands."""
        while True:
            found = self._tokens.look(self._monotonic())
            if isinstance(found, Grant):
                return found
            if isinstance(found, Future):
                if not (yield Wait(found)):
                    raise TokenError("another call has been buying a token for too long")
                continue
            try:
                return (yield from self._buy(request, key))
            finally:
                self._tokens.land()

    def _buy(self, request: Any, key: str) -> Flow:
        refresh = self._tokens.refresh_token(self._monotonic())
        if refresh is not None:
            response = yield from self._ask(request, "refresh", {"grant_type": "refresh_token", "refresh_token": refresh.reveal()})
            if response.status_code == 200:
                return self._keep((yield ReadAnswer(response)))
            answered = LOST_HEADER not in response.headers
            holds, may_buy = self._tokens.refresh_failed(response.status_code, self._monotonic(), answered)
            if holds:
                found = self._tokens.look(self._monotonic())
                return found if isinstance(found, Grant) else None
            if not may_buy:
                return None
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        response = yield from self._ask(request, "token", form, key)
        if response.status_code != 200:
            if response.status_code == 401:
                yield Call(lambda: self._key.changed(key))
            return None
        return self._keep((yield ReadAnswer(response)))

    def _ask(self, request: Any, name: str, form: dict[str, str], key: str | None = None) -> Flow:
        asked = self._built(request, "POST", f"/v1/auth/{name}", urlencode(form).encode())
        asked.headers["content-type"] = "application/x-www-form-urlencoded"
        # Below, one whose answer was lost is repeated at once: the gateway gives the same one again, for a while.
        asked.extensions["claviger"]["refresh"] = name == "refresh"
        asked.extensions["claviger"]["dispensable"] = name == "refresh" and self._tokens.holds(self._monotonic())
        if key is not None:
            asked.headers["x-api-key"] = key
        signed_by = key or ((yield Call(self._key.get)) if self._signer is not None else "")
        asked.extensions["claviger"]["resign"] = lambda: self._resign(asked, signed_by, None)
        self._resign(asked, signed_by, None)
        return (yield from self._own(asked))

    def _built(self, request: Any, method: str, path: str, content: bytes | None = None) -> Any:
        """A request of our own, on behalf of a call."""
        return library_of(request).Request(
            method,
            f"{self._base_url}{path}",
            content=content,
            headers={"accept": "application/json"},
            extensions={
                "timeout": dict.fromkeys(_TIMEOUTS, _OWN_TIMEOUT_SECS),
                # Below, it is treated as part of the call: an SDK repeats both or neither.
                "claviger": {"purchase": True, "origin": self._origin, "sdk": "x-stainless-retry-count" in request.headers},
            },
        )

    def _keep(self, body: bytes) -> Grant:
        grant = Grant.read(body, self._monotonic(), "bearer" if self._prover is None else "dpop")
        self._tokens.put(grant)
        return grant
