"""What an agent may ask for. A tool turns arguments into an Ask; it holds no connection, so it cannot skip the gate."""

from hoop_mcp.tools.table import NOT_YET, OUTPUT_SCHEMA, TOOLS, Argument, Tool, read_call

__all__ = ["NOT_YET", "OUTPUT_SCHEMA", "TOOLS", "Argument", "Tool", "read_call"]
