"""A statement that tells too much, made small: clauses dropped, expressions put in the place of what they stand in.

On sqlglot's tree, which need not understand the statement, only write it again: whatever is tried is asked of the line
once more, and kept only where the two sides still differ.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_CLAUSES = (
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "distinct",
    "joins",
    "with_",
    "laterals",
    "expressions",
)
_MOST_TRIES = 1_500


async def shrink(sql: str, differs: Callable[[str], Awaitable[bool]]) -> str:
    """The smallest statement found that still differs."""
    best = sql
    tries = 0
    found = True
    while found and tries < _MOST_TRIES:
        found = False
        for smaller in _smaller(best):
            tries += 1
            if tries > _MOST_TRIES:
                break
            if await differs(smaller):
                best, found = smaller, True
                break
    return best


def _smaller(sql: str) -> Iterator[str]:
    try:
        tree = sqlglot.parse_one(sql, read="postgres")
    except Exception:
        return
    seen, size = {sql}, sum(1 for _ in tree.walk())  # nodes: written out again, a cast is longer than it was
    for make in _steps(tree):
        copy = tree.copy()
        with contextlib.suppress(Exception):  # a step that does not fit this tree is no step
            smaller = make(list(copy.walk()), copy)
            made = smaller.sql(dialect="postgres")
            if sum(1 for _ in smaller.walk()) < size and made not in seen:
                seen.add(made)
                yield made


def _steps(tree: exp.Expression) -> Iterator[Callable[[list[Any], Any], Any]]:
    nodes = list(tree.walk())
    for index, node in enumerate(nodes):
        for child in node.iter_expressions():
            if isinstance(child, exp.Query) and isinstance(
                node, (exp.Subquery, exp.Lateral, exp.SetOperation, exp.CTE)
            ):
                yield _promoted(_place(nodes, child), 0)  # a part of the statement alone
        for key, value in node.args.items():
            if key in _CLAUSES and value and not (key == "expressions" and isinstance(value, list)):
                yield _dropped(index, key)
            if isinstance(value, list) and len(value) > (1 if key == "expressions" else 0):
                for place in range(len(value)):
                    yield _left_out(index, key, place)
        if isinstance(node, exp.Query) or not isinstance(node, exp.Expression):
            continue
        for child in node.iter_expressions():
            if not isinstance(child, (exp.Identifier, exp.DataType, exp.TableAlias)):
                yield _promoted(_place(nodes, child), index)
        if (
            not isinstance(node, (exp.Literal, exp.Identifier, exp.Table, exp.Star, exp.DataType))
            and node.parent is not None
        ):
            yield _constant(index)


def _place(nodes: list[Any], node: Any) -> int:
    return next(number for number, each in enumerate(nodes) if each is node)


def _dropped(index: int, key: str) -> Callable[[list[Any], Any], Any]:
    def make(nodes: list[Any], root: Any) -> Any:
        nodes[index].set(key, None)
        return root

    return make


def _left_out(index: int, key: str, place: int) -> Callable[[list[Any], Any], Any]:
    def make(nodes: list[Any], root: Any) -> Any:
        nodes[index].set(key, [item for n, item in enumerate(nodes[index].args[key]) if n != place])
        return root

    return make


def _promoted(child: int, parent: int) -> Callable[[list[Any], Any], Any]:
    def make(nodes: list[Any], root: Any) -> Any:
        if nodes[parent] is root:
            return nodes[child]
        nodes[parent].replace(nodes[child])
        return root

    return make


def _constant(index: int) -> Callable[[list[Any], Any], Any]:
    def make(nodes: list[Any], root: Any) -> Any:
        nodes[index].replace(exp.Literal.number(1))
        return root

    return make
