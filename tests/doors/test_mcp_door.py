"""The door in front of a fake gate, in memory, in both protocol eras."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import anyio
import orjson
import pytest
from mcp import Client, MCPError
from mcp.types import Implementation, JSONRPCResponse

from hoop_mcp.doors import logs, splice, stdio
from hoop_mcp.doors.mcp import build_server
from hoop_mcp.doors.opening import AT_LATEST, Opening
from hoop_mcp.errors import DatabaseUnavailable, JournalHeld, JournalUnavailable, SettingsError
from hoop_mcp.terms import DescribeTable, Malformed, RunSql
from hoop_mcp.tools import TOOLS

spec = importlib.util.spec_from_file_location("fake_gate", Path(__file__).with_name("fake_gate.py"))
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def gate():
    return fake.FakeGate()


@pytest.fixture
def ids():
    return (f"call-{number}" for number in range(1000))


@pytest.fixture(params=["auto", "legacy"])
async def client(request, gate, ids):
    server = build_server(fake.opening(gate), new_call_id=lambda: next(ids))
    async with Client(server, mode=request.param, client_info=Implementation(name="pry", version="7")) as connected:
        yield connected


def text(result):
    return "".join(block.text for block in result.content)


@pytest.mark.anyio
async def test_an_answer_is_structured_with_its_receipt_and_the_text_does_not_repeat_it(client):
    result = await client.call_tool("query", {"sql": "rows 2"})
    assert not result.is_error
    assert len(result.structured_content["rows"]) == 2
    assert result.structured_content["receipt"] == {"seq": 42, "leaf": "ab" * 32, "size": 43}
    assert text(result) == "a short text"


@pytest.mark.anyio
async def test_a_refusal_is_an_error_with_code_reason_and_advice_and_nothing_structured(client):
    result = await client.call_tool("query", {"sql": "refuse"})
    assert result.is_error
    assert text(result) == "HOOP312: Filtering reveals it. Select by id."
    assert result.structured_content is None


@pytest.mark.anyio
async def test_an_unexpected_exception_tells_the_agent_the_call_id_and_nothing_else(client, caplog):
    with caplog.at_level(logging.DEBUG):
        result = await client.call_tool("query", {"sql": "raise"})
    assert result.is_error
    assert text(result).startswith("HOOP199: Something inside the gateway failed (call call-0).")
    assert fake.SECRET not in text(result)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("hoop_mcp")]
    assert any("call-0 failed: ValueError at fake_gate.py:" in line for line in ours)
    assert fake.SECRET not in "".join(ours)


@pytest.mark.anyio
async def test_an_answer_that_would_tear_the_wire_is_withheld(client):
    result = await client.call_tool("query", {"sql": "torn"})
    assert result.is_error
    assert text(result).startswith("HOOP199")


@pytest.mark.anyio
async def test_arguments_become_the_ask_and_null_counts_as_left_out(client, gate):
    given = {"sql": "select 1", "params": [1, "two", None], "purpose": None, "max_rows": None, "role": "reader"}
    await client.call_tool("query", given)
    assert gate.calls[0].ask == RunSql("query", "select 1", (1, "two", None), role="reader")
    await client.call_tool("describe_table", {"table": "public.t", "database": None})
    assert gate.calls[1].ask == DescribeTable("public.t")


@pytest.mark.anyio
async def test_the_gate_learns_who_called_from_the_system_and_the_client_only_as_a_claim(client, gate):
    await client.call_tool("whoami", {})
    await client.call_tool("whoami", {})
    first, second = (call.credential for call in gate.calls)
    assert first.transport == "stdio"
    assert first.os_user
    assert (first.client.name, first.client.version) == ("pry", "7")
    assert first.session == second.session
    assert [call.call_id for call in gate.calls] == ["call-0", "call-1"]


@pytest.mark.anyio
async def test_the_account_is_not_taken_from_the_environment(monkeypatch):
    from hoop_mcp.doors.mcp import local_credential

    honest = local_credential()(None).os_user
    for name in ("USER", "LOGNAME", "USERNAME", "LNAME"):
        monkeypatch.setenv(name, "administrator")
    assert local_credential()(None).os_user == honest != "administrator"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"sql": 7},
        {"sql": fake.SECRET, "max_rows": fake.SECRET},
        {"sql": "select 1", "max_rows": True},
        {"sql": "select 1", "params": {"a": fake.SECRET}},
        {"sql": "select 1", fake.SECRET: 1},
        {"sql": "select 1", "params": ["\0" + fake.SECRET]},
    ],
)
async def test_an_unusable_argument_is_refused_in_our_words_by_the_gate_which_journals_it(client, gate, given):
    result = await client.call_tool("query", given)
    assert result.is_error
    assert text(result).startswith("HOOP105: ")
    assert fake.SECRET not in text(result)
    assert "pydantic" not in text(result)
    assert [call.ask for call in gate.calls] == [Malformed("query", "HOOP105", *_sentences(gate))]


def _sentences(gate):
    return gate.calls[0].ask.reason, gate.calls[0].ask.instead


@pytest.mark.anyio
async def test_an_unknown_tool_is_refused_with_the_list_and_a_named_one_as_not_served_yet(client, gate):
    unknown = await client.call_tool("drop_everything", {})
    assert unknown.is_error
    assert text(unknown).startswith("HOOP105: There is no such tool. Use one of: query, ")
    later = await client.call_tool("execute", {"sql": "delete from t", "reason": "x"})
    assert later.is_error
    assert text(later).startswith("HOOP107: execute is not served")
    # The name an agent made up is its own text and stays out of what the journal keeps in clear.
    assert [call.ask.tool for call in gate.calls] == ["unknown", "execute"]


@pytest.mark.anyio
async def test_the_tools_are_complete_and_always_in_the_same_order(client):
    first = (await client.list_tools()).tools
    second = (await client.list_tools()).tools
    assert [tool.name for tool in first] == [tool.name for tool in second] == [tool.name for tool in TOOLS]
    for tool in first:
        assert tool.title
        assert tool.description
        assert tool.output_schema["required"] == ["status"]
        assert "additionalProperties" not in tool.output_schema
        hints = tool.annotations
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert "title" not in tool.input_schema
        for schema in tool.input_schema["properties"].values():
            assert "title" not in schema
            assert "anyOf" not in schema


@pytest.mark.anyio
async def test_a_client_that_gives_up_cancels_the_gate(client, gate):
    with pytest.raises(MCPError):
        await client.call_tool("query", {"sql": "hang"}, read_timeout_seconds=0.2)
    with anyio.fail_after(2):
        await gate.cancelled.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_handshake_and_the_list_do_not_wait_for_the_gate(gate, mode):
    hold = anyio.Event()
    server = build_server(fake.opening(gate, before=hold.wait))
    with anyio.fail_after(5):
        async with Client(server, mode=mode) as connected:
            assert (await connected.list_tools()).tools
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connected.call_tool, "whoami", {})
                await anyio.sleep(0.05)
                assert gate.calls == []
                hold.set()
            assert len(gate.calls) == 1
    assert gate.closed


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_gate_is_closed_with_the_server_even_if_nobody_called(gate, mode):
    server = build_server(fake.opening(gate))
    async with Client(server, mode=mode) as connected:
        await connected.call_tool("whoami", {})
    assert gate.closed


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_gate_that_does_not_open_refuses_the_waiting_call_and_ends_the_server(gate, mode):
    server = build_server(fake.opening(gate, fails=RuntimeError(fake.SECRET)), new_call_id=lambda: "c1")
    said = []
    with pytest.raises(BaseExceptionGroup) as ended:  # noqa: PT012 - the call and the cancellation belong together
        async with Client(server, mode=mode) as connected:
            said.append(text(await connected.call_tool("whoami", {})))
            await anyio.sleep(5)
    assert said[0].startswith("HOOP199: The gateway could not start (call c1). Tell the operator")
    assert fake.SECRET not in said[0]
    assert ended.group_contains(RuntimeError, depth=None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (JournalHeld(fake.SECRET), "HOOP601: Another hoop-mcp server holds this journal"),
        (JournalUnavailable(fake.SECRET), "HOOP601: The journal could not be opened."),
        (DatabaseUnavailable(fake.SECRET), "HOOP501: The database could not be reached"),
        (SettingsError((fake.SECRET,)), "HOOP199: The gateway's settings are not fit to serve."),
    ],
)
async def test_the_waiting_call_learns_what_kept_the_gate_and_not_the_operators_words(gate, failure, says):
    server = build_server(fake.opening(gate, fails=failure))
    said = []
    with pytest.raises(BaseExceptionGroup):  # noqa: PT012 - as above
        async with Client(server) as connected:
            said.append(text(await connected.call_tool("whoami", {})))
            await anyio.sleep(5)
    assert said[0].startswith(says)
    assert fake.SECRET not in said[0]


@pytest.mark.anyio
async def test_the_gate_opens_though_nobody_says_a_word_and_input_that_ends_waits_for_it(gate):
    async with Opening(fake.opening(gate)).running():
        pass
    assert gate.closed
    failing = Opening(fake.opening(gate, fails=RuntimeError("no")))
    with pytest.raises(BaseExceptionGroup) as ended:
        async with failing.running():
            await anyio.sleep(AT_LATEST * 20)
    assert ended.group_contains(RuntimeError, depth=None)


def test_log_lines_keep_our_words_and_drop_those_of_others(capfd, monkeypatch):
    for where, name in ((logging, "raiseExceptions"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(where, name, getattr(where, name))  # put back afterwards
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        logs.configure()
        logging.getLogger("hoop_mcp.doors").warning("two\nlines %s", "here")
        logging.getLogger("sqlglot").error("cannot read '%s'", fake.SECRET)
        logging.getLogger("mcp.server").debug("message: %s", fake.SECRET)
        try:
            raise ValueError(fake.SECRET)
        except ValueError:
            logging.getLogger("asyncio").exception("task failed: %s", fake.SECRET)
        logging.getLogger("hoop_mcp").warning("%d", fake.SECRET)
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = kept, level
    out, err = capfd.readouterr()
    assert out == ""
    assert fake.SECRET not in err
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("hoop_mcp.doors: two?lines here")
    assert "error sqlglot: said something at test_mcp_door:" in lines[1]
    assert "(ValueError at test_mcp_door.py:" in lines[2]


def test_a_member_is_added_to_an_object_on_one_line_and_to_nothing_else():
    assert splice.add_member(b'{"a":1}', b"r", b"{}") == b'{"a":1,"r":{}}'
    assert splice.add_member(b"{}", b"r", b"2") == b'{"r":2}'
    for body in (b"", b"[]", b'{"a":1', b'{"a":\n1}', b'"{}"'):
        with pytest.raises(ValueError, match="one JSON object"):
            splice.add_member(body, b"r", b"2")


@pytest.mark.anyio
async def test_bytes_are_handed_over_only_to_a_transport_that_takes_them():
    assert not splice.hand_over(b"{}")
    taken = []

    async def tool(ctx):
        taken.append(splice.hand_over(b'{"a":  1}'))
        return {"structuredContent": {}}

    result = await splice.splicing(SimpleNamespace(method="tools/call"), tool)
    assert orjson.dumps(result) == b'{"structuredContent":{"a":  1}}'
    await splice.splicing(SimpleNamespace(method="tools/list"), tool)
    assert taken == [True, False]
    assert not splice.hand_over(b"{}")


def test_a_message_that_cannot_be_printed_becomes_an_error_for_its_request():
    line = stdio.encode(JSONRPCResponse(jsonrpc="2.0", id=7, result={"half": "\ud800"}))
    assert orjson.loads(line)["id"] == 7
    assert orjson.loads(line)["error"]["code"] == -32603
