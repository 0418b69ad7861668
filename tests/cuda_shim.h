// Stands in for CUDA, so that kernels.cu compiles as C++ and runs on the CPU, one block after another.
//
// A thread of a block is a fiber with a stack of its own: it runs until it ends or comes to a barrier, then the
// next one does. That is the order of a GPU as far as a correct kernel can tell; what is wrong on a GPU too
// (a barrier that some threads miss, a shuffle without all lanes) ends the process with a message.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

using std::ceil;
using std::exp;
using std::floor;
using std::fmax;
using std::fmin;
using std::sqrt;

struct Dim {
    unsigned x, y, z;
};
static Dim threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr size_t STACK_BYTES = 1 << 17;
enum State { READY, AT_BARRIER, AT_WARP_BARRIER, ENDED };

struct Fiber {
    std::vector<char> stack;
    jmp_buf place;
    bool begun = false;
    State state = ENDED;
    Dim thread;
    double exchanged;  // wide enough for all that is shuffled here
};

static std::vector<Fiber*> fibers;
static Fiber* running;
static jmp_buf scheduler;
static ucontext_t start_context;
static void (*body)();

[[noreturn]] static void refuse(const char* why) {
    std::fprintf(stderr, "kernel on the CPU: %s\n", why);
    std::abort();
}

static void fiber_main() {
    for (;;) {  // a fiber outlives its block: it runs the thread of the same number of the next one
        body();
        running->state = ENDED;
        if (!_setjmp(running->place)) _longjmp(scheduler, 1);
    }
}

static void resume(Fiber* fiber) {
    running = fiber;
    threadIdx = fiber->thread;
    if (_setjmp(scheduler)) return;
    if (fiber->begun) _longjmp(fiber->place, 1);
    fiber->begun = true;
    fiber->stack.resize(STACK_BYTES);
    getcontext(&start_context);
    start_context.uc_stack.ss_sp = fiber->stack.data();
    start_context.uc_stack.ss_size = fiber->stack.size();
    start_context.uc_link = nullptr;
    makecontext(&start_context, fiber_main, 0);
    setcontext(&start_context);
}

static void pause(State state) {
    running->state = state;
    if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}

// Let the threads [first, past) go on if all of them wait at the same kind of barrier.
static bool release(size_t first, size_t past, State barrier) {
    for (size_t i = first; i < past; i++)
        if (fibers[i]->state != barrier) return false;
    for (size_t i = first; i < past; i++) fibers[i]->state = READY;
    return true;
}

static void run_block() {
    size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
    while (fibers.size() < count) fibers.push_back(new Fiber);
    for (size_t i = 0; i < count; i++) {
        fibers[i]->state = READY;
        fibers[i]->thread = {unsigned(i % blockDim.x), unsigned(i / blockDim.x % blockDim.y),
                             unsigned(i / blockDim.x / blockDim.y)};
    }
    for (;;) {
        bool all_ended = true;
        for (size_t i = 0; i < count; i++) {
            if (fibers[i]->state == READY) resume(fibers[i]);
            all_ended = all_ended && fibers[i]->state == ENDED;
        }
        if (all_ended) return;
        bool released = release(0, count, AT_BARRIER);
        for (size_t i = 0; i + 32 <= count; i += 32) released |= release(i, i + 32, AT_WARP_BARRIER);
        if (!released) refuse("some threads wait at a barrier that others never reach");
    }
}

template <class... Arguments>
void launch(void (*kernel)(Arguments...), const unsigned* grid, const unsigned* block, void** arguments) {
    static std::tuple<Arguments...> values;
    static void (*function)(Arguments...);
    function = kernel;
    size_t place = 0;
    std::apply([&](auto&... value) { (std::memcpy(&value, arguments[place++], sizeof(value)), ...); }, values);
    body = [] { std::apply(function, values); };
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                run_block();
            }
}

}  // namespace shim

inline void __syncthreads() { shim::pause(shim::AT_BARRIER); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
    static_assert(sizeof(T) <= sizeof(double), "too wide to be shuffled");
    if (mask != 0xffffffffu) shim::refuse("a shuffle without all lanes");
    std::memcpy(&shim::running->exchanged, &value, sizeof(T));
    size_t me = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    shim::pause(shim::AT_WARP_BARRIER);
    std::memcpy(&value, &shim::fibers[me ^ (size_t)with]->exchanged, sizeof(T));
    shim::pause(shim::AT_WARP_BARRIER);
    return value;
}

inline int atomicAdd(int* address, int value) {
    int before = *address;
    *address += value;
    return before;
}

inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

inline float from_half(unsigned short bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                  : exponent    ? std::ldexp(1024.0f + fraction, exponent - 25)
                                : std::ldexp((float)fraction, -24);
    return bits >> 15 ? -value : value;
}

inline unsigned short to_half(float value) {  // to the nearest, of two as near the even one
    unsigned sign = __float_as_uint(value) >> 31 << 15;
    float size = std::fabs(value);
    if (std::isnan(value)) return (unsigned short)(sign | 0x7e00);
    if (size >= 65520.0f) return (unsigned short)(sign | 0x7c00);
    if (size == 0) return (unsigned short)sign;
    int exponent;
    std::frexp(size, &exponent);
    int step = exponent - 11 < -24 ? -24 : exponent - 11;
    unsigned units = (unsigned)std::nearbyint(std::ldexp(size, -step));
    if (step == -24) return (unsigned short)(sign | units);
    return (unsigned short)(sign | (((unsigned)(step + 24) << 10) + units));
}
