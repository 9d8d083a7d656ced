import json
import re
from dataclasses import replace

import numpy as np
import pytest
from tests.rendering.browser import browser, program
from tests.rendering.driving_policies import plain_policy, proposal_policy, write_policy
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import empty_world, parked_car_road, signalled_crossing, straight_road

from drivetrain.rendering import style
from drivetrain.rendering.drivers import drive_all, named_driver, planner_drive
from drivetrain.rendering.player_data import player_document
from drivetrain.rendering.player_insight import insight_document
from drivetrain.rendering.player_page import player_page, save_player
from drivetrain.rendering.recording import logged_ego_pose
from drivetrain.sim.geometry import rotate_into_frame
from drivetrain.sim.scenario import LightState

needs_browser = pytest.mark.skipif(program() is None, reason="no chromium on this machine")


def unpacked(track, origin):
    """Columns of differences as poses [n, 3] in the map frame."""
    x, y, h = (np.cumsum(track[name]) for name in "xyh")
    return np.column_stack([x / 100 + origin[0], y / 100 + origin[1], h / 1000])


def origin_of(drive):
    return np.round(logged_ego_pose(drive.scenario)[drive.first_frame, :2])


@pytest.fixture(scope="module")
def crash():
    """The ego drives into a parked car; a policy beside it that does something else."""
    parked = Mover(path=line((45, 0), (46, 0)), arc_length=constant(0, 0))
    return planner_drive("constant_velocity", straight_road(agents=[parked], lead=False))


@pytest.fixture(scope="module")
def watched(tmp_path_factory, crash):
    folder = tmp_path_factory.mktemp("policies")
    made = {"plain": plain_policy(), "proposals": proposal_policy()}
    drivers = [named_driver(write_policy(folder / name / "best.pt", policy)) for name, policy in made.items()]
    return [drive_all(driver, [crash.scenario]).of(crash.scenario) for driver in drivers]


def test_poses_come_back_within_half_a_centimetre(crash):
    document = player_document([crash], traffic="replay")
    origin = origin_of(crash)
    ego = unpacked(document["panels"][0]["ego"], origin)
    assert np.abs(ego[:, :2] - crash.ego_pose[:, :2]).max() <= 0.00501
    assert np.abs(ego[:, 2] - crash.ego_pose[:, 2]).max() <= 0.000501
    speed = np.cumsum(document["panels"][0]["ego"]["v"]) / 100
    assert np.abs(speed - crash.ego_speed).max() <= 0.00501
    log = unpacked(document["log"], origin)
    assert np.abs(log - logged_ego_pose(crash.scenario)).max() <= 0.00501


def test_who_stands_still_is_kept_once_and_gaps_are_gaps():
    drive = planner_drive("log", parked_car_road())
    agent = player_document([drive], traffic="replay")["panels"][0]["agents"][0]
    assert agent["parked"] == 1
    assert len(agent["x"]) == len(agent["y"]) == len(agent["h"]) == 1
    assert agent["on"] == [0, drive.num_frames]
    present = np.ones((drive.num_frames, 1), dtype=bool)
    present[[0, 5, 6]] = False
    agent = player_document([replace(drive, agent_present=present)], traffic="replay")["panels"][0]["agents"][0]
    assert agent["on"] == [1, 5, 7, drive.num_frames]


def test_turning_past_south_does_not_jump():
    drive = planner_drive("log", straight_road())
    heading = np.linspace(3.0, 3.4, drive.num_frames)
    wrapped = np.where(heading > np.pi, heading - 2 * np.pi, heading)
    turned = replace(drive, ego_pose=np.column_stack([drive.ego_pose[:, :2], wrapped]))
    steps = player_document([turned], traffic="replay")["panels"][0]["ego"]["h"]
    assert max(abs(step) for step in steps[1:]) <= 6


def test_lights_are_runs_of_states():
    states = [int(LightState.RED)] * 40 + [int(LightState.GREEN)] * 81
    scenario = signalled_crossing(ego_state=states)
    document = player_document([planner_drive("log", scenario)], traffic="replay")
    runs = [light["runs"] for light in document["lights"]]
    assert [2, 40, 0, 81] in runs
    assert all(sum(run[1::2]) == 121 for run in runs)
    x0, y0, x1, y1 = document["lights"][0]["bar"]
    assert np.hypot(x1 - x0, y1 - y0) == pytest.approx(320, abs=2)


def test_what_the_policy_saw_lies_where_it_was(watched):
    drive = watched[0]
    document = insight_document(drive.insight)
    frame = 3
    x, y, heading = drive.ego_pose[frame]
    parked = drive.agent_pose[frame, 0]
    ahead, left = rotate_into_frame(parked[0] - x, parked[1] - y, np.cos(heading), np.sin(heading))
    seen = document["agents"][frame]
    assert seen[:2] == [pytest.approx(float(ahead) * 10, abs=0.6), pytest.approx(float(left) * 10, abs=0.6)]
    assert seen[2] == pytest.approx(100 * (parked[2] - heading), abs=1.0)
    assert seen[3:5] == [round(10 * side) for side in drive.agent_size[0].tolist()]
    route = np.array(document["route"][frame]).reshape(-1, 2) / 10
    assert np.hypot(*np.diff(route[:5], axis=0).T) == pytest.approx([2.0] * 4, abs=0.2)
    edges = [piece for piece in np.array(document["road"][frame]).reshape(-1, 5).tolist() if piece[4]]
    assert edges
    # The edges run along y = -2 and y = 5.5 of the map.
    places = {round(y + np.sin(heading) * piece[0] / 10 + np.cos(heading) * piece[1] / 10, 1) for piece in edges}
    assert all(min(abs(place + 2.0), abs(place - 5.5)) < 0.15 for place in places)


def test_risk_is_told_where_the_policy_knows_it(watched):
    plain, proposals = (insight_document(drive.insight) for drive in watched)
    assert "risk" not in plain
    assert len(plain["category"][0]) == 24
    assert proposals["epsilon"] == 50
    assert proposals["risk"][0] == np.round(1000 * watched[1].insight.risk[0].astype(float)).astype(int).tolist()
    assert proposals["allowed"][0] == "".join("01"[int(yes)] for yes in watched[1].insight.allowed[0])
    assert len(plain["grid"]) == 91


def test_a_world_without_a_map_can_be_played():
    document = player_document([planner_drive("log", empty_world())], traffic="replay")
    assert document["road"] == {"known": False, "area": [], "crosswalks": [], "lanes": [], "edges": []}
    assert document["panels"][0]["agents"] == []


def test_a_page_is_whole_and_asks_nobody_for_anything(crash, watched, tmp_path):
    odd = replace(crash, label="</script><b>{{script}} & \u2028")
    path = tmp_path / "new" / "scene.html"
    save_player([odd, *watched], path)
    page = path.read_text()
    assert page.count("</script>") == 2
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert [file.name for file in path.parent.iterdir()] == ["scene.html"]
    inline = re.search(r'<script id="scene" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(inline[1])["panels"][0]["label"] == odd.label
    assert "{{" not in page.replace("{{script}}", "")
    assert len(page) < 1_000_000


def test_both_themes_have_the_same_colours():
    light, dark = style.THEMES["light"], style.THEMES["dark"]
    assert light.keys() == dark.keys()
    used = set(
        re.findall(r"colors\.(\w+)", player_page(player_document([planner_drive("log", empty_world())], traffic="")))
    )
    assert used <= light.keys()


COLOR_AT = """(() => {{ const c = document.querySelectorAll('.panel canvas')[{panel}], r = c.getBoundingClientRect();
const p = c.getContext('2d').getImageData({x} * c.width, {y} * c.height, 1, 1).data;
return '#' + [...p.slice(0, 3)].map(v => v.toString(16).padStart(2, '0')).join(''); }})()"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory, crash, watched):
    """A page with two panels in a browser."""
    if program() is None:
        pytest.skip("no chromium on this machine")
    path = tmp_path_factory.mktemp("page") / "scene.html"
    save_player([crash, watched[1]], path)
    with browser() as opened:
        yield opened, path


@pytest.fixture
def page(shown):
    opened, path = shown
    opened.open(path)
    yield opened
    assert opened.problems() == []


def text(page, selector):
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def test_a_drive_is_played_to_its_end(page, crash, watched):
    assert text(page, "#clock").startswith("0.0 /")
    page.evaluate(
        "const speed = document.getElementById('speed'); speed.value = '4'; speed.dispatchEvent(new Event('change'))"
    )
    page.press(" ")
    stands = "document.querySelector('#play path').getAttribute('d').startsWith('M3 1')"
    page.evaluate(f"new Promise(r => {{ const look = () => {stands} ? r() : setTimeout(look, 20); look(); }})")
    seconds = (max(crash.num_frames, watched[1].num_frames) - 1) * crash.dt
    assert text(page, "#clock") == f"{seconds:.1f} / {seconds:.1f} s"
    assert text(page, ".badge") == "COLLISION, AT FAULT"
    assert "failure" in page.evaluate("document.querySelector('.badge').className")
    assert text(page, ".verdict b") == "0"


def test_a_link_leads_to_a_moment(shown, crash):
    opened, path = shown
    # Going from one part of a page to another does not load it anew.
    empty = path.with_name("empty.html")
    empty.write_text("<!doctype html><title>nothing</title>")
    opened.open(empty)
    opened.open(path, fragment="#t=1.5")
    assert text(opened, "#clock").startswith("1.5 /")
    chosen = "Array.from(document.querySelectorAll('#toggles [aria-pressed=true]'), (b) => b.textContent).join()"
    plain = opened.evaluate(chosen).split(",")
    assert "Trail" in plain
    assert "Saw" not in plain
    opened.open(empty)
    opened.open(path, fragment="#t=1.5&keys=st")
    assert text(opened, "#clock").startswith("1.5 /")
    assert set(opened.evaluate(chosen).split(",")) == {*plain, "Saw"} - {"Trail"}, (
        "S shows what was seen, T hides the trail"
    )
    opened.open(empty)
    opened.open(path, fragment="#t=9999")
    seconds = text(opened, "#clock").split()
    assert seconds[0] == seconds[2]


def test_keys_and_events_lead_through_the_drive(page, crash):
    contact = next(event for event in crash.events if event.kind == "collision_at_fault")
    page.press("ArrowRight")
    assert text(page, "#clock").startswith("0.1 /")
    page.press("ArrowRight", shift=True)
    assert text(page, "#clock").startswith("1.1 /")
    page.press("Home")
    assert page.evaluate("document.querySelector('.badge').hidden")
    label = f"{contact.frame * crash.dt:.1f} s  COLLISION, AT FAULT  (constant velocity)"
    page.evaluate(
        f"[...document.querySelectorAll('#events button')].find(b => b.textContent === {json.dumps(label)}).click()"
    )
    page.frames(2)
    assert text(page, "#clock").startswith(f"{contact.frame * crash.dt - 1:.1f} /")
    page.press("?")
    assert page.evaluate("document.getElementById('keys').open")


def test_the_ego_is_in_the_middle_when_it_is_followed(page):
    ego = style.THEMES["light"]["ego"].lower()
    pressed = "[...document.querySelectorAll('#toggles button')].find(b => b.textContent === 'Follow').ariaPressed"
    if page.evaluate(pressed) == "false":
        page.press("f")
    for _ in range(2):
        # Just behind the centre: in front of it is the white arrow.
        assert page.evaluate(COLOR_AT.format(panel=0, x=0.5, y=0.508)) == ego
        page.press("ArrowRight", shift=True)
    page.press("d")
    dark = page.evaluate(COLOR_AT.format(panel=0, x=0.02, y=0.5))
    assert dark in {style.THEMES["dark"]["ground"].lower(), style.THEMES["dark"]["road"].lower()}


def test_what_was_considered_is_told(page, watched):
    assert page.evaluate("document.querySelectorAll('.considered')[1].hidden")
    page.press("c")
    told = page.evaluate("document.querySelectorAll('.considered')[1].innerText")
    blocked = int((~watched[1].insight.allowed[0]).sum())
    assert f"{blocked} of 6 likeliest proposals too risky" in told
    assert "bound 0.05" in told
    assert page.evaluate("document.querySelectorAll('.considered')[0].hidden")  # a planner considers nothing


def test_panels_stand_one_above_the_other_on_a_phone(shown):
    opened, path = shown
    opened.open(path, width=390, height=844, scale=2)
    boxes = opened.evaluate(
        "[...document.querySelectorAll('.panel')].map(p => p.getBoundingClientRect())"
        ".map(r => [r.left, r.top, r.width, r.height])"
    )
    assert boxes[0][0] == boxes[1][0]
    assert boxes[1][1] >= boxes[0][1] + boxes[0][3]
    assert min(box[3] for box in boxes) > 200
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
