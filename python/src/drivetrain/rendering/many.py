"""Pictures of many scenarios: driven side by side, drawn by as many processes as help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.processes import in_order, usable_cores
from drivetrain.rendering.animation import save_animation
from drivetrain.rendering.direct_drives import Drives
from drivetrain.rendering.drivers import LOG, Driver, drive_all, named_driver
from drivetrain.rendering.last_chance import with_last_chance
from drivetrain.rendering.player_page import save_player
from drivetrain.rendering.recording import DriveRecording
from drivetrain.rendering.retrace import retraced_failures
from drivetrain.rendering.scene_picture import save_picture
from drivetrain.rendering.video import save_video
from drivetrain.sim.branching import FailureHistory, last_chances
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic

FORMATS = ("png", "gif", "mp4", "html")
SCENES_AT_ONCE = 8
"""Driven side by side, and handed to a process together."""
THUMBNAIL_DPI = 80
SCENES_PER_PROCESS = 24
"""Starting a process takes about as long as drawing this many scenes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture that is to be made."""

    row: int
    """Of the scenario, in its store."""
    path: Path
    """Where to write; its suffix is the format."""
    thumbnail: bool = False
    """Also a PNG of the same name, to be shown by a gallery of players."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A picture that was made, or why it was not."""

    picture: Picture
    scenario_id: str
    scenario_type: str
    scores: tuple[float | None, ...] = ()
    """Of the drivers, the log aside, in order; None where unknown."""
    outcomes: tuple[str, ...] = ()
    """How their drives ended: keys of ``style.EVENT_NAMES``."""
    problem: str = ""
    """Why there is no picture."""


@dataclass(kw_only=True)
class SceneRenderer:
    """Makes pictures of the scenarios of a store; sent to every process once."""

    store: Path
    drivers: Sequence[str | Path]
    """Planners by name, policies by the path of their checkpoint, in the order of the panels."""
    tracker: bool
    """Drive in nuPlan's closed loop."""
    traffic: str
    last_chances: bool = False
    """Also try since when failures could not be avoided, as events."""
    _opened: ScenarioStore | None = field(default=None, init=False)
    _drivers: list[Driver] | None = field(default=None, init=False)
    _around: TrafficChoice | None = field(default=None, init=False)

    def __call__(self, pictures: Sequence[Picture]) -> list[Drawn]:
        """Drive and draw; what cannot be driven says why."""
        if self._opened is None:
            self._opened = ScenarioStore(self.store)
            self._drivers = [named_driver(name) for name in self.drivers]
            self._around = choose_traffic(self.traffic)
        assert self._drivers is not None
        assert self._around is not None
        scenarios = [self._opened.load(picture.row) for picture in pictures]
        driven = [self._drive(driver, scenarios) for driver in self._drivers]
        found = []
        for picture, scenario in zip(pictures, scenarios, strict=True):
            name = scenario.scenario_id
            problem = next((drives.failures[name] for drives in driven if name in drives.failures), "")
            recordings = [] if problem else [drives.recordings[name] for drives in driven]
            if recordings:
                draw(recordings, picture.path, traffic=self.traffic)
                if picture.thumbnail:
                    save_picture(recordings, picture.path.with_suffix(".png"), dpi=THUMBNAIL_DPI)
            judged = [r for r, driver in zip(recordings, self._drivers, strict=False) if driver.name != LOG]
            scores, outcomes = tuple(r.score for r in judged), tuple(r.outcome for r in judged)
            told = Drawn(picture=picture, scenario_id=name, scenario_type=scenario.scenario_type, problem=problem)
            found.append(replace(told, scores=scores, outcomes=outcomes))
        return found

    def _drive(self, driver: Driver, scenarios: Sequence[Scenario]) -> Drives:
        history = FailureHistory() if self.last_chances and not self.tracker else None
        assert self._around is not None
        drives = drive_all(
            driver, scenarios, tracker=self.tracker, traffic=self._around, store=self._opened, history=history
        )
        if self.last_chances and self.tracker:
            history = retraced_failures(list(drives.recordings.values()))
        for name, found in ({} if history is None else last_chances(history)).items():
            if name in drives.recordings:
                drives.recordings[name] = with_last_chance(drives.recordings[name], found)
        return drives


def draw(recordings: Sequence[DriveRecording], path: Path, *, traffic: str) -> None:
    """Write recordings of one scenario in the format of the path's suffix."""
    if path.suffix == ".png":
        save_picture(recordings, path)
    elif path.suffix == ".gif":
        save_animation(recordings, path)
    elif path.suffix == ".mp4":
        save_video(recordings, path)
    else:
        save_player(recordings, path, traffic=traffic)


def draw_many(renderer: SceneRenderer, pictures: Sequence[Picture], *, processes: int | None = None) -> Iterator[Drawn]:
    """Yield what came of pictures, in their order.

    Args:
        renderer: Makes them.
        pictures: Which.
        processes: How many share the work; None: as many as help.
    """
    share = max(1, min(usable_cores(), len(pictures) // SCENES_PER_PROCESS)) if processes is None else processes
    chunks = [pictures[first : first + SCENES_AT_ONCE] for first in range(0, len(pictures), SCENES_AT_ONCE)]
    for drawn in in_order(renderer, chunks, share, purpose="draws scenes", remedy="fewer scenes at a time"):
        yield from drawn
