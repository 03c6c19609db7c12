"""The house itself: which room imports which, what the package is called, what a worker loads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

# Each room may import itself and the rooms on lower floors.
FLOORS = [
    ["types"],
    ["registry"],
    ["config"],
    ["command_line"],
    ["utils", "modules", "games"],
    ["components"],
    ["envs", "analysis", "opponent_models"],
    ["controllers"],
    ["opponents"],
    ["runners", "learners"],
    ["run"],
    ["configuration"],
    ["training"],
    ["evaluation", "policy"],
    ["ablation", "crossplay", "plugin", "pooling", "replay"],
    ["default_pool"],
    ["api"],
    ["experiment"],
    ["__main__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def sources() -> list[Path]:
    return [p for p in sorted(SRC.rglob("*.py")) if p != SRC / "__init__.py"]


def imported(path: Path) -> set[Path]:
    """The files of the package that ``path`` imports, imports inside functions and for types included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parent
        for _ in range(node.level - 1):
            base = base.parent
        target = base.joinpath(*(node.module or "").split(".")) if node.module else base
        for name in node.names:
            for candidate in (target / f"{name.name}.py", target.with_suffix(".py"), target / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate)
                    break
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down(path):
    room = room_of(path)
    assert room in FLOOR, f"{room} has no floor in this test: give it one"
    for target in imported(path):
        other = room_of(target)
        same_room = other == room
        assert same_room or FLOOR[other] < FLOOR[room] or other == "__init__", (
            f"{path} imports {target}, up or across"
        )


def test_no_file_imports_itself_in_a_circle():
    graph = {path: imported(path) for path in sources()}
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " -> ".join(p.name for p in (*trail, path))
        if path in done:
            return
        for target in graph.get(path, ()):
            visit(target, (*trail, path))
        done.add(path)

    for path in graph:
        visit(path, ())


def test_nothing_imports_the_folder_src_or_the_packages_absolute_name():
    """``import src.x`` would make every class twice; ``import omarl`` inside breaks a vendored copy."""
    for path in sources():
        for line in path.read_text().splitlines():
            assert not re.match(r"\s*(import|from)\s+(src|omarl)\b", line), f"{path}: {line}"


def test_workers_start_without_torch():
    code = (
        "import sys, omarl.envs.workers, omarl.envs.make;"
        "print([m for m in ('torch','sacred','matplotlib','tensorboard') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_line_starts_without_what_only_some_commands_need():
    """And without any environment's package: one that is missing must stop nobody who does not ask for it."""
    heavy = (
        "matplotlib",
        "scipy.stats",
        "tensorboard",
        "pettingzoo",
        "mpe2",
        "lbforaging",
        "pygame",
        "pymongo",
        "numba",
    )
    code = f"import sys, omarl.experiment; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
