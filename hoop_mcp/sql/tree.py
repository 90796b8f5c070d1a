r"""PostgreSQL's node dumps, read strictly: text of a ``debug_print_*`` notice to nodes.

The dump is the one thing an agent's text and the server's understanding meet in, so this reader assumes the text is
hostile. The server prints the tree on one line and then wraps it at 78 bytes (``format_node_dump``): a break normally
replaces a space, but may replace an *escaped* space (``a\ b``) or, where there is no space, cut through a token. Read
carelessly, a break turns one identifier into another. The rules, each with a test that shows it bites:

1. names with control characters never get here (the offline reader refuses them), so a newline is always a break;
2. a line longer than 78 bytes, or of 78 bytes with no space after its first byte, is refused: a token was cut;
3. only then is a newline a space again;
4. two common table expressions in one scope whose names are equal once white space is folded are refused;
5. every node must have exactly the fields, in exactly the order, that this major version prints: an unknown node, a
   missing or unknown or repeated key, a bracket where a value is expected, is a refusal, never a default.

Deliberate direction: a false refusal is a message the agent can act on; a tree read wrongly is personal data gone.
Source: src/backend/nodes/{outfuncs,print}.c; one schema a major version in ``data/nodes-NN.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from hoop_mcp.errors import Refused
from hoop_mcp.sql.fields import OLD_NAMES

NodeSchema: TypeAlias = Mapping[str, frozenset[tuple[str, ...]]]
"""Tag -> the field tuples that tag may have. A range table entry has one for each kind."""

Value: TypeAlias = "Node | list[Any] | str | bytes | None"

_LINE = 78
MAX_DUMP = 4 * 2**20
"""Characters of one tree. Within the limits of the offline reader the largest measured has 1.8 million."""

_TOKEN = re.compile(r"[(){}]|(?:\\.|[^ \n(){}\\])+|\\", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LIST_MARKS = frozenset("iobx")
_SPECIAL = frozenset('{}()<"')


class Node(dict[str, Any]):
    """One node: ``tag`` ("QUERY", "VAR") and its fields; field values are raw words, lists, nodes, bytes or None."""

    __slots__ = ("tag",)
    tag: str

    def number(self, field: str) -> int:
        """A field that holds an integer (an OID, an index)."""
        return int(self[field])

    def flag(self, field: str) -> bool:
        """A field that holds a boolean; anything but the two words is a refusal."""
        word = self[field]
        if word == "true":
            return True
        if word == "false":
            return False
        raise _unreadable(f"{self.tag}.{field} is not a boolean")

    def nodes(self, field: str) -> list[Node]:
        """A list field of nodes; an absent list is empty."""
        value = self[field]
        if value is None:
            return []
        if type(value) is list and all(type(item) is Node for item in value):
            return value
        raise _unreadable(f"{self.tag}.{field} is not a list of nodes")

    def node(self, field: str) -> Node | None:
        """A field that holds one node or nothing."""
        value = self[field]
        if value is None or type(value) is Node:
            return value
        raise _unreadable(f"{self.tag}.{field} is not a node")

    def __repr__(self) -> str:
        return f"<{self.tag}>"  # constants may be personal: a node never prints its fields


def unwrap(dump: str) -> str:
    """Undo the server's line wrapping, or refuse where it cut through a token."""
    lines = dump.split("\n") if dump.isascii() else dump.encode().split(b"\n")
    sizes = list(map(len, lines))
    if max(sizes) >= _LINE:
        blank = " " if isinstance(lines[0], str) else b" "
        for line, size in zip(lines, sizes, strict=True):
            if size > _LINE or (size == _LINE and blank not in line[1:]):
                raise _unreadable("a line of the dump was cut through a token", code="HOOP208")
    return dump.replace("\n", " ")


def read(dump: str, schema: NodeSchema) -> Value:
    """Read a dump as it came in the notice's DETAIL.

    Raises:
        Refused: HOOP211 on anything this major version does not print; HOOP207 when nested too deep to walk.
    """
    check_size(dump)
    return read_unwrapped(unwrap(dump), schema)


def check_size(dump: str) -> None:
    """Refuse (HOOP207) a dump that would take long to read: it may be 550 times the statement."""
    if len(dump) > MAX_DUMP:
        raise Refused("HOOP207", "PostgreSQL's analysis of the statement is too large to read.")


def read_unwrapped(text: str, schema: NodeSchema) -> Value:
    """Read a node text that was never wrapped: ``pg_rewrite.ev_action``, ``pg_attrdef.adbin``."""
    words = _words(text)
    try:
        first = next(words, None)
        value = _value(first, words, schema)
    except StopIteration:
        raise _unreadable("the dump ends early") from None
    except RecursionError:
        raise Refused("HOOP207", "The statement nests deeper than this gateway analyses.") from None
    except (ValueError, IndexError):
        raise _unreadable("a number is malformed") from None
    if next(words, None) is not None:
        raise _unreadable("something follows the tree")
    return value


def _words(text: str) -> Iterator[str]:
    # Without a backslash no bracket can stand inside a word (outToken escapes each of them), so C-speed splitting is
    # exact. With one, the slower pattern keeps escaped characters together; so it does where str.split() would take a
    # character of a name for a separator, such as U+00A0 or U+001F: PostgreSQL separates with spaces only.
    if "\\" in text or not text.isascii() or not text.isprintable():
        return iter(_TOKEN.findall(text))
    spaced = text.replace("(", " ( ").replace(")", " ) ").replace("{", " { ").replace("}", " } ")
    return iter(spaced.split())


def _value(word: str | None, words: Iterator[str], schema: NodeSchema) -> Value:
    if word is None:
        raise _unreadable("the dump is empty")
    if word == "{":
        return _node(words, schema)
    if word == "(":
        return _list(words, schema)
    if word in ("}", ")"):
        raise _unreadable("a bracket stands where a value is expected")
    return _word(word)


def _word(word: str) -> str | None:
    if word == "<>":
        return None
    if len(word) > 1 and word[0] == '"' and word[-1] == '"':
        word = word[1:-1]
    return _ESCAPE.sub(r"\1", word) if "\\" in word else word


def _list(words: Iterator[str], schema: NodeSchema) -> list[Any]:
    word = next(words)
    if word in _LIST_MARKS:  # the raw word: a quoted "i" is a name, a bare i marks a list of integers
        numbers: list[Any] = []
        while (word := next(words)) != ")":
            numbers.append(int(word))
        return numbers
    items: list[Any] = []
    while word != ")":
        items.append(_value(word, words, schema))
        word = next(words)
    return items


def _node(words: Iterator[str], schema: NodeSchema) -> Node:
    node = Node()
    tag = next(words)
    shapes = schema.get(tag)
    if shapes is None:
        raise _unreadable(f"the node {_plain(tag)} is not known")
    node.tag = OLD_NAMES.get(tag, tag)
    key = next(words)
    count = 0
    while key != "}":
        if key[0] != ":":
            raise _unreadable(f"a field of {tag} has no name")
        count += 1
        word = next(words)
        # Most values are bare words or nothing: those are taken here, everything else by the general rule.
        value: Value
        if word == "<>":
            value = None
        elif word[0] not in _SPECIAL and "\\" not in word:
            value = word
        else:
            value = _value(word, words, schema)
        following = next(words)
        if following == "[":
            # A datum: its length, then its bytes. Only these fields print one.
            if key != ":constvalue":
                raise _unreadable(f"{tag} prints a datum in an unexpected field")
            octets = bytearray()
            while (following := next(words)) != "]":
                octets.append(int(following) & 0xFF)
            value = bytes(octets)
            following = next(words)
        node[key[1:]] = value
        key = following
    if count != len(node) or tuple(node) not in shapes:
        raise _unreadable(f"the fields of {tag} are not the ones this version prints")
    return node


def _plain(tag: str) -> str:
    return tag if tag.isascii() and tag.replace("_", "").isalnum() and len(tag) <= 40 else "named oddly"


def _unreadable(what: str, code: str = "HOOP211") -> Refused:
    return Refused(code, f"PostgreSQL's analysis of the statement could not be read: {what}.")
