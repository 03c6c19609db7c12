"""Vectors told by number: the nearest of a few that k-means has found."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROUNDS = 20  # of k-means
AT_MOST = 4096  # vectors that it looks at


class Codebook(nn.Module):
    """C centres for each of M things that are told apart, as buffers, so that files hold them.

    Args:
        n_things: M.
        n_codes: C.
        size: D, numbers of a vector.
    """

    def __init__(self, n_things: int, n_codes: int, size: int) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.centres = nn.Buffer(torch.zeros(n_things, n_codes, size))
        self.is_fitted = nn.Buffer(torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(self, vectors: Tensor) -> None:
        """k-means (Lloyd 1982) from k-means++ (Arthur and Vassilvitskii 2007), for each thing, on [R, M, D]."""
        vectors = vectors[torch.randperm(len(vectors), device=vectors.device)[:AT_MOST]]
        for thing, rows in enumerate(vectors.unbind(dim=1)):
            self.centres[thing] = _k_means(rows, self.n_codes)
        self.is_fitted.fill_(True)

    def codes(self, vectors: Tensor) -> Tensor:
        """Which centre is nearest: [..., M, D] -> int64 [..., M]."""
        flat = vectors.reshape(-1, *vectors.shape[-2:]).transpose(0, 1)  # [M, R, D]
        return torch.cdist(flat, self.centres).argmin(dim=-1).transpose(0, 1).view(vectors.shape[:-1])

    def vectors(self, codes: Tensor) -> Tensor:
        """The centres: int64 [..., M] -> [..., M, D]."""
        return self.centres[torch.arange(len(self.centres), device=codes.device), codes]


def _k_means(rows: Tensor, n_codes: int) -> Tensor:
    """Centres [C, D] of rows [R, D]; where there are fewer different rows, some centres are alike."""
    centres = rows[:1]
    for _ in range(n_codes - 1):
        far = torch.cdist(rows, centres).amin(dim=1).square()
        centres = torch.cat([centres, rows[torch.multinomial(far + 1e-9, 1)]])
    for _ in range(ROUNDS):
        nearest = torch.cdist(rows, centres).argmin(dim=1)
        count = torch.bincount(nearest, minlength=n_codes)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
