"""YAML with the place of every key and value, read by the rules of YAML 1.2.

PyYAML follows YAML 1.1, where ``3e-4`` is a string, ``off`` is False and the second of two equal keys wins silently.
Here ``3e-4`` is a number, only ``true`` and ``false`` are booleans, dates are text, and a repeated key is an error.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

KeyPath = tuple[str | int, ...]
NOT_READ = object()
"""Value of a text that is not YAML at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a value came from: a line of the file, or a flag."""

    line: int = 0
    """From 1; 0 for a flag."""
    column: int = 0
    """From 1; 0 for a flag."""
    flag: str = ""
    """The flag as typed, e.g. ``--set algorithm.epochs=3``; empty for a line of the file."""

    def prefix(self, file: str) -> str:
        """Return ``file:line:column`` or the flag."""
        return self.flag or f"{file}:{self.line}:{self.column}"


@dataclass(kw_only=True, slots=True)
class YamlDocument:
    """A parsed file."""

    value: Any
    """Plain dicts, lists, strings, numbers, booleans and None."""
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    """Place of each key (of each item in a list)."""
    values: dict[KeyPath, Place] = field(default_factory=dict)
    """Place of each value."""
    problems: list[tuple[Place, str]] = field(default_factory=list)
    """What is wrong with the text itself."""


# Order matters: the first rule that matches decides, and an integer also looks like a float.
_RULES = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|[-+]?[0-9]+[eE]\+?[0-9]{1,2}", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    """Return PyYAML's safe loader with the scalar rules above."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own, replaced

    for tag, pattern, first in _RULES:
        Loader.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), list(first))
    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
    return Loader


def _has_yaml() -> bool:
    try:
        import yaml  # noqa: F401
    except ImportError:
        return False
    return True


def parse_yaml(text: str) -> YamlDocument:
    """Return the document in ``text``; an empty one is an empty mapping. Problems are collected, not raised."""
    if not _has_yaml():
        return _parse_json(text)
    import yaml

    document = YamlDocument(value={})
    try:
        node = yaml.compose(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(line=mark.line + 1, column=mark.column + 1) if mark else Place(line=1, column=1)
        document.value = NOT_READ
        document.problems.append((place, f"not valid YAML: {error.problem or error.context}"))
        return document
    except yaml.YAMLError as error:
        document.value = NOT_READ
        document.problems.append((Place(line=1, column=1), f"not valid YAML: {' '.join(str(error).split())}"))
        return document
    if node is not None:
        document.value = _convert(node, (), document, ancestors=())
    return document


def _parse_json(text: str) -> YamlDocument:
    """Return the document where PyYAML is not installed: JSON, which is YAML too, needs nothing."""
    place = Place(line=1, column=1)
    try:
        return YamlDocument(value=json.loads(text) if text.strip() else {})
    except json.JSONDecodeError as error:
        line = Place(line=error.lineno, column=error.colno)
        message = "PyYAML, which reads YAML, is not installed: pip install pyyaml, or give the config as JSON"
        is_json = text.lstrip().startswith("{")
        problem = (line, f"not valid JSON: {error.msg}") if is_json else (place, message)
        return YamlDocument(value=NOT_READ, problems=[problem])


def dump_yaml(value: Any) -> str:
    """Return plain values as YAML; as JSON, which reads back the same, where PyYAML is not installed."""
    if not _has_yaml():
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def parse_scalar(text: str) -> Any:
    """Return the value of a flag, by the same rules as in a file (``[1, 2]`` and ``{a: 1}`` included).

    Raises:
        ValueError: It is not valid YAML.
    """
    if not _has_yaml():
        return _plain_scalar(text)
    document = parse_yaml(text)
    if document.problems:
        raise ValueError(document.problems[0][1])
    return document.value if text.strip() else ""


def _plain_scalar(text: str) -> Any:
    """Return the value of a flag where PyYAML is not installed: scalars by the same rules, lists and such as JSON.

    Raises:
        ValueError: It looks like a list or mapping and is not valid JSON.
    """
    word = text.strip()
    if word[:1] in ("[", "{", '"'):
        return json.loads(word)
    kinds = (tag.rsplit(":", 1)[-1] for tag, pattern, _ in _RULES if re.fullmatch(pattern, word))
    return _scalar(next(kinds, "str"), word) if word else ""


def _place(node: yaml.Node) -> Place:
    return Place(line=node.start_mark.line + 1, column=node.start_mark.column + 1)


def _convert(node: yaml.Node, path: KeyPath, document: YamlDocument, *, ancestors: tuple[int, ...]) -> Any:
    document.values[path] = _place(node)
    if id(node) in ancestors:
        document.problems.append((_place(node), "an alias contains itself"))
        return None
    inside = (*ancestors, id(node))
    import yaml

    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(node, path, document, inside)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            document.keys[(*path, index)] = _place(item)
            items.append(_convert(item, (*path, index), document, ancestors=inside))
        return items
    return _convert_scalar(node, document)


def _convert_mapping(
    node: yaml.MappingNode, path: KeyPath, document: YamlDocument, ancestors: tuple[int, ...]
) -> dict[str, Any]:
    import yaml

    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        if not key:
            document.problems.append((_place(key_node), "a key must be a word"))
            continue
        if key in mapping:
            first = document.keys[(*path, key)]
            where = ".".join(str(part) for part in (*path, key))
            document.problems.append((_place(key_node), f"{where}: key given twice (first in line {first.line})"))
            continue
        document.keys[(*path, key)] = _place(key_node)
        mapping[key] = _convert(value_node, (*path, key), document, ancestors=ancestors)
    return mapping


def _convert_scalar(node: yaml.Node, document: YamlDocument) -> Any:
    text = str(node.value)
    kind = node.tag.rsplit(":", 1)[-1]
    if kind not in ("str", "null", "bool", "int", "float"):
        document.problems.append((_place(node), f"the tag {node.tag} is not understood; write a plain value"))
        return None
    try:
        return _scalar(kind, text)
    except ValueError:
        document.problems.append((_place(node), f"'{text}' is not a number"))
        return None


def _scalar(kind: str, text: str) -> Any:
    """Return the value of a scalar of one of YAML's kinds.

    Raises:
        ValueError: It is no number of that kind.
    """
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _integer(text)
        case "float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    if digits.startswith("0x"):
        return int(digits, 16)
    if "e" in digits:  # 2e6 is exact, and as good a number of steps as 2000000
        mantissa, exponent = digits.split("e")
        return int(mantissa) * 10 ** int(exponent)
    return int(digits)
