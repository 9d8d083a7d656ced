"""A small table of algorithms and cells for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drivetrain.runs.results.cells import METRICS, Cell, CellState, Drive, Spent, cell_states, write_cell
from drivetrain.runs.results.table import ResultTable, load_table, settings_of

TABLE = """\
data: datasets/processed/tiny
fingerprint: abc
page: docs/results.md
cpu_minutes: 2
set: [training.processes=1]
seeds: [0, 1]
traffic: [replay]
dynamics: [direct]
rows:
  - {name: idm, title: IDM, planner: idm}
  - {name: bc, title: BC, config: configs/bc.yaml}
  - {name: ppo, title: PPO, config: configs/ppo.yaml, prior: bc, set: [algorithm.epochs=3]}
  - {name: other, title: PPO another way, run: ppo, evaluate: [--stochastic]}
  - {name: sac, title: SAC, config: configs/sac.yaml}
compare:
  - [ppo, bc]
  - [bc, idm]
  - [sac, ppo]
"""


def make_root(tmp_path: Path, text: str = TABLE) -> tuple[ResultTable, Path]:
    """Write a project with a table; return the table and the folder of its cells."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "bc.yaml").write_text("algorithm: {name: bc}  # clones\n")
    (tmp_path / "configs" / "ppo.yaml").write_text("algorithm: {name: ppo}\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("# R\n<!-- results:val:begin -->\n<!-- results:val:end -->\nend\n")
    data = tmp_path / "datasets" / "processed" / "tiny"
    data.mkdir(parents=True)
    (data / "manifest.json").write_text('{"fingerprint": "abc"}')
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "table.yaml").write_text(text)
    return load_table(folder / "table.yaml"), folder


def drive(**values: list[float]) -> Drive:
    """A drive of scenarios; metrics that are not named are 0."""
    count = len(next(iter(values.values())))
    arrays = {name: np.array(values.get(name, [0.0] * count), dtype=np.float64) for name in METRICS}
    return Drive(traffic="replay", dynamics="direct", asked=count, values=arrays)


def put(table: ResultTable, folder: Path, state: CellState, driven: Drive, *, cpu=60.0, prior_cpu=0.0) -> None:
    """Write a cell as a filler would."""
    learns = state.row.planner is None
    cell = Cell(
        row=state.row.name,
        seed=state.seed,
        settings=settings_of(table, state.row, folder.parent, split="val"),
        scenarios="s",
        steps=1_500_000 if learns else None,
        spent=Spent(2 * cpu, cpu) if learns else None,
        prior_spent=Spent(2 * prior_cpu, prior_cpu),
        drives=(driven,),
    )
    write_cell(state.path, cell, made={}, run={} if learns else None)


def states_of(table: ResultTable, folder: Path) -> dict[tuple[str, int | None], CellState]:
    """The cells by row and seed."""
    return {(s.row.name, s.seed): s for s in cell_states(table, folder, folder.parent, split="val")}
