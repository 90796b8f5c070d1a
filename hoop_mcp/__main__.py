"""``python -m hoop_mcp`` is the ``hoop-mcp`` command."""

from hoop_mcp.cli import main

if __name__ == "__main__":
    main()
