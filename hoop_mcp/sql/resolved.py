"""A statement PostgreSQL has analysed and not run: both trees, the facts they need, and the trace made of them once."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused
from hoop_mcp.sql.analyse import Trees, analyse

if TYPE_CHECKING:
    from hoop_mcp.sql.facts import CatalogFacts
    from hoop_mcp.terms import Analysis, Decision, Statement


class Login(StrEnum):
    """The two logins: *clean* cannot read personal columns at all, *full* may read what some policy opens."""

    CLEAN = "clean"
    FULL = "full"


@dataclass(slots=True)
class Resolved:
    """One Parse on one login. ``columns`` are (name, ``pg_type.typname``); ``parameters`` the types of ``$1``, ``$2``.

    ``decisions`` are policy's, by who asked: the policies of a running server do not change.
    ``known`` are the names the database already had: what the journal's clear template may keep.
    """

    statement: Statement
    login: Login
    trees: Trees | None = field(repr=False)
    facts: CatalogFacts = field(repr=False)
    columns: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]
    known: frozenset[str] = field(repr=False)
    decisions: dict[object, Decision] = field(default_factory=dict, repr=False)
    _analysis: Analysis | None = None
    _refused: Refused | None = field(default=None, repr=False)

    def trace(self) -> Analysis:
        """The trace, made on first asking; a kept statement keeps it, and lets go of the trees, which weigh far more.

        Raises:
            Refused: see :func:`hoop_mcp.sql.analyse.analyse`.
        """
        if self._analysis is None and self.trees is not None:
            trees, self.trees = self.trees, None
            try:
                self._analysis = analyse(self.statement, trees, self.facts, self.columns)
            except Refused as refused:
                self._refused = refused.with_traceback(None)
        if self._analysis is None:
            raise self._refused or Refused(  # a trace that is not back in time
                "HOOP207", "The statement is too large to analyse: tracing it takes too long."
            )
        return self._analysis
