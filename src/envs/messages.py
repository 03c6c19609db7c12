"""Errors of environments in one line."""

import traceback
from pathlib import Path

LONGEST = 300  # characters of an exception's own message


def describe(error: BaseException) -> str:
    """The exception, its message and its place in the code, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{where}"


def one_line(value: object) -> str:
    """The text of a value, for example an exception, without line breaks, shortened if it is very long."""
    try:
        text = " ".join(str(value).split())
    except Exception:
        return "(without a text)"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
