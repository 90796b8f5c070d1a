"""The documents against the program: codes, commands, settings and links.

``python tests/test_docs.py`` writes the table of docs/errors.md anew.
"""

import re
from pathlib import Path

import pytest

from hoop_mcp.cli import BUILT, LATER
from hoop_mcp.errors import CODES
from hoop_mcp.settings import (
    RISKS,
    DatabaseDocument,
    IdentityDocument,
    JournalDocument,
    LocalDocument,
    SettingsDocument,
)

ROOT = Path(__file__).parents[1]
ERRORS = ROOT / "docs" / "errors.md"
OPERATIONS = ROOT / "docs" / "operations.md"
GROUPS = {
    "1": "The call",
    "2": "The SQL",
    "3": "Policy",
    "4": "Approval",
    "5": "The database",
    "6": "The journal",
    "7": "Masking",
}
MODELS = (SettingsDocument, DatabaseDocument, IdentityDocument, LocalDocument, JournalDocument)
MARKED = re.compile(r"(?<=<!-- codes -->\n).*?(?=<!-- /codes -->)", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)


def pages():
    """Every document that is published with the code."""
    return sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def table_of(codes):
    """The part of docs/errors.md between its marks, as the codes say it."""
    lines = []
    group = None
    for code, (meaning, instead) in sorted(codes.items()):
        if code[4] != group:
            group = code[4]
            lines += ["", f"## {group}xx: {GROUPS[group]}", "", "| code | meaning | what to do |", "|---|---|---|"]
        lines.append(f"| {code} | {cell(meaning)} | {cell(instead)} |")
    return "\n".join([*lines, "", ""])


def cell(text):
    return text.replace("|", "\\|")


def undocumented(commands, text):
    """Commands that no document says as ``hoop-mcp NAME``."""
    return [name for name in commands if not re.search(rf"hoop-mcp {re.escape(name)}(?![\w-])", text)]


def anchors_of(text):
    """What GitHub calls the headings of a page."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
        found.add(kept.strip().replace(" ", "-"))
    return found


def dead_links(page, text):
    """Links of a page to files that are not there, or to headings their file lacks."""
    dead = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name
        there = text if not name else file.read_text("utf-8") if file.is_file() else ""
        if (name and not file.exists()) or (anchor and anchor not in anchors_of(there)):
            dead.append(target)
    return dead


def missing_words(words, text):
    """Words that stand nowhere between backticks."""
    quoted = set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))
    return [word for word in words if word not in quoted]


def settings_keys():
    return sorted({name for model in MODELS for name in model.model_fields})


def test_the_page_of_errors_says_what_every_code_says():
    found = MARKED.search(ERRORS.read_text("utf-8"))
    assert found is not None
    assert found[0] == table_of(CODES), "run: python tests/test_docs.py"


@pytest.mark.parametrize("change", ["missing", "another meaning", "another advice"])
def test_a_code_that_is_missing_or_differs_is_noticed(change):
    codes = dict(CODES)
    if change == "missing":
        del codes["HOOP312"]
    else:
        place = {"another meaning": "meaning", "another advice": "instead"}[change]
        codes["HOOP312"] = codes["HOOP312"]._replace(**{place: "Something else."})
    assert table_of(codes) != table_of(CODES)


def test_every_code_belongs_to_a_named_group():
    assert {code[4] for code in CODES} <= GROUPS.keys()
    assert all(re.fullmatch(r"HOOP[1-7]\d\d", code) for code in CODES)


def test_every_command_is_in_the_readme_or_the_docs():
    text = "\n".join(page.read_text("utf-8") for page in pages() if page.name != "CHANGELOG.md")
    assert undocumented([*BUILT, *LATER], text) == []


def test_a_command_no_page_names_is_noticed():
    assert undocumented(["serve", "served"], "start `hoop-mcp serve`") == ["served"]
    assert undocumented(["mask"], "see `hoop-mcp mask-all`") == ["mask"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    assert dead_links(page, page.read_text("utf-8")) == []


def test_a_dead_link_is_noticed():
    text = (
        "# Here\n[a](README.md) [b](nowhere.md) [c](#here) [d](#there) [e](README.md#nowhere) [f](https://x.example/)"
    )
    assert dead_links(ROOT / "PAGE.md", text) == ["nowhere.md", "#there", "README.md#nowhere"]


def test_every_key_of_the_settings_and_every_risk_is_on_the_page_of_operations():
    assert missing_words([*settings_keys(), *RISKS], OPERATIONS.read_text("utf-8")) == []


def test_a_key_the_page_does_not_say_is_noticed():
    assert missing_words(["dsn", "keys"], "the `dsn`, and keys\n```\n`keys`\n```") == ["keys"]


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


if __name__ == "__main__":
    ERRORS.write_text(MARKED.sub(lambda _: table_of(CODES), ERRORS.read_text("utf-8")), encoding="utf-8")
