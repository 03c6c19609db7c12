"""Softmax over a last axis of a few choices, where torch's takes several times as long as over a first axis (CPU)."""

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 16  # choices; with more, the last axis is the faster one


def _is_slow(logits: Tensor) -> bool:
    return logits.is_cpu and logits.shape[-1] < FEW


def log_softmax(logits: Tensor) -> Tensor:
    """``torch.log_softmax(logits, dim=-1)``; the memory layout of the result may have the last axis first."""
    if _is_slow(logits):
        return F.log_softmax(logits.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)
    return F.log_softmax(logits, dim=-1)


def softmax(logits: Tensor) -> Tensor:
    """``torch.softmax(logits, dim=-1)``; see ``log_softmax``."""
    if _is_slow(logits):
        return torch.softmax(logits.movedim(-1, 0).contiguous(), dim=0).movedim(0, -1)
    return torch.softmax(logits, dim=-1)
