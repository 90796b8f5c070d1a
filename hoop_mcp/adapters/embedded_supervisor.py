"""The process between an embedded server and its users: it ends the server when the last user is gone.

Run by path with ``python -I -S``, standard library only, so that it is up while the cluster is still being copied.
It reads one JSON order on standard input and answers one JSON line on standard output: ``{}`` once the server accepts
connections, else ``{"error": …}``. :mod:`hoop_mcp.adapters.embedded_postgres` explains the locks.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PATIENCE = ((signal.SIGQUIT, 20.0), (signal.SIGKILL, 5.0))
_RUNTIME_FIELDS = ("pid", "socket", "port")


def main() -> None:
    """Serve one order. Ends without a server where its reader is gone before it gave one."""
    words = sys.stdin.buffer.readline()
    if not words:
        return
    order: dict[str, Any] = json.loads(words)
    if os.fork():
        os._exit(0)  # the server outlives the user that started it, and leaves that user no child to reap
    keeper = os.open(order["keeper"], os.O_RDWR)
    fcntl.flock(keeper, fcntl.LOCK_EX)  # never waits long: others only probe it
    try:
        server = _launch(order)
    except OSError as error:
        _answer({"error": f"{order['command'][0]} cannot be run: {error.strerror}"})
        return
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_last_user, args=(order, server), daemon=True).start()
    _answer(_await_ready(order, server))
    _let_go_of_standard_streams()
    server.wait()
    _tidy(order)
    os._exit(0)  # releases every lock at once, after the tidying


def _answer(words: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # the starter may be dead already; the users file knows
        os.write(1, json.dumps(words).encode() + b"\n")


def _launch(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    """The server as our child, in the account it is to run under, holding the server lock for as long as it lives."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()
    stop = int(signal.Signals[order["signal"]])

    def die_with_parent() -> None:
        # Set after the change of account, which clears it: PR_SET_PDEATHSIG(2const).
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, stop)
            if os.getppid() != parent:
                os._exit(1)

    dropped = order["dropped"]
    with os.fdopen(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as log:
        return subprocess.Popen(  # noqa: S603 - the program and its arguments are ours
            order["command"],
            user=order["uid"] if dropped else None,
            group=order["gid"] if dropped else None,
            extra_groups=[] if dropped else None,
            env=order["environment"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(order["server_lock"],),
            preexec_fn=die_with_parent,  # noqa: PLW1509 - the child only asks the kernel to be told of our end
        )


def _await_ready(order: dict[str, Any], server: subprocess.Popen[bytes]) -> dict[str, str]:
    """The eighth line of postmaster.pid is the server's status (PostgreSQL source, miscadmin.h, LOCK_FILE_LINE_*)."""
    status_file = Path(order["data"]) / "postmaster.pid"
    end = time.monotonic() + order["timeout"]
    while time.monotonic() < end:
        if server.poll() is not None:
            said = Path(order["log"]).read_text(errors="replace").strip()[-1500:]
            return {"error": f"PostgreSQL ended at once: {said or 'it said nothing'}"}
        with contextlib.suppress(OSError):
            lines = status_file.read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0].strip() == str(server.pid):
                return {}
        time.sleep(0.002)
    server.send_signal(signal.SIGQUIT)
    return {"error": f"PostgreSQL was not ready after {order['timeout']:g} s"}


def _end_with_last_user(order: dict[str, Any], server: subprocess.Popen[bytes]) -> None:
    """Wait for the exclusive lock on the users file, which is ours when no user is left, and stop the server.

    The lock is kept until this process ends, so that a new user waits for the end rather than joins it.
    """
    users = os.open(order["users"], os.O_RDWR)
    fcntl.flock(users, fcntl.LOCK_EX)
    server.send_signal(signal.Signals[order["signal"]])
    for harder, seconds in _PATIENCE:
        time.sleep(seconds)
        server.send_signal(harder)


def _let_go_of_standard_streams() -> None:
    """A terminal or a pipe of the starter must not stay open because a server runs."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _tidy(order: dict[str, Any]) -> None:
    for folder in order["remove"]:
        shutil.rmtree(folder, ignore_errors=True)
    if order["record"]:
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(Path(order["record"]).read_text())
            if record.get("socket") == order["socket"]:
                write_record(Path(order["record"]), {**record, **dict.fromkeys(_RUNTIME_FIELDS)})


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Replace ``pg.json`` in one step; readable by its owner only."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(record, indent=2) + "\n")
    part.replace(path)


if __name__ == "__main__":
    main()
