"""The 20 real trainings of the second set: other worlds and other loops, made without sight of the doctor's rules."""

from __future__ import annotations

import math

from doctor_eval_trainings import Training

DIV = ("kl_div", "rec_loss", "total_vae_loss")
LEARNER = ("learner/vae_kld", "learner/vae_recon_loss", "learner/vae_total_loss")
MODEL = ("model/kl_divergence", "model/reconstruction_loss", "model/total_loss")
STATE = ("state_vae_kl", "state_vae_recon", "state_vae_loss")
EPOCH = ("kl_loss", "reconstruction_loss", "total_loss")
TRAIN = ("train/kl_loss", "train/recon_loss", "train/vae_loss")
PLAIN_SGD = {"momentum": 0.9}

TRAININGS = (
    Training(
        "queues_rollouts", "queues", "epochs", "rollouts of 4,096, four shuffled passes each", beta=0.2, batch=128,
        refresh=(4096, 128), updates=2000, every=8, averaged=True, lr=1e-3, names=LEARNER, form="tensorboard",
        log_explained="learner/vae_explained_variance",
    ),
    Training(
        "board_replay", "board", "replay", "one-hot planes, Bernoulli summed, large mini-batches", likelihood="bce",
        beta=0.25, batch=256, width=128, latents=20, lr=3e-3, updates=2200, every=11, names=STATE, total=False,
        log_explained="state_vae_explained_variance", config={},
    ),
    Training(
        "weather_window", "weather", "window", "the last four batches are kept; AdamW", beta=0.2, batch=32,
        refresh=(2048, 150), updates=2400, every=3, optimiser="AdamW", latents=10, names=DIV, log_weight="kl_weight",
    ),
    Training(
        "colours_on_policy", "colouring", "fresh", "Bernoulli averaged over features, logged logistic ramp until 20%",
        likelihood="bce", reduce="mean", beta=0.25 / 27, batch=128, lr=4e-3, latents=14, updates=2400, every=6,
        weight=lambda progress: 1 / (1 + math.exp(-60 * (progress - 0.1))), log_weight="model/kl_weight", names=MODEL,
        form="jsonl",
    ),
    Training(
        "particles_average", "particles", "growing", "squared error averaged, KL averaged over latents, RMSprop",
        reduce="mean", kl="mean", beta=0.1, batch=64, lr=2e-3, optimiser="RMSprop", updates=2000, every=20,
        averaged=True, names=EPOCH, form="csv", log_explained="explained_variance",
    ),
    Training(
        "dice_replay", "dice", "replay", "one-hot groups, Bernoulli summed, few logs", likelihood="bce", beta=0.3,
        batch=128, lr=4e-3, latents=16, updates=2400, every=40, averaged=True, width=96, names=TRAIN,
        log_norm="train/grad_norm",
    ),
    Training(
        "genes_stream", "genes", "drift", "strings whose motifs drift, each used once", likelihood="bce", beta=0.3,
        batch=128, lr=3e-3, latents=10, updates=2200, every=5, names=DIV, total=False, config={},
    ),
    Training(
        "weather_momentum", "weather", "replay", "SGD with momentum, squared error averaged, single batches",
        reduce="mean", beta=0.01, batch=256, optimiser="SGD", optim=PLAIN_SGD, lr=0.3, updates=2400, every=2,
        latents=8, names=STATE, form="jsonl", log_explained="state_vae_explained_variance",
    ),
    Training(
        "particles_new_policy", "particles", "switch", "another policy from 60% on, mini-batches of 32", beta=0.15,
        batch=32, lr=1e-3, updates=2600, every=13, averaged=True, names=LEARNER, form="tensorboard",
        log_weight="learner/vae_beta",
    ),
    Training(
        "queues_prioritised", "queues", "prioritised", "replay by reconstruction error, 48 latents", beta=0.15,
        latents=48, batch=96, lr=2e-3, updates=1600, every=4, names=TRAIN, log_norm="train/grad_norm",
    ),
    Training(
        "board_averaged", "board", "epochs", "averaged over 64 bits, KL summed, weight 0.2: 50 times too large",
        ("posterior_collapse",), likelihood="bce", reduce="mean", beta=0.2, batch=128, refresh=(2048, 64),
        updates=1600, every=4, names=LEARNER, log_explained="learner/vae_explained_variance", config={},
    ),
    Training(
        "weather_late_ramp", "weather", "window", "a logged ramp from 40% on to a weight of 60 ends the code",
        ("posterior_collapse",), beta=60.0, weight=lambda progress: max(0.003, 1.6 * progress - 0.6), batch=128,
        refresh=(1024, 100), updates=2200, every=5, averaged=True, lr=2e-3, latents=8, log_weight="kl_weight",
        names=DIV, total=False,
    ),
    Training(
        "genes_discarded", "genes", "refresh", "400 updates on 48 strings, then discarded", ("data_refresh",),
        likelihood="bce", beta=0.1, refresh=(48, 400), updates=3600, every=4, batch=32, latents=16, width=128,
        lr=2e-3, names=STATE, form="jsonl", log_weight="state_vae_beta",
    ),
    Training(
        "board_few_rollouts", "board", "epochs", "dozens of passes over 96 boards, then the next rollout",
        ("data_refresh",), likelihood="bce", reduce="mean", beta=0.001, batch=32, refresh=(96, 240), updates=2640,
        every=3, latents=32, width=128, lr=2e-3, names=TRAIN, total=False, log_explained="train/explained_variance",
    ),
    Training(
        "particles_no_weight", "particles", "fresh", "weight 1e-8 on an average: nothing holds the KL",
        ("kl_weight_too_small",), reduce="mean", beta=1e-8, latents=8, batch=128, lr=3e-3, updates=2600, every=5,
        names=MODEL, form="csv", log_explained="model/explained_variance", log_weight="model/kl_weight",
    ),
    Training(
        "dice_dear", "dice", "replay", "weight 0.06 on an average of 27 bits, beta 1.6: half stays unexplained",
        ("kl_weight_too_large",), likelihood="bce", reduce="mean", beta=0.06, batch=128, lr=4e-3, latents=12,
        updates=2200, every=8, averaged=True, names=EPOCH, log_explained="explained_variance",
    ),
    Training(
        "queues_overshoot", "queues", "fresh", "SGD warmed up to a learning rate of 0.8 without a working clip: NaN",
        ("non_finite", "learning_rate_too_high"), beta=0.1, optimiser="SGD", optim=PLAIN_SGD, lr=0.8, clip=1e9,
        warm_up=0.9, updates=800, every=2, names=DIV, log_norm="vae_grad_norm",
    ),
    Training(
        "colours_clamped", "colouring", "growing", "clamp(exp(log_var)) in the KL, posteriors that begin wide",
        ("negative_kl",), likelihood="bce", clamped=True, log_var=5.0, batch=128, lr=2e-3, updates=1500, every=3,
        names=MODEL, form="tensorboard", log_weight="model/kl_weight",
    ),
    Training(
        "weather_hunting", "weather", "replay", "weight goes round between 0.02 and 6, logged, until the end",
        ("kl_oscillation",), beta=0.35, weight=lambda progress: math.exp(2.85 * math.sin(18 * math.pi * progress)),
        batch=128, lr=2e-3, latents=8, updates=2400, every=6, averaged=True, names=LEARNER,
        log_weight="learner/vae_beta", config={},
    ),
    Training(
        "dice_strangled", "dice", "fresh", "SGD with a clip of 0.001: every update is clipped, little is learned",
        ("gradient_clipping", "reconstruction_plateau"), likelihood="bce", optimiser="SGD", lr=0.01, clip=0.001,
        beta=0.3, batch=64, updates=1600, every=4, names=STATE, log_norm="state_vae_grad_norm",
    ),
)  # fmt: skip
