"""Finds and reads ``hoop.yaml``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.documents import decode
from hoop_mcp.errors import SettingsError
from hoop_mcp.settings import read_settings

if TYPE_CHECKING:
    from hoop_mcp.settings import Settings

CONFIG_VARIABLE = "HOOP_MCP_CONFIG"
DEFAULT_CONFIG = "hoop.yaml"


def config_path(config: Path | None) -> Path:
    """The settings file: the one named, else the one ``HOOP_MCP_CONFIG`` names, else ``./hoop.yaml``."""
    return config or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: the file is missing, unreadable or wrong, with every fault.
    """
    path = config_path(config)
    try:
        raw = path.read_bytes()
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else "it cannot be read"
        hint = (
            f"name another with --config or {CONFIG_VARIABLE}; docs/operations.md says what stands in one, and "
            "`hoop-mcp demo --dir DIR` makes one to look at"
        )
        raise SettingsError((f"{path}: {why}; {hint}",)) from error
    text, faults = decode(raw, str(path))
    settings = None
    if text is not None:
        settings, faults = read_settings(text, str(path), str(path.absolute().parent))
    if settings is None:
        raise SettingsError(tuple(str(fault) for fault in faults))
    return settings
