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
        (["--out", "x.mp4"], 2, "drivetrain render --out: 'x.mp4' must end in .gif or .png"),
        (["--no-log"], 2, "drivetrain render: nobody drives; give a checkpoint or --planner, or drop --no-log"),
        (["--planner", "imd"], 2, "planner: 'imd' does not exist; did you mean 'idm'?"),
    ],
)
def test_wrong_use_is_one_line(store, words, code, message, capsys):
    assert main(["render", "--data", str(store), *words]) == code
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_a_scenario_that_is_not_there_is_named(store, capsys):
    assert main(["render", "--data", str(store), "--scenario", "2"]) == 1
    expected = (
        f"{store}: scenario '2' is neither an id (16 hex characters) nor a number below 2, the size of split 'val'"
    )
    assert capsys.readouterr().err == f"drivetrain: {expected}\n"


def test_missing_data_say_how_to_make_them(tmp_path, capsys):
    assert main(["render", "--data", str(tmp_path / "none")]) == 1
    assert "drivetrain data sample" in capsys.readouterr().err
