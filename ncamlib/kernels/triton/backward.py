"""The backward pass of the automaton's step for the GPU, in Triton: device code, launched by `launch`.

The update is hidden-major, h^T [K, cells]: then dW = dh^T p^ has its large operand in registers. dW2 and db2 are
stored without the leak factor.
"""

import triton
import triton.language as tl
from triton.language import constexpr

from ncamlib.kernels.triton.forward import SOBEL, away, dot, fires, neighbour, operand, perceive


@triton.jit
def shared(shares_ptr, b, ch, radius, H: constexpr, W: constexpr, C: constexpr, NP: constexpr, NPP: constexpr):
    """The mean gradient of the cells farther away than `radius`, from the sums that each program of
    `backward_perceive` left, NPP at a time: [B, NP, C] -> [C]. See `reference.Alike`.
    """
    rows = tl.minimum(H, H // 2 + radius + 1) - tl.maximum(0, H // 2 - radius)
    columns = tl.minimum(W, W // 2 + radius + 1) - tl.maximum(0, W // 2 - radius)
    count = H * W - rows * columns
    total = tl.zeros([NPP, C], tl.float32)
    for i in range(0, NP, NPP):
        j = i + tl.arange(0, NPP)[:, None]
        total += tl.load(shares_ptr + (b * NP + j) * C + ch[None, :], mask=(j < NP) & (count > 0), other=0.0)
    return tl.sum(total, 0) / tl.maximum(count, 1)


@triton.jit
def add_share(dw_ptr, dw, w_ptr, db, means_ptr, C: constexpr, NORM: constexpr):
    """Add this step's dW1 to the program's own slice; store its share of the norm's two means."""
    if NORM:
        tl.store(means_ptr, tl.sum(tl.load(w_ptr) * db[:, None], 0))
        tl.store(means_ptr + 3 * C, tl.sum(tl.load(w_ptr) * dw, 0))
    tl.store(dw_ptr, tl.load(dw_ptr) + dw)


@triton.jit
def add_sums(
    dw1_ptr, db1_ptr, dw2_ptr, db2_ptr, means_ptr, w1, program, ch, k, dwx, dwsx, dwsy, db1, dw2, db2,
    C: constexpr, K: constexpr, NORM: constexpr,
):  # fmt: skip
    """Add this step's weight gradients to the program's own slices."""
    dw = dw1_ptr + program * (K * 3 * C) + k[:, None] * (3 * C) + ch[None, :]
    means = means_ptr + program * (6 * C) + ch
    add_share(dw, dwx, w1, db1, means, C, NORM)
    add_share(dw + C, dwsx, w1 + C, db1, means + C, C, NORM)
    add_share(dw + 2 * C, dwsy, w1 + 2 * C, db1, means + 2 * C, C, NORM)
    out = dw2_ptr + program * (K * C) + ch[None, :] * K + k[:, None]
    tl.store(out, tl.load(out) + dw2)
    out = db1_ptr + program * K + k
    tl.store(out, tl.load(out) + db1)
    out = db2_ptr + program * C + ch
    tl.store(out, tl.load(out) + db2)


@triton.jit
def moments(stats, C: constexpr):
    """The three means and the three reciprocal deviations."""
    first, second = stats + C, stats + 2 * C
    return (
        tl.load(stats), tl.load(first), tl.load(second),
        tl.load(stats + 3 * C), tl.load(first + 3 * C), tl.load(second + 3 * C),
    )  # fmt: skip


@triton.jit
def gradient_later(
    g_ptr, fire_ptr, b, offset, cell, inside, mean, radius, turn, limit,
    H: constexpr, W: constexpr, FIRE: constexpr, CONE: constexpr,
):  # fmt: skip
    """The gradient of the state after the step: of cells farther away than `radius` their mean, 0 of those that do not
    fire.
    """
    g = tl.load(g_ptr + offset, mask=inside[:, None], other=0.0)
    if CONE:
        g = tl.where((inside & (away(cell, H, W) > radius))[:, None], mean[None, :], g)
    if FIRE:
        g = tl.where(fires(fire_ptr, b, cell, turn, limit, H * W, FIRE)[:, None], g, 0.0)
    return g


@triton.jit
def store_maps(dp_ptr, offset, plane, inside, dh, wx, wsx, wsy, DOT: constexpr):
    """Store the gradient of p^ as three planes; dh [K, cells]."""
    dh = tl.trans(dh)
    tl.store(dp_ptr + offset, dot(dh, wx, DOT), mask=inside[:, None])
    tl.store(dp_ptr + offset + plane, dot(dh, wsx, DOT), mask=inside[:, None])
    tl.store(dp_ptr + offset + 2 * plane, dot(dh, wsy, DOT), mask=inside[:, None])


@triton.jit(do_not_specialize=["turn", "limit", "later"])
def backward_update(
    x_ptr, g_ptr, dp_ptr, fire_ptr, turn, limit, w1_ptr, b1_ptr, w2_ptr, leak_ptr, stats_ptr,
    dw1_ptr, db1_ptr, dw2_ptr, db2_ptr, means_ptr, plane, support_ptr, shares_ptr, later,
    H: constexpr, W: constexpr, C: constexpr, K: constexpr, NORM: constexpr, WRAP: constexpr,
    FIRE: constexpr, DOT: constexpr, NA: constexpr, BM: constexpr, SPAN: constexpr,
    CONE: constexpr, NP: constexpr, NPP: constexpr,
):  # fmt: skip
    """Recompute h; weight gradients, and the gradient of p^ as three planes [B, HW, C]."""
    b, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    HW: constexpr = H * W
    ch, k = tl.arange(0, C), tl.arange(0, K)
    if NORM:
        mu0, mu1, mu2, rs0, rs1, rs2 = moments(stats_ptr + b * (6 * C) + ch, C)
    w1 = w1_ptr + b * (K * 3 * C) + k[:, None] * (3 * C) + ch[None, :]  # [K, C]
    wx, wsx, wsy = operand(tl.load(w1), DOT), operand(tl.load(w1 + C), DOT), operand(tl.load(w1 + 2 * C), DOT)
    w2 = operand(tl.load(w2_ptr + b * (K * C) + ch[None, :] * K + k[:, None]), DOT)  # [K, C]
    b1, leak = tl.load(b1_ptr + b * K + k), tl.load(leak_ptr)
    base = x_ptr + b * (HW * C)
    mean, radius = leak, later
    if CONE:
        radius += tl.load(support_ptr + b)
        mean = shared(shares_ptr, b, ch, radius, H, W, C, NP, NPP)
    dwx, db1, db2 = tl.zeros([K, C], tl.float32), tl.zeros([K], tl.float32), tl.zeros([BM, C], tl.float32)
    dwsx, dwsy, dw2 = dwx, dwx, dwx
    for i in range(0, SPAN, BM):
        cell = j * SPAN + i + tl.arange(0, BM)
        inside = cell < HW
        offset = b * (HW * C) + cell[:, None] * C + ch[None, :]
        g = gradient_later(g_ptr, fire_ptr, b, offset, cell, inside, mean, radius, turn, limit, H, W, FIRE, CONE)
        db2 += g
        g = operand(g, DOT)
        p0, p1, p2 = perceive(base, cell, ch, H, W, C, WRAP)
        if NORM:
            p0, p1, p2 = (p0 - mu0) * rs0, (p1 - mu1) * rs1, (p2 - mu2) * rs2
        p0, p1, p2 = operand(p0, DOT), operand(p1, DOT), operand(p2, DOT)
        h = dot(wx, tl.trans(p0), DOT)
        h = dot(wsx, tl.trans(p1), DOT, h)
        h = dot(wsy, tl.trans(p2), DOT, h) + b1[:, None]  # before the ReLU, [K, cells]
        dh = tl.where(h > 0, dot(w2, tl.trans(g), DOT) * leak, 0.0)
        dw2 = dot(operand(tl.maximum(h, 0.0), DOT), g, DOT, dw2)
        db1 += tl.sum(dh, 1)
        dh = operand(dh, DOT)
        dwx, dwsx, dwsy = dot(dh, p0, DOT, dwx), dot(dh, p1, DOT, dwsx), dot(dh, p2, DOT, dwsy)
        store_maps(dp_ptr, offset, plane, inside, dh, wx, wsx, wsy, DOT)
    add_sums(
        dw1_ptr, db1_ptr, dw2_ptr, db2_ptr, means_ptr, w1, b * NA + j, ch, k, dwx, dwsx, dwsy, db1, dw2,
        tl.sum(db2, 0), C, K, NORM,
    )  # fmt: skip


@triton.jit
def norm_backward(
    means_ptr, stats_ptr, b, ch,
    F: constexpr, HW: constexpr, C: constexpr, NORM: constexpr, NA: constexpr, NAP: constexpr,
):  # fmt: skip
    """(scale, shift, slope) of field F with dp = scale dp^ - shift - slope p: the backward of the norm."""
    j = tl.arange(0, NAP)[:, None]
    pointers = means_ptr + b * (NA * 6 * C) + j * (6 * C) + F * C + ch[None, :]
    first = tl.sum(tl.load(pointers, mask=j < NA, other=0.0), 0) / HW
    second = tl.sum(tl.load(pointers + 3 * C, mask=j < NA, other=0.0), 0) / HW
    stats = stats_ptr + b * (6 * C) + F * C + ch
    mu, rs = tl.load(stats), tl.load(stats + 3 * C)
    if NORM == SOBEL and F == 0:
        first, second = first * 0.0, second * 0.0
    return rs, rs * (first - rs * mu * second), rs * rs * second


@triton.jit
def sobel_twice(base, r, c, ch, H: constexpr, W: constexpr, C: constexpr, WRAP: constexpr, BM: constexpr):
    """8 Sobel^T Sobel x and 8 Sobel^T 1, of both filters.

    Sobel^T Sobel x is a 5x5 stencil of x with corrections at the border: with S = tridiag(1, 2, 1) and
    D = tridiag(-1, 0, 1), S^2 = (1, 4, 6 - edge, 4, 1) and D^T D = (-1, 0, 2 - edge, 0, -1). A torus has no edge, and
    Sobel^T 1 is zero there.
    """
    top, bottom = ((r == 0) & (not WRAP)).to(tl.float32), ((r == H - 1) & (not WRAP)).to(tl.float32)
    left, right = ((c == 0) & (not WRAP)).to(tl.float32), ((c == W - 1) & (not WRAP)).to(tl.float32)
    edge_r, edge_c = top + bottom, left + right
    xx, yy = tl.zeros([BM, C], tl.float32), tl.zeros([BM, C], tl.float32)
    for d in tl.static_range(-2, 3):
        s_r = (6.0 - edge_r) if d == 0 else (edge_r * 0.0 + (1.0 if (d == 2 or d == -2) else 4.0))
        s_c = (6.0 - edge_c) if d == 0 else (edge_c * 0.0 + (1.0 if (d == 2 or d == -2) else 4.0))
        along = neighbour(base, r, c, ch, d, -2, H, W, C, WRAP) + neighbour(base, r, c, ch, d, 2, H, W, C, WRAP)
        xx += s_r[:, None] * ((2.0 - edge_c)[:, None] * neighbour(base, r, c, ch, d, 0, H, W, C, WRAP) - along)
        along = neighbour(base, r, c, ch, -2, d, H, W, C, WRAP) + neighbour(base, r, c, ch, 2, d, H, W, C, WRAP)
        yy += s_c[:, None] * ((2.0 - edge_r)[:, None] * neighbour(base, r, c, ch, 0, d, H, W, C, WRAP) - along)
    ones_x = ((4.0 - edge_r) * (right - left))[:, None]  # 8 Sobel_x^T 1
    ones_y = ((4.0 - edge_c) * (bottom - top))[:, None]
    return xx, yy, ones_x, ones_y


@triton.jit(do_not_specialize=["later", "step"])
def backward_perceive(
    x_ptr, g_ptr, dp_ptr, stats_ptr, means_ptr, plane, support_ptr, shares_ptr, own_ptr, later, step,
    H: constexpr, W: constexpr, C: constexpr, NORM: constexpr, WRAP: constexpr,
    NA: constexpr, NAP: constexpr, BM: constexpr, CONE: constexpr, NP: constexpr, NPP: constexpr,
):  # fmt: skip
    """Adds [identity, Sobel_x, Sobel_y]^T dp to g, in place: g is read at the own cell only.

    The Sobel stencils are odd, so with zeros beyond the edge or on a torus their adjoint is their negative. The norm
    subtracts a multiple of p, hence `sobel_twice`.

    With a light cone: cells farther away than support + later have their mean in `shares` for a gradient; `own` gets
    this program's sum for the step before, over cells farther away than support + step.
    """
    b = tl.program_id(0).to(tl.int64)
    HW: constexpr = H * W
    ch, cell = tl.arange(0, C), tl.program_id(1) * BM + tl.arange(0, BM)
    r, c = cell // W, cell % W
    d0 = dp_ptr + b * (HW * C)
    d1, d2 = d0 + plane, d0 + 2 * plane
    dx = neighbour(d0, r, c, ch, 0, 0, H, W, C, WRAP)
    ax = neighbour(d1, r, c, ch, -1, -1, H, W, C, WRAP) - neighbour(d1, r, c, ch, -1, 1, H, W, C, WRAP)
    ax += neighbour(d1, r, c, ch, 1, -1, H, W, C, WRAP) - neighbour(d1, r, c, ch, 1, 1, H, W, C, WRAP)
    ax += 2.0 * (neighbour(d1, r, c, ch, 0, -1, H, W, C, WRAP) - neighbour(d1, r, c, ch, 0, 1, H, W, C, WRAP))
    ay = neighbour(d2, r, c, ch, -1, -1, H, W, C, WRAP) - neighbour(d2, r, c, ch, 1, -1, H, W, C, WRAP)
    ay += neighbour(d2, r, c, ch, -1, 1, H, W, C, WRAP) - neighbour(d2, r, c, ch, 1, 1, H, W, C, WRAP)
    ay += 2.0 * (neighbour(d2, r, c, ch, -1, 0, H, W, C, WRAP) - neighbour(d2, r, c, ch, 1, 0, H, W, C, WRAP))
    if NORM:
        scale0, shift0, slope0 = norm_backward(means_ptr, stats_ptr, b, ch, 0, HW, C, NORM, NA, NAP)
        scale1, shift1, slope1 = norm_backward(means_ptr, stats_ptr, b, ch, 1, HW, C, NORM, NA, NAP)
        scale2, shift2, slope2 = norm_backward(means_ptr, stats_ptr, b, ch, 2, HW, C, NORM, NA, NAP)
        base = x_ptr + b * (HW * C)
        xx, yy, ones_x, ones_y = sobel_twice(base, r, c, ch, H, W, C, WRAP, BM)
        dx = scale0 * dx - shift0 - slope0 * neighbour(base, r, c, ch, 0, 0, H, W, C, WRAP)
        ax = scale1 * ax - shift1 * ones_x - slope1 * 0.125 * xx
        ay = scale2 * ay - shift2 * ones_y - slope2 * 0.125 * yy
    out = g_ptr + b * (HW * C) + cell[:, None] * C + ch[None, :]
    inside = (cell < HW)[:, None]
    g = tl.load(out, mask=inside, other=0.0)
    if CONE:
        support = tl.load(support_ptr + b)
        radius = support + later
        g = tl.where(away(cell, H, W)[:, None] > radius, shared(shares_ptr, b, ch, radius, H, W, C, NP, NPP), g)
    g += dx + 0.125 * (ax + ay)
    if CONE:
        alike = inside & (away(cell, H, W)[:, None] > support + step)
        tl.store(own_ptr + (b * NP + tl.program_id(1)) * C + ch, tl.sum(tl.where(alike, g, 0.0), 0))
    tl.store(out, g, mask=inside)
