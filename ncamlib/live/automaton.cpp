// The automaton in the page: the native kernel's forward pass as WebAssembly, one sample of 16
// channels and 128 hidden units at a time. Build: `python -m ncamlib.live.build`.
#define NCAM_FREESTANDING
#include <stddef.h>
#include <stdint.h>

extern "C" {

extern unsigned char __heap_base;
static size_t top = 0;  // everything from here on is free

static void* aligned_alloc(size_t align, size_t size) {
    if (!top) top = reinterpret_cast<size_t>(&__heap_base);
    top = (top + align - 1) / align * align;
    const size_t at = top, have = __builtin_wasm_memory_size(0) * 65536;
    top += size;
    if (top > have) __builtin_wasm_memory_grow(0, (top - have + 65535) / 65536);
    return reinterpret_cast<void*>(at);
}

static void free(void*) {}  // `step` gives back all at once

void* memset(void* to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) static_cast<unsigned char*>(to)[i] = static_cast<unsigned char>(value);
    return to;
}

void* memcpy(void* to, const void* from, size_t n) {
    for (size_t i = 0; i < n; i++) static_cast<unsigned char*>(to)[i] = static_cast<const unsigned char*>(from)[i];
    return to;
}

int memcmp(const void* one, const void* two, size_t n) {
    const auto *a = static_cast<const unsigned char*>(one), *b = static_cast<const unsigned char*>(two);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) return a[i] - b[i];
    return 0;
}

}  // extern "C"

#include "../kernels/rollout.cpp"

#define EXPORT(name) extern "C" __attribute__((export_name(#name), used))

namespace {
constexpr int C = 16, HIDDEN = 128, P = 3 * C;
constexpr int W1 = 0, B1 = W1 + HIDDEN * P, W2 = B1 + HIDDEN, B2 = W2 + C * HIDDEN, WEIGHTS = B2 + C;
int height, width;
float *weights, *stats, *states[2];
}  // namespace

// Memory for a grid; called once. The state is cells-major, [(H+2)*(W+2)][C], with a border.
EXPORT(init) void init(int h, int w) {
    const size_t size = static_cast<size_t>(h + 2) * (w + 2) * C * 4;
    height = h, width = w;
    weights = static_cast<float*>(aligned_alloc(64, WEIGHTS * 4));
    stats = static_cast<float*>(aligned_alloc(64, 2 * P * 4));
    for (float*& state : states) state = static_cast<float*>(memset(aligned_alloc(64, size), 0, size));
}

EXPORT(weights) float* weights_at() { return weights; }  // [w1 | b1 | w2 | b2], row by row as in PyTorch
EXPORT(state) float* state_at() { return states[0]; }

// One step; a cell fires if its word of the generator in fire.py is below `limit`, all if that is 2^32 - 1.
// wrap: whether the grid wraps round, else zeros lie beyond its edge; norm: see Shape.
EXPORT(step) void step(float leak, uint32_t seed, uint32_t limit, int t, int wrap, int norm) {
    const size_t mark = top;
    const int64_t key = seed;
    const Shape shape{1, 1, height, width, HIDDEN, norm, wrap ? 2 : 0};
    Kernel<C> kernel(shape, {weights + W1, weights + B1, weights + W2, weights + B2}, leak,
                     {nullptr, limit == UINT32_MAX ? nullptr : &key, limit, t});
    kernel.forward(states[0], 0, stats, states[1], false);
    top = mark;
    float* const next = states[1];
    states[1] = states[0], states[0] = next;
}
