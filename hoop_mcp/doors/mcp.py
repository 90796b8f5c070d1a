"""The MCP door: tool calls in, outcomes out, in both protocol eras (2025-11-25 and 2026-07-28).

It decides nothing. Arguments become an :class:`~hoop_mcp.terms.Ask`, the transport's facts a
:class:`~hoop_mcp.terms.Credential`, and the gate's :class:`~hoop_mcp.terms.Outcome` a tool result. Clients show a
model either ``structuredContent`` (success) or the text (error), never both; so an answer says everything in the
first and a refusal everything in the second, and nothing large is sent twice.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from mcp.types import Tool as ToolOnTheWire

from hoop_mcp import __version__
from hoop_mcp.doors import logs, splice
from hoop_mcp.doors.opening import Gatekeeper, GateShut, Opening
from hoop_mcp.errors import CODES, DatabaseUnavailable, JournalHeld, JournalUnavailable, Refused, SettingsError
from hoop_mcp.terms import Answer, Client, Credential, Malformed, Refusal, ToolCall
from hoop_mcp.tools import NOT_YET, OUTPUT_SCHEMA, TOOLS, read_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import Context
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

    from hoop_mcp.terms import Ask
    from hoop_mcp.tools import Tool

__all__ = ["Door", "Gatekeeper", "build_server", "local_credential"]

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "PostgreSQL behind a gateway that masks personal data, refuses what policy does not open, and records every call. "
    "Start with whoami and search_schema. A refusal (HOOPnnn) says what to do instead; follow it rather than retry."
)
CLIENT_TEXT = 64  # characters kept of what a client calls itself


def local_credential() -> Callable[[Client | None], Credential]:
    """Credentials for stdio: the account the kernel says this process runs as, one session per process.

    The environment (USER, LOGNAME) is whatever the client's configuration says, so it is not asked.
    """
    session = uuid.uuid4().hex
    account = _account(os.getuid())
    return lambda client: Credential(transport="stdio", session=session, os_user=account, client=client)


def _account(uid: int) -> str:
    import pwd  # noqa: PLC0415 - kept out of the start

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's uid without an entry is still exactly one account
        return f"uid-{uid}"


class Door(MCPServer[Opening]):
    """An MCP server whose every tool call goes through one gate.

    ``list_tools`` and ``call_tool`` replace the SDK's own, which derive schemas from functions and answer a wrong
    argument with pydantic's report, value included.
    """

    def __init__(
        self,
        open_gate: Callable[[], AbstractAsyncContextManager[Gatekeeper]],
        credential: Callable[[Client | None], Credential],
        new_call_id: Callable[[], str],
    ) -> None:
        @asynccontextmanager
        async def lifespan(_: MCPServer[Opening]) -> AsyncIterator[Opening]:
            async with Opening(open_gate).running() as opening:
                yield opening

        super().__init__(
            "hoop-mcp",  # name and version are stamped on every result of the 2026 era: nothing else belongs here
            version=__version__,
            instructions=INSTRUCTIONS,
            lifespan=lifespan,
            log_level="WARNING",
            middleware=[_open_after_handshake],
            subscriptions=False,  # the tools never change while a server runs
        )
        self._credential = credential
        self._new_call_id = new_call_id
        self._tools = [_on_the_wire(tool) for tool in TOOLS]

    async def list_tools(self) -> list[ToolOnTheWire]:
        """The tools, the same for everyone and in the same order."""
        return self._tools

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Opening, Any] | None = None
    ) -> CallToolResult:
        """Carry one call through the gate. Only cancellation is ever raised."""
        call_id = self._new_call_id()
        try:
            if context is None:
                raise LookupError("a call needs the request it came with")
            ask = _read(name, arguments)
            gate = await context.request_context.lifespan_context.gate()
            outcome = await gate.handle(ToolCall(call_id, self._credential(_client(context)), ask))
            match outcome:
                case Answer():
                    return _answer(outcome)
                case Refusal():
                    return _refusal(outcome)
        except GateShut as shut:
            return _refusal(_shut(call_id, shut.why))
        except Exception as broken:
            # The exception's text may hold a value, so neither the agent nor the log gets it.
            log.error("call %s failed: %s at %s", call_id, type(broken).__name__, logs.place(broken.__traceback__))  # noqa: TRY400 - a traceback may quote a value
            return _refusal(
                Refusal(call_id, "HOOP199", f"Something inside the gateway failed (call {call_id}).", _ADVICE)
            )

    async def serve_streams(
        self, read: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]
    ) -> None:
        """Serve one connection over a transport of ours, until its reading side ends."""
        server = self._lowlevel_server
        await server.run(read, write, server.create_initialization_options())


_ADVICE = CODES["HOOP199"].instead


def _shut(call_id: str, why: BaseException | None) -> Refusal:
    """The gate did not open. Which part of it failed is told; names, paths and addresses are the operator's."""
    match why:
        case JournalHeld():
            told = "Another hoop-mcp server holds this journal, and one journal has one writer."
            advice = "Use that server, or tell the operator: each server needs a journal of its own."
            return Refusal(call_id, "HOOP601", told, advice)
        case JournalUnavailable():
            return Refusal(call_id, "HOOP601", "The journal could not be opened.", CODES["HOOP601"].instead)
        case DatabaseUnavailable():
            return Refusal(call_id, "HOOP501", "The database could not be reached when the server started.", _START)
        case SettingsError():
            return Refusal(call_id, "HOOP199", "The gateway's settings are not fit to serve.", _START)
        case _:
            return Refusal(call_id, "HOOP199", f"The gateway could not start (call {call_id}).", _START)


_START = "Tell the operator: the reason is on the server's stderr, and hoop-mcp doctor says what to mend."


def _read(name: str, arguments: dict[str, Any]) -> Ask:
    """What is asked; what cannot be read goes through the gate too, which refuses and journals it."""
    try:
        return read_call(name, arguments)
    except Refused as refused:
        known = name in NOT_YET or name in {tool.name for tool in TOOLS}
        return Malformed(name if known else "unknown", refused.code, refused.reason, refused.instead)


def build_server(
    open_gate: Callable[[], AbstractAsyncContextManager[Gatekeeper]],
    *,
    credential: Callable[[Client | None], Credential] | None = None,
    new_call_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> Door:
    """The MCP server in front of a gate.

    Args:
        open_gate: makes the gate. Entered once per run, shortly after the handshake or with the first call, in a
            task that also exits it. If it raises, waiting calls are refused and the run ends with that exception.
        credential: what the transport proved, given what the client calls itself; by default the local account.
        new_call_id: mints the id of a call; ours, never the client's.
    """
    logs.ensure()
    return Door(open_gate, credential or local_credential(), new_call_id)


async def _open_after_handshake(ctx: ServerRequestContext[Opening, Any], call_next: CallNext) -> HandlerResult:
    result = await call_next(ctx)
    ctx.lifespan_context.want_soon()
    return result


def _on_the_wire(tool: Tool) -> ToolOnTheWire:
    return ToolOnTheWire(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema()),
        output_schema=dict(OUTPUT_SCHEMA),
        annotations=ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        ),
    )


def _client(context: Context[Opening, Any]) -> Client | None:
    """What the client calls itself, cut to size: a claim for the record."""
    params = context.session.client_params
    if params is None:
        return None
    return Client(_claim(params.client_info.name), _claim(params.client_info.version))


def _claim(said: str) -> str:
    return "".join(letter for letter in said if letter.isprintable())[:CLIENT_TEXT]


def _answer(answer: Answer) -> CallToolResult:
    receipt = {"seq": answer.receipt.seq, "leaf": answer.receipt.leaf, "size": answer.receipt.size}
    whole = splice.add_member(answer.body, b"receipt", orjson.dumps(receipt))
    return CallToolResult(
        content=[TextContent(type="text", text=answer.summary)],
        structured_content={} if splice.hand_over(whole) else orjson.loads(whole),
    )


def _refusal(refusal: Refusal) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=str(refusal))], is_error=True)
