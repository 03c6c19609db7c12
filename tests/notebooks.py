"""Executes a notebook without Jupyter.

``python tests/notebooks.py docs/python-api.ipynb`` writes the outputs into the file.
"""

from __future__ import annotations

import ast
import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


def execute(cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The outputs of each cell, in order: what it prints, and the value of its last expression."""
    names: dict[str, Any] = {"__name__": "notebook"}
    return [_run("".join(cell["source"]), names) if cell["cell_type"] == "code" else [] for cell in cells]


def _run(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_markdown_"):
            data["text/markdown"] = _lines(value._repr_markdown_())
        outputs.append({"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def rewrite(path: Path) -> None:
    """Executes the notebook in an empty folder and stores the outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    target = path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for cell, outputs in zip(notebook["cells"], execute(notebook["cells"]), strict=True):
            if cell["cell_type"] == "code":
                cell["outputs"] = outputs
        os.chdir(target.parent)
    target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]))
