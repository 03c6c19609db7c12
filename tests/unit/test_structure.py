"""The structure of the package: which module may import which, sizes, repeated code, what a worker process loads."""

import ast
import itertools
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from omarl.registry import REGISTRY

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

# A package or module of src/ may import itself and those in earlier rows.
LAYERS = [
    ["types"],
    ["registry"],
    ["config"],
    ["utils", "modules"],
    ["games", "components"],
    ["envs", "analysis", "opponent_models", "observers"],
    ["controllers"],
    ["opponents"],
    ["runners", "learners"],
    ["network_memory"],
    ["budget"],
    ["run"],
    ["fitting", "notices", "resuming", "testing"],
    ["training_loop"],
    ["configuration"],
    ["command_line", "disjoint", "pool_prior", "training"],
    ["evaluation", "policy", "pooling"],
    ["small_pool"],
    ["default_pool"],
    ["api"],
    ["ablation", "crossplay", "plugin", "replay", "report", "sweep"],
    ["commands"],
    ["experiment"],
    ["__main__"],
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

MOST_LINES = 300  # of a file
LONGER_FILES = {"types.py": "the contracts of all packages"}  # path: why it may be longer
MOST_FUNCTION_LINES = 50
MOST_IN_COMMON = 0.4  # of the lines of two files, blank ones and indentation left out
SMALL_FILE = 20  # lines; shorter files share their imports and little else

# Attributes with a leading underscore that are public: of named tuples, and of packages without another way in.
PUBLIC_UNDERSCORES = {"_replace", "_asdict", "_make", "_fields", "_field_defaults"}
OF_OTHER_PACKAGES = {"torch": ("_foreach_lerp_", "_C"), "original": None}


def sources() -> list[Path]:
    return [p for p in sorted(SRC.rglob("*.py")) if p != SRC / "__init__.py"]


def name_of(path: Path) -> str:
    return str(path.relative_to(SRC))


def layer_name(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def file_of(module: str) -> Path:
    """``.learners.q_learner`` as a file."""
    place = SRC.joinpath(*module.removeprefix(".").split("."))
    return place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"


def registered_files(kind: str) -> set[Path]:
    """The files that ``resolve(kind, ...)`` may import."""
    return {file_of(target.partition(":")[0]) for target in REGISTRY[kind].values()}


def statically_imported(path: Path) -> set[Path]:
    """The files of the package that ``path`` imports, inside functions and for types too."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1]
        target = base.joinpath(*node.module.split(".")) if node.module else base
        for name in node.names:
            candidates = (target / f"{name.name}.py", target.with_suffix(".py"), target / "__init__.py")
            found |= set(itertools.islice(filter(Path.is_file, candidates), 1))
    return found


def resolved_kinds(path: Path) -> set[str]:
    """The kinds of registered parts that ``path`` resolves; all kinds where the kind is a variable."""
    kinds: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "resolve":
            kind = node.args[0]
            kinds |= {kind.value} if isinstance(kind, ast.Constant) else set(REGISTRY)
    return kinds


@cache
def imported(path: Path) -> frozenset[Path]:
    """What ``path`` imports by itself or through the registry."""
    through_registry = set().union(*map(registered_files, resolved_kinds(path)))
    return frozenset(statically_imported(path) | through_registry)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_and_registry_lookups_point_to_earlier_layers(path):
    layer = layer_name(path)
    assert layer in LAYER, f"{layer} is in no row of LAYERS: add it"
    for target in imported(path):
        other = layer_name(target)
        assert other in (layer, "__init__") or LAYER[other] < LAYER[layer], f"{name_of(path)} needs {name_of(target)}"


def test_no_cycle_of_imports_and_registry_lookups():
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " -> ".join(name_of(p) for p in (*trail, path))
        if path in done:
            return
        for target in imported(path):
            visit(target, (*trail, path))
        done.add(path)

    for path in sources():
        visit(path, ())


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_no_file_reads_private_attributes_of_other_objects(path):
    def is_allowed(node: ast.Attribute) -> bool:
        owner = node.value
        if node.attr in PUBLIC_UNDERSCORES or node.attr.startswith("__"):
            return True
        if isinstance(owner, ast.Call):
            return isinstance(owner.func, ast.Name) and owner.func.id == "super"
        root = ast.unparse(owner).partition(".")[0]
        return ast.unparse(owner) in ("self", "cls") or root in OF_OTHER_PACKAGES

    tree = tree_of(path)
    attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")]
    private = [f"line {n.lineno}: {ast.unparse(n)}" for n in attributes if not is_allowed(n)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            private += [f"line {node.lineno}: {n.name}" for n in node.names if n.name.startswith("_")]
    assert not private


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_files_and_functions_are_short(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES or name_of(path) in LONGER_FILES, f"{lines} lines: split it, or say why not"
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {f.name: size for f in functions if (size := f.end_lineno - f.lineno + 1) > MOST_FUNCTION_LINES}
    assert not too_long


def test_no_two_files_share_most_of_their_lines():
    lines = {
        p: [line.strip() for line in p.read_text(encoding="utf-8").splitlines() if line.strip()] for p in sources()
    }
    sets = {path: set(each) for path, each in lines.items()}
    shared = {}
    for one, other in itertools.permutations([p for p in lines if len(lines[p]) >= SMALL_FILE], 2):
        share = sum(line in sets[other] for line in lines[one]) / len(lines[one])
        if share > MOST_IN_COMMON:
            shared[name_of(one), name_of(other)] = round(share, 2)
    assert not shared


def test_nothing_imports_the_folder_src_or_the_packages_absolute_name():
    """``import src.x`` would load every class twice; ``import omarl`` inside breaks a vendored copy."""
    for path in sources():
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\s*(import|from)\s+(src|omarl)\b", line), f"{path}: {line}"


def modules_loaded_by(code: str, names: tuple[str, ...]) -> str:
    code = f"import sys; {code}; print([m for m in {names!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_environment_workers_start_without_torch():
    heavy = ("torch", "sacred", "matplotlib", "tensorboard")
    assert modules_loaded_by("import omarl.envs.workers, omarl.envs.make", heavy) == "[]"


def test_the_command_line_starts_without_what_only_some_commands_need():
    """And without any environment's package: a missing one must not stop a run that does not use it."""
    heavy = ("torch", "matplotlib", "scipy", "tensorboard", "pettingzoo", "mpe2", "lbforaging", "pygame",
             "pymongo", "numba")  # fmt: skip
    for command in ("compare", "diagnose"):
        code = f"import omarl.experiment as e; e.configuration(['', 'help']); e.TOOLS['{command}'].function()"
        assert modules_loaded_by(code, heavy) == "[]"


def test_a_run_without_further_loggers_imports_none():
    code = ("import omarl.experiment as e; layers = e.configuration(['', '--config=iql']); "
            "e.make_experiment(layers, 0.0, (), e.loggers_of(layers, 'train'))")  # fmt: skip
    assert modules_loaded_by(code, ("omarl.observers", "wandb", "mlflow", "pymongo", "imageio_ffmpeg")) == "[]"
