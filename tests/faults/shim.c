/* A disk that fails at its n-th call: LD_PRELOAD this, and arm it through ctypes.

   Only calls below FAULTS_ROOT count: on paths below it, on relative paths (the program's working
   folder is there), and on handles that were opened so. Which calls count, and whether the disk
   fails once or from then on, is said by faults_arm. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, REMOVALS = 4, HANDLES = 65536 };

static char ours[HANDLES];
static atomic_long *calls; /* shared with the processes that the command starts */
static long fail_at = -1;
static int classes, error_number, for_good;

void faults_arm(int which, long at, int number, int stays) {
    classes = which, error_number = number, for_good = stays;
    fail_at = -1;
    if (!calls)
        calls = mmap(0, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    atomic_store(calls, 0);
    fail_at = at;
}

long faults_count(void) { return atomic_load(calls); }

static int fails(int class) {
    if (!calls || !(classes & class)) return 0;
    long now = atomic_fetch_add(calls, 1) + 1;
    if (fail_at < 0 || now < fail_at || (now > fail_at && !for_good)) return 0;
    errno = error_number;
    return 1;
}

static int below(const char *path) {
    const char *root = getenv("FAULTS_ROOT");
    if (!path || !root) return 0;
    return path[0] != '/' || !strncmp(path, root, strlen(root));
}

static int held(int handle) { return handle >= 0 && handle < HANDLES && ours[handle]; }

static int opened(int handle, int mine) {
    if (handle >= 0 && handle < HANDLES) ours[handle] = mine;
    return handle;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        mode_t mode = 0;                                                                        \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                    \
            va_list rest;                                                                       \
            va_start(rest, flags);                                                              \
            mode = va_arg(rest, mode_t);                                                        \
            va_end(rest);                                                                       \
        }                                                                                       \
        int mine = below(path);                                                                 \
        int class = flags & (O_WRONLY | O_RDWR | O_CREAT) ? WRITES : READS;                     \
        if (mine && fails(class)) return -1;                                            \
        return opened(REAL(name)(path, flags, mode), mine);                                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                            \
    int name(int folder, const char *path, int flags, ...) {                                    \
        mode_t mode = 0;                                                                        \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                    \
            va_list rest;                                                                       \
            va_start(rest, flags);                                                              \
            mode = va_arg(rest, mode_t);                                                        \
            va_end(rest);                                                                       \
        }                                                                                       \
        int mine = path[0] == '/' || folder == AT_FDCWD ? below(path) : held(folder);           \
        int class = flags & (O_WRONLY | O_RDWR | O_CREAT) ? WRITES : READS;                     \
        if (mine && fails(class)) return -1;                                            \
        return opened(REAL(name)(folder, path, flags, mode), mine);                             \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int handle) {
    if (handle >= 0 && handle < HANDLES) ours[handle] = 0;
    return REAL(close)(handle);
}

#define ON_HANDLE(type, name, class, parameters, arguments)                                     \
    type name parameters {                                                                      \
        if (held(handle) && fails(class)) return -1;                                     \
        return REAL(name) arguments;                                                            \
    }
ON_HANDLE(ssize_t, read, READS, (int handle, void *to, size_t n), (handle, to, n))
ON_HANDLE(ssize_t, pread, READS, (int handle, void *to, size_t n, off_t at), (handle, to, n, at))
ON_HANDLE(ssize_t, pread64, READS, (int handle, void *to, size_t n, off64_t at),
          (handle, to, n, at))
ON_HANDLE(ssize_t, readv, READS, (int handle, const struct iovec *v, int n), (handle, v, n))
ON_HANDLE(ssize_t, write, WRITES, (int handle, const void *from, size_t n), (handle, from, n))
ON_HANDLE(ssize_t, pwrite, WRITES, (int handle, const void *from, size_t n, off_t at),
          (handle, from, n, at))
ON_HANDLE(ssize_t, pwrite64, WRITES, (int handle, const void *from, size_t n, off64_t at),
          (handle, from, n, at))
ON_HANDLE(ssize_t, writev, WRITES, (int handle, const struct iovec *v, int n), (handle, v, n))
ON_HANDLE(int, fsync, WRITES, (int handle), (handle))
ON_HANDLE(int, fdatasync, WRITES, (int handle), (handle))
ON_HANDLE(int, ftruncate, WRITES, (int handle, off_t n), (handle, n))
ON_HANDLE(int, ftruncate64, WRITES, (int handle, off64_t n), (handle, n))

ssize_t sendfile(int to, int from, off_t *at, size_t n) {
    if (held(to) && fails(WRITES)) return -1;
    return REAL(sendfile)(to, from, at, n);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t n) {
    if (held(to) && fails(WRITES)) return -1;
    return REAL(sendfile64)(to, from, at, n);
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    if (held(to) && fails(WRITES)) return -1;
    return REAL(copy_file_range)(from, a, to, b, n, flags);
}

#define MMAP(name, offset)                                                                      \
    void *name(void *at, size_t n, int how, int flags, int handle, offset from) {               \
        if (held(handle) && fails(READS)) return MAP_FAILED;                            \
        return REAL(name)(at, n, how, flags, handle, from);                                     \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

#define ON_PATH(name, class, parameters, arguments)                                             \
    int name parameters {                                                                       \
        if (below(path) && fails(class)) return -1;                                      \
        return REAL(name) arguments;                                                            \
    }
ON_PATH(mkdir, WRITES, (const char *path, mode_t mode), (path, mode))
ON_PATH(rename, WRITES, (const char *path, const char *to), (path, to))
ON_PATH(link, WRITES, (const char *from, const char *path), (from, path))
ON_PATH(symlink, WRITES, (const char *target, const char *path), (target, path))
ON_PATH(truncate, WRITES, (const char *path, off_t n), (path, n))
ON_PATH(unlink, REMOVALS, (const char *path), (path))
ON_PATH(rmdir, REMOVALS, (const char *path), (path))
ON_PATH(remove, REMOVALS, (const char *path), (path))

int unlinkat(int folder, const char *path, int flags) {
    int mine = path[0] == '/' || folder == AT_FDCWD ? below(path) : held(folder);
    if (mine && fails(REMOVALS)) return -1;
    return REAL(unlinkat)(folder, path, flags);
}

DIR *opendir(const char *path) {
    if (below(path) && fails(READS)) return NULL;
    return REAL(opendir)(path);
}
DIR *fdopendir(int handle) {
    if (held(handle) && fails(READS)) return NULL;
    return REAL(fdopendir)(handle);
}
