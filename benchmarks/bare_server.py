"""The least an MCP server for PostgreSQL can do: one tool over an asyncpg pool, no checks, no masks, no journal."""

import json
import os

import asyncpg
from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")
pool: asyncpg.Pool | None = None


@server.tool(name="query", description="Run SQL", structured_output=False)
async def query(sql: str) -> str:
    """Run SQL and send the rows as JSON text."""
    global pool  # noqa: PLW0603 - the whole server is one file
    if pool is None:
        pool = await asyncpg.create_pool(os.environ["BARE_DSN"], min_size=2, max_size=10)
    async with pool.acquire() as connection:
        rows = await connection.fetch(sql)
    return json.dumps([dict(row) for row in rows], default=str)


if __name__ == "__main__":
    server.run()
