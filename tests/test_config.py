"""The config loader: every error has its place, and what is loaded is what is dumped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from drivetrain.config import BY_NAME, config_hash, dump_config, json_schema, load_config, parse_override
from drivetrain.config.yaml_source import parse_scalar
from drivetrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Fast:
    name: Literal["fast"] = "fast"
    rate: float = 1e-3
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"fast.rate: {self.rate} is negative; use a positive number")


@dataclass(frozen=True, kw_only=True, slots=True)
class Slow:
    name: Literal["slow"] = "slow"
    workers: int | Literal["auto"] = 1
    careful: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    total_steps: int = 100
    label: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    engine: Annotated[Fast | Slow, BY_NAME]
    budget: Budget = field(default_factory=Budget)


def load(tmp_path, text, *flags):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    return load_config(path, Everything, overrides=[parse_override(flag) for flag in flags])


def errors_of(tmp_path, text, *flags):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *flags)
    return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).split("\n")]


def test_a_good_file_becomes_frozen_dataclasses(tmp_path):
    config = load(tmp_path, "engine: {name: fast, rate: 3e-4, sizes: [4, 5]}\nbudget: {total_steps: 2e6}\n")
    assert config == Everything(engine=Fast(rate=3e-4, sizes=(4, 5)), budget=Budget(total_steps=2_000_000))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1_000", 1000),
        ("0x10", 16),
        ("010", 10),
        ("2e6", 2_000_000),
        (".5", 0.5),
        ("1.", 1.0),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("~", None),
        ("''", ""),
        ("'12'", "12"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    read = parse_scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_all_errors_come_in_one_pass_with_their_places(tmp_path):
    text = "engine:\n  name: fast\n  rat: 1\nbudget:\n  total_steps: many\n  total_steps: 4\nextra: 1\n"
    assert errors_of(tmp_path, text) == [
        "bad.yaml:3:3: engine.rat: unknown key; did you mean 'rate'?",
        """bad.yaml:5:16: budget.total_steps: expected integer, got "many\"""",
        "bad.yaml:6:3: budget.total_steps: key given twice (first in line 5)",
        "bad.yaml:7:1: extra: unknown key; known keys: engine, budget",
    ]


def test_an_unknown_name_lists_the_choices(tmp_path):
    assert errors_of(tmp_path, "engine:\n  name: slwo\n") == [
        "bad.yaml:2:9: engine.name: 'slwo' is unknown; did you mean 'slow'? choose from fast, slow"
    ]
    assert errors_of(tmp_path, "engine: {rate: 1}\n") == [
        "bad.yaml:1:1: engine.name: this key is missing; it chooses the kind"
    ]


def test_a_missing_key_and_a_wrong_container(tmp_path):
    assert errors_of(tmp_path, "budget: 3\n") == [
        "bad.yaml:1:1: engine: this key is missing",
        "bad.yaml:1:9: budget: expected a mapping of keys to values, got 3",
    ]
    assert errors_of(tmp_path, "- a\n")[0] == "bad.yaml:1:1: a config is a mapping of keys to values"


def test_nothing_is_converted_silently(tmp_path):
    text = "engine: {name: slow, workers: few, careful: off}\nbudget: {total_steps: 1.0, label: 5}\n"
    assert errors_of(tmp_path, text) == [
        """bad.yaml:1:31: engine.workers: expected integer or 'auto', got "few\"""",
        """bad.yaml:1:45: engine.careful: expected boolean, got "off\"""",
        "bad.yaml:2:23: budget.total_steps: expected integer, got 1.0",
        "bad.yaml:2:35: budget.label: expected string, got 5",
    ]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_a_number_must_be_finite(tmp_path, value):
    (error,) = errors_of(tmp_path, f"engine: {{name: fast, rate: {value}}}\n")
    assert error.startswith("bad.yaml:1:28: engine.rate: expected finite number, got ")


def test_a_list_item_is_placed(tmp_path):
    assert errors_of(tmp_path, "engine:\n  name: fast\n  sizes:\n    - 1\n    - x\n") == [
        """bad.yaml:5:7: engine.sizes.1: expected integer, got "x\""""
    ]


def test_a_class_own_check_is_placed_at_its_key(tmp_path):
    assert errors_of(tmp_path, "engine:\n  name: fast\n  rate: -2\nbudget: {label: 1}\n") == [
        "bad.yaml:3:9: engine.rate: -2.0 is negative; use a positive number",
        "bad.yaml:4:17: budget.label: expected string, got 1",
    ]


def test_a_flag_is_named_as_the_origin(tmp_path):
    text = "engine: {name: fast}\n"
    assert errors_of(tmp_path, text, "engine.rats=3") == [
        "--set engine.rats=3: engine.rats: unknown key; did you mean 'rate'?"
    ]
    assert errors_of(tmp_path, text, "engine.rate=-1") == [
        "--set engine.rate=-1: engine.rate: -1.0 is negative; use a positive number"
    ]
    assert errors_of(tmp_path, text, "budget.total_step=1") == [
        "--set budget.total_step=1: budget.total_step: unknown key; did you mean 'total_steps'?"
    ]
    assert load(tmp_path, text, "budget.total_steps=7", "engine.sizes=[9]").engine.sizes == (9,)


@pytest.mark.parametrize("text", ["a", "=3", "a..b=1", ""])
def test_a_malformed_flag(text):
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_override(text)


def test_broken_yaml_and_unreadable_files(tmp_path):
    assert errors_of(tmp_path, "engine: [1\nx: 2\n")[0].startswith("bad.yaml:2:2: not valid YAML: ")
    assert "bad.yaml:1:4: an alias contains itself" in errors_of(tmp_path, "a: &x [*x]\n")
    with pytest.raises(ConfigError, match=r"bda.yaml: cannot read the config \(No such file.*did you mean 'bad.yaml'"):
        load_config(tmp_path / "bda.yaml", Everything)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a UTF-8 text file"):
        load_config(tmp_path / "binary.yaml", Everything)


def test_a_dumped_config_loads_back_and_its_hash_knows_what_counts(tmp_path):
    config = load(tmp_path, "engine: {name: fast, rate: 1e-5}\nbudget: {label: 'no'}\n")
    assert load(tmp_path, dump_config(config)) == config
    other = load(tmp_path, dump_config(config), "budget.total_steps=5")
    assert config_hash(other) != config_hash(config)
    assert config_hash(other, without=["budget.total_steps"]) == config_hash(config, without=["budget.total_steps"])


def test_the_schema_names_every_key():
    schema = json_schema(Everything)
    assert set(schema["$defs"]) == {"Everything", "Fast", "Slow", "Budget"}
    assert set(schema["$defs"]["Fast"]["properties"]) == {"name", "rate", "sizes"}
