"""The ways a DSN can lead to PostgreSQL: through a pooler, to a replica, over TLS."""

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hoop_mcp.adapters.embedded_binaries import server_account
from hoop_mcp.adapters.embedded_postgres import EmbeddedPostgres
from hoop_mcp.adapters.postgres import PostgresDatabase
from hoop_mcp.errors import DatabaseUnavailable, Refused
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.sql.reader import read
from hoop_mcp.sql.resolved import Login

pytestmark = pytest.mark.anyio

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")
POOLERS = [name for name in (os.environ.get("HOOP_MCP_PGBOUNCER"), "/usr/sbin/pgbouncer") if name]
CUSTOMERS = "SELECT name, email, phone, city FROM customers WHERE phone IS NOT NULL ORDER BY id LIMIT 3"
CATALOGUE = """
catalogue: lab
categories: {contact: {data_subjects: [people]}}
columns: {public.people.mail: {category: contact}, public.people.id: none}
"""


async def ask(client, sql, **arguments):
    return await client.call_tool("query", {"sql": sql, **arguments})


def words(result):
    return " ".join(block.text for block in result.content if getattr(block, "text", None))


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=[*POOLERS, "none"])
def pooler(request):
    """``pooler(admin_dsn, tracked)`` starts PgBouncer in transaction mode before a database and returns its address."""
    if request.param == "none":
        if any(Path(name).is_file() for name in POOLERS):
            pytest.skip("a PgBouncer is there and has been tried")
        pytest.skip("no PgBouncer: install one, or name it in HOOP_MCP_PGBOUNCER")
    if not Path(request.param).is_file():
        pytest.skip(f"no PgBouncer in {request.param}")
    with contextlib.ExitStack() as stack:
        yield SimpleNamespace(
            before=lambda dsn, users, **options: stack.enter_context(_pooling(request.param, dsn, users, **options)),
            tracks=_version(request.param) >= (1, 21),
        )


def _version(program):
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.split()[1].split(".")[:2]))


@contextlib.contextmanager
def _pooling(program, dsn, users, **options):
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    account = server_account()
    folder = Path(asked["host"][0])  # the socket's own folder: the one place the server's account may certainly enter
    port = _free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "pool_mode": "transaction",
        "default_pool_size": 9,  # the least that docs/operations.md asks for: six calls, and three of our own
        **options,
    }
    lines = [f"{key} = {value}" for key, value in settings.items()]
    target = f"* = host={folder} port={asked['port'][0]}"
    (folder / "pgbouncer.ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
    (folder / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
    running = subprocess.Popen(
        [program, folder / "pgbouncer.ini"],
        user=account.uid if os.geteuid() == 0 else None,
        group=account.gid if os.geteuid() == 0 else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert running.poll() is None, "PgBouncer ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield lambda user: f"postgresql://{user}@127.0.0.1:{port}{parts.path}"
    finally:
        running.kill()
        running.wait()
        (folder / "pgbouncer.ini").unlink()
        (folder / "users.txt").unlink()


@contextlib.contextmanager
def _open_folder():
    """A folder that the server's account may pass through."""
    made = Path(tempfile.mkdtemp(prefix="hoop-topology-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def _people(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            """
            CREATE TABLE people (id int PRIMARY KEY, mail text);
            INSERT INTO people VALUES (1, 'a@example.org');
            CREATE ROLE lab_full LOGIN; CREATE ROLE lab_clean LOGIN;
            GRANT SELECT ON people TO lab_full; GRANT SELECT (id) ON people TO lab_clean;
            GRANT SET ON PARAMETER log_min_messages TO lab_full, lab_clean;
            REVOKE TEMP ON DATABASE postgres FROM PUBLIC;
            """
        )
    finally:
        await connection.close()


async def _read(database, sql, login=Login.FULL):
    async with database.lease(login) as lease:
        resolved = await lease.resolve(read(sql), 5_000)
        resolved.trace()
        rows = await lease.execute(resolved, (), 100)
        await lease.unchanged(resolved)
    return [tuple(row) for row in rows]


def _certificates(folder, account):
    """A certificate authority of the folder's own, and a server's key and certificate for ``localhost``."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    since = until - dt.timedelta(days=2)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

    def signed(name, public, extension):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(root_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(until)
        return builder.add_extension(extension, critical=True).sign(root_key, hashes.SHA256())

    root = signed(root_name, root_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = signed(name, key.public_key(), x509.SubjectAlternativeName([x509.DNSName("localhost")]))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files = folder / "ca.pem", folder / "server.key", folder / "server.pem"
    files[0].write_bytes(root.public_bytes(pem))
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    files[2].write_bytes(leaf.public_bytes(pem))
    files[1].chmod(0o600)
    if account.dropped:
        for file in files:
            os.chown(file, account.uid, account.gid)
    return files


@pytest.mark.parametrize("tracked", [None, 0, 100])
async def test_a_pooler_in_transaction_mode_serves_masked_reads_again_and_again(shop, pooler, tracked):
    options = {} if tracked is None else {"max_prepared_statements": tracked}
    if tracked is not None and not pooler.tracks:
        pytest.skip("this PgBouncer is older than 1.21: it tracks no prepared statements")
    through = pooler.before(shop.admin_dsn, shop.logins.values(), **options)
    environment = {
        **shop.environment,
        "TEST_DSN": through(shop.logins["full"]),
        "TEST_CLEAN_DSN": through(shop.logins["clean"]),
    }
    async with shop.client(environment=environment) as client:
        # The same text twenty times, eight at once: backends are shared, and none may answer for another.
        for _ in range(3):
            answers = await asyncio.gather(*(ask(client, CUSTOMERS) for _ in range(8)))
            assert not any(answer.is_error for answer in answers), shop.stderr.read_text() + words(answers[0])
            rows = [answer.structured_content["rows"] for answer in answers]
            assert all(found == rows[0] for found in rows)
            assert all("*" in row[1] for row in rows[0])
        other = await asyncio.gather(*(ask(client, f"SELECT {n} AS n, count(*) FROM orders") for n in range(16)))
        assert [answer.structured_content["rows"][0][0] for answer in other] == list(range(16))
        refused = await ask(client, "SELECT id FROM customers WHERE email LIKE 'a%'")
        assert refused.is_error
        assert words(refused).startswith("HOOP3")
        plan = await client.call_tool("explain", {"sql": "SELECT city FROM customers"})
        assert not plan.is_error, words(plan)
        assert plan.structured_content["plan"] == ["Seq Scan on customers"]
        measured = await ask(client, "EXPLAIN ANALYZE SELECT id FROM orders WHERE status = $1", params=["it's"])
        assert "actual rows=0" in measured.structured_content["rows"][0][0]
        assert (await ask(client, "SHOW TimeZone")).structured_content["rows"] == [["UTC"]]


async def test_a_replica_in_recovery_is_read_like_any_server():
    catalogue, _ = read_catalogue(CATALOGUE, "lab.catalogue.yaml")
    with contextlib.ExitStack() as stack:
        primary, standby = (Path(stack.enter_context(_open_folder())) for _ in range(2))
        with EmbeddedPostgres(primary, settings={"wal_level": "replica"}) as server:
            await _people(server.dsn())
        shutil.copytree(server.data, copied := standby / "cluster" / "data")
        (copied / "standby.signal").touch()
        replica = stack.enter_context(EmbeddedPostgres(standby))
        assert replica.data.samefile(copied)
        dsns = {Login.FULL: replica.dsn(user="lab_full"), Login.CLEAN: replica.dsn(user="lab_clean")}
        database = await PostgresDatabase.open("lab", dsns, search_path=("public",), catalogue=catalogue)
        try:
            assert await database.catalog.fetch("SELECT pg_is_in_recovery() AS yes") == [(True,)]
            assert await database.findings() == ()
            assert await _read(database, "SELECT id, mail FROM people ORDER BY id") == [("1", "a@example.org")]
            with pytest.raises(Refused, match="HOOP504"):
                await _read(database, "SELECT mail FROM people", Login.CLEAN)
        finally:
            await database.close()


async def test_verify_full_reads_over_tls_and_refuses_another_server(tmp_path, monkeypatch):
    if not SYSTEM_15.is_dir():
        pytest.skip("the embedded PostgreSQL is built without TLS, and there is no other")
    monkeypatch.setenv("HOOP_MCP_PG_BIN", str(SYSTEM_15))
    catalogue, _ = read_catalogue(CATALOGUE, "lab.catalogue.yaml")
    account = server_account()
    with _open_folder() as folder:
        authority, key, certificate = _certificates(folder, account)
        hba = folder / "pg_hba.conf"
        hba.write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
        port = _free_port()
        tls = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "ssl": "on",
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "hba_file": str(hba),
        }
        with EmbeddedPostgres(settings=tls) as server:
            await _people(server.dsn().replace("port=5432", f"port={port}"))

            def dsns(host, trusted):
                query = f"sslmode=verify-full&sslrootcert={trusted}"
                return {login: f"postgresql://lab_{login}@{host}:{port}/postgres?{query}" for login in Login}

            database = await PostgresDatabase.open(
                "lab", dsns("localhost", authority), search_path=("public",), catalogue=catalogue
            )
            try:
                assert await database.findings() == ()
                assert await _read(database, "SELECT id, mail FROM people") == [("1", "a@example.org")]
                seen = await database.catalog.fetch("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                assert seen == [(True,)]
            finally:
                await database.close()
            stranger, *_ = _certificates(tmp_path, account)
            for refused in (dsns("127.0.0.1", authority), dsns("localhost", stranger)):
                with pytest.raises(DatabaseUnavailable) as told:
                    await PostgresDatabase.open("lab", refused, search_path=("public",), catalogue=catalogue)
                assert str(port) not in str(told.value)
