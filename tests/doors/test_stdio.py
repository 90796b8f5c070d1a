"""The stdio transport, over real pipes to a real process."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from hoop_mcp.doors.stdio import MAX_MESSAGE

SERVER = Path(__file__).with_name("fake_gate.py")
SECRET = "ingrid@sorensen.example"
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}  # the checkout, installed or not
WAIT = 20  # seconds before a silent server fails the test instead of hanging it
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Raw:
    """A client of nothing but lines."""

    def __init__(self, *args, **streams):
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *args],
            stdin=subprocess.PIPE,
            stdout=streams.get("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            env=ENV,
        )
        self.buffer = b""
        self.number = 0

    def send(self, line):
        self.process.stdin.write(line if isinstance(line, bytes) else json.dumps(line).encode())
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def line(self):
        waiting = selectors.DefaultSelector()
        waiting.register(self.process.stdout, selectors.EVENT_READ)
        while b"\n" not in self.buffer:
            assert waiting.select(WAIT), "the server said nothing"
            more = os.read(self.process.stdout.fileno(), 1 << 20)
            assert more, "the server closed its output"
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def ask(self, method, params=None, *, modern=False):
        self.number += 1
        body = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": dict(params or {})}
        if modern:
            body["params"]["_meta"] = META
        self.send(body)
        return self.line()

    def handshake(self):
        asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        answer = self.ask("initialize", asked)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def query(self, sql, **more):
        return json.loads(self.ask("tools/call", {"name": "query", "arguments": {"sql": sql, **more}}))

    def end(self):
        self.process.stdin.close()
        err = self.process.stderr.read().decode()
        code = self.process.wait(WAIT)
        self.process.stdout and self.process.stdout.close()
        self.process.stderr.close()
        return code, err


@pytest.fixture
def raw():
    started = []

    def start(*args, **streams):
        started.append(Raw(*args, **streams))
        return started[-1]

    yield start
    for client in started:
        if client.process.poll() is None:
            client.process.kill()
            client.process.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_real_client_gets_answers_refusals_and_ten_thousand_rows_intact(mode):
    server = stdio_client(StdioServerParameters(command=sys.executable, args=[str(SERVER)], env=ENV))
    async with Client(server, mode=mode) as client:
        few = await client.call_tool(
            "query", {"sql": "select", "params": ["Søren \u2028 \U0001f600", [1, {"a": None}]]}
        )
        assert few.structured_content["params"] == ["Søren \u2028 \U0001f600", [1, {"a": None}]]
        assert few.structured_content["receipt"]["seq"] == 42
        many = await client.call_tool("query", {"sql": "rows 10000"})
        assert len(many.structured_content["rows"]) == 10_000
        assert many.structured_content["receipt"]["seq"] == 42
        no = await client.call_tool("query", {"sql": "refuse"})
        assert no.is_error
        assert no.content[0].text.startswith("HOOP312")
        with pytest.raises(MCPError):
            await client.call_tool("query", {"sql": "hang"}, read_timeout_seconds=0.2)
        with anyio.fail_after(WAIT):
            assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.parametrize("modern", [False, True])
def test_the_whole_tool_list_is_under_eight_kilobytes_on_the_wire(raw, modern):
    client = raw()
    if modern:
        client.ask("server/discover", modern=True)
    else:
        client.handshake()
    line = client.ask("tools/list", modern=modern)
    assert len(json.loads(line)["result"]["tools"]) == 6
    assert len(line) < 8_000


def test_every_unreadable_line_gets_an_error_and_the_server_goes_on(raw):
    client = raw()
    client.send(b"this is not a handshake")
    assert json.loads(client.line())["error"]["code"] == -32700
    client.handshake()
    big = b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"x":"' + b"x" * 10_000_000 + b'"}}'
    bad = {
        b'{"jsonrpc": "2.0", "id": 5, "method"': (-32700, None),
        b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"' + SECRET.encode() + b'\xff"}}': (-32700, None),
        b'{"a":"\0"}': (-32700, None),
        b"[" * 3000: (-32700, None),
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"a":"\\ud800"}}': (-32700, None),
        b"[]": (-32600, None),
        b'"text"': (-32600, None),
        b'{"jsonrpc":"1.0","id":7,"method":"ping"}': (-32600, 7),
        b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}': (-32600, None),
        big: (-32600, None),
        b"x" * (2 * MAX_MESSAGE + 1): (-32600, None),
    }
    for line, (code, request) in bad.items():
        client.send(line)
        answer = client.line()
        assert SECRET.encode() not in answer
        error = json.loads(answer)
        assert (error["error"]["code"], error["id"]) == (code, request), line[:60]
        assert client.query("rows 1")["result"]["structuredContent"]["rows"]
    client.send(b"")
    client.send(b"   \r")
    client.send(b'{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"query","arguments":"x"}}')
    assert json.loads(client.line())["error"]["code"] == -32602
    code, err = client.end()
    assert code == 0
    assert "gate closed" in err


def test_prints_and_children_cannot_write_into_the_protocol_nor_read_it(raw):
    client = raw()
    client.handshake()
    assert client.query("print")["result"]["structuredContent"]["status"] == "ok"
    assert client.query("fork")["result"]["structuredContent"]["status"] == "ok"
    assert client.query("rows 1")["id"] == client.number
    _, err = client.end()
    assert "a stray print" in err
    assert "another" in err
    assert "from a child with no input" in err


def test_stderr_of_a_broken_call_is_one_line_with_class_and_place_and_no_value(raw):
    client = raw()
    client.handshake()
    reply = json.dumps(client.query("raise"))
    client.query("rows 1", params=[SECRET])
    line = client.ask("tools/call", {"name": "query", "arguments": {"sql": "spaced"}})
    assert b'"structuredContent":{"status":  "ok","receipt":{' in line  # the very bytes that were sealed
    code, err = client.end()
    assert code == 0
    assert SECRET not in err
    assert SECRET not in reply
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if "ValueError at fake_gate.py:" in line]


def test_cancellation_reaches_the_gate_by_notice_by_end_of_input_and_by_sigterm(raw):
    client = raw()
    client.handshake()
    hang = {"name": "query", "arguments": {"sql": "hang"}}
    client.send({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": hang})
    client.query("rows 1")
    client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 70}})
    client.query("rows 1")
    client.send({"jsonrpc": "2.0", "id": 71, "method": "tools/call", "params": hang})
    client.query("rows 1")
    code, err = client.end()
    assert code == 0
    assert err.count("gate saw the cancellation") == 2
    assert err.rstrip().endswith("gate closed")

    client = raw()
    client.handshake()
    client.send({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": hang})
    client.query("rows 1")
    client.process.send_signal(signal.SIGTERM)
    assert client.process.wait(WAIT) == 0
    err = client.process.stderr.read().decode()
    assert "gate saw the cancellation" in err
    assert err.rstrip().endswith("gate closed")


def test_a_gate_that_does_not_open_answers_the_waiting_call_and_ends_the_process(raw):
    client = raw("--fails")
    client.handshake()
    text = client.query("rows 1")["result"]["content"][0]["text"]
    assert text.startswith("HOOP199: The gateway's settings are not fit to serve.")
    assert client.process.wait(WAIT) == 2
    assert client.process.stderr.read().decode().rstrip().endswith("hoop.yaml:1:1: no")


def test_a_client_that_vanishes_ends_the_server_and_closes_the_gate(raw):
    client = raw()
    client.handshake()
    client.query("rows 1")
    client.process.stdout.close()
    client.send({"jsonrpc": "2.0", "id": 70, "method": "ping"})
    code, err = client.end()
    assert code == 0
    assert "gate closed" in err


def test_ends_that_are_no_pipes_are_served_by_the_sdk(tmp_path):
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    lines = [{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}]
    (tmp_path / "in").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (tmp_path / "in").open() as stdin, (tmp_path / "out").open("w") as stdout:
        done = subprocess.run(
            [sys.executable, str(SERVER)],
            check=False,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env=ENV,
            timeout=WAIT,
        )
    assert done.returncode == 0
    assert json.loads((tmp_path / "out").read_text())["result"]["serverInfo"]["name"] == "hoop-mcp"
