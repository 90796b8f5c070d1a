"""Compares what ``policy explain --json -`` answered with the labels of the statements.

    hoop-mcp policy explain … --json - < corpus.jsonl | python score.py corpus.jsonl

Exit 1 if any answer is looser than its label, or differs from it without a reason in the data.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import NamedTuple

ORDER = {"allow": 0, "mask": 0, "hold": 1, "deny": 2}


class Verdict(NamedTuple):
    """One statement, judged. ``word`` is exact, stricter or looser; ``told`` whether the data says why it differs."""

    row: dict
    answer: dict
    word: str
    told: bool

    def __str__(self) -> str:
        row, answer = self.row, self.answer
        return (
            f"{self.word} {row['id']}: label {row['decision']} {row['pii_output_columns']}, "
            f"answer {answer['effect']} {answer['masked']} {answer['code'] or ''} {' '.join(answer['because'])}\n"
            f"    {row['sql'][:200]}"
        )


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def compare(decision: str, columns: list[int], answer: dict) -> str:
    """The answer against one label: what a deny would have masked is nobody's business."""
    want, got = ORDER[decision], ORDER[answer["effect"]]
    if got != want:
        return "stricter" if got > want else "looser"
    if answer["effect"] == "deny" or set(answer["masked"]) == set(columns):
        return "exact"
    return "stricter" if set(columns) < set(answer["masked"]) else "looser"


def judge(row: dict, answer: dict) -> Verdict:
    word = compare(row["decision"], row["pii_output_columns"], answer)
    # Writes are analysed by a later version and refused by this one: their labels wait.
    told = word == "exact" or (row["kind"] == "write" and answer["effect"] == "deny")
    if ours := row.get("ours"):
        told = compare(ours["decision"], ours["pii_output_columns"], answer) == "exact" and bool(
            row["why_ours"].strip()
        )
    return Verdict(row, answer, word, told)


def table(verdicts: list[Verdict]) -> str:
    kinds = collections.Counter((verdict.row["kind"], verdict.word) for verdict in verdicts)
    words = ("exact", "stricter", "looser")
    lines = [f"{'kind':<12}" + "".join(f"{word:>10}" for word in words)]
    for kind in [*sorted({kind for kind, _ in kinds}), "all"]:
        counts = [sum(n for (k, w), n in kinds.items() if w == word and kind in (k, "all")) for word in words]
        lines.append(f"{kind:<12}" + "".join(f"{count:>10}" for count in counts))
    return "\n".join(lines)


def main() -> int:
    rows = [row for path in sys.argv[1:] for row in load(Path(path))]
    answers = {answer["id"]: answer for answer in map(json.loads, sys.stdin)}
    verdicts = [judge(row, answers[row["id"]]) for row in rows if row["id"] in answers]
    missing = len(rows) - len(verdicts)
    print(table(verdicts))
    for verdict in verdicts:
        if verdict.word == "looser" or not verdict.told:
            print(verdict)
    if missing:
        print(f"{missing} statements were not answered")
    return 1 if missing or any(v.word == "looser" or not v.told for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
