"""The strict reader of PostgreSQL's node dumps. Each rule has a dump that breaks it, and a reader without the rule that
takes the dump: so that no rule is there in vain.
"""

from __future__ import annotations

import inspect
import random
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoop_mcp.errors import Refused
from hoop_mcp.sql import tree
from hoop_mcp.sql.tree import Node, read, read_unwrapped

SCHEMA = {
    "X": frozenset({("a", "b")}),
    "L": frozenset({("l",)}),
    "CONST": frozenset({("consttype", "constvalue")}),
    "ALIAS": frozenset({("aliasname", "colnames")}),
}


def without(*changes):
    """The reader with some of its source replaced."""
    source = inspect.getsource(tree)
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    module = types.ModuleType("loose_tree")
    exec(compile(source, "loose_tree", "exec"), module.__dict__)
    return module


NO_SHAPES = (" or tuple(node) not in shapes", "")
LONG = "y" * 78

BROKEN = {
    "a line of 79 bytes": (f"{{L :l ({'y ' * 36}\n{'y ' * 39}y)}}", "HOOP208", [("size > _LINE or ", "")]),
    "a line of 79 bytes in 40 characters": (
        f"{{L :l (\n{'é' * 39} é)}}",
        "HOOP208",
        [(' if dump.isascii() else dump.encode().split(b"\\n")', "")],
    ),
    "78 bytes without a blank": (
        f"{{L :l (1\n{LONG}\nzz)}}",
        "HOOP208",
        [(" or (size == _LINE and blank not in line[1:])", "")],
    ),
    "78 bytes whose one blank is the first": (
        f"{{L :l (1\n {LONG[1:]}\nzz)}}",
        "HOOP208",
        [("not in line[1:]", "not in line")],
    ),
    "a closing bracket where a value is expected": (
        "{X :a ) :b 2}",
        "HOOP211",
        [('raise _unreadable("a bracket stands where a value is expected")', "return None")],
    ),
    "a missing key": ("{X :a 1}", "HOOP211", [NO_SHAPES]),
    "an unknown key": ("{X :a 1 :b 2 :c 3}", "HOOP211", [NO_SHAPES]),
    "keys in another order": ("{X :b 1 :a 2}", "HOOP211", [NO_SHAPES]),
    "a repeated key": ("{X :a 1 :b 2 :b 3}", "HOOP211", [("count != len(node) or ", "")]),
    "a key without its colon": (
        "{X :a 1 b 2}",
        "HOOP211",
        [('if key[0] != ":":', "if False:"), NO_SHAPES],
    ),
    "an unknown node": ("{Y :a 1 :b 2}", "HOOP211", [("schema.get(tag)", 'schema.get(tag, schema["X"])')]),
    "a datum in another field": ("{X :a 1 [ 1 2 ] :b 2}", "HOOP211", [('if key != ":constvalue":', "if False:")]),
    "text behind the tree": ("{X :a 1 :b 2} 3", "HOOP211", [("if next(words, None) is not None:", "if False:")]),
    "a backslash behind the tree": ("{X :a 1 :b 2}\\", "HOOP211", [(r"+|\\", "+")]),
    "an early end": (
        "{X :a 1 :b",
        "HOOP211",
        [('raise _unreadable("the dump ends early") from None', "return None")],
    ),
    "an early end in a list": (
        "{L :l (1 2",
        "HOOP211",
        [('raise _unreadable("the dump ends early") from None', "return None")],
    ),
    "an early end in a datum": (
        "{CONST :consttype 1 :constvalue 2 [ 1 2",
        "HOOP211",
        [('raise _unreadable("the dump ends early") from None', "return None")],
    ),
    "nothing": ("", "HOOP211", [('raise _unreadable("the dump is empty")', "return None")]),
    "a word among numbers": (
        "{L :l (i 1 x)}",
        "HOOP211",
        [('raise _unreadable("a number is malformed") from None', "return None")],
    ),
    "a blank that is none to PostgreSQL": (
        "{X :a u\u00a0:b\u00a01}",
        "HOOP211",
        [(" or not text.isascii() or not text.isprintable()", "")],
    ),
    "a control that is no blank to PostgreSQL": (
        "{X :a u\x1f:b\x1f1}",
        "HOOP211",
        [(" or not text.isascii() or not text.isprintable()", "")],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_dump_that_postgresql_would_not_print_so_is_refused(what):
    dump, code, changes = BROKEN[what]
    with pytest.raises(Refused) as refused:
        read(dump, SCHEMA)
    assert refused.value.code == code
    loose = without(*changes)
    loose.read(dump, SCHEMA)  # without the rule it is read, and as something else than it is


def test_a_dump_too_large_to_read_is_refused_unread(monkeypatch):
    dump = "{L :l (" + "(1)\n" * 500 + ")}"
    assert len(read(dump, SCHEMA)["l"]) == 500
    monkeypatch.setattr(tree, "MAX_DUMP", len(dump) - 1)
    with pytest.raises(Refused, match="HOOP207"):
        read(dump, SCHEMA)


def test_nesting_beyond_the_stack_is_refused_and_not_a_crash():
    with pytest.raises(Refused, match="HOOP207"):
        read("(\n" * 100_000, SCHEMA)
    with pytest.raises(RecursionError):
        without(("except RecursionError:", "except ZeroDivisionError:")).read("(\n" * 100_000, SCHEMA)


def test_a_refusal_says_nothing_of_the_dump():
    for dump in ("{zebra,x :a 1}", "{X :zebra 1 :b 2}", "{X :a zebra}", "{L :l (i zebra)}", "{X :a 1 zebra 2}"):
        with pytest.raises(Refused) as refused:
            read(dump, SCHEMA)
        assert "zebra" not in str(refused.value)


@pytest.mark.parametrize(
    ("dump", "value"),
    [
        ("<>", None),
        ("\\<>", "<>"),
        ('""', ""),
        ("(1 2)", ["1", "2"]),
        ("(i 1 -2)", [1, -2]),
        ("(o 16384)", [16384]),
        ("(b)", []),
        ('("i" "o")', ["i", "o"]),
        ('("i")', ["i"]),
        (
            '("a\\ b" "\\"c" "\\<>" ":relid" "\\(" "\\)" "\\{" "\\\\")',
            ["a b", '"c', "<>", ":relid", "(", ")", "{", "\\"],
        ),
        ('("")', [""]),
        ("\\(", "("),
        ("a\\\nb", "a b"),  # the server broke the line at an escaped blank
        ('\\"x"', '"x"'),
        ("\\7x", "7x"),
        ("é\u00a0ü", "é\u00a0ü"),
    ],
)
def test_words_and_lists_are_read_as_outfuncs_writes_them(dump, value):
    assert read(dump, SCHEMA) == value


def test_a_name_may_spell_anything_without_being_taken_for_it():
    node = read("{X :a :b :b \\{X\\ :a\\ 1\\}}", SCHEMA)
    assert dict(node) == {"a": ":b", "b": "{X :a 1}"}


def test_a_datum_is_bytes_and_a_node_never_prints_itself():
    node = read("{CONST :consttype 25 :constvalue 8 [ 32 0 0 0 97 -61 ]}", SCHEMA)
    assert node["constvalue"] == bytes([32, 0, 0, 0, 97, 195])
    assert "97" not in repr(node)
    assert "97" not in repr([node])


def test_accessors_refuse_what_is_not_of_their_kind():
    node = read("{X :a maybe :b (1 2)}", SCHEMA)
    for ask in (lambda: node.flag("a"), lambda: node.nodes("b"), lambda: node.node("a"), lambda: node.nodes("a")):
        with pytest.raises(Refused, match="HOOP211"):
            ask()
    with pytest.raises(ValueError):
        node.number("a")


# -- the wrapping, both ways: what PostgreSQL prints is read back as it was, or refused


def out_token(name):
    """outToken() of outfuncs.c."""
    if not name:
        return '""'
    first = (
        name[0] in '<"'
        or (name[0].isdigit() and name[0].isascii())
        or ((name[0] in "+-" and name[1:2].isdigit()) or name[:2] in ("+.", "-."))
    )
    return ("\\" if first else "") + "".join("\\" + c if c in " \n\t(){}\\" else c for c in name)


def wrap(dump):
    """format_node_dump() of print.c, on bytes; a cut inside a character is not text any more, and None here."""
    octets, lines, at = dump.encode(), [], 0
    while True:
        line = octets[at : at + 78]
        at += len(line)
        if at >= len(octets):
            lines.append(line)
            break
        if octets[at : at + 1] == b" ":
            at += 1
        else:
            blank = line.rfind(b" ")
            if blank > 0:
                at -= len(line) - blank - 1
                line = line[:blank]
        lines.append(line)
    try:
        return b"\n".join(lines).decode() + "\n"
    except UnicodeDecodeError:
        return None


NAMES = st.text(alphabet=' (){}\\<>":i[]-+.1aé\u00a0\u3000', min_size=1, max_size=63)


def alias(names):
    return (
        f"{{ALIAS :aliasname {out_token(names[0])} :colnames ("
        + " ".join('"' + (out_token(name) if name else "") + '"' for name in names[1:])
        + ")}"
    )


@given(st.lists(NAMES, min_size=2, max_size=8))
@settings(max_examples=500, deadline=None)
def test_what_is_printed_wrapped_and_read_is_the_same_or_refused(names):
    dump = wrap(alias(names))
    if dump is None:
        return
    if any(len(line.encode()) >= 78 and " " not in line[1:] for line in dump.split("\n")):
        with pytest.raises(Refused, match="HOOP208"):
            read(dump, SCHEMA)
        return
    node = read(dump, SCHEMA)
    assert isinstance(node, Node)
    assert [node["aliasname"], *node["colnames"]] == names
    assert read_unwrapped(alias(names), SCHEMA) == node


def test_without_the_rule_of_78_bytes_some_names_are_read_as_others():
    # A name of more backslashes than a line has room for; the offline reader does not let an agent write one.
    loose = without((" or (size == _LINE and blank not in line[1:])", ""))
    names = ["t", "a", "\\" * 39]
    dump = wrap(alias(names))
    with pytest.raises(Refused, match="HOOP208"):
        read(dump, SCHEMA)
    node = loose.read(dump, SCHEMA)
    assert node["colnames"] != names[1:]


# -- live: names an agent can write, on every server


HOSTILE = [
    ":relid",
    ":resname",
    "i",
    "o",
    "b",
    "{",
    "}",
    "(",
    ")",
    "<>",
    '"',
    '""',
    "\\",
    "\\\\",
    "a b",
    "a  b",
    " ",
    "[",
    "]",
    "[ 1 ]",
    "{QUERY",
    ":resjunk true}",
    "(i 1)",
    "-1",
    "+5",
    "1x",
    "<",
    "{VAR :varno 1",
    "a\\ b",
    "false",
    "} :x",
    "é é",
]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def test_no_name_makes_a_personal_column_look_clean(lab):
    dice = random.Random(7)
    masked = 0
    for _ in range(160):
        count = dice.randint(2, 9)
        columns = [dice.choice(["id", "email", "segment", "name"]) for _ in range(count)]
        pads = ["p" * dice.randint(1, 40) for _ in range(count)]
        names = [
            quoted(dice.choice([dice.choice(HOSTILE), pad, pad[:20] + " " + dice.choice(HOSTILE)])) for pad in pads
        ]
        cte, table = quoted(dice.choice(HOSTILE)), quoted(dice.choice(HOSTILE))
        inner = ", ".join(f"c{n}" for n in range(count))
        sql = (
            f"WITH {cte} ({inner}) AS (SELECT {', '.join(columns)} FROM people)"
            f" SELECT {', '.join(f'{table}.c{n} AS {name}' for n, name in enumerate(names))} FROM {cte} AS {table}"
        )
        if (code := lab.refusal(sql)) is not None:
            assert code in ("HOOP208", "HOOP203"), sql
            continue
        analysis = lab.trace(sql)
        personal = [bool(column.sources) for column in analysis.columns]
        assert personal == [column in ("email", "name") for column in columns], sql
        masked += any(personal)
    assert masked > 60


@pytest.mark.parametrize(
    ("one", "other"),
    [("a b", "a\nb"), ("a b", "a\tb"), ("a b", "a\u00a0b"), ("a b", "a  b"), ("a b", " a b"), ("a b", "a\u3000b")],
)
def test_two_names_that_fold_to_one_never_stand_side_by_side(lab, one, other):
    sql = f'WITH "{one}" AS (SELECT segment AS x FROM people), "{other}" AS (SELECT email AS x FROM people) SELECT x FROM "{{}}"'
    assert lab.refusal(sql.format(one)) in ("HOOP208", "HOOP215")
    assert lab.refusal(sql.format(other)) in ("HOOP208", "HOOP215")


def test_names_at_every_offset_of_the_wrap_keep_their_columns(lab):
    for length in range(1, 60):
        pad = "x" * length
        made = f'SELECT email AS "{pad}", id AS "y z", segment AS "( )" FROM people'
        sql = f'WITH "a b" AS ({made}) SELECT "( )", "{pad}", "y z" FROM "a b"'
        analysis = lab.trace(sql)
        assert [bool(column.sources) for column in analysis.columns] == [False, True, False], length


def test_a_column_of_the_database_with_a_name_the_dump_cuts_is_refused(govern):
    long = "b" * 20 + "(" * 40
    governed = govern(
        f'CREATE TABLE t (id int, "{long}" text)',
        "catalogue: lab\ncolumns:\n  public.t.id: none\n",
        search_path=("public",),
    )
    # Agents cannot write the name, but * and whole rows bring it in.
    assert governed.refusal("SELECT * FROM t") == "HOOP208"
