"""The command line as people and programs meet it."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hoop_mcp import __version__, cli
from hoop_mcp.cli.client_config import CLIENT_NAMES
from hoop_mcp.cli.endings import ending
from hoop_mcp.cli.printing import plain, print_table, table_lines, terminal_width
from hoop_mcp.errors import JournalUnavailable, NotBuiltYet, SettingsError
from hoop_mcp.onboarding import clients, demo

SECRET = "postgres://agent:hunter2@db/shop"


def run(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_version_and_help_say_what_there_is(capsys):
    assert run(capsys, "--version") == (0, f"hoop-mcp {__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in (*cli.BUILT, *cli.LATER):
        assert f"  {name} " in out


def test_help_imports_no_parser_driver_or_protocol():
    heavy = "{'mcp', 'sqlglot', 'asyncpg', 'presidio_analyzer', 'spacy', 'cryptography', 'pydantic', 'yaml'}"
    script = (
        "import sys\nfrom hoop_mcp.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", cli.LATER)
def test_a_name_that_comes_later_exists_and_exits_two(capsys, name):
    for args in ([], ["list"], ["list", "--json", "--config", "x"], ["--json"]):
        code, out, err = run(capsys, name, *args)
        assert (code, out) == (2, "")
        assert err.startswith(f"not built yet: {name}")
    assert run(capsys, name, "--help")[0] == 0


def test_an_unknown_command_or_option_exits_two(capsys):
    assert run(capsys, "nothing")[0] == 2
    assert run(capsys, "serve", "--nothing")[0] == 2
    assert run(capsys, "client-config", "emacs")[0] == 2


def test_serve_refuses_what_it_cannot_do_before_it_speaks(capsys, tmp_path):
    code, out, err = run(capsys, "serve", "--http", "127.0.0.1:8000")
    assert (code, out, err) == (2, "", "not built yet: serve --http\n")
    code, out, err = run(capsys, "serve", "--config", str(tmp_path / "none.yaml"))
    assert (code, out) == (2, "")
    assert "none.yaml: there is no such file" in err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (SettingsError(("hoop.yaml:1:1: a", "hoop.yaml:2:1: b")), 2, "hoop.yaml:1:1: a\nhoop.yaml:2:1: b\n"),
        (NotBuiltYet("report"), 2, "not built yet: report\n"),
        (JournalUnavailable("the journal is full"), 2, "the journal is full\n"),
        (KeyboardInterrupt(), 2, "interrupted\n"),
        (SystemExit(1), 1, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("text"), 2, ""),
        (
            BaseExceptionGroup("g", [ExceptionGroup("h", [ValueError(SECRET), SettingsError(("f:1:1: x",))])]),
            2,
            "f:1:1: x\n",
        ),
        (click.ClickException("no"), 2, "Error: no\n"),
    ],
)
def test_every_end_has_its_code_and_its_sentence(capsys, raised, code, said):
    assert ending(raised) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("group", [False, True])
def test_an_unexpected_exception_shows_its_class_and_place_and_never_its_text(capsys, monkeypatch, group):
    monkeypatch.setenv("HOOP_MCP_DEBUG", "1")
    try:
        raise ConnectionError(SECRET)
    except ConnectionError as broken:
        raised = ExceptionGroup(SECRET, [broken]) if group else broken
    assert ending(raised) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "ConnectionError at test_commands.py:" in err
    assert "hunter2" not in err


def test_a_command_says_what_it_found_by_what_it_returns(capsys, monkeypatch):
    @click.command()
    @click.argument("code", type=int)
    def found(code):
        return code

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: found)
    assert run(capsys, "doctor", "1")[0] == 1
    assert run(capsys, "doctor", "0")[0] == 0


def test_tables_show_no_control_characters():
    lines = table_lines(["name", "n"], [["\x1b[31mred\nline", None], ["b", 7]])
    assert lines == ["name           n", " [31mred line  ·", "b              7"]
    assert plain("\u202eabc\x07") == " abc "


def test_every_client_named_on_the_command_line_is_known():
    assert set(CLIENT_NAMES) == set(clients.CLIENTS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("hoop.yaml").write_text("")
    return tmp_path / "home"


@pytest.mark.parametrize("client", CLIENT_NAMES)
def test_an_entry_is_printed_with_absolute_paths_and_coding_agents_are_warned_about(capsys, home, client):
    code, out, err = run(capsys, "client-config", client)
    assert code == 0
    [servers] = json.loads(out).values()
    entry = servers["hoop"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-3:] == ["serve", "--config", str(Path.cwd() / "hoop.yaml")]
    assert ("has a shell" in err) == (client != "claude-desktop")
    assert list(home.iterdir()) == []
    assert run(capsys, "client-config", client, "--stdio")[2] == ""


@pytest.mark.parametrize("client", CLIENT_NAMES)
def test_writing_keeps_what_is_there_and_a_copy_from_before(capsys, home, client):
    path = clients.file_of(clients.CLIENTS[client], home, Path.cwd())
    key = clients.CLIENTS[client].key
    path.parent.mkdir(parents=True, exist_ok=True)
    before = {"zeta": [1, 2.5, None], key: {"other": {"command": "ø"}, "hoop": {"command": "old"}}, "alpha": {}}
    path.write_text(json.dumps(before))
    path.chmod(0o640)
    assert run(capsys, "client-config", client, "--write")[0] == 0
    after = json.loads(path.read_text())
    assert list(after) == list(before)
    assert after[key].pop("hoop")["args"][-3] == "serve"
    before[key].pop("hoop")
    assert after == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert json.loads(path.with_name(path.name + ".bak").read_text())[key]["hoop"] == {"command": "old"}
    run(capsys, "client-config", client, "--write")
    assert path.with_name(path.name + ".bak1").exists()
    assert len(list(path.parent.glob(f"*{path.name}*"))) == 3


def test_writing_makes_a_new_file_for_its_owner_alone(capsys, home):
    assert run(capsys, "client-config", "cursor", "--write")[:2] == (0, "")
    path = home / ".cursor" / "mcp.json"
    assert list(json.loads(path.read_text())) == ["mcpServers"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["mcp.json"]


def test_writing_follows_a_link_instead_of_replacing_it(capsys, home):
    (home / "dotfiles.json").write_text("{}")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").symlink_to(home / "dotfiles.json")
    assert run(capsys, "client-config", "cursor", "--write")[0] == 0
    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert "hoop" in json.loads((home / "dotfiles.json").read_text())["mcpServers"]


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b'{"servers": {} // a comment\n}',
        b'{"servers": []}',
        b"[]",
        b"\xff",
        b'{"a": 1, "a": 2}',
        b'{"servers": {}, "a": 1.10}',
        b'{"servers": {}, "a": 1e999}',
        b'{"servers": {}, "a": NaN}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_cannot_be_merged_without_loss_is_left_as_it_is(capsys, home, text):
    path = Path(".vscode/mcp.json")
    path.parent.mkdir()
    path.write_bytes(text)
    code, _, err = run(capsys, "client-config", "vscode", "--write")
    assert code == 2
    assert "left as it is" in err.replace("left as it\nis", "left as it is")
    assert path.read_bytes() == text
    assert list(path.parent.iterdir()) == [path]


def test_missing_settings_are_told_without_advice_that_is_not_built(capsys, tmp_path):
    for args in (("doctor",), ("policy", "explain", "--database", "shop", "--as", "x", "SELECT 1")):
        code, out, err = run(capsys, *args, "--config", str(tmp_path / "none.yaml"))
        assert (code, out) == (2, ""), args
        assert "there is no such file" in err
        assert "init" not in err


def test_a_file_that_cannot_be_written_is_the_users_to_mend_and_no_fault_of_ours(capsys, tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("a\n1\n")
    code, out, err = run(capsys, "mask", str(source), "--findings", str(tmp_path / "gone" / "f.jsonl"))
    assert (code, out) == (2, "")
    assert f"there is no folder {tmp_path / 'gone'}" in err
    code, _, err = run(capsys, "demo", "--dir", "/proc/x")
    assert code == 2
    assert err.startswith("/proc/x cannot be made")
    assert "fault of hoop-mcp" not in err
    assert ending(PermissionError(13, "Permission denied", "/some/where")) == 2
    assert capsys.readouterr().err == "/some/where: permission denied\n"


@pytest.mark.parametrize("name", ["policy diff", "policy replay", "journal proof", "journal erase"])
def test_a_part_of_a_group_that_comes_later_is_told_by_its_whole_name(capsys, name):
    assert run(capsys, *name.split(), "7") == (2, "", f"not built yet: {name}\n")


def test_the_schemas_for_editors_are_in_the_help_of_policy(capsys):
    assert "  schema " in run(capsys, "policy", "--help")[1]


def test_a_kind_of_entry_that_there_is_not_is_a_usage_error(capsys, tmp_path):
    code, out, err = run(capsys, "journal", "tail", "--journal", str(tmp_path / "j.db"), "--kind", "nonsense")
    assert (code, out) == (2, "")
    assert "policy.load" in err


def test_a_table_is_as_wide_as_columns_says(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    print_table(("name", "n"), [("a-long-name-indeed", 7), ("b", 8)], width=terminal_width())
    assert capsys.readouterr().out.splitlines() == ["name…", "a-long-name…", "b…"]
    monkeypatch.delenv("COLUMNS")
    assert terminal_width() is None


def test_the_demo_is_told_once_as_one_document_and_ends_with_its_input(capsys, tmp_path, monkeypatch):
    async def prepare(folder, say):
        (folder / "made").write_text("")
        return "about"

    async def steps(folder):
        return [demo.Step("masked-read", ok=True, detail="d", lines=("l",))]

    held = []

    @contextlib.contextmanager
    def running(folder):
        held.append(folder)
        yield

    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setattr(demo, "run", steps)
    monkeypatch.setattr("hoop_mcp.wiring.embedded.kept_running", running)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, out, _ = run(capsys, "demo", "--serve", "--json")
        assert code == 0
        document = json.loads(out)
        assert document["steps"][0]["ok"]
        assert document["client"]["mcpServers"]["hoop"]["args"][0] == "serve"
        assert list(tmp_path.iterdir()) == []
        assert len(held) == 1
        (tmp_path / "a demo").mkdir()
        code, out, _ = run(capsys, "demo", "--dir", "a demo")
    pasted = [shlex.split(line) for line in out.splitlines() if line.startswith("  /")]
    assert len(pasted) >= 4
    for command in pasted:
        assert Path(command[0]).is_file()
        assert "--config" in command
        assert "a demo/hoop.yaml" in command
