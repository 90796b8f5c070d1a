import json

import pytest

from hoop_mcp.cli import main


@pytest.fixture
def run(capfd):
    """``run(*arguments)``: exit code, stdout and stderr of ``hoop-mcp journal …``."""

    def run_command(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["journal", *map(str, arguments)])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run_command


def test_an_intact_journal_is_said_to_be_intact_and_unanchored(run, filled):
    code, out, err = run("verify", "--journal", filled.path)
    assert (code, err) == (0, "")
    assert "chain    intact" in out
    assert "unanchored" in out
    assert filled.verdict().head in out
    assert run("verify", "--no-anchor", "--journal", filled.path)[:2] == (0, out)


def test_a_broken_journal_ends_with_one_and_names_the_first_bad_entry(run, copied):
    copied.tamper("DELETE FROM entry WHERE seq = 20", "DELETE FROM sealed WHERE seq = 20")
    code, out, _ = run("verify", "--journal", copied.path)
    assert code == 1
    assert "BROKEN" in out
    assert "first fault: entry 20: entries 20 to 20 are missing" in out
    assert "intact" not in out


def test_the_verdict_as_json_is_one_document(run, copied):
    code, out, _ = run("verify", "--json", "--journal", copied.path)
    told = json.loads(out)
    assert (code, told["ok"], told["size"], told["first_bad"], told["standing"]) == (0, True, 44, None, "unanchored")
    copied.tamper("DELETE FROM sealed WHERE seq = 2 OR seq = 3")
    code, out, _ = run("verify", "--json", "--journal", copied.path)
    told = json.loads(out)
    assert (code, told["ok"], told["first_bad"]["seq"], told["lost"]) == (1, False, 3, 2)


@pytest.mark.parametrize("arguments", [("verify",), ("tail",), ("show", "0"), ("verify", "--json")])
def test_what_cannot_be_read_ends_with_two_and_a_reason(run, tmp_path, arguments):
    code, out, err = run(*arguments, "--journal", tmp_path / "none.db")
    assert (code, out) == (2, "")
    assert "there is no journal" in err


@pytest.mark.parametrize(
    "arguments",
    [
        *(("sessions",), ("replay", "s"), ("reveal", "1"), ("proof", "1"), ("anchor",), ("export",), ("retain",)),
        *(("erase", "--part", "sql"), ("verify", "--anchor", "head.txt"), ("show", "1", "--reveal")),
    ],
)
def test_a_name_whose_work_has_not_landed_says_so(run, filled, arguments):
    options = ("--journal", filled.path) if arguments[0] in {"verify", "show"} else ()
    code, out, err = run(*arguments, *options)
    assert (code, out) == (2, "")
    assert "not built yet" in err


def test_the_tail_is_a_table_a_person_can_read(run, filled, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = run("tail", "-n", "2", "--journal", filled.path)
    head, intent, outcome = out.splitlines()
    assert code == 0
    assert head.split() == ["seq", "time", "(UTC)", "kind", "tool", "decision", "rules", "rows", "call"]
    assert intent[head.index("kind") :].startswith("intent")
    assert outcome[head.index("rules") :].split() == ["read-the-ticket", "19", "call-19"]
    assert outcome[head.index("decision") :].startswith("allow")


def test_the_tail_as_json_holds_the_bodies(run, filled):
    _, out, _ = run("tail", "-n", "1", "--kind", "outcome", "--json", "--journal", filled.path)
    (entry,) = json.loads(out)["entries"]
    assert entry["body"]["result"] == {"rows": 19}
    assert entry["leaf"] == filled.verdict().head


def test_showing_an_entry_shows_its_clear_body_and_nothing_sealed(run, filled):
    _, out, _ = run("show", "42", "--journal", filled.path)
    assert "SELECT name FROM customers WHERE id = $19" in out
    assert "identity" in out
    assert "13" in out
    assert "ana" not in out
    _, out, _ = run("show", "42", "--json", "--journal", filled.path)
    told = json.loads(out)
    assert {part["part"]: part["bytes"] for part in told["sealed"]} == {"identity": 13, "sql": 9}


def test_an_entry_that_is_not_there_ends_with_two(run, filled):
    code, out, err = run("show", "44", "--journal", filled.path)
    assert (code, out) == (2, "")
    assert "no entry 44" in err


def test_settings_name_the_journal_unless_a_flag_does(run, filled, monkeypatch, tmp_path):
    from types import SimpleNamespace

    from hoop_mcp.wiring import settings

    asked = []

    def load(config):
        asked.append(config)
        return SimpleNamespace(journal=SimpleNamespace(path=str(filled.path), keys=str(filled.keys)))

    monkeypatch.setattr(settings, "load_settings", load)
    assert run("verify", "--config", tmp_path / "hoop.yaml")[0] == 0
    assert asked == [tmp_path / "hoop.yaml"]
