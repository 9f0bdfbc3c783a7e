"""The API described for programs: OpenAPI 3.1, made from the table of routes and their models."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from flowengine import __version__
from flowengine.web.door import ANYONE, OPEN, SAFE, Entry

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_PROBLEM = {
    "description": "What is wrong, and how to mend it (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "slug", "title", "status", "detail", "mend"],
    "properties": {
        "type": {"type": "string"},
        "slug": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "mend": {"type": "string"},
    },
}


def describe(entries: Sequence[Entry]) -> dict[str, Any]:
    """The description of all JSON routes."""
    shown = [entry for entry in entries if not entry.is_page]
    models = sorted({e.body for e in shown if e.body is not None}, key=lambda m: m.__name__)
    names, schemas = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    references: dict[Any, Any] = {model: found for (model, _), found in names.items()}
    paths: dict[str, dict[str, Any]] = {}
    for entry in shown:
        path = _PARAMETER.sub(r"{\1}", entry.path)
        paths.setdefault(path, {})[entry.method.lower()] = _operation(entry, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flowengine",
            "version": __version__,
            "description": "Flows, drafts and deploys of one box.",
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "flowengine_session"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(entry: Entry, references: dict[Any, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": entry.call.__name__.strip("_"),
        "summary": entry.summary,
        "x-right": entry.right,
        "parameters": [*_path_parameters(entry), *_query_parameters(entry)],
        "responses": {
            str(entry.status): {
                "description": "Done.",
                **({} if entry.status == 204 else {"content": {"application/json": {}}}),
            },
            "default": _PROBLEM,
        },
    }
    if entry.right == OPEN:
        told["security"] = []
    if entry.right not in {OPEN, ANYONE}:
        told["description"] = f'Needs the right "{entry.right}".'
    if entry.body is not None:
        schema = references[entry.body]
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if entry.method == "PUT" and entry.path.startswith("/api/v1/flows/"):
        told["parameters"].append(
            {"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"}}
        )
    if entry.method not in SAFE and entry.right != OPEN:
        told["parameters"].append(
            {"name": "X-CSRF-Token", "in": "header", "schema": {"type": "string"}}
        )
    return told


def _path_parameters(entry: Entry) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(entry.path)
    ]


def _query_parameters(entry: Entry) -> list[dict[str, Any]]:
    if entry.query is None:
        return []
    schema = entry.query.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": inner}
        for name, inner in schema.get("properties", {}).items()
    ]
