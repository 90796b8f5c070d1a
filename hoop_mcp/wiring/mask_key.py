"""The deployment's pseudonym key: a file of its own beside the journal's keys, made at the first start."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from hoop_mcp.errors import JournalUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_BYTES = 32


def mask_key(folder: Path) -> bytes:
    """The key, from ``mask.key`` (0600, hex); the folder exists and is private, since the journal opened first.

    Raises:
        JournalUnavailable: the file cannot be read or made, or does not hold a key.
    """
    path = folder / "mask.key"
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_bytes(_BYTES).hex() + "\n")
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        raise JournalUnavailable(f"the key file {path} cannot be read or made") from None
    if len(key) != _BYTES:
        raise JournalUnavailable(f"the key file {path} does not hold {_BYTES} bytes in hex")
    return key
