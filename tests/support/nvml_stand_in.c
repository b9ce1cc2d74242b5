/* A library that speaks as much of NVML as greencv and its peers ask for, and whose GPU's true power
 * is a known function of time. Built with the system's compiler, loaded by the real pynvml.
 *
 *   STAND_IN_POWER        true power: "seconds:watts" points, joined by straight lines and repeated
 *                         after the last one's time; two points at one time are a step ("0:100")
 *   STAND_IN_ORIGIN_S     monotonic time of the first point (default: when loaded)
 *   STAND_IN_REFRESH_S    the sensor's refresh period (default 0: all the time)
 *   STAND_IN_PHASE_S      of the refreshes (default 0)
 *   STAND_IN_JITTER_S     largest deviation of a refresh from its time (default 0)
 *   STAND_IN_NOISE_W      largest deviation of the power of an instant (default 0)
 *   STAND_IN_GAIN         what the sensor tells of a true joule (default 1)
 *   STAND_IN_NO_COUNTER   no energy counter (a Pascal card)
 *   STAND_IN_STUCK        an energy counter that can be read and stands at this
 *   STAND_IN_NO_INSTANT   no field of instantaneous power
 *   STAND_IN_AVERAGED     the plain power reading is the mean of the last second (a Hopper card)
 *   STAND_IN_OFFSET_J     added to the counter, which is at least 0 (a restart: -1e9)
 *   STAND_IN_TELLS_W      what the sensor tells of the power, whatever it is
 *   STAND_IN_REFUSES      NVML's error of the counter
 *   STAND_IN_REFUSES_POWER  NVML's error of the power
 *   STAND_IN_HANGS        a reading of energy or power never returns
 *   STAND_IN_BAD_NAME     a name that is no UTF-8
 *   STAND_IN_LOST_S       lost after that many seconds
 *   STAND_IN_LOST_FILE    lost for as long as this file is there
 *   STAND_IN_PIDS         its compute processes: ids, with 0 for the one that asks ("0 4711")
 *   STAND_IN_CONTEXTS     more of them: folder of files named by ids, of which those that live count
 *   STAND_IN_OUTSIDE      added to the ids of those, as a container's processes have others outside
 *   STAND_IN_SLOWED       throttle reasons, as NVML's bits
 *   STAND_IN_MIG          split by MIG
 *   STAND_IN_GPUS         number of cards (default 1), the second of twice the power; "2 mixed": of two models
 */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OK 0
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define LOST 15
#define UUID "GPU-00000000-1111-2222-3333-44444444444"
#define POINTS 64
#define FIELD_POWER_AVERAGE 185
#define FIELD_POWER_INSTANT 186

static double times[POINTS], powers[POINTS], origin_s, loaded_s;
static char loaded[4096];
static int points;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static double setting(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text && *text ? atof(text) : otherwise;
}
/* Read the true power anew where it was changed: a process may meter one after the other. */
static void load(void) {
    const char *power = getenv("STAND_IN_POWER"), *origin = getenv("STAND_IN_ORIGIN_S"), *text;
    char wanted[sizeof loaded], *end;
    if (!loaded_s) loaded_s = now();
    snprintf(wanted, sizeof wanted, "%s;%s", power ? power : "0:100", origin ? origin : "");
    if (!strcmp(wanted, loaded)) return;
    strcpy(loaded, wanted);
    origin_s = setting("STAND_IN_ORIGIN_S", loaded_s);
    for (points = 0, text = wanted; *text != ';' && points < POINTS; points++) {
        times[points] = strtod(text, &end);
        powers[points] = strtod(end + 1, &end);
        text = end + (*end == ',');
    }
}

/* The integral of the true power from the origin, in joules. */
static double within(double t) {
    double joules = 0;
    for (int i = 0; i + 1 < points && times[i] < t; i++) {
        double width = times[i + 1] - times[i], until = fmin(t, times[i + 1]) - times[i];
        if (width > 0)
            joules += until * (powers[i] + (powers[i + 1] - powers[i]) * until / width / 2);
    }
    return joules;
}
static double energy_j(double at_s) {
    load();
    double t = at_s - origin_s, period = times[points - 1], cycles;
    if (points == 1 || period <= 0) return powers[0] * t;
    cycles = floor(t / period);
    return cycles * within(period) + within(t - cycles * period);
}
static double power_w(double at_s) {
    load();
    double t = at_s - origin_s, period = times[points - 1];
    if (points == 1 || period <= 0) return powers[0];
    t -= floor(t / period) * period;
    for (int i = 0; i + 1 < points; i++)
        if (times[i] <= t && t < times[i + 1])
            return powers[i] + (powers[i + 1] - powers[i]) * (t - times[i]) / (times[i + 1] - times[i]);
    return powers[points - 1];
}

/* When the sensor last looked. */
static double noise(long k) {
    unsigned long x = (unsigned long)k * 6364136223846793005UL + 1442695040888963407UL;
    x ^= x >> 33, x *= 0xff51afd7ed558ccdUL, x ^= x >> 33;
    return (double)(x >> 11) / 4503599627370496.0 - 1;
}
static double refreshed_s(long *which) {
    double period = setting("STAND_IN_REFRESH_S", 0), phase = setting("STAND_IN_PHASE_S", 0);
    double jitter = setting("STAND_IN_JITTER_S", 0), t = now();
    long k;
    if (period <= 0) {
        *which = (long)(t * 1e6);
        return t;
    }
    for (k = (long)floor((t - phase) / period) + 1; phase + k * period + jitter * noise(k) > t; k--);
    *which = k;
    return phase + k * period + jitter * noise(k);
}
static long card(void *handle) { return (long)handle - 1; }
/* Each card draws its number's multiple of the true power, so that none passes for another. */
static double told_power_mw(void *handle, int averaged) {
    long k;
    if (getenv("STAND_IN_TELLS_W")) return 1e3 * setting("STAND_IN_TELLS_W", 0);
    double t = refreshed_s(&k), gain = setting("STAND_IN_GAIN", 1);
    double watts = averaged ? energy_j(t) - energy_j(t - 1) : power_w(t);
    return 1e3 * gain * (1 + card(handle)) * (watts + (averaged ? 0 : setting("STAND_IN_NOISE_W", 0) * noise(~k)));
}
static int state(void) {
    const char *text = getenv("STAND_IN_LOST_S"), *file = getenv("STAND_IN_LOST_FILE");
    if (file && !access(file, F_OK)) return LOST;
    return text && now() - loaded_s > atof(text) ? LOST : OK;
}
static int reading(const char *refusal) {
    while (getenv("STAND_IN_HANGS")) sleep(1000);
    return getenv(refusal) ? (int)setting(refusal, 0) : state();
}
static int gpus(void) { return (int)setting("STAND_IN_GPUS", 1); }
static int put(char *to, unsigned size, const char *text) {
    strncpy(to, text, size);
    return OK;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return OK; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "Not Supported"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return put(to, size, "999.99"); }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = (unsigned)gpus(); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {
    *h = (void *)(long)(i + 1);
    return (int)i < gpus() ? OK : INVALID_ARGUMENT;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **h) {
    size_t length = strlen(UUID);
    int i = strlen(uuid) == length + 1 && !strncmp(uuid, UUID, length) ? '4' - uuid[length] : -1;
    *h = (void *)(long)(i + 1);
    return i >= 0 && i < gpus() ? OK : NOT_FOUND;
}
int nvmlDeviceGetUUID(void *h, char *to, unsigned size) {
    char text[80];
    snprintf(text, sizeof text, UUID "%ld", 4 - card(h));
    return put(to, size, text);
}
int nvmlDeviceGetName(void *h, char *to, unsigned size) {
    if (getenv("STAND_IN_BAD_NAME")) return put(to, size, "Stand-in \xff");
    const char *text = getenv("STAND_IN_GPUS");
    return put(to, size, card(h) && text && strstr(text, "mixed") ? "Other stand-in" : "Stand-in");
}
int nvmlDeviceGetIndex(void *h, unsigned *i) { *i = (unsigned)card(h); return OK; }
int nvmlDeviceGetArchitecture(void *h, unsigned *architecture) {
    (void)h;
    /* Hopper; Pascal, the last without a counter; Turing. */
    *architecture = getenv("STAND_IN_AVERAGED") ? 9 : getenv("STAND_IN_NO_COUNTER") ? 4 : 6;
    return OK;
}
int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) {
    *mw = (unsigned)(told_power_mw(h, getenv("STAND_IN_AVERAGED") != NULL) + 0.5);
    return reading("STAND_IN_REFUSES_POWER");
}
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int status;
    union { double d; unsigned u; unsigned long long ull; } value;
} Field;
int nvmlDeviceGetFieldValues(void *h, int n, Field *fields) {
    for (int i = 0; i < n; i++) {
        int averaged = fields[i].field == FIELD_POWER_AVERAGE;
        fields[i].status = reading("STAND_IN_REFUSES_POWER");
        if (getenv("STAND_IN_NO_INSTANT") || !(averaged || fields[i].field == FIELD_POWER_INSTANT))
            fields[i].status = NOT_SUPPORTED;
        fields[i].type = 1;
        fields[i].value.ull = 0;
        fields[i].value.u = (unsigned)(told_power_mw(h, averaged) + 0.5);
    }
    return state();
}
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
    long k;
    double scale = 1e3 * setting("STAND_IN_GAIN", 1) * (1 + card(h));
    if (getenv("STAND_IN_NO_COUNTER")) return NOT_SUPPORTED;
    if (getenv("STAND_IN_STUCK")) {
        *mj = (unsigned long long)setting("STAND_IN_STUCK", 0);
        return state();
    }
    /* Counted since long before: a driver is loaded once. */
    *mj = (unsigned long long)fmax(0, 1e12 + scale * energy_j(refreshed_s(&k)) + 1e3 * setting("STAND_IN_OFFSET_J", 0));
    return reading("STAND_IN_REFUSES");
}
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *c) { (void)h; (void)sensor; *c = 55; return state(); }
int nvmlDeviceGetClockInfo(void *h, int kind, unsigned *mhz) { (void)h; *mhz = kind == 2 ? 5000 : 1500; return state(); }
int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned *mw) { (void)h; *mw = 350000; return state(); }
int nvmlDeviceGetPowerManagementLimit(void *h, unsigned *mw) { return nvmlDeviceGetEnforcedPowerLimit(h, mw); }
int nvmlDeviceGetPowerManagementLimitConstraints(void *h, unsigned *low, unsigned *high) {
    (void)h;
    *low = 100000, *high = 350000;
    return OK;
}
typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(void *h, Utilization *to) { (void)h; *to = (Utilization){80, 40}; return state(); }
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(void *h, Memory *to) {
    (void)h;
    *to = (Memory){16ULL << 30, 12ULL << 30, 4ULL << 30};
    return state();
}
int nvmlDeviceGetComputeMode(void *h, unsigned *mode) { (void)h; *mode = 0; return OK; }
int nvmlDeviceGetPersistenceMode(void *h, unsigned *mode) { (void)h; *mode = 1; return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, unsigned long long *bits) {
    (void)h;
    *bits = (unsigned long long)setting("STAND_IN_SLOWED", 0);
    return state();
}
int nvmlDeviceGetMigMode(void *h, unsigned *current, unsigned *pending) {
    (void)h;
    *current = *pending = getenv("STAND_IN_MIG") != NULL;
    return OK;
}
typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
} Process;
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, Process *to) {
    const char *text = getenv("STAND_IN_PIDS"), *folder = getenv("STAND_IN_CONTEXTS");
    unsigned found = 0, room = *n;
    DIR *contexts = folder ? opendir(folder) : NULL;
    char *end;
    (void)h;
    for (long pid; text && (pid = strtol(text, &end, 10), end != text); text = end, found++)
        if (to && found < room) to[found] = (Process){pid ? (unsigned)pid : (unsigned)getpid(), 0, 0, 0};
    for (struct dirent *one; contexts && (one = readdir(contexts));) {
        int pid = atoi(one->d_name);
        if (pid <= 0 || kill(pid, 0)) continue;
        pid += (int)setting("STAND_IN_OUTSIDE", 0);
        if (to && found < room) to[found] = (Process){(unsigned)pid, 0, 0, 0};
        found++;
    }
    if (contexts) closedir(contexts);
    *n = found;
    return found > room || (found && !to) ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *h, unsigned *n, Process *to) {
    (void)h; (void)to;
    *n = 0;
    return OK;
}
