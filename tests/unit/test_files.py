"""Atomic writing of files, and the allocator's settings."""

import sys

import pytest
from omarl.utils import allocator
from omarl.utils.files import write_atomically


def test_a_failed_write_leaves_the_old_file_intact(tmp_path):
    target = tmp_path / "a.txt"
    assert write_atomically(target, "one") == target
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "half\ud800")
    assert target.read_text() == "one" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    write_atomically(target, "two")
    assert target.read_text() == "two"


def test_the_allocator_is_not_configured_on_other_systems(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False


def test_the_allocator_is_not_configured_with_another_c_library(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_freed_memory() is False
