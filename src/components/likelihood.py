"""The likelihood of states with Gaussian, Bernoulli and categorical features under a decoder's outputs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modules.losses import calibrated_nll
from ..modules.softmax import log_softmax, softmax
from .feature_types import BERNOULLI, CATEGORICAL, GAUSSIAN, FeatureTypes
from .normalisers import RunningMeanStd

RARE = 1e-4  # the smallest frequency of a bit that counts
GAIN_LIMIT = 30.0  # of a logit over a decoder's output, for bits that are rarely 1: a frequency of 1/900
NO_LOGIT = -1e9  # pads one-hot groups of unequal sizes


class Likelihood:
    """p(s | outputs) for S features of known types.

    A decoder's output [..., S] contains the standardised means of Gaussian features. For bits and one-hot groups it
    shifts the logits of the marginal frequencies p: ``logit(p) + output / sqrt(p (1 - p))``. So an output of 0 is the
    marginal for every type, and rare bits are learned as fast as Gaussian features. ``normaliser`` has the running
    mean and standard deviation of the raw features; the factor of an output is at most ``gain_limit``.
    """

    def __init__(self, types: FeatureTypes, normaliser: RunningMeanStd, gain_limit: float = GAIN_LIMIT) -> None:
        self.types, self.normaliser, self.gain_limit = types, normaliser, gain_limit
        device = normaliser.mean.device
        self.gaussian = types.where(GAUSSIAN).to(device)
        self.bits = types.where(BERNOULLI).to(device)
        self.constant, self.source = types.value.to(device), types.source.to(device)
        groups = types.groups()
        width = max((len(group) for group in groups), default=0)
        padded = [F.pad(group, (0, width - len(group)), value=types.size) for group in groups]
        empty = torch.empty(0, 0, dtype=torch.int64)
        self.groups = (torch.stack(padded) if padded else empty).to(device)  # [G, K]; index S: no feature
        self.is_gaussian = len(self.gaussian) == types.size
        self.has_copies = bool(types.is_copy.any())
        self.fits_all = self.is_gaussian and not self.has_copies  # no state contradicts the types
        self.grouped = types.where(CATEGORICAL).to(device)
        self.follow()

    def follow(self) -> None:
        """Adopts the normaliser's present mean: the marginals, which correspond to an output of 0."""
        self.frequency = p = self.normaliser.mean.float().clamp(RARE, 1 - RARE)  # so that logits are finite
        gain = (p * (1 - p)).rsqrt().clamp(max=self.gain_limit)  # shift of a logit for one unit of output
        self.bit_base, self.bit_gain = (p / (1 - p)).log()[self.bits], gain[self.bits]
        self.group_base, self.group_gain = self._grouped(p.log(), NO_LOGIT), self._grouped(gain, 0.0)

    def nll(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor:
        """Nats of each state: -log p, without the Gaussian's constant. [..., S] -> [...].

        The sum of half the squared error of each standardised Gaussian feature and the negative log-likelihood of
        each bit and each one-hot group. Constant features and copies cost nothing. ``inputs`` are the ``states``
        standardised.
        """
        if self.is_gaussian:
            return 0.5 * (outputs - inputs).square().sum(dim=-1)
        nats = 0.5 * (outputs[..., self.gaussian] - inputs[..., self.gaussian]).square().sum(dim=-1)
        return nats + self.discrete_nll(outputs, states)

    def discrete_nll(self, outputs: Tensor, states: Tensor) -> Tensor:
        """The part of ``nll`` of bits and one-hot groups. [..., S] -> [...]."""
        nats = torch.zeros(outputs.shape[:-1], device=outputs.device)
        if len(self.bits):
            logits, targets = self._bit_logits(outputs), states[..., self.bits]
            nats = nats + F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=-1)
        if len(self.groups):
            log_p = log_softmax(self._group_logits(outputs))
            nats = nats - (log_p * self._grouped(states, 0.0)).sum(dim=(-2, -1))
        return nats

    def calibrated_nll(self, outputs: Tensor, states: Tensor, inputs: Tensor) -> Tensor:
        """Nats with sigma-VAE's shared variance for the Gaussian features, mean over the batch: [M, S] -> scalar."""
        rest = self.discrete_nll(outputs, states).mean()
        if not len(self.gaussian):
            return rest
        return rest + calibrated_nll(outputs[:, self.gaussian], inputs[:, self.gaussian])

    def mean(self, outputs: Tensor) -> Tensor:
        """The expected raw state of a decoder's outputs [..., S]: means, probabilities and constants."""
        n = self.normaliser
        means = outputs * n.std.float() + n.mean.float()
        if self.is_gaussian:
            return means
        result = self.constant.expand(outputs.shape).clone()
        result[..., self.gaussian] = means[..., self.gaussian]
        result[..., self.bits] = self._bit_logits(outputs).sigmoid()
        if len(self.groups):
            odds = softmax(self._group_logits(outputs))
            padded = F.pad(result, (0, 1))
            padded[..., self.groups.flatten()] = odds.flatten(-2)
            result = padded[..., :-1]
        return result[..., self.source] if self.has_copies else result

    def null_nats(self) -> float:
        """Nats of a decoder that knows only the marginal frequencies: the scale of ``nll``."""
        q, p = self.frequency[self.bits], self.frequency[self.grouped]
        nats = 0.5 * len(self.gaussian) - float((q * q.log() + (1 - q) * (1 - q).log()).sum())
        return nats - float((p * p.log()).sum())

    def accuracy(self, outputs: Tensor, states: Tensor) -> float:
        """The accuracy on raw states [M, S], mean over one-hot groups and bits; NaN if there are none.

        A group is correct if its largest probability is that of the true member. The accuracy of a bit is the mean of
        those on ones and on zeros, so that always decoding 0 is not accurate for a rare bit. Bits that do not vary in
        ``states`` are left out.
        """
        parts = []
        if len(self.groups):
            chosen = self._group_logits(outputs).argmax(dim=-1)
            parts.append((chosen == self._grouped(states, 0.0).argmax(dim=-1)).float().mean(dim=0))
        if len(self.bits):
            truth = states[:, self.bits]
            right = ((self._bit_logits(outputs) > 0).float() == truth).float()
            ones, zeros = truth.sum(dim=0), (1 - truth).sum(dim=0)
            balanced = 0.5 * ((right * truth).sum(dim=0) / ones + (right * (1 - truth)).sum(dim=0) / zeros)
            parts.append(balanced[(ones > 0) & (zeros > 0)])
        accuracies = torch.cat(parts) if parts else torch.empty(0)
        return float(accuracies.mean()) if len(accuracies) else float("nan")

    def _bit_logits(self, outputs: Tensor) -> Tensor:
        """Logits of the bits, [..., S] -> [..., number of bits]."""
        return self.bit_base + outputs[..., self.bits] * self.bit_gain

    def _group_logits(self, outputs: Tensor) -> Tensor:
        """Logits within each one-hot group, [..., S] -> [..., G, K]."""
        return self.group_base + self._grouped(outputs, 0.0) * self.group_gain

    def _grouped(self, rows: Tensor, fill: float) -> Tensor:
        """The features of each one-hot group, [..., S] -> [..., G, K]; shorter groups are padded with ``fill``."""
        return F.pad(rows, (0, 1), value=fill)[..., self.groups]
