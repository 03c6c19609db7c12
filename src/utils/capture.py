"""Sacred's copy of what is printed, made safe for libraries that keep the stream after the run."""

from __future__ import annotations

from sacred import stdout_capturing


class Tee(stdout_capturing.TeeingStreamProxy):
    """Sacred's proxy of stdout or stderr; writes to its copy until Sacred closes that.

    Libraries keep ``sys.stdout`` as they find it and write to it at exit: numba's compiler initialises colorama,
    which resets a terminal's colours in an atexit callback. Sacred's own proxy then raises "I/O operation on
    closed file".
    """

    def write(self, data: str) -> None:
        """Writes to the stream, and to the copy while that is open."""
        self.__wrapped__.write(data)
        if not self._self_out.closed:
            self._self_out.write(data)

    def flush(self) -> None:
        """Flushes the stream, and the copy while that is open."""
        self.__wrapped__.flush()
        if not self._self_out.closed:
            self._self_out.flush()


def make_capture_safe() -> None:
    """Lets Sacred capture with ``Tee``."""
    stdout_capturing.TeeingStreamProxy = Tee
