"""Findings as SARIF 2.1.0 (OASIS), which code reviews and editors show beside the lines."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from flowengine import __version__
from flowengine.errors import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """The log of one run; each slug is a rule, columns count code points."""
    slugs = sorted({finding.slug for finding in findings})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "flowengine",
                        "version": __version__,
                        "rules": [
                            {"id": slug, "shortDescription": {"text": slug.replace("-", " ")}}
                            for slug in slugs
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, slugs.index(finding.slug)) for finding in findings],
            }
        ],
    }


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    return {
        "ruleId": finding.slug,
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": f"{finding.what} {finding.mend}".strip()},
        "locations": [_location(finding)],
    }


def _location(finding: Finding) -> dict[str, Any]:
    where = finding.where
    found: dict[str, Any] = {}
    if where.file is not None:
        place: dict[str, Any] = {"artifactLocation": {"uri": quote(where.file)}}
        if where.line is not None:
            place["region"] = {"startLine": where.line, "startColumn": where.column or 1}
        found["physicalLocation"] = place
    name = "/".join(
        part for part in (where.flow, where.node or where.connection, where.field) if part
    )
    if name:
        found["logicalLocations"] = [{"fullyQualifiedName": name}]
    return found
