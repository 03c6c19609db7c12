"""Constructors of raw environments by ``env_args.key``, with errors that name the cause and the remedy."""

import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any
from warnings import catch_warnings

from ..registry import EXTRA_MODULES, import_module, install_hint, only_in_files
from ..types import ConfigError, EnvError, OmarlError
from . import openspiel
from .messages import describe, one_line
from .watch import INTERRUPTS

# The names for pip of packages that are imported under another name
_PIP_NAMES = {
    "Box2D": "'gymnasium[box2d]'",
    "OpenGL": "PyOpenGL",
    "PIL": "pillow",
    "ale_py": "ale-py",
    "chess": "'pettingzoo[classic]'",
    "cv2": "opencv-python",
    "gymnasium_robotics": "gymnasium-robotics",
    "hanabi_learning_environment": "hanabi-learning-environment",
    "multi_agent_ale_py": "multi-agent-ale-py",
    "overcooked_ai_py": "overcooked-ai",
    "pygame": "pygame-ce",
    "pyspiel": "open-spiel",
    "rlcard": "'pettingzoo[classic]'",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}

# Environments that draw what they observe only if they are rendered (PettingZoo 1.27): else no pixel ever changes
_DRAWN = {name: {"render_mode": "rgb_array"} for name in ("butterfly/cooperative_pong-v6", "butterfly/pistonball-v6")}


def is_gymnasium_id(key: str) -> bool:
    """Whether ``env_args.key`` names a Gymnasium environment: ``module:id``, or an id that Gymnasium knows.

    PettingZoo's keys are modules (``mpe2.simple_tag_v3``) or ids of its own registry (``sisl/pursuit-v5``).
    """
    if ":" in key:  # or package.module:Class
        return True
    if not re.fullmatch(r"([\w.-]+/)?[\w.-]+-v\d+", key):
        return False
    import gymnasium
    import pettingzoo

    return key in gymnasium.registry and key not in (*pettingzoo.parallel_registry, *pettingzoo.aec_registry)


def with_version(key: str) -> str:
    """A PettingZoo module or id with the newest installed version, if the key has none; other keys unchanged.

    ``mpe2.simple_tag`` gives ``mpe2.simple_tag_v3``, ``sisl/pursuit`` gives ``sisl/pursuit-v5``.
    """
    if not re.fullmatch(r"\w+([./]\w+)+", key) or re.search(r"_v\d+$", key):
        return key
    parent, separator, name = re.split(r"([./])(?=\w+$)", key)
    if separator == "/":
        import pettingzoo

        known, versioned = [*pettingzoo.aec_registry], rf"{re.escape(key)}-v(\d+)"
        prefix = ""
    else:
        if key in only_in_files:
            only_in_files.add(parent)
        known, versioned = _modules_in(parent), rf"{name}_v(\d+)"
        prefix = f"{parent}."
    versions = {int(match[1]): match[0] for each in known if (match := re.fullmatch(versioned, each))}
    return prefix + versions[max(versions)] if versions else key


def make_pettingzoo(key: str = "", **kwargs: Any) -> Any:
    """A PettingZoo ParallelEnv, or an AECEnv if there is no parallel one. Errors: see ``construct``.

    ``key`` is an id of PettingZoo's registry (``sisl/pursuit-v5``), or the import path of a module
    (``mpe2.simple_tag_v3``) that has ``parallel_env`` or ``env``; see ``with_version``. Or it is a game of OpenSpiel,
    which is played through Shimmy: ``open_spiel/leduc_poker``.
    """
    if not key:
        raise ConfigError("env_args.key is missing: name an environment, such as mpe2.simple_tag_v3")
    if ":" in key:
        return make_gymnasium(key, **kwargs)
    if re.match(r"(pettingzoo\.)?mpe[./]", key):
        name = re.split(r"[./]", key)[-1].replace("-v", "_v")
        raise ConfigError(f"env_args.key: {key} has left PettingZoo: use mpe2.{name} (pip install mpe2)")
    if key.startswith(openspiel.PREFIX):
        return make_open_spiel(key.removeprefix(openspiel.PREFIX), **kwargs)
    key = with_version(key)
    import pettingzoo

    # The modules' own constructors are deprecated: the registry has priority if it has the environment.
    name = re.sub(r"_v(?=\d+$)", "-v", key.removeprefix("pettingzoo.").replace(".", "/"))
    for kind, registry in (("parallel", pettingzoo.parallel_registry), ("aec", pettingzoo.aec_registry)):
        if spec := registry.get(name):
            module = _import(spec.entry_point.partition(":")[0])
            make = partial(pettingzoo.make, kind, spec.id, **_DRAWN.get(spec.id, {}))
            return construct(make, spec.id, kwargs, signature_of=getattr(module, "raw_env", None))
    if "/" in key or key.startswith("pettingzoo."):
        near = get_close_matches(name, pettingzoo.aec_registry, n=1)
        raise ConfigError(f"env_args.key: PettingZoo has no environment {key!r}{_did_you_mean(near)}")
    module = _import(key)
    creator = getattr(module, "parallel_env", None) or getattr(module, "env", None)
    if creator is None:
        raise ConfigError(f"env_args.key: module {key!r} has neither parallel_env nor env")
    return construct(creator, key, kwargs, signature_of=getattr(module, "raw_env", creator))


def make_open_spiel(game: str, **kwargs: Any) -> Any:
    """A game of OpenSpiel as an AECEnv, with ``kwargs`` as the game's parameters. Errors: see ``construct``."""
    key = f"{openspiel.PREFIX}{game}"
    with _explain_import(key):
        known = openspiel.known_games()
    if game not in known:
        near = get_close_matches(game, known, n=1)
        raise ConfigError(f"env_args.key: OpenSpiel has no game {game!r}{_did_you_mean(near)}")
    return construct(partial(openspiel.make_game, game), key, kwargs)


def make_gymnasium(key: str = "", **kwargs: Any) -> Any:
    """A gymnasium environment of many agents. Errors: see ``construct``.

    ``key`` is an id, with the module that registers it before a colon: ``lbforaging:Foraging-8x8-2p-3f-v3``.
    Arguments replace those of the id. Or ``package.module:Class``: a class or function that makes an environment of
    any interface.
    """
    if not key:
        raise ConfigError("env_args.key is missing: name an environment, such as lbforaging:Foraging-8x8-2p-3f-v3")
    import gymnasium

    module_name, _, name = key.rpartition(":")
    if module_name:
        creator = getattr(_import(module_name), name, None)
        if callable(creator) and name not in gymnasium.registry:
            return construct(creator, key, kwargs)
    with catch_warnings(action="ignore"):
        try:
            spec = gymnasium.spec(name)
        except gymnasium.error.Error as error:
            own = dir(import_module(module_name)) if module_name else []
            near = get_close_matches(name, [*gymnasium.registry, *own], n=1)
            hint = _did_you_mean(near) if near else f" ({one_line(error)})"
            also = f", and {module_name} no {name}" if module_name else ""
            raise ConfigError(f"env_args.key: gymnasium has no environment {key!r}{also}{hint}") from error
    with _explain_import(key):
        entry = spec.entry_point
        entry = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    # The checker that gymnasium adds expects one agent, and warns of lists of rewards.
    return construct(partial(gymnasium.make, name, disable_env_checker=True), key, kwargs, signature_of=entry)


def construct(creator: Callable[..., Any], key: str, kwargs: Mapping[str, Any], signature_of: Any = None) -> Any:
    """``creator(**kwargs)``, with errors that name ``env_args`` and the environment's ``key``.

    The valid arguments are read from ``signature_of``, if ``creator`` only passes them on.

    Raises:
        ConfigError: the key or an argument is unknown, an argument or a package is missing.
        EnvError: any other failure.
    """
    try:
        with catch_warnings(action="ignore"), _explain_import(key):
            return creator(**kwargs)
    except (OmarlError, *INTERRUPTS):
        raise
    except BaseException as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        missing = re.search(r"missing \d+ required .*argument", str(error))
        if isinstance(error, TypeError) and (unknown or missing):
            what = f"env_args.{unknown[1]} is unknown to" if unknown else f"env_args: {one_line(error)}:"
            valid = _valid_arguments(signature_of or creator)
            raise ConfigError(f"{what} environment {key}{valid}") from error
        raise EnvError(f"environment {key} cannot be made: {describe(error)}") from error


def _import(name: str) -> Any:
    """Imports a module that ``env_args.key`` names."""
    try:
        with catch_warnings(action="ignore"), _explain_import(name):
            return import_module(name)
    except (ConfigError, *INTERRUPTS):
        raise
    except BaseException as error:
        raise EnvError(f"importing {name} fails: {describe(error)}") from error


@contextmanager
def _explain_import(key: str) -> Iterator[None]:
    """Turns an ImportError into a ConfigError that names the package to install or the nearest name."""
    try:
        yield
    except ImportError as error:
        cause = error if error.name or not isinstance(error.__cause__, ImportError) else error.__cause__
        if not cause.name:  # raised by the package itself, which says what is missing
            raise ConfigError(
                f"env_args.key: {key} needs a package that is not installed: {one_line(cause)}"
            ) from error
        absent = cause.name
        parent, _, _ = absent.rpartition(".")
        if parent and key.startswith(absent):
            raise ConfigError(f"env_args.key: there is no module {absent!r}{_near_module(absent)}") from error
        if absent == key and (near := _called(key)):
            raise ConfigError(f"env_args.key: there is no module {key!r}{_did_you_mean(near)}") from error
        root = absent.partition(".")[0]
        if parent and importlib.util.find_spec(root):
            raise ConfigError(
                f"env_args.key: importing {key} fails: the installed {root} has no module {absent!r}; "
                "another version of it may have one"
            ) from error
        package = _PIP_NAMES.get(root, root)
        extra = re.match(r"(?:pettingzoo\.)?(atari|butterfly|classic|sisl)[./]", key)
        also = f" or 'pettingzoo[{extra[1]}]'" if extra and "pettingzoo[" not in package else ""
        known = extra or root in _PIP_NAMES or root in (*EXTRA_MODULES, "pettingzoo", "gymnasium", "rware")
        command = "" if known else "install the package that contains it; if that has the same name: "
        raise ConfigError(
            f"env_args.key: {key} needs a package that is not installed ({one_line(cause)}): "
            f"{command}{install_hint(root, f'{package}{also}')}"
        ) from error


def _modules_in(package: str) -> list[str]:
    """The names of the modules in a package; none if it cannot be imported, which another import reports."""
    try:
        with catch_warnings(action="ignore"):
            places = getattr(import_module(package), "__path__", [])
    except INTERRUPTS:
        raise
    except BaseException:
        return []
    return [module.name for module in pkgutil.iter_modules(places)]


def _called(word: str) -> list[str]:
    """At most one environment with ``word`` in its name: ``simple_spread`` gives one of mpe2."""
    import pettingzoo

    known = [*(f"mpe2.{name}" for name in _modules_in("mpe2")), *pettingzoo.aec_registry]
    matches = [name for name in known if re.search(rf"\b{re.escape(word)}", name)]
    return matches[:1]


def _near_module(absent: str) -> str:
    parent, _, name = absent.rpartition(".")
    try:
        paths = importlib.import_module(parent).__path__
    except (ImportError, AttributeError):
        return f" (and no package {parent!r} to hold it: pip install {parent.partition('.')[0]})"
    near = get_close_matches(name, [module.name for module in pkgutil.iter_modules(paths)], n=1)
    return _did_you_mean([f"{parent}.{near[0]}"] if near else [])


def _did_you_mean(near: list[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def _valid_arguments(creator: Any) -> str:
    try:
        parameters = inspect.signature(creator).parameters.values()
    except (TypeError, ValueError):
        return ""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [parameter.name for parameter in parameters if parameter.kind not in variable]
    return f" (known: {', '.join(sorted(names))})" if names else ""
