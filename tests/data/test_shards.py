import json
import zlib

import numpy as np
import pytest

from drivetrain.data.shards import ShardReader, ShardWriter, encode_record
from drivetrain.errors import DataError

ARRAYS = {
    "flags": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "small": np.array([-3], dtype=np.int8),
    "short": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "signed": np.array([-7], dtype=np.int16),
    "index": np.array([2**32 - 1], dtype=np.uint32),
    "row": np.array([-1], dtype=np.int32),
    "token": np.array([2**64 - 1], dtype=np.uint64),
    "time": np.array([[2**62]], dtype=np.int64),
    "single": np.array([0.1], dtype=np.float32),
    "double": np.array([np.pi, np.nan]),
    "empty": np.zeros((0, 2)),
    "scalar": np.array(4.5),
}


def write(path, *records):
    writer = ShardWriter(path)
    for arrays, meta in records:
        writer.add(encode_record(arrays, meta))
    return writer.close()


def test_arrays_and_strings_come_back(tmp_path):
    path = tmp_path / "x.dts"
    summary = write(path, (ARRAYS, {"name": "größe"}), ({}, {}))
    assert summary.bytes == path.stat().st_size
    shard = ShardReader(path)
    assert len(shard) == 2
    record = shard.read(0)
    assert record.meta == {"name": "größe"}
    assert list(record.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert record.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(record.arrays[name], array)
        assert not record.arrays[name].flags.writeable
        assert record.arrays[name].ctypes.data % 64 == 0 or array.size == 0
    assert shard.read(1).arrays == {}


def test_big_endian_and_strided_arrays_are_stored_little_and_dense(tmp_path):
    write(tmp_path / "x.dts", ({"a": np.arange(6, dtype=">i4")[::2], "b": np.arange(6.0).reshape(2, 3).T}, {}))
    record = ShardReader(tmp_path / "x.dts").read(0)
    assert record.arrays["a"].dtype == np.dtype("<i4")
    assert record.arrays["a"].tolist() == [0, 2, 4]
    assert record.arrays["b"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([1j]), np.array([{}], dtype=object)])
def test_what_a_shard_does_not_hold_is_refused(array):
    with pytest.raises(DataError, match=r"array 'x' has type .*, a shard holds only"):
        encode_record({"x": array}, {})


def test_nothing_is_there_before_close(tmp_path):
    writer = ShardWriter(tmp_path / "x.dts")
    writer.add(encode_record(ARRAYS, {}))
    assert not (tmp_path / "x.dts").exists()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_is_named(tmp_path):
    path = tmp_path / "x.dts"
    write(path, (ARRAYS, {}), (ARRAYS, {}))
    content = path.read_bytes()
    for size in [0, 1, 63, 64, 95, 96, 200, len(content) // 2, len(content) - 40, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"x\.dts: ") as caught:
            ShardReader(path)
        assert "re-create the store" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "x.dts"
    write(path, ({"a": np.arange(16), "b": np.arange(3.0)}, {"name": "n"}))
    content = path.read_bytes()
    padding = set(range(12, 64))  # zeros of the file header: carry nothing
    for place in set(range(len(content))) - padding:
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.dts: ") as caught:
            ShardReader(path).read(0)
        assert "\n" not in str(caught.value)


def test_messages_say_what_is_wrong(tmp_path):
    path = tmp_path / "x.dts"
    write(path, ({"a": np.arange(16)}, {}))
    content = path.read_bytes()

    def reading(damaged, number=0):
        path.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            ShardReader(path).read(number)
        return str(caught.value).removeprefix(f"{path}: ").split("; ")[0]

    assert reading(b"PK" + content[2:]) == "is not a shard (starts with b'PKSHARD1', expected b'DTSHARD1')"
    assert reading(content[:8] + b"\x07" + content[9:]) == "has shard version 7, this program reads 3"
    assert reading(content[:-5]).startswith("is truncated (ends with b'")
    assert reading(b"") == "has 0 bytes, a shard has at least 96"
    assert reading(content, 1) == "has 1 records, asked for number 1"
    damaged = bytearray(content)
    damaged[200] ^= 1
    assert reading(damaged).startswith("record 0 is damaged (crc32 ")


def test_an_array_that_leaves_its_record_is_refused(tmp_path):
    header = json.dumps({"arrays": [["a", "<f8", [1000], 0]], "pages": [], "meta": {}}).encode()
    record = len(header).to_bytes(8, "little") + header
    writer = ShardWriter(tmp_path / "x.dts")
    writer.add(record + bytes(-len(record) % 64))
    writer.close()
    with pytest.raises(DataError, match="array 'a' of record 0 leaves its record"):
        ShardReader(tmp_path / "x.dts").read(0)


def test_checksums_are_crc32_of_the_head_and_of_every_page(tmp_path):
    block = encode_record({"a": np.arange(3), "b": np.arange(9000)}, {})
    writer = ShardWriter(tmp_path / "x.dts")
    writer.add(block)
    writer.close()
    content = (tmp_path / "x.dts").read_bytes()
    table = json.loads(content[64 + len(block) : -32])
    head_size = int.from_bytes(block[:8], "little")
    payload = -(-(8 + head_size) // 64) * 64
    assert table == {"records": [[64, len(block), zlib.crc32(block[:payload])]]}
    pages = [zlib.crc32(block[at : at + 16384]) for at in range(payload, len(block), 16384)]
    assert len(pages) == 5
    assert json.loads(block[8 : 8 + head_size])["pages"] == pages


def test_damage_is_noticed_where_it_is_read_and_nowhere_else(tmp_path):
    path = tmp_path / "x.dts"
    write(path, ({"small": np.arange(4), "large": np.arange(40_000).reshape(20_000, 2)}, {}))
    content = bytearray(path.read_bytes())
    place = content.index(np.array([20_000, 20_001]).tobytes())  # row 10,000 of the large array
    content[place] ^= 1
    path.write_bytes(content)
    record = ShardReader(path).read(0, lazily=True)
    assert record.whole("small").tolist() == [0, 1, 2, 3]
    assert record.rows("large", 0, 5000)[4999].tolist() == [9998, 9999]
    for reading in (lambda: record.rows("large", 9990, 10_001), lambda: record.whole("large")):
        with pytest.raises(
            DataError, match=r"x\.dts: record 0 is damaged \(crc32 of page 9 is .*; re-create the store"
        ):
            reading()
    assert record.rows("large", 15_000, 20_000)[19_999].tolist() == [39_998, 39_999]


def test_what_is_half_written_goes_also_where_the_rest_cannot_be_written(tmp_path):
    writer = ShardWriter(tmp_path / "a.dts")
    writer._file.close()
    writer._file = open("/dev/full", "wb")  # noqa: SIM115
    writer._file.write(b"the rest")
    writer.abort()
    assert list(tmp_path.iterdir()) == []
