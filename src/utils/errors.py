"""One-line reasons of errors."""

from __future__ import annotations


def reason_of(error: BaseException) -> str:
    """The first informative line of an error's text; torch starts with a heading that ends with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)
