"""Keys of VAEs: of their optimiser, of the state VAE's networks, and of its training."""

from dataclasses import dataclass
from typing import Literal

from ..config.keys import RMSpropKeys
from ..config.schema import key, new_default


@dataclass(frozen=True)
class VAEOptimiserConfig(RMSpropKeys):
    """Keys of a VAE's updates; docs/vae-stability.md states the effect of each."""

    vae_lr: float = key(2e-4, above=0, help="learning rate of the VAE")
    vae_lr_warmup: int = key(0, low=0, help="updates over which the learning rate rises from 0")
    vae_optimiser: Literal["adam", "rmsprop"] = key("adam", help="optimiser of the VAE")
    vae_betas: list[float] = key([0.5, 0.999], low=0, high=0.999999, length=2, help="Adam's beta1 and beta2")
    optim_alpha: float = new_default(RMSpropKeys, "optim_alpha", 0.9)
    vae_grad_skip: float = key(0.0, low=0, help="skip updates whose gradient norm is larger; 0: skip none")

    omg_vae_alpha: float = key(0.01, low=0, help="KL weight; docs/metrics.md states its unit")
    vae_alpha_schedule: Literal["constant", "linear", "sigmoid", "cyclical", "pi"] = key(
        "linear", help="how the KL weight changes; pi: a controller holds the KL at vae_kl_target"
    )
    vae_alpha_ramp: int = key(1000, low=0, help="updates of the linear or sigmoid ramp, or of one cycle")
    vae_kl_target: float = key(15.0, above=0, help="KL in nats that vae_alpha_schedule=pi holds")
    vae_pi_kp: float = key(0.1, low=0, help="proportional gain of vae_alpha_schedule=pi, in units of omg_vae_alpha")
    vae_pi_ki: float = key(0.01, low=0, help="integral gain for each update, in units of omg_vae_alpha")
    vae_free_bits: float = key(0.0, low=0, help="nats of each latent, averaged over the batch, without cost")
    vae_mu_l2: float = key(0.0, low=0, help="weight of the batch mean of sum_z mu^2, in units of omg_vae_alpha")


@dataclass(frozen=True)
class VAEShapeKeys:
    """Keys of the state VAE's networks. OMG's inference network shares some: the state VAE is its prior."""

    vae_latent_dim: int = key(0, low=0, help="Z, the number of latents; 0: half the number of features, 16 to 64")
    vae_hidden_dim: int = key(128, low=1, help="width of the state VAE's layers")
    vae_linear_path: bool = key(
        True, help="add a linear map to the encoder and to the decoder; rare combinations pass through it"
    )
    vae_encoder: Literal["auto", "mlp", "cnn"] = key("auto", help="auto: cnn if the state is an image")
    vae_log_var_bound: Literal["tanh", "softplus", "clamp", "exp_clamp", "none"] = key(
        "tanh", help="bound of log_var; exp_clamp is only for comparison, and only for the state VAE"
    )
    vae_log_var_limit: float = key(5.0, above=0, help="bound of |log_var| for tanh and clamp")
    vae_decoder: Literal["mse", "calibrated"] = key(
        "mse", help="Gaussian features: mse, or calibrated (sigma-VAE; set omg_vae_alpha=1)"
    )


@dataclass(frozen=True)
class VAEConfig(VAEOptimiserConfig, VAEShapeKeys):
    """Keys of the state VAE, those of its optimiser included."""

    vae_log_var_init: float = key(0.0, help="initial log_var before its bound; above 0: a wide posterior")

    vae_likelihood: Literal["auto", "gaussian", "bernoulli", "categorical", "mixed"] = key(
        "auto", help="auto: by the type of each feature; mixed: as vae_feature_types states"
    )
    vae_feature_types: str = key("", help="types for vae_likelihood=mixed, such as '5*categorical(16), 3*gaussian'")
    vae_formula: Literal["nats", "mean", "raw_mean"] = key(
        "nats",
        help="loss: nats for each state; mean squared error of standardised (omarl 0.1) or raw features (PyMARL)",
    )

    vae_batch_states: int = key(128, low=0, help="states of each VAE update, drawn from the last batches; 0: all")
    vae_window: int = key(8, low=1, help="number of last batches from which updates draw states")

    def notices(self) -> list[str]:
        """Notices about the configuration, a line each."""
        lines = []
        if self.vae_optimiser == "adam":
            lines.append(
                f"optim_alpha={self.optim_alpha:g} is RMSprop's smoothing constant, and the VAE trains with Adam, "
                "which does not use it (its key is vae_betas)"
            )
        if self.vae_log_var_bound == "exp_clamp":
            lines.append(
                "warning: vae_log_var_bound=exp_clamp counts exp(log_var) as 10 at most inside the KL; above that "
                "the KL increases log_var without limit and falls below zero. For comparison only: use tanh"
            )
        if self.vae_decoder == "calibrated" and self.omg_vae_alpha != 1.0:
            lines.append(
                f"vae_decoder=calibrated is the ELBO at omg_vae_alpha=1; at {self.omg_vae_alpha:g} it weighs the KL "
                "on the scale of a sum over the state"
            )
        return lines
