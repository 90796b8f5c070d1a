"""The way to a database: what may be read or forged on it is a fault."""

import pytest

from hoop_mcp.adapters.postgres_transport import transport_findings

HERE = [
    "postgresql://a:secret@/db?host=/var/run/postgresql",
    "postgresql:///db",
    "postgresql://a@localhost/db",
    "postgresql://a@127.0.0.1:6432/db?sslmode=disable",
    "postgresql://a@[::1]:5432/db",
    "postgresql://a@127.0.0.53,localhost/db",
]
VERIFIED = ["postgresql://a:secret@db.example.com/db?sslmode=verify-full&sslrootcert=/etc/ca.pem"]
EXPOSED = [
    "postgresql://a:secret@db.example.com/db",
    "postgresql://a:secret@db.example.com/db?sslmode=prefer",
    "postgresql://a:secret@db.example.com/db?sslmode=require",
    "postgresql://a:secret@db.example.com/db?sslmode=verify-ca",
    "postgresql://a:secret@10.0.0.7:5432/db?sslmode=disable",
    "postgresql://a:secret@[2001:db8::1]:5432/db",
    "postgresql://a:secret@localhost,db.example.com/db",
    "postgresql://a:secret@/db?host=db.example.com",
    "postgresql://a:secret@127.0.0.1.example.com/db",
    "postgresql://a:secret@localhost.example.com/db",
]


@pytest.mark.parametrize("dsn", HERE + VERIFIED)
def test_nothing_is_said_of_a_way_nobody_else_is_on(dsn):
    assert transport_findings(dsn, "full", {}) == ()


@pytest.mark.parametrize("dsn", EXPOSED)
def test_a_remote_address_without_verify_full_is_a_fault_that_does_not_repeat_the_address(dsn):
    (finding,) = transport_findings(dsn, "full", {})
    assert finding.risk == "unencrypted-connection"
    assert "verify-full" in finding.mend
    assert "secret" not in repr(finding)
    assert "example.com" not in repr(finding)


def test_what_the_environment_says_counts_where_the_address_is_silent():
    assert transport_findings("postgresql://a@db.example.com/db", "full", {"PGSSLMODE": "verify-full"}) == ()
    assert transport_findings("postgresql:///db", "full", {"PGHOST": "db.example.com"})
    assert transport_findings("postgresql://a@db/db?sslmode=require", "full", {"PGSSLMODE": "verify-full"})
