"""Statistics, types and likelihood of the features of states."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..modules.encoder import as_features
from ..types import Block, ConfigError
from . import feature_types
from .feature_types import BERNOULLI, CATEGORICAL, CONSTANT, GAUSSIAN, FeatureTypes
from .likelihood import GAIN_LIMIT, Likelihood
from .normalisers import RunningMeanStd

log = logging.getLogger(__name__)

CLIP = 10.0  # standard deviations: a real number that is nearly always constant must not dominate the loss
OLD_GAIN_LIMIT = 10.0  # of checkpoints that have none
MOST = 1 << 24  # numbers of the states that are observed at once
EVIDENCE = 2048  # stored states from which types are inferred, without those that contradicted a type
KINDS = {
    "auto": range(4),
    "gaussian": (CONSTANT, GAUSSIAN),
    "bernoulli": (CONSTANT, BERNOULLI),
    "categorical": (CONSTANT, BERNOULLI, CATEGORICAL),
}


class StateFeatures:
    """Statistics and types of S features, estimated from the observed states.

    Args:
        size: S.
        blocks: declarations of spaces; empty if unknown.
        likelihood: ``auto`` | ``gaussian`` | ``bernoulli`` | ``categorical``, or ``mixed`` with ``written``.
        written: the user's types: see ``feature_types.parse``.
        is_typed: False treats every feature as Gaussian.
        is_standardised: whether inputs are standardised.
    """

    def __init__(
        self, size: int, blocks: Sequence[Block], likelihood: str, written: str, is_typed: bool, is_standardised: bool
    ) -> None:
        self.size, self.blocks, self.wanted = size, blocks, likelihood
        self.is_typed, self.is_standardised = is_typed, is_standardised
        self.normaliser = RunningMeanStd(size)
        self.gain_limit = GAIN_LIMIT
        self.clip = torch.full((size,), CLIP)
        self.evidence = torch.empty(0, size)
        self.types: FeatureTypes | None = None
        self._likelihood: Likelihood | None = None
        if likelihood == "mixed":
            self._take(feature_types.parse(written, size))
        elif not is_typed or self._are_pixels():
            self.is_typed = False
            self._take(FeatureTypes.all_of(GAUSSIAN, size))

    @property
    def likelihood(self) -> Likelihood:
        """p(s | outputs). Some states must have been observed."""
        assert self._likelihood is not None, "no states were observed yet"
        return self._likelihood

    def observe(self, states: Tensor) -> None:
        """Updates the statistics with raw states [M, S], float32 or bytes, and infers or checks the types.

        Raises:
            ConfigError: the configured likelihood does not fit the states.
        """
        for part in states.split(max(MOST // self.size, 1)):
            rows = as_features(part)
            if self.is_standardised:
                self.normaliser.update(rows)
            if self.types is None:
                self._find(rows)
            elif self.is_typed:
                self._check(rows)
        if not self.likelihood.is_gaussian:
            self.likelihood.follow()

    def _are_pixels(self) -> bool:
        """Whether all features are pixels. They are Gaussian: the search for bits and groups takes too long."""
        return self.wanted in ("auto", "gaussian") and {block.kind for block in self.blocks} == {"image"}

    def inputs(self, states: Tensor) -> Tensor:
        """The networks' inputs: states [..., S], standardised and clipped.

        Real numbers are clipped to 10 standard deviations, and bits to the factor of the decoder's outputs.
        """
        return self.normaliser.normalise(states).clamp(-self.clip, self.clip) if self.is_standardised else states

    def mean(self, outputs: Tensor) -> Tensor:
        """The expected raw state of a decoder's outputs [..., S]."""
        return self.likelihood.mean(outputs) if self.is_standardised and self.types is not None else outputs

    def explained(self, outputs: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """How well a decoder's outputs fit its inputs, both [M, S]: the explained variance and the out-of-sample R2.

        Both are 1 - squared error / squared deviation of the states, summed over the features that are not constant:
        the deviation from their own mean, or from the mean of all states in training. NaN without a deviation, and
        the latter if states are not standardised.
        """
        assert self.types is not None
        error = (self.inputs(self.mean(outputs)) - inputs).square().mean(dim=0)
        free = (self.types.kind != CONSTANT).to(inputs.device)
        from_own, from_training = inputs.var(dim=0, unbiased=False), inputs.square().mean(dim=0)
        if not self.is_standardised:
            from_training = torch.zeros_like(from_training)
        sums = torch.stack([from_own, from_training])[:, free].sum(dim=1)
        variance, r2 = torch.where(sums > 0, 1.0 - error[free].sum() / sums, torch.nan)
        return variance, r2

    def _take(self, types: FeatureTypes) -> None:
        self.types, self._likelihood = types, Likelihood(types, self.normaliser, self.gain_limit)
        is_bit = (types.kind == BERNOULLI) | (types.kind == CATEGORICAL)
        self.clip = torch.where(is_bit, self.gain_limit, CLIP).to(self.normaliser.mean.device)

    def _find(self, states: Tensor) -> None:
        few = states[:: -(-len(states) // EVIDENCE)]
        types = feature_types.infer(few, self.blocks, KINDS[self.wanted])
        others = types.where(GAUSSIAN)
        if self.wanted in ("bernoulli", "categorical") and len(others):
            raise ConfigError(
                f"vae_likelihood: {self.wanted} needs features of 0 and 1, and feature {int(others[0])} has other "
                "values; use auto"
            )
        self._take(types)
        self._remember(states)
        log.info("the VAE's data: %s", types.describe())

    def _check(self, states: Tensor) -> None:
        assert self.types is not None
        is_full, is_wrong = self._remember(states), torch.zeros(self.size, dtype=torch.bool)
        if not self.likelihood.fits_all:
            wrong = feature_types.contradicted(self.types, states)
            is_wrong = wrong.any(dim=0)
        if bool(is_wrong.any()):
            first = wrong.int().argmax(dim=0)[is_wrong].unique()  # one state for each feature
            self.evidence = torch.cat([self.evidence, states[first.to(states.device)].cpu()])
        elif not is_full:
            return
        if self.wanted == "mixed":
            fixed = feature_types.corrected(self.types, self.evidence, is_wrong, self.blocks)
        else:
            fixed = feature_types.regrouped(self.types, self.evidence, self.blocks, KINDS[self.wanted])
        if not feature_types.is_same(self.types, fixed):
            changes = feature_types.changes(self.types, fixed)
            log.warning("later states contradict the types of VAE features; corrected: %s", changes)
            self._take(fixed)

    def _remember(self, states: Tensor) -> bool:
        """Stores a selection of the states until ``EVIDENCE`` are stored; returns whether that happens now."""
        missing = EVIDENCE - len(self.evidence)
        if missing <= 0:
            return False
        few = states[:: max(1, len(states) // 256)][:missing].cpu()
        self.evidence = torch.cat([self.evidence, few])
        return len(self.evidence) == EVIDENCE

    def to(self, device: str) -> None:
        self.normaliser.to(device)
        if self.types is not None:
            self._take(self.types)

    def state_dict(self) -> dict[str, Any]:
        return {
            "normaliser": self.normaliser.state_dict(),
            "types": None if self.types is None else self.types.state_dict(),
            "evidence": self.evidence.clone(),
            "gain_limit": self.gain_limit,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``. In files of omarl 0.1, which have no types, all features are Gaussian."""
        self.normaliser.load_state_dict(state["normaliser"])
        self.evidence = state.get("evidence", self.evidence)
        self.gain_limit = float(state.get("gain_limit", OLD_GAIN_LIMIT))
        if state.get("types") is not None:
            self._take(FeatureTypes.from_state_dict(state["types"]))
        elif not self.is_typed:
            self._take(FeatureTypes.all_of(GAUSSIAN, self.size))
