"""hoop-mcp: governed access to PostgreSQL for AI agents.

The one call everything follows is :meth:`hoop_mcp.gate.Gate.handle`.
"""

__version__ = "0.1.0"
