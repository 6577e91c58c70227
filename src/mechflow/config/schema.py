"""The JSON schema of configuration files, for editors and for error messages.

``python -m mechflow.config.schema`` writes it to ``config/schema.json``.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from mechflow.config.root import Config

SCHEMA_FILE = Path("config/schema.json")
"""Where the schema is kept, seen from the root of the repository."""


@cache
def config_schema() -> dict[str, Any]:
    """The schema of one file: no key is required, since files are laid over one another."""
    schema = Config.model_json_schema()
    for definition in schema["$defs"].values():
        properties = definition.get("properties", {})
        if "variants" in properties:
            _type_overrides(properties["variants"], properties["defaults"]["$ref"])
    _drop_required(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def render_schema() -> str:
    """The schema as the text of its file."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _type_overrides(variants: dict[str, Any], variant_ref: str) -> None:
    """Let each variant hold any part of what the defaults hold."""
    pattern = next(iter(variants["patternProperties"]))
    variants["patternProperties"] = {pattern: {"$ref": variant_ref}}
    variants["additionalProperties"] = False


def _drop_required(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _drop_required(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("required"), list):
            del schema["required"]
        for item in schema.values():
            _drop_required(item)


def main() -> None:
    """Write the schema, to the path given as argument if there is one."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA_FILE
    path.write_text(render_schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
