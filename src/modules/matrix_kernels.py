"""Products of small matrices, compiled by numba, with one matrix packed once for many products.

BLAS packs both matrices at each product, which takes a sixth to a third of the time where they are small
(benchmarks/products.py).

A product is computed in tiles of ``ROWS`` rows and up to ``VECTORS`` vectors of columns, whose sums stay in the
processor's registers (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008). numba has no
vectors, so a tile is written in LLVM's instructions, which LLVM adapts to the processor.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

LANES = 16 if get_host_cpu_features().get("avx512f", False) else 8  # numbers in a vector
ROWS, VECTORS = 4, 3  # 12 sums, 3 vectors and a factor: all 16 registers of AVX2
PANEL = VECTORS * LANES  # columns that are packed together
BYTES = 4  # of a number

FLOAT, INDEX = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
EVERYWHERE = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)


def _spread(builder: Any, number: Any) -> Any:
    """A vector of which every element is ``number``."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    single = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, undefined, EVERYWHERE)


def _pointer(builder: Any, address: Any) -> Any:
    """An address, an integer, as a pointer to numbers."""
    return builder.inttoptr(address, FLOAT.as_pointer())


def _vectors(builder: Any, address: Any, vectors: int) -> list[Any]:
    """The addresses of consecutive vectors."""
    parts = (builder.gep(address, [INDEX(LANES * n)]) for n in range(vectors))
    return [builder.bitcast(part, VECTOR.as_pointer()) for part in parts]


def _sums(builder: Any, a: Any, b: Any, steps: Any, rows: int, vectors: int, depth: Any) -> list[list[Any]]:
    """Emits the loop along the inner dimension; returns the sums of each row.

    ``a`` and ``b`` are the addresses of the first elements; ``steps`` are the distances from one row of ``a`` to the
    next, from one of its columns to the next, and from one row of ``b`` to the next.
    """
    name = f"llvm.fmuladd.v{LANES}f32"
    multiply_add = get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
    row, column, down = steps
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    offsets = [builder.mul(row, INDEX(m)) for m in range(rows)]
    builder.branch(loop)
    builder.position_at_end(loop)
    k, at_a, at_b = builder.phi(INDEX), builder.phi(a.type), builder.phi(b.type)
    sums = [[builder.phi(VECTOR) for _ in range(vectors)] for _ in range(rows)]
    values = [builder.load(address, align=BYTES) for address in _vectors(builder, at_b, vectors)]
    added = []
    for m in range(rows):
        factor = _spread(builder, builder.load(builder.gep(at_a, [offsets[m]])))
        added.append([builder.call(multiply_add, [factor, values[n], sums[m][n]]) for n in range(vectors)])
    ahead = builder.add(k, INDEX(1)), builder.gep(at_a, [column]), builder.gep(at_b, [down])
    zeros = ir.Constant(VECTOR, [0.0] * LANES)
    for phi, first, following in zip((k, at_a, at_b), (INDEX(0), a, b), ahead, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(following, loop)
    for m in range(rows):
        for n in range(vectors):
            sums[m][n].add_incoming(zeros, before)
            sums[m][n].add_incoming(added[m][n], loop)
    builder.cbranch(builder.icmp_signed("<", ahead[0], depth), loop, after)
    builder.position_at_end(after)
    return added


def tile(rows: int, vectors: int) -> Any:
    """A function that computes a tile of a product: ``rows`` rows and ``vectors`` vectors of columns.

    Its arguments: the addresses of the first elements of ``a``, of ``b`` and of the output; the distances between
    the rows and between the columns of ``a``, and between the rows of ``b`` and of the output, in numbers; the inner
    dimension, at least 1; and whether the product is added to the output.
    """

    @intrinsic
    def compute(_: Any, a: Any, b: Any, out: Any, row: Any, column: Any, down: Any, next_row: Any, depth: Any,
                adds: Any) -> Any:  # fmt: skip
        signature = types.void(*[types.intp] * 8, types.boolean)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, b, out, row, column, down, next_row, depth, adds = args
            steps = row, column, down
            sums = _sums(builder, _pointer(builder, a), _pointer(builder, b), steps, rows, vectors, depth)
            for m in range(rows):
                start = builder.gep(_pointer(builder, out), [builder.mul(next_row, INDEX(m))])
                for address, total in zip(_vectors(builder, start, vectors), sums[m], strict=True):
                    with builder.if_else(adds) as (adding, replacing):
                        with adding:
                            held = builder.load(address, align=BYTES)
                            builder.store(builder.fadd(held, total), address, align=BYTES)
                        with replacing:
                            builder.store(total, address, align=BYTES)
            return context.get_dummy_value()

        return signature, generate

    return compute


wide, medium, narrow = (tile(ROWS, n) for n in (3, 2, 1))
wide_row, medium_row, narrow_row = (tile(1, n) for n in (3, 2, 1))


@njit(cache=True, nogil=True, inline="always")
def packed_size(depth, width):
    """The numbers in a packed matrix [K, N]."""
    return depth * (-(-width // LANES) * LANES)


@njit(cache=True, nogil=True)
def fill(b, packed):
    """Writes the matrix b [K, N] in the order in which ``product`` reads it: panels of columns, each row by row.

    Columns of zeros complete the last vector. A transposed ``b`` costs no more. ``packed`` has ``packed_size``.
    """
    depth, width = b.shape
    for first in range(0, width, PANEL):
        wanted = min(PANEL, width - first)
        panel = packed[packed_size(depth, first) : packed_size(depth, first + wanted)].reshape(depth, -1)
        for k in range(depth):
            row = panel[k]
            for j in range(wanted):
                row[j] = b[k, first + j]
            for j in range(wanted, len(row)):
                row[j] = np.float32(0.0)


@njit(cache=True, nogil=True)
def pack(b):
    """A packed copy of b, see ``fill``. For compiled functions: numba may fail to return new arrays to Python."""
    packed = np.empty(packed_size(b.shape[0], b.shape[1]), np.float32)
    fill(b, packed)
    return packed


@njit(cache=True, nogil=True)
def columns(a, panel, out, row, column, next_row, rows, depth, vectors, adds):
    """All rows of a product with one panel, of ``vectors`` vectors of columns. Other arguments: see ``tile``."""
    full, width = rows - rows % ROWS, vectors * LANES
    for m in range(0, full, ROWS):
        a_m, out_m = a + m * row * BYTES, out + m * next_row * BYTES
        if vectors == 3:
            wide(a_m, panel, out_m, row, column, width, next_row, depth, adds)
        elif vectors == 2:
            medium(a_m, panel, out_m, row, column, width, next_row, depth, adds)
        else:
            narrow(a_m, panel, out_m, row, column, width, next_row, depth, adds)
    for m in range(full, rows):
        a_m, out_m = a + m * row * BYTES, out + m * next_row * BYTES
        if vectors == 3:
            wide_row(a_m, panel, out_m, row, column, width, next_row, depth, adds)
        elif vectors == 2:
            medium_row(a_m, panel, out_m, row, column, width, next_row, depth, adds)
        else:
            narrow_row(a_m, panel, out_m, row, column, width, next_row, depth, adds)


@njit(cache=True, nogil=True)
def product(a, packed, out, adds=False):
    """``out`` [M, N] = a [M, K] times b [K, N], which is ``packed``; with ``adds``, it is added to ``out``.

    All are float32. ``a`` may be a transposed array. The elements of a row of ``out`` follow each other in memory.
    """
    rows, depth, width = a.shape[0], a.shape[1], out.shape[1]
    if depth == 0:
        if not adds:
            out[:] = np.float32(0.0)
        return
    row, column, next_row = a.strides[0] // BYTES, a.strides[1] // BYTES, out.strides[0] // BYTES
    at_a, at_panels, at_out = a.ctypes.data, packed.ctypes.data, out.ctypes.data
    for first in range(0, width, PANEL):
        wanted, panel = min(width - first, PANEL), at_panels + depth * first * BYTES
        vectors = -(-wanted // LANES)
        if wanted == vectors * LANES:
            columns(at_a, panel, at_out + first * BYTES, row, column, next_row, rows, depth, vectors, adds)
            continue
        ends = np.empty((rows, vectors * LANES), np.float32)  # the last columns, and those that complete a vector
        columns(at_a, panel, ends.ctypes.data, row, column, vectors * LANES, rows, depth, vectors, False)
        for m in range(rows):
            row_out, row_ends = out[m], ends[m]
            for j in range(wanted):
                row_out[first + j] = row_out[first + j] + row_ends[j] if adds else row_ends[j]
