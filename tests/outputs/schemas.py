"""The shipped JSON Schemas, from the types: ``python -m tests.outputs.schemas`` writes them."""

import json
from pathlib import Path

import msgspec

import specaudit.compare
import specaudit.outputs
from specaudit.policy import Finding, Summary
from specaudit.report import (
    ClampedLayer,
    Drift,
    Measurement,
    ModelInfo,
    NetworkBound,
    Norm,
    Product,
    Run,
    Settings,
    Skipped,
)

FOLDER = Path(specaudit.outputs.__file__).parent
DRAFT = "https://json-schema.org/draft/2020-12/schema"
AUDIT = {
    "run": Run,
    "model": ModelInfo,
    "settings": Settings,
    "layers": list[Measurement],
    "skipped": list[Skipped],
    "product": Product,
    "network": NetworkBound,
    "findings": list[Finding],
    "summary": Summary,
    "exit_code": int,
}
TOOL = {
    "type": "object",
    "properties": {"name": {"const": "specaudit"}, "version": {"type": "string"}},
    "required": ["name", "version"],
}


def build(name, properties, definitions):
    head = {
        "schema": {"const": f"specaudit.{name}"},
        "schema_version": {"type": "string", "pattern": r"^1\.\d+$"},
        "tool": TOOL,
    }
    return {
        "$schema": DRAFT,
        "$id": f"https://specaudit.invalid/schemas/1.0/{name}.schema.json",
        "title": f"specaudit.{name} 1.0",
        "type": "object",
        "properties": head | properties,
        "required": [*head, *properties],
        "$defs": definitions,
    }


def audit():
    schemas, definitions = msgspec.json.schema_components(
        AUDIT.values(), ref_template="#/$defs/{name}"
    )
    del definitions["Measurement"]["properties"]["seconds"]
    describe_settings(definitions)
    return build("audit", dict(zip(AUDIT, schemas, strict=True)), definitions)


def describe_settings(definitions):
    properties = definitions["Settings"]["properties"]
    del properties["rtol_given"]
    properties["convolution_rtol"] = {"type": "number"}


def diff():
    kinds = {"info": ModelInfo, "norm": Norm, "product": Product, "network": NetworkBound}
    schemas, definitions = msgspec.json.schema_components(
        kinds.values(), ref_template="#/$defs/{name}"
    )
    found = dict(zip(kinds, schemas, strict=True))
    status = {"enum": list(specaudit.compare.STATUSES)}
    norm = {"anyOf": [found["norm"], {"type": "null"}]}
    text = {"type": ["string", "null"]}
    layer = {
        "name": {"type": "string"},
        "node": text,
        "status": status,
        "matched": {"enum": ["name", "position", None]},
        "before_name": text,
        "before": norm,
        "after": norm,
    }

    def both(kind, **more):
        properties = more | {"before": found[kind], "after": found[kind]}
        return {"type": "object", "properties": properties, "required": [*properties]}

    properties = {
        "before": found["info"],
        "after": found["info"],
        "tolerance": {"type": "number", "minimum": 0},
        "layers": {
            "type": "array",
            "items": {"type": "object", "properties": layer, "required": [*layer]},
        },
        "product": both("product"),
        "network": both("network", status=status),
        "summary": {"type": "object", "additionalProperties": {"type": "integer"}},
        "regressed": {"type": "boolean"},
    }
    return build("diff", properties, definitions)


def clamp():
    kinds = {
        "source": ModelInfo,
        "settings": Settings,
        "layers": list[ClampedLayer],
        "skipped": list[Skipped],
        "comparison": Drift | None,
        "findings": list[Finding],
        "product": Product,
        "network": NetworkBound,
    }
    schemas, definitions = msgspec.json.schema_components(
        kinds.values(), ref_template="#/$defs/{name}"
    )
    found = dict(zip(kinds, schemas, strict=True))
    describe_settings(definitions)
    for name in ("product", "network"):
        both = {"before": found[name], "after": found[name]}
        found[name] = {"type": "object", "properties": both, "required": [*both]}
    names = {"type": "array", "items": {"type": "string"}}
    more = {
        "output": {"type": ["string", "null"]},
        "mode": {"enum": ["scale", "project"]},
        "max_lipschitz": {"type": ["number", "null"]},
        "biases": names,
        "warnings": names,
        "notes": names,
    }
    return build("clamp", found | more, definitions)


BUILDERS = {"audit": audit, "clamp": clamp, "diff": diff}


def written(name):
    return json.dumps(BUILDERS[name](), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for one in BUILDERS:
        (FOLDER / f"{one}.schema.json").write_text(written(one), "utf-8")
