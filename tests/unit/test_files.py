"""Files and memory: what is whole, what is kept."""

import sys

import pytest
from omarl.utils import allocator
from omarl.utils.files import write_whole


def test_what_was_there_stays_when_writing_fails(tmp_path):
    target = tmp_path / "a.txt"
    assert write_whole(target, "one") == target
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "half\ud800")
    assert target.read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    write_whole(target, "two")
    assert target.read_text() == "two"


def test_another_system_keeps_its_memorys_manners(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_freed_memory() is False
