"""A run in a real terminal: what a person sees, at 80 and at 20 columns, and on Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.command import ROOT, SMALL, command, environment

CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def in_terminal(
    words: list[str], results: Path, columns: int, look: Callable[[int, str], None] | None = None
) -> tuple[int, str]:
    """Runs main.py in a pseudo-terminal: its exit status and everything it wrote.

    Args:
        look: called with the process's id and the text so far whenever there is new text.
    """
    line = command(words, results)
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite that runs in the background ignores it
        os.execvpe(line[0], line, {**environment(), "TERM": "xterm", "COLUMNS": ""})
    text, deadline = b"", time.time() + 240
    while time.time() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            new = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not new:
            break
        text += new
        if look is not None:
            look(terminal, text.decode(errors="replace"))
    if time.time() >= deadline:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), text.decode(errors="replace")


def bars(text: str) -> list[str]:
    """The states of the progress bar: what a carriage return begins and no line feed ends."""
    lines = [piece for line in text.split("\r\n") for piece in line.split("\r")[1:]]
    return [bar for bar in (CONTROL.sub("", line).rstrip() for line in lines) if " left" in bar]


@pytest.mark.parametrize("columns", [80, 20])
def test_a_run_in_a_terminal_ends_cleanly_and_its_bar_fits(columns, tmp_path):
    code, text = in_terminal(["--config=omg_vae", "with", "seed=3", *SMALL], tmp_path, columns)
    assert code == 0, text
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert "curves: " in text
    seen = bars(text)
    assert len(seen) >= 2 and seen[-1].startswith(("1.20k/1.20k ", "100% ")), text
    assert max(map(len, seen)) <= columns
    if columns == 80:
        assert re.search(r" recon \d\S* KL \d", seen[-1])


def test_ctrl_c_in_a_terminal_ends_in_order(tmp_path):
    pressed = []

    def press(terminal: int, text: str) -> None:
        if not pressed and len(bars(text)) >= 3:
            pressed.append(os.write(terminal, b"\x03"))

    code, text = in_terminal(["--config=omg_vae", "with", *SMALL, "t_max=1000000"], tmp_path, 80, press)
    assert pressed and code == 130, text
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert "interrupted at step" in text and "curves: " in text
