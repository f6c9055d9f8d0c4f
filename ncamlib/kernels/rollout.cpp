// The NCA rollout with per-sample weights, forward and backward (paper, sections 3.3 and 3.4).
//
// One step, for every live cell of one sample:
//     p  = [x, Sobel_x x, Sobel_y x]           perceive, P = 3C numbers per cell
//     p^ = (p - mean) * rstd                   instance norm over the grid
//     h  = relu(W1 p^ + b1)
//     x <- x + leak * (W2 h + b2)
//
// What makes it fast:
//   * live cells are gathered into tiles of TILE, and cells that do not fire are skipped, forward
//     and backward. A tile's p^ and h stay in the first-level cache; only states go to memory;
//   * hidden units go through in panels of PANEL, so that every stride is known to the compiler
//     and a register tile's operands fit beside each other in the cache;
//   * backward keeps nothing but the states and the statistics; p^ and h are computed again;
//   * most hidden units of a trained automaton are off in most cells. The two largest products of backward, d W1 and
//     d p^, go through the first layer unit by unit and see only the cells where a unit is on.
//
// The light cone: information travels one cell a step. On a grid that wraps round, the cells that the seed
// cannot have reached yet all see the same neighbourhood, so they hold one and the same state. While that lasts,
// only the window around the seed is computed, and one cell, the corner, for all others; backward, the corner
// stands for the sum of their gradients. It takes a start from a seed that needs no gradient, and cells
// that all fire.
//
// Layout: states are cells-major with a border, [(H+2)*(W+2)][C], so one vector load takes channels of one
// cell. The border holds zeros, or the opposite side where the grid wraps round. Compiler vectors (`vector_size`) serve
// AVX-512, AVX2, SSE and NEON. Forward and backward share every helper, hence one file.

#include <stddef.h>
#include <stdint.h>
#ifndef NCAM_FREESTANDING  // the page's WebAssembly has no C library: it brings the few functions itself
#include <stdlib.h>
#include <string.h>
#endif

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
constexpr int PANEL = 64;  // hidden units per panel; the hidden layer is a multiple of it
constexpr int HALF = 24;  // of a tile: its cells as the bits of a word
constexpr int BLOCK = 48;  // perceived maps that backward keeps in registers: divides their number
static_assert(TILE == 2 * HALF && HALF <= 32 && BLOCK % LANES == 0, "backward keeps a tile's cells as bits");
constexpr float EPS = 1e-5f;
constexpr int SOBEL = 2;  // see Shape

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef float VecU __attribute__((vector_size(4 * LANES), aligned(4)));

inline Vec load(const float* a) { return *reinterpret_cast<const VecU*>(a); }
inline void store(float* a, Vec v) { *reinterpret_cast<VecU*>(a) = v; }
inline Vec splat(float a) { return a - Vec{}; }  // minus zero folds away, plus zero does not

// out(r, n) = init(r, n) + sum_k a[r * AR + k * AK] * b[k * LDB + n], for ROWS x NV vectors in registers.
template <int ROWS, int NV, int AR, int AK, int LDB, class Init, class Done>
inline void register_tile(const float* a, const float* b, int K, Init init, Done done) {
    Vec acc[ROWS][NV];
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = init(r, v * LANES);
    for (int k = 0; k < K; k++, a += AK, b += LDB) {
        Vec w[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) w[v] = load(b + v * LANES);
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; r++) {
            const Vec x = splat(a[r * AR]);
#pragma GCC unroll 8
            for (int v = 0; v < NV; v++) acc[r][v] += x * w[v];
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) done(r, v * LANES, acc[r][v]);
}

// Rows m .. M - 1 of one column of register tiles: as many tall ones as fit, then shorter ones.
template <int ROWS, int NV, int AR, int AK, int LDB, class Init, class Done>
inline void rows(int m, int M, const float* a, const float* b, int K, Init init, Done done) {
    for (; m + ROWS <= M; m += ROWS)
        register_tile<ROWS, NV, AR, AK, LDB>(
            a + m * AR, b, K, [&](int r, int v) { return init(m + r, v); },
            [&](int r, int v, Vec x) { done(m + r, v, x); });
    if constexpr (ROWS > 1) rows<(ROWS + 2) / 4, NV, AR, AK, LDB>(m, M, a, b, K, init, done);
}

// The most vectors per row of a register tile that divide a matrix n wide.
constexpr int vectors(int n) {
    int most = n / LANES < MAX_VECTORS ? n / LANES : MAX_VECTORS;
    while ((n / LANES) % most) most--;
    return most;
}

// The product of a (M x K, strides AR and AK) and b (K x N, row-major, LDB apart).
// init(m, n) and done(m, n, v) see one vector of the result.
template <int N, int AR, int AK, int LDB, class Init, class Done>
inline void gemm(int M, int K, const float* a, const float* b, Init init, Done done) {
    constexpr int NV = vectors(N), ROWS = ACCUMULATORS / NV;
    for (int n = 0; n < N; n += NV * LANES)
        rows<ROWS, NV, AR, AK, LDB>(
            0, M, a, b + n, K, [&](int m, int v) { return init(m, n + v); },
            [&](int m, int v, Vec x) { done(m, n + v, x); });
}

template <class T>
struct Array {  // aligned, zero at first, owned
    explicit Array(size_t n) : data(static_cast<T*>(aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64))) {
        memset(data, 0, n * sizeof(T));
    }
    ~Array() { free(data); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    operator T*() const { return data; }

    T* const data;
};
typedef Array<float> Buffer;

// norm: 0, of no map; 1, of all; 2, of those of the Sobel filters.
// edge: 0, zeros lie beyond it; 1, the grid wraps round; 2, it does, and the light cone may be used.
struct Shape { int steps, batch, height, width, hidden, norm, edge; };

// A rectangle of cells: rows y0 .. y1 - 1, columns x0 .. x1 - 1.
struct Window {
    int y0, y1, x0, x1;
    int columns() const { return x1 - x0; }
    int cells() const { return (y1 - y0) * (x1 - x0); }
};

// Which cells fire: bytes [T][B][H][W], or the generator of fire.py with a seed per sample, or
// neither where all do. The seeds come as int64, as torch keeps them.
struct Fire {
    const uint8_t* masks;
    const int64_t* seeds;
    uint32_t limit;
    int start;
};

inline uint32_t mix(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    return x ^ (x >> 16);
}

struct Weights { const float *w1, *b1, *w2, *b2; };

template <int C>
struct Kernel {
    static constexpr int P = 3 * C;

    const Shape s;
    const Weights w;
    const float leak;
    const Fire fire;  // of this sample
    const int hidden, stride, cells;  // stride: cells from row to row, border included
    const size_t state_size;  // floats of one padded state
    // W1 as panels [hidden / PANEL][P][PANEL], W2 as [hidden][C]; a tile's p^ and one panel of its h.
    Buffer w1t, w2t, p, h;
    Array<int> live;  // where the live cells are, in floats
    Array<uint8_t> drawn;  // a generated mask
    static constexpr int ALL = -1;  // a radius: the whole grid
    int support = ALL;  // radius of the window around the centre outside which x_0 is constant

    Kernel(const Shape& shape, const Weights& weights, float factor, const Fire& firing)
        : s(shape), w(weights), leak(factor), fire(firing), hidden(s.hidden), stride(s.width + 2),
          cells(s.height * s.width), state_size(static_cast<size_t>(s.height + 2) * stride * C), w1t(P * hidden),
          w2t(hidden * C), p(TILE * P), h(TILE * PANEL), live(cells + 1), drawn(fire.seeds ? cells : 0) {
        for (int k = 0; k < hidden; k++) {
            for (int c = 0; c < P; c++) w1t[(k / PANEL) * P * PANEL + c * PANEL + k % PANEL] = w.w1[k * P + c];
            for (int c = 0; c < C; c++) w2t[k * C + c] = w.w2[c * hidden + k];
        }
    }

    // Where a cell is in a padded array, in cells.
    size_t at(int y, int x) const { return static_cast<size_t>(y + 1) * stride + x + 1; }

    Window window(int r) const {
        if (r == ALL) return {0, s.height, 0, s.width};
        const int y = s.height / 2, x = s.width / 2;
        return {y - r, y + r + 1, x - r, x + r + 1};
    }

    // Calls f(cell) for every cell of one window that is not in another within it.
    template <class F>
    void between(const Window& in, const Window& out, F f) const {
        for (int y = out.y0; y < out.y1; y++)
            for (int x = out.x0; x < out.x1; x++) {
                if (y >= in.y0 && y < in.y1 && x == in.x0) x = in.x1;
                if (x < out.x1) f(at(y, x));
            }
    }

    bool fits(int r) const { return 2 * r + 1 < s.height && 2 * r + 1 < s.width; }

    // The radius of the window that step t changes in its own way, ALL where no cone is left.
    int radius(int t) const {
        const int r = support + t + 1;
        return support != ALL && fits(r) ? r : ALL;
    }

    void find_support(const float* x) {
        support = ALL;
        if (s.edge != 2 || fire.masks || fire.seeds) return;
        support = 0;
        for (int y = 0; y < s.height; y++)
            for (int i = 0; i < s.width; i++)
                if (memcmp(x + at(y, i) * C, x + at(0, 0) * C, C * 4)) {
                    const int dy = y - s.height / 2, dx = i - s.width / 2;
                    const int far = (dy < 0 ? -dy : dy) > (dx < 0 ? -dx : dx) ? dy : dx;
                    if ((far < 0 ? -far : far) > support) support = far < 0 ? -far : far;
                }
    }

    // Where the grid wraps round, makes the border of a padded array of n floats a cell the opposite side.
    void wrap(float* x, int n) const {
        if (!s.edge) return;
        const size_t row = static_cast<size_t>(stride) * n, cell = static_cast<size_t>(n) * 4;
        for (int y = 1; y <= s.height; y++) {
            memcpy(x + y * row, x + y * row + s.width * n, cell);
            memcpy(x + (y + 1) * row - n, x + y * row + n, cell);
        }
        memcpy(x, x + s.height * row, row * 4);
        memcpy(x + (s.height + 1) * row, x + row, row * 4);
    }

    // Calls f(c, v) with vectors v of p = [x, Sobel_x x, Sobel_y x], for the cell at x.
    template <class F>
    inline void perceive(const float* x, F f) const {
        const int r = stride * C;
        const Vec eighth = splat(0.125f);
#pragma GCC unroll 8
        for (int c = 0; c < C; c += LANES, x += LANES) {
            const Vec nw = load(x - r - C), no = load(x - r), ne = load(x - r + C), we = load(x - C), ea = load(x + C),
                      sw = load(x + r - C), so = load(x + r), se = load(x + r + C);
            const Vec dx = ea - we, dy = so - no;
            f(c, load(x));
            f(C + c, eighth * (((ne - nw) + (se - sw)) + (dx + dx)));
            f(2 * C + c, eighth * (((sw - nw) + (se - ne)) + (dy + dy)));
        }
    }

    // Mean and reciprocal deviation of the P perceived maps. Sums are taken row by row about the
    // mean so far and merged in double as in Chan et al.: E[x^2] - E[x]^2 would cancel when a
    // channel is far from zero.
    void statistics(const float* x, int r, float* mean, float* scale) const {
        const Window in = window(r);
        const int width = in.columns();
        double m[P] = {}, m2[P] = {};
        alignas(64) float about[P], sum[P], square[P];
        perceive(x + at(in.y0, in.x0) * C, [&](int c, Vec v) { store(about + c, v); });
        for (int y = 0; y < in.y1 - in.y0; y++) {
            const float* cell = x + at(in.y0 + y, in.x0) * C;
            Vec total[P / LANES] = {}, squares[P / LANES] = {};
            for (int i = 0; i < width; i++)
                perceive(cell + i * C, [&](int c, Vec v) {
                    const Vec d = v - load(about + c);
                    total[c / LANES] += d;
                    squares[c / LANES] += d * d;
                });
            for (int c = 0; c < P; c += LANES) store(sum + c, total[c / LANES]), store(square + c, squares[c / LANES]);
            for (int c = 0; c < P; c++) {
                const double row = sum[c] / width, d = about[c] + row - m[c];
                m[c] += d / (y + 1);
                m2[c] += square[c] - row * sum[c] + d * d * width * y / (y + 1.0);
                about[c] = static_cast<float>(m[c]);
            }
        }
        if (r != ALL) {  // all cells outside are alike: a group of one value, and of no slope
            const double inside = in.cells(), rest = cells - inside;
            const float* corner = x + at(0, 0) * C;
            for (int c = 0; c < P; c++) {
                const double d = (c < C ? corner[c] : 0) - m[c];
                m[c] += d * rest / cells;
                m2[c] += d * d * inside * rest / cells;
            }
        }
        for (int c = 0; c < P; c++) {
            mean[c] = static_cast<float>(m[c]);
            scale[c] = static_cast<float>(1 / __builtin_sqrt((m2[c] > 0 ? m2[c] : 0) / cells + EPS));
        }
        if (s.norm == SOBEL)
            for (int c = 0; c < C; c++) mean[c] = 0, scale[c] = 1;
    }

    // The sample's mask at step t, null where all cells fire.
    const uint8_t* mask(int t) {
        if (fire.masks) return fire.masks + static_cast<size_t>(t) * s.batch * cells;
        if (!fire.seeds) return nullptr;
        const uint32_t key =
            mix(static_cast<uint32_t>(*fire.seeds) + static_cast<uint32_t>(fire.start + t) * 0x9E3779B9u);
        for (int i = 0; i < cells; i++) drawn[i] = mix(key ^ mix(i)) < fire.limit;
        return drawn;
    }

    int gather(const uint8_t* mask, int r) {
        const Window in = window(r);
        int n = 0;
        if (r != ALL) live[n++] = at(0, 0) * C;  // for all cells outside
        for (int y = in.y0; y < in.y1; y++)
            for (int x = in.x0; x < in.x1; x++) {
                live[n] = at(y, x) * C;
                n += !mask || mask[y * s.width + x];  // no branch: whether a cell fires cannot be predicted
            }
        return n;
    }

    // Completes y, of which the update wrote the live cells. Cells that do not fire were copied before.
    void finish(float* y, int r, bool last) const {
        if (r != ALL) {
            const auto as_corner = [&](size_t cell) {
                if (cell != at(0, 0)) memcpy(y + cell * C, y + at(0, 0) * C, C * 4);
            };
            if (!last && fits(r + 2)) {  // the next step looks no further than this, and around the corner
                between(window(r), window(r + 2), as_corner);
                for (int i = 0; i < 9; i++) as_corner(at(i / 3 - 1, i % 3 - 1));
                return;
            }
            between(window(r), window(ALL), as_corner);
        }
        if (s.edge) return wrap(y, C);
        const size_t row = static_cast<size_t>(stride) * C;
        memset(y, 0, row * 4);
        memset(y + state_size - row, 0, row * 4);
        for (int i = 1; i <= s.height; i++) memset(y + i * row, 0, C * 4), memset(y + (i + 1) * row - C, 0, C * 4);
    }

    // p^ of m live cells.
    void normalised(const float* x, const int* at, int m, const float* mean, const float* rstd) const {
        for (int j = 0; j < m; j++)
            perceive(x + at[j],
                     [&](int c, Vec v) { store(p + j * P + c, s.norm ? (v - load(mean + c)) * load(rstd + c) : v); });
    }

    // One panel of h = relu(W1 p^ + b1) for m cells; k is the panel's first hidden unit.
    void hidden_layer(int m, int k) const {
        const Vec zero{};
        gemm<PANEL, P, 1, PANEL>(
            m, P, p, w1t + k * P, [&](int, int n) { return load(w.b1 + k + n); },
            [&](int j, int n, Vec v) { store(h + j * PANEL + n, v <= zero ? zero : v); });
    }

    void forward(float* states, size_t step_size, float* stats, float* result, bool save) {
        wrap(states, C);
        find_support(states);
        for (int t = 0; t < s.steps; t++) {
            const float* x = states + (save ? t : t & 1) * step_size;
            float* y = t + 1 == s.steps ? result : states + (save ? t + 1 : (t + 1) & 1) * step_size;
            float *mean = stats + (save ? static_cast<size_t>(t) * s.batch * 2 * P : 0), *rstd = mean + P;
            const int r = radius(t);
            if (s.norm) statistics(x, r, mean, rstd);
            const uint8_t* fires = mask(t);
            if (fires) memcpy(y, x, state_size * 4);
            const int n = gather(fires, r);
            for (int i = 0; i < n; i += TILE) {
                const int m = n - i < TILE ? n - i : TILE;
                const int* at = live + i;
                normalised(x, at, m, mean, rstd);
                for (int k = 0; k < hidden; k += PANEL) {
                    hidden_layer(m, k);
                    gemm<C, PANEL, 1, C>(
                        m, PANEL, h, w2t + k * C, [&](int, int c) { return k ? Vec{} : load(w.b2 + c); },
                        [&](int j, int c, Vec v) {
                            const int cell = at[j] + c;
                            store(y + cell, load((k ? y : x) + cell) + splat(leak) * v);
                        });
                }
            }
            finish(y, r, t + 1 == s.steps);
        }
    }

    // grad: d loss / d x_T on entry, d loss / d x_0 on return (padded, border ignored); after a light cone only
    // the sum of the latter has a meaning.
    // gw1 .. gb2 receive the gradients of this sample's weights, *gleak that of the leak factor.
    void backward(const float* states, size_t step_size, const float* stats, float* grad, float* gw1, float* gb1,
                  float* gw2, float* gb2, double* gleak) {
        Backward b(*this);
        find_support(states);
        for (int t = s.steps - 1; t >= 0; t--) {
            const float* x = states + t * step_size;
            const float *mean = stats + static_cast<size_t>(t) * s.batch * 2 * P, *rstd = mean + P;
            const uint8_t* fires = mask(t);
            const int r = radius(t);
            if (r != ALL && (t + 1 == s.steps || radius(t + 1) == ALL)) b.collapse(grad, r);
            const int n = gather(fires, r);
            b.start_step(fires);
            for (int i = 0; i < n; i += TILE) {
                const int m = n - i < TILE ? n - i : TILE;
                const int* at = live + i;
                normalised(x, at, m, mean, rstd);
                b.tile(grad, at, m);
            }
            b.finish_step(x, r, mean, rstd, grad);
        }
        b.write(gw1, gb1, gw2, gb2, gleak);
    }

    // What the backward pass needs beyond the forward's scratch.
    struct Backward {
        const Kernel& f;
        const int hidden;
        // d p^ of every cell, padded, then d p; one tile of g = d x; leak W2 as panels [C][PANEL].
        Buffer dp, g, w2l;
        // Sums over the cells of one step, and over all steps: d W1 as W1, d W2 / leak as w2t.
        Buffer dw1, db1, dw2, db2, all_w1, all_b1, all_w2, all_b2;
        Vec sum[P / LANES], product[P / LANES];  // of d p^ and of d p^ * p^, for the norm

        explicit Backward(const Kernel& kernel)
            : f(kernel), hidden(f.hidden), dp(f.state_size * 3), g(TILE * C), w2l(C * hidden), dw1(P * hidden),
              db1(hidden), dw2(hidden * C), db2(C), all_w1(P * hidden), all_b1(hidden), all_w2(hidden * C), all_b2(C) {
            for (int c = 0; c < C; c++)
                for (int k = 0; k < hidden; k++)
                    w2l[(k / PANEL) * C * PANEL + c * PANEL + k % PANEL] = f.leak * f.w.w2[c * hidden + k];
        }

        void start_step(bool sparse) {
            for (Vec& v : sum) v = Vec{};
            for (Vec& v : product) v = Vec{};
            if (!sparse) return;
            for (int y = 0; y < f.s.height; y++)  // cells that did not fire have d p^ = 0
                memset(dp + (static_cast<size_t>(y + 1) * f.stride + 1) * P, 0, f.s.width * P * 4);
        }

        // One tile: dW2 = h^T g, db2 = sum g, dh = leak W2^T g [h > 0],
        //           dW1 = dh^T p^, db1 = sum dh, dp^ = W1^T dh.
        void tile(const float* grad, const int* at, int m) {
            const Vec zero{};
            float* const hk = f.h;  // one panel, of h and then of dh
            for (int j = 0; j < m; j++) memcpy(g + j * C, grad + at[j], C * 4), memset(dp + at[j] * 3, 0, P * 4);
            add_columns<C>(g, m, db2);
            for (int k = 0; k < hidden; k += PANEL) {
                f.hidden_layer(m, k);
                float* const q = dw2 + k * C;
                gemm<C, 1, PANEL, C>(
                    PANEL, m, hk, g, [&](int n, int c) { return load(q + n * C + c); },
                    [&](int n, int c, Vec v) { store(q + n * C + c, v); });
                gemm<PANEL, C, 1, PANEL>(  // dh takes the place of h
                    m, C, g, w2l + k * C, [](int, int) { return Vec{}; },
                    [&](int j, int n, Vec v) {
                        float* unit = hk + j * PANEL + n;
                        store(unit, load(unit) > zero ? v : zero);
                    });
                add_columns<PANEL>(hk, m, db1 + k);
                for (int n = 0; n < PANEL; n += LANES) first_layer(hk + n, at, m, k + n);
            }
            if (f.s.norm)
                for (int j = 0; j < m; j++)
                    for (int c = 0; c < P; c += LANES) {
                        const Vec d = load(dp + at[j] * 3 + c);
                        sum[c / LANES] += d;
                        product[c / LANES] += d * load(f.p + j * P + c);
                    }
        }

        // d W1 += dh p^ and d p^ += dh W1 for LANES hidden units from k on, whose dh are PANEL apart from cell to cell.
        void first_layer(const float* dh, const int* at, int m, int k) {
            Bits on[2] = {};  // of each unit: the cells where its dh is not zero
            for (int j = m; j-- > 0;) on[j / HALF] += on[j / HALF] - (Bits)(load(dh + j * PANEL) != Vec{});
            for (int i = 0; i < LANES; i++)
                for (int c = 0; c < P; c += BLOCK)
                    one_unit(on[0][i] | static_cast<uint64_t>(on[1][i]) << HALF, dh + i, at, k + i, c);
        }

        // The same for one unit and BLOCK of the maps.
        inline void one_unit(uint64_t on, const float* dh, const int* at, int k, int c) {
            constexpr int NV = BLOCK / LANES;
            float* const out = dw1 + k * P + c;
            Vec sums[NV], w[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) sums[v] = load(out + v * LANES), w[v] = load(f.w.w1 + k * P + c + v * LANES);
            for (; on; on &= on - 1) {
                const int j = __builtin_ctzll(on);
                const Vec d = splat(dh[j * PANEL]);
                const float* p = f.p + j * P + c;
                float* q = dp + at[j] * 3 + c;
#pragma GCC unroll 16
                for (int v = 0; v < NV; v++) {
                    sums[v] += d * load(p + v * LANES);
                    store(q + v * LANES, load(q + v * LANES) + d * w[v]);
                }
            }
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++) store(out + v * LANES, sums[v]);
        }

        template <int N>
        static void add_columns(const float* a, int m, float* out) {
            for (int c = 0; c < N; c += LANES) {
                Vec total = load(out + c);
                for (int j = 0; j < m; j++) total += load(a + j * N + c);
                store(out + c, total);
            }
        }

        // The light cone begins: the corner's gradient becomes the sum of all outside radius r.
        void collapse(float* grad, int r) const {
            float* const corner = grad + f.at(0, 0) * C;
            Vec sum_outside[C / LANES] = {};
            f.between(f.window(r), f.window(ALL), [&](size_t cell) {
                for (int c = 0; c < C; c += LANES) sum_outside[c / LANES] += load(grad + cell * C + c);
            });
            for (int c = 0; c < C; c += LANES) store(corner + c, sum_outside[c / LANES]);
        }

        void finish_step(const float* x, int r, const float* mean, const float* rstd, float* grad) {
            move(dw1, all_w1, P * hidden);
            move(db1, all_b1, hidden);
            move(dw2, all_w2, hidden * C);
            move(db2, all_b2, C);
            if (f.s.norm) norm_gradient(x, r, mean, rstd);
            if (r == ALL) {
                f.wrap(dp, P);
                state_gradient(grad, f.window(ALL), [](int, Vec) {});
            } else {
                cone_gradient(grad, r);
            }
        }

        // to += from, from = 0: steps are summed apart from cells, which keeps the rounding small.
        static void move(float* from, float* to, int n) {
            for (int i = 0; i < n; i += LANES) store(to + i, load(to + i) + load(from + i)), store(from + i, Vec{});
        }

        // d p = rstd (d p^ - mean(d p^) - p^ mean(d p^ p^)), in place; n of it for n cells in one.
        void norm_gradient(const float* x, int r, const float* mean, const float* rstd) {
            const Window in = f.window(r);
            const Vec inverse = splat(1.0f / f.cells);
            for (Vec& v : sum) v *= inverse;
            for (Vec& v : product) v *= inverse;
            if (f.s.norm == SOBEL)
                for (int c = 0; c < C; c += LANES) sum[c / LANES] = product[c / LANES] = Vec{};
            const auto cell = [&](size_t i, Vec n) {
                float* d = dp + i * P;
                f.perceive(x + i * C, [&](int c, Vec v) {
                    const Vec scale = load(rstd + c), normal = (v - load(mean + c)) * scale;
                    store(d + c, scale * (load(d + c) - n * (sum[c / LANES] + normal * product[c / LANES])));
                });
            };
            if (r != ALL) cell(f.at(0, 0), splat(f.cells - in.cells()));
            for (int y = in.y0; y < in.y1; y++)
                for (int i = in.x0; i < in.x1; i++) cell(f.at(y, i), splat(1));
        }

        // grad += [identity, Sobel_x, Sobel_y]^T dp in a window; seen(c, v) gets the Sobel filters' part.
        template <class F>
        void state_gradient(float* grad, const Window& in, F seen) const {
            const int r = f.stride * P;
            for (int y = in.y0; y < in.y1; y++)
                for (int i = in.x0; i < in.x1; i++) {
                    const size_t cell = f.at(y, i);
                    float* out = grad + cell * C;
                    for (int c = 0; c < C; c += LANES) {
                        const float *d = dp + cell * P + c, *a = d + C, *b = d + 2 * C;
                        const Vec dx = load(a - P) - load(a + P), dy = load(b - r) - load(b + r);
                        const Vec gx = (load(a - r - P) - load(a - r + P)) + (load(a + r - P) - load(a + r + P)),
                                  gy = (load(b - r - P) - load(b + r - P)) + (load(b - r + P) - load(b + r + P)),
                                  sobel = splat(0.125f) * ((gx + gy) + (dx + dx) + (dy + dy));
                        store(out + c, load(out + c) + load(d) + sobel);
                        seen(c, sobel);
                    }
                }
        }

        // The same within the cone, which is narrower one step down: the ring that leaves the window joins the
        // corner's sum. Over a torus the Sobel filters' part adds up to nothing, so outside it is minus inside.
        void cone_gradient(float* grad, int r) const {
            const Window in = f.window(r);
            Vec rest[C / LANES];
            for (int c = 0; c < C; c += LANES) rest[c / LANES] = load(dp + f.at(0, 0) * P + c);
            for (int y = in.y0; y < in.y1; y++) {
                const bool whole = y == in.y0 || y == in.y1 - 1;
                for (int i = in.x0; i < in.x1; i += whole ? 1 : 2 * r)
                    for (int c = 0; c < C; c += LANES)
                        rest[c / LANES] += load(grad + f.at(y, i) * C + c) + load(dp + f.at(y, i) * P + c);
            }
            state_gradient(grad, f.window(r - 1), [&](int c, Vec v) { rest[c / LANES] -= v; });
            float* const corner = grad + f.at(0, 0) * C;
            for (int c = 0; c < C; c += LANES) store(corner + c, load(corner + c) + rest[c / LANES]);
        }

        void write(float* gw1, float* gb1, float* gw2, float* gb2, double* gleak) const {
            for (int k = 0; k < hidden; k++) {
                memcpy(gw1 + k * P, all_w1 + k * P, P * 4);
                gb1[k] = all_b1[k];
                for (int c = 0; c < C; c++) {
                    gw2[c * hidden + k] = f.leak * all_w2[k * C + c];
                    *gleak += static_cast<double>(all_w2[k * C + c]) * f.w.w2[c * hidden + k];
                }
            }
            for (int c = 0; c < C; c++) {
                gb2[c] = f.leak * all_b2[c];
                *gleak += static_cast<double>(all_b2[c]) * f.w.b2[c];
            }
        }
    };
};

// Calls f(kernel, b) for every sample b, threads sharing the batch.
template <int C, class F>
void each_sample(const Shape& s, const Weights& w, float leak, const Fire& fire, int threads, F f) {
    const size_t H = s.hidden, P = 3 * C, cells = static_cast<size_t>(s.height) * s.width;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static)
#else
    (void)threads;
#endif
    for (int i = 0; i < s.batch; i++) {
        const size_t b = i;
        Kernel<C> kernel(s, {w.w1 + b * H * P, w.b1 + b * H, w.w2 + b * H * C, w.b2 + b * C}, leak,
                         {fire.masks ? fire.masks + b * cells : nullptr, fire.seeds ? fire.seeds + b : nullptr,
                          fire.limit, fire.start});
        f(kernel, b);
    }
}

template <int C>
void forward_all(const Shape& s, float* states, float* stats, float* result, const Weights& w, float leak,
                 const Fire& fire, bool save, int threads) {
    const size_t size = static_cast<size_t>(s.height + 2) * (s.width + 2) * C;
    each_sample<C>(s, w, leak, fire, threads, [&](Kernel<C>& kernel, size_t b) {
        kernel.forward(states + b * size, s.batch * size, stats + b * 6 * C, result + b * size, save);
    });
}

template <int C>
void backward_all(const Shape& s, const float* states, const float* stats, float* grad, const Weights& w, float leak,
                  const Fire& fire, float* gw1, float* gb1, float* gw2, float* gb2, double* gleak, int threads) {
    const size_t size = static_cast<size_t>(s.height + 2) * (s.width + 2) * C, H = s.hidden, P = 3 * C;
    each_sample<C>(s, w, leak, fire, threads, [&](Kernel<C>& kernel, size_t b) {
        kernel.backward(states + b * size, s.batch * size, stats + b * 2 * P, grad + b * size, gw1 + b * H * P,
                        gb1 + b * H, gw2 + b * H * C, gb2 + b * C, gleak + b);
    });
}

}  // namespace

extern "C" {

// shape: steps, batch, height, width, hidden, norm, edge (see Shape). channels: 16 or 32; hidden: a multiple of PANEL.
// states: [save ? steps : 2][batch][(H+2)(W+2)][C], the first filled, its border zero; result: one more.
// stats: [save ? steps : 1][batch][2][3C]. masks, seeds, limit and start: see Fire.
void ncam_forward(const int* shape, int channels, float* states, float* stats, float* result, const float* w1,
                  const float* b1, const float* w2, const float* b2, float leak, const uint8_t* masks,
                  const int64_t* seeds, uint32_t limit, int start, int save, int threads) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6]};
    (channels == 16 ? forward_all<16> : forward_all<32>)(s, states, stats, result, {w1, b1, w2, b2}, leak,
                                                         {masks, seeds, limit, start}, save != 0, threads);
}

// Gradients go to gw1, gb1, gw2, gb2 and gleak [batch]; grad is replaced as described above.
void ncam_backward(const int* shape, int channels, const float* states, const float* stats, float* grad,
                   const float* w1, const float* b1, const float* w2, const float* b2, float leak, const uint8_t* masks,
                   const int64_t* seeds, uint32_t limit, int start, float* gw1, float* gb1, float* gw2, float* gb2,
                   double* gleak, int threads) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6]};
    (channels == 16 ? backward_all<16> : backward_all<32>)(s, states, stats, grad, {w1, b1, w2, b2}, leak,
                                                           {masks, seeds, limit, start}, gw1, gb1, gw2, gb2, gleak,
                                                           threads);
}

}  // extern "C"
