"""Calls of one principal at once: as many as there are places, a bounded queue behind them, and the others unhindered."""

import asyncio

import pytest

from hoop_mcp.errors import Refused
from hoop_mcp.limits.turns import Turns

pytestmark = pytest.mark.anyio


class Crowd:
    """Calls that hold their place until they are let go."""

    def __init__(self, turns):
        self.turns = turns
        self.inside = []
        self.most = 0
        self.gate = asyncio.Event()
        self.tasks = []

    async def call(self, who):
        async with self.turns.turn(who):
            self.inside.append(who)
            self.most = max(self.most, len(self.inside))
            await self.gate.wait()
            self.inside.remove(who)

    async def send(self, who, count):
        self.tasks += [asyncio.create_task(self.call(who)) for _ in range(count)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def finish(self):
        self.gate.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_only_so_many_run_and_the_rest_wait_their_turn():
    crowd = Crowd(Turns(2, 3))
    await crowd.send("ann", 5)
    assert len(crowd.inside) == 2
    assert await crowd.finish() == [None] * 5
    assert crowd.most == 2


async def test_more_than_may_wait_are_refused_with_a_code():
    crowd = Crowd(Turns(2, 3))
    await crowd.send("ann", 6)
    ended = await crowd.finish()
    assert ended[:5] == [None] * 5
    assert isinstance(ended[5], Refused)
    assert ended[5].code == "HOOP110"


async def test_one_principal_keeps_no_other_waiting():
    crowd = Crowd(Turns(1, 1))
    await crowd.send("ann", 2)
    await crowd.send("bob", 1)
    assert sorted(crowd.inside) == ["ann", "bob"]
    assert await crowd.finish() == [None] * 3


async def test_who_waits_too_long_is_refused():
    turns = Turns(1, 1, patience_s=0.01)
    async with turns.turn("ann"):
        with pytest.raises(Refused) as refused:
            async with turns.turn("ann"):
                pytest.fail("there was no place")
    assert refused.value.code == "HOOP110"
    async with turns.turn("ann"):
        pass


async def test_a_call_that_is_cancelled_or_fails_gives_its_place_back():
    turns = Turns(1, 2)
    crowd = Crowd(turns)
    await crowd.send("ann", 2)
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    with pytest.raises(RuntimeError):
        async with turns.turn("ann"):
            raise RuntimeError
    async with turns.turn("ann"):
        pass
    assert turns._queues == {}
