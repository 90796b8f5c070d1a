"""A gate that does what the statement says, and the server around it: run as a script, it serves on stdio."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import orjson

from hoop_mcp.terms import Answer, Malformed, Receipt, Refusal, RunSql

SECRET = "ingrid@sorensen.example"


class FakeGate:
    def __init__(self):
        self.calls = []
        self.cancelled = anyio.Event()
        self.started = anyio.Event()
        self.closed = False

    async def handle(self, call):
        self.calls.append(call)
        ask = call.ask
        if isinstance(ask, Malformed):
            return Refusal(call.call_id, ask.code, ask.reason, ask.instead)
        if not isinstance(ask, RunSql):
            return self.answer(call, {"status": "ok", "tool": ask.tool})
        match ask.sql.split():
            case ["rows", count]:
                row = ["4711", "Ingrid", "[EMAIL_ADDRESS]", 12.5, True, None, "2026-01-01", "open", "DE", "x" * 60]
                return self.answer(call, {"status": "ok", "call_id": call.call_id, "rows": [row] * int(count)})
            case ["refuse"]:
                return Refusal(call.call_id, "HOOP312", "Filtering reveals it.", "Select by id.")
            case ["raise"]:
                raise ValueError(f"could not parse {SECRET}")
            case ["print"]:
                print("a stray print", SECRET, flush=True)
                sys.__stdout__.write("another\n")
                sys.__stdout__.flush()
                return self.answer(call, {"status": "ok"})
            case ["fork"]:
                child = await asyncio.create_subprocess_exec(
                    "sh", "-c", "test -c /dev/fd/0 && echo from a child with no input"
                )
                await child.wait()
                return self.answer(call, {"status": "ok"})
            case ["hang"]:
                self.started.set()
                try:
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    self.cancelled.set()
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.05)  # a real gate cancels the statement and journals here
                    print("gate saw the cancellation", file=sys.stderr, flush=True)
                    raise
            case ["spaced"]:
                return self.answer(call, {}, body=b'{"status":  "ok"}')
            case ["torn"]:
                return self.answer(call, {}, body=b'{"status":\n"ok"}')
            case _:
                return self.answer(call, {"status": "ok", "rows": [[list(ask.params)]], "params": list(ask.params)})

    def answer(self, call, value, body=None):
        return Answer(call.call_id, body or orjson.dumps(value), "a short text", Receipt(42, "ab" * 32, 43))


def opening(gate, *, fails=None, before=None):
    @asynccontextmanager
    async def open_gate():
        if before is not None:
            await before()
        if fails is not None:
            raise fails
        try:
            yield gate
        finally:
            gate.closed = True
            await anyio.lowlevel.checkpoint()
            print("gate closed", file=sys.stderr, flush=True)

    return open_gate


def main():
    from hoop_mcp.doors import logs

    logs.configure()
    from hoop_mcp.doors.mcp import build_server
    from hoop_mcp.doors.stdio import serve_stdio
    from hoop_mcp.errors import SettingsError

    fails = SettingsError(("hoop.yaml:1:1: no",)) if "--fails" in sys.argv else None
    try:
        asyncio.run(serve_stdio(build_server(opening(FakeGate(), fails=fails))))
    except BaseException as raised:
        from hoop_mcp.cli.endings import ending

        sys.exit(ending(raised))


if __name__ == "__main__":
    main()
