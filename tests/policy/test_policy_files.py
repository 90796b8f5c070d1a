"""Policy, catalogue, test and settings files: what each fault says and where it points."""

import pytest

from hoop_mcp.policy.cases import read_tests, unknown_rules
from hoop_mcp.policy.coherence import faults_together
from hoop_mcp.policy.document import read_policy
from hoop_mcp.policy.rules import PolicySet
from hoop_mcp.settings import LimitSettings, Provider, read_settings
from hoop_mcp.sql.catalogue import read_catalogue
from hoop_mcp.terms import Budget, ColumnRef, Effect, Limits, Operator, Verb

ALLOW = """
id: open
when: {kind: [read], only_tables: [public.customers]}
then: allow
because: Answering needs it.
"""


def faults(text):
    return [str(fault) for fault in read_policy(text, "p.yaml")[1]]


FULL = """\
policy: support
owner: dpo@example.com
mode: observe
applies_to: {databases: [shop], roles: [support-agent], purposes: [customer-support]}
rules:
  - id: everything
    when:
      kind: [read, write]
      only_tables: [public.customers, app."Customers"]
      only_schemas: [public]
      any_tables: [public.customers]
      shows_any: [contact]
      shows_only: [contact, unclassified]
      probes_any: [contact]
      probes_only: [contact]
      touches_any: [contact]
      lookups: [contact]
      hours: {from: "22:00", to: "06:00", tz: Europe/Berlin, days: [mon, fri]}
      actors: [agent, human, ci]
      clients: [claude-code]
    then: hold
    mask: {identity: keep, contact: {operator: partial, last: 2}, location: {operator: generalise, keep: 1}}
    limits: {max_rows: 100, max_bytes: 200kB, min_group: 5, timeout: 5s}
    budget: {rows: 1000, lookups: 50, failures: 5, per: day, then: refuse}
    require: {reason: true, ticket: 'SUP-\\d+'}
    approval: {from: [support-lead]}
    because: Everything that is built, in one rule.
"""


def test_every_key_that_is_built_arrives_as_what_it_means():
    file, found = read_policy(FULL, "support.yaml")
    assert not found
    [rule] = file.policy.rules
    assert rule.then is Effect.HOLD
    assert rule.when.kind == {Verb.READ, Verb.WRITE}
    assert rule.when.only_tables == {"public.customers", "app.Customers"}
    assert (rule.when.hours.opens, rule.when.hours.closes, rule.when.hours.days) == (1320, 360, {0, 4})
    assert rule.limits == Limits(max_rows=100, max_bytes=200_000, min_group=5, timeout_ms=5_000)
    assert rule.budget == Budget("everything", 86_400, rows=1_000, lookups=50, failures=5)
    assert {mask.category: (mask.operator, mask.options) for mask in rule.masks} == {
        "identity": (Operator.KEEP, ()),
        "contact": (Operator.PARTIAL, (("last", 2),)),
        "location": (Operator.GENERALISE, (("keep", 1),)),
    }
    assert rule.reviewers == {"support-lead"}
    assert rule.require.ticket == r"SUP-\d+"
    assert rule.place == "support.yaml:6"
    assert file.policy.mode == "observe"


RULE_FAULTS = {
    "an allow without a bound": (
        "id: r\nwhen: {kind: [read]}\nthen: allow\nbecause: Because of it.",
        "6:11: rules[0].when: rule 'r' allows without a bound: give only_tables, only_schemas or no_tables",
    ),
    "clients in an allow": (
        "id: r\nwhen: {only_tables: [a.x], clients: [c]}\nthen: allow\nbecause: Because of it.",
        "rules[0].when.clients: a client's name is its own word",
    ),
    "rows_over": (
        "id: r\nwhen: {only_tables: [a.x], rows_over: 10}\nthen: allow\nbecause: Because of it.",
        "rules[0].when.rows_over: not enforced yet",
    ),
    "bounded": (
        "id: r\nwhen: {only_tables: [a.x], bounded: true}\nthen: allow\nbecause: Because of it.",
        "rules[0].when.bounded: not enforced yet",
    ),
    "a function by another spelling": (
        "id: r\nwhen: {functions_any: [a.f(int4)]}\nthen: deny\nbecause: Because of it.",
        "rules[0].when.functions_any[0]: 'a.f(int4)': PostgreSQL writes the type int4 as integer",
    ),
    "a function without its schema": (
        "id: r\nwhen: {functions_any: [f(bigint)]}\nthen: deny\nbecause: Because of it.",
        "rules[0].when.functions_any[0]: 'f(bigint)' is not a function: write schema.name(type,type)",
    ),
    "a function without its arguments": (
        "id: r\nwhen: {functions_any: [a.f]}\nthen: deny\nbecause: Because of it.",
        "rules[0].when.functions_any[0]: 'a.f' is not a function: write schema.name(type,type)",
    ),
    "a type without its schema": (
        "id: r\nwhen: {functions_any: [a.f(mood)]}\nthen: deny\nbecause: Because of it.",
        "'mood' is no built-in type; a type of your own needs its schema",
    ),
    "a type with a length": (
        "id: r\nwhen: {functions_any: ['a.f(numeric(10,2))']}\nthen: deny\nbecause: Because of it.",
        "a function's types have no length",
    ),
    "a function of PostgreSQL's": (
        "id: r\nwhen: {functions_any: [pg_catalog.lower(text)]}\nthen: deny\nbecause: Because of it.",
        "PostgreSQL's own functions are judged by this product",
    ),
    "a minimum of one": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nlimits: {min_group: 1}\nbecause: Because of it.",
        "rules[0].limits.min_group: every group has one person at least: give 2 or more",
    ),
    "a budget of people": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nbudget: {people: 5}\nbecause: Because of it.",
        "rules[0].budget.people: not enforced yet",
    ),
    "a budget that holds": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nbudget: {rows: 5, then: hold}\nbecause: Because of it.",
        "rules[0].budget.then: 'hold' is not enforced yet: write refuse",
    ),
    "a budget of nothing": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nbudget: {per: day}\nbecause: Because of it.",
        "rules[0].budget: say what is counted: rows, lookups or failures",
    ),
    "a budget of a deny": (
        "id: r\nwhen: {}\nthen: deny\nbudget: {rows: 5}\nbecause: Because of it.",
        "rules[0].budget: has no meaning in a rule that denies",
    ),
    "a budget by the week": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nbudget: {rows: 5, per: week}\nbecause: Because of it.",
        "rules[0].budget.per: 'week' is not known here; known: day, hour",
    ),
    "quorum": (
        "id: r\nwhen: {no_tables: true}\nthen: hold\napproval: {from: [a], quorum: 1}\nbecause: Because of it.",
        "rules[0].approval.quorum: not enforced yet",
    ),
    "a because of one word": (
        "id: r\nwhen: {}\nthen: deny\nbecause: No.",
        "rules[0].because: needs at least 10 characters",
    ),
    "no because": ("id: r\nwhen: {}\nthen: deny", "rules[0].because: this key is missing"),
    "an unknown effect": (
        "id: r\nwhen: {}\nthen: alow\nbecause: Because of it.",
        "rules[0].then: 'alow' is not known here; did you mean 'allow'?",
    ),
    "an unknown operator": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nmask: {contact: partail}\nbecause: Because of it.",
        "8:21: rules[0].mask.contact: 'partail' is not known here; did you mean 'partial'?",
    ),
    "an option of another operator": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nmask: {a: {operator: redact, last: 2}}\nbecause: Because of it.",
        "rules[0].mask.a.last: redact has no such option",
    ),
    "an option out of bounds": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nmask: {a: {operator: partial, last: 9}}\nbecause: Because of it.",
        "rules[0].mask.a.last: must be from 1 to 4",
    ),
    "an empty list": (
        "id: r\nwhen: {only_tables: []}\nthen: allow\nbecause: Because of it.",
        "rules[0].when.only_tables: needs at least 1 entry",
    ),
    "a condition without a value": (
        "id: r\nwhen: {only_schemas: [a], only_tables: }\nthen: allow\nbecause: Because of it.",
        "rules[0].when.only_tables: a value is missing",
    ),
    "a table without its schema": (
        "id: r\nwhen: {only_tables: [customers]}\nthen: allow\nbecause: Because of it.",
        "'customers' is not a table: write schema.table",
    ),
    "a capital that PostgreSQL would fold": (
        "id: r\nwhen: {only_tables: [app.Customers]}\nthen: allow\nbecause: Because of it.",
        "'app.Customers' is not a table",
    ),
    "a wildcard": (
        "id: r\nwhen: {only_tables: ['public.*']}\nthen: allow\nbecause: Because of it.",
        "'public.*' is not a table",
    ),
    "no_tables beside tables": (
        "id: r\nwhen: {no_tables: true, only_tables: [a.x]}\nthen: allow\nbecause: Because of it.",
        "never true together",
    ),
    "no_tables that is false": (
        "id: r\nwhen: {no_tables: false}\nthen: deny\nbecause: Because of it.",
        "only true has a meaning here",
    ),
    "none as a category": (
        "id: r\nwhen: {touches_any: [none]}\nthen: deny\nbecause: Because of it.",
        "'none' is no category",
    ),
    "a hold nobody may release": (
        "id: r\nwhen: {}\nthen: hold\nbecause: Because of it.",
        "approval: this key is missing",
    ),
    "an approval of an allow": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\napproval: {from: [a]}\nbecause: Because of it.",
        "only a hold is approved by somebody",
    ),
    "a mask in a deny": (
        "id: r\nwhen: {}\nthen: deny\nmask: {a: keep}\nbecause: Because of it.",
        "rules[0].mask: has no meaning in a rule that denies",
    ),
    "a time zone nobody knows": (
        'id: r\nwhen: {hours: {from: "1:00", to: "06:00", tz: Mars/Base}}\nthen: deny\nbecause: Because of it.',
        "a time zone by its IANA name",
    ),
    "a time zone that is a path": (
        'id: r\nwhen: {hours: {from: "01:00", to: "06:00", tz: ../../etc/passwd}}\nthen: deny\nbecause: Because of it.',
        "a time zone by its IANA name",
    ),
    "a time of day nobody knows": (
        'id: r\nwhen: {hours: {from: "25:00", to: "06:00", tz: UTC}}\nthen: deny\nbecause: Because of it.',
        "a time of day is expected here",
    ),
    "an empty window": (
        'id: r\nwhen: {hours: {from: "06:00", to: "06:00", tz: UTC}}\nthen: deny\nbecause: Because of it.',
        "the window is empty",
    ),
    "a ticket that any reason has": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nrequire: {ticket: '\\d*'}\nbecause: Because of it.",
        "found in an empty reason",
    ),
    "a ticket that runs for ever": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nrequire: {ticket: '(a+)+b'}\nbecause: Because of it.",
        "keep the pattern simple",
    ),
    "a ticket that is no pattern": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nrequire: {ticket: '('}\nbecause: Because of it.",
        "this is not a regular expression",
    ),
    "a size without a unit": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nlimits: {max_bytes: 200}\nbecause: Because of it.",
        "a size is expected here",
    ),
    "a limit of nothing": (
        "id: r\nwhen: {no_tables: true}\nthen: allow\nlimits: {max_rows: 0}\nbecause: Because of it.",
        "a whole number from 1",
    ),
}


@pytest.mark.parametrize(("rule", "said"), RULE_FAULTS.values(), ids=RULE_FAULTS)
def test_a_rule_that_cannot_be_believed_is_a_fault(policy_text, rule, said):
    found = faults(policy_text(rule))
    assert any(said in fault for fault in found), found


def test_the_rule_they_are_all_made_from_is_fine(policy_text):
    assert faults(policy_text(ALLOW)) == []


def test_purposes_may_be_left_out_by_a_policy_of_deny_rules_only(policy_text):
    scope = "{databases: [shop], roles: [agent]}"
    deny = "id: no\nwhen: {}\nthen: deny\nbecause: Because of it."
    assert faults(policy_text(deny, scope=scope)) == []
    [fault] = faults(policy_text(deny, ALLOW, scope=scope))
    assert "only a policy of deny rules may leave it out" in fault


def test_a_rule_id_given_twice_in_a_file_is_a_fault(policy_text):
    [fault] = faults(policy_text(ALLOW, ALLOW))
    assert fault == "p.yaml:9:9: rules[1].id: a rule 'open' stands above already"


def test_many_faults_are_told_in_one_go(policy_text):
    text = policy_text("id: X\nwhn: {}\nthen: alow\nbecause: short", head="mode: watch\n")
    assert len(faults(text)) >= 6


CATALOGUE = """\
catalogue: shop
purposes: {support: {legal_basis: contract, recipients: [us], retention: 30d, transfers: none}}
categories: {contact: {data_subjects: [customers]}, health: {data_subjects: [customers], special: true}}
columns:
  public.customers.id: {person: customers}
  public.customers.email: {category: contact, entity: EMAIL_ADDRESS, lookup: true}
  public.customers.since: none
  app."Odd.Name"."x""y": none
tables: {audit.api_keys: restricted}
"""


def test_a_catalogue_says_what_each_column_holds():
    catalogue, found = read_catalogue(CATALOGUE, "c.yaml")
    assert not found
    email = catalogue.classify(ColumnRef("public", "customers", "email"))
    assert email == ("contact", "EMAIL_ADDRESS", True, None)
    assert catalogue.classify(ColumnRef("public", "customers", "new")).category == "unclassified"
    person = catalogue.classify(ColumnRef("public", "customers", "id"))
    assert (person.category, person.person, person.personal) == ("none", "customers", False)
    assert catalogue.names(ColumnRef("app", "Odd.Name", 'x"y'))
    assert catalogue.restricted("audit.api_keys")
    assert not catalogue.restricted("audit.other")


CATALOGUE_FAULTS = {
    "an unknown category": ("category: contact", "category: contcat", "did you mean 'contact'?"),
    "an entity alone": ("{person: customers}", "{entity: PERSON}", "an entity needs a category"),
    "a lookup alone": ("{person: customers}", "{lookup: true}", "a lookup needs a category"),
    "nothing said": ("{person: customers}", "{}", "say what the column holds"),
    "another word than none": ("since: none", "since: public", "or the word none"),
    "another word than restricted": (": restricted", ": closed", "'closed' is not known here"),
    "a capital without quotes": ("audit.api_keys", "audit.API_keys", "'audit.API_keys' is not a table"),
    "a word of the language": ("{contact:", "{unclassified: {data_subjects: [x]}, contact:", "a word of the language"),
    "a function by another spelling": (
        "tables:",
        f"functions: {{a.f(int8): {{vouched_by: x, sha256: {'0' * 64}, returns: [none]}}}}\ntables:",
        "PostgreSQL writes the type int8 as bigint",
    ),
    "a hash that is none": (
        "tables:",
        "functions: {a.f(bigint): {vouched_by: x, sha256: 12ab, returns: [none]}}\ntables:",
        "functions.a.f(bigint).sha256: a SHA-256 is expected here",
    ),
    "a result of an unknown category": (
        "tables:",
        f"functions: {{a.f(bigint): {{vouched_by: x, sha256: {'0' * 64}, returns: [contcat]}}}}\ntables:",
        "the category 'contcat' is not declared; did you mean 'contact'?",
    ),
    "a result both personal and not": (
        "tables:",
        f"functions: {{a.f(bigint): {{vouched_by: x, sha256: {'0' * 64}, returns: [contact, none]}}}}\ntables:",
        "a result is not personal, or it holds categories: not both",
    ),
    "a result that nobody describes": (
        "tables:",
        f"functions: {{a.f(bigint): {{vouched_by: x, sha256: {'0' * 64}, returns: []}}}}\ntables:",
        "functions.a.f(bigint).returns",
    ),
    "a version that is none": ("tables:", "extensions: {pg_trgm: ''}\ntables:", "extensions.pg_trgm"),
    "recognizers": ("tables:", "recognizers: []\ntables:", "recognizers: not enforced yet"),
    "session": ("tables:", "session: {a: b}\ntables:", "session: not enforced yet"),
}


@pytest.mark.parametrize(("was", "is_", "said"), CATALOGUE_FAULTS.values(), ids=CATALOGUE_FAULTS)
def test_a_catalogue_that_cannot_be_believed_is_a_fault(was, is_, said):
    assert was in CATALOGUE
    catalogue, found = read_catalogue(CATALOGUE.replace(was, is_), "c.yaml")
    assert catalogue is None
    assert any(said in str(fault) for fault in found), found


def test_the_digests_name_what_is_meant_not_how_it_is_written(policy_text):
    def policy_digest(text):
        return PolicySet.of([read_policy(text, "p.yaml")[0].policy]).digest

    text = policy_text(ALLOW)
    assert policy_digest(text) == policy_digest(
        "# a remark\n" + text.replace("[public.customers]", "[ 'public.customers', ]")
    )
    assert policy_digest(text) != policy_digest(text.replace("public.customers", "public.orders"))
    lines = CATALOGUE.replace("  public.customers.since: none\n", "").replace(
        "columns:\n", "columns:\n  public.customers.since: none\n"
    )
    assert read_catalogue(CATALOGUE, "a")[0].digest == read_catalogue(lines, "b")[0].digest
    assert read_catalogue(CATALOGUE, "a")[0].digest != read_catalogue(CATALOGUE.replace("30d", "31d"), "a")[0].digest


def together(*texts, catalogue=CATALOGUE):
    files = [read_policy(text, f"{index}.yaml")[0] for index, text in enumerate(texts)]
    return [str(fault) for fault in faults_together(files, {"shop": read_catalogue(catalogue, "c.yaml")[0]})]


def test_names_are_given_once_in_all_files(policy_text):
    found = together(policy_text(ALLOW), policy_text(ALLOW))
    assert found == [
        "1.yaml:1:9: policy: a policy 'p' stands in 0.yaml already",
        "1.yaml:5:9: rules[0].id: a rule 'open' stands in 0.yaml already; the journal names rules by id alone",
    ]


def test_categories_purposes_and_tables_must_be_the_catalogues(policy_text):
    rule = """
id: r
when: {only_tables: [audit.api_keys, public.customers], probes_any: [contcat, unclassified], lookups: [contact]}
then: allow
mask: {helth: keep, health: redact}
because: Because of it.
"""
    found = together(policy_text(rule, scope="{databases: [shop], roles: [agent], purposes: [suport]}"))
    assert [fault.split(": ", 2)[2] for fault in found] == [
        "no catalogue declares the purpose 'suport'; did you mean 'support'?",
        "audit.api_keys is restricted in the catalogue; no rule opens it",
        "no catalogue declares the category 'contcat'; did you mean 'contact'?",
        "no catalogue declares the category 'helth'; did you mean 'health'?",
    ]


def test_a_policy_for_a_database_without_catalogue_is_checked_alone(policy_text):
    assert together(policy_text(ALLOW, scope="{databases: [other], roles: [agent], purposes: [x]}")) == []


TESTS = """\
tests: support
schema: shop.sql
as: {role: agent, purpose: support, database: shop}
cases:
  - it: works
    sql: SELECT 1
    expect: {effect: allow, by: [open], mask: {name: keep}, max_rows: 5}
"""
TEST_FAULTS = {
    "an unknown key": ("max_rows", "maxrows", "did you mean 'max_rows'?"),
    "an unknown effect": ("effect: allow", "effect: alow", "did you mean 'allow'?"),
    "nothing expected": ("{effect: allow, by: [open], mask: {name: keep}, max_rows: 5}", "{}", "could never fail"),
    "neither schema nor database": ("schema: shop.sql\n", "", "give either schema"),
    "both": ("schema: shop.sql", "schema: shop.sql\ndatabase: shop", "give either schema"),
    "no role": ("role: agent, ", "", "as.role: this key is missing"),
}


@pytest.mark.parametrize(("was", "is_", "said"), TEST_FAULTS.values(), ids=TEST_FAULTS)
def test_a_test_file_that_tests_nothing_is_a_fault(was, is_, said):
    assert read_tests(TESTS, "t.yaml")[1] == ()
    assert any(said in str(fault) for fault in read_tests(TESTS.replace(was, is_), "t.yaml")[1])


def test_a_test_that_names_a_rule_nobody_has_is_a_fault():
    tests, _ = read_tests(TESTS, "t.yaml")
    assert unknown_rules(tests, frozenset({"open"})) == ()
    [fault] = unknown_rules(tests, frozenset({"opem"}))
    assert str(fault) == "t.yaml:7:34: cases[0].expect.by[0]: no policy has a rule 'open'; did you mean 'opem'?"


def test_params_of_a_case_are_json_where_they_can_be():
    tests, _ = read_tests(
        TESTS.replace("sql: SELECT 1", "sql: SELECT 1\n    params: [7, '\"7\"', text, 'null', '[1]']"), "t"
    )
    assert tests.document.cases[0].params == (7, "7", "text", None, [1])


SETTINGS = """\
databases:
  shop: {dsn: "${env:SHOP_DSN}", clean_dsn: "${file:secrets/clean}", catalogue: policies/shop.catalogue.yaml}
policies: policies/
identity: {local: {roles: [b-role, a-role], purposes: [support]}}
journal: {path: journal.db, keys: keys/}
"""


def settings_faults(text):
    return [str(fault) for fault in read_settings(text, "hoop.yaml", "/srv/shop")[1]]


def test_limits_not_given_keep_their_defaults():
    settings, found = read_settings(
        SETTINGS.replace("policies:", "limits: {failures: 9}\npolicies:"), "hoop.yaml", "/srv"
    )
    assert not found
    assert settings.limits == LimitSettings(failures=9)
    assert read_settings(SETTINGS, "hoop.yaml", "/srv")[0].limits == LimitSettings(500, 200, 50, 4, 16)


def test_settings_are_one_object_with_absolute_paths():
    settings, found = read_settings(SETTINGS, "hoop.yaml", "/srv/shop")
    assert not found
    shop = settings.database("shop")
    assert (shop.dsn.provider, shop.dsn.name) == (Provider.ENV, "SHOP_DSN")
    assert (shop.clean_dsn.provider, shop.clean_dsn.name) == (Provider.FILE, "/srv/shop/secrets/clean")
    assert shop.search_path == ("public",)
    assert shop.catalogue == "/srv/shop/policies/shop.catalogue.yaml"
    assert settings.local.roles == ("a-role", "b-role")
    assert (settings.journal.path, settings.journal.keys) == ("/srv/shop/journal.db", "/srv/shop/keys")
    assert settings.source == "/srv/shop/hoop.yaml"
    assert settings.database("other") is None


def test_an_embedded_server_needs_one_address():
    text = SETTINGS.replace('"${env:SHOP_DSN}", clean_dsn: "${file:secrets/clean}"', "embedded:pg")
    shop = read_settings(text, "hoop.yaml", "/srv/shop")[0].database("shop")
    assert (str(shop.dsn), shop.clean_dsn) == ("embedded:/srv/shop/pg", None)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://agent:s3cret@db/shop",
        "postgresql:///shop?host=/run",  # without a password, refused all the same
        "host=db password=s3cret",
        "s3cret",
        "${env:SHOP_DSN}s3cret",
        "${vault:s3cret}",
        "${env:s3cret with blanks}",
        "{s3cret: s3cret}",
        "[s3cret]",
    ],
)
def test_an_address_in_the_settings_is_a_fault_that_repeats_none_of_it(address):
    quoted = address if address.startswith(("{", "[")) else f"'{address}'"
    [fault] = settings_faults(SETTINGS.replace('"${env:SHOP_DSN}"', quoted))
    assert fault.startswith("hoop.yaml:2:15: databases.shop.dsn: ")
    assert "s3cret" not in fault


SETTINGS_FAULTS = {
    "no clean login": (', clean_dsn: "${file:secrets/clean}"', "", "the clean login is the second wall"),
    "one login for both": ("${file:secrets/clean}", "${env:SHOP_DSN}", "two logins are needed"),
    "a vault": ("${env:SHOP_DSN}", "${vault:a/b}", "references to vault are not built yet"),
    "aws": ("${env:SHOP_DSN}", "${aws:a/b}", "references to aws are not built yet"),
    "a home folder": ("policies: policies/", "policies: ~/policies", "write the path in full"),
    "oidc": ("{local:", "{oidc: {issuer: x}, local:", "identity.oidc: not built yet"),
    "tokens": ("{local:", "{tokens: x, local:", "identity.tokens: not built yet"),
    "anchors": ("{path:", "{anchors: [x], path:", "journal.anchors: not built yet"),
    "retention": ("{path:", "{retention: 30d, path:", "journal.retention: not built yet"),
    "approvals": ("policies:", "approvals: {}\npolicies:", "approvals: not built yet"),
    "an unknown limit": ("policies:", "limits: {runing: 3}\npolicies:", "did you mean 'running'?"),
    "no lookups": ("policies:", "limits: {lookups: 0}\npolicies:", "limits.lookups: a whole number from 1"),
    "more at once than there is room": ("policies:", "limits: {running: 7}\npolicies:", "must be at most 6"),
    "a queue nobody waits in": ("policies:", "limits: {waiting: 5000}\npolicies:", "must be at most 1000"),
    "an unknown risk": ("policies:", "accepted_risks: [superusr]\npolicies:", "did you mean 'superuser'?"),
    "an unknown key": ("policies:", "polices: x\npolicies:", "did you mean 'policies'?"),
    "no identity": ("identity: {local: {roles: [b-role, a-role], purposes: [support]}}\n", "", "identity: this key"),
}


@pytest.mark.parametrize(("was", "is_", "said"), SETTINGS_FAULTS.values(), ids=SETTINGS_FAULTS)
def test_settings_that_cannot_be_believed_are_a_fault(was, is_, said):
    assert was in SETTINGS
    found = settings_faults(SETTINGS.replace(was, is_))
    assert any(said in fault for fault in found), found
