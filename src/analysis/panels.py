"""Which metrics of a run get a place in its picture, and what stands above each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..utils.metric_names import AGENTS_LOSSES, is_companion, own_numbers, words

# Okabe & Ito (2008), told apart with every common colour blindness; yellow left out, too pale on white.
BLUE, GREEN, VERMILLION = "#0072B2", "#009E73", "#D55E00"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"

MAX_OWN = 12  # panels of numbers that no part of this package has a place for
FITS = ("variance", "accuracy", "ratio")  # metrics whose held-out value belongs into the same panel


class Panel(NamedTuple):
    """A metric's place in the picture. Absent metrics leave no hole.

    Attributes:
        metric: its name.
        title: what stands above.
        colour: of the line.
        loss: drawn on a log axis where it spans decades.
        beside: names of further metrics in the same panel, each with its label.
        noted: names of metrics whose last value stands above the panel, each with its label.
    """

    metric: str
    title: str
    colour: str
    loss: bool = False
    beside: tuple[tuple[str, str], ...] = ()
    noted: tuple[tuple[str, str], ...] = ()


RETURNS = (
    Panel("return_mean", "Return, training", GREEN),
    Panel("test_return_mean", "Return, test", GREEN),
)
AGENTS = {"loss": "Agents' loss", "policy_loss": "Policy loss", "value_loss": "Value loss"}


def first_panels(metrics: Iterable[str], config: Mapping[str, Any]) -> list[Panel]:
    """The VAE's panels and the returns'.

    Args:
        metrics: the names logged.
        config: the run's; ``vae_formula`` says in what the reconstruction and the total are measured.
    """
    names = set(metrics)
    in_nats = config.get("vae_formula", "nats" if "vae_recon_null" in names else "") == "nats"
    unit = " (nats)" if in_nats else ""
    marginals = (("vae_recon_null", "mean state"),) if in_nats else ()
    panels = (
        Panel("vae_recon_loss", f"Reconstruction loss{unit}", BLUE, loss=True, beside=marginals),
        Panel("vae_kl_loss", "KL divergence (nats)", BLUE, loss=True),
        Panel("vae_loss", f"Total VAE loss{unit}", BLUE, loss=True),
        Panel("vae_alpha", "KL weight (alpha)", PURPLE, noted=(("vae_beta", "beta"),)),
        Panel("vae_explained_variance", "Explained variance", PURPLE),
        Panel("vae_accuracy", "Accuracy (bits, groups)", PURPLE),
        Panel("vae_active_units", "Active latent units", PURPLE),
        *RETURNS,
    )
    return [_with_held_out(panel, names) for panel in panels if panel.metric in names]


def last_panels(metrics: Iterable[str]) -> tuple[list[Panel], int]:
    """The learner's own numbers, the agents' losses and exploration; and how many found no place."""
    there = list(metrics)
    own = own_numbers(there)
    own += [name for name in there if _measured_in_tests_alone(name, there)]
    panels = [Panel(name, _title(name), ORANGE, loss="loss" in words(name)) for name in own[:MAX_OWN]]
    panels += [Panel(name, AGENTS[name], VERMILLION, loss=True) for name in AGENTS_LOSSES if name in there]
    panels += [Panel("epsilon", "Exploration (epsilon)", VERMILLION)] if "epsilon" in there else []
    return [_with_held_out(panel, set(there)) for panel in panels], len(own[MAX_OWN:])


def _measured_in_tests_alone(name: str, names: list[str]) -> bool:
    """``test_omg_hit_ratio`` has no value in training, and so no panel to join."""
    trained = name.removeprefix("test_")
    return (
        trained != name and trained not in names and not trained.startswith("vae_") and not is_companion(name, names)
        and any(part in FITS for part in words(name))
    )  # fmt: skip


def _title(name: str) -> str:
    tested = name.removeprefix("test_")
    return name if tested == name else f"{tested}, test"


def _with_held_out(panel: Panel, names: set[str]) -> Panel:
    held_out = f"test_{panel.metric}"
    if held_out not in names or not any(part in FITS for part in words(panel.metric)):
        return panel
    return panel._replace(beside=(*panel.beside, (held_out, "held-out")))
