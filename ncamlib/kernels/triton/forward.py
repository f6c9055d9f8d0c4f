"""The automaton's step for the GPU, in Triton: what both passes share, and forward.

Device code only, launched by `launch`; backward is in `backward`.

One step, for every live cell of sample b (paper, sections 3.3 and 3.4):
    p  = [x, Sobel_x x, Sobel_y x]              perceive
    p^ = (p - mean) * rstd                      instance norm over the grid
    x <- x + leak * (W2 relu(W1 p^ + b1) + b2)  update

What makes it fast, and exact:
  * States are cells-major, [B, H*W, C]: a neighbour of a tile of cells is one coalesced load, and
    already an operand of a dot product. The three maps are never joined: layer 1 is three dots.
  * p, p^ and h live in registers. Only states and 6C statistics per sample and step go to memory.
  * p^ is formed, not folded into W1 as on the CPU: tf32 and bf16 would round the raw p and its offset.
  * Two launches a step each way, every sum in a fixed order, no atomics: results repeat bit for bit.
  * Backward contracts dW1 with W1: that gives the two means that the norm's backward needs.
Fields 0, 1, 2 are the three maps. `DOT` is the operand type of dots: ieee, tf32 or bf16; sums are fp32.
"""

import os

import triton
import triton.language as tl
from triton.language import constexpr

EPS = tl.constexpr(1e-5)
EXPLICIT, GENERATED = tl.constexpr(1), tl.constexpr(2)  # how cells are chosen to fire, if not all do
SOBEL = tl.constexpr(2)  # NORM: 0, of no map; 1, of all; 2, of those of the Sobel filters
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def operand(v, DOT: constexpr):
    """Round to the operand type of the dots."""
    if DOT == "bf16":  # the interpreter cannot multiply bf16: it keeps the rounded values as fp32
        v = v.to(tl.bfloat16).to(tl.float32) if INTERPRETED else v.to(tl.bfloat16)
    elif DOT == "tf32":  # the tensor core only truncates, a systematic shrink: round here
        v = ((v.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return v


@triton.jit
def dot(a, b, DOT: constexpr, acc=None):
    """Acc + a @ b with fp32 sums."""
    return tl.dot(a, b, acc, input_precision="tf32" if DOT == "bf16" else DOT)


@triton.jit
def mix(x):
    """`fire.mix` in 32-bit words."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def fires(ptr, b, cell, turn, limit, HW: constexpr, FIRE: constexpr):
    """Which cells fire: read from this step's mask, or drawn as in `fire`, ptr being the samples' seeds."""
    if FIRE == EXPLICIT:
        return tl.load(ptr + b * HW + cell, mask=cell < HW, other=0) != 0
    key = mix((tl.load(ptr + b).to(tl.int32) + turn).to(tl.uint32, bitcast=True))
    return mix(key ^ mix(cell.to(tl.uint32))) < limit.to(tl.uint32, bitcast=True)


@triton.jit
def neighbour(
    base, r, c, ch, DR: constexpr, DC: constexpr, H: constexpr, W: constexpr, C: constexpr, WRAP: constexpr
):  # fmt: skip
    """The cells at most two away, [cells, C]; beyond the border zero, or the opposite side."""
    if WRAP:
        offset = ((r + DR + 2 * H) % H * W + (c + DC + 2 * W) % W) * C
        return tl.load(base + offset[:, None] + ch[None, :])
    inside = (r + DR >= 0) & (r + DR < H) & (c + DC >= 0) & (c + DC < W)
    offset = ((r + DR) * W + (c + DC)) * C
    return tl.load(base + offset[:, None] + ch[None, :], mask=inside[:, None], other=0.0)


@triton.jit
def away(cell, H: constexpr, W: constexpr):
    """How many steps away the centre is."""
    return tl.maximum(tl.abs(cell // W - H // 2), tl.abs(cell % W - W // 2))


@triton.jit
def perceive(base, cell, ch, H: constexpr, W: constexpr, C: constexpr, WRAP: constexpr):
    """The three maps of a tile of cells. Differences come first: exact for a constant offset."""
    r, c = cell // W, cell % W
    down = neighbour(base, r, c, ch, 1, 1, H, W, C, WRAP) - neighbour(base, r, c, ch, -1, -1, H, W, C, WRAP)
    up = neighbour(base, r, c, ch, -1, 1, H, W, C, WRAP) - neighbour(base, r, c, ch, 1, -1, H, W, C, WRAP)
    dx = neighbour(base, r, c, ch, 0, 1, H, W, C, WRAP) - neighbour(base, r, c, ch, 0, -1, H, W, C, WRAP)
    dy = neighbour(base, r, c, ch, 1, 0, H, W, C, WRAP) - neighbour(base, r, c, ch, -1, 0, H, W, C, WRAP)
    x = neighbour(base, r, c, ch, 0, 0, H, W, C, WRAP)
    return x, (down + up + 2.0 * dx) * 0.125, (down - up + 2.0 * dy) * 0.125


@triton.jit
def welford(mean, m2, v, weight, live):
    """Add one value per lane to running means and sums of squared deviations."""
    d = v - mean
    mean += d * weight[:, None]
    return mean, m2 + d * (v - mean) * live[:, None]


@triton.jit
def merge_lanes(out, mean, m2, n, shift, C: constexpr):
    """Chan's merge of all lanes, around a shift; stores mean and squared deviations."""
    mu = shift + tl.sum(n[:, None] * (mean - shift[None, :]), 0) / tl.sum(n, 0)
    e = mean - mu[None, :]
    tl.store(out, mu)
    tl.store(out + 3 * C, tl.sum(m2 + n[:, None] * e * e, 0))


@triton.jit
def statistics(
    x_ptr, part_ptr,
    H: constexpr, W: constexpr, C: constexpr, WRAP: constexpr, CHUNK: constexpr, NS: constexpr, BM: constexpr,
):  # fmt: skip
    """Mean and squared deviations of the maps over CHUNK cells: part [B, NS, (mean, M2), field, C]."""
    b, j, ch = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, C)
    base = x_ptr + b * (H * W * C)
    n, m0 = tl.zeros([BM], tl.float32), tl.zeros([BM, C], tl.float32)
    q0, m1, q1, m2, q2 = m0, m0, m0, m0, m0
    for i in range(0, CHUNK, BM):
        cell = j * CHUNK + i + tl.arange(0, BM)
        live = ((cell < H * W) & (i + tl.arange(0, BM) < CHUNK)).to(tl.float32)
        n += live
        weight = live / tl.maximum(n, 1.0)
        x, sx, sy = perceive(base, cell, ch, H, W, C, WRAP)
        m0, q0 = welford(m0, q0, x, weight, live)
        m1, q1 = welford(m1, q1, sx, weight, live)
        m2, q2 = welford(m2, q2, sy, weight, live)
    first = tl.load(base + j * CHUNK * C + ch)  # as shift: a constant channel gets its mean exactly
    out = part_ptr + (b * NS + j) * (6 * C) + ch
    merge_lanes(out, m0, q0, n, first, C)
    merge_lanes(out + C, m1, q1, n, first * 0.0, C)
    merge_lanes(out + 2 * C, m2, q2, n, first * 0.0, C)


@triton.jit
def merge_chunks(
    part_ptr, stats_ptr, b, j, ch,
    F: constexpr, HW: constexpr, C: constexpr, NORM: constexpr, CHUNK: constexpr, NS: constexpr, NSP: constexpr,
):  # fmt: skip
    """Mean and reciprocal deviation of field F over the whole grid, 0 and 1 if it is not normalised; the sample's
    first program keeps them.
    """
    i = tl.arange(0, NSP)
    n = tl.where(i < NS, tl.minimum(HW - i * CHUNK, CHUNK), 0).to(tl.float32)[:, None]
    base = part_ptr + b * (NS * 6 * C) + F * C
    pointers = base + i[:, None] * (6 * C) + ch[None, :]
    mean, shift = tl.load(pointers, mask=(i < NS)[:, None], other=0.0), tl.load(base + ch)
    m2 = tl.load(pointers + 3 * C, mask=(i < NS)[:, None], other=0.0)
    mu = shift + tl.sum(n * (mean - shift[None, :]), 0) / HW
    e = mean - mu[None, :]
    rstd = 1.0 / tl.sqrt(tl.sum(m2 + n * e * e, 0) / HW + EPS)
    if NORM == SOBEL and F == 0:
        mu, rstd = mu * 0.0, rstd * 0.0 + 1.0
    if j == 0:
        stats = stats_ptr + b * (6 * C) + F * C + ch
        tl.store(stats, mu)
        tl.store(stats + 3 * C, rstd)
    return mu, rstd


@triton.jit(do_not_specialize=["turn", "limit"])
def forward_step(
    x_ptr, y_ptr, fire_ptr, turn, limit, w1_ptr, b1_ptr, w2_ptr, b2_ptr, leak_ptr, part_ptr, stats_ptr,
    H: constexpr, W: constexpr, C: constexpr, K: constexpr, NORM: constexpr, WRAP: constexpr,
    FIRE: constexpr, DOT: constexpr, CHUNK: constexpr, NS: constexpr, NSP: constexpr, BM: constexpr, SPAN: constexpr,
):  # fmt: skip
    """One step on SPAN cells of sample b; keeps the statistics [B, (mean, rstd), field, C] for backward."""
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    HW: constexpr = H * W
    ch, k = tl.arange(0, C), tl.arange(0, K)
    if NORM:
        mu0, rs0 = merge_chunks(part_ptr, stats_ptr, b, j, ch, 0, HW, C, NORM, CHUNK, NS, NSP)
        mu1, rs1 = merge_chunks(part_ptr, stats_ptr, b, j, ch, 1, HW, C, NORM, CHUNK, NS, NSP)
        mu2, rs2 = merge_chunks(part_ptr, stats_ptr, b, j, ch, 2, HW, C, NORM, CHUNK, NS, NSP)
    w1 = w1_ptr + b * (K * 3 * C) + k[None, :] * (3 * C) + ch[:, None]  # [C, K]
    wx, wsx, wsy = operand(tl.load(w1), DOT), operand(tl.load(w1 + C), DOT), operand(tl.load(w1 + 2 * C), DOT)
    w2 = operand(tl.load(w2_ptr + b * (K * C) + ch[None, :] * K + k[:, None]), DOT)  # [K, C]
    b1, b2, leak = tl.load(b1_ptr + b * K + k), tl.load(b2_ptr + b * C + ch), tl.load(leak_ptr)
    base = x_ptr + b * (HW * C)
    for i in range(0, SPAN, BM):
        cell = j * SPAN + i + tl.arange(0, BM)
        p0, p1, p2 = perceive(base, cell, ch, H, W, C, WRAP)
        x = p0
        if NORM:
            p0, p1, p2 = (p0 - mu0) * rs0, (p1 - mu1) * rs1, (p2 - mu2) * rs2
        h = dot(operand(p0, DOT), wx, DOT)
        h = dot(operand(p1, DOT), wsx, DOT, h)
        h = dot(operand(p2, DOT), wsy, DOT, h)
        h = tl.maximum(h + b1[None, :], 0.0, propagate_nan=tl.PropagateNan.ALL)
        u = leak * (dot(operand(h, DOT), w2, DOT) + b2[None, :])
        if FIRE:
            u = tl.where(fires(fire_ptr, b, cell, turn, limit, HW, FIRE)[:, None], u, 0.0)
        y = y_ptr + b * (HW * C) + cell[:, None] * C + ch[None, :]
        tl.store(y, x + u, mask=(cell < HW)[:, None])
