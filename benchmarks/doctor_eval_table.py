"""The 60 simulated runs of the doctor's evaluation half: their settings, and the labels that follow.

Labels follow from how a run is generated and were fixed before any verdict was seen; no accepted name means healthy.
"""

from __future__ import annotations

from dataclasses import replace

from doctor_eval_curves import Setting
from doctor_eval_specs import Spec

RAW = Setting(features=80, variance=0.06, alpha=0.001, latents=64)  # binary planes, squared error of raw values
UNIT = Setting(features=24, alpha=0.013)  # standardised sensor readings
ELBO = Setting(features=60, likelihood="bce", entropy=0.45, recon="sum", alpha=0.3, rank=8)
GRID = Setting(features=400, likelihood="bce", entropy=0.35, recon="sum", alpha=1.0, latents=32, rank=24)
NATS = Setting(features=62, recon="sum", variance=0.5, alpha=0.25)  # the plugin: half squared errors, summed

HEALTHY = (
    Spec(
        "single_batches", 2600, "constant weight, settled, noise of single batches",
        setting=replace(RAW, alpha=0.0004), noise=("white", 0.05),
    ),
    Spec(
        "thirty_points", 30, "few points, but settled for most of them", setting=replace(ELBO, alpha=0.15),
        form="csv", names="vae", speed=0.15,
    ),
    Spec(
        "kl_per_latent", 400, "KL averaged over latents: small, but most variance is explained", names="paths",
        setting=replace(UNIT, kl="mean", alpha=0.2), log=("explained",), config={"kl_reduction": "mean"},
    ),
    Spec("kl_weighted", 900, "KL logged after the weight, settled", setting=replace(RAW, kl="weighted"), names="div"),
    Spec(
        "policy_change", 1100, "one policy change: KL and reconstruction step up together", setting=ELBO,
        events=(("policy_change", {"at": (0.7,), "size": 0.2}),), noise=("ar1", 0.03), span=2_000_000,
    ),
    Spec(
        "three_policy_changes", 350, "three policy changes, each a step of both", setting=UNIT, names="omg",
        events=(("policy_change", {"at": (0.35, 0.6, 0.8), "size": 0.09}),), noise=("heavy", 0.02),
    ),
    Spec(
        "late_policy_change", 2000, "a policy change at 88%: both step up and hold", setting=RAW, names="losses",
        form="tensorboard", events=(("policy_change", {"at": (0.88,), "size": 0.25}),), noise=("white", 0.03),
    ),
    Spec(
        "ramp_logged", 700, "a logged ramp that ends at 20%; the peak before its end is expected", setting=RAW,
        weights=("ramp", {"until": 0.2}), log=("weight",), noise=("ar1", 0.03),
    ),
    Spec(
        "ramp_not_logged", 1500, "a ramp that ends at 25%, not logged; settled afterwards", setting=ELBO, names="vae",
        weights=("ramp", {"until": 0.25}), form="jsonl", bare=True,
    ),
    Spec(
        "cycles_that_end", 1000, "a cyclical weight that is constant after 35%", setting=UNIT, names="paths",
        weights=("cycles", {"until": 0.35, "cycles": 3}), log=("weight",),
    ),
    Spec(
        "late_directions", 1500, "KL rises slowly while the weighted total falls", horizon=0.3,
        setting=replace(UNIT, alpha=0.008, rank=18, decay=0.8), noise=("white", 0.01),
    ),
    Spec(
        "late_directions_short", 70, "KL rises while the weighted total falls, seen at 70 points", horizon=0.3,
        setting=replace(ELBO, rank=16, decay=0.76, alpha=0.25), noise=("white", 0.01), names="omg",
    ),
    Spec("outliers", 3000, "one-point outliers at 2% of the points", setting=RAW, outliers=(0.02, 7), names="div"),
    Spec(
        "outlier_at_the_end", 100, "three one-point outliers, one of them the last point", setting=UNIT,
        outliers=(0.03, 5, True), form="csv", names="losses",
    ),
    Spec(
        "heavy_tails", 1200, "heavy-tailed batch noise around a settled level",
        setting=replace(ELBO, features=150, rank=20, latents=32, alpha=0.4), noise=("heavy", 0.05),
    ),
    Spec(
        "short_memory", 800, "autocorrelated batch noise around a settled level",
        setting=replace(RAW, features=30, rank=5), noise=("ar1", 0.05),
    ),
    Spec(
        "uneven_noise", 500, "noise that grows sixfold; the level holds", setting=replace(UNIT, features=12, rank=5),
        noise=("uneven", 0.04), names="vae",
    ),
    Spec("two_digits", 200, "values rounded to two digits, settled", setting=RAW, digits=2, noise=("white", 0.015)),
    Spec(
        "smoothed", 2000, "a moving average of noisy batches, settled", setting=replace(ELBO, alpha=0.1), memory=0.95,
        noise=("white", 0.08),
    ),
    Spec(
        "dropped_points", 1200, "a third of the points lost, series at different steps",
        setting=replace(UNIT, features=8, rank=4, latents=8, alpha=0.02), dropped=0.33, unequal=True, names="paths",
        span=5_000_000,
    ),
    Spec(
        "ten_thousand", 10_000, "10,000 single batches, settled",
        setting=replace(RAW, features=147, rank=16, alpha=0.0004), noise=("white", 0.08), span=10_000,
    ),
    Spec(
        "large_sums", 300, "400 binary features summed: large numbers, ordinary weight", setting=GRID, names="div",
        noise=("heavy", 0.02), bare=True,
    ),
    Spec(
        "window_of_batches", 2500, "batches are kept: KL moves by 1% at a new one", setting=ELBO,
        events=(("refresh", {"batches": 14, "depth": 0.012, "jump": 0.02}),), noise=("white", 0.03),
    ),
    Spec(
        "actor_loop", 600, "settled, names of a single-file loop",
        setting=replace(UNIT, alpha=0.003, latents=32, rank=14), names="losses", form="tensorboard",
        noise=("ar1", 0.03), log=("weight",), span=1_000_000,
    ),
    Spec(
        "plugin_in_a_host", 120, "our learner in a host, interval means with their spread", setting=NATS,
        names="plugin", log=("weight", "explained", "active", "grad_norm", "log_var", "spread"),
        noise=("white", 0.008),
    ),
    Spec(
        "sometimes_clipped", 450, "gradient norms pass the clip at some updates only", setting=RAW, clip=5.0,
        typical_norm=1.8, log=("grad_norm",),
    ),
    Spec(
        "tidied_up", 260, "KL falls to its level in the first third, then holds", setting=UNIT, names="omg",
        events=(("tidy", {"excess": 0.8, "until": 0.3}),), noise=("heavy", 0.02),
    ),
    Spec(
        "controlled_weight", 1000, "a controller moves the weight a little; the KL holds",
        setting=replace(ELBO, alpha=0.4), weights=("controlled", {"until": 0.1, "to": 0.3}), log=("weight",),
        names="vae", form="jsonl",
    ),
    Spec(
        "mapped_names", 180, "settled, names that the user maps", setting=replace(ELBO, recon="mean", alpha=0.005),
        names="example", form="csv", digits=4, noise=("uneven", 0.02),
    ),
    Spec(
        "total_and_kl_only", 150, "reconstruction not logged; KL and total settled",
        setting=replace(RAW, recon="sum", alpha=0.08), without=("recon",), names="div", noise=("white", 0.04),
    ),
)  # fmt: skip

FAULTY = (
    Spec(
        "collapse_from_start", 2200, "weight 0.05 on an average of raw values: an effective beta of 20",
        ("posterior_collapse",), setting=replace(RAW, features=48, alpha=0.05), noise=("white", 0.01), span=12_000,
    ),
    Spec(
        "collapse_by_ramp", 1400, "a ramp, not logged, to a weight that no direction pays for",
        ("posterior_collapse",), setting=replace(ELBO, alpha=25.0), weights=("ramp", {"until": 1.0}), bare=True,
        names="vae", noise=("white", 0.03),
    ),
    Spec(
        "collapse_by_ramp_refreshed", 600, "a logged ramp ends the code; batches are refreshed as well",
        ("posterior_collapse",), setting=replace(RAW, features=120, alpha=0.018), weights=("ramp", {"until": 1.0}),
        events=(("refresh", {"batches": 12, "depth": 0.3, "jump": 0.1}),), log=("weight",),
    ),
    Spec(
        "late_collapse", 700, "the weight is multiplied by 200 at 87% and the KL vanishes", ("posterior_collapse",),
        setting=replace(UNIT, kl="mean", alpha=0.2), weights=("step", {"until": 0.87, "to": 200}), log=("weight",),
        names="paths", speed=0.12,
    ),
    Spec(
        "refresh_deep", 2000, "six batches; the KL loses almost half at each new one", ("data_refresh",), setting=RAW,
        events=(("refresh", {"batches": 6, "depth": 0.45, "jump": 0.35, "recover": 0.08}),), noise=("white", 0.015),
        span=5400,
    ),
    Spec(
        "refresh_often", 500, "a new batch every 20 points, KL off by a quarter", ("data_refresh",), setting=ELBO,
        events=(("refresh", {"batches": 25, "depth": 0.25, "jump": 0.5, "recover": 0.25}),), names="div", bare=True,
    ),
    Spec(
        "refresh_upwards", 1000, "new batches raise KL by a third and double the reconstruction", ("data_refresh",),
        setting=replace(UNIT, alpha=0.004),
        events=(("refresh", {"batches": 10, "depth": -0.35, "jump": 1.0, "recover": 0.2}),), names="losses",
        form="tensorboard", noise=("ar1", 0.03),
    ),
    Spec(
        "optimiser_swings", 400, "an unstable optimiser: irregular swings of a quarter at a constant weight",
        ("kl_oscillation",), setting=RAW, events=(("swing", {"amplitude": 0.25, "cycles": 11}),), noise=("ar1", 0.02),
    ),
    Spec(
        "large_rate_swings", 1600, "ten times the usual learning rate: swings of a third of the KL",
        ("kl_oscillation", "learning_rate_too_high"), setting=ELBO, lr=5e-3, names="omg",
        events=(("swing", {"amplitude": 0.32, "cycles": 17}),),
    ),
    Spec(
        "cyclical_to_the_end", 1200, "a logged cyclical weight drives the KL until the end", ("kl_oscillation",),
        setting=replace(UNIT, alpha=0.06), weights=("cycles", {"until": 1.01, "cycles": 9}), log=("weight",),
        speed=0.2, names="paths",
    ),
    Spec(
        "late_swings", 900, "settled until 85%, then swings of a third", ("kl_oscillation",),
        setting=replace(RAW, alpha=0.0005), events=(("swing", {"amplitude": 0.35, "cycles": 26, "onset": 0.85}),),
        noise=("heavy", 0.015), names="div",
    ),
    Spec(
        "nats_for_nothing", 1000, "KL grows 2.4 times over the second half, reconstruction flat", ("kl_growth",),
        setting=replace(UNIT, features=10, rank=5), events=(("growth", {"to": 2.4, "onset": 0.4}),),
        noise=("ar1", 0.02),
    ),
    Spec(
        "late_growth", 240, "KL grows by 80% after 85%, reconstruction flat", ("kl_growth",), setting=RAW,
        names="omg", events=(("growth", {"to": 1.8, "onset": 0.85}),), noise=("white", 0.02), digits=3,
    ),
    Spec(
        "late_explosion", 800, "KL leaves by a factor of 300 at 88%, reconstruction doubles", ("kl_explosion",),
        setting=ELBO, lr=3e-4, events=(("explode", {"onset": 0.88, "factor": 300, "recon": 2.0}),), names="vae",
        form="jsonl", bare=True,
    ),
    Spec(
        "excursion", 500, "KL at up to 15 times its level for 5% of the points, then back", ("kl_explosion",),
        lr=3e-4, setting=UNIT, events=(("explode", {"onset": 0.62, "factor": 15, "width": 0.05}),), names="paths",
    ),
    Spec(
        "nan_from_two_thirds", 600, "losses are NaN from 68% on", ("non_finite",), setting=RAW,
        events=(("not_finite", {"onset": 0.68}),),
    ),
    Spec(
        "overflow_at_the_end", 1500, "exp(log_var) grows and overflows at 97%", ("non_finite", "kl_explosion"),
        setting=ELBO,
        events=(
            ("explode", {"onset": 0.9, "factor": 1e5, "recon": 3}), ("not_finite", {"onset": 0.97, "infinite": True}),
        ),
        names="div",
    ),
    Spec(
        "latents_killed", 1000, "learning rate 0.08: a KL of 900 in the first updates, then dead latents",
        ("learning_rate_too_high",), setting=UNIT, lr=0.08, events=(("die", {"peak": 900, "null": 12.0}),),
        noise=("white", 0.02),
    ),
    Spec(
        "losses_leap", 800, "learning rate 0.02: losses leap five times after they were low",
        ("learning_rate_too_high",), setting=ELBO, lr=0.02, names="omg",
        events=(("leaps", {"at": (0.45, 0.55, 0.68, 0.8, 0.93), "kl": 4.0, "recon": 5.0, "width": 0.008}),),
    ),
    Spec(
        "weight_near_zero", 350, "weight 1e-8 on an average: about eight nats a latent", ("kl_weight_too_small",),
        setting=replace(UNIT, features=16, rank=16, decay=0.95, rest=0.005, alpha=1e-8),
    ),
    Spec(
        "sum_outweighs_kl", 1500, "summed likelihood, weight 1e-9: over 200 nats in 32 latents",
        ("kl_weight_too_small",), setting=replace(GRID, rank=32, decay=0.95, alpha=1e-9), noise=("heavy", 0.01),
        speed=0.12, names="vae", form="jsonl",
    ),
    Spec(
        "half_unexplained", 300, "a weight so large that half of the state stays unexplained",
        ("kl_weight_too_large",), setting=replace(UNIT, alpha=0.11), log=("explained",), names="paths",
    ),
    Spec(
        "beta_of_two", 2500, "beta 1.8 on a summed likelihood: about half is explained", ("kl_weight_too_large",),
        setting=replace(ELBO, features=40, alpha=1.8, rest=0.1), log=("weight", "explained"), names="losses",
        form="tensorboard",
    ),
    Spec(
        "clamped_exp", 1000, "exp(log_var) clamped inside the KL: it falls through zero", ("negative_kl",),
        setting=RAW, events=(("widen", {"onset": 0.3, "depth": 60}),),
    ),
    Spec(
        "always_clipped", 400, "every gradient norm is above a clip of 0.02", ("gradient_clipping",), clip=0.02,
        setting=UNIT, typical_norm=2.5, log=("grad_norm",),
    ),
    Spec(
        "narrow_bound", 120, "log_var bounded at 0.1: nearly all of it at the bound", ("logvar_saturation",),
        setting=replace(NATS, rest=0.16), names="plugin",
        log=("weight", "explained", "active", "grad_norm", "log_var", "spread"), noise=("white", 0.008),
        config={"vae_log_var_limit": 0.1},
    ),
    Spec(
        "creeping", 500, "learning rate 1e-7: reconstruction barely leaves its first value",
        ("reconstruction_plateau",), setting=replace(UNIT, features=32), lr=1e-7, horizon=0.003,
        noise=("white", 0.02), log=("explained",),
    ),
    Spec(
        "too_many_latents", 150, "256 latents, all active, share what 16 would carry", ("latent_oversized",),
        setting=replace(NATS, latents=256), names="plugin", active=256, noise=("white", 0.008),
        log=("weight", "explained", "active", "grad_norm", "log_var", "spread"),
    ),
    Spec(
        "stopped_in_the_ramp", 36, "stopped after a tenth of the logged ramp, everything still moves", ("too_short",),
        setting=RAW, weights=("ramp", {"until": 10.0}), log=("weight",), horizon=0.06, span=9000,
    ),
    Spec(
        "nan_in_the_last_points", 300, "finite until 96%, then NaN", ("non_finite",), setting=UNIT, names="losses",
        form="csv", events=(("not_finite", {"onset": 0.96}),), noise=("heavy", 0.02),
    ),
)  # fmt: skip
SPECS = HEALTHY + FAULTY
