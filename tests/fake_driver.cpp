// Stands in for libcuda.so.1: the driver's functions that a Device calls, over the host's memory.
//
// Kernels are those of kernels.cu, on the CPU. A call without a current context, with memory, a stream, an event
// or a module that is not there, or beyond the memory there is, gets the error that the real driver gives.
// FAKE_DRIVER_VERSION, FAKE_DRIVER_DEVICES and FAKE_DRIVER_POOLS choose what kind of machine it is.
#include <dlfcn.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "cuda_shim.h"
#include "kernels.cu"

typedef int Result;
typedef void* Handle;
typedef unsigned long long Address;
typedef std::function<void()> Task;

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNSUPPORTED = 900,
};

static const size_t TOTAL = 1ull << 30;
static size_t used, pooled;  // bytes; pooled ones were freed, and are given back when somebody waits
static std::map<Address, size_t> memory, pinned;
static std::map<Handle, std::vector<Task>*> streams;  // and what is recorded on them, or null
static std::set<Handle> events, modules, graphs;
static int kept;
static thread_local std::vector<Handle> contexts;

#define EXPORT extern "C" __attribute__((visibility("default")))
#define NEEDS(condition, error) \
    if (!(condition)) return error
#define NEEDS_CONTEXT NEEDS(!contexts.empty(), INVALID_CONTEXT)

static int from_environment(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}

static bool inside(const std::map<Address, size_t>& where, Address address, size_t size) {
    auto after = where.upper_bound(address);
    return after != where.begin() && address + size <= (--after)->first + after->second;
}

static Result put(Handle stream, Task task) {
    NEEDS_CONTEXT;
    auto found = streams.find(stream);
    NEEDS(found != streams.end(), INVALID_HANDLE);
    if (found->second)
        found->second->push_back(task);
    else
        task();
    return SUCCESS;
}

EXPORT Result cuInit(unsigned) {
    streams[nullptr] = nullptr;
    return from_environment("FAKE_DRIVER_DEVICES", 1) ? SUCCESS : NO_DEVICE;
}
EXPORT Result cuDriverGetVersion(int* version) {
    *version = from_environment("FAKE_DRIVER_VERSION", 13000);
    return SUCCESS;
}
EXPORT Result cuDeviceGetCount(int* count) {
    *count = from_environment("FAKE_DRIVER_DEVICES", 1);
    return SUCCESS;
}
EXPORT Result cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal ? 101 : SUCCESS;
}
EXPORT Result cuDeviceGetName(char* name, int length, int) {
    std::strncpy(name, "GPU made of paper", length);
    return SUCCESS;
}
EXPORT Result cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 6 : attribute == 115 ? from_environment("FAKE_DRIVER_POOLS", 1) : 0;
    return SUCCESS;
}
EXPORT Result cuDeviceComputeCapability(int* major, int* minor, int) {
    *major = 8, *minor = 6;
    return SUCCESS;
}
EXPORT Result cuDevicePrimaryCtxRetain(Handle* context, int) {
    kept++;
    *context = &kept;
    return SUCCESS;
}
EXPORT Result cuDevicePrimaryCtxRelease(int) {
    NEEDS(kept-- > 0, INVALID_CONTEXT);
    return SUCCESS;
}
EXPORT Result cuCtxPushCurrent(Handle context) {
    NEEDS(context == &kept && kept > 0, INVALID_CONTEXT);
    contexts.push_back(context);
    return SUCCESS;
}
EXPORT Result cuCtxPopCurrent(Handle* context) {
    NEEDS_CONTEXT;
    *context = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}
EXPORT Result cuCtxGetDevice(int* device) {
    NEEDS_CONTEXT;
    *device = 0;
    return SUCCESS;
}

static Result take(std::map<Address, size_t>& where, Address* address, size_t size) {
    NEEDS_CONTEXT;
    NEEDS(size, INVALID_VALUE);
    NEEDS(used + size <= TOTAL, OUT_OF_MEMORY);
    void* place = std::aligned_alloc(256, (size + 255) / 256 * 256);
    std::memset(place, 0xAB, size);
    *address = (Address)place;
    where[*address] = size;
    used += size;
    return SUCCESS;
}
static Result give(std::map<Address, size_t>& where, Address address) {
    NEEDS_CONTEXT;
    auto found = where.find(address);
    NEEDS(found != where.end(), INVALID_VALUE);
    used -= found->second;
    where.erase(found);
    std::free((void*)address);
    return SUCCESS;
}
EXPORT Result cuMemAlloc(Address* address, size_t size) { return take(memory, address, size); }
EXPORT Result cuMemFree(Address address) { return give(memory, address); }
EXPORT Result cuMemAllocAsync(Address* address, size_t size, Handle stream) {
    NEEDS(from_environment("FAKE_DRIVER_POOLS", 1) && streams.count(stream), INVALID_HANDLE);
    return take(memory, address, size);
}
EXPORT Result cuMemFreeAsync(Address address, Handle stream) {
    NEEDS(from_environment("FAKE_DRIVER_POOLS", 1) && streams.count(stream), INVALID_HANDLE);
    size_t before = used;
    Result result = give(memory, address);
    pooled += before - used;
    used = before;
    return result;
}
EXPORT Result cuMemHostAlloc(void** address, size_t size, unsigned) { return take(pinned, (Address*)address, size); }
EXPORT Result cuMemFreeHost(void* address) { return give(pinned, (Address)address); }
EXPORT Result cuMemGetInfo(size_t* free, size_t* total) {
    NEEDS_CONTEXT;
    *free = TOTAL - used, *total = TOTAL;
    return SUCCESS;
}
EXPORT Result cuMemcpyHtoDAsync(Address to, const void* from, size_t size, Handle stream) {
    NEEDS(inside(memory, to, size) && inside(pinned, (Address)from, size), INVALID_VALUE);
    return put(stream, [=] { std::memcpy((void*)to, from, size); });
}
EXPORT Result cuMemcpyDtoHAsync(void* to, Address from, size_t size, Handle stream) {
    NEEDS(inside(memory, from, size) && inside(pinned, (Address)to, size), INVALID_VALUE);
    return put(stream, [=] { std::memcpy(to, (void*)from, size); });
}
EXPORT Result cuMemsetD8Async(Address to, unsigned char value, size_t size, Handle stream) {
    NEEDS(inside(memory, to, size), INVALID_VALUE);
    return put(stream, [=] { std::memset((void*)to, value, size); });
}

static Result open_in(std::set<Handle>& where, Handle* handle) {
    NEEDS_CONTEXT;
    *handle = std::malloc(16);
    where.insert(*handle);
    return SUCCESS;
}
static Result close_in(std::set<Handle>& where, Handle handle) {
    NEEDS_CONTEXT;
    return where.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

EXPORT Result cuStreamCreate(Handle* stream, unsigned flags) {
    NEEDS_CONTEXT;
    NEEDS(flags == 1, INVALID_VALUE);
    *stream = std::malloc(16);
    streams[*stream] = nullptr;
    return SUCCESS;
}
EXPORT Result cuStreamDestroy(Handle stream) {
    NEEDS_CONTEXT;
    return streams.erase(stream) ? SUCCESS : INVALID_HANDLE;
}
EXPORT Result cuStreamSynchronize(Handle stream) {
    NEEDS(!streams.count(stream) || !streams[stream], CAPTURE_UNSUPPORTED);
    used -= pooled;
    pooled = 0;
    return put(stream, [] {});
}
EXPORT Result cuStreamWaitEvent(Handle stream, Handle event, unsigned) {
    NEEDS(events.count(event), INVALID_HANDLE);
    return put(stream, [] {});
}
EXPORT Result cuEventCreate(Handle* event, unsigned) { return open_in(events, event); }
EXPORT Result cuEventDestroy(Handle event) { return close_in(events, event); }
EXPORT Result cuEventRecord(Handle event, Handle stream) {
    NEEDS(events.count(event), INVALID_HANDLE);
    return put(stream, [] {});
}
EXPORT Result cuEventSynchronize(Handle event) {
    NEEDS_CONTEXT;
    return events.count(event) ? SUCCESS : INVALID_HANDLE;
}
EXPORT Result cuEventElapsedTime(float* ms, Handle start, Handle end) {
    NEEDS(events.count(start) && events.count(end), INVALID_HANDLE);
    *ms = 1.5;
    return SUCCESS;
}

EXPORT Result cuModuleLoadData(Handle* module, const void* image) {
    NEEDS(!std::memcmp(image, "\x7f" "ELF", 4), INVALID_IMAGE);
    return open_in(modules, module);
}
EXPORT Result cuModuleLoadDataEx(Handle* module, const void* image, unsigned count, int* options, void** values) {
    for (unsigned i = 0; i < count; i++)
        if (options[i] == 4 || options[i] == 6) values[i] = nullptr;  // sizes of logs: nothing was said
    return cuModuleLoadData(module, image);
}
EXPORT Result cuModuleUnload(Handle module) { return close_in(modules, module); }

struct Function {
    const char* name;
    void (*kernel)(const Plan*, const Upload*);
};
static Function functions[] = {{"letterbox", letterbox}, {"candidates", candidates}, {"rank", rank},
                               {"choose", choose},       {"weigh", weigh},           {"pool", pool},
                               {"describe", describe},   {"project", project}};

EXPORT Result cuModuleGetFunction(Handle* function, Handle module, const char* name) {
    NEEDS_CONTEXT;
    NEEDS(modules.count(module), INVALID_HANDLE);
    for (Function& one : functions)
        if (!std::strcmp(one.name, name)) {
            *function = &one;
            return SUCCESS;
        }
    return NOT_FOUND;
}
EXPORT Result cuFuncSetBlockShape(Handle, int, int, int) { return SUCCESS; }  // PyCUDA's; the launch says it again
EXPORT Result cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned, Handle stream, void** arguments, void** extra) {
    Address values[2];
    for (int i = 0; i < 2; i++) std::memcpy(&values[i], arguments ? arguments[i] : (char*)extra[1] + 8 * i, 8);
    NEEDS(inside(memory, values[0], sizeof(Plan)) && inside(memory, values[1], sizeof(Upload)), INVALID_VALUE);
    return put(stream, [=] {
        unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        void* places[2] = {(void*)&values[0], (void*)&values[1]};
        shim::launch(((Function*)function)->kernel, grid, block, places);
    });
}

EXPORT Result cuStreamBeginCapture(Handle stream, int mode) {
    NEEDS_CONTEXT;
    NEEDS(stream && streams.count(stream) && !streams[stream] && mode == 1, INVALID_VALUE);
    streams[stream] = new std::vector<Task>;
    return SUCCESS;
}
EXPORT Result cuStreamEndCapture(Handle stream, Handle* graph) {
    NEEDS_CONTEXT;
    NEEDS(streams.count(stream) && streams[stream], INVALID_VALUE);
    *graph = streams[stream];
    graphs.insert(*graph);
    streams[stream] = nullptr;
    return SUCCESS;
}
EXPORT Result cuGraphInstantiateWithFlags(Handle* executable, Handle graph, unsigned long long) {
    NEEDS(graphs.count(graph), INVALID_VALUE);
    *executable = new std::vector<Task>(*(std::vector<Task>*)graph);
    graphs.insert(*executable);
    return SUCCESS;
}
EXPORT Result cuGraphLaunch(Handle executable, Handle stream) {
    NEEDS(graphs.count(executable), INVALID_VALUE);
    for (Task& task : *(std::vector<Task>*)executable)
        if (Result error = put(stream, task)) return error;
    return SUCCESS;
}
EXPORT Result cuGraphDestroy(Handle graph) { return close_in(graphs, graph); }
EXPORT Result cuGraphExecDestroy(Handle graph) { return close_in(graphs, graph); }

EXPORT Result cuGetErrorString(Result error, const char** text) {
    *text = error == INVALID_VALUE ? "invalid argument" : "made of paper";
    return SUCCESS;
}
EXPORT Result cuGetErrorName(Result, const char** text) {
    *text = "CUDA_ERROR";
    return SUCCESS;
}

// How many things were not given back; asked by the tests, no part of the driver.
EXPORT int fake_driver_holds() {
    return (int)(memory.size() + pinned.size() + streams.size() - 1 + events.size() + modules.size() + graphs.size()) + kept;
}

EXPORT Result cuGetProcAddress_v2(const char* symbol, void** function, int, Address, int* status) {
    *function = dlsym(RTLD_DEFAULT, symbol);
    if (!*function) {
        static void* self = dlopen(std::getenv("FAKE_DRIVER_PATH"), RTLD_NOW | RTLD_NOLOAD);
        *function = dlsym(self, symbol);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? SUCCESS : NOT_FOUND;
}
EXPORT Result cuGetProcAddress(const char* symbol, void** function, int version, Address flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}

#ifdef MORE_NAMES  // PyCUDA is linked against the library: whatever else it names must be there
#include MORE_NAMES
#endif
