"""Runs ``*.test.yaml``: every case is assessed by the judge wiring hands in, and compared key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoop_mcp.policy.assessment import Asking, Assessment, Judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hoop_mcp.policy.cases import CaseDocument, CaseFile, ExpectDocument

__all__ = ["Asking", "Assessment", "Judge", "Result", "run_tests", "summary"]


@dataclass(frozen=True, slots=True)
class Result:
    """One case: ``differences`` is empty where it passed."""

    place: str
    it: str
    differences: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything expected was so."""
        return not self.differences

    def __str__(self) -> str:
        if self.passed:
            return f"ok    {self.place}  {self.it}"
        return "\n".join([f"FAIL  {self.place}  {self.it}", *(f"        {each}" for each in self.differences)])


async def run_tests(tests: CaseFile, judge: Judge) -> tuple[Result, ...]:
    """Assess every case of a file, in order.

    Raises:
        DatabaseUnavailable: the judge can analyse nothing.
    """
    document = tests.document
    asking = Asking(
        role=document.as_.role,
        purpose=document.as_.purpose,
        database=document.as_.database,
        reason=document.as_.reason,
    )
    results = []
    for index, case in enumerate(document.cases):
        assessment = await judge.assess(case.sql, case.params, asking)
        line = tests.locator.at(("cases", index)).line
        results.append(Result(f"{tests.locator.file}:{line}", case.it, _differences(case, assessment)))
    return tuple(results)


def summary(results: Sequence[Result]) -> str:
    """``14 passed, 0 failed``."""
    passed = sum(result.passed for result in results)
    return f"{passed} passed, {len(results) - passed} failed"


def _differences(case: CaseDocument, assessment: Assessment) -> tuple[str, ...]:
    found = tuple(_compare(case.expect, assessment))
    if not found:
        return ()
    decision = assessment.decision
    said = decision.because[0] if decision.because else "no reason given"
    return (*found, f"it was decided: {decision.effect.name.lower()} {decision.code or ''}".rstrip() + f": {said}")


def _compare(expect: ExpectDocument, assessment: Assessment) -> Iterator[str]:
    decision = assessment.decision
    if expect.effect is not None and expect.effect != decision.effect.name.lower():
        yield _differs("effect", expect.effect, decision.effect.name.lower())
    if expect.by is not None and frozenset(expect.by) != frozenset(decision.rules):
        yield _differs("by", _list(expect.by), _list(decision.rules))
    if expect.code is not None and expect.code != decision.code:
        yield _differs("code", expect.code, decision.code or "none")
    if expect.reviewers is not None and frozenset(expect.reviewers) != frozenset(decision.reviewers):
        yield _differs("reviewers", _list(expect.reviewers), _list(decision.reviewers))
    if expect.max_rows is not None and expect.max_rows != decision.limits.max_rows:
        yield _differs("max_rows", str(expect.max_rows), str(decision.limits.max_rows or "no limit"))
    for name, operator in (expect.mask or {}).items():
        given = _operators(assessment, name)
        if not given:
            yield _differs(f"mask of {name}", operator, "no such column in the answer")
        # A column that holds nothing personal is shown as it is: "keep" says so too, "none" says why.
        elif not given <= ({operator, "none"} if operator == "keep" else {operator}):
            yield _differs(f"mask of {name}", operator, _list(tuple(given)))


def _operators(assessment: Assessment, name: str) -> frozenset[str]:
    """The operators of every output column of a name; empty where there is none, or none was decided."""
    pairs = zip(assessment.columns, assessment.decision.masks, strict=False)
    return frozenset("none" if mask is None else mask.operator.name.lower() for column, mask in pairs if column == name)


def _differs(what: str, expected: str, given: str) -> str:
    return f"{what}: expected {expected}, got {given}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "no rule"
