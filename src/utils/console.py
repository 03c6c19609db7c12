"""What a person sees on the terminal while a run goes on and when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tqdm import tqdm


def progress_bar(t_max: int, t_env: int) -> tqdm:
    """Steps, steps/s and time left; silent where nobody watches (``log_interval`` then prints lines)."""
    return tqdm(
        total=t_max,
        initial=t_env,
        unit="step",
        unit_scale=True,
        dynamic_ncols=True,
        mininterval=0.5,
        disable=None,
        bar_format="{n_fmt}/{total_fmt} {bar:20} {rate_fmt} {remaining} left{postfix}",
    )


LIVE = (
    ("return_mean", "return"),
    ("test_return_mean", "test"),
    ("loss", "loss"),
    ("vae_recon_loss", "recon"),
    ("vae_kl_loss", "KL"),
    ("vae_alpha", "alpha"),
)


def live(latest: Mapping[str, float]) -> str:
    """The numbers that matter, for the progress bar."""
    return " ".join(f"{short} {latest[name]:.3g}" for name, short in LIVE if name in latest)


def headline(latest: Mapping[str, float], t_env: int) -> str:
    """The same as a line of its own."""
    return f"t_env {t_env}: {live(latest)} ({latest.get('steps_per_second', math.nan):.0f} steps/s)"


def summary(latest: Mapping[str, float], agents: Sequence[str], t_env: int, episodes: int, updates: int) -> list[str]:
    """Three lines at the end of a run, from the latest numbers logged."""

    def shown(name: str) -> str:
        return f"{latest[name]:.3g}" if name in latest else "-"

    each = ", ".join(f"{agent} {shown(f'test_return_mean/{agent}')}" for agent in agents)
    lines = [
        f"{t_env} environment steps, {episodes} episodes, {updates} updates",
        f"test return {shown('test_return_mean')} ({each})",
    ]
    if "vae_recon_loss" in latest:
        lines.append(
            f"VAE: reconstruction {shown('vae_recon_loss')}, KL {shown('vae_kl_loss')}, "
            f"alpha {shown('vae_alpha')}, {shown('test_vae_explained_variance')} of held-out variance explained, "
            f"{shown('vae_active_units')} active units"
        )
    else:
        lines.append(f"loss {shown('loss')}, gradient norm {shown('grad_norm')}")
    return lines
