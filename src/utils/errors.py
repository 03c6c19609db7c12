"""What went wrong, in a line."""

from __future__ import annotations


def reason_of(error: BaseException) -> str:
    """The first line of an error that says something: torch begins with a heading and says what differs below it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)
