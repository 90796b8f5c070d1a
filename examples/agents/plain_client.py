"""The shortest honest agent: one connection, one allowed question, one refusal it can read.

Run it beside a hoop.yaml: ``python examples/agents/plain_client.py hoop.yaml "SELECT id, email FROM customers"``
"""

from __future__ import annotations

import asyncio
import os
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, TextContent


def show(result: CallToolResult) -> None:
    """Print what the model would see: the rows and what was masked, or the refusal."""
    if result.is_error:
        print("".join(block.text for block in result.content if isinstance(block, TextContent)))
        return
    answer = result.structured_content
    columns = answer["columns"]
    print(" | ".join(f"{column['name']} ({column['mask'] or 'as stored'})" for column in columns))
    for row in answer["rows"]:
        print(" | ".join("null" if cell is None else str(cell) for cell in row))
    for notice in answer.get("notices", []):
        print(notice)
    print(f"journal entry {answer['receipt']['seq']}, leaf {answer['receipt']['leaf']}")


async def main(config: str, statements: list[str]) -> None:
    """Ask each statement in turn."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "hoop_mcp", "serve", "--config", config], env=dict(os.environ)
    )
    async with Client(server) as client:
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        for sql in statements:
            print(f"\n> {sql}")
            show(await client.call_tool("query", {"sql": sql}))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit('usage: plain_client.py HOOP_YAML "SELECT ..." ["SELECT ..."]')
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
