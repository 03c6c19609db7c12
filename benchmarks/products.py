"""Times products of the sizes of an update and of a decision: ours with packed weights, NumPy's and torch's.

    python benchmarks/products.py [--repeats 200]

One thread; GFLOP/s of the median time. Writes ``benchmarks/speed/products.md``. Ten seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omarl.modules.gru_kernels import packed
from omarl.modules.matrix_kernels import product
from speed import machine, table
from threadpoolctl import threadpool_limits

SIZES = [(96, 64, 192), (48, 64, 192), (192, 64, 24), (96, 26, 64), (96, 192, 64), (48, 128, 384)]  # M, K, N


def rate(call: Callable[[], object], operations: int, repeats: int) -> float:
    """GFLOP/s."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for _ in range(20):
            call()
        times.append((time.perf_counter() - begun) / 20)
    return operations / statistics.median(times) / 1e9


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng, rows = np.random.default_rng(0), []
    with threadpool_limits(1, "blas"):
        for m, k, n in SIZES:
            a, b, out = (rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n)))
            (weights,) = packed(b)
            ta, tb, to = map(torch.from_numpy, (a, b, out))
            calls: dict[str, Callable[[], object]] = {
                "omarl": partial(product, a, weights, out),
                "NumPy (OpenBLAS)": partial(np.matmul, a, b, out=out),
                "torch (MKL)": partial(torch.mm, ta, tb, out=to),
            }
            found = [f"{rate(call, 2 * m * k * n, args.repeats):.0f}" for call in calls.values()]
            rows.append([f"{m}x{k} by {k}x{n}", *found])
            print(*rows[-1], flush=True)
    lines = ["# Products of small matrices", "", "GFLOP/s on one thread, calls from Python included.", "",
             *table(["", *calls], rows), "",
             f"{machine()}; median of {args.repeats}; `python benchmarks/products.py`.", ""]  # fmt: skip
    (Path(__file__).parent / "speed" / "products.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
