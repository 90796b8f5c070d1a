"""An embedded PostgreSQL: started or joined on a folder, or thrown away at the end.

How it ends with its last user, whatever way that user ends. Two files and the kernel count, nobody keeps a list:

1. Every user holds a *shared* ``flock`` on ``users``. The kernel lets go of it when the process is gone, also after
   ``kill -9``.
2. The server is the child of a small supervisor (:mod:`hoop_mcp.adapters.embedded_supervisor`), which waits for the
   *exclusive* lock on ``users``. It gets it when no user is left, stops the server, tidies, ends. A new user who
   comes in between waits for that end and then starts afresh.
3. The supervisor, the server and every backend inherit an exclusive lock on ``server``. Who gets that lock knows
   that no process of an earlier server is left, whatever ``postmaster.pid`` or ``pg.json`` say.
4. The supervisor holds a lock on ``keeper``: a server whose keeper is dead is dying and is not joined. On Linux the
   kernel tells the server (PR_SET_PDEATHSIG). Elsewhere a server whose supervisor was killed with ``kill -9`` stays
   until somebody stops it; starting then fails after a while and says so.
5. Whoever starts holds ``server`` from before the data exists, so of several starters one starts and the others
   join. ``pg.lock`` lies in PATH and is held while it is being decided where the data lies.

``pg.json`` is for people and tools: of what it says only the place of the data is ever believed.

Where things lie. Data is in ``PATH/cluster/data`` where the server's account can reach it. Else (root under a 0700
folder, or a path beyond what PostgreSQL takes) the cluster lies in a folder of this machine that only we can write,
and ``PATH/pg.json`` names it; deleting PATH does not delete that. A copy of PATH uses its own copy of the data,
wherever the data lies; a PATH that was moved keeps its data (:mod:`hoop_mcp.adapters.embedded_moving`). Sockets lie
in a short folder of their own, mode 0700 and owned by the server's account: the account and root can connect, nobody
else, and there is no TCP.

The server log holds no statement and no value: nothing below FATAL is written to it, which also keeps the analyser's
query trees out. ``settings`` may say otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from hoop_mcp.adapters import embedded_binaries, embedded_cluster, embedded_home
from hoop_mcp.adapters.embedded_binaries import EmbeddedPostgresError
from hoop_mcp.adapters.embedded_locks import PAUSE, Lock, attempt, await_lock, locked, open_lock

if sys.platform != "win32":
    import fcntl

    from hoop_mcp.adapters import embedded_supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoop_mcp.adapters.embedded_binaries import Account

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

PORT = 5432
_COMMON = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "logging_collector": "off",
}
_THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "128MB"}
_held: weakref.WeakSet[EmbeddedPostgres] = weakref.WeakSet()


class EmbeddedPostgres:
    """One user's hold on an embedded server. A context manager; :meth:`start` and :meth:`stop` may be called again.

    Args:
        folder: where the server belongs; data survives the server. None for a throw-away server whose data is
            removed at its end and which nobody else can join.
        settings: server parameters (PostgreSQL, "Server Configuration") beyond ours. Who joins a server that runs
            with others is refused.
        timeout: seconds to wait for other starters, for the end of an earlier server, and for the server to be ready.
    """

    def __init__(
        self, folder: Path | None = None, *, settings: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> None:
        self.folder = None if folder is None else Path(os.path.abspath(folder))  # noqa: PTH100 - resolves no links
        self.timeout = timeout
        self.version = ""
        self.data = Path()
        self.socket_folder = ""
        self.started = False  # True where this user started the server, False where it joined one
        self._extra = dict(settings or {})
        self._users: int | None = None
        self._keeper: int | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.folder)!r}, running={self._users is not None})"

    def dsn(self, database: str = "postgres", user: str = embedded_cluster.SUPERUSER) -> str:
        """A connection string for the running server; there is no password in it, and none is asked."""
        names = quote(user, safe=""), quote(database, safe="")
        return f"postgresql://{names[0]}@/{names[1]}?host={quote(self.socket_folder, safe='/')}&port={PORT}"

    @property
    def pid(self) -> int:
        """The server's process.

        Raises:
            EmbeddedPostgresError: where it is not running.
        """
        status = _status(self.data)
        if status is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL is not running")
        return status[0]

    def start(self) -> Self:
        """Start the server, or join the one that runs on the folder. Blocks: about 0.1 s, the first time 0.5 s.

        Raises:
            EmbeddedPostgresError: with what is in the way, and the mend where it is known.
        """
        if self._users is not None:
            return self
        account = embedded_binaries.server_account()
        deadline = time.monotonic() + self.timeout
        if self.folder is None:
            home = Path(tempfile.mkdtemp(prefix="hoop-pg-home-", dir=embedded_home.passing_folder(account)))
            try:
                self._enter(home, account, deadline)
            except BaseException:
                shutil.rmtree(home, ignore_errors=True)
                raise
            return self
        embedded_home.own(self.folder, account)
        with locked(self.folder / "pg.lock", deadline, "another start on this folder"):
            self._enter(embedded_home.cluster_home(self.folder, account), account, deadline)
            try:
                record = {"pid": self.pid, "socket": self.socket_folder, "port": PORT}
                where = {"data": str(self.data), "version": self.version}
                embedded_supervisor.write_record(self.folder / "pg.json", {**record, **where})
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Stop using the server; where nobody else does, returns once it has ended and what it leaves is tidied."""
        users, keeper, self._users, self._keeper = self._users, self._keeper, None, None
        _held.discard(self)
        if users is None or keeper is None:
            return
        fcntl.flock(users, fcntl.LOCK_UN)
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if attempt(keeper, fcntl.LOCK_SH):  # no supervisor is left
                break
            # Exclusive: neither a user nor the supervisor has it yet, which is about to. Shared: users are left.
            if not attempt(users, fcntl.LOCK_EX) and attempt(users, fcntl.LOCK_SH):
                break
            fcntl.flock(users, fcntl.LOCK_UN)
            time.sleep(PAUSE)
        os.close(users)
        os.close(keeper)

    # -- start or join

    def _enter(self, home: Path, account: Account, deadline: float) -> None:
        home.chmod(embedded_home.passage(account))
        self.data = home / "data"
        with contextlib.ExitStack() as undo:
            users, keeper = open_lock(home / "users"), open_lock(home / "keeper")
            undo.callback(os.close, users)
            undo.callback(os.close, keeper)
            await_lock(users, fcntl.LOCK_SH, deadline, f"the end of the server that uses {self.data}")
            with contextlib.closing(Lock(open_lock(home / "server"))) as server:
                while not (started := server.take()):  # another starter holds it too until its server is ready
                    if self._joinable(keeper):
                        break
                    if time.monotonic() > deadline:
                        raise EmbeddedPostgresError(f"a PostgreSQL on {self.data} neither ends nor can be joined")
                    time.sleep(PAUSE)
                if started:
                    self._launch(home, account, server.fd)
            self.started = started
            undo.pop_all()
        self._users, self._keeper = users, keeper
        _held.add(self)

    def _joinable(self, keeper: int) -> bool:
        if attempt(keeper, fcntl.LOCK_SH):
            fcntl.flock(keeper, fcntl.LOCK_UN)
            return False
        status = _status(self.data)
        try:
            facts = json.loads((self.data.parent / "server.json").read_text())
        except (OSError, ValueError):
            return False
        if status is None or status[1] != "ready" or not _listens(facts["socket"]):
            return False
        command = (self.data / "postmaster.opts").read_text()
        missing = [name for name, value in self._extra.items() if f'"{name}={value}"' not in command]
        if missing:
            raise EmbeddedPostgresError(f"the server that runs on {self.data} has another {', '.join(missing)}")
        self.socket_folder, self.version = facts["socket"], facts["version"]
        return True

    def _launch(self, home: Path, account: Account, server_lock: int) -> None:
        supervisor = subprocess.Popen(  # noqa: S603 - the program and its arguments are ours
            [sys.executable, "-I", "-S", embedded_supervisor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=embedded_binaries.environment(),
            cwd="/",
            pass_fds=(server_lock,),
            start_new_session=True,
        )
        socket_folder = ""
        try:
            binaries = embedded_binaries.runnable(embedded_binaries.find_binaries(), account, home)
            self.version = embedded_binaries.version_of(binaries, account)
            self._prepare(binaries, account)
            _remove_left_socket(home)
            socket_folder = tempfile.mkdtemp(prefix="hoop-pg-", dir=embedded_home.short_folder(account))
            os.chown(socket_folder, account.uid, account.gid)
            facts = {"socket": socket_folder, "version": self.version, "home": str(home)}
            embedded_supervisor.write_record(home / "server.json", facts)
            order = self._order(home, account, server_lock, binaries, socket_folder)
            said, _ = supervisor.communicate(json.dumps(order).encode() + b"\n", timeout=self.timeout + 10)
            answer = json.loads(said) if said else {"error": "the supervisor of the embedded PostgreSQL did not start"}
            if "error" in answer:
                raise EmbeddedPostgresError(answer["error"])
        except BaseException:
            supervisor.kill()
            supervisor.communicate()
            if socket_folder:
                shutil.rmtree(socket_folder, ignore_errors=True)
            raise
        self.socket_folder = socket_folder

    def _prepare(self, binaries: Path, account: Account) -> None:
        """A data folder of the right version and owner, without what an earlier server left in it."""
        if not (self.data / "PG_VERSION").exists():
            embedded_cluster.create(self.data, binaries, self.version, account)
            return
        embedded_cluster.adopt(self.data, account)
        written = (self.data / "PG_VERSION").read_text().strip()
        if written != str(embedded_binaries.major(self.version)):
            raise EmbeddedPostgresError(
                f"{self.data} was written by PostgreSQL {written} and {binaries} holds {self.version}: "
                "set HOOP_MCP_PG_BIN to the older one, or begin anew on another folder"
            )
        status = _status(self.data)
        if status is None:
            return
        # We hold the server lock, so this file is a crash's or a copy's; PostgreSQL alone would trust the number in it
        # where another process has it by now. One started by hand holds no lock of ours: its working folder tells.
        with contextlib.suppress(OSError):
            if Path(f"/proc/{status[0]}/cwd").readlink() == self.data.resolve():
                raise EmbeddedPostgresError(f"process {status[0]} serves {self.data} and was not started from here")
        if Path("/proc/self/cwd").exists():
            (self.data / "postmaster.pid").unlink()

    def _order(
        self, home: Path, account: Account, server_lock: int, binaries: Path, socket_folder: str
    ) -> dict[str, Any]:
        """What the supervisor is told; its own module reads these names."""
        durable = self.folder is not None
        settings = {
            **_COMMON,
            **({} if durable else _THROW_AWAY),
            "unix_socket_directories": socket_folder,
            **self._extra,
        }
        command = [str(binaries / "postgres"), "-D", str(self.data), "-p", str(PORT)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return {
            "command": command,
            "environment": embedded_binaries.environment(),
            "uid": account.uid,
            "gid": account.gid,
            "dropped": account.dropped,
            "data": str(self.data),
            "socket": socket_folder,
            "users": str(home / "users"),
            "keeper": str(home / "keeper"),
            "server_lock": server_lock,
            "log": str(home / "server.log"),
            "record": str(self.folder / "pg.json") if self.folder else None,
            "remove": [socket_folder] if durable else [socket_folder, str(home)],
            # Fast shutdown writes a checkpoint; immediate shutdown is enough for data nobody will read.
            "signal": "SIGINT" if durable else "SIGQUIT",
            "timeout": self.timeout,
        }

    def _forget(self) -> None:
        """In a forked child: the hold is the parent's. A child that lives longer must not keep the server."""
        for fd in (self._users, self._keeper):
            if fd is not None:
                os.close(fd)
        self._users = self._keeper = None


def _remove_left_socket(home: Path) -> None:
    """Where a supervisor was killed, nobody removed the folder of the socket.

    Called under the server lock. A copy of a cluster names the socket of the original, which may be in use.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):
        facts = json.loads((home / "server.json").read_text())
        left = Path(facts["socket"])
        if facts["home"] == str(home) and left.name.startswith("hoop-pg-"):
            shutil.rmtree(left)


def _status(data: Path) -> tuple[int, str] | None:
    """Process and status from ``postmaster.pid``; None where there is none to be read."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (OSError, ValueError, IndexError):
        return None


def _listens(socket_folder: str) -> bool:
    """Whether a server answers; what ``postmaster.pid`` says stays there when the server is killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(f"{socket_folder}/.s.PGSQL.{PORT}")
        except OSError:
            return False
    return True


def _forget_in_child() -> None:
    for held in tuple(_held):
        held._forget()  # noqa: SLF001 - of this module
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_in_child)
