/* Loaded into a real process by LD_PRELOAD: counts what it changes on the file system beneath the folder $FAULT_FOLDER,
   from native code and from Python alike, and at change number $FAULT_AT, before it is made, either kills the process
   ($FAULT=kill) or answers this and every later change that takes space with "No space left on device" ($FAULT=full).
   The changes so far are written, a line each, to $FAULT_LOG if that is set. Linux, any libc with dlsym. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long changes = 0;

/* Whether the change is to fail for want of space. */
static int change(const char *what, const char *path, int takes_space) {
    const char *folder = getenv("FAULT_FOLDER"), *at = getenv("FAULT_AT");
    const char *fault = getenv("FAULT"), *log = getenv("FAULT_LOG");
    int saved = errno, fails = 0;
    if (!folder || !path || strncmp(path, folder, strlen(folder)) != 0 || !strchr("/", path[strlen(folder)])) return 0;
    pthread_mutex_lock(&lock);
    changes++;
    if (log) {
        char line[PATH_MAX + 64];
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        int length = snprintf(line, sizeof line, "%s %s\n", what, path + strlen(folder));
        int file = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (file >= 0) {
            if (real_write(file, line, length) < 0) abort();
            close(file);
        }
    }
    if (at && fault && changes >= atol(at)) {
        if (strcmp(fault, "kill") == 0) kill(getpid(), SIGKILL), pause();
        fails = takes_space && strcmp(fault, "full") == 0;
    }
    pthread_mutex_unlock(&lock);
    errno = fails ? ENOSPC : saved;
    return fails;
}

/* The path of a name in a folder that is open as `dir`, or AT_FDCWD. */
static const char *absolute(int dir, const char *name, char *path) {
    char link[64];
    if (name[0] == '/') return name;
    snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return name;
    snprintf(path + length, PATH_MAX - length, "/%s", name);
    return path;
}

static int change_fd(const char *what, int fd, int takes_space) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return change(what, path, takes_space);
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define ON_PATH(name, dir, path, takes_space, parameters, arguments) \
    int name parameters { \
        char buffer[PATH_MAX]; \
        if (change(#name, absolute(dir, path, buffer), takes_space)) return -1; \
        return REAL(name) arguments; \
    }
#define ON_FD(result, name, takes_space, parameters, arguments) \
    result name parameters { \
        if (change_fd(#name, fd, takes_space)) return -1; \
        return REAL(name) arguments; \
    }
#define OPEN(name, dir, parameters, arguments) \
    int name parameters { \
        char buffer[PATH_MAX]; \
        mode_t mode = 0; \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if ((flags & O_CREAT) && change("open", absolute(dir, path, buffer), 1)) return -1; \
        return REAL(name) arguments; \
    }

OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, dir, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPEN(openat64, dir, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
ON_PATH(mkdir, AT_FDCWD, path, 1, (const char *path, mode_t mode), (path, mode))
ON_PATH(rename, AT_FDCWD, old, 1, (const char *old, const char *new), (old, new))
ON_PATH(renameat, a, old, 1, (int a, const char *old, int b, const char *new), (a, old, b, new))
ON_PATH(link, AT_FDCWD, new, 1, (const char *old, const char *new), (old, new))
ON_PATH(linkat, b, new, 1, (int a, const char *old, int b, const char *new, int flags), (a, old, b, new, flags))
ON_PATH(unlink, AT_FDCWD, path, 0, (const char *path), (path))
ON_PATH(unlinkat, dir, path, 0, (int dir, const char *path, int flags), (dir, path, flags))
ON_PATH(rmdir, AT_FDCWD, path, 0, (const char *path), (path))
ON_FD(ssize_t, write, 1, (int fd, const void *bytes, size_t size), (fd, bytes, size))
ON_FD(ssize_t, writev, 1, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(ssize_t, pwrite, 1, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
ON_FD(ssize_t, pwrite64, 1, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at))
ON_FD(int, fsync, 1, (int fd), (fd))
ON_FD(int, fdatasync, 1, (int fd), (fd))
