"""JSON Schemas (2020-12) of the files people write, for editors to complete; generated, committed, tested equal."""

import json
from typing import Final

from pydantic import BaseModel

from hoop_mcp.policy.cases import TestsDocument
from hoop_mcp.policy.document import PolicyDocument
from hoop_mcp.settings import SettingsDocument
from hoop_mcp.sql.catalogue import CatalogueDocument

MODELS: Final[dict[str, type[BaseModel]]] = {
    "settings": SettingsDocument,
    "policy": PolicyDocument,
    "catalogue": CatalogueDocument,
    "tests": TestsDocument,
}


def schemas() -> dict[str, str]:
    """File name to content, for ``hoop_mcp/schemas/``."""
    return {f"{name}.json": _text(name, model) for name, model in MODELS.items()}


def _text(name: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema(mode="validation")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"hoop-mcp {name}"}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
