"""The part of ``jax`` that ``envs/jax_copies.py`` uses, on NumPy arrays, for machines without the package."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np


def _flatten(tree: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The leaves of a tree, and the function that makes the same tree from an iterator over leaves."""
    if tree is None:
        return [], lambda leaves: None
    if not isinstance(tree, dict | tuple | list):
        return [tree], lambda leaves: next(leaves)
    names = sorted(tree) if isinstance(tree, dict) else range(len(tree))
    parts = [_flatten(tree[name]) for name in names]

    def build(leaves: Any) -> Any:
        values = [make(leaves) for _, make in parts]
        if isinstance(tree, dict):
            return dict(zip(names, values, strict=True))
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)

    return [leaf for own, _ in parts for leaf in own], build


def _map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    leaves, build = _flatten(tree)
    rest = [_flatten(other)[0] for other in others]
    return build(iter([function(*each) for each in zip(leaves, *rest, strict=True)]))


def _vmap(function: Callable[..., Any]) -> Callable[..., Any]:
    def over_rows(*trees: Any) -> Any:
        n = len(_flatten(list(trees))[0][0])
        rows = [function(*(_map(lambda leaf, i=i: np.asarray(leaf)[i], tree) for tree in trees)) for i in range(n)]
        return _map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *rows)

    return over_rows


def _eval_shape(function: Callable[..., Any], *trees: Any) -> Any:
    return _map(np.asarray, function(*trees))


def _draw(key: Any, data: int) -> Any:
    return np.random.SeedSequence([int(word) for word in key] + [int(data) % 2**32]).generate_state(2)


def modules() -> dict[str, types.ModuleType]:
    """``jax`` and ``jax.numpy`` for ``sys.modules``."""
    jax, jnp = types.ModuleType("jax"), types.ModuleType("jax.numpy")
    vars(jnp).update({name: getattr(np, name) for name in dir(np) if not name.startswith("_")})
    vars(jnp)["bool"] = bool
    random = types.SimpleNamespace(
        fold_in=_draw, split=lambda key, n=2: np.stack([_draw(key, 1000 + i) for i in range(n)])
    )
    lax = types.SimpleNamespace(cond=lambda flag, yes, no: yes() if flag else no())
    tree = types.SimpleNamespace(
        map=_map, leaves=lambda tree: _flatten(tree)[0], flatten=_flatten,
        unflatten=lambda build, leaves: build(iter(leaves)),
    )  # fmt: skip
    vars(jax).update(
        numpy=jnp, random=random, tree=tree, lax=lax, vmap=_vmap,
        jit=lambda function, static_argnums=(): function,
        eval_shape=_eval_shape,
    )  # fmt: skip
    return {"jax": jax, "jax.numpy": jnp}
