// The NCA rollout with per-sample weights, forward and backward (paper, sections 3.3 and 3.4).
//
// One step, for every live cell of one sample:
//     p  = [x, Sobel_x x, Sobel_y x]           perceive, 3C numbers per cell
//     p^ = (p - mean) * rstd                   instance norm over the grid
//     h  = relu(W1 p^ + b1)
//     x <- x + leak * (W2 h + b2)
//
// What makes it fast:
//   * the norm is folded into layer 1, W1' = W1 rstd and b1' = b1 - W1' mean, so p^ never exists;
//   * cells that do not fire are skipped: live cells are gathered into tiles of TILE, so all of
//     a tile's p and h stay in the first-level cache, and only the states go to memory;
//   * backward keeps nothing but the states and the statistics; p and h are computed again;
//   * the two means that the backward of the norm needs come out of the weight gradients.
//
// Layout: states are cells-major with a border of zeros, [(H+2)*(W+2)][C], so one vector load
// takes channels of one cell. Compiler vectors (`vector_size`) serve AVX-512, AVX2, SSE and NEON.
// Forward and backward share every helper, hence one file.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ACCUMULATORS = 24, MAX_VECTORS = 4;
#elif defined(__AVX__)
constexpr int LANES = 8, ACCUMULATORS = 12, MAX_VECTORS = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, ACCUMULATORS = 24, MAX_VECTORS = 4;
#else
constexpr int LANES = 4, ACCUMULATORS = 12, MAX_VECTORS = 2;
#endif
constexpr int TILE = 48;  // cells per tile: a multiple of every row count below
constexpr float EPS = 1e-5f;

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float VecU __attribute__((vector_size(4 * LANES), aligned(4)));

inline Vec load(const float* a) { return *reinterpret_cast<const VecU*>(a); }
inline void store(float* a, Vec v) { *reinterpret_cast<VecU*>(a) = v; }
inline Vec splat(float a) { return a - Vec{}; }  // minus zero folds away, plus zero does not

// Vectors per row of a register tile for a matrix n wide: the most that divide it evenly.
constexpr int vectors(int n) {
    int most = n / LANES < MAX_VECTORS ? n / LANES : MAX_VECTORS;
    while ((n / LANES) % most) most--;
    return most;
}

// Columns of a panel. Weights are stored panel by panel, [n / PANEL][k][PANEL], so that the
// inner loop reads them in order.
constexpr int PANEL_HIDDEN = MAX_VECTORS * LANES > 16 ? MAX_VECTORS * LANES : 16;

// out(r, n) = init + sum_k a[r * ar + k * ak] * b[k * ldb + n], one register tile of ROWS x NV.
template <int ROWS, int NV, class Init, class Done>
inline void register_tile(const float* a, int ar, int ak, const float* b, int ldb, int K, Init init,
                          Done done) {
    Vec acc[ROWS][NV];
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = init(r, v * LANES);
    for (int k = 0; k < K; k++, a += ak, b += ldb) {
        Vec w[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) w[v] = load(b + v * LANES);
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; r++) {
            const Vec x = splat(a[r * ar]);
#pragma GCC unroll 8
            for (int v = 0; v < NV; v++) acc[r][v] += x * w[v];
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) done(r, v * LANES, acc[r][v]);
}

// The whole product, M x N. `b` is panel-packed when bp != 0 (bp = floats from panel to panel),
// row-major otherwise. init(m, n) and done(m, n, v) see one vector of the result.
template <int NV, class Init, class Done>
inline void gemm(int M, int N, int K, const float* a, int ar, int ak, const float* b, int ldb,
                 int bp, Init init, Done done) {
    constexpr int ROWS = ACCUMULATORS / NV, WIDTH = NV * LANES;
    for (int n = 0; n < N; n += WIDTH) {
        const float* bn = bp ? b + (n / ldb) * bp + n % ldb : b + n;
        int m = 0;
        for (; m + ROWS <= M; m += ROWS)
            register_tile<ROWS, NV>(
                a + m * ar, ar, ak, bn, ldb, K, [&](int r, int v) { return init(m + r, n + v); },
                [&](int r, int v, Vec x) { done(m + r, n + v, x); });
        for (; m < M; m++)
            register_tile<1, NV>(
                a + m * ar, ar, ak, bn, ldb, K, [&](int r, int v) { return init(m + r, n + v); },
                [&](int r, int v, Vec x) { done(m + r, n + v, x); });
    }
}

struct Buffer {  // aligned floats, owned
    explicit Buffer(size_t n) : data(static_cast<float*>(std::aligned_alloc(64, (n * 4 + 63) / 64 * 64))) {
        std::memset(data.get(), 0, n * 4);
    }
    operator float*() { return data.get(); }
    struct Free { void operator()(float* p) const { std::free(p); } };
    std::unique_ptr<float, Free> data;
};

struct Shape { int steps, batch, height, width, hidden, norm; };

struct Weights { const float *w1, *b1, *w2, *b2; };

template <int C>
struct Kernel {
    static constexpr int P = 3 * C, NV_C = vectors(C), NV_P = vectors(P), NV_H = MAX_VECTORS;
    static constexpr int W_P = NV_P * LANES;

    const Shape s;
    const int hidden, stride, cells;  // stride: cells from row to row, border included
    const size_t state_size;          // floats of one padded state
    // Per-sample scratch. w1f: W1' as [P][hidden] panels; w1r: W1' as [hidden][P] panels.
    Buffer w1f, w1r, b1f, w2t, w2l, p, h, u, row;
    std::vector<int> live;

    explicit Kernel(const Shape& shape)
        : s(shape), hidden(shape.hidden), stride(shape.width + 2), cells(shape.height * shape.width),
          state_size(static_cast<size_t>(shape.height + 2) * stride * C), w1f(P * hidden),
          w1r(P * hidden), b1f(hidden), w2t(hidden * C), w2l(hidden * C), p(TILE * P),
          h(TILE * hidden), u(TILE * C), row(static_cast<size_t>(shape.width) * P), live(cells) {}

    // p = [x, Sobel_x x, Sobel_y x] of the cell at x.
    inline void perceive(const float* x, float* out) const {
        const int r = stride * C;
        const Vec eighth = splat(0.125f);
#pragma GCC unroll 8
        for (int c = 0; c < C; c += LANES, x += LANES) {
            const Vec nw = load(x - r - C), n = load(x - r), ne = load(x - r + C), w = load(x - C),
                      e = load(x + C), sw = load(x + r - C), so = load(x + r), se = load(x + r + C);
            const Vec dx = e - w, dy = so - n;
            store(out + c, load(x));
            store(out + C + c, eighth * (((ne - nw) + (se - sw)) + (dx + dx)));
            store(out + 2 * C + c, eighth * (((sw - nw) + (se - ne)) + (dy + dy)));
        }
    }

    // Mean and reciprocal deviation of the 3C perceived maps; rows are merged as in Chan et al.,
    // because a one-pass variance cancels when a channel is far from zero.
    void statistics(const float* x, float* mean, float* rstd) {
        if (!s.norm) {
            for (int c = 0; c < P; c++) mean[c] = 0, rstd[c] = 1;
            return;
        }
        double m[P] = {}, m2[P] = {};
        for (int y = 0; y < s.height; y++) {
            const float* cell = x + (static_cast<size_t>(y + 1) * stride + 1) * C;
            for (int i = 0; i < s.width; i++) perceive(cell + i * C, row + i * P);
            for (int c = 0; c < P; c += LANES) {
                Vec sum{}, square{};
                for (int i = 0; i < s.width; i++) sum += load(row + i * P + c);
                const Vec mu = sum / splat(static_cast<float>(s.width));
                for (int i = 0; i < s.width; i++) {
                    const Vec d = load(row + i * P + c) - mu;
                    square += d * d;
                }
                for (int l = 0; l < LANES; l++) {
                    const double d = mu[l] - m[c + l];
                    m[c + l] += d / (y + 1);
                    m2[c + l] += square[l] + d * d * s.width * y / (y + 1.0);
                }
            }
        }
        for (int c = 0; c < P; c++) {
            mean[c] = static_cast<float>(m[c]);
            rstd[c] = static_cast<float>(1 / std::sqrt(m2[c] / cells + EPS));
        }
    }

    // W1' = W1 rstd, b1' = b1 - W1' mean, in both panel layouts.
    void fold(const float* w1, const float* b1, const float* mean, const float* rstd, bool backward) {
        for (int k = 0; k < hidden; k++) {
            float bias = b1[k];
            float* column = w1f + (k / PANEL_HIDDEN) * P * PANEL_HIDDEN + k % PANEL_HIDDEN;
            for (int c = 0; c < P; c++) {
                const float w = w1[k * P + c] * rstd[c];
                bias -= w * mean[c];
                column[c * PANEL_HIDDEN] = w;
                if (backward) w1r[(c / W_P) * hidden * W_P + k * W_P + c % W_P] = w;
            }
            b1f[k] = bias;
        }
    }

    int gather(const uint8_t* mask) {  // positions of the live cells, in floats
        int n = 0;
        for (int y = 0, i = 0; y < s.height; y++)
            for (int x = 0; x < s.width; x++, i++)
                if (!mask || mask[i]) live[n++] = ((y + 1) * stride + x + 1) * C;
        return n;
    }

    void hidden_layer(int rows) {  // h = relu(W1' p + b1')
        const Vec zero{};
        gemm<NV_H>(rows, hidden, P, p, P, 1, w1f, PANEL_HIDDEN, P * PANEL_HIDDEN,
                   [&](int, int n) { return load(b1f + n); },
                   [&](int m, int n, Vec v) { store(h + m * hidden + n, v <= zero ? zero : v); });
    }

    void forward(float* states, size_t step_size, float* stats, const Weights& w, float leak,
                 const uint8_t* masks, bool save) {
        for (int k = 0; k < hidden; k++)
            for (int c = 0; c < C; c++) w2t[k * C + c] = w.w2[c * hidden + k];
        for (int t = 0; t < s.steps; t++) {
            const float* x = states + (save ? t : t & 1) * step_size;
            float* y = states + (save ? t + 1 : (t + 1) & 1) * step_size;
            float* mean = stats + (save ? static_cast<size_t>(t) * s.batch * 2 * P : 0);
            statistics(x, mean, mean + P);
            fold(w.w1, w.b1, mean, mean + P, false);
            std::memcpy(y, x, state_size * 4);
            const int n = gather(masks ? masks + static_cast<size_t>(t) * s.batch * cells : nullptr);
            for (int i = 0; i < n; i += TILE) {
                const int m = n - i < TILE ? n - i : TILE;
                for (int j = 0; j < m; j++) perceive(x + live[i + j], p + j * P);
                hidden_layer(m);
                gemm<NV_C>(m, C, hidden, h, hidden, 1, w2t, C, 0,
                           [&](int, int c) { return load(w.b2 + c); },
                           [&](int r, int c, Vec v) {
                               float* cell = y + live[i + r] + c;
                               store(cell, load(cell) + splat(leak) * v);
                           });
            }
        }
    }

    // grad: d loss / d x_T on entry, d loss / d x_0 on return (padded, border ignored).
    // gw1 .. gb2 receive the gradients of this sample's weights, *gleak that of the leak factor.
    void backward(const float* states, size_t step_size, const float* stats, float* grad,
                  const Weights& w, float leak, const uint8_t* masks, float* gw1, float* gb1,
                  float* gw2, float* gb2, double* gleak) {
        const float* x;
        Buffer gp(static_cast<size_t>(s.height + 2) * stride * P);  // d loss / d p, padded
        Buffer g(TILE * C), dh(TILE * hidden), q(hidden * C), r(P * hidden), db1(hidden), db2(C);
        Buffer shift(P), scale(P);
        for (int c = 0; c < C; c++)  // leak * W2 as [C][hidden] panels
            for (int k = 0; k < hidden; k++)
                w2l[(k / PANEL_HIDDEN) * C * PANEL_HIDDEN + c * PANEL_HIDDEN + k % PANEL_HIDDEN] =
                    leak * w.w2[c * hidden + k];
        for (int t = s.steps - 1; t >= 0; t--) {
            x = states + t * step_size;
            const float* mean = stats + static_cast<size_t>(t) * s.batch * 2 * P;
            const float* rstd = mean + P;
            fold(w.w1, w.b1, mean, rstd, true);
            std::memset(q, 0, hidden * C * 4);
            std::memset(r, 0, P * hidden * 4);
            std::memset(db1, 0, hidden * 4);
            std::memset(db2, 0, C * 4);
            const uint8_t* mask = masks ? masks + static_cast<size_t>(t) * s.batch * cells : nullptr;
            const int n = gather(mask);
            if (mask)
                for (int y = 0; y < s.height; y++)
                    std::memset(gp + (static_cast<size_t>(y + 1) * stride + 1) * P, 0, s.width * P * 4);
            for (int i = 0; i < n; i += TILE) {
                const int m = n - i < TILE ? n - i : TILE;
                for (int j = 0; j < m; j++) {
                    perceive(x + live[i + j], p + j * P);
                    std::memcpy(g + j * C, grad + live[i + j], C * 4);
                }
                hidden_layer(m);
                accumulate(m, g, dh, q, r, db1, db2);
                gemm<NV_P>(m, P, hidden, dh, hidden, 1, w1r, W_P, hidden * W_P,
                           [](int, int) { return Vec{}; },
                           [&](int j, int c, Vec v) {
                               store(gp + static_cast<size_t>(live[i + j] / C) * P + c, v);
                           });
            }
            weight_gradients(w, leak, mean, rstd, q, r, db1, db2, gw1, gb1, gw2, gb2, gleak, shift, scale);
            state_gradient(x, gp, shift, scale, grad);
        }
    }

    // One tile's share of q = h^T g, db2 = sum g, dh = (leak W2)^T g [h > 0], r = p^T dh, db1 = sum dh.
    void accumulate(int m, float* g, float* dh, float* q, float* r, float* db1, float* db2) {
        const Vec zero{};
        gemm<NV_C>(hidden, C, m, h, 1, hidden, g, C, 0,
                   [&](int k, int c) { return load(q + k * C + c); },
                   [&](int k, int c, Vec v) { store(q + k * C + c, v); });
        gemm<NV_H>(m, hidden, C, g, C, 1, w2l, PANEL_HIDDEN, C * PANEL_HIDDEN,
                   [](int, int) { return Vec{}; },
                   [&](int j, int k, Vec v) {
                       store(dh + j * hidden + k, load(h + j * hidden + k) > zero ? v : zero);
                   });
        gemm<NV_H>(P, hidden, m, p, 1, P, dh, hidden, 0,
                   [&](int c, int k) { return load(r + c * hidden + k); },
                   [&](int c, int k, Vec v) { store(r + c * hidden + k, v); });
        for (int k = 0; k < hidden; k += LANES) {
            Vec sum = load(db1 + k);
            for (int j = 0; j < m; j++) sum += load(dh + j * hidden + k);
            store(db1 + k, sum);
        }
        for (int c = 0; c < C; c += LANES) {
            Vec sum = load(db2 + c);
            for (int j = 0; j < m; j++) sum += load(g + j * C + c);
            store(db2 + c, sum);
        }
    }

    // d W1 = (r - mean db1) rstd. The norm's backward needs mean(dp^) = W1^T db1 / N and
    // mean(dp^ p^) = sum_k W1 dW1 / N; `scale` and `shift` are what it subtracts from dp: scale p + shift.
    void weight_gradients(const Weights& w, float leak, const float* mean, const float* rstd,
                          const float* q, const float* r, const float* db1, const float* db2,
                          float* gw1, float* gb1, float* gw2, float* gb2, double* gleak, float* shift,
                          float* scale) const {
        for (int c = 0; c < P; c++) {
            double first = 0, second = 0;
            for (int k = 0; k < hidden; k++) {
                const float d = (r[c * hidden + k] - db1[k] * mean[c]) * rstd[c];
                gw1[k * P + c] += d;
                first += static_cast<double>(w.w1[k * P + c]) * db1[k];
                second += static_cast<double>(w.w1[k * P + c]) * d;
            }
            first /= cells, second /= cells;
            scale[c] = static_cast<float>(rstd[c] * rstd[c] * second);
            shift[c] = static_cast<float>(rstd[c] * (first - rstd[c] * mean[c] * second));
        }
        for (int k = 0; k < hidden; k++) {
            gb1[k] += db1[k];
            for (int c = 0; c < C; c++) {
                gw2[c * hidden + k] += leak * q[k * C + c];
                *gleak += static_cast<double>(q[k * C + c]) * w.w2[c * hidden + k];
            }
        }
        for (int c = 0; c < C; c++) {
            gb2[c] += leak * db2[c];
            *gleak += static_cast<double>(db2[c]) * w.b2[c];
        }
    }

    // grad += [identity, Sobel_x, Sobel_y]^T (dp - scale p - shift)
    void state_gradient(const float* x, float* gp, const float* shift, const float* scale, float* grad) const {
        if (s.norm)
            for (int y = 0; y < s.height; y++)
                for (int i = 0; i < s.width; i++) {
                    const size_t cell = static_cast<size_t>(y + 1) * stride + i + 1;
                    alignas(64) float now[P];
                    perceive(x + cell * C, now);
                    float* d = gp + cell * P;
#pragma GCC unroll 16
                    for (int c = 0; c < P; c += LANES)
                        store(d + c, load(d + c) - load(scale + c) * load(now + c) - load(shift + c));
                }
        const int r = stride * P;
        for (int y = 0; y < s.height; y++)
            for (int i = 0; i < s.width; i++) {
                const size_t cell = static_cast<size_t>(y + 1) * stride + i + 1;
                float* out = grad + cell * C;
                for (int c = 0; c < C; c += LANES) {
                    const float *d = gp + cell * P + c, *a = d + C, *b = d + 2 * C;
                    const Vec dx = load(a - P) - load(a + P), dy = load(b - r) - load(b + r);
                    const Vec gx = (load(a - r - P) - load(a - r + P)) + (load(a + r - P) - load(a + r + P));
                    const Vec gy = (load(b - r - P) - load(b + r - P)) + (load(b - r + P) - load(b + r + P));
                    store(out + c, load(out + c) + load(d) + splat(0.125f) * ((gx + gy) + (dx + dx) + (dy + dy)));
                }
            }
    }
};

template <int C>
void forward_all(const Shape& s, float* states, float* stats, const Weights& w, float leak,
                 const uint8_t* masks, int save, int threads) {
    const size_t size = static_cast<size_t>(s.height + 2) * (s.width + 2) * C;
    const int H = s.hidden, P = 3 * C, cells = s.height * s.width;
    (void)threads;
#pragma omp parallel num_threads(threads)
    {
        Kernel<C> kernel(s);
#pragma omp for schedule(static)
        for (int b = 0; b < s.batch; b++)
            kernel.forward(states + b * size, s.batch * size, stats + static_cast<size_t>(b) * 2 * P,
                           {w.w1 + static_cast<size_t>(b) * H * P, w.b1 + b * H,
                            w.w2 + static_cast<size_t>(b) * H * C, w.b2 + b * C},
                           leak, masks ? masks + static_cast<size_t>(b) * cells : nullptr, save != 0);
    }
}

template <int C>
void backward_all(const Shape& s, const float* states, const float* stats, float* grad,
                  const Weights& w, float leak, const uint8_t* masks, float* gw1, float* gb1,
                  float* gw2, float* gb2, double* gleak, int threads) {
    const size_t size = static_cast<size_t>(s.height + 2) * (s.width + 2) * C;
    const int H = s.hidden, P = 3 * C, cells = s.height * s.width;
    (void)threads;
#pragma omp parallel num_threads(threads)
    {
        Kernel<C> kernel(s);
#pragma omp for schedule(static)
        for (int b = 0; b < s.batch; b++) {
            const size_t i1 = static_cast<size_t>(b) * H * P, i2 = static_cast<size_t>(b) * H * C;
            kernel.backward(states + b * size, s.batch * size, stats + static_cast<size_t>(b) * 2 * P,
                            grad + b * size, {w.w1 + i1, w.b1 + b * H, w.w2 + i2, w.b2 + b * C}, leak,
                            masks ? masks + static_cast<size_t>(b) * cells : nullptr, gw1 + i1,
                            gb1 + b * H, gw2 + i2, gb2 + b * C, gleak + b);
        }
    }
}

}  // namespace

extern "C" {

int ncam_lanes() { return LANES; }

// shape: steps, batch, height, width, hidden, norm. channels: 16 or 32; hidden: a multiple of 64.
// states: [save ? steps + 1 : 2][batch][(H+2)(W+2)][C], the first filled, all borders zero.
// stats: [save ? steps : 1][batch][2][3C]. masks: [steps][batch][H][W] bytes, or null: all fire.
// Without `save` the result is states[steps & 1].
void ncam_forward(const int* shape, int channels, float* states, float* stats, const float* w1,
                  const float* b1, const float* w2, const float* b2, float leak, const uint8_t* masks,
                  int save, int threads) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    (channels == 16 ? forward_all<16> : forward_all<32>)(s, states, stats, {w1, b1, w2, b2}, leak,
                                                         masks, save, threads);
}

// Gradients are added to gw1, gb1, gw2, gb2 and gleak [batch]; grad is replaced as described above.
void ncam_backward(const int* shape, int channels, const float* states, const float* stats, float* grad,
                   const float* w1, const float* b1, const float* w2, const float* b2, float leak,
                   const uint8_t* masks, float* gw1, float* gb1, float* gw2, float* gb2, double* gleak,
                   int threads) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    (channels == 16 ? backward_all<16> : backward_all<32>)(s, states, stats, grad, {w1, b1, w2, b2}, leak,
                                                           masks, gw1, gb1, gw2, gb2, gleak, threads);
}

}  // extern "C"
