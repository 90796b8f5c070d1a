"""The frozen nouns that stages hand each other. Standard library only, no I/O.

In the order a call meets them: :mod:`.call` (who asks for what), :mod:`.statement` (what the SQL means),
:mod:`.decision` (what policy says), :mod:`.outcome` (what the agent gets), :mod:`.event` (what the journal is told).
"""

from hoop_mcp.terms.call import (
    Ask,
    Client,
    Credential,
    DescribeTable,
    JsonValue,
    ListDatabases,
    Malformed,
    Mandate,
    Principal,
    RunSql,
    SearchSchema,
    ToolCall,
    WhoAmI,
)
from hoop_mcp.terms.decision import Budget, ColumnMask, Decision, Effect, Limits, MaskOption, Operator
from hoop_mcp.terms.event import Event, EventKind, Receipt
from hoop_mcp.terms.outcome import Answer, Outcome, Refusal
from hoop_mcp.terms.statement import (
    Analysis,
    ColumnRef,
    Explain,
    Form,
    Groups,
    OutputColumn,
    RelationName,
    Request,
    Show,
    Statement,
    Token,
    Verb,
)

__all__ = [
    "Analysis",
    "Answer",
    "Ask",
    "Budget",
    "Client",
    "ColumnMask",
    "ColumnRef",
    "Credential",
    "Decision",
    "DescribeTable",
    "Effect",
    "Event",
    "EventKind",
    "Explain",
    "Form",
    "Groups",
    "JsonValue",
    "Limits",
    "ListDatabases",
    "Malformed",
    "Mandate",
    "MaskOption",
    "Operator",
    "Outcome",
    "OutputColumn",
    "Principal",
    "Receipt",
    "Refusal",
    "RelationName",
    "Request",
    "RunSql",
    "SearchSchema",
    "Show",
    "Statement",
    "Token",
    "ToolCall",
    "Verb",
    "WhoAmI",
]
