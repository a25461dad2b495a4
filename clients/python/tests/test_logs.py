"""The logging filter, the limiter's edges, and health."""

import asyncio
import io
import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claviger import LimitReached, Limiter, RedactingFilter, Redactor, redact
from claviger.health import judge
from claviger.redaction import MASK
from vectors import load

KEY = load("tokens.json")["key"]


@pytest.fixture
def logged():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s", defaults={"extra": ""}))
    handler.addFilter(RedactingFilter(known=["a value nobody knows"]))
    logger = logging.getLogger("tests.redaction.child")
    logging.getLogger("tests.redaction").addHandler(handler)
    logger.propagate = True
    logger.setLevel("DEBUG")
    yield logger, stream
    logging.getLogger("tests.redaction").removeHandler(handler)


def test_message_arguments_exceptions_stacks_and_extras_are_masked(logged):
    logger, stream = logged
    logger.info("key %s and %s", KEY, {"authorization": "Bearer abcdef"})
    logger.info(RuntimeError(f"not text: {KEY}"))
    logger.info("more", extra={"extra": f"x {KEY}"})
    logger.info("a value nobody knows", stack_info=True)
    try:
        try:
            raise ValueError(KEY)
        except ValueError as cause:
            raise RuntimeError("outer") from cause
    except RuntimeError:
        logger.exception("failed")
    logger.info("%d broken", "x")
    text = stream.getvalue()
    assert KEY not in text and "abcdef" not in text and "a value nobody" not in text.replace('"a value nobody knows", stack', "")
    assert text.count(MASK) >= 5 and "RuntimeError: outer" in text and "could not be formatted" in text


@settings(max_examples=200, deadline=None)
@given(before=st.text(max_size=40), after=st.text(max_size=40), secret=st.text("abcXYZ019/+?& é", min_size=8, max_size=40))
def test_no_known_value_survives(before, after, secret):
    masked = Redactor([secret])(before + secret + after)
    assert secret not in masked.replace(MASK, "\0")


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", min_size=43, max_size=43), st.sampled_from(["live", "test", "oper", "sign"]))
def test_no_key_of_ours_survives(tail, tag):
    assert redact(f"<cvg_{tag}_{tail}>") == f"<{MASK}>"


def test_long_texts_take_no_quadratic_time():
    for text in ("A" * 2_000_000, "eyJ" * 500_000, "authorization" * 100_000, "0a" * 1_000_000, "sk-ant-" * 200_000):
        begun = time.monotonic()
        redact(text)
        assert time.monotonic() - begun < 5, text[:10]


def drive(flow):
    try:
        effect = next(flow)
        while True:
            try:
                effect = flow.send(effect.run())
            except LimitReached:
                raise
    except StopIteration:
        return


def test_slots_are_never_lost_whoever_goes_away():
    limiter = Limiter(concurrency=2, max_wait_secs=0.05)

    async def one(number):
        flow = limiter.acquire()
        try:
            effect = next(flow)
            while True:
                effect = flow.send(await effect.arun())
        except StopIteration:
            pass
        try:
            await asyncio.sleep(0.001 * (number % 3))
        finally:
            limiter.release()

    async def go():
        tasks = [asyncio.create_task(one(n)) for n in range(60)]
        await asyncio.sleep(0.004)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(go())
    assert limiter._free == 2 and not limiter._queue
    threads = [threading.Thread(target=lambda: (drive(limiter.acquire()), limiter.release())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limiter._free == 2


class Answer:
    def __init__(self, status, date=None, message=None):
        self.status_code = status
        self.headers = {"date": date} if date else {}
        self.message = message

    def json(self):
        return {"error": {"message": self.message}} if self.message else {}


def test_health_says_what_is_wrong():
    date, now = "Thu, 01 Jan 2026 00:00:00 GMT", 1767225600
    assert judge(Answer(200), Answer(200, date), None, 3.0, now).ok
    behind = judge(Answer(200), Answer(401, date), None, 3.0, now - 412)
    assert not behind.ok and behind.problem.startswith("this machine's clock is 412 s behind the gateway's")
    assert judge(Answer(503), Answer(200, date), None, 3.0, now).problem == "the gateway is not ready"
    assert "401" in judge(Answer(200), Answer(401, date), None, 3.0, now).problem
    told = judge(Answer(200), Answer(401, None, "the request's time is 412 s behind ours"), None, 3.0, now)
    assert told.problem.endswith("401, the request's time is 412 s behind ours") and told.clock_offset_secs is None
    assert "ConnectionError" in judge(None, None, ConnectionError("secret"), None, now).problem


def test_what_stands_inside_of_other_things_is_masked(logged):
    import base64

    logger, stream = logged
    twice = base64.b64encode(base64.b64encode(KEY.encode())).decode()

    class Broken:
        def __str__(self):
            raise ValueError(KEY)

    logger.info("a %s", {"headers": {"X-Api-Key": "abcdefgh"}, "list": [KEY, {"body": twice}]}, extra={"extra": {"keys": [KEY, twice]}})
    logger.info("b", extra={"extra": Broken()})
    logger.info("c", extra={"extra": {"rows": 3}})
    text = stream.getvalue()
    assert KEY not in text and twice not in text and "abcdefgh" not in text
    assert text.splitlines()[1:] == ["b " + MASK, "c {'rows': 3}"]
