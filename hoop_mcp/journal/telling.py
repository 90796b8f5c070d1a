"""What the journal is told of a call.

Ids, names the database already had, counts and digests stand in clear; the exact text, the parameters, who asked and
what they got are sealed.

Nothing here may carry personal data into the clear part. A name the agent made up (an alias, a client's name, a reason)
is the agent's text and goes into a seal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hoop_mcp.errors import Refused
from hoop_mcp.sql.template import fingerprint, template
from hoop_mcp.terms import Decision, Event, EventKind, JsonValue, Mandate, Principal, RunSql, ToolCall

if TYPE_CHECKING:
    from hoop_mcp.terms import Analysis, Request


@dataclass(slots=True)
class Trail:
    """What is known of one call so far. The gate fills it as it goes; every exit tells the journal from it."""

    call: ToolCall
    policy: str
    engine: str
    principal: Principal | None = None
    mandate: Mandate | None = None
    database: str | None = None
    request: Request | None = None
    known: frozenset[str] = field(default=frozenset(), repr=False)
    analysis: Analysis | None = None
    decision: Decision | None = None
    login: str | None = None
    began: bool = False

    @property
    def standing(self) -> Mandate:
        """The role and purpose the call runs under.

        Raises:
            Refused: HOOP102, none was settled.
        """
        if self.mandate is None:
            raise Refused("HOOP102", "The call runs under no role.")
        return self.mandate

    def again(self) -> None:
        """Begin anew within the same call: what was resolved no longer holds."""
        self.analysis = self.decision = self.login = None
        self.began = False

    def intent(self) -> Event:
        """Before the database runs anything."""
        self.began = True
        return self._event(EventKind.INTENT, self._clear(), answer=None)

    def outcome(self, figures: dict[str, JsonValue], answer: bytes) -> Event:
        """Before the agent hears anything; the answer as it will be sent, without its receipt."""
        return self._event(EventKind.OUTCOME, {**self._place(), "result": figures}, answer=answer, request=False)

    def refusal(self, refused: Refused, milliseconds: int) -> Event:
        """A no, whoever said it. After an intent it is that call's outcome."""
        result: dict[str, JsonValue] = {"code": refused.code, "ms": milliseconds}
        if refused.cause is not None:
            result["cause"] = refused.cause
        words = f"{refused.code}: {refused.reason} {refused.instead}".encode()
        if self.began:
            clear = {**self._place(), "decision": "failed", "result": result}
            return self._event(EventKind.OUTCOME, clear, answer=words, request=False)
        clear = {**self._clear(), "result": result}
        if self.decision is None:
            clear["decision"] = "refused"
        return self._event(EventKind.REFUSAL, clear, answer=words)

    def _event(
        self, kind: EventKind, clear: dict[str, JsonValue], *, answer: bytes | None, request: bool = True
    ) -> Event:
        sealed: dict[str, bytes] = {}
        if request:
            sealed["identity"] = _json(self._identity())
            if isinstance(self.call.ask, RunSql):
                sealed["sql"] = _json({"sql": self.call.ask.sql, "params": list(self.call.ask.params)})
            else:
                sealed["sql"] = _json({"ask": _arguments(self.call)})
        if answer is not None:
            sealed["answer"] = answer
        return Event(kind, clear, call=self.call.call_id, session=self.call.credential.session, sealed=sealed)

    def _identity(self) -> dict[str, JsonValue]:
        who, credential = self.principal, self.call.credential
        ask = self.call.ask
        return {
            "principal": who.ident if who else None,
            "behind": who.behind if who else None,
            "os_user": credential.os_user,
            "client": [credential.client.name, credential.client.version] if credential.client else None,
            "source": credential.source,
            "reason": ask.reason if isinstance(ask, RunSql) else None,
        }

    def _place(self) -> dict[str, JsonValue]:
        return {"tool": self.call.ask.tool, "database": self.database}

    def _clear(self) -> dict[str, JsonValue]:
        clear: dict[str, JsonValue] = {
            **self._place(),
            "transport": self.call.credential.transport,
            "policy": self.policy,
            "engine": self.engine,
        }
        if self.principal is not None:
            clear["actor"] = self.principal.actor
        if self.mandate is not None:
            clear |= {"role": self.mandate.role, "purpose": self.mandate.purpose}
        if self.login is not None:
            clear["login"] = self.login
        if self.request is not None:
            text = template(self.request.tokens, self.known)
            clear |= {"statement": text, "fingerprint": fingerprint(text)}
        if self.analysis is not None:
            clear |= self._uses(self.analysis)
        if self.decision is not None:
            clear |= {
                "decision": self.decision.effect.name.lower(),
                "rules": list(self.decision.rules),
            }
            if self.decision.shadow is not None:
                clear["observed"] = {
                    "decision": self.decision.shadow.effect.name.lower(),
                    "rules": list(self.decision.shadow.rules),
                }
        return clear

    def _uses(self, analysis: Analysis) -> dict[str, JsonValue]:
        masks = self.decision.masks if self.decision is not None else ()
        shown: list[JsonValue] = []
        for place, column in enumerate(analysis.columns):
            if column.sources:
                mask = masks[place] if place < len(masks) else None
                shown.append(
                    {
                        "place": place,
                        "from": [str(ref) for ref in sorted(column.sources)],
                        "category": mask.category if mask else None,
                        "mask": mask.operator.name.lower() if mask else None,
                    }
                )
        return {
            "tables": [*sorted(analysis.relations)],
            "behind": [*sorted(analysis.behind)],
            "shown": shown,
            "probes": [str(ref) for ref in sorted(analysis.probes)],
            "lookups": [str(ref) for ref in sorted(analysis.lookups)],
        }


def _arguments(call: ToolCall) -> dict[str, JsonValue]:
    ask = call.ask
    return {name: getattr(ask, name) for name in ask.__slots__ if name != "tool"}


def _json(value: dict[str, JsonValue]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
