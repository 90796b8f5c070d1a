"""A fresh data folder in a few hundredths of a second: ``initdb`` once, a copy of its result ever after.

``initdb`` takes about a third of a second and its result depends on nothing but the binaries, the account and the
arguments, so it is kept in the cache folder. A copy of a cluster keeps its system identifier, which matters to
physical replication only, and an embedded server takes part in none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hoop_mcp.adapters.embedded_binaries import cache_folder, is_private, major, run

if TYPE_CHECKING:
    from hoop_mcp.adapters.embedded_binaries import Account

SUPERUSER = "postgres"
_HBA = "# The folder of the socket is the boundary: mode 0700, owned by the server's account.\nlocal all all trust\n"


def create(data: Path, binaries: Path, version: str, account: Account) -> None:
    """Make ``data``, which does not exist, an initialised cluster owned by the account, in one rename.

    Trust authentication, on the socket alone: who may open its folder is the account itself and root, and both could
    read the data without PostgreSQL. There is no line for TCP, should somebody turn ``listen_addresses`` on.

    Raises:
        EmbeddedPostgresError: where ``initdb`` fails.
    """
    arguments = _arguments(version)
    facts = repr((version, str(binaries), account.uid, arguments, _HBA))
    key = hashlib.sha256(facts.encode()).hexdigest()[:16]
    cache = cache_folder()
    template = cache / f"cluster-{key}" if cache else None
    # The part lies in a folder of its own that the account may enter, so that a start cut short leaves no `data`.
    part = Path(tempfile.mkdtemp(prefix="part-", dir=data.parent))
    try:
        part.chmod(0o711)
        fresh = part / "data"
        if template is not None and template.is_dir() and is_private(template):
            copy(template, fresh, account)
        else:
            fresh.mkdir(mode=0o700)
            os.chown(fresh, account.uid, account.gid)
            run(binaries / "initdb", "-D", str(fresh), *arguments, account=account)
            (fresh / "pg_hba.conf").write_text(_HBA)
            if template is not None:
                _keep(fresh, template)
        fresh.rename(data)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _arguments(version: str) -> tuple[str, ...]:
    if major(version) >= 17:
        locale: tuple[str, ...] = ("--locale-provider=builtin", "--locale=C.UTF-8")
    else:
        locale = ("--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8",)
    # Segments of 1 MB: a fresh cluster is 15 MB smaller, which is half the cost of its copy.
    return ("-U", SUPERUSER, "-A", "trust", "-E", "UTF8", *locale, "--wal-segsize=1", "--no-sync", "--no-instructions")


def copy(source: Path, target: Path, account: Account) -> None:
    """Copy a cluster; what is written belongs to the account and to nobody else (0700 and 0600)."""
    target.mkdir(mode=0o700)
    if account.dropped:
        os.chown(target, account.uid, account.gid)
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if entry.is_dir(follow_symlinks=False):
                copy(Path(entry.path), place, account)
            elif entry.is_file(follow_symlinks=False):
                shutil.copyfile(entry.path, place)
                if account.dropped:
                    os.chown(place, account.uid, account.gid)
                place.chmod(0o600)


def adopt(data: Path, account: Account) -> None:
    """Give a data folder that was copied by root to the server's account again."""
    if not account.dropped or data.lstat().st_uid == account.uid:
        return
    for folder, _, files in os.walk(data):
        for name in ("", *files):
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)
    data.chmod(0o700)


def _keep(fresh: Path, template: Path) -> None:
    """Best effort: a cache that cannot be written costs time, never a start."""
    with contextlib.suppress(OSError):
        part = Path(tempfile.mkdtemp(prefix="part-", dir=template.parent))
        try:
            shutil.copytree(fresh, part / "data")
            (part / "data").rename(template)
        finally:
            shutil.rmtree(part, ignore_errors=True)
