/* A library that speaks as much of NVML as greencv asks for: one GPU of constant power.
 * Built by the tests with the system's compiler and loaded by the real pynvml.
 *   STAND_IN_POWER_MW   its power (default 100000)
 *   STAND_IN_NO_COUNTER no energy counter
 *   STAND_IN_LOST_S     lost after that many seconds
 *   STAND_IN_PIDS       its compute processes: ids, with 0 for the one that asks ("0 4711")
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OK 0
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define LOST 15
#define UUID "GPU-00000000-1111-2222-3333-444444444444"

static double started;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static double power_mw(void) {
    const char *text = getenv("STAND_IN_POWER_MW");
    return text ? atof(text) : 100000.0;
}
static int lost(void) {
    const char *text = getenv("STAND_IN_LOST_S");
    return text && now() - started > atof(text);
}
static int put(char *to, unsigned size, const char *text) {
    strncpy(to, text, size);
    return OK;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; if (!started) started = now(); return OK; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)1; return i ? NOT_FOUND : OK; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **h) {
    *h = (void *)1;
    return strcmp(uuid, UUID) ? NOT_FOUND : OK;
}
int nvmlDeviceGetUUID(void *h, char *to, unsigned size) { (void)h; return put(to, size, UUID); }
int nvmlDeviceGetName(void *h, char *to, unsigned size) { (void)h; return put(to, size, "Stand-in"); }
int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) {
    (void)h;
    *mw = (unsigned)power_mw();
    return lost() ? LOST : OK;
}
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
    (void)h;
    if (getenv("STAND_IN_NO_COUNTER")) return NOT_SUPPORTED;
    *mj = (unsigned long long)(123456789.0 + (now() - started) * power_mw());
    return lost() ? LOST : OK;
}
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *c) { (void)h; (void)sensor; *c = 55; return OK; }
typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
} Process;
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, Process *to) {
    const char *text = getenv("STAND_IN_PIDS");
    unsigned found = 0, room = *n;
    char *end;
    (void)h;
    for (long pid; text && (pid = strtol(text, &end, 10), end != text); text = end, found++)
        if (to && found < room) to[found] = (Process){pid ? (unsigned)pid : (unsigned)getpid(), 0, 0, 0};
    *n = found;
    return found > room || (found && !to) ? INSUFFICIENT_SIZE : OK;
}
