"""Rules of the tracer, each taken out in one way that a hurried change might: the property must fail without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hoop_mcp.sql import expressions
from hoop_mcp.sql.expressions import NOTHING, ExpressionTracer
from hoop_mcp.sql.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest


def _unsteered(name: str, owner: type = ExpressionTracer) -> Callable[[pytest.MonkeyPatch], None]:
    """The method goes on as before, but nothing that it finds steers."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = getattr(owner, name)

        def without(self: Any, *arguments: Any, **named: Any) -> Any:
            before = set(self.decisive)
            result = real(self, *arguments, **named)
            self.decisive &= before
            return result

        patch.setattr(owner, name, without)

    return plant


def _replaced(owner: Any, name: str, other: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, other)


def _cleared(what: Callable[..., Any]) -> Callable[..., Any]:
    """Read as before, so that the login is the one that may; and clean, whatever was read."""

    def without(self: Any, item: Any, *arguments: Any) -> Any:
        self.flow(what(item), arguments[-1])
        return NOTHING

    return without


def _upper_bounds_only(item: Any) -> list[Any]:
    return [bound for bound in item["refupperindexpr"] or [] if bound is not None]


class Hole(NamedTuple):
    """How a rule is taken out, and the kind of place where that matters."""

    plant: Callable[[pytest.MonkeyPatch], None]
    aim: str


HOLES: Mapping[str, Hole] = {
    "count-distinct": Hole(_replaced(ExpressionTracer, "_count", _cleared(lambda item: item["args"])), "count"),
    "null-test": Hole(_replaced(ExpressionTracer, "_null_test", _cleared(lambda item: item["arg"])), "null-test"),
    "coalesce": Hole(
        _replaced(ExpressionTracer, "_coalesce", lambda self, item, scope: self.flow(item["args"], scope)), "coalesce"
    ),
    "slice-bounds": Hole(_replaced(expressions, "_bounds", _upper_bounds_only), "slice"),
    "order-and-distinct": Hole(_replaced(ExpressionTracer, "order", lambda *_: None), "key"),
    "casts": Hole(_unsteered("_cast"), "cast"),
    "arguments": Hole(_unsteered("_arguments"), "argument"),
    "where": Hole(_unsteered("_conjuncts", Tracer), "where"),
    "joins": Hole(_unsteered("_jointree", Tracer), "join"),
    "set-operations": Hole(_unsteered("_set_operation", Tracer), "set"),
    "sub-selects": Hole(_unsteered("_sublink"), "sub"),
    "row-makers": Hole(_unsteered("_call"), "rows"),
    "limit-by-sub-select": Hole(_unsteered("_trace", Tracer), "amount"),
}
"""By the rule that is missing."""
