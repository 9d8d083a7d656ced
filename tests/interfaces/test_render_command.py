import pytest
from PIL import Image

from drivetrain.data.synthetic.sample import write_sample
from drivetrain.interfaces.cli import main


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("data") / "few", train=0, val=2, test=0, progress=lambda *_: None)


def test_a_png_has_one_panel_per_driver(store, tmp_path, capsys):
    out = tmp_path / "pictures" / "scene.png"
    assert main(["render", "--planner", "idm", "--data", str(store), "--scenario", "1", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    alone = tmp_path / "log.png"
    assert main(["render", "--data", str(store), "--scenario", "1", "--out", str(alone)]) == 0
    with Image.open(out) as both, Image.open(alone) as log:
        assert both.width > 1.8 * log.width


def test_a_gif_of_a_scenario_by_its_id(store, tmp_path, capsys):
    from drivetrain.data.scenario_store import ScenarioStore

    name = ScenarioStore(store).ids("val")[0]
    out = tmp_path / "scene.gif"
    assert main(["render", "--data", str(store), "--scenario", name, "--out", str(out)]) == 0
    assert f"scenario {name} (" in capsys.readouterr().err
    with Image.open(out) as animation:
        assert animation.n_frames == 76  # every second of 151 frames


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--out", "x.htm"],
            2,
            "drivetrain render --out: 'x.htm' must end in .png, .gif, .mp4 or .html, or be a folder"
            "; did you mean 'html'?",
        ),
        (
            ["--out", "x.gif", "--format", "png"],
            2,
            "render: --out 'x.gif' and --format png contradict each other; leave one out",
        ),
        (
            ["--out", "x.gif", "--scenario", "0", "1"],
            2,
            "render --out: 'x.gif' names one gif file, several scenes need a folder; drop its suffix",
        ),
        (["--worst", "2"], 2, "render --worst: nobody drives; give a checkpoint or --planner first"),
        (["--planner", "idm", "--worst", "0"], 2, "render --worst: 0 is too few; use 1 or more, for example 12"),
        (
            ["--planner", "idm", "--worst", "1", "--scenario", "0"],
            2,
            "render: --worst chooses scenes itself; leave out --scenario, or --worst",
        ),
        (
            ["--planner", "idm", "--against", "exprt"],
            2,
            "render --against: 'exprt' is neither a checkpoint nor a planner; did you mean 'expert'?; planners are "
            "log, log_replay, constant_velocity, idm, nuplan_idm, rule_based, nuplan_simple, nuplan_log_future, expert",
        ),
        (
            ["--planner", "expert", "--dynamics", "tracker"],
            2,
            "planner: 'expert' drives the vehicle model directly; use --dynamics direct",
        ),
        (["--no-log"], 2, "drivetrain render: nobody drives; give a checkpoint or --planner, or drop --no-log"),
        (["--planner", "imd"], 2, "planner: 'imd' does not exist; did you mean 'idm'?"),
    ],
)
def test_wrong_use_is_one_line(store, words, code, message, capsys):
    assert main(["render", "--data", str(store), *words]) == code
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_a_file_where_a_folder_is_needed_is_named(store, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("")
    out = taken / "below"
    assert main(["render", "--data", str(store), "--scenario", "0", "1", "--out", str(out)]) == 2
    expected = f"render --out: '{taken}' is a file, a folder is needed there; name another place"
    assert capsys.readouterr().err == f"drivetrain: {expected}\n"


def test_a_folder_takes_one_scene_by_its_id(store, tmp_path, capsys):
    from drivetrain.data.scenario_store import ScenarioStore

    name = ScenarioStore(store).ids("val")[1]
    assert main(["render", "--planner", "idm", "--data", str(store), "--scenario", "1", "--format", "html", "--out",
                 str(tmp_path)]) == 0  # fmt: skip
    assert capsys.readouterr().out == f"{tmp_path / name}.html\n"
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.html"]


def test_the_worst_scenes_come_first_and_stand_on_a_page(store, tmp_path, capsys):
    from drivetrain.data.scenario_store import ScenarioStore
    from drivetrain.trainer.evaluate import evaluate

    result = evaluate("constant_velocity", ScenarioStore(store), dynamics="direct", processes=1)
    scores = dict(zip(result.scenario_ids, result.values["score_basic"].tolist(), strict=True))
    words = ["--dynamics", "direct", "--worst", "5", "--against", "idm", "--format", "html", "--out", str(tmp_path)]
    assert main(["render", "--planner", "constant_velocity", "--data", str(store), *words]) == 0
    shown = [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines()]
    order = sorted(scores, key=lambda name: scores[name])
    assert shown == [f"{rank}-{name}.html" for rank, name in enumerate(order, start=1)] + ["index.html"]
    page = (tmp_path / "index.html").read_text()
    assert "constant velocity: the 2 worst scenes" in page
    for rank, name in enumerate(order, start=1):
        assert f'href="{rank}-{name}.html"' in page
        assert (tmp_path / f"{rank}-{name}.png").is_file()
        assert f"constant velocity: {100 * scores[name]:.0f}, " in page


def test_a_scene_near_the_one_asked_for_is_named(store, capsys):
    from drivetrain.data.scenario_store import ScenarioStore

    name = ScenarioStore(store).ids("val")[0]
    wrong = name[:-1] + ("0" if name[-1] != "0" else "1")
    assert main(["render", "--data", str(store), "--scenario", wrong]) == 1
    expected = f"{store}: has no scenario '{wrong}' among its 2; did you mean '{name}'?"
    assert capsys.readouterr().err == f"drivetrain: {expected}\n"


def test_a_scenario_that_is_not_there_is_named(store, capsys):
    assert main(["render", "--data", str(store), "--scenario", "2"]) == 1
    expected = (
        f"{store}: scenario '2' is neither an id (16 hex characters) nor a number below 2, the size of split 'val'"
    )
    assert capsys.readouterr().err == f"drivetrain: {expected}\n"


def test_mp4_without_ffmpeg_is_refused_before_anything_is_driven(store, capsys, monkeypatch):
    from drivetrain.rendering import video

    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    assert main(["render", "--data", str(store), "--format", "mp4"]) == 1
    assert "there is no ffmpeg on this machine" in capsys.readouterr().err


def test_missing_data_say_how_to_make_them(tmp_path, capsys):
    assert main(["render", "--data", str(tmp_path / "none")]) == 1
    assert "drivetrain data sample" in capsys.readouterr().err
