/* Counts the calls by which processes change what lies below a directory, and kills them at the k-th.

   Preloaded into an implementation, it stands between the program and its C library. All processes of one
   implementation share one control file (mapped from SCF_KILL_CONTROL), which holds the switch, the number of the
   deadly call, the count and a table of the calls so far. Only calls below SCF_KILL_DIR count, and only while the
   switch is on.

   Out of reach: programs that enter the kernel by themselves (statically linked ones, Go), writing through mmap,
   io_uring, ioctl (reflinks), and what stdio writes of its own accord; fopen, fwrite, fflush and fclose do count.
   Offsets have 64 bits in all calls, as on every 64-bit Linux. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "offsets have 64 bits");

enum { CAPACITY = 16384 };

struct call {
    int32_t pid;
    char name[20];
    char path[1000];
};

struct control { /* killer.py knows this layout */
    uint32_t armed;
    uint32_t after;  /* the deadly call takes effect first */
    uint32_t spared; /* process group of the runner, which is not killed as a group */
    uint32_t attached;
    uint32_t killed;
    uint32_t unused;
    uint64_t at; /* number of the deadly call; 0: none */
    uint64_t count;
    char rest[sizeof(struct call) - 40];
    struct call calls[CAPACITY];
};

_Static_assert(sizeof(struct call) == 1024 && offsetof(struct control, calls) == 1024, "as killer.py has it");

static struct control *control;
static char directory[PATH_MAX];
static size_t directory_length;

__attribute__((constructor)) static void attach(void) {
    const char *file = getenv("SCF_KILL_CONTROL"), *below = getenv("SCF_KILL_DIR");
    if (!file || !below || strlen(below) >= sizeof directory)
        return;
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (found == MAP_FAILED)
        return;
    strcpy(directory, below);
    directory_length = strlen(directory);
    control = found;
    __atomic_add_fetch(&control->attached, 1, __ATOMIC_SEQ_CST);
}

__attribute__((noreturn)) static void die(void) {
    __atomic_store_n(&control->killed, 1, __ATOMIC_SEQ_CST);
    if ((uint32_t)getpgrp() == control->spared)
        kill(getpid(), SIGKILL);
    else
        kill(0, SIGKILL);
    for (;;)
        pause();
}

static int armed(void) {
    return control && __atomic_load_n(&control->armed, __ATOMIC_SEQ_CST);
}

/* Count a call; give its number. The calls of other threads after the deadly one wait for their end. */
static uint64_t count_call(const char *name, const char *path) {
    uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (number <= CAPACITY) {
        struct call *call = &control->calls[number - 1];
        snprintf(call->name, sizeof call->name, "%s", name);
        snprintf(call->path, sizeof call->path, "%s", path);
        __atomic_store_n(&call->pid, (int32_t)getpid(), __ATOMIC_SEQ_CST);
    }
    uint64_t at = control->at;
    if (!at || number < at || (number == at && control->after))
        return number;
    for (int i = 0; number > at && i < 100; i++)
        usleep(100000);
    die();
}

/* The end of a call that began as this number; 0 for one that does not count. */
static void end_call(uint64_t number) {
    if (number && number == control->at)
        die();
}

static int lies_below(const char *path) {
    return !strncmp(path, directory, directory_length) && (path[directory_length] == '/' || !path[directory_length]);
}

static int path_of_descriptor(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* Give the path of a name: links in the directories that lead to it are followed, the last segment is not. */
static int path_of_name(int parent, const char *name, char *path) {
    char joined[2 * PATH_MAX];
    if (!name || strlen(name) >= PATH_MAX)
        return 0;
    if (name[0] == '/')
        joined[0] = 0;
    else if (!(parent == AT_FDCWD ? getcwd(joined, PATH_MAX) != NULL : path_of_descriptor(parent, joined)))
        return 0;
    strcat(strcat(joined, "/"), name);
    size_t length = strlen(joined);
    while (length > 1 && joined[length - 1] == '/')
        joined[--length] = 0;
    char *last = strrchr(joined, '/');
    *last = 0;
    if (!realpath(*joined ? joined : "/", path))
        return 0; /* no such directory: the call will fail and change nothing */
    if (strlen(path) + strlen(last + 1) + 2 > PATH_MAX)
        return 0;
    strcat(strcat(path, "/"), last + 1);
    return 1;
}

static uint64_t begin_descriptor(const char *name, int descriptor) {
    if (!armed())
        return 0;
    int kept = errno;
    char path[PATH_MAX];
    uint64_t number = path_of_descriptor(descriptor, path) && lies_below(path) ? count_call(name, path) : 0;
    errno = kept;
    return number;
}

static uint64_t begin_path(const char *name, int parent, const char *path) {
    if (!armed())
        return 0;
    int kept = errno;
    char found[PATH_MAX];
    uint64_t number = path_of_name(parent, path, found) && lies_below(found) ? count_call(name, found) : 0;
    errno = kept;
    return number;
}

/* Of two names the new one is told, unless only the old one lies below the directory. */
static uint64_t begin_paths(const char *name, int parent, const char *path, int new_parent, const char *new_path) {
    uint64_t number = begin_path(name, new_parent, new_path);
    return number ? number : begin_path(name, parent, path);
}

static int creates(int flags) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static uint64_t begin_open(const char *name, int parent, const char *path, int flags) {
    return creates(flags) || (flags & O_TRUNC) ? begin_path(name, parent, path) : 0;
}

static uint64_t begin_stream(const char *name, FILE *stream) {
    int descriptor = armed() && stream ? fileno(stream) : -1;
    int reading = descriptor < 0 || (fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_RDONLY;
    return reading ? 0 : begin_descriptor(name, descriptor);
}

/* One function that takes the place of the library's: `begin` counts, the library's does the work. */
#define WRAP(type, absent, name, parameters, arguments, begin) \
    type name parameters { \
        static type(*real) parameters; \
        if (!real) \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        if (!real) { \
            errno = ENOSYS; \
            return absent; \
        } \
        uint64_t number = begin; \
        type result = real arguments; \
        end_call(number); \
        return result; \
    }

#define FD(type, name, parameters, arguments) WRAP(type, -1, name, parameters, arguments, begin_descriptor(#name, fd))
#define AT(name, parent, path, parameters, arguments) \
    WRAP(int, -1, name, parameters, arguments, begin_path(#name, parent, path))
#define TWO(name, parent, new_parent, parameters, arguments) \
    WRAP(int, -1, name, parameters, arguments, begin_paths(#name, parent, a, new_parent, b))
#define STREAM(type, absent, name, parameters, arguments) \
    WRAP(type, absent, name, parameters, arguments, begin_stream(#name, stream))

FD(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
FD(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
FD(ssize_t, pwrite64, (int fd, const void *p, size_t n, off_t o), (fd, p, n, o))
FD(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
FD(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
FD(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
FD(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
FD(ssize_t, pwritev64v2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
FD(int, ftruncate, (int fd, off_t n), (fd, n))
FD(int, ftruncate64, (int fd, off_t n), (fd, n))
FD(int, fallocate, (int fd, int m, off_t o, off_t n), (fd, m, o, n))
FD(int, fallocate64, (int fd, int m, off_t o, off_t n), (fd, m, o, n))
FD(int, posix_fallocate, (int fd, off_t o, off_t n), (fd, o, n))
FD(int, posix_fallocate64, (int fd, off_t o, off_t n), (fd, o, n))
FD(int, fsync, (int fd), (fd))
FD(int, fdatasync, (int fd), (fd))
FD(int, syncfs, (int fd), (fd))
FD(int, sync_file_range, (int fd, off_t o, off_t n, unsigned f), (fd, o, n, f))
FD(ssize_t, sendfile, (int fd, int from, off_t *o, size_t n), (fd, from, o, n))
FD(ssize_t, sendfile64, (int fd, int from, off_t *o, size_t n), (fd, from, o, n))
FD(ssize_t, copy_file_range, (int from, off_t *a, int fd, off_t *b, size_t n, unsigned f), (from, a, fd, b, n, f))
FD(ssize_t, splice, (int from, off_t *a, int fd, off_t *b, size_t n, unsigned f), (from, a, fd, b, n, f))

AT(creat, AT_FDCWD, a, (const char *a, mode_t m), (a, m))
AT(creat64, AT_FDCWD, a, (const char *a, mode_t m), (a, m))
AT(truncate, AT_FDCWD, a, (const char *a, off_t n), (a, n))
AT(truncate64, AT_FDCWD, a, (const char *a, off_t n), (a, n))
AT(unlink, AT_FDCWD, a, (const char *a), (a))
AT(unlinkat, d, a, (int d, const char *a, int f), (d, a, f))
AT(remove, AT_FDCWD, a, (const char *a), (a))
AT(mkdir, AT_FDCWD, a, (const char *a, mode_t m), (a, m))
AT(mkdirat, d, a, (int d, const char *a, mode_t m), (d, a, m))
AT(rmdir, AT_FDCWD, a, (const char *a), (a))
AT(symlink, AT_FDCWD, b, (const char *a, const char *b), (a, b))
AT(symlinkat, d, b, (const char *a, int d, const char *b), (a, d, b))
AT(mkstemp, AT_FDCWD, a, (char *a), (a))
AT(mkstemp64, AT_FDCWD, a, (char *a), (a))
AT(mkostemp, AT_FDCWD, a, (char *a, int f), (a, f))
AT(mkostemp64, AT_FDCWD, a, (char *a, int f), (a, f))
AT(mkstemps, AT_FDCWD, a, (char *a, int n), (a, n))
AT(mkostemps, AT_FDCWD, a, (char *a, int n, int f), (a, n, f))
WRAP(char *, NULL, mkdtemp, (char *a), (a), begin_path("mkdtemp", AT_FDCWD, a))

TWO(link, AT_FDCWD, AT_FDCWD, (const char *a, const char *b), (a, b))
TWO(linkat, d, e, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f))
TWO(rename, AT_FDCWD, AT_FDCWD, (const char *a, const char *b), (a, b))
TWO(renameat, d, e, (int d, const char *a, int e, const char *b), (d, a, e, b))
TWO(renameat2, d, e, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f))

#define FOPEN(name) \
    WRAP(FILE *, NULL, name, (const char *a, const char *mode), (a, mode), \
         mode && strpbrk(mode, "wa+") ? begin_path(#name, AT_FDCWD, a) : 0)
FOPEN(fopen)
FOPEN(fopen64)
STREAM(size_t, 0, fwrite, (const void *p, size_t s, size_t n, FILE *stream), (p, s, n, stream))
STREAM(int, EOF, fflush, (FILE *stream), (stream))
STREAM(int, EOF, fclose, (FILE *stream), (stream))

WRAP(int, -1, __open_2, (const char *a, int f), (a, f), begin_open("open", AT_FDCWD, a, f))
WRAP(int, -1, __open64_2, (const char *a, int f), (a, f), begin_open("open64", AT_FDCWD, a, f))
WRAP(int, -1, __openat_2, (int d, const char *a, int f), (d, a, f), begin_open("openat", d, a, f))
WRAP(int, -1, __openat64_2, (int d, const char *a, int f), (d, a, f), begin_open("openat64", d, a, f))

/* Functions with an argument that is there only if they create. */
#define OPEN(name, parent, parameters, arguments) \
    int name parameters { \
        static int(*real) parameters; \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = creates(flags) ? va_arg(rest, unsigned) : 0; \
        va_end(rest); \
        if (!real) \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
        if (!real) { \
            errno = ENOSYS; \
            return -1; \
        } \
        uint64_t number = begin_open(#name, parent, path, flags); \
        int result = real arguments; \
        end_call(number); \
        return result; \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, d, (int d, const char *path, int flags, ...), (d, path, flags, mode))
OPEN(openat64, d, (int d, const char *path, int flags, ...), (d, path, flags, mode))

static uint64_t begin_system_call(long number, const long *a) {
    const char *s[4] = {(const char *)a[0], (const char *)a[1], (const char *)a[2], (const char *)a[3]};
    const int d[3] = {(int)a[0], (int)a[1], (int)a[2]};
    switch (number) {
    case SYS_write: return begin_descriptor("write", d[0]);
    case SYS_pwrite64: return begin_descriptor("pwrite64", d[0]);
    case SYS_writev: return begin_descriptor("writev", d[0]);
    case SYS_pwritev: return begin_descriptor("pwritev", d[0]);
    case SYS_pwritev2: return begin_descriptor("pwritev2", d[0]);
    case SYS_ftruncate: return begin_descriptor("ftruncate", d[0]);
    case SYS_fallocate: return begin_descriptor("fallocate", d[0]);
    case SYS_fsync: return begin_descriptor("fsync", d[0]);
    case SYS_fdatasync: return begin_descriptor("fdatasync", d[0]);
    case SYS_syncfs: return begin_descriptor("syncfs", d[0]);
    case SYS_sync_file_range: return begin_descriptor("sync_file_range", d[0]);
    case SYS_sendfile: return begin_descriptor("sendfile", d[0]);
    case SYS_copy_file_range: return begin_descriptor("copy_file_range", d[2]);
    case SYS_splice: return begin_descriptor("splice", d[2]);
    case SYS_truncate: return begin_path("truncate", AT_FDCWD, s[0]);
    case SYS_openat: return begin_open("openat", d[0], s[1], d[2]);
    case SYS_mkdirat: return begin_path("mkdirat", d[0], s[1]);
    case SYS_unlinkat: return begin_path("unlinkat", d[0], s[1]);
    case SYS_symlinkat: return begin_path("symlinkat", d[1], s[2]);
    case SYS_linkat: return begin_paths("linkat", d[0], s[1], d[2], s[3]);
    case SYS_renameat2: return begin_paths("renameat2", d[0], s[1], d[2], s[3]);
#ifdef SYS_renameat
    case SYS_renameat: return begin_paths("renameat", d[0], s[1], d[2], s[3]);
#endif
#ifdef SYS_openat2 /* its flags are the first member of what argument 2 points to */
    case SYS_openat2: return s[2] ? begin_open("openat2", d[0], s[1], (int)*(const uint64_t *)s[2]) : 0;
#endif
#ifdef SYS_open /* younger platforms have the calls above alone */
    case SYS_open: return begin_open("open", AT_FDCWD, s[0], d[1]);
    case SYS_creat: return begin_path("creat", AT_FDCWD, s[0]);
    case SYS_mkdir: return begin_path("mkdir", AT_FDCWD, s[0]);
    case SYS_rmdir: return begin_path("rmdir", AT_FDCWD, s[0]);
    case SYS_unlink: return begin_path("unlink", AT_FDCWD, s[0]);
    case SYS_symlink: return begin_path("symlink", AT_FDCWD, s[1]);
    case SYS_link: return begin_paths("link", AT_FDCWD, s[0], AT_FDCWD, s[1]);
    case SYS_rename: return begin_paths("rename", AT_FDCWD, s[0], AT_FDCWD, s[1]);
#endif
    default: return 0;
    }
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    uint64_t counted = begin_system_call(number, a);
    long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    end_call(counted);
    return result;
}
