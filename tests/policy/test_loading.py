"""Files on disk to policies: wiring, the command, the schemas and the page that documents the keys."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from hoop_mcp.cli import main
from hoop_mcp.documents import Document
from hoop_mcp.errors import SettingsError
from hoop_mcp.policy import cases, document
from hoop_mcp.policy.assessment import Assessment
from hoop_mcp.policy.decide import decide
from hoop_mcp.policy.schemas import MODELS, schemas
from hoop_mcp.sql import catalogue as catalogues
from hoop_mcp.wiring.policies import load_governance, load_policies, read_files
from hoop_mcp.wiring.settings import load_settings

ROOT = Path(__file__).parents[2]

POLICY = """\
policy: support
owner: o@example.com
applies_to: {databases: [shop], roles: [agent], purposes: [support]}
rules:
  - id: open
    when: {kind: [read], only_tables: [public.customers]}
    then: allow
    because: Answering needs it.
"""
CATALOGUE = """\
catalogue: shop
purposes: {support: {legal_basis: contract, recipients: [us], retention: 30d, transfers: none}}
categories: {contact: {data_subjects: [customers]}}
columns: {public.customers.email: {category: contact}}
"""
TESTS = """\
tests: support
schema: shop.sql
as: {role: agent, purpose: support, database: shop}
cases:
  - it: works
    sql: SELECT 1
    expect: {effect: allow, by: [open]}
"""
SETTINGS = """\
databases:
  shop: {dsn: "${env:A}", clean_dsn: "${env:B}", catalogue: policies/shop.catalogue.yaml}
policies: policies
identity: {local: {roles: [agent], purposes: [support]}}
journal: {}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("HOOP_MCP_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "support.yaml").write_text(POLICY)
    (policies / "shop.catalogue.yaml").write_text(CATALOGUE)
    (policies / "support.test.yaml").write_text(TESTS)
    (tmp_path / "hoop.yaml").write_text(SETTINGS)
    return tmp_path


def run(*args, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    told = capsys.readouterr()
    return SimpleNamespace(code=ended.value.code, out=told.out, err=told.err)


def test_a_folder_becomes_policies_and_catalogues(folder):
    policies, catalogues_, faults = load_policies(folder / "policies")
    assert not faults
    assert [policy.name for policy in policies.policies] == ["support"]
    assert list(catalogues_) == ["shop"]


def test_settings_name_which_catalogue_describes_which_database(folder):
    (folder / "hoop.yaml").write_text(SETTINGS.replace("shop:", "warehouse:"))
    policy = folder / "policies" / "support.yaml"
    with pytest.raises(SettingsError, match="the settings have no database 'shop'"):
        load_governance(load_settings())
    policy.write_text(policy.read_text().replace("databases: [shop]", "databases: [warehouse]"))
    policies, catalogues_ = load_governance(load_settings())
    assert list(catalogues_) == ["warehouse"]
    assert catalogues_["warehouse"].name == "shop"
    assert policies.digest == load_policies(folder / "policies").policies.digest


def test_the_names_of_files_change_nothing(folder):
    before = load_policies(folder / "policies").policies.digest
    (folder / "policies" / "support.yaml").rename(folder / "policies" / "zzz.yml")
    assert load_policies(folder / "policies").policies.digest == before


def test_all_faults_of_all_files_are_told_at_once(folder):
    (folder / "policies" / "support.yaml").write_text(POLICY.replace("allow", "alow"))
    (folder / "policies" / "shop.catalogue.yaml").write_text("catalogue: shop\ncolums: {}\n")
    (folder / "policies" / "other.yaml").write_text("something: else\n")
    (folder / "policies" / "bytes.yaml").write_bytes(b"\xff")
    (folder / "policies" / "nul.yaml").write_bytes(b"policy: a\0b")
    (folder / "policies" / "empty.yaml").write_bytes(b"")
    with pytest.raises(SettingsError) as raised:
        load_governance(load_settings())
    names = {Path(fault.split(":")[0]).name for fault in raised.value.faults}
    assert names == {"support.yaml", "shop.catalogue.yaml", "other.yaml", "bytes.yaml", "nul.yaml", "empty.yaml"}


def test_a_missing_catalogue_is_a_fault_and_not_an_empty_one(folder):
    (folder / "policies" / "shop.catalogue.yaml").unlink()
    with pytest.raises(SettingsError, match="missing or cannot be read"):
        load_governance(load_settings())


def test_a_folder_without_policies_is_a_fault(folder):
    (folder / "policies" / "support.yaml").unlink()
    (folder / "policies" / "support.test.yaml").unlink()
    assert "nothing would be allowed" in str(load_policies(folder / "policies").faults[0])
    assert "no such folder" in str(load_policies(folder / "nowhere").faults[0])


def test_two_catalogues_of_one_name_are_a_fault(folder):
    (folder / "policies" / "again.catalogue.yaml").write_text(CATALOGUE)
    assert "has been read from another file" in str(read_files([folder / "policies"]).faults[0])


def test_hidden_files_and_settings_are_passed_over(folder):
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.yaml").write_text("nonsense")
    assert not read_files([folder]).faults


def test_settings_are_found_by_flag_then_variable_then_here(folder, tmp_path, monkeypatch):
    assert load_settings().source == str(folder / "hoop.yaml")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(SETTINGS)
    monkeypatch.setenv("HOOP_MCP_CONFIG", str(elsewhere))
    assert load_settings().source == str(elsewhere)
    assert load_settings(folder / "hoop.yaml").source == str(folder / "hoop.yaml")


def test_settings_that_are_missing_say_how_to_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOOP_MCP_CONFIG", raising=False)
    with pytest.raises(SettingsError, match="there is no such file; name another with --config"):
        load_settings()


def test_check_is_fine_without_settings_or_database(folder, capsys):
    ended = run("policy", "check", folder / "policies", capsys=capsys)
    assert (ended.code, ended.out) == (0, "3 passed, 0 failed\n")


def test_check_tells_faults_with_their_places_and_exits_1(folder, capsys):
    (folder / "policies" / "support.yaml").write_text(POLICY.replace("allow", "alow"))
    ended = run("policy", "check", "policies", capsys=capsys)
    assert ended.code == 1
    assert ended.out == (
        "policies/support.yaml:7:11: rules[0].then: 'alow' is not known here; did you mean 'allow'?\n"
        "2 passed, 1 failed\n"
    )


def test_check_as_json(folder, capsys):
    (folder / "policies" / "support.yaml").write_text(POLICY.replace("allow", "alow"))
    ended = run("policy", "check", "policies", "--json", capsys=capsys)
    said = json.loads(ended.out)
    assert (said["passed"], said["failed"], said["faults"][0]["line"]) == (2, 1, 7)


@pytest.mark.parametrize(
    "args", [["check", "nowhere"], ["check", "empty"], ["replay"], ["diff", "a", "b"], ["nonsense"]]
)
def test_what_cannot_be_done_exits_2(folder, capsys, args):
    (folder / "empty").mkdir()
    assert run("policy", *args, capsys=capsys).code == 2


def test_replay_and_diff_say_that_they_are_not_built(folder, capsys):
    assert "not built yet" in run("policy", "replay", capsys=capsys).err


class FakeJudge:
    closed = 0

    def __init__(self, policies, facts):
        self.policies = policies
        self._facts = facts

    async def assess(self, sql, params, as_):
        return Assessment(decide(self.policies, self._facts), self._facts)

    async def aclose(self):
        type(self).closed += 1


@pytest.fixture
def judging(folder, build, monkeypatch):
    """The live judge, replaced: every statement reads customers."""
    opened = []

    async def open_judge(config, *, schema=None, policies=None, search_paths=None):
        opened.append((config, schema, policies))
        return FakeJudge(load_policies(folder / "policies").policies, build.facts())

    fake = SimpleNamespace(open_judge=open_judge)
    monkeypatch.setattr("hoop_mcp.cli.policy._judging", lambda: fake)
    FakeJudge.closed = 0
    return opened


def test_test_runs_what_lies_beside_the_policies(folder, capsys, judging):
    ended = run("policy", "test", "policies", capsys=capsys)
    assert (ended.code, ended.out) == (0, "ok    policies/support.test.yaml:5  works\n1 passed, 0 failed\n")
    assert judging == [(None, Path("policies/shop.sql"), Path("policies"))]
    assert FakeJudge.closed == 1


def test_test_exits_1_when_a_case_fails(folder, capsys, judging):
    (folder / "policies" / "support.test.yaml").write_text(TESTS.replace("effect: allow", "effect: deny"))
    ended = run("policy", "test", "policies", capsys=capsys)
    assert ended.code == 1
    assert ended.out.endswith("0 passed, 1 failed\n")


def test_explain_prints_a_trace_and_exits_0(folder, capsys, judging):
    ended = run("policy", "explain", "--database", "shop", "--as", "agent", "SELECT 1", capsys=capsys)
    assert ended.code == 0
    assert "YES  open" in ended.out
    assert "ALLOW" in ended.out


class Stdin:
    def __init__(self, *lines):
        self.buffer = self
        self._lines = list(lines)

    def readline(self):
        return self._lines.pop(0) if self._lines else b""


def test_explain_reads_lines_and_answers_in_order(folder, capsysbinary, judging, monkeypatch):
    monkeypatch.setattr("sys.stdin", Stdin(b'{"id": 1, "sql": "x"}\n', b"nonsense\n", b'{"id": 2, "sql": "y"}'))
    with pytest.raises(SystemExit) as ended:
        main(["policy", "explain", "--database", "shop", "--as", "agent", "--json", "-"])
    said = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert ended.value.code == 0
    assert [(each["id"], each["effect"], each["code"]) for each in said] == [
        (1, "allow", None),
        (None, "deny", "HOOP105"),
        (2, "allow", None),
    ]
    assert FakeJudge.closed == 1


def test_explain_exits_2_when_nothing_could_be_analysed(folder, capsysbinary, judging, monkeypatch):
    monkeypatch.setattr("sys.stdin", Stdin(b"nonsense\n"))
    with pytest.raises(SystemExit) as ended:
        main(["policy", "explain", "--database", "shop", "--as", "agent", "--json", "-"])
    assert ended.value.code == 2


def test_the_committed_schemas_are_those_of_the_models():
    committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "hoop_mcp/schemas").glob("*.json")}
    assert committed == schemas(), "run: hoop-mcp policy schema --out hoop_mcp/schemas"


def keys_of(model: type[BaseModel]):
    """Every key of a model and of the models inside it."""
    known = [*vars(document).values(), *vars(cases).values(), *vars(catalogues).values()]
    inner = {each.__name__: each for each in known if isinstance(each, type) and issubclass(each, Document)}
    found, todo, seen = set(), [model], set()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        for name, field in here.model_fields.items():
            found.add(field.alias or name)
            todo += [
                other for other_name, other in inner.items() if re.search(rf"\b{other_name}\b", repr(field.annotation))
            ]
    return found


@pytest.mark.parametrize("name", ["policy", "catalogue", "tests"])
def test_every_key_is_documented(name):
    page = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
    keys = keys_of(MODELS[name])
    assert len(keys) > 10 or name != "policy"
    documented = set(re.findall(r"`([a-z0-9_]+)(?:`|:)", page))
    assert keys - documented == set()


def test_the_page_names_no_key_that_is_unknown():
    page = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
    known = set().union(*(keys_of(MODELS[name]) for name in ("policy", "catalogue", "tests")))
    tabled = set(re.findall(r"^\| `([a-z_]+)`", page, re.MULTILINE))
    assert tabled
    assert tabled - known == set()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/policy.md").read_text(), re.DOTALL))
def test_every_example_on_the_page_is_readable(block):
    read = {"policy": document.read_policy, "catalogue": catalogues.read_catalogue, "tests": cases.read_tests}
    _, faults = read[block.split(":", 1)[0]](block, "docs/policy.md")
    assert [str(fault) for fault in faults] == []


def test_the_ready_made_policies_are_fine():
    reading = read_files([ROOT / "policies"])
    assert [str(fault) for fault in reading.faults] == []
    assert reading.policies
