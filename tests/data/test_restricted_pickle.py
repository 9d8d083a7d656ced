"""The reader of pickles: plain data of every protocol come through, nothing else does, and nothing is ever run."""

import collections
import copyreg
import os
import pickle  # noqa: TID251 - the files to be refused
import struct

import numpy as np
import pytest
from tests.data.scenarionet_files import dumps

from drivetrain.data import restricted_pickle
from drivetrain.data.restricted_pickle import load_plain
from drivetrain.errors import DataError

PLAIN = {
    "numbers": [1, -2.5, True, None, 1 << 70],
    "text": "Kreuzung é",
    "bytes": b"\x00\xff",
    "tuple": (1, (2, 3), ()),
    "set": {1, 2},
    "frozen": frozenset({"a"}),
    "ordered": collections.OrderedDict(b=1, a=[2]),
    "default": collections.defaultdict(int, {"VEHICLE": 3}),
    "array": np.arange(12.0).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "slice": np.arange(20)[::3],
    "flags": np.array([True, False]),
    "words": np.array(["TRAFFIC_LIGHT_RED", "x"]),
    "empty": np.zeros((0, 3)),
    "zero-dimensional": np.array(5),
    "big-endian": np.arange(3, dtype=">i4"),
    "scalar": np.float32(0.5),
    "flag": np.bool_(True),
}


@pytest.fixture
def load(tmp_path):
    def loader(content):
        path = tmp_path / "scene.pkl"
        path.write_bytes(content)
        return load_plain(path)

    return loader


@pytest.mark.parametrize("numpy_1", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(load, protocol, numpy_1):
    written = dumps(PLAIN, protocol, numpy_1=numpy_1)
    assert (b"numpy._core" in written) is not numpy_1
    found = load(written)
    assert list(found) == list(PLAIN)
    for name, value in PLAIN.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype.newbyteorder("=") == value.dtype.newbyteorder("="), name
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


class Runs:
    """Calls a function with arguments as soon as it is unpickled by Python's own reader."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


class Sets:
    def __init__(self, state):
        self.__dict__.update(state)


def by_name(module, name, *arguments):
    """A protocol-4 pickle that calls ``module.name`` with text arguments, whether or not it exists."""
    words = b"".join(pickle.BINUNICODE + struct.pack("<I", len(w)) + w.encode() for w in (module, name))
    call = b"".join(pickle.BINUNICODE + struct.pack("<I", len(a)) + a.encode() for a in arguments)
    return b"\x80\x04" + words + pickle.STACK_GLOBAL + pickle.MARK + call + pickle.TUPLE + pickle.REDUCE + b"."


MARK = "touch ran"
REFUSED = {
    "os.system": (dumps(Runs(os.system, MARK)), f"'{os.system.__module__}.system'"),
    "os.system in an old protocol": (dumps(Runs(os.system, MARK), 0), f"'{os.system.__module__}.system'"),
    "eval": (dumps({"tracks": Runs(eval, "open('ran', 'w')")}), "'builtins.eval'"),
    "eval of Python 2": (by_name("__builtin__", "eval", "1"), "'__builtin__.eval'"),
    "getattr": (dumps([Runs(getattr, "a", "__class__")]), "'builtins.getattr'"),
    "a dotted name": (by_name("numpy", "_core.multiarray.os.system", MARK), "'numpy._core.multiarray.os.system'"),
    "a name beside the table": (by_name("numpy.core.multiarray", "fromfile", "x"), "'numpy.core.multiarray.fromfile'"),
    "an object array": (dumps(np.array([Runs(os.system, MARK)], dtype=object)), "a NumPy array of type 'O8'"),
    "an object inside a set": (dumps({"a": {1, 2}, "b": Runs(os.remove, "x")}), "remove'"),
    "an object": (dumps(Sets({"a": 1}), 2), "Sets'"),
    "an object of an old protocol": (dumps(Sets({"a": 1}), 0), "'copy_reg._reconstructor'"),
    "a function": (dumps(print), "'builtins.print'"),
    "a record type": (dumps(np.zeros(2, dtype=[("a", "f8")])), "a NumPy array of type 'V8'"),
    "dates": (dumps(np.zeros(2, dtype="M8[s]")), "a NumPy array of type 'M8'"),
    "a masked array": (dumps(np.ma.masked_array([1])), "'numpy.ma.core._mareconstruct'"),
    "a registered object": (b"\x80\x02\x82\x01.", "registered object 1"),
    "an object elsewhere": (b"Pabc\n.", "an object outside of the file"),
    "a call of a type": (b"cbuiltins\nint\n(V5\ntR.", "a call of a type"),
    "a terabyte": (b"\x80\x02cbuiltins\nbytearray\n\x8a\x08" + struct.pack("<q", 10**12) + b"\x85R.", "bytes from 1"),
    "items of text": (b"cbuiltins\nset\n(Vabc\ntR.", "a set of 'abc'"),
    "another array class": (by_name("numpy.core.multiarray", "_reconstruct", "x"), "another class than numpy.ndarray"),
    "a change of the table": (b"\x80\x04cnumpy\ndtype\nN}\x8c\x05_makeK\x01s\x86b.", "a change of numpy.dtype"),
    "a change of the array class": (b"\x80\x04cnumpy\nndarray\n}\x8c\x01aK\x01sb.", "a change of numpy.ndarray"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused_and_nothing_is_run(load, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("must stay")
    content, words = REFUSED[case]
    with pytest.raises(DataError) as caught:
        load(content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'scene.pkl'}: asks for ")
    assert message.endswith(", which plain data do not need; nothing was run, leave it out")
    assert words in message
    assert "\n" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.pkl", "x"]
    assert load(dumps(PLAIN))["text"] == PLAIN["text"], "what was refused changed nothing"


def array_claiming(shape, dtype="<f8", data=b"\x00" * 16):
    """A pickle of an array whose shape and data need not agree."""
    reduced = np.zeros(2, dtype=dtype).__reduce__()
    state = (1, shape, np.dtype(dtype), False, data)
    return dumps(Rebuilt(reduced[0], reduced[1], state))


class Rebuilt:
    """Is written as whatever it is given."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((10**12,), "of shape (1000000000000,) from 16 bytes"),
        ((3,), "of shape (3,) from 16 bytes"),
        ((-2,), "of shape a tuple"),
        ((2, 1, 1, 1, 1), "of shape a tuple"),
        (("2",), "of shape a tuple"),
        ((2.0,), "of shape a tuple"),
    ],
)
def test_arrays_are_as_large_as_their_data(load, shape, words):
    with pytest.raises(DataError, match="a NumPy array") as caught:
        load(array_claiming(shape))
    assert words in str(caught.value)


def test_ten_bytes_do_not_take_the_memory(load):
    # Python's reader in C would make room for four billion entries; here the name is just a name.
    assert load(b"\x80\x04Nr\xff\xff\xff\x7f.") is None


def test_one_piece_of_a_file_is_not_copied_without_end(load):
    # A list of 2,000 numbers is named 2,000 times, each time for a set: four million entries from 20 KB.
    numbers = b"\x80\x02]q\x00(" + b"K\x01" * 2000 + b"e0"
    sets = b"(" + b"cbuiltins\nset\nh\x00\x85R" * 2000 + b"t."
    assert len(load(numbers + b"(" + b"cbuiltins\nset\nh\x00\x85R" * 5 + b"t.")) == 5
    with pytest.raises(DataError, match="asks for copies without end of what it holds"):
        load(numbers + sets)


@pytest.mark.parametrize(
    ("copy", "words"),
    [
        (b"(cbuiltins\nset\nh\x00o", "an object in the manner of Python 1"),
        (b"(h\x00ibuiltins\nset\n", "an object in the manner of Python 1"),
        (b"cbuiltins\nset\n](h\x00eR", "a call with a list"),
    ],
)
def test_no_other_way_of_calling_goes_uncounted(load, copy, words):
    with pytest.raises(DataError, match=f"asks for {words}"):
        load(b"\x80\x02]q\x00(" + b"K\x01" * 2000 + b"e0" + b"(" + copy * 2000 + b"t.")


def doubled(levels):
    """A pickle that leaves a tuple of two tuples of two tuples ... on the stack: a hash visits 2 ** levels of them."""
    return b"\x80\x04)\x940" + b"".join(b"h%ch%c\x86\x940" % (level, level) for level in range(levels))


@pytest.mark.parametrize(
    "use",
    [
        b"}h%cNs.",
        b"}(h%cNu.",
        b"(h%cNd.",
        b"\x8f(h%c\x90.",
        b"(h%c\x91.",
        b"cbuiltins\nset\n]h%ca\x85R.",
        b"ccollections\nOrderedDict\n]h%cN\x86a\x85R.",
    ],
)
def test_a_key_is_not_hashed_without_end(load, use):
    with pytest.raises(DataError, match="asks for a key of nested tuples"):
        load(doubled(12) + use % 12)
    assert load(doubled(0) + use % 0)
    kept = load(b"\x80\x04]" + doubled(60)[2:] + b"h%ca." % 60)
    assert type(kept) is list, "as a value such a tuple does no harm"


def test_only_containers_are_filled(load):
    array = dumps(np.arange(4), 2)[:-1]
    for fill in (b"K\x00K\x05s.", b"(K\x00K\x05u."):
        with pytest.raises(DataError, match="a _Array is filled like a dict"):
            load(array + fill)
    with pytest.raises(DataError, match="a bytearray is filled like a list"):
        load(b"\x80\x05\x96" + struct.pack("<Q", 3) + b"abcK\x01a.")


def test_room_is_made_for_what_is_there(load):
    with pytest.raises(DataError, match=r"is not a readable pickle \(EOFError\)"):
        load(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.")
    assert load(b"\x80\x05\x96" + struct.pack("<Q", 3) + b"abc.") == b"abc"


def test_a_file_that_is_too_large_is_not_read(load, monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"has 2 MiB, a scene may have 1; leave it out"):
        load(b"\x00" * (2 << 20))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}", b"\x80\x63.", b"\x80\x04]", b"\x80\x04h\x05.", b"\x80\x04]K\x01]s."]
)
def test_what_is_no_pickle_is_said_in_one_line(load, content):
    with pytest.raises(
        DataError, match=r"scene.pkl: is not a readable pickle \(.+\); download or make it again"
    ) as caught:
        load(content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(DataError, match="is not a readable pickle"):
            load_plain(path)


def test_truncated_files(load):
    whole = dumps(PLAIN)
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(DataError, match=r"is not a readable pickle|asks for"):
            load(whole[:length])


def test_flipped_bytes_give_data_or_errors(load):
    draw = np.random.default_rng(5)
    whole = np.frombuffer(dumps(PLAIN), dtype=np.uint8)
    outcomes = collections.Counter()
    for _ in range(400):
        spoilt = whole.copy()
        spoilt[draw.integers(0, len(whole), 3)] = draw.integers(0, 256, 3)
        try:
            load(spoilt.tobytes())
            outcomes["read"] += 1
        except DataError as error:
            outcomes["error" if "\n" not in str(error) else "error of several lines"] += 1
    assert outcomes.keys() == {"read", "error"}
    assert min(outcomes.values()) > 20


def test_copyreg_is_not_asked(load):
    copyreg.add_extension("os", "system", 240)
    try:
        with pytest.raises(DataError, match="asks for registered object 240"):
            load(b"\x80\x02\x82\xf0(X\x04\x00\x00\x00truetR.")
    finally:
        copyreg.remove_extension("os", "system", 240)
