"""The example agent prints what a model would see."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mcp.types import CallToolResult, TextContent

PATH = Path(__file__).parents[2] / "examples" / "agents" / "plain_client.py"
spec = importlib.util.spec_from_file_location("plain_client", PATH)
plain_client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain_client)


def test_rows_are_shown_with_their_masks_and_a_refusal_with_its_advice(capsys):
    answer = {
        "columns": [{"name": "id", "mask": None}, {"name": "email", "mask": "redact"}],
        "rows": [[1, "[EMAIL_ADDRESS]"], [2, None]],
        "notices": ["1 of 2 columns is masked."],
        "receipt": {"seq": 4, "leaf": "ab", "size": 5},
    }
    plain_client.show(CallToolResult(content=[], structured_content=answer))
    plain_client.show(CallToolResult(content=[TextContent(type="text", text="HOOP312: no. Do this.")], is_error=True))
    assert capsys.readouterr().out.splitlines() == [
        "id (as stored) | email (redact)",
        "1 | [EMAIL_ADDRESS]",
        "2 | null",
        "1 of 2 columns is masked.",
        "journal entry 4, leaf ab",
        "HOOP312: no. Do this.",
    ]


def test_the_example_stays_under_sixty_lines():
    assert len(PATH.read_text().splitlines()) < 60
