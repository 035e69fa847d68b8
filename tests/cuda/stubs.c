/* Stands for the CUDA driver and runtime where there are none: one device, idle, and nothing on it.

   Loaded before torch (LD_PRELOAD), so that torch finds a device and autograd, autocast and streams
   take their CUDA paths. Nothing here computes or keeps memory: made_up.py does. Each function
   succeeds; those with a result write the one that torch needs to go on. */

#include <stdlib.h>

#define SUCCEEDS(name) int name() { return 0; }
#define WRITES(name, value) int name(int *result) { *result = value; return 0; }
#define MAKES(name) int name(void **made) { *made = malloc(1); return 0; }

/* the runtime */
WRITES(cudaGetDeviceCount, 1)
WRITES(cudaGetDevice, 0)
WRITES(cudaDriverGetVersion, 13000)
WRITES(cudaRuntimeGetVersion, 13000)
WRITES(cudaDeviceGetAttribute, 1)
MAKES(cudaStreamCreateWithPriority)
MAKES(cudaEventCreateWithFlags)
SUCCEEDS(cudaSetDevice)
SUCCEEDS(cudaFuncSetAttribute)
SUCCEEDS(cudaDeviceSynchronize)
SUCCEEDS(cudaStreamSynchronize)
SUCCEEDS(cudaStreamQuery)
SUCCEEDS(cudaStreamWaitEvent)
SUCCEEDS(cudaEventRecord)
SUCCEEDS(cudaEventRecordWithFlags)
SUCCEEDS(cudaEventSynchronize)
SUCCEEDS(cudaEventQuery)
SUCCEEDS(cudaEventDestroy)
SUCCEEDS(cudaGetLastError)
SUCCEEDS(cudaPeekAtLastError)
SUCCEEDS(cudaThreadExchangeStreamCaptureMode)
int cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = 0; *most = -5; return 0; }
int cudaStreamIsCapturing(void *stream, int *state) { *state = 0; return 0; }

/* the driver, which torch opens as libcuda.so.1: the name that this file is linked under */
SUCCEEDS(cuInit)
int cuGetErrorString(int error, const char **text) { *text = ""; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return 0;
}
