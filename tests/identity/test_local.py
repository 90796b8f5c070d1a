"""Who a local process is, and what it may act as."""

from __future__ import annotations

import pytest

from hoop_mcp.errors import Refused
from hoop_mcp.identity.local import identify, mandate
from hoop_mcp.terms import Client, Credential, Mandate, Principal

STDIO = Credential(transport="stdio", session="s1", os_user="deploy", client=Client("pry", "1"))


def holder(roles=("reader",), purposes=("support",)):
    return Principal("local:deploy", "agent", tuple(roles), tuple(purposes), "s1")


def test_the_account_is_the_principal_and_always_an_agent():
    found = identify(STDIO, ("writer", "reader", "reader"), ("support",))
    assert found == Principal("local:deploy", "agent", ("reader", "writer"), ("support",), "s1", client=STDIO.client)


@pytest.mark.parametrize(
    ("credential", "roles", "purposes"),
    [
        (Credential(transport="http", session="s1", os_user="deploy"), ("reader",), ("support",)),
        (Credential(transport="stdio", session="s1"), ("reader",), ("support",)),
        (Credential(transport="stdio", session="s1", os_user=""), ("reader",), ("support",)),
        (STDIO, (), ()),
    ],
)
def test_a_transport_that_proves_nobody_has_no_principal(credential, roles, purposes):
    with pytest.raises(Refused) as refused:
        identify(credential, roles, purposes)
    assert refused.value.code == "HOOP101"


def test_the_name_of_the_client_changes_neither_principal_nor_roles():
    other = Credential(transport="stdio", session="s1", os_user="deploy", client=Client("administrator", "1"))
    ours, theirs = (identify(one, ("reader",), ("support",)) for one in (STDIO, other))
    assert (ours.ident, ours.roles, ours.purposes) == (theirs.ident, theirs.roles, theirs.purposes)


def test_the_only_role_and_purpose_need_not_be_named():
    assert mandate(holder(), None, None) == Mandate("reader", "support")


def test_one_of_several_is_taken_when_it_is_named():
    held = holder(("reader", "writer"), ("billing", "support"))
    assert mandate(held, "writer", "billing") == Mandate("writer", "billing")


@pytest.mark.parametrize(
    ("held", "role", "purpose", "code", "listed"),
    [
        (holder(("a", "b")), None, None, "HOOP102", "a, b"),
        (holder(("a", "b")), "ingrid", None, "HOOP102", "a, b"),
        (holder(("a",)), "ingrid", None, "HOOP102", "a"),
        (holder(()), None, None, "HOOP102", "a role in hoop.yaml"),
        (holder(()), "ingrid", None, "HOOP102", "a role in hoop.yaml"),
        (holder(("a",), ("x", "y")), None, None, "HOOP103", "x, y"),
        (holder(("a",), ("x",)), None, "ingrid", "HOOP103", "x"),
        (holder(("a",), ()), None, "ingrid", "HOOP103", "a purpose in hoop.yaml"),
        (holder(("a",)), "A", None, "HOOP102", "a"),
        (holder(("a",)), "", None, "HOOP102", "a"),
    ],
)
def test_anything_else_is_refused_with_what_is_held_and_without_what_was_asked(held, role, purpose, code, listed):
    with pytest.raises(Refused) as refused:
        mandate(held, role, purpose)
    assert refused.value.code == code
    assert listed in refused.value.instead
    assert "ingrid" not in f"{refused.value} {refused.value.instead}"
