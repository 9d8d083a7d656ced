"""The table of algorithms: cells on disk, what is missing or stale, figures by hand, and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runs.result_fixtures import TABLE, drive, make_root, put, states_of

from drivetrain.errors import ConfigError, DataError
from drivetrain.runs.results.cells import Spent, cell_states, drive_of, read_cell
from drivetrain.runs.results.page_text import document, markdown, with_table, write_page
from drivetrain.runs.results.statistics import bootstrap, hashes, paired_difference, seed_spread
from drivetrain.runs.results.table import TABLE as TABLE_FILE
from drivetrain.runs.results.table import load_table, run_id_of

ROOT = Path(__file__).resolve().parents[2]


# Statistics


def test_random_numbers_are_those_of_the_published_generator():
    # The first outputs of SplitMix64 seeded with 0.
    assert [int(h) for h in hashes(0, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert int(hashes(2, 1)[0]) == 0x06C45D188009454F


def test_an_interval_of_one_seed_is_that_of_the_mean():
    values = (np.arange(400) % 10 < 3).astype(float)[None]
    estimate = bootstrap(values)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert estimate.mean == pytest.approx(0.3)
    assert estimate.low == pytest.approx(0.3 - half, abs=0.006)
    assert estimate.high == pytest.approx(0.3 + half, abs=0.006)


def test_seeds_that_differ_widen_it():
    alike = np.tile(np.arange(200.0) / 200, (3, 1))
    apart = alike + np.array([[-1.0], [0.0], [1.0]])
    narrow, wide = bootstrap(alike), bootstrap(apart)
    assert narrow.mean == pytest.approx(wide.mean)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert seed_spread(apart) == pytest.approx(1.0)
    assert seed_spread(alike[:1]) is None


def test_differences_are_paired():
    hard = np.tile(np.arange(100.0), (2, 1))
    better = hard + 0.5
    difference = paired_difference(better, hard)
    assert (difference.mean, difference.low, difference.high) == (0.5, 0.5, 0.5)
    assert bootstrap(better).high - bootstrap(better).low > 10


def test_what_is_unknown_does_not_count():
    values = np.array([[1.0, np.nan, 1.0], [0.0, 0.0, np.nan]])
    assert bootstrap(values).mean == 0.5  # the mean of the seeds' means, 1 and 0
    assert bootstrap(values).num == 4
    assert bootstrap(np.full((2, 3), np.nan)).mean is None


# Cells


def test_a_cell_survives_the_disk(tmp_path):
    table, folder = make_root(tmp_path)
    driven = drive(score=[0.12345, 1.0, np.nan], offroad_rate=[0, 1, np.nan], mean_abs_jerk=[0.5, 12.25, np.nan])
    state = states_of(table, folder)["bc", 1]
    put(table, folder, state, driven, cpu=90.0, prior_cpu=30.0)
    cell = read_cell(state.path)
    assert (cell.row, cell.seed, cell.steps, cell.total) == ("bc", 1, 1_500_000, Spent(240.0, 120.0))
    kept = cell.drive("replay", "direct")
    assert kept.values["score"].tolist()[:2] == [0.1235, 1.0]
    assert kept.values["offroad_rate"].tolist()[:2] == [0.0, 1.0]
    assert kept.values["mean_abs_jerk"].tolist()[:2] == [0.5, 12.25]
    assert all(np.isnan(kept.values[name][2]) for name in ("score", "offroad_rate", "mean_abs_jerk"))
    assert '"offroad_rate": "01-"' in state.path.read_text()


def test_scenarios_are_in_the_order_of_their_ids_with_those_that_failed():
    def row(scenario, score):
        rates = dict.fromkeys(("collision_at_fault_rate", "offroad_rate", "red_light_rate"), 0.0)
        return {"scenario": scenario, "score_basic": score, **rates, "progress": score, "mean_abs_jerk": None}

    told = {
        "traffic": "idm",
        "scenarios": {"asked": 3},
        "score_basic": {},
        "failures": {"b": "why"},
        "per_scenario": [row("c", 0.5), row("a", 1.0)],
    }
    driven, fingerprint = drive_of(told)
    assert (driven.traffic, driven.dynamics, driven.asked) == ("idm", "direct", 3)
    assert driven.values["score"][[0, 2]].tolist() == [1.0, 0.5]
    assert np.isnan(driven.values["score"][1])
    assert np.isnan(driven.values["mean_abs_jerk"]).all()
    assert fingerprint == drive_of({**told, "per_scenario": told["per_scenario"][::-1]})[1]
    assert fingerprint != drive_of({**told, "failures": {}})[1]


@pytest.mark.parametrize("content", ["", "{}", '{"format": "drivetrain-result", "version": 1}', "[1]"])
def test_a_damaged_cell_is_one_line(tmp_path, content):
    table, folder = make_root(tmp_path)
    (folder / "val").mkdir()
    (folder / "val" / "idm.json").write_text(content)
    with pytest.raises(
        DataError, match=r"idm.json: damaged \(.*\); delete it, and 'drivetrain results' makes it anew$"
    ):
        states_of(table, folder)


# What is missing, what is stale


def test_missing_and_stale_cells(tmp_path):
    table, folder = make_root(tmp_path)
    states = states_of(table, folder)
    assert list(states) == [("idm", None), *((row, seed) for seed in (0, 1) for row in ("bc", "ppo", "other", "sac"))]
    assert {state.state for state in states.values()} == {"missing"}
    assert states["sac", 0].reason == "configs/sac.yaml does not exist"
    for name in ("bc", "ppo", "other"):
        put(table, folder, states[name, 0], drive(score=[1.0, 0.0]))
    assert [s.row.name for s in states_of(table, folder).values() if s.state == "done"] == ["bc", "ppo", "other"]

    (tmp_path / "configs" / "bc.yaml").write_text("# another comment\nalgorithm: {name: bc}\n")
    assert states_of(table, folder)["bc", 0].state == "done"
    (tmp_path / "configs" / "bc.yaml").write_text("algorithm: {name: bc, warmup: 0.1}\n")
    after = states_of(table, folder)
    assert after["bc", 0].stale == ("training.content",)
    assert after["ppo", 0].stale == ("training.prior.content",)  # what starts from it, too
    assert after["other", 0].state == "stale"
    assert states_of(replace(table, cpu_minutes=3.0), folder)["ppo", 0].stale[:1] == ("training.cpu_minutes",)


def test_other_settings_are_another_run(tmp_path):
    table, _ = make_root(tmp_path)
    bc, ppo, other = (table.row(name) for name in ("bc", "ppo", "other"))
    assert run_id_of(table, bc, 0, tmp_path).startswith("results-bc-0-")
    assert run_id_of(table, other, 1, tmp_path) == run_id_of(table, ppo, 1, tmp_path)
    assert run_id_of(replace(table, cpu_minutes=3.0), bc, 0, tmp_path) != run_id_of(table, bc, 0, tmp_path)
    assert run_id_of(replace(table, seeds=(0, 7)), bc, 0, tmp_path) == run_id_of(table, bc, 0, tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("title: IDM, planner: idm", "title: IDM", "row 'idm' needs one of planner, config, run; it has 0"),
        ("prior: bc", "prior: cloned", "'ppo' needs 'cloned', which is no row above it"),
        ("[bc, idm]", "[bcc, idm]", "there is no row 'bcc'; did you mean 'bc'?"),
        ("title: BC,", "title: BC, share: 0,", "0.0 is no share of the time; use a number above 0, up to 1"),
        ("name: sac", "name: bc", "'bc' is named twice; name each row once"),
        ("[direct]", "[tracked]", "'tracked' is unknown; use tracker or direct"),
    ],
)
def test_a_wrong_table_is_told_with_its_place(tmp_path, before, after, message):
    with pytest.raises(ConfigError) as caught:
        make_root(tmp_path, TABLE.replace(before, after, 1))
    assert str(caught.value).endswith(message)
    assert "table.yaml:" in str(caught.value)


# The table


def filled(tmp_path):
    table, folder = make_root(tmp_path)
    states = states_of(table, folder)
    four = {"score": [0.2, 0.4, 0.6, 0.8]}
    put(table, folder, states["idm", None], drive(**four, offroad_rate=[1, 0, 0, 0], progress=[0.5] * 4))
    for seed, more in ((0, 0.0), (1, 0.1)):
        score = [value + more for value in four["score"]]
        put(table, folder, states["bc", seed], drive(score=score, offroad_rate=[1, 1, 0, 0], progress=[0.5] * 4))
    score = [value + 0.05 for value in four["score"]]
    driven = drive(score=score, red_light_rate=[0, 1, 0, 0], progress=[0.75] * 4, mean_abs_jerk=[1, 2, 3, np.nan])
    put(table, folder, states["ppo", 0], driven, cpu=90.0, prior_cpu=30.0)
    return table, folder


def test_the_table_by_hand(tmp_path):
    table, folder = filled(tmp_path)
    lines = markdown(table, cell_states(table, folder, tmp_path, split="val")).splitlines()
    assert lines[0] == "### Training simulator, replayed traffic"
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines if " | " in line}
    # IDM: the mean of .2 .4 .6 .8, one of four off the road.
    assert rows["IDM"][0].startswith("50.0 (")
    assert rows["IDM"][1:] == ["0.0", "25.0", "0.0", "50.0", "0.00", "-", "-", "-", "-"]
    # BC: seeds 50 and 60, so 55 with a standard deviation of 10 / sqrt(2).
    assert rows["BC"][0].startswith("55.0 ± 7.1 (")
    assert rows["BC"][1:] == [
        "0.0 ± 0.0",
        "50.0 ± 0.0",
        "0.0 ± 0.0",
        "50.0 ± 0.0",
        "0.00 ± 0.00",
        "1.5 M",
        "1.0",
        "2.0",
        "2",
    ]
    # PPO: one seed of two; 90 s and 30 s of its prior; jerk of the three scenarios that have one.
    assert rows["PPO"][1:] == ["0.0", "0.0", "25.0", "75.0", "2.00", "1.5 M", "2.0 (0.5)", "4.0", "1 (1 missing)"]
    assert rows["PPO another way"] == ["-"] * 9 + ["missing"]
    # Seed 0 of both: +.05 in every scenario; one failure against two, another scenario's among them.
    difference = rows["PPO - BC"]
    assert difference[0] == "+5.0 (+5.0 to +5.0)"
    assert difference[1].startswith("-25.0 (")
    assert difference[2:] == ["-50 %", "+25.0 (+25.0 to +25.0)", "1"]
    assert rows["BC - IDM"][0].startswith("+5.0 (+0.0 to +10.0)")
    assert rows["BC - IDM"][2] == "+100 %"
    assert rows["SAC - PPO"] == ["-", "-", "-", "-", "missing"]


def test_stale_figures_say_so_and_are_not_mixed_with_others(tmp_path):
    table, folder = filled(tmp_path)
    states = cell_states(replace(table, cpu_minutes=5.0), folder, tmp_path, split="val")
    text = markdown(table, states)
    (line,) = [line for line in text.splitlines() if line.startswith("| BC |")]
    assert "| 55.0 ± 7.1 (" in line
    assert line.endswith("| stale (cpu_minutes) |")
    assert "| PPO - BC | - | - | - | - | missing |" in text
    bc = states_of(table, folder)["bc", 0]
    table = replace(table, cpu_minutes=5.0)
    put(table, folder, bc, drive(score=[1.0, 1.0, 1.0, 1.0]))
    text = markdown(table, cell_states(table, folder, tmp_path, split="val"))
    (line,) = [line for line in text.splitlines() if line.startswith("| BC |")]
    assert line.startswith("| BC | 100.0 (100.0 to 100.0) |")
    assert line.endswith("| 1 (1 stale) |")


def test_the_document_has_what_the_table_shows(tmp_path):
    table, folder = filled(tmp_path)
    told = document(table, cell_states(table, folder, tmp_path, split="val"), split="val")
    (panel,) = told["panels"]
    bc = next(row for row in panel["rows"] if row["row"] == "bc")
    assert bc["score"]["mean"] == pytest.approx(0.55)
    assert bc["score"]["seed_sd"] == pytest.approx(0.1 / 2**0.5)
    assert (bc["done"], bc["stale"], bc["missing"]) == (2, 0, 0)
    states = {(cell["row"], cell["seed"]): cell["state"] for cell in told["cells"]}
    assert states["ppo", 0] == "done"
    assert states["ppo", 1] == "missing"
    assert [entry["seeds"] for entry in panel["differences"]] == [1, 2, 0]


# The page


def test_a_page_takes_the_table_between_its_marks(tmp_path):
    make_root(tmp_path)
    page = tmp_path / "docs" / "results.md"
    assert write_page(page, "val", "TABLE")
    assert page.read_text() == "# R\n<!-- results:val:begin -->\nTABLE\n<!-- results:val:end -->\nend\n"
    assert not write_page(page, "val", "TABLE")
    with pytest.raises(DataError, match=r"results.md: lacks the lines <!-- results:test:begin --> and "):
        with_table(page, "test", "TABLE")


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_projects_page_is_what_its_cells_give(split):
    table = load_table(ROOT / TABLE_FILE)
    assert table.page is not None
    page = ROOT / table.page
    states = cell_states(table, (ROOT / TABLE_FILE).parent, ROOT, split=split)
    if split == "test" and not any(state.cell for state in states):
        return  # nothing was scored on it yet, and the page says so
    assert with_table(page, split, markdown(table, states)) == page.read_text(encoding="utf-8"), (
        f"docs/results.md is not what results/{split}/ gives; write it with 'drivetrain results --page'"
    )
