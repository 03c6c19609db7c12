"""Makes Sacred's capture of stdout and stderr safe for libraries that use the stream after the run."""

from __future__ import annotations

from sacred import stdout_capturing


class Tee(stdout_capturing.TeeingStreamProxy):
    """Sacred's proxy of stdout or stderr, which writes to the copy only until Sacred closes it.

    Some libraries keep a reference to ``sys.stdout`` and write to it at exit: numba's compiler initialises colorama,
    which resets the terminal's colours in an atexit callback. Sacred's own proxy then raises "I/O operation on
    closed file".
    """

    def write(self, data: str) -> None:
        """Writes to the stream, and to the copy while it is open."""
        self.__wrapped__.write(data)
        if not self._self_out.closed:
            self._self_out.write(data)

    def flush(self) -> None:
        """Flushes the stream, and the copy while it is open."""
        self.__wrapped__.flush()
        if not self._self_out.closed:
            self._self_out.flush()


def make_capture_safe() -> None:
    """Makes Sacred capture output with ``Tee``."""
    stdout_capturing.TeeingStreamProxy = Tee
