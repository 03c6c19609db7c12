"""Vector quantisation: a vector is coded as the index of the nearest k-means centre."""

import torch
from torch import Tensor, nn

ROUNDS = 20  # of k-means
AT_MOST = 4096  # vectors used by k-means


class Codebook(nn.Module):
    """C centres of dimension D for each of M slots, stored as buffers and therefore saved with the model.

    Args:
        n_slots: M, number of slots; each has its own centres.
        n_codes: C, number of centres of a slot.
        size: D, dimension of a vector.
    """

    def __init__(self, n_slots: int, n_codes: int, size: int) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.centres = nn.Buffer(torch.zeros(n_slots, n_codes, size))
        self.is_fitted = nn.Buffer(torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(self, vectors: Tensor) -> None:
        """Fits each slot's centres to vectors [R, M, D] by k-means.

        Lloyd (1982), initialised by k-means++ (Arthur and Vassilvitskii 2007).
        """
        vectors = vectors[torch.randperm(len(vectors), device=vectors.device)[:AT_MOST]]
        for slot, rows in enumerate(vectors.unbind(dim=1)):
            self.centres[slot] = _k_means(rows, self.n_codes)
        self.is_fitted.fill_(True)

    def codes(self, vectors: Tensor) -> Tensor:
        """Indices of the nearest centres: [..., M, D] -> int64 [..., M]."""
        flat = vectors.reshape(-1, *vectors.shape[-2:]).transpose(0, 1)  # [M, R, D]
        return torch.cdist(flat, self.centres).argmin(dim=-1).transpose(0, 1).view(vectors.shape[:-1])

    def vectors(self, codes: Tensor) -> Tensor:
        """The centres with these indices: int64 [..., M] -> [..., M, D]."""
        return self.centres[torch.arange(len(self.centres), device=codes.device), codes]


def _k_means(rows: Tensor, n_codes: int) -> Tensor:
    """Rows [R, D] -> centres [C, D]; some centres are equal if there are fewer than C distinct rows."""
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
