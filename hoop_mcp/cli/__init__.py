"""The hoop-mcp command: one file per command group; parses, calls, prints; no logic."""
