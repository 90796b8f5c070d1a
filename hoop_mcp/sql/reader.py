"""The first reader: exactly one statement of an allowed kind, understood offline, before the database sees it.

The only importer of sqlglot. It never decides what a statement means (PostgreSQL does, see :mod:`.tracer`); it refuses
what should never reach the server, tells the verb so that the transaction is READ ONLY before Parse, and is the witness
whose relation names must agree with the tree's. Whatever it cannot read is refused: on 42,168 statements of the
PostgreSQL regression suite its failures were 2 % of what agents may send at all.

Size and depth are judged on tokens, before parsing: the parser and PostgreSQL's analysis both recurse, and the tree
PostgreSQL prints is 230 to 550 times the text and quadratic in joins.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType  # type: ignore[attr-defined]  # re-exported without __all__

from hoop_mcp.errors import Refused
from hoop_mcp.terms import RelationName, Statement, Token, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

# sqlglot logs the text of what it only half understands; statements hold personal values.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL + 1)

MAX_BYTES = 65_536
MAX_TOKENS = 8_000
MAX_DEPTH = 48
MAX_PREFIX_RUN = 16
MAX_RELATIONS = 32
MAX_JOINS = 32
MAX_SELECTS = 48
MAX_NAME_BYTES = 63
_PARAMETER_DIGITS = 3

_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_OPERANDS = frozenset({TokenType.NULL, TokenType.TRUE, TokenType.FALSE, TokenType.STAR, TokenType.COMMA})
_NAMES = frozenset({TokenType.VAR, TokenType.IDENTIFIER})
_READS = (exp.Select, exp.SetOperation, exp.Values, exp.Subquery)
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
_CONTROLS = frozenset(map(chr, (*range(32), 127))) - frozenset("\t\n\r")
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_ESCAPED = frozenset("(){}\\")
_ESCAPED_FIRST = frozenset('<"+-0123456789')
_UNICODE_NAME = re.compile(r'[uU]&\s*"')


def read(sql: str) -> Statement:
    """Read one statement.

    Raises:
        Refused: HOOP201 empty, HOOP202 several, HOOP203 unreadable, HOOP205 a kind no agent may send, HOOP207 too
            large, HOOP208 disguising characters, HOOP209 a name of three parts, HOOP214 a parameter's number, HOOP218 row
            locks.
    """
    _check_text(sql)
    tokens = _tokens(sql)
    _check_disguises(sql, tokens)
    _check_shape(tokens)
    root = _parse(sql)
    verb = _verb(root)
    mentions = sum(1 for _ in root.find_all(exp.Table))  # each, not each name: a table beside itself is two
    if mentions > MAX_RELATIONS:
        raise _too_large(f"it names {mentions} relations, and {MAX_RELATIONS} is the most")
    relations = frozenset(_relations(root))
    return Statement(
        sql=sql,
        verb=verb,
        relations=relations,
        words=frozenset(_fold(token) for token in tokens if token.token_type in _NAMES),
        tokens=tuple(_journal_tokens(tokens)),
        has_literals=any(_kind(token) == "l" for token in tokens),
        parameters=_highest_parameter(tokens),
    )


def _check_text(sql: str) -> None:
    if not sql.strip():
        raise Refused("HOOP201", "The statement is empty.")
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise Refused("HOOP208", "The statement is not valid UTF-8.") from None
    if size > MAX_BYTES:
        raise _too_large(f"it has {size:,} bytes, and {MAX_BYTES:,} is the most")
    for character in sql:
        if character in _CONTROLS:
            raise Refused("HOOP208", f"The statement holds the control character U+{ord(character):04X}.")
    if _UNICODE_NAME.search(sql):
        raise Refused("HOOP208", 'The statement writes a name with U&"…", which can spell any other name.')


def _tokens(sql: str) -> list[Any]:
    try:
        return list(sqlglot.tokenize(sql, read="postgres"))
    except Exception:
        raise _unreadable() from None


def _check_disguises(sql: str, tokens: list[Any]) -> None:
    """Outside literals, refuse what cannot be seen, or looks like a space and is a letter to PostgreSQL."""
    if sql.isascii():
        return
    place = 0
    for token in [*tokens, None]:
        until = len(sql) if token is None else token.start if _kind(token) == "l" else token.end + 1
        for character in sql[place:until]:
            if character >= "\x80" and unicodedata.category(character) in _UNSEEN:
                raise _unseen(character)
        place = until if token is None else token.end + 1


def _check_shape(tokens: list[Any]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise _too_large(f"it has {len(tokens):,} words, and {MAX_TOKENS:,} is the most")
    depth = run = joins = selects = 0
    for token in tokens:
        kind = token.token_type
        # A prefix operator nests without a bracket, and there are more of them than this tokenizer has names for: what
        # counts is how long no value comes.
        ends = kind in _OPENING or kind in _CLOSING or kind in _OPERANDS or _kind(token) in "il"
        run = 0 if ends else run + 1
        if kind in _OPENING:
            depth += 1
        elif kind in _CLOSING:
            depth -= 1
        elif kind is TokenType.JOIN:
            joins += 1
        elif kind is TokenType.SELECT:
            selects += 1
        elif kind is TokenType.IDENTIFIER:
            _check_name(token.text)
        elif kind is TokenType.VAR and len(token.text.encode()) > MAX_NAME_BYTES:
            raise _long_name()
        if depth > MAX_DEPTH or run > MAX_PREFIX_RUN:
            raise _too_large(f"it nests deeper than {MAX_DEPTH} levels")
    if joins > MAX_JOINS:
        raise _too_large(f"it has {joins} joins, and {MAX_JOINS} is the most")
    if selects > MAX_SELECTS:
        raise _too_large(f"it has {selects} sub-selects, and {MAX_SELECTS} is the most")


def _check_name(name: str) -> None:
    if len(name.encode()) > MAX_NAME_BYTES:
        raise _long_name()
    for character in name:
        if character != " " and unicodedata.category(character) in _UNSEEN:
            raise _unseen(character)
    # PostgreSQL writes each bracket of a name as two bytes where it prints its tree, and cuts a word of 78 bytes in two.
    escapes = sum(character in _ESCAPED for character in name) + (name[:1] in _ESCAPED_FIRST)
    if escapes + len(name.encode()) > MAX_NAME_BYTES:
        raise Refused("HOOP208", "A quoted name is long and full of brackets, and PostgreSQL could not print it whole.")


def _parse(sql: str) -> exp.Expr:
    try:
        roots = sqlglot.parse(sql, read="postgres")
    except RecursionError:
        raise _too_large("it nests too deep to read") from None
    except Exception:  # sqlglot raises TypeError and worse on odd input: unread is unread
        raise _unreadable() from None
    statements = [root for root in roots if root is not None and not isinstance(root, exp.Semicolon)]
    if not statements:
        raise Refused("HOOP201", "The statement is empty.")
    if len(statements) > 1:
        raise Refused("HOOP202", f"The text holds {len(statements)} statements.")
    return statements[0]


def _verb(root: exp.Expr) -> Verb:
    if not isinstance(root, (*_READS, *_WRITES)):
        if isinstance(root, exp.Command) and str(root.this).upper() == "EXPLAIN":
            raise Refused(
                "HOOP205", "EXPLAIN is a tool of its own here.", "Send the inner statement with the explain tool."
            )
        raise Refused("HOOP205", f"{_kind_of(root)} is not a statement an agent may send.")
    verb = Verb.READ
    for node in root.walk():
        if isinstance(node, _WRITES):
            verb = Verb.WRITE
        elif isinstance(node, exp.Into):
            raise Refused("HOOP205", "SELECT INTO makes a table.", "Leave INTO out.")
        elif isinstance(node, exp.Lock):
            raise Refused("HOOP218", "The statement locks rows, which changes what others may do.")
        elif isinstance(node, (exp.Command, exp.Create, exp.Drop, exp.Alter, exp.Set, exp.Copy, exp.Grant)):
            raise Refused("HOOP205", f"{_kind_of(node)} is not a statement an agent may send.")
    return verb


def _relations(root: exp.Expr) -> Iterable[RelationName]:
    for table in root.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function in FROM
        if table.args.get("catalog") is not None:
            raise Refused("HOOP209", "A name has three parts.", "Name tables as schema.table.")
        name = _folded(table.this)
        schema = _folded(table.args["db"]) if table.args.get("db") is not None else None
        if schema is None and _is_cte(table, name):
            continue
        yield RelationName(schema, name)


def _is_cte(table: exp.Expr, name: str) -> bool:
    """Whether *name*, where *table* stands, is a common table expression and not a relation."""
    child: exp.Expr = table
    parent = table.parent
    inside: exp.Expr | None = None
    while parent is not None:
        if isinstance(child, exp.CTE):
            inside = child
        held = parent.args.get("with_")
        if isinstance(held, exp.With):
            expressions = held.expressions
            if child is held and inside is not None and not held.recursive:
                # Inside a definition only the earlier ones are visible.
                expressions = expressions[: next(i for i, cte in enumerate(expressions) if cte is inside)]
            if any(_folded(cte.args["alias"].this) == name for cte in expressions):
                return True
        child, parent = parent, parent.parent
    return False


def _folded(identifier: Any) -> str:
    if not isinstance(identifier, exp.Identifier):
        raise _unreadable()
    return str(identifier.this) if identifier.args.get("quoted") else _lower(str(identifier.this))


def _fold(token: Any) -> str:
    return str(token.text) if token.token_type is TokenType.IDENTIFIER else _lower(str(token.text))


def _lower(name: str) -> str:
    # As PostgreSQL folds in UTF-8: ASCII only. The Kelvin sign is no k there, and É stays É.
    if name.isascii():
        return name.lower()
    return "".join(character.lower() if character.isascii() else character for character in name)


def _kind(token: Any) -> str:
    kind = token.token_type
    if kind in _NAMES:
        return "i"
    name = kind.name
    if kind is TokenType.NUMBER or name.endswith("STRING") or name in ("BIT_STRING", "HEX_STRING", "BYTE_STRING"):
        return "l"
    if kind is TokenType.PARAMETER:
        return "p"
    return "k"


def _journal_tokens(tokens: list[Any]) -> Iterable[Token]:
    parameter = False
    for token in tokens:
        kind = _kind(token)
        if kind == "p":
            parameter = str(token.text) == "$"
            if not parameter:
                yield Token("k", str(token.text))
        elif parameter and kind == "l" and str(token.text).isdigit():
            parameter = False
            yield Token("p", f"${token.text}")
        elif kind == "i":
            parameter = False
            yield Token("i", _fold(token))
        elif kind == "l":
            parameter = False
            yield Token("l", "")
        else:
            parameter = False
            yield Token("k", str(token.text).upper())


def _highest_parameter(tokens: list[Any]) -> int:
    highest = 0
    for token, following in pairwise(tokens):
        if token.token_type is TokenType.PARAMETER and token.text == "$" and str(following.text).isdigit():
            if (
                len(str(following.text)) > _PARAMETER_DIGITS
            ):  # such a number is a value, and would be journaled in clear
                raise Refused("HOOP214", "A parameter of the statement has too high a number.")
            highest = max(highest, int(str(following.text)))
    return highest


def _kind_of(node: exp.Expr) -> str:
    if isinstance(node, exp.Command):
        word = str(node.this).upper()
        return word if word.isalpha() else "This"
    return {"Semicolon": "An empty statement"}.get(type(node).__name__, type(node).__name__.upper())


def _unseen(character: str) -> Refused:
    return Refused("HOOP208", f"Outside a literal stands U+{ord(character):04X}, which a reader cannot see.")


def _long_name() -> Refused:
    return Refused("HOOP208", f"A name is longer than {MAX_NAME_BYTES} bytes, and PostgreSQL would cut it.")


def _too_large(why: str) -> Refused:
    return Refused("HOOP207", f"The statement is too large to analyse: {why}.")


def _unreadable() -> Refused:
    return Refused("HOOP203", "The statement cannot be read as PostgreSQL SQL.")
