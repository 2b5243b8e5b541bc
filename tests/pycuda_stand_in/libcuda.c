/* A CUDA driver without a GPU: "device" memory is host memory, and what is queued on a stream runs when the stream, or
 * an event behind it, is waited for, not before. With it pycuda itself runs on any machine that has it installed, so that the calls of
 * model/runners/cuda.py meet pycuda's real code. It proves nothing about a GPU. Test aid; never installed.
 *
 * STAND_IN_BYTES: how much memory the device has (1 MiB if not given). STAND_IN_FAULT: an error number that the next
 * wait gives. */
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_READY = 600, NOT_SUPPORTED = 801, LONGEST_QUEUE = 4096 };
typedef unsigned long long address;
struct block { address at; size_t bytes; struct block *next; };
struct copy { void *target; const void *source; size_t bytes; };
struct stream { struct copy queue[LONGEST_QUEUE]; int queued, done; };
struct event { struct stream *stream; int behind; };

static struct block *blocks;
static int depth, context_object;

static size_t total(void) { const char *given = getenv("STAND_IN_BYTES"); return given ? strtoull(given, NULL, 10) : 1 << 20; }
static size_t used(void) { size_t sum = 0; for (struct block *b = blocks; b; b = b->next) sum += b->bytes; return sum; }

/* A copy must lie inside one allocation, and needs a current context. */
static int inside(address at, size_t bytes) {
    for (struct block *b = blocks; b; b = b->next) if (at >= b->at && at + bytes <= b->at + b->bytes) return 1;
    return 0;
}
static int enqueue(struct stream *s, void *target, const void *source, size_t bytes) {
    if (!s || s->queued == LONGEST_QUEUE || depth == 0) return INVALID_VALUE;
    s->queue[s->queued++] = (struct copy){target, source, bytes};
    return OK;
}
static int do_until(struct stream *s, int count) {
    const char *fault = getenv("STAND_IN_FAULT");
    for (; s->done < count; s->done++) memcpy(s->queue[s->done].target, s->queue[s->done].source, s->queue[s->done].bytes);
    return fault ? atoi(fault) : OK;
}

int cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
int cuDriverGetVersion(int *version) { *version = 13000; return OK; }
int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int index) { if (index) return 101; *device = 0; return OK; }
int cuDeviceGetName(char *name, int length, int device) { (void)device; strncpy(name, "Stand-in", length); return OK; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { (void)device; *major = 9, *minor = 0; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { (void)device; *value = attribute == 75 ? 9 : 0; return OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = total(); return OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = &context_object; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return OK; }
int cuCtxPushCurrent_v2(void *context) { (void)context; depth++; return OK; }
int cuCtxPopCurrent_v2(void **context) { if (!depth) return 201; depth--; if (context) *context = &context_object; return OK; }
int cuCtxGetDevice(int *device) { *device = 0; return depth ? OK : 201; }
int cuCtxAttach(void **context, unsigned flags) { (void)flags; *context = &context_object; return OK; }
int cuCtxDetach(void *context) { (void)context; return OK; }
int cuCtxGetApiVersion(void *context, unsigned *version) { (void)context; *version = 13000; return OK; }
int cuCtxSynchronize(void) { return OK; }
int cuGetErrorString(int error, const char **text) { *text = error == OUT_OF_MEMORY ? "out of memory" : "a fault"; return OK; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *bytes) { *bytes = total(), *free_bytes = total() - used(); return depth ? OK : 201; }
int cuMemAlloc_v2(address *at, size_t bytes) {
    if (!depth) return 201;
    if (!bytes) return INVALID_VALUE;
    if (used() + bytes > total()) return OUT_OF_MEMORY;
    struct block *b = malloc(sizeof *b);
    *b = (struct block){(address)malloc(bytes), bytes, blocks};
    blocks = b, *at = b->at;
    return OK;
}
int cuMemFree_v2(address at) {
    for (struct block **b = &blocks; *b; b = &(*b)->next)
        if ((*b)->at == at) { struct block *gone = *b; *b = gone->next; free((void *)gone->at); free(gone); return OK; }
    return INVALID_VALUE;
}
int cuMemHostAlloc(void **at, size_t bytes, unsigned flags) { (void)flags; *at = malloc(bytes ? bytes : 1); return depth ? OK : 201; }
int cuMemFreeHost(void *at) { free(at); return OK; }
int cuMemcpyHtoDAsync_v2(address target, const void *source, size_t bytes, void *stream) {
    return inside(target, bytes) ? enqueue(stream, (void *)target, source, bytes) : INVALID_VALUE;
}
int cuMemcpyDtoHAsync_v2(void *target, address source, size_t bytes, void *stream) {
    return inside(source, bytes) ? enqueue(stream, target, (void *)source, bytes) : INVALID_VALUE;
}
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = calloc(1, sizeof(struct stream)); return depth ? OK : 201; }
int cuStreamDestroy_v2(void *stream) { free(stream); return OK; }
int cuStreamSynchronize(void *stream) { struct stream *s = stream; return do_until(s, s->queued); }
int cuEventCreate(void **event, unsigned flags) { (void)flags; *event = calloc(1, sizeof(struct event)); return depth ? OK : 201; }
int cuEventDestroy_v2(void *event) { free(event); return OK; }
int cuEventRecord(void *event, void *stream) {
    struct stream *s = stream;
    *(struct event *)event = (struct event){s, s->queued};
    return depth ? OK : 201;
}
int cuEventQuery(void *event) {
    struct event *e = event;
    return !depth ? 201 : e->stream->done >= e->behind ? OK : NOT_READY;
}
int cuEventSynchronize(void *event) { struct event *e = event; return depth ? do_until(e->stream, e->behind) : 201; }

/* What pycuda links to and this project never calls. */
#define UNUSED(name) int name(void) { return NOT_SUPPORTED; }
UNUSED(cuArray3DCreate_v2) UNUSED(cuArray3DGetDescriptor_v2) UNUSED(cuArrayCreate_v2) UNUSED(cuArrayDestroy)
UNUSED(cuArrayGetDescriptor_v2) UNUSED(cuCtxCreate_v4) UNUSED(cuCtxDisablePeerAccess) UNUSED(cuCtxEnablePeerAccess)
UNUSED(cuCtxGetCacheConfig) UNUSED(cuCtxGetLimit) UNUSED(cuCtxGetSharedMemConfig) UNUSED(cuCtxSetCacheConfig)
UNUSED(cuCtxSetLimit) UNUSED(cuCtxSetSharedMemConfig) UNUSED(cuDeviceCanAccessPeer) UNUSED(cuDeviceGetByPCIBusId)
UNUSED(cuDeviceGetPCIBusId) UNUSED(cuEventElapsedTime_v2) UNUSED(cuFuncGetAttribute)
UNUSED(cuFuncSetAttribute) UNUSED(cuFuncSetBlockShape) UNUSED(cuFuncSetCacheConfig) UNUSED(cuFuncSetSharedSize)
UNUSED(cuIpcCloseMemHandle) UNUSED(cuIpcGetEventHandle) UNUSED(cuIpcGetMemHandle) UNUSED(cuIpcOpenEventHandle)
UNUSED(cuIpcOpenMemHandle_v2) UNUSED(cuLaunch) UNUSED(cuLaunchGrid) UNUSED(cuLaunchGridAsync) UNUSED(cuLaunchKernel)
UNUSED(cuLinkAddData_v2) UNUSED(cuLinkAddFile_v2) UNUSED(cuLinkComplete) UNUSED(cuLinkCreate_v2)
UNUSED(cuLinkDestroy) UNUSED(cuMemAllocManaged) UNUSED(cuMemAllocPitch_v2) UNUSED(cuMemGetAddressRange_v2)
UNUSED(cuMemHostGetDevicePointer_v2) UNUSED(cuMemHostGetFlags) UNUSED(cuMemHostRegister_v2)
UNUSED(cuMemHostUnregister) UNUSED(cuMemcpy2DAsync_v2) UNUSED(cuMemcpy2DUnaligned_v2) UNUSED(cuMemcpy2D_v2)
UNUSED(cuMemcpy3DAsync_v2) UNUSED(cuMemcpy3DPeer) UNUSED(cuMemcpy3DPeerAsync) UNUSED(cuMemcpy3D_v2)
UNUSED(cuMemcpyAtoA_v2) UNUSED(cuMemcpyAtoD_v2) UNUSED(cuMemcpyAtoH_v2) UNUSED(cuMemcpyDtoA_v2)
UNUSED(cuMemcpyDtoDAsync_v2) UNUSED(cuMemcpyDtoD_v2) UNUSED(cuMemcpyDtoH_v2) UNUSED(cuMemcpyHtoA_v2)
UNUSED(cuMemcpyHtoD_v2) UNUSED(cuMemcpyPeer) UNUSED(cuMemcpyPeerAsync) UNUSED(cuMemsetD16Async)
UNUSED(cuMemsetD16_v2) UNUSED(cuMemsetD2D16Async) UNUSED(cuMemsetD2D16_v2) UNUSED(cuMemsetD2D32Async)
UNUSED(cuMemsetD2D32_v2) UNUSED(cuMemsetD2D8Async) UNUSED(cuMemsetD2D8_v2) UNUSED(cuMemsetD32Async)
UNUSED(cuMemsetD32_v2) UNUSED(cuMemsetD8Async) UNUSED(cuMemsetD8_v2) UNUSED(cuModuleGetFunction)
UNUSED(cuModuleGetGlobal_v2) UNUSED(cuModuleGetSurfRef) UNUSED(cuModuleGetTexRef) UNUSED(cuModuleLoad)
UNUSED(cuModuleLoadData) UNUSED(cuModuleLoadDataEx) UNUSED(cuModuleUnload) UNUSED(cuParamSetSize)
UNUSED(cuParamSetTexRef) UNUSED(cuParamSetf) UNUSED(cuParamSeti) UNUSED(cuParamSetv) UNUSED(cuProfilerInitialize)
UNUSED(cuProfilerStart) UNUSED(cuProfilerStop) UNUSED(cuStreamAttachMemAsync) UNUSED(cuStreamQuery)
UNUSED(cuStreamWaitEvent) UNUSED(cuSurfRefGetArray) UNUSED(cuSurfRefSetArray) UNUSED(cuTexRefCreate)
UNUSED(cuTexRefDestroy) UNUSED(cuTexRefGetAddressMode) UNUSED(cuTexRefGetAddress_v2) UNUSED(cuTexRefGetArray)
UNUSED(cuTexRefGetFilterMode) UNUSED(cuTexRefGetFlags) UNUSED(cuTexRefGetFormat) UNUSED(cuTexRefSetAddress2D_v3)
UNUSED(cuTexRefSetAddressMode) UNUSED(cuTexRefSetAddress_v2) UNUSED(cuTexRefSetArray) UNUSED(cuTexRefSetFilterMode)
UNUSED(cuTexRefSetFlags) UNUSED(cuTexRefSetFormat)
