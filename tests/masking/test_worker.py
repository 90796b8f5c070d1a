from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import orjson
import pytest

from hoop_mcp.adapters import mask_worker, mask_worker_main
from hoop_mcp.adapters.mask_worker import MaskWorker
from hoop_mcp.errors import Refused
from hoop_mcp.masking import wire
from hoop_mcp.masking.detect import Detector
from hoop_mcp.masking.plan import plan
from hoop_mcp.terms import ColumnMask, Operator, OutputColumn

pytestmark = pytest.mark.anyio
KEY = b"a key of the test's own, 32 bytes"
TEXT = plan((OutputColumn("note", "text"),), (None,))
LARGE = [(f"note {n} of joe.{n}@example.com " * 40,) for n in range(4000)]


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def worker(anyio_backend):
    started = await MaskWorker.start(deadline_s=20, key=KEY)
    yield started
    await started.close()


async def pid_of(worker):
    return (await worker._running()).process.pid


async def turn_taken(worker):
    while not worker._turn.locked():
        await asyncio.sleep(0)


async def test_rows_come_back_masked(worker):
    masked = await worker.mask(TEXT, [("write joe@example.com",), (None,)])
    assert orjson.loads(masked.body_rows) == [["write [EMAIL_ADDRESS]"], [None]]
    assert masked.counts[0].cells == 1


async def test_no_rows_are_an_answer_too(worker):
    assert (await worker.mask(TEXT, [])).body_rows == b"[]"


async def test_calls_in_flight_get_their_own_answers(worker):
    answers = await asyncio.gather(*(worker.mask(TEXT, [(f"call {n} a@b.example",)]) for n in range(8)))
    assert [orjson.loads(a.body_rows) for a in answers] == [[[f"call {n} [EMAIL_ADDRESS]"]] for n in range(8)]


async def test_pseudonyms_join_across_calls(worker):
    laid = plan((OutputColumn("e", "text"),), (ColumnMask(Operator.PSEUDONYM, "contact", "EMAIL_ADDRESS"),))
    first, second = [await worker.mask(laid, [(text,)]) for text in ("joe@example.com", "JOE@example.com")]
    assert first.body_rows == second.body_rows
    assert b"joe" not in first.body_rows


async def test_a_worker_killed_in_the_middle_of_a_call_refuses_it_and_the_next_call_works(worker):
    pid = await pid_of(worker)
    call = asyncio.create_task(worker.mask(TEXT, LARGE))
    await turn_taken(worker)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Refused) as raised:
        await call
    assert raised.value.code == "HOOP701"
    assert "joe" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert (await worker.mask(TEXT, [("joe@example.com",)])).body_rows == b'[["[EMAIL_ADDRESS]"]]'
    assert await pid_of(worker) != pid


async def test_a_worker_that_died_while_idle_is_replaced_before_the_next_call(worker):
    process = (await worker._running()).process
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert (await worker.mask(TEXT, [("joe@example.com",)])).body_rows == b'[["[EMAIL_ADDRESS]"]]'


async def test_a_late_worker_is_killed_and_the_rows_are_withheld(worker):
    pid = await pid_of(worker)
    with pytest.raises(Refused) as raised:
        await worker.mask(TEXT, LARGE, timeout_s=0.01)
    assert raised.value.code == "HOOP701"
    assert await pid_of(worker) != pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_call_cancelled_by_its_client_leaves_no_answer_for_the_next(worker):
    call = asyncio.create_task(worker.mask(TEXT, LARGE[:200]))
    await turn_taken(worker)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await worker.mask(TEXT, [("x joe@example.com",)])).body_rows == b'[["x [EMAIL_ADDRESS]"]]'


async def test_a_worker_out_of_memory_refuses_and_is_replaced(worker, monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", (*mask_worker._COMMAND[:2], mask_worker._COMMAND[2].replace(
        "import main; main()",
        "import main; import hoop_mcp.adapters.mask_worker_main as m; "
        "from hoop_mcp.masking import wire; r = wire.read_request; "
        "wire.read_request = lambda p: (r(p), bytearray(8 << 30))[0]; main()",
    )))  # fmt: skip
    small = await MaskWorker.start(deadline_s=20, key=KEY)
    try:
        with pytest.raises(Refused) as raised:
            await small.mask(TEXT, [("joe@example.com",)])
        assert raised.value.code == "HOOP701"
        assert "stopped" in raised.value.reason
    finally:
        await small.close()


async def test_a_worker_that_cannot_start_refuses(monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", "raise SystemExit(3)"))
    never = await MaskWorker.start(key=KEY)
    with pytest.raises(Refused) as raised:
        await never.mask(TEXT, [("joe@example.com",)])
    assert raised.value.code == "HOOP701"
    await never.close()


async def test_numbers_alone_need_no_worker(monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", "raise SystemExit(3)"))
    never = await MaskWorker.start(key=KEY)
    numbers = plan((OutputColumn("n", "int4"),), (None,))
    assert (await never.mask(numbers, [("1",)])).body_rows == b"[[1]]"
    with pytest.raises(Refused):  # text needs one: the line above did not just let everything pass
        await never.mask(TEXT, [("x",)])
    await never.close()


async def test_rows_that_do_not_fit_are_refused_without_being_quoted(worker):
    for rows in ([("joe@example.com", "x")], [("joe@example.com",), ()], [(b"joe@example.com",)]):
        with pytest.raises(Refused) as raised:
            await worker.mask(TEXT, rows)
        assert "joe" not in str(raised.value)


async def test_the_worker_is_given_nothing_of_the_servers_environment(worker):
    pid = await pid_of(worker)
    process = Path("/proc", str(pid))
    if not (process / "environ").exists():
        pytest.skip("no /proc here")
    assert (process / "environ").read_bytes() == b""
    assert KEY not in (process / "cmdline").read_bytes()


async def test_a_closed_worker_refuses(monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", "raise SystemExit(3)"))
    closed = await MaskWorker.start(key=KEY)
    await closed.close()
    with pytest.raises(Refused):
        await closed.mask(TEXT, [("joe@example.com",)])


FAKE = """
import os
def read():
    head = os.read(0, 4)
    if not head: raise SystemExit
    left = int.from_bytes(head, "big")
    while left: left -= len(os.read(0, left))
def frame(payload): return len(payload).to_bytes(4, "big") + payload
def answer(text): return frame((38).to_bytes(4, "big") + b'{"names":[],"counts":[],"failed":[]}  ' + text)
read(); os.write(1, frame(b"ready"))
"""
"""A worker that misbehaves as the rest of its text says; its answers are what it is told to say, not masks."""


async def asked(monkeypatch, behaviour, **limits):
    """What two calls to such a worker end in, and whether the first worker was gone after the first call."""
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + behaviour))
    fake = await MaskWorker.start(deadline_s=5, key=KEY)
    pid, said = await pid_of(fake), []
    for _ in range(2):
        try:
            said.append((await fake.mask(TEXT, [("joe@example.com",)], **limits)).body_rows)
        except Refused as refused:
            said.append((refused.code, refused.reason))
    gone = await pid_of(fake) != pid
    await fake.close()
    return said, gone


STOPPED = "The masking engine stopped while it worked on these rows."


async def test_an_answer_that_comes_in_pieces_is_one_answer(monkeypatch):
    pieces = "\nwhile True:\n    read()\n    for byte in answer(b'[]' * 99): os.write(1, bytes([byte]))"
    assert await asked(monkeypatch, pieces) == ([b"[]" * 99] * 2, False)


@pytest.mark.parametrize(
    "says",
    [
        "answer(b'one') + answer(b'two')",  # what is over would be the next call's answer
        "answer(b'one') + b'x'",
        "b'\\xff' * 4",  # a frame larger than any may be
        "frame(b'gibberish')",
        "answer(b'one')[:-1]; os.write(1, said); raise SystemExit",
    ],
)
async def test_a_worker_that_does_not_say_just_one_answer_is_replaced_and_nothing_of_it_is_shown(monkeypatch, says):
    assert await asked(monkeypatch, f"\nread()\nsaid = {says}\nos.write(1, said)\nread()") == (
        [("HOOP701", STOPPED)] * 2,
        True,
    )


async def test_a_worker_that_speaks_unasked_is_replaced_before_the_next_call(monkeypatch):
    talks = "\nread(); os.write(1, answer(b'one'))\nread(); os.write(1, answer(b'two'))\nread()"
    soon = "\nimport time; time.sleep(0.1); os.write(1, answer(b'zero'))"
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + soon + talks))
    fake = await MaskWorker.start(deadline_s=5, key=KEY)
    worker = await fake._running()
    while not worker.channel.lost:
        await asyncio.sleep(0.001)
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + talks))
    assert (await fake.mask(TEXT, [("joe@example.com",)])).body_rows == b"one"
    await fake.close()
    assert worker.process.returncode is not None


async def test_a_late_worker_is_killed_even_where_its_client_has_gone(monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + "\nread()\nread()"))
    fake = await MaskWorker.start(deadline_s=5, key=KEY)
    process = (await fake._running()).process
    call = asyncio.create_task(fake.mask(TEXT, [("joe@example.com",)], timeout_s=0.05))
    await turn_taken(fake)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    waiting = asyncio.create_task(fake.mask(TEXT, [("joe@example.com",)], timeout_s=0.05))
    assert await process.wait() != 0
    with pytest.raises(Refused):
        await waiting
    await fake.close()


async def test_a_call_that_finds_the_worker_busy_for_too_long_is_refused_and_the_other_one_answered(monkeypatch):
    slow = "\nimport time\nread(); time.sleep(0.3); os.write(1, answer(b'one'))\nread()"
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + slow))
    fake = await MaskWorker.start(deadline_s=5, key=KEY)
    first = asyncio.create_task(fake.mask(TEXT, [("joe@example.com",)]))
    await turn_taken(fake)
    with pytest.raises(Refused) as raised:
        await fake.mask(TEXT, [("joe@example.com",)], timeout_s=0.01)
    assert "busy" in raised.value.reason
    assert (await first).body_rows == b"one"
    await fake.close()


async def test_calls_in_flight_are_refused_when_the_worker_is_closed(monkeypatch):
    monkeypatch.setattr(mask_worker, "_COMMAND", ("-c", FAKE + "\nread()\nread()"))
    fake = await MaskWorker.start(deadline_s=5, key=KEY)
    calls = [asyncio.create_task(fake.mask(TEXT, [("joe@example.com",)])) for _ in range(2)]
    await turn_taken(fake)
    await fake.close()
    reasons = [refused.reason for refused in await asyncio.gather(*calls, return_exceptions=True)]
    assert reasons == [STOPPED, "The masking engine has been stopped."]


async def test_a_plan_is_known_the_second_time_unless_something_was_found_in_its_names():
    detector, known = Detector(), {}
    for name, kept in (("note", True), ("joe@example.com", False)):
        known.clear()
        payload = wire.request(plan((OutputColumn(name, "text"),), (None,)), [("a joe@example.com", None)])
        answers = [mask_worker_main._answer(payload, detector, KEY, known) for _ in range(2)]
        assert answers[0] == answers[1]
        assert b"joe" not in answers[0]
        assert bool(known) is kept
    for n in range(2 * mask_worker_main.KNOWN_PLANS):
        payload = wire.request(plan((OutputColumn(f"c{n}", "text"),), (None,)), [()])
        mask_worker_main._answer(payload, detector, KEY, known)
    assert len(known) <= mask_worker_main.KNOWN_PLANS
