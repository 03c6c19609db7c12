"""Selects the metrics for a run's picture, with their titles and colours."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..utils.metric_names import AGENTS_LOSSES, is_companion, own_numbers, words

# Okabe & Ito (2008), distinguishable with every common colour blindness; without yellow, too pale on white.
BLUE, GREEN, VERMILLION = "#0072B2", "#009E73", "#D55E00"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"

MAX_OWN = 12  # panels for metrics that are specific to a learner
FITS = {"variance", "accuracy", "ratio"}  # held-out values of these metrics share the panel of the training values


class Panel(NamedTuple):
    """A panel of the picture; metrics that were not logged have no panel."""

    metric: str
    title: str
    colour: str  # of the line
    loss: bool = False  # use a log axis if the values span decades
    beside: tuple[tuple[str, str], ...] = ()  # further metrics in the same panel, as (name, label)
    noted: tuple[tuple[str, str], ...] = ()  # metrics whose last value is written above the panel, as (name, label)


RETURNS = (Panel("return_mean", "Return, training", GREEN), Panel("test_return_mean", "Return, test", GREEN))
AGENTS = {"loss": "Agents' loss", "policy_loss": "Policy loss", "value_loss": "Value loss"}


def first_panels(metrics: Iterable[str], config: Mapping[str, Any]) -> list[Panel]:
    """The panels of the VAE and of the returns; the run's ``vae_formula`` determines the unit of the losses."""
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
    """The panels of the learner's own metrics, the agents' losses and epsilon; and the number of metrics left out."""
    logged = list(metrics)
    own = own_numbers(logged)
    own += [name for name in logged if _only_in_tests(name, logged)]
    titles = {n: f"{n.removeprefix('test_')}, test" if n.startswith("test_") else n for n in own[:MAX_OWN]}
    panels = [Panel(name, title, ORANGE, loss="loss" in words(name)) for name, title in titles.items()]
    panels += [Panel(name, AGENTS[name], VERMILLION, loss=True) for name in AGENTS_LOSSES if name in logged]
    panels += [Panel("epsilon", "Exploration (epsilon)", VERMILLION)] if "epsilon" in logged else []
    return [_with_held_out(panel, set(logged)) for panel in panels], len(own[MAX_OWN:])


def _only_in_tests(name: str, names: list[str]) -> bool:
    """Whether a metric such as ``test_omg_hit_ratio`` has no value in training whose panel it could share."""
    trained = name.removeprefix("test_")
    separate = trained != name and trained not in names and not trained.startswith("vae_")
    return separate and not is_companion(name, names) and not FITS.isdisjoint(words(name))


def _with_held_out(panel: Panel, names: set[str]) -> Panel:
    held_out = f"test_{panel.metric}"
    fits = held_out in names and not FITS.isdisjoint(words(panel.metric))
    return panel._replace(beside=(*panel.beside, (held_out, "held-out"))) if fits else panel
