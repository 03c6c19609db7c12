"""The second set of 60 simulated runs, for confirmation: made without sight of the doctor's rules.

Labels follow from how a run is generated and were fixed before any verdict was seen; no accepted name means healthy.
"""

from __future__ import annotations

from dataclasses import replace

from doctor_eval_curves import Setting
from doctor_eval_specs import Spec

BITS = Setting(features=112, variance=0.09, alpha=0.0005, latents=48, rank=13)  # raw 0/1 planes, averaged
BOX = Setting(features=36, alpha=0.015, latents=20)  # standardised readings, squared error averaged
PLANES = Setting(features=90, likelihood="bce", entropy=0.25, recon="sum", alpha=0.25, latents=24, rank=9)
MEAN_BITS = Setting(features=200, likelihood="bce", entropy=0.2, alpha=0.0015, latents=40, rank=16)
SUMS = Setting(features=50, recon="sum", alpha=0.5, latents=12, rank=8, decay=0.8)  # standardised, summed
PLUGIN = Setting(features=46, recon="sum", variance=0.5, alpha=0.3, rank=9)  # omarl's learner in a host
OURS = ("weight", "explained", "active", "grad_norm", "log_var", "spread")

HEALTHY = (
    Spec("even_keel", 1800, "constant weight, settled, skewed noise", setting=BITS, noise=("skewed", 0.05)),
    Spec(
        "thirty_four_epochs", 34, "one mean an epoch, settled after a quarter", setting=replace(SUMS, alpha=0.3),
        form="csv", names="epoch", clock="epoch", span=34, speed=0.2, noise=("white", 0.012), log=("explained",),
    ),
    Spec(
        "latent_average", 650, "KL averaged over 20 latents, weight logged", names="model", form="tensorboard",
        setting=replace(BOX, kl="mean", alpha=0.3), log=("weight", "explained"), noise=("moving", 0.02),
    ),
    Spec(
        "weighted_without_total", 320, "KL logged after the weight, no total", without=("loss",), names="div",
        setting=replace(PLANES, kl="weighted", alpha=0.35), log=("explained",), noise=("heavy", 0.015),
    ),
    Spec(
        "bits_averaged", 5200, "Bernoulli averaged over 200 features, settled", setting=MEAN_BITS, names="learner",
        noise=("ar1", 0.06), span=52_000, log=("grad_norm",), unconfigured=True,
    ),
    Spec(
        "explores_more", 900, "the policy explores more and more: KL and reconstruction rise together, then hold",
        setting=replace(BOX, features=22, rank=7), events=(("broaden", {"at": 0.45, "over": 0.2, "size": 0.22}),),
        noise=("white", 0.025), log=("explained", "weight"),
    ),
    Spec(
        "policy_narrows", 1300, "a policy change to fewer states: both step down", setting=PLANES, names="state_vae",
        events=(("policy_change", {"at": (0.55,), "size": -0.18}),), noise=("moving", 0.03), form="jsonl",
        clock="iteration", span=1300,
    ),
    Spec(
        "opponents_in_turn", 480, "four opponents in turn: steps up and down of both", setting=SUMS, names="omg",
        events=(
            ("policy_change", {"at": (0.25, 0.7), "size": 0.13}), ("policy_change", {"at": (0.5,), "size": -0.12}),
        ),
        noise=("skewed", 0.02), span=480_000,
    ),
    Spec(
        "s_shaped_ramp", 1000, "a logistic ramp over the first third, logged; settled afterwards", names="model",
        setting=replace(BITS, alpha=0.0006), weights=("logistic", {"until": 0.33}), log=("weight",),
        noise=("heavy", 0.03),
    ),
    Spec(
        "raised_in_stairs", 400, "weight raised in five stairs until 30%, logged", setting=BOX, form="csv",
        weights=("stairs", {"until": 0.3, "cycles": 5}), log=("weight", "grad_norm"), noise=("moving", 0.025),
        clock="global_step", names="losses",
    ),
    Spec(
        "unlogged_s_ramp", 2400, "a logistic ramp until 20%, not logged, no total", setting=MEAN_BITS,
        weights=("logistic", {"until": 0.2}), without=("loss",), unconfigured=True, noise=("white", 0.05),
    ),
    Spec(
        "two_cycles_then_flat", 750, "two cycles of the weight, not logged, constant after 30%", setting=PLANES,
        weights=("cycles", {"until": 0.3, "cycles": 2}), bare=True, names="vae", noise=("ar1", 0.02),
    ),
    Spec(
        "still_buying", 1200, "KL rises slowly and pays: the weighted total falls", horizon=0.25, names="learner",
        setting=replace(SUMS, latents=30, rank=20, decay=0.84, alpha=0.4), noise=("skewed", 0.01), log=("explained",),
    ),
    Spec(
        "still_buying_few_points", 60, "KL rises and the weighted total falls, 60 points", horizon=0.33,
        setting=replace(BOX, rank=17, decay=0.79, alpha=0.012), noise=("white", 0.006), form="csv", names="epoch",
    ),
    Spec(
        "single_spikes", 4000, "one-point outliers at 1.5% of the points, up to 12 times", outliers=(0.015, 12),
        setting=replace(BOX, rank=12), noise=("ar1", 0.03), names="state_vae", without=("loss",),
    ),
    Spec(
        "spikes_in_a_short_log", 140, "four one-point outliers, the last log among them", setting=PLANES,
        outliers=(0.03, 4, True), noise=("white", 0.02), unconfigured=True, log=("weight",),
    ),
    Spec(
        "small_batches", 1600, "mini-batches of eight: much heavy-tailed noise", setting=replace(SUMS, features=28),
        noise=("heavy", 0.09), names="losses", form="tensorboard", clock="step", log=("grad_norm",),
    ),
    Spec(
        "running_means", 520, "means of the last five batches: noise with a short memory", noise=("moving", 0.07),
        setting=replace(BITS, features=60, alpha=0.0011), log=("explained", "active"),
    ),
    Spec(
        "noisier_states", 850, "noise grows sixfold, the level holds", setting=replace(MEAN_BITS, rank=10),
        noise=("uneven", 0.035), form="jsonl", names="model", clock="timesteps_total", without=("loss",),
    ),
    Spec(
        "three_digits", 260, "printed with three digits", setting=replace(PLANES, alpha=0.2), digits=3,
        noise=("skewed", 0.03), bare=True, names="vae", log=("weight", "explained"),
    ),
    Spec(
        "averaged_for_display", 3000, "moving average of noisy batches", setting=replace(BOX, features=70, rank=14),
        memory=0.9, noise=("heavy", 0.07), names="learner", form="tensorboard",
        events=(("tidy", {"excess": 0.3, "until": 0.9}),),
    ),
    Spec(
        "half_written", 1500, "half of the points lost, series at steps of their own", dropped=0.5, unequal=True,
        setting=replace(SUMS, alpha=0.25), noise=("white", 0.04), names="omg", span=1_500_000,
    ),
    Spec(
        "nine_thousand", 9000, "9,000 single batches, settled", noise=("skewed", 0.09), span=9000,
        setting=replace(BITS, features=240, rank=18, latents=32), log=("weight",), unconfigured=True,
    ),
    Spec(
        "thousand_pixels", 420, "a thousand pixels summed: KL and reconstruction are large, weight 1", bare=True,
        setting=replace(PLANES, features=1024, entropy=0.2, rank=20, latents=64, alpha=1.0), names="paths",
        noise=("moving", 0.015), log=("explained",),
    ),
    Spec(
        "many_kept_batches", 1900, "eight batches are kept: KL moves by 1.5% at a new one", setting=PLANES,
        events=(("refresh", {"batches": 19, "depth": 0.015, "jump": 0.02, "warp": 1.3}),), noise=("ar1", 0.025),
        log=("weight",), without=("loss",),
    ),
    Spec(
        "plugin_on_a_grid", 90, "our learner in a host, few interval means", setting=replace(PLUGIN, features=130),
        names="plugin", log=OURS, noise=("white", 0.01), lr=1e-3,
    ),
    Spec(
        "one_in_ten_clipped", 700, "one update in ten is clipped", setting=replace(MEAN_BITS, alpha=0.001), clip=1.0,
        typical_norm=0.5, log=("grad_norm", "explained"), names="div", noise=("skewed", 0.04),
    ),
    Spec(
        "begins_large", 380, "KL begins 2.5 times too large and settles in the first quarter", setting=BOX,
        events=(("tidy", {"excess": 1.5, "until": 0.25}),), names="state_vae", form="csv", clock="update", span=380,
        noise=("ar1", 0.02), speed=0.35,
    ),
    Spec(
        "mapped_terms", 230, "names that the user maps", setting=replace(SUMS, alpha=0.6, rank=6), names="terms",
        form="jsonl", noise=("moving", 0.02), digits=5, events=(("tidy", {"excess": 0.4, "until": 0.8}),),
    ),
    Spec(
        "kl_and_total", 1100, "reconstruction not logged, weight in the configuration", without=("recon",),
        setting=replace(PLANES, entropy=0.4), names="vae", noise=("skewed", 0.03),
    ),
)  # fmt: skip

FAULTY = (
    Spec(
        "never_coded", 850, "weight 0.1 on an average over 112 raw bits: an effective beta of 62",
        ("posterior_collapse",), setting=replace(BITS, alpha=0.1), noise=("skewed", 0.02), active=0,
        log=("explained", "active"), without=("loss",),
    ),
    Spec(
        "coded_until_the_ramp", 1700, "a logged logistic ramp to a weight that no direction pays for",
        ("posterior_collapse",), setting=replace(BOX, alpha=1.5), weights=("logistic", {"until": 0.8}),
        log=("weight",), names="model", form="tensorboard", noise=("ar1", 0.025),
    ),
    Spec(
        "stairs_to_nothing", 300, "weight raised in twelve stairs, not logged, until nothing is coded",
        ("posterior_collapse",), setting=replace(SUMS, alpha=40.0), weights=("stairs", {"until": 0.9, "cycles": 12}),
        names="epoch", form="csv", clock="epoch", span=300, noise=("white", 0.02),
    ),
    Spec(
        "nine_batches", 1350, "nine batches; KL loses a third at each new one", ("data_refresh",), setting=BITS,
        events=(("refresh", {"batches": 9, "depth": 0.33, "jump": 0.3, "recover": 0.1}),), noise=("skewed", 0.02),
        span=8100, log=("weight", "explained"),
    ),
    Spec(
        "shorter_episodes", 2200, "batches of shrinking length; KL off by a quarter at each", ("data_refresh",),
        setting=MEAN_BITS, names="learner", noise=("white", 0.03), unconfigured=True, without=("loss",),
        events=(("refresh", {"batches": 16, "depth": 0.26, "jump": 0.4, "recover": 0.18, "warp": 1.25}),),
    ),
    Spec(
        "new_levels", 640, "every new level raises KL by a half and the reconstruction by 80%", ("data_refresh",),
        setting=SUMS, names="losses", form="csv", clock="global_step", noise=("moving", 0.02),
        events=(("refresh", {"batches": 8, "depth": -0.5, "jump": 0.8, "recover": 0.15}),), log=("weight",),
    ),
    Spec(
        "momentum_swings", 1000, "an unstable optimiser, constant weight: swings of 30%", ("kl_oscillation",),
        setting=BOX, events=(("swing", {"amplitude": 0.3, "cycles": 14}),), noise=("skewed", 0.015),
        names="state_vae", log=("weight",), form="jsonl",
    ),
    Spec(
        "hunting_controller", 1500, "a controller with too large a gain: weight and KL go round and round",
        ("kl_oscillation",), setting=replace(PLANES, alpha=0.5), names="vae", log=("weight", "explained"), speed=0.25,
        weights=("hunting", {"cycles": 11, "to": 0.85}), noise=("ar1", 0.02),
    ),
    Spec(
        "swings_from_two_thirds", 380, "settled until 66%, then swings of 40%, no total", ("kl_oscillation",),
        setting=replace(SUMS, features=34), without=("loss",), bare=True, names="div", noise=("white", 0.02),
        events=(("swing", {"amplitude": 0.4, "cycles": 15, "onset": 0.66}),),
    ),
    Spec(
        "dear_code", 1400, "KL doubles over the last 60%, reconstruction flat, weight logged", ("kl_growth",),
        setting=MEAN_BITS, events=(("growth", {"to": 2.0, "onset": 0.4}),), noise=("moving", 0.03), log=("weight",),
        names="paths", form="tensorboard",
    ),
    Spec(
        "dear_code_late", 170, "KL grows by 70% from 80% on, reconstruction flat", ("kl_growth",), names="omg",
        setting=replace(BOX, features=64), events=(("growth", {"to": 1.7, "onset": 0.8}),), noise=("skewed", 0.015),
        log=("explained",), unconfigured=True,
    ),
    Spec(
        "thousandfold", 560, "KL leaves by a factor of 1,000 at 80%, reconstruction triples", ("kl_explosion",),
        setting=SUMS, lr=1e-3, events=(("explode", {"onset": 0.8, "factor": 1000, "recon": 3.0}),), form="csv",
        names="terms", noise=("heavy", 0.02),
    ),
    Spec(
        "there_and_back", 1250, "KL at up to 25 times its level for 4% of the points, then back",
        ("kl_explosion", "excursion"), setting=BITS, log=("explained", "grad_norm"), noise=("moving", 0.025),
        events=(("explode", {"onset": 0.55, "factor": 25, "width": 0.04}),), lr=3e-4,
    ),
    Spec(
        "nan_half_way", 920, "losses are NaN from 52% on", ("non_finite",), setting=PLANES, names="model",
        events=(("not_finite", {"onset": 0.52}),), form="jsonl", clock="iteration", span=9200, log=("weight",),
    ),
    Spec(
        "nan_without_warning", 130, "finite until 90%, then NaN; KL and reconstruction only", ("non_finite",),
        setting=SUMS, without=("loss",), events=(("not_finite", {"onset": 0.9}),), noise=("skewed", 0.03),
        names="div", unconfigured=True,
    ),
    Spec(
        "first_updates_kill", 740, "learning rate 0.1: a KL of 3,000 in the first updates, then dead latents",
        ("learning_rate_too_high",), setting=BOX, lr=0.1, events=(("die", {"peak": 3000, "null": 18.0}),),
        noise=("skewed", 0.02), names="state_vae", log=("explained", "active"), active=0,
    ),
    Spec(
        "seven_leaps", 1450, "learning rate 0.03: losses leap seven times after they were low",
        ("learning_rate_too_high",), setting=replace(PLANES, alpha=0.3), lr=0.03, names="paths", log=("weight",),
        events=(("leaps", {"at": (0.3, 0.42, 0.5, 0.61, 0.74, 0.83, 0.95), "kl": 5, "recon": 4, "width": 0.006}),),
    ),
    Spec(
        "weight_forgotten", 480, "weight 1e-7 on an average: about seven nats a latent", ("kl_weight_too_small",),
        setting=replace(BOX, latents=10, features=24, rank=16, decay=0.96, rest=0.004, alpha=1e-7), speed=0.12,
        noise=("moving", 0.015), log=("explained", "active"), active=10, without=("loss",),
    ),
    Spec(
        "sum_of_pixels", 1150, "pixels summed, weight 1e-8: the KL costs nothing", ("kl_weight_too_small",),
        setting=replace(PLANES, features=500, rank=40, decay=0.97, latents=24, alpha=1e-8), speed=0.15,
        names="losses", form="tensorboard", noise=("heavy", 0.01), log=("weight",),
    ),
    Spec(
        "forty_percent_left", 680, "beta 4 on squared errors: more than 40% stays unexplained",
        ("kl_weight_too_large",), setting=replace(SUMS, alpha=8.5, rank=8), log=("explained", "weight"), names="vae",
        noise=("ar1", 0.02), without=("loss",),
    ),
    Spec(
        "heavy_average", 210, "a weight on an average of bits that leaves about half unexplained",
        ("kl_weight_too_large",), setting=replace(MEAN_BITS, alpha=0.016, rank=12), log=("explained",),
        names="learner", noise=("white", 0.015),
    ),
    Spec(
        "variance_clamped", 900, "exp(log_var) clamped in the KL: it falls through zero at once", ("negative_kl",),
        setting=SUMS, events=(("widen", {"onset": 0.1, "depth": 25}),), names="omg", log=("explained",),
    ),
    Spec(
        "variance_clamped_late", 330, "exp(log_var) clamped in the KL: it falls below zero in the last third",
        ("negative_kl",), setting=BOX, events=(("widen", {"onset": 0.65, "depth": 9}),), form="csv",
        names="epoch", clock="epoch", span=330, noise=("skewed", 0.03),
    ),
    Spec(
        "tight_clip", 620, "every gradient norm is above a clip of 0.05", ("gradient_clipping",), clip=0.05,
        setting=BITS, typical_norm=4.0, log=("grad_norm", "explained"), noise=("white", 0.02),
    ),
    Spec(
        "plugin_clipped", 110, "our learner, clip 0.01: every update is clipped", ("gradient_clipping",), clip=0.01,
        setting=PLUGIN, typical_norm=6.0, names="plugin", log=OURS, noise=("white", 0.01),
    ),
    Spec(
        "bounded_at_a_fifth", 150, "log_var bounded at 0.2: nearly all of it at the bound", ("logvar_saturation",),
        setting=replace(PLUGIN, rest=0.14), names="plugin", log=OURS, noise=("white", 0.01),
        config={"vae_log_var_limit": 0.2},
    ),
    Spec(
        "hardly_moves", 760, "learning rate 5e-8: reconstruction barely leaves its first value",
        ("reconstruction_plateau",), setting=replace(PLANES, features=60), lr=5e-8, horizon=0.0008,
        noise=("skewed", 0.015), names="model", log=("explained", "weight"), form="tensorboard",
    ),
    Spec(
        "hardly_moves_sacred", 250, "learning rate 2e-7, no total: reconstruction barely leaves its first value",
        ("reconstruction_plateau",), setting=replace(SUMS, features=20), lr=2e-7, horizon=0.002, without=("loss",),
        noise=("white", 0.02), log=("explained",), names="pymarl",
    ),
    Spec(
        "far_too_many_latents", 200, "384 latents, all active, share what nine would carry", ("latent_oversized",),
        setting=replace(PLUGIN, latents=384), names="plugin", active=384, noise=("white", 0.008), log=OURS,
    ),
    Spec(
        "cut_short", 42, "stopped at a fifteenth of the logged ramp, everything still moves", ("too_short",),
        setting=replace(BOX, features=50), weights=("ramp", {"until": 15.0}), log=("weight",), horizon=0.05,
        span=6000, names="div", noise=("moving", 0.015), config={"t_max": 600_000},
    ),
)  # fmt: skip
SPECS = HEALTHY + FAULTY
