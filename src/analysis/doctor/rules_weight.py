"""Rules about the KL weight: too large, too small, and posterior collapse."""

import math
from typing import Any

import numpy as np

from ..runs import Series
from .facts import NARROW, NO_NATS, Facts, round_to, rounded
from .findings import Finding
from .measuring import late_level
from .shapes import end_change, smooth
from .weights import BATCH_SUM, FEATURE_SUM

DEFAULT_ALPHA = 0.01  # adequate for all tested states if the loss is in nats (docs/vae-stability.md)
SLOW_FALL = 0.2  # share of the run; a KL that falls for longer falls because its weight grows
NO_SHARE = 0.001  # share of the loss without a code below which the cost of the KL has no effect
FAIR_SHARE = 0.15  # share of the states' variance that one nat in every latent may cost


def is_heavy(f: Facts) -> bool:
    """Whether the KL weight is large enough to suppress the latents."""
    return not f.is_calibrated and f.alpha > 0.05 * f.recon.mean


def lower_alpha(f: Facts) -> float:
    """A KL weight at which one nat in each latent costs 30% of the reconstruction loss; 1e-3 if that is unknown."""
    now = f.alpha / f.weight.per_alpha
    if f.in_nats:
        return DEFAULT_ALPHA if now > 1.5 * DEFAULT_ALPHA else round_to(now / 3)
    z = f.latent_dim if f.latent_dim > 0 else 16.0
    lower = float(np.fmin(round_to(0.3 * f.recon.mean / z), round_to(now / 3)))
    return 1e-3 if math.isnan(lower) else lower


def weight_at_half(f: Facts) -> float:
    """The weight at which a KL that fell under a growing weight had half of its peak; NaN if unknown."""
    kl, weight = f.curve("vae_kl_loss"), f.weight.series
    if weight is None or f.weight.moves not in ("rising", "ramped") or len(kl) < 20:
        return math.nan
    value = smooth(kl.value, max(3, len(kl) // 50))
    top = int(np.argmax(value[len(kl) // 20 :])) + len(kl) // 20
    below = np.flatnonzero(value[top:] < 0.5 * value[top])
    if not len(below):
        return math.nan
    at = [float(np.interp(kl.t[i], weight.t, weight.value)) for i in (top, top + int(below[0]))]
    return at[1] if at[1] > 1.1 * at[0] else math.nan


def fall_of(kl: Series) -> float:
    """The share of the run over which the KL fell from 80% to 20% of its peak; 0 if it did not."""
    n = len(kl)
    if n < 20:
        return 0.0
    value = smooth(kl.value, max(3, n // 50))
    top = int(np.argmax(value[n // 20 :])) + n // 20
    peak, after = float(value[top]), value[top:]
    early, late = np.flatnonzero(after < 0.8 * peak), np.flatnonzero(after < 0.2 * peak)
    return float(late[0] - early[0]) / n if len(early) and len(late) else 0.0


def posterior_collapse(f: Facts) -> Finding | None:
    """Latents without information at the end of the run, or with far less than before and a worse reconstruction."""
    if not (f.is_dead or collapsed_late(f)) or f.learns_too_slowly or f.number("vae_hidden_dim") < NARROW:
        return None  # networks that cannot learn a code have not collapsed: see reconstruction_plateau
    slow = fall_of(f.curve("vae_kl_loss"))
    half = weight_at_half(f)
    lived = f.peak_level > max(5 * f.kl_level, NO_NATS)
    evidence = rounded(
        kl=f.kl_level, kl_before=f.peak_level if lived else None,
        active_units=f.late_mean("vae_active_units"), latent_dim=f.latent_dim,
        unexplained=f.unexplained_late, kl_weight=f.alpha, weight_known_from=f.weight.source,
        reconstruction=f.late_mean("vae_recon_loss"),
    )  # fmt: skip
    sure = 0.95 if f.is_explained_known or f.kl_level < 0.05 else 0.8
    name = f"KL weight ({f.alpha:.3g})" if not math.isnan(f.alpha) else "KL weight"
    if lived and not math.isnan(half):
        evidence |= rounded(kl_weight_at_half_of_the_peak=half)
        cause = (
            f"the ramp of the {name} suppresses the latents: the KL fell from {f.peak_level:.3g} to "
            f"{f.kl_level:.2g} nats while the weight grew, and reached half of its peak at a weight of {half:.2g}"
        )
        lower = round_to(min(half / f.weight.per_alpha / 2, lower_alpha(f) if is_heavy(f) else math.inf))
        return Finding("posterior_collapse", evidence, cause, {"omg_vae_alpha": lower}, sure, driven_by_weight=True)
    if lived and slow > SLOW_FALL:
        evidence |= rounded(share_of_run_of_the_fall=slow)
        cause = (
            f"a {name} that grows suppresses the latents: the KL fell from {f.peak_level:.3g} to "
            f"{f.kl_level:.2g} nats over {slow:.0%} of the run, as under a ramp that ends at too large a weight"
        )
        return Finding("posterior_collapse", evidence, cause, {"omg_vae_alpha": lower_alpha(f)}, sure,
                       driven_by_weight=True)  # fmt: skip
    if is_heavy(f):
        cause = f"the {name} is too large: the loss is lower without the latents, and the decoder outputs the mean"
        return Finding("posterior_collapse", evidence, cause, {"omg_vae_alpha": lower_alpha(f)}, sure)
    return _early_collapse(f, evidence, sure)


def _early_collapse(f: Facts, evidence: dict[str, Any], sure: float) -> Finding:
    """A collapse under a weight that is small relative to the reconstruction loss, or unknown."""
    if math.isnan(f.alpha) or (not f.ours and f.alpha >= 1e-3):
        cause = (
            "the decoder outputs the mean: the KL weight is too large for this reconstruction loss, or the "
            "likelihood does not suit the features"
        )
        return Finding("posterior_collapse", evidence, cause, {"omg_vae_alpha": lower_alpha(f)}, sure)
    remedy: dict[str, Any] = {"vae_free_bits": 0.1}
    ramp = int(np.fmin(max(1000, 2 * f.number("vae_alpha_ramp", 0)), 0.4 * f.updates))  # ends well before the run
    if ramp > f.number("vae_alpha_ramp", 0):
        remedy["vae_alpha_ramp"] = ramp
    cause = "the latents collapsed before the decoder had learned to use them; use free bits"
    return Finding("posterior_collapse", evidence, cause, remedy, min(sure, 0.8))


def collapsed_late(f: Facts) -> bool:
    """Whether KL and reconstruction both became much worse in the last tenth of the run."""
    kl, recon = end_change(f.points("vae_kl_loss")), end_change(f.points("vae_recon_loss"))
    if kl is None or recon is None or not f.started:
        return False
    return kl.is_sure and kl.change < -0.7 and recon.is_sure and recon.change > 0.3


def kl_weight_too_large(f: Facts) -> Finding | None:
    """A KL weight that is large relative to the reconstruction loss, with much of the state unexplained."""
    if not f.started or f.is_dead or not is_heavy(f):
        return None
    unexplained, sure = f.unexplained, 0.85
    if not f.is_explained_known:
        # above 1, the weight in the ELBO, with a likelihood summed over features
        exceeds_elbo = FEATURE_SUM < f.recon.mean < BATCH_SUM and f.units_known and f.alpha > 1.25
        unexplained, sure = (share_of_marginals(f), 0.7) if exceeds_elbo else (math.nan, 0.0)
    if not unexplained > (0.3 if f.ours else 0.4 if f.is_explained_known else 0.5):
        return None
    evidence = rounded(
        kl=f.kl.mean, kl_weight=f.alpha, weight_known_from=f.weight.source,
        weighted_kl_over_reconstruction=f.kl_share, unexplained=unexplained,
        active_units=f.mean("vae_active_units"), reconstruction=f.recon.mean,
    )  # fmt: skip
    cause = "each nat costs more than it improves the reconstruction, so much of the state is not encoded"
    return Finding("kl_weight_too_large", evidence, cause, {"omg_vae_alpha": lower_alpha(f)}, sure)


def share_of_marginals(f: Facts) -> float:
    """The late reconstruction loss over the loss of a decoder without code; NaN if the code was never empty.

    A decoder learns the features' marginals before the code is used. The lowest reconstruction loss while an early KL
    is near 0 is therefore that of a decoder that knows only the marginals.
    """
    kl, recon = f.curve("vae_kl_loss"), f.points("vae_recon_loss")
    if len(kl) < 20 or len(recon) < 20:
        return math.nan
    empty = kl.t[: len(kl) // 2][kl.value[: len(kl) // 2] < 0.1 * f.kl_level]
    if not len(empty):
        return math.nan
    null = float(np.interp(empty, recon.t, recon.value).min())
    return f.late_mean("vae_recon_loss") / null if null > 0 else math.nan


def kl_weight_too_small(f: Facts) -> Finding | None:
    """A KL with a negligible cost, which therefore grew large."""
    part, z = f.kl_share, f.latent_dim if f.latent_dim > 0 else 16.0
    per_latent = f.kl.mean / z
    if not f.started or not f.units_known or f.recon.mean > BATCH_SUM or not per_latent > 3:
        return None
    # if bits are coded completely, the reconstruction is near 0 and cannot measure the cost; the null loss can
    null = late_level(f.points("vae_recon_null"))
    if not (part < 0.02 or f.alpha * f.kl.mean < NO_SHARE * null):
        return None
    variance = f.recon.mean / f.unexplained if f.unexplained > 0 else f.recon.mean
    now = f.alpha / f.weight.per_alpha
    new = round_to(max(FAIR_SHARE * variance / z, 0.5 * f.recon.mean / f.kl.mean, 3 * f.alpha))
    if f.in_nats:
        new = max(DEFAULT_ALPHA, round_to(3 * now))
    evidence = rounded(
        kl=f.kl.mean, nats_per_latent=per_latent if f.latent_dim > 0 else None, kl_weight=f.alpha,
        weight_known_from=f.weight.source, weighted_kl_over_reconstruction=part, kl_drift=f.kl.drift,
    )  # fmt: skip
    cause = "the weighted KL is a negligible share of the loss, so nothing keeps the posterior near the prior"
    return Finding("kl_weight_too_small", evidence, cause, {"omg_vae_alpha": new}, 0.95 if part < 0.01 else 0.8)


RULES = (posterior_collapse, kl_weight_too_large, kl_weight_too_small)
