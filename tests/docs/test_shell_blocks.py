"""Every shell block of every page runs, in order, in a small checkout; or its marker says why it cannot run here.

On the line before a block, `<!-- run: no, REASON: detail -->` leaves it out, `<!-- run: with NAME, NAME -->` first puts
there what it takes for granted, `<!-- run: fresh -->` begins a new checkout, with `<!-- run: busy -->` runs go on
until they are stopped, and `<!-- run: extra NAME -->` needs an extra of pyproject.toml; `;` stands between several.
"""

import importlib.util
from dataclasses import dataclass

import pytest
from tests.conftest import EXTRAS
from tests.docs.pages import PAGES, ROOT, name_of, shell_blocks, shell_lines
from tests.docs.small_checkout import Pantry, Server, SmallCheckout

REASONS = (
    "GPU: ",
    "licensed data: ",
    "long: ",
    "network: ",
    "installs: ",
    "Unity: ",
    "cluster: ",
    "a person: ",
    "hook: ",
    "as in ",
)
"""Why a block may be left out."""
TAIL = 3000


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What stands before a block."""

    without: str | None = None
    """Why it is left out; None where it runs."""
    busy: bool = False
    """Whether runs that it starts go on until they are stopped."""
    fresh: bool = False
    """Whether it runs in a checkout of its own, and those after it."""
    names: tuple[str, ...] = ()
    """What it takes for granted."""
    extras: tuple[str, ...] = ()
    """What must be installed."""


def parse(text):
    """The marker of a text."""
    if text.startswith("no, "):
        reason = text.removeprefix("no, ")
        assert reason.startswith(REASONS), f"'{reason}' does not begin with one of {', '.join(REASONS)}"
        return Marker(without=reason)
    found = {"with": [], "extra": [], "fresh": [], "busy": []}
    for part in filter(None, text.split("; ")):
        kind, _, rest = part.partition(" ")
        assert kind in found, f"'{part}' begins with none of no, {', '.join(found)}"
        found[kind] += rest.split(", ")
    assert set(found["extra"]) <= set(EXTRAS), text
    return Marker(
        busy=bool(found["busy"]), fresh=bool(found["fresh"]), names=tuple(found["with"]), extras=tuple(found["extra"])
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    print(f"shell blocks: {server.close():.0f} s of processor time")


@pytest.fixture(scope="session")
def pantry(server, tmp_path_factory):
    checkout = SmallCheckout(tmp_path_factory.mktemp("pantry") / "checkout", server.programs)
    yield Pantry(checkout)
    checkout.end()


@pytest.fixture
def checkouts(server, pantry, tmp_path):
    """A function that makes a new checkout, with sample scenes or without."""
    made = []

    def make(*, sample):
        made.append(SmallCheckout(tmp_path / f"checkout{len(made)}", server.programs))
        made[-1].take(["sample"] if sample else [], pantry)
        return made[-1]

    yield make
    for checkout in made:
        checkout.end()


def to_run(page):
    """(block, marker) of those that are executed here."""
    for block in shell_blocks(page):
        marker = parse(block.marker)
        if marker.without is None and all(importlib.util.find_spec(EXTRAS[extra]) for extra in marker.extras):
            yield block, marker


def makes_the_sample(block):
    return any(words == ["drivetrain", "data", "sample"] for _, words in shell_lines(block.text))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", [page for page in PAGES if list(to_run(page))], ids=name_of)
def test_shell_blocks_run(page, checkouts, pantry):
    checkout, is_busy = None, False
    for block, marker in to_run(page):
        if checkout is not None and is_busy and (marker.fresh or not marker.busy):
            checkout.end()
        is_busy = marker.busy
        if checkout is None or marker.fresh:
            makes = (
                makes_the_sample(block) if marker.fresh else any(makes_the_sample(other) for other, _ in to_run(page))
            )
            checkout = checkouts(sample=not makes)
        checkout.take(marker.names, pantry)
        code, output = checkout.run(block.text, busy=marker.busy)
        assert code == 0, f"{block.name} ended with {code}\n{block.text}\n{output[-TAIL:]}"
        assert "Traceback" not in output, f"{block.name}\n{output[-TAIL:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_markers_say_what_they_may(page):
    for block in shell_blocks(page):
        reason = parse(block.marker).without
        if reason and reason.startswith("as in "):
            other = ROOT / reason.removeprefix("as in ")
            shown = [words for same in shell_blocks(other) for _, words in shell_lines(same.text)]
            # The same commands, but for the language of a report.
            lines = [[word for word in words if word not in ("--lang", "ko")] for _, words in shell_lines(block.text)]
            assert [words for words in lines if words not in shown] == [], f"{block.name}: not in {name_of(other)}"
