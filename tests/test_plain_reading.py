"""Configs on a machine without pydantic and PyYAML: the same values, the same refusals, in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.test_config import Everything

from drivetrain.config import dump_config, load_config, parse_override, plain, yaml_source
from drivetrain.config.plain_reading import read_plain
from drivetrain.errors import ConfigError
from drivetrain.trainer.experiment import ExperimentConfig

CONFIGS = Path(__file__).resolve().parents[1] / "python" / "configs"
EXPERIMENTS = sorted([*CONFIGS.glob("planning/[bcgps]*.yaml"), *CONFIGS.glob("gymnasium/*.yaml")])
EXPERIMENTS = [path for path in EXPERIMENTS if path.stem != "cimrl_pipeline"]


@pytest.fixture
def without(monkeypatch):
    """Hide pydantic and PyYAML."""

    def hide() -> None:
        monkeypatch.setitem(sys.modules, "pydantic", None)
        monkeypatch.setitem(sys.modules, "yaml", None)

    return hide


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_config_reads_the_same(path, tmp_path, without):
    config = load_config(path, ExperimentConfig)
    copy = tmp_path / "config.json"
    copy.write_text(json.dumps(plain(config)))
    assert read_plain(plain(config), ExperimentConfig) == config
    without()
    assert load_config(copy, ExperimentConfig) == config
    copy.write_text(dump_config(config))
    assert load_config(copy, ExperimentConfig) == config


WRONG = {
    '{"engine": {"name": "fast", "rats": 1}}': "engine.rats: unknown key; did you mean 'rate'?",
    '{"engine": {"name": "quick"}}': "engine.name: 'quick' is unknown; choose from fast, slow",
    '{"engine": {"rate": 1.0}}': "engine.name: this key is missing; it chooses the kind",
    '{"engine": {"name": "fast", "rate": -1}}': "engine.rate: -1.0 is negative; use a positive number",
    '{"engine": {"name": "fast", "rate": "1"}}': "engine.rate: expected number, got '1'",
    '{"engine": {"name": "fast", "rate": true}}': "engine.rate: expected number, got True",
    '{"engine": {"name": "fast", "sizes": [1, 2.0]}}': "engine.sizes.1: expected integer, got 2.0",
    '{"engine": {"name": "fast", "sizes": 3}}': "engine.sizes: expected list, got 3",
    '{"engine": {"name": "slow", "workers": "all"}}': "engine.workers: expected integer or 'auto', got 'all'",
    '{"engine": {"name": "slow", "careful": 1}}': "engine.careful: expected boolean, got 1",
    '{"engine": {"name": "slow"}, "budget": 3}': "budget: expected mapping of keys to values, got 3",
    '{"engine": {"name": "slow"}, "budget": {"label": 3}}': "budget.label: expected string or null, got 3",
    "{}": "engine: this key is missing",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_pydantic_refuses_is_refused_without_it(text, tmp_path, without):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path, Everything)
    without()
    with pytest.raises(ConfigError) as caught:
        load_config(path, Everything)
    assert str(caught.value) == f"{path}:1:1: {WRONG[text]}"


@pytest.mark.parametrize(
    "text", ["3", "2e6", "1e-4", "-0.5", "true", "null", "~", "cpu", "[1, 2]", '{"a": 1}', "", "0x10"]
)
def test_flags_mean_the_same(text, without):
    value = yaml_source.parse_scalar(text)
    without()
    again = yaml_source.parse_scalar(text)
    assert (again, type(again)) == (value, type(value))


def test_yaml_without_pyyaml_is_one_line(tmp_path, without):
    path = tmp_path / "run.yaml"
    path.write_text("engine: {name: fast}\n")
    without()
    with pytest.raises(ConfigError) as caught:
        load_config(path, Everything, overrides=[parse_override("budget.total_steps=5")])
    assert str(caught.value) == (
        f"{path}:1:1: PyYAML, which reads YAML, is not installed: pip install pyyaml, or give the config as JSON"
    )
    path.write_text('{"engine": ')
    with pytest.raises(ConfigError, match=r"run\.yaml:1:12: not valid JSON: Expecting value"):
        load_config(path, Everything)
