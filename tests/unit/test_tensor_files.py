import collections
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from omarl.types import ConfigError
from omarl.utils.tensor_files import load_tensors

CONTENT = {
    "weight": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "bits": torch.tensor([True, False]),
    "words": torch.tensor([1, 2, 3], dtype=torch.uint16),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "state": collections.OrderedDict(a=[1, 2.5, "text", None, True, (3,)]),
    "others": (torch.Size([2]), torch.float32, {1, 2}, b"bytes", 2**80),
    "network": torch.nn.Linear(2, 3).state_dict(),
}


def saved(path: Path, content=CONTENT) -> Path:
    torch.save(content, path)
    return path


def rewritten(path: Path, change, compression=zipfile.ZIP_STORED) -> Path:
    """The archive with each entry's bytes replaced by ``change(name, bytes)``."""
    with zipfile.ZipFile(path) as old:
        entries = [(name, change(name.partition("/")[2], old.read(name))) for name in old.namelist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries:
            new.writestr(name, content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_tensors(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


def test_tensors_and_plain_containers_are_restored(tmp_path):
    file = saved(tmp_path / "a.th")
    loaded = load_tensors(file)
    assert list(loaded) == list(CONTENT) and loaded["others"] == CONTENT["others"]
    assert loaded["state"] == CONTENT["state"] and type(loaded["parameter"]) is torch.nn.Parameter
    for name in ("weight", "half", "bits", "words", "parameter"):
        assert torch.equal(loaded[name], CONTENT[name]) and loaded[name].dtype == CONTENT[name].dtype
    torch.nn.Linear(2, 3).load_state_dict(loaded["network"])


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path):
    loaded = load_tensors(saved(tmp_path / "a.th"))
    size = (tmp_path / "a.th").stat().st_size
    (tmp_path / "a.th").write_bytes(bytes(size))
    assert torch.equal(loaded["weight"], CONTENT["weight"])


def test_a_view_of_a_large_tensor_and_shared_weights_are_accepted(tmp_path):
    table = torch.arange(1000.0)
    loaded = load_tensors(saved(tmp_path / "a.th", {"row": table[3:5], "all": table, "again": table}))
    assert torch.equal(loaded["row"], table[3:5]) and torch.equal(loaded["again"], table)


class Command:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickled_command_is_refused_and_not_executed(tmp_path, protocol):
    canary = tmp_path / "canary"
    torch.save({"x": Command(canary)}, tmp_path / "zip.th", pickle_protocol=protocol)
    assert "system" in refused(tmp_path / "zip.th") or "names a class" in refused(tmp_path / "zip.th")
    (tmp_path / "bare.th").write_bytes(pickle.dumps(Command(canary), protocol=protocol))
    assert "damaged" in refused(tmp_path / "bare.th")
    assert not canary.exists()


def test_objects_that_allocate_or_belong_to_other_packages_are_refused(tmp_path):
    for content in (bytearray(8), torch.nn.Linear(1, 1), pickle.PickleBuffer, torch.zeros(2).to_sparse()):
        saved(tmp_path / "a.th", {"x": content})
        assert "it names" in refused(tmp_path / "a.th")


def test_compressed_entries_are_refused(tmp_path):
    file = saved(tmp_path / "a.th", torch.zeros(10**6))
    rewritten(file, lambda name, content: content, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 20_000 and "compressed" in refused(file)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    file = saved(tmp_path / "a.th", [torch.zeros(10_000)])
    with zipfile.ZipFile(file, "a") as archive:
        (big,) = [entry for entry in archive.infolist() if entry.filename.endswith("data/0")]
        for i in range(1, 20):
            twin = zipfile.ZipInfo(big.filename[:-1] + str(i))
            twin.header_offset, twin.file_size = big.header_offset, big.file_size
            twin.compress_size, twin.CRC = big.compress_size, big.CRC
            archive.filelist.append(twin)
        archive.writestr("a/last", b"")  # so that the directory is written
    assert "larger than the file" in refused(file)


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    saved(tmp_path / "a.th", torch.zeros(1).expand(10**5, 10**5))
    assert "has only 4 bytes" in refused(tmp_path / "a.th")


def test_a_storage_that_claims_more_than_its_bytes_is_refused(tmp_path):
    """torch 2.6 reads foreign memory for such a file, unless it maps the file."""
    file = saved(tmp_path / "a.th", {"x": torch.zeros(100), "y": torch.zeros(20_000)})

    def larger(name, content):
        hundred = b"K\x64"  # in the pickle: the storage's numbers, and the tensor's shape
        assert name != "data.pkl" or content.count(hundred) == 2
        return content.replace(hundred, b"M" + struct.pack("<H", 10_000)) if name == "data.pkl" else content

    assert "more than the file's 80,400 bytes" in refused(rewritten(file, larger))


def test_damage_is_found_even_in_the_numbers(tmp_path):
    file = saved(tmp_path / "a.th", torch.full((1000,), 7.0))
    content = bytearray(file.read_bytes())
    at = content.index(struct.pack("<f", 7.0) * 10) + 400
    content[at] ^= 0xFF
    file.write_bytes(content)
    assert "damaged" in refused(file) and "checksum" in refused(file)


def test_missing_truncated_foreign_and_deep_files_are_named(tmp_path):
    file = saved(tmp_path / "a.th")
    content = file.read_bytes()
    for part in (content[: len(content) // 2], b"", b"half a file", content[100:]):
        file.write_bytes(part)
        assert "damaged" in refused(file)
    assert "no such file" in refused(tmp_path / "none.th")
    assert "no such file" in refused(tmp_path)
    with zipfile.ZipFile(tmp_path / "foreign.th", "w") as archive:
        archive.writestr("x", "text")
    assert "data.pkl" in refused(tmp_path / "foreign.th")
    deep = saved(tmp_path / "deep.th", [1])
    rewritten(
        deep, lambda name, old: b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"." if name == "data.pkl" else old
    )
    assert "damaged" in refused(deep)


def test_a_long_structure_is_refused(tmp_path):
    file = saved(tmp_path / "a.th", [1])
    rewritten(file, lambda name, old: b"\x80\x02" + b"}" * 2**23 + b"." if name == "data.pkl" else old)
    assert "more than 8,388,608 bytes" in refused(file)
