"""What somebody meets who sets hoop-mcp up with a database of their own, slips of the pen included."""

import asyncio
import json
import os
import subprocess
import sys

import asyncpg
import pytest

from hoop_mcp.errors import DatabaseUnavailable, SettingsError
from hoop_mcp.wiring.examining import examine
from hoop_mcp.wiring.serving import open_gate

pytestmark = pytest.mark.anyio


async def doctor(shop, monkeypatch, **environment):
    """Every check, as ``state name: says | mend``."""
    for name, value in {**shop.environment, **environment}.items():
        monkeypatch.setenv(name, value)
    return [f"{c.state} {c.name}: {c.says} | {c.mend}" for c in [each async for each in examine(shop.settings)]]


def mends(lines):
    return [line for line in lines if line.startswith("MEND")]


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def refusal_of_serve(shop):
    with pytest.raises((SettingsError, DatabaseUnavailable)) as refused:
        async with open_gate(shop.settings):
            pass
    return str(refused.value)


def run(shop, *args, given="", **environment):
    return subprocess.run(
        [sys.executable, "-m", "hoop_mcp", *args, "--config", str(shop.settings)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        env={**shop.environment, **environment},
        check=False,
    )


async def test_a_sound_set_up_has_nothing_to_mend(shop, monkeypatch):
    assert mends(await doctor(shop, monkeypatch)) == []


@pytest.mark.parametrize("key", ["dsn", "clean_dsn"])
async def test_an_administrators_login_is_one_finding_and_no_sql_that_takes_its_rights_away(shop, monkeypatch, key):
    variable, login = {"dsn": ("TEST_DSN", "full"), "clean_dsn": ("TEST_CLEAN_DSN", "clean")}[key]
    lines = await doctor(shop, monkeypatch, **{variable: shop.admin_dsn})
    (line,) = mends(lines)
    assert f"login {login}: is a superuser" in line
    assert f"point {key} at one of the two that `hoop-mcp policy grants` makes" in line
    told = "\n".join(lines) + await refusal_of_serve(shop)
    assert not any(word in told for word in ("ALTER", "REVOKE", "NOSUPERUSER", "NOBYPASSRLS"))


async def test_an_owners_login_is_one_finding_too(shop, monkeypatch, talkative_databases):
    owner = f"{shop.logins['full']}_owner"
    talkative_databases.execute(f"CREATE ROLE {owner} LOGIN", dsn=shop.admin_dsn)
    try:
        talkative_databases.execute(f"ALTER TABLE public.customers OWNER TO {owner}", dsn=shop.admin_dsn)
        name = shop.admin_dsn.split("?")[0].rsplit("/", 1)[1]
        lines = mends(await doctor(shop, monkeypatch, TEST_DSN=shop.server.dsn(name, owner)))
        (line,) = [each for each in lines if "login full" in each]
        assert "owns, or is a member of the owner of, public.customers" in line
        assert "REVOKE" not in line
    finally:
        talkative_databases.execute("ALTER TABLE public.customers OWNER TO postgres", dsn=shop.admin_dsn)
        talkative_databases.execute(f"DROP ROLE {owner}")


async def test_an_accepted_risk_accepts_no_other(shop, monkeypatch, talkative_databases):
    change(shop.settings, "journal:", "accepted_risks: [superuser]\njournal:")
    (line,) = mends(await doctor(shop, monkeypatch, TEST_DSN=shop.admin_dsn))
    assert "bypasses row security" in line


async def test_one_login_for_both_is_refused(shop, monkeypatch):
    lines = mends(await doctor(shop, monkeypatch, TEST_CLEAN_DSN=shop.environment["TEST_DSN"]))
    (line,) = lines
    assert "is the same login as the full one" in line
    assert "is the same login as the full one" in await refusal_of_serve(shop)
    change(shop.settings, "journal:", "accepted_risks: [superuser, owns-governed-tables]\njournal:")
    assert "is the same login as the full one" in await refusal_of_serve(shop)


async def test_two_logins_in_each_others_place_are_told_as_that(shop, monkeypatch):
    there = shop.environment
    swapped = {"TEST_DSN": there["TEST_CLEAN_DSN"], "TEST_CLEAN_DSN": there["TEST_DSN"]}
    (line,) = mends(await doctor(shop, monkeypatch, **swapped))
    assert "dsn and clean_dsn are swapped" in line
    assert "dsn and clean_dsn are swapped" in await refusal_of_serve(shop)


async def test_a_name_the_database_lacks_is_told_with_its_place_and_not_blamed_on_grants(shop, monkeypatch):
    catalogue, policy = (shop.folder / "policies" / name for name in ("shop.catalogue.yaml", "support.yaml"))
    change(catalogue, "public.customers.phone:", "public.customers.phnoe:")
    change(policy, "only_tables: [public.customers,", "only_tables: [public.custmers,")
    lines = mends(await doctor(shop, monkeypatch))
    assert any("shop.catalogue.yaml:" in each and "no column 'phnoe'; did you mean 'phone'?" in each for each in lines)
    assert any(
        "support.yaml:" in each and "public.custmers; did you mean 'public.customers'?" in each for each in lines
    )
    assert not any("which no policy gives it" in each or "lacks" in each for each in lines)


async def test_a_catalogued_column_that_does_not_exist_is_a_warning_at_start_and_a_restriction_a_fault(
    shop, monkeypatch, caplog
):
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    catalogue = shop.folder / "policies" / "shop.catalogue.yaml"
    change(catalogue, "public.customers.phone:", "public.customers.phnoe:")
    async with open_gate(shop.settings):
        pass
    assert "no column 'phnoe'" in caplog.text
    text = catalogue.read_text()
    tables = "tables:\n" if "\ntables:\n" not in text else ""
    catalogue.write_text(f"{text}\n{tables}  public.paymnets: restricted\n")
    assert "public.paymnets; did you mean 'public.payments'?" in await refusal_of_serve(shop)


async def test_a_role_no_policy_speaks_of_and_a_database_no_settings_name_are_told(shop, monkeypatch):
    change(shop.settings, "support-agent", "suport-agent")
    lines = mends(await doctor(shop, monkeypatch))
    assert any("hoop.yaml:8:" in each and "'suport-agent'; did you mean 'support-agent'?" in each for each in lines)
    change(shop.settings, "suport-agent", "support-agent")
    policy = shop.folder / "policies" / "support.yaml"
    change(policy, "databases: [shop]", "databases: [shpo]")
    (line,) = mends(await doctor(shop, monkeypatch))
    assert "support.yaml:" in line
    assert "the settings have no database 'shpo'" in line
    assert "the settings have no database 'shpo'" in await refusal_of_serve(shop)
    checked = run(shop, "policy", "check")
    assert checked.returncode == 1
    assert "'shpo'" in checked.stdout


async def test_a_journal_in_a_folder_that_is_not_there_is_told(shop, monkeypatch):
    change(shop.settings, "path: journal.db", "path: gone/journal.db")
    (line,) = mends(await doctor(shop, monkeypatch))
    assert "gone of the journal does not exist" in line
    assert "mkdir -p" in line


async def test_the_grants_are_printed_before_the_clean_login_exists(shop):
    environment = shop.environment
    del environment["TEST_CLEAN_DSN"]
    done = subprocess.run(
        [sys.executable, "-m", "hoop_mcp", "policy", "grants", "--database", "shop", "--config", str(shop.settings)],
        capture_output=True,
        text=True,
        env={**environment, "TEST_DSN": shop.admin_dsn},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Run it as a superuser" in done.stdout


async def test_the_grants_never_take_the_rights_of_an_administrator(shop):
    sql = run(shop, "policy", "grants", "--database", "shop", "--full", "postgres").stdout
    connection = await asyncpg.connect(shop.admin_dsn)
    try:
        with pytest.raises(asyncpg.RaiseError, match="postgres is an administrator"):
            await connection.execute(sql)
    finally:
        await connection.close()
    connection = await asyncpg.connect(shop.admin_dsn)
    assert await connection.fetchval("SELECT rolinherit AND rolcreatedb FROM pg_roles WHERE rolname = 'postgres'")
    await connection.close()


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("{server}/none?{rest}", "the server has no database of the name in the address (SQLSTATE 3D000)"),
        ("postgresql://nobody_here@/{name}?{rest}", "the server does not let this login in from here"),
        ("postgresql://a:hunter2@127.0.0.1:1/{name}", "nobody listens at the host and port of the address"),
        ("postgresql://a:hunter2@no-such-host.invalid/{name}", "no such host is known here"),
        ("host=127.0.0.1 password=hunter2", "the form of an address is postgresql://user@host:port/database"),
        ("postgresql://a:hunter2@h:port/x", "the form of an address is postgresql://user@host:port/database"),
        ("postgresql://a:hunter2@/x?host=/no/such/folder", "no server has a socket in the folder"),
    ],
)
@pytest.mark.parametrize("variable", ["TEST_DSN", "TEST_CLEAN_DSN"])
async def test_a_login_that_cannot_connect_is_told_by_reference_and_cause_and_never_by_address(
    shop, monkeypatch, dsn, says, variable
):
    there, rest = shop.environment[variable].split("?")
    server, name = there.rsplit("/", 1)
    wrong = dsn.format(server=server, name=name, rest=rest)
    lines = mends(await doctor(shop, monkeypatch, **{variable: wrong}))
    told = next(line for line in lines if says in line)
    login = {"TEST_DSN": "full login (dsn, ", "TEST_CLEAN_DSN": "clean login (clean_dsn, "}[variable]
    assert told.startswith(f"MEND database shop: the {login}${{env:{variable}}}) cannot connect: ")
    assert "hunter2" not in "\n".join(lines)
    assert says in await refusal_of_serve(shop)


async def test_a_missing_variable_is_told_with_the_login_it_belongs_to(shop, monkeypatch):
    lines = mends(await doctor(shop, monkeypatch, TEST_DSN="", TEST_CLEAN_DSN=""))
    assert [line.split(" | ")[0] for line in lines] == [
        "MEND database shop: the full login: the environment variable TEST_DSN is not set",
        "MEND database shop: the clean login: the environment variable TEST_CLEAN_DSN is not set",
    ]


async def test_serve_by_hand_says_what_is_wrong_and_exits_two(shop):
    done = run(shop, "serve", TEST_DSN="postgresql://a@127.0.0.1:1/x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("cannot connect: nobody listens") == 1
    assert run(shop, "serve").returncode == 0


async def test_a_failed_opening_is_told_at_once_though_the_client_says_nothing(shop):
    environment = {**shop.environment, "TEST_DSN": "postgresql://a@127.0.0.1:1/x"}
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hoop_mcp", "serve", "--config", str(shop.settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    async with asyncio.timeout(30):
        assert b"nobody listens" in await server.stderr.readline()
        assert await server.wait() == 2


async def test_a_terminal_is_told_at_once_too(shop):
    import pty

    master, terminal = pty.openpty()
    try:
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "hoop_mcp", "serve", "--config", str(shop.settings)),
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**shop.environment, "TEST_DSN": "postgresql://a@127.0.0.1:1/x"},
        )
        async with asyncio.timeout(30):
            assert b"nobody listens" in await server.stderr.readline()
            assert await server.wait() == 2
    finally:
        os.close(master)
        os.close(terminal)


async def test_a_second_server_on_one_journal_is_told_that_another_holds_it(shop):
    def text(result):
        return " ".join(block.text for block in result.content)

    async with shop.client() as first:
        assert not (await first.call_tool("whoami", {})).is_error
        with pytest.raises(BaseException):  # noqa: B017, PT012 - the second server ends, whatever the client makes of it
            async with shop.client() as second:
                told = text(await second.call_tool("whoami", {}))
                assert told.startswith("HOOP601: Another hoop-mcp server holds this journal")
                await asyncio.sleep(5)
                raise ConnectionError
        assert not (await first.call_tool("whoami", {})).is_error
    assert "another hoop-mcp server holds the journal" in shop.stderr.read_text()


async def test_what_an_agent_is_told_leads_on(shop):
    def text(result):
        return " ".join(block.text for block in result.content)

    async with shop.client() as client:

        async def ask(tool, **arguments):
            return await client.call_tool(tool, arguments)

        told = (await ask("describe_table", table="orders")).structured_content
        columns = {column["name"]: column for column in told["columns"]}
        assert columns["customer_id"]["references"] == "public.customers.id"
        customers = (await ask("describe_table", table="customers")).structured_content
        masks = {column["name"]: column.get("mask") for column in customers["columns"]}
        assert masks["email"] == "partial"
        assert masks["id"] is None
        assert masks["iban"] == "denied"

        cut = (await ask("query", sql="SELECT id FROM orders", max_rows=100_000)).structured_content
        assert cut["truncated"]
        assert any("in one answer" in notice and "max_rows" not in notice for notice in cut["notices"])
        short = (await ask("query", sql="SELECT id FROM orders", max_rows=3)).structured_content
        assert any("ask for more with max_rows" in notice for notice in short["notices"])

        computed = (await ask("query", sql="SELECT upper(email) AS e FROM customers LIMIT 2")).structured_content
        assert any(notice.startswith("e: what is computed") for notice in computed["notices"])

        assert "It is custmers, at line 2, column 6." in text(await ask("query", sql="SELECT id\nFROM custmers"))
        assert "It is c.emial, at line 1, column 8." in text(await ask("query", sql="SELECT c.emial FROM customers c"))
        assert "line 1, column" in text(await ask("query", sql="SELECT id FROM customers WHERE (id = 1"))
        assert "takes 1 parameter and 2 came" in text(
            await ask("query", sql="SELECT id FROM orders WHERE id = $1", params=[1, 2])
        )
        assert "Pass database as one of: shop." in text(await ask("query", sql="SELECT 1", database="nope"))
        probe = text(await ask("query", sql="SELECT id FROM customers WHERE email LIKE 'a%'"))
        assert "contact data (customers.email)" in probe
        judged = (await ask("explain", sql="SELECT iban FROM customers")).structured_content
        assert judged["verdict"] == "deny"
        assert "mask" not in judged["columns"][0]
        assert judged["instead"]
        assert "not served by this server yet" in text(await ask("query", sql="DELETE FROM orders"))


async def test_a_word_nobody_knows_is_no_verdict(shop):
    for flags, says in (
        (("--database", "nope", "--as", "support-agent"), "they have shop"),
        (("--database", "shop", "--as", "nope"), "--as is one of analyst, support-agent"),
        (("--database", "shop", "--as", "support-agent", "--for", "nope"), "--for is one of customer-support"),
    ):
        for sql in ("SELECT 1", "-"):
            done = run(shop, "policy", "explain", *flags, sql, given='{"id": 1, "sql": "SELECT 1"}\n')
            assert (done.returncode, done.stdout) == (2, ""), flags
            assert says in done.stderr
    given = '{"id": 1, "sql": "SELECT nonsense FROM nowhere"}\n'
    flags = ("--database", "shop", "--as", "support-agent", "--json", "-")
    done = run(shop, "policy", "explain", *flags, given=given)
    assert done.returncode == 0
    assert json.loads(done.stdout)["code"] == "HOOP209"
    assert run(shop, "policy", "explain", *flags, given="nonsense\n").returncode == 2
