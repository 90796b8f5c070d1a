"""The journal's keys, as files in a folder of their own.

``journal.key`` (mode 0600) is the key file: 32 random bytes in hex, made at the first start. Under it lie the data
keys, one file for each class of part and ISO week, named by the key: ``answer.2026-W47.1f0c9a52.key``, each wrapped by
the key file. They are apart from the journal so that a week of one class can be destroyed (GDPR Art. 17) while the
chain still verifies, and so that backups of keys can be kept for a shorter time than backups of the journal.

Nothing here ever overwrites a key. The deliberate direction: where a key that is needed is missing or does not
open, the journal does not start; a fresh key in its place would hide the loss until somebody needs the old one.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from hoop_mcp.errors import JournalUnavailable, SealBroken
from hoop_mcp.journal.seal import KEY_BYTES, Box, unwrap_key, wrap_key

if TYPE_CHECKING:
    from pathlib import Path

    from hoop_mcp.journal.seal import Random

KEY_FILE = "journal.key"
_FORMAT = 1


class KeyFolder:
    """Data keys by name and by week. One writer's thread uses one instance; readers open their own."""

    def __init__(self, folder: Path, key_file_key: bytes, random: Random = secrets.token_bytes) -> None:
        self._folder = folder
        self._key = key_file_key
        self._random = random
        self._current: dict[tuple[str, str], str] = {}
        self._opened: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"KeyFolder({str(self._folder)!r})"

    @classmethod
    def make(cls, folder: Path, random: Random = secrets.token_bytes) -> KeyFolder:
        """Open the folder for writing; make it (0700) and the key file (0600) if there is none.

        Raises:
            JournalUnavailable: the folder or the key file may be read by other accounts, or cannot be used.
        """
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not (folder / KEY_FILE).exists():
                _write(folder / KEY_FILE, random(KEY_BYTES).hex().encode() + b"\n")
            for path in (folder, folder / KEY_FILE):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    raise JournalUnavailable(f"{path} is open to other accounts: chmod go-rwx {path}")
        except OSError as error:
            raise JournalUnavailable(f"the journal's keys cannot be made or read: {error}") from None
        return cls(folder, _read_key_file(folder), random)

    @classmethod
    def read(cls, folder: Path) -> KeyFolder:
        """Open an existing folder to unseal with.

        Raises:
            JournalUnavailable: there is no usable key file.
        """
        return cls(folder, _read_key_file(folder))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether there is a key file in the folder."""
        return (folder / KEY_FILE).is_file()

    @property
    def fingerprint(self) -> str:
        """Which key file this is, telling nothing about its key: 16 hex digits for the journal's start entry."""
        return sha256(b"hoop/key-file/v1" + self._key).hexdigest()[:16]

    def current(self, part: str, ts: int) -> str:
        """The name of the data key for ``part`` in the ISO week of ``ts`` (microseconds since 1970 UTC).

        A key that is made here is on the disk, synced, before its name is returned.

        Raises:
            JournalUnavailable: the week's key does not open, or no key can be made.
        """
        week = iso_week(ts)
        found = self._current.get((part, week))
        if found is None:
            names = sorted(path.name.removesuffix(".key") for path in self._folder.glob(f"{part}.{week}.*.key"))
            found = names[-1] if names else self._create(part, week)
            self.key(found)
            self._current[part, week] = found
        return found

    def key(self, kid: str) -> bytes:
        """The data key of that name.

        Raises:
            JournalUnavailable: it is not there (it may have been destroyed) or does not open under the key file.
        """
        opened = self._opened.get(kid)
        if opened is None:
            path = self._folder / f"{kid}.key"
            if path.parent != self._folder:
                raise JournalUnavailable("a data key's name leaves its folder")
            try:
                stored = json.loads(path.read_bytes())
                box = Box(*(bytes.fromhex(stored[field]) for field in ("n", "ct", "kc")))
                opened = unwrap_key(self._key, box, kid)
            except FileNotFoundError:
                raise JournalUnavailable(f"the data key {kid} is not in {self._folder}") from None
            except (OSError, ValueError, KeyError, TypeError, SealBroken):
                raise JournalUnavailable(f"the data key {kid} does not open with {self._folder / KEY_FILE}") from None
            self._opened[kid] = opened
        return opened

    def _create(self, part: str, week: str) -> str:
        kid = f"{part}.{week}.{self._random(4).hex()}"
        box = wrap_key(self._key, self._random(KEY_BYTES), kid, self._random)
        stored = {
            "v": _FORMAT,
            "kid": kid,
            "n": box.nonce.hex(),
            "ct": box.ciphertext.hex(),
            "kc": box.commitment.hex(),
        }
        try:
            _write(self._folder / f"{kid}.key", json.dumps(stored).encode() + b"\n")
        except OSError as error:
            raise JournalUnavailable(f"no data key can be made: {error}") from None
        return kid


def iso_week(ts: int) -> str:
    """The ISO 8601 week of a moment, as ``2026-W47``; ``ts`` is microseconds since 1970 UTC."""
    year, week, _ = datetime.fromtimestamp(ts // 1_000_000, UTC).isocalendar()
    return f"{year:04d}-W{week:02d}"


def _read_key_file(folder: Path) -> bytes:
    path = folder / KEY_FILE
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise JournalUnavailable(f"there is no key file {path}") from None
    except (OSError, ValueError):
        raise JournalUnavailable(f"the key file {path} cannot be read") from None
    if len(key) != KEY_BYTES:
        raise JournalUnavailable(f"the key file {path} does not hold {KEY_BYTES} bytes in hex")
    return key


def _write(path: Path, content: bytes) -> None:
    """Put a new file in place whole and synced, its folder entry too.

    Whoever calls holds the journal's lock and has seen that there is no such file, so nothing is replaced.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
