"""Strict YAML to frozen dataclasses: the only room that knows pydantic. Import it lazily."""

from drivetrain.config.loader import (
    BY_NAME,
    Override,
    config_hash,
    dump_config,
    from_plain,
    json_schema,
    load_config,
    parse_override,
    plain,
)

__all__ = [
    "BY_NAME",
    "Override",
    "config_hash",
    "dump_config",
    "from_plain",
    "json_schema",
    "load_config",
    "parse_override",
    "plain",
]
