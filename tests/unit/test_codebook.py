"""Codebook: k-means on clusters with known centres."""

import torch
from omarl.modules.codebook import Codebook


def clusters(n=300):
    """Vectors [R, 2, 2] of two slots, each with three clusters of its own, and their cluster indices [R, 2]."""
    where = torch.randint(3, (n, 2))
    centres = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], [[9.0, 9.0], [-9.0, 9.0], [9.0, -9.0]]])
    return centres[torch.arange(2), where] + 0.1 * torch.randn(n, 2, 2), where, centres


def test_k_means_finds_the_cluster_centres():
    torch.manual_seed(0)
    book = Codebook(2, 3, 2)
    assert not book.is_fitted
    points, where, centres = clusters()
    book.fit(points)
    assert book.is_fitted
    for found, true in zip(book.centres, centres, strict=True):
        assert (torch.cdist(found, true).min(dim=0).values < 0.1).all()  # each cluster has a centre
    codes = book.codes(points)
    assert codes.shape == (300, 2)
    for slot in range(2):  # exactly one code for each cluster
        pairs = {(int(c), int(w)) for c, w in zip(codes[:, slot], where[:, slot], strict=True)}
        assert len(pairs) == 3
    assert (book.vectors(codes) - points).abs().max() < 0.6
    rows = points.view(30, 10, 2, 2)
    assert torch.equal(book.codes(rows), codes.view(30, 10, 2))
    assert torch.equal(book.codes(points[0]), codes[0])


def test_fewer_distinct_vectors_than_codes_are_accepted():
    torch.manual_seed(0)
    book = Codebook(1, 5, 2)
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])[torch.randint(2, (50,))][:, None]
    book.fit(points)
    assert torch.isfinite(book.centres).all()
    assert (book.vectors(book.codes(points)) - points).abs().max() < 1e-4


def test_state_dict_restores_the_centres():
    torch.manual_seed(0)
    book, other = Codebook(2, 3, 2), Codebook(2, 3, 2)
    points, _, _ = clusters()
    book.fit(points)
    other.load_state_dict(book.state_dict())
    assert other.is_fitted and torch.equal(other.codes(points), book.codes(points))
    assert not list(book.parameters())
