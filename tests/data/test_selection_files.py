"""Lists of scenarios and splits, as nuplan-devkit writes them and as people do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.data.scenario_types import MAPPED_TYPES, match_types, span_us
from drivetrain.data.selection import Selection
from drivetrain.data.selection_files import combine, read_splits_file, read_token_file
from drivetrain.errors import DataError, UsageError

FILTER = """
_target_: nuplan.planning.scenario_builder.scenario_filter.ScenarioFilter
_convert_: 'all'
scenario_types:
  - starting_left_turn
  - stationary_in_traffic
scenario_tokens:
  - 1234567890123456
  - 0123456712345671
  - ['2021.07.01.09.00.00_veh-11_00100_00166', 12345678e1234567]
log_names: null
map_names: [us-ma-boston]
num_scenarios_per_type: 100
limit_total_scenarios: 0.5
timestamp_threshold_s: 15
ego_displacement_minimum_m: null
expand_scenarios: false
remove_invalid_goals: true
shuffle: false
"""


@pytest.fixture
def written(tmp_path):
    """A function: a file with this text."""

    def write(text, name="list.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_scenario_filter_of_the_devkit(written):
    # Tokens of digits only stay texts: no octal, no exponent.
    assert read_token_file(written(FILTER)) == Selection(
        scenario_types=("starting_left_turn", "stationary_in_traffic"),
        tokens=(0x1234567890123456, 0x0123456712345671, 0x12345678E1234567),
        maps=("us-ma-boston",),
        limit_per_type=100,
        limit_total=0.5,
        min_start_spacing_s=15,
        remove_invalid_goals=True,
        tag_spacing_s=0.0,
    )


def test_a_plain_list(written):
    path = written("# two\n00000000000000FF\n\n  000000000000000a # ten\n00000000000000ff\n", "list.txt")
    assert read_token_file(path) == Selection(tokens=(255, 10))
    assert read_token_file(path).spacing_s == 0, "what is listed is not thinned out"
    assert Selection().spacing_s == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "holds no token; write one token of 16 hexadecimal characters per line"),
        ("a.txt", "abc", "line 1 holds 'abc', a token has 16 hexadecimal characters"),
        ("a.yaml", "[1, 2", "cannot be read as YAML"),
        ("a.yaml", "- 0123456712345671", "holds no mapping of keys"),
        ("a.yaml", "scenario_tokens: 5", "'scenario_tokens' is not a list"),
        ("a.yaml", "scenario_tokens: [{a: 1}]", "'scenario_tokens' holds {'a': '1'}, expected texts"),
        (
            "a.yaml",
            "scenario_typs: [x]",
            "'scenario_typs: .*' cannot be honoured, set it to null; did you mean 'scenario_t",
        ),
        (
            "a.yaml",
            "ego_displacement_minimum_m: 5",
            "'ego_displacement_minimum_m: 5' cannot be honoured, set it to null",
        ),
        ("a.yaml", "expand_scenarios: true", "'expand_scenarios: true' cannot be honoured"),
        ("a.yaml", "remove_invalid_goals: maybe", "'remove_invalid_goals' is 'maybe', expected true or false"),
        ("a.yaml", "limit_total_scenarios: .inf", "'limit_total_scenarios' is '.inf', expected a number above 0"),
        ("a.yaml", "limit_total_scenarios: inf", "'limit_total_scenarios' is 'inf', expected a number above 0 or null"),
        ("a.yaml", "timestamp_threshold_s: -5", "is '-5', expected a number of 0 or more or null"),
        ("a.yaml", "num_scenarios_per_type: 1.5", "'num_scenarios_per_type' is '1.5', expected a whole number above 0"),
        (
            "a.yaml",
            "limit_total_scenarios: -1.0",
            "'limit_total_scenarios' is '-1.0', expected a number above 0 or null",
        ),
        ("a.yaml", "scenario_types: [stopping]", "there is no scenario type 'stopping'"),
    ],
)
def test_what_cannot_be_honoured_is_said(written, name, text, message):
    with pytest.raises((UsageError, DataError), match=message) as caught:
        read_token_file(written(text, name))
    assert "\n" not in str(caught.value)


def test_splits_of_the_devkit(written):
    text = "_target_: x\nlog_splits:\n  train:\n  - a\n  - b\n  val: [c]\n  test: null\n"
    assert read_splits_file(written(text)) == {"a": "train", "b": "train", "c": "val"}
    with pytest.raises(UsageError, match="log 'a' is in 'train' and in 'val'; a log has one split"):
        read_splits_file(written("log_splits: {train: [a], val: [a]}"))
    with pytest.raises(UsageError, match="has no 'log_splits' with lists 'train', 'val', 'test'"):
        read_splits_file(written("train_logs: [a]"))
    with pytest.raises(DataError, match=r"cannot be read as YAML .No such file"):
        read_splits_file(written("a").with_name("none.yaml"))


def test_types_are_those_of_the_devkit_and_matched_by_patterns():
    assert len(MAPPED_TYPES) == len(set(MAPPED_TYPES)) == 73
    assert match_types(["starting_*_turn", "on_carpark"])[0] == "on_carpark"
    assert len(match_types(["starting_*_turn"])) == 9
    assert span_us("on_carpark") == (-3_000_000, 12_000_000)
    assert span_us("unknown") == span_us("something else") == (0, 20_000_000)
    with pytest.raises(UsageError, match="no scenario type 'stationry'; did you mean 'stationary'"):
        match_types(["stationry"])


def test_options_and_files_go_together_unless_they_disagree():
    listed = Selection(tokens=(1,), logs=("a",), tag_spacing_s=0.0)
    both = combine(Selection(split="val", tag_spacing_s=2.0), listed)
    assert both == Selection(tokens=(1,), logs=("a",), split="val", tag_spacing_s=2.0)
    with pytest.raises(UsageError, match="'logs' is given on the command line and in the file"):
        combine(Selection(logs=("b",)), listed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride_s": 0}, "the stride is 0 s"),
        ({"stride_s": float("nan")}, "the stride is nan s, expected a time of 0 s or more"),
        ({"stride_s": 5, "tokens": (1,)}, "a stride cuts windows without regard to tags"),
        ({"limit_per_type": 0}, "the limit of scenarios of a type is 0, expected a number above 0"),
        ({"stride_s": 1e-4}, "the stride is 0.0001 s, expected 0.001 s or more"),
        ({"min_start_spacing_s": -1}, "the spacing of starts is -1 s, expected a time of 0 s or more"),
        ({"limit_total": float("inf")}, "the limit of scenarios in all is inf, expected a number above 0"),
        ({"limit_total": -2}, "the limit of scenarios in all is -2"),
    ],
)
def test_senseless_selections(options, message):
    with pytest.raises(UsageError, match=message):
        Selection(**options)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from(["f.yaml", "f.txt"]))
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    for read in (read_token_file, read_splits_file):
        said = ""
        try:
            read(path)
        except (DataError, UsageError) as error:
            said = str(error)
        assert len(said.splitlines()) <= 1


def test_what_is_not_asked_for_is_absent_and_zero_is_something():
    assert Selection(tag_spacing_s=0.0, min_start_spacing_s=0.0).document() == {
        "tag_spacing_s": 0.0,
        "min_start_spacing_s": 0.0,
    }
