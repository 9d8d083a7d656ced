"""Packs: what goes in comes out again, and everything that is no pack is refused in one line and leaves nothing."""

import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces import cli
from drivetrain.run_record import RunPaths
from drivetrain.runs.pack import pack_run, read_pack
from drivetrain.runs.pack_opening import open_pack
from drivetrain.runs.run_store import RunStore, read_run

SECRET = os.urandom(3_000_000)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project with a run that began from another one's weights."""
    root = tmp_path / "here"
    root.mkdir()
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    monkeypatch.chdir(tmp_path)
    (root / "clone.pt").write_bytes(b"parent")
    paths = write_ended_run(
        root, "one", rows=rows_of(3), status="completed", algorithm="cimrl", parent="clone.pt"
    ).paths
    paths.config_yaml.write_text("data: auto\n")
    paths.train_log.write_text("step 1 \x1b[31m\n")
    paths.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    paths.best.write_bytes(SECRET)
    paths.last.write_bytes(b"last")
    return root


@pytest.fixture
def packed(root, tmp_path) -> Path:
    return pack_run(RunStore(root).get("one"), tmp_path / "one.zip").file


@pytest.fixture
def there(tmp_path) -> Path:
    """Another project."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_a_run_comes_out_as_it_went_in(root, packed, there):
    assert read_pack(packed).manifest["data"]["fingerprint"] == "f00d"
    pack, paths = open_pack(packed, root=there, run_id="two")
    assert (there / "experiments/logs/two/train.log").read_bytes() == b"step 1 ?[31m\n", "no terminal obeys a log"
    assert pack.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
    run = read_run(RunPaths(root=there, run_id="two"))
    assert (run.health.status, run.step, run.algorithm) == ("completed", 30_000, "cimrl")
    assert run.paths.best == paths.best == there / "experiments/checkpoints/two/best.pt"
    assert paths.best.read_bytes() == SECRET
    assert run.info.parent == "experiments/checkpoints/two/parent.pt"
    assert (there / run.info.parent).read_bytes() == b"parent"
    assert len(run.rows) == 3
    record, checkpoints = "experiments/logs/two", "experiments/checkpoints/two"
    assert contents(there) == {
        *(f"{record}/{name}" for name in ("run.json", "state.json", "config.yaml", "metrics.jsonl", "events.jsonl")),
        f"{record}/train.log",
        *(f"{checkpoints}/{name}" for name in ("best.pt", "last.pt", "parent.pt")),
    }


def test_what_people_are_told_to_type_is_not_from_the_pack(root, packed, there):
    """The recorded command is shown as the one that resumes a run."""
    document = json.loads((root / "experiments/logs/one/run.json").read_text())
    (root / "experiments/logs/one/run.json").write_text(json.dumps({**document, "argv": ["rm", "-rf", "/"]}))
    evil = pack_run(RunStore(root).get("one"), packed.with_name("evil.zip")).file
    open_pack(evil, root=there)
    command = RunStore(there).get("one").resume_command()
    assert command == "python python/src/training/train_rl.py --run-id one --resume"


def test_the_same_run_packs_to_the_same_files(root, tmp_path):
    run = RunStore(root).get("one")
    one, other = (pack_run(run, tmp_path / f"{name}.zip") for name in "ab")
    assert one.manifest["files"] == other.manifest["files"]
    assert one.manifest["files"]["checkpoints/best.pt"]["sha256"] == hashlib.sha256(SECRET).hexdigest()


def test_runs_that_cannot_be_packed(root, tmp_path):
    def refused(run_id):
        with pytest.raises(RunError) as error:
            pack_run(RunStore(root).get(run_id), tmp_path / "x.zip")
        return str(error.value)

    best = root / "experiments/checkpoints/one/best.pt"
    best.unlink()
    assert refused("one") == (
        "run 'one' has no experiments/checkpoints/one/best.pt: it was never evaluated; resume it until it is"
    )
    (root / "experiments/logs/one/config.yaml").unlink()
    assert refused("one") == "run 'one' has no config.yaml, so that nobody could use its pack; train it again"
    _, lock = write_run(root, "busy", rows=rows_of(2))
    try:
        assert refused("busy") == "run 'busy' is running; stop it first: drivetrain stop busy"
    finally:
        lock.release()
    assert not (tmp_path / "x.zip").exists()


def rewritten(packed, *, drop=(), replace=None, add=(), keep_manifest=True):
    """A pack with other members; ``add``: (ZipInfo or name, content)."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {name: content for name, content in (members | (replace or {})).items() if name not in drop}
    if not keep_manifest:
        files = {name: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for name, c in members.items()}
        document = json.loads(members["manifest.json"])
        files.pop("manifest.json")
        members["manifest.json"] = json.dumps({**document, "files": files}).encode()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for member, content in add:
            archive.writestr(member, content)
    return packed


def special(name, kind):
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o644) << 16
    return member


BAD = {
    "a path upwards": ({"add": [("run/../../../../evil", b"x")]}, "'run/../../../../evil' points out of the pack"),
    "an absolute path": ({"add": [("/etc/evil", b"x")]}, "'/etc/evil' points out of the pack"),
    "a path of another system": ({"add": [("C:/evil", b"x")]}, "'C:/evil' points out of the pack"),
    "a link": ({"add": [(special("run/train.log", stat.S_IFLNK), b"/etc/passwd")], "drop": ["run/train.log"]},
               "'run/train.log' is no plain file (a link, a device or a folder)"),
    "a device": ({"add": [(special("x", stat.S_IFBLK), b"")]},
                 "'x' is no plain file (a link, a device or a folder)"),
    "a foreign file": ({"add": [("checkpoints/evil.py", b"x")]}, "'checkpoints/evil.py' is no file of a pack"),
    "a bomb": ({"replace": {"run/train.log": b"0" * 30_000_000}, "keep_manifest": False},
               r"'run/train.log' would grow 1,0\d\d times, more than 200"),
    "changed bytes": ({"replace": {"checkpoints/last.pt": b"LAST"}},
                      "checkpoints/last.pt is not what the manifest says; ask for it once more"),
    "control characters": ({"replace": {"run/train.log": b"\x1b]0;evil\x07"}, "keep_manifest": False},
                           "run/train.log holds control characters, which no log of ours does"),
    "control characters as JSON spells them": (
        {"replace": {"run/events.jsonl": b'{"message": "\\u001B]0;evil"}\n'}, "keep_manifest": False},
        "run/events.jsonl holds control characters, which no log of ours does"),
    "control characters in what is printed": (
        {"replace": {"manifest.json": b'{"host": "\\u009b\\u0007"}'}},
        "manifest.json holds control characters, which no log of ours does"),
    "another's record": ({"replace": {"run/run.json": b"{}"}, "keep_manifest": False},
                         "its run.json or state.json is none of ours; ask for it once more"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_pack_is_refused_and_leaves_nothing(packed, there, what):
    changes, line = BAD[what]
    rewritten(packed, **changes)
    before = contents(there.parent)
    with pytest.raises(RunError, match=f"^{packed}: refused, " + line.replace("(", r"\(").replace(")", r"\)")) as error:
        open_pack(packed, root=there)
    assert "\n" not in str(error.value)
    assert contents(there.parent) == before


def test_a_size_that_is_only_claimed_is_refused(packed, there):
    """The directory of the archive says 3 GiB of a file; nothing is read to find out."""
    content = bytearray(packed.read_bytes())
    entry = content.index(b"PK\x01\x02", content.index(b"checkpoints/last.pt") - 200)
    while content[entry + 46 : entry + 46 + 19] != b"checkpoints/last.pt":
        entry = content.index(b"PK\x01\x02", entry + 4)
    content[entry + 24 : entry + 28] = struct.pack("<I", 3 * 1024**3)
    packed.write_bytes(content)
    line = r"refused, 'checkpoints/last.pt' would have 3,221,225,472 bytes, more than 2,147,483,648"
    with pytest.raises(RunError, match=line):
        open_pack(packed, root=there)
    assert contents(there) == set()


@pytest.mark.parametrize("cut", [0, 10, 1_000, 2_999_999])
def test_a_cut_off_file_is_damaged(packed, there, cut):
    packed.write_bytes(packed.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"damaged, or no pack \(.*\); ask for it once more$"):
        open_pack(packed, root=there)
    assert contents(there) == set()


def test_flipped_bits_never_come_through(packed, there):
    """Anywhere in the archive: either nothing that matters has changed, or it is refused."""
    content, refused = packed.read_bytes(), []
    for k in range(60):
        at = (k * 104_729 + 17 * k * k) % len(content) if k < 30 else len(content) - 1 - 37 * (k - 30)
        flipped = bytearray(content)
        flipped[at] ^= 0x10
        packed.write_bytes(flipped)
        try:
            manifest = read_pack(packed).manifest
        except RunError as error:
            refused.append(str(error))
            continue
        assert manifest["files"]["checkpoints/best.pt"]["sha256"] == hashlib.sha256(SECRET).hexdigest()
    assert len(refused) > 30
    assert not any("\n" in line for line in refused)


def test_names_that_are_taken_are_kept(root, packed, tmp_path):
    with pytest.raises(UsageError) as error:
        open_pack(packed, root=root)
    assert str(error.value) == (
        "pack: experiments/logs/one exists; open the pack under another name: "
        f"drivetrain pack --open {packed} --as one-2"
    )
    mine = root / "experiments/checkpoints/mine"
    mine.mkdir()
    (mine / "best.pt").write_bytes(b"mine")
    with pytest.raises(UsageError, match="experiments/checkpoints/mine exists"):
        open_pack(packed, root=root, run_id="mine")
    assert (mine / "best.pt").read_bytes() == b"mine"
    with pytest.raises(UsageError, match=r"run id '\.\./x'"):
        open_pack(packed, root=root, run_id="../x")


OPENER = """
import os, sys
from pathlib import Path
from drivetrain.runs import pack_opening
genuine = Path.replace
def die_before_the_record(self, target):
    if self.parent.name == "logs":
        os.kill(os.getpid(), 9)
    return genuine(self, target)
Path.replace = die_before_the_record
pack_opening.open_pack(Path(sys.argv[1]), root=Path(sys.argv[2]))
"""


def test_an_opening_that_is_killed_leaves_no_run_and_goes_through_again(packed, there):
    done = subprocess.run([sys.executable, "-c", OPENER, str(packed), str(there)], timeout=60, check=False)
    assert done.returncode == -9
    assert RunStore(there).ids() == []
    assert any("opening" in name for name in contents(there))
    open_pack(packed, root=there)
    assert RunStore(there).ids() == ["one"]
    assert not any("opening" in name for name in contents(there))


def test_the_command(root, tmp_path, capsys):
    assert cli.main(["pack", "one"]) == 0
    out = capsys.readouterr().out
    digest = hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
    assert f"sha256 {digest}" in out
    assert "next: drivetrain evaluate one.zip | drivetrain pack --open one.zip" in out
    assert cli.main(["pack", "--open", "one.zip", "--as", "two", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run_id"], document["logs"]) == ("two", "experiments/logs/two")
    (tmp_path / "text.zip").write_text("no zip")
    for words, code, line in (
        (["one"], 2, "pack: one.zip exists; give another file with --out, or --overwrite"),
        (["one", "--out", str(root)], 2, f"pack: --out: {root} is a folder; give a file, for example {root}/one.zip"),
        (["one", "--out", "no/x.zip"], 2, "pack: --out: the folder no does not exist; make it first"),
        (["ona"], 1, "run 'ona' does not exist in experiments/logs; did you mean 'one'?"),
        ([], 2, "pack: give a run to pack, or --open ARCHIVE; for example: drivetrain pack ppo_v1"),
        (["--open", "no.zip"], 1, "no.zip: no such file; give a file of 'drivetrain pack'"),
        (["--open", str(root)], 1, f"{root}: is a folder; give a file of 'drivetrain pack'"),
        (["--open", "text.zip"], 1, "text.zip: damaged, or no pack (File is not a zip file); ask for it once more"),
    ):
        assert cli.main(["pack", *words]) == code
        assert capsys.readouterr().err == f"drivetrain: {line}\n"
    assert time.time() - document["manifest"]["packed"] < 600
