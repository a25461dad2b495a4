"""Bounded, ordered, complete, and it ends."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claviger import ConfigurationError, run_batch, run_batch_threads


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.integers(0, 3), max_size=30), concurrency=st.integers(1, 8), rounds=st.integers(1, 3),
    broken=st.sets(st.integers(0, 29)), cured_in=st.integers(1, 3),
)
def test_order_bound_and_rounds(delays, concurrency, rounds, broken, cured_in):
    running, most, tried = 0, [0] * 4, {}

    async def call(item):
        nonlocal running
        index, delay = item
        tried[index] = tried.get(index, 0) + 1
        running += 1
        most[tried[index]] = max(most[tried[index]], running)
        for _ in range(delay):
            await asyncio.sleep(0)
        running -= 1
        if index in broken and tried[index] < cured_in:
            raise ValueError(index)
        return index * 2

    outcomes = asyncio.run(run_batch(enumerate(delays), call, concurrency=concurrency, rounds=rounds))
    assert [o.index for o in outcomes] == list(range(len(delays)))
    for o in outcomes:
        cured = o.index not in broken or rounds >= cured_in
        assert o.ok == cured and o.attempts == tried[o.index] <= rounds
        assert o.value == (o.index * 2 if cured else None)
    for number in range(1, 4):
        assert most[number] <= max(1, concurrency // 2 ** (number - 1))


def test_items_are_taken_as_there_is_room():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    async def call(item):
        assert len(taken) <= item + 4
        await asyncio.sleep(0)
        return item

    assert len(asyncio.run(run_batch(items(), call, concurrency=3))) == 100


def test_cancelling_ends_what_runs():
    ended = []

    async def call(item):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(item)

    async def go():
        task = asyncio.create_task(run_batch(range(5), call, concurrency=2))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert sorted(ended) == [0, 1]


def test_threads_do_the_same():
    running, most, lock, told = 0, 0, threading.Lock(), []

    def call(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (item % 3))
        with lock:
            running -= 1
        if item == 7:
            raise ValueError(item)
        return item

    outcomes = run_batch_threads(range(20), call, concurrency=4, rounds=2, on_outcome=told.append)
    assert [o.item for o in outcomes] == list(range(20)) and most <= 4
    assert [o.index for o in outcomes if not o.ok] == [7] and outcomes[7].attempts == 2 and len(told) == 21
    with pytest.raises(ValueError):
        outcomes[7].unwrap()


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"rounds": 0}])
def test_nothing_runs_with_no_room(wrong):
    with pytest.raises(ConfigurationError):
        run_batch_threads([1], lambda item: item, **wrong)
