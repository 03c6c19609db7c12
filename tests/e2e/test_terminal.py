"""Runs in a pseudo-terminal: output at 80 and 20 columns, and Ctrl-C."""

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
    words: list[str], results: Path, columns: int, on_text: Callable[[int, str], None] | None = None
) -> tuple[int, str]:
    """Runs main.py in a pseudo-terminal and returns its exit status and its output.

    Args:
        on_text: called with the terminal's file descriptor and all text so far, whenever there is new text.
    """
    line = command(words, results)
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test suite in the background ignores SIGINT
        os.execvpe(line[0], line, {**environment(), "TERM": "xterm", "COLUMNS": ""})
    text, deadline = b"", time.time() + 240
    while time.time() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            new = os.read(terminal, 65536)
        except OSError:  # the process has closed its end
            break
        if not new:
            break
        text += new
        if on_text is not None:
            on_text(terminal, text.decode(errors="replace"))
    if time.time() >= deadline:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), text.decode(errors="replace")


def bars(text: str) -> list[str]:
    """The states of the progress bar: text after a carriage return and before the next one or a line feed."""
    lines = [piece for line in text.split("\r\n") for piece in line.split("\r")[1:]]
    return [bar for bar in (CONTROL.sub("", line).rstrip() for line in lines) if " left" in bar]


@pytest.mark.parametrize("columns", [80, 20])
def test_a_run_in_a_terminal_exits_cleanly_and_the_bar_fits_the_width(columns, tmp_path):
    code, text = in_terminal(["--config=omg_vae", "with", "seed=3", *SMALL], tmp_path, columns)
    assert code == 0, text
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert "curves: " in text
    states = bars(text)
    assert len(states) >= 2 and states[-1].startswith(("1.20k/1.20k ", "100% ")), text
    assert max(map(len, states)) <= columns
    if columns == 80:
        assert re.search(r" recon \d\S* KL \d", states[-1])


def test_ctrl_c_in_a_terminal_ends_the_run_with_status_130(tmp_path):
    pressed = []

    def press(terminal: int, text: str) -> None:
        if not pressed and len(bars(text)) >= 3:
            pressed.append(os.write(terminal, b"\x03"))

    code, text = in_terminal(["--config=omg_vae", "with", *SMALL, "t_max=1000000"], tmp_path, 80, press)
    assert pressed and code == 130, text
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert "interrupted at step" in text and "curves: " in text
