// Stands between the real, unmodified agent and the C library: notes what it does to files and
// sockets, in one order, and makes operations fail, wait or be the last one, as a board says that
// the test writes and this reads (a file that both have mapped). Only files below one folder count.
//
// Operations go to the kernel directly, so nothing here depends on the order in which libraries are
// loaded. SQLite's shared memory (-shm) is left alone: it is memory, and is made anew after a crash.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, CUT = 4, SYNC = 8, RENAME = 16, UNLINK = 32, SEND = 64, RECV = 128, READ = 256 };
enum { CLOSED = 512, SYNCED = 1024, START = 2048 };
enum { BEFORE = 1, AFTER = 2 };
enum { KILL = 1, FAIL = 2, WAIT = 3, HALF = 4 };

#define RULES 16
#define MATCH 64
#define FDS 4096
#define SHOWN (16 * 1024)

struct rule {
    uint32_t armed, ops, when, action;
    int32_t number;        // of the error, or milliseconds
    uint32_t skip, count;  // strikes after so many, so many times (0: as long as it is armed)
    uint32_t seen, fired;
    char match[MATCH];     // a part of the path (its end, before a $), or of what a socket carries
};

struct board {
    int64_t clock_ns;  // how far the wall clock is off
    struct rule rules[RULES];
};

struct note {
    uint32_t length, op;
    int32_t fd, flags;
    int64_t at;
    uint32_t path, data;
};

static struct board empty, *board = &empty;
static int trace = -1;
static const char *root;
static struct { char *path; int socket; } fds[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void write_note(uint32_t op, int fd, int flags, int64_t at, const char *path, const void *data, size_t size) {
    if (trace < 0) return;
    size_t named = path ? strlen(path) : 0;
    struct note note = {(uint32_t)(sizeof note + named + size), op, fd, flags, at, (uint32_t)named, (uint32_t)size};
    struct iovec parts[3] = {{&note, sizeof note}, {(void *)path, named}, {(void *)data, size}};
    syscall(SYS_writev, trace, parts, 3);
}

static void locked_note(uint32_t op, int fd, int flags, int64_t at, const char *path, const void *data, size_t size) {
    if (trace < 0) return;
    pthread_mutex_lock(&lock);
    write_note(op, fd, flags, at, path, data, size);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor(101))) static void begin(void) {
    const char *path = getenv("HISYNC_FAULT_BOARD");
    root = getenv("HISYNC_FAULT_ROOT");
    if (path) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
        void *mapped = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED) board = mapped;
    }
    path = getenv("HISYNC_FAULT_TRACE");
    if (path) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    write_note(START, -1, 0, 0, NULL, NULL, 0);
}

// Whether something has a part; with a $ behind it, whether it ends with that.
static int matches(const char *wanted, const void *subject, size_t size) {
    size_t length = strnlen(wanted, MATCH);
    if (length == 0) return 1;
    if (wanted[length - 1] != '$') return memmem(subject, size, wanted, length) != NULL;
    length--;
    return size >= length && memcmp((const char *)subject + size - length, wanted, length) == 0;
}

// Plays the rules that an operation meets. Returns the error that it is to fail with, or 0; -1 where
// half of it is to be done first.
static int play(uint32_t op, uint32_t when, const void *subject, size_t size) {
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &board->rules[i];
        if (!__atomic_load_n(&rule->armed, __ATOMIC_ACQUIRE) || !(rule->ops & op) || rule->when != when) continue;
        if (!matches(rule->match, subject, size)) continue;
        uint32_t seen = __atomic_fetch_add(&rule->seen, 1, __ATOMIC_SEQ_CST);
        if (seen < rule->skip || (rule->count && seen - rule->skip >= rule->count)) continue;
        __atomic_fetch_add(&rule->fired, 1, __ATOMIC_SEQ_CST);
        switch (rule->action) {
            case KILL:
                syscall(SYS_kill, getpid(), SIGKILL);
                for (;;) pause();
            case FAIL:
                return rule->number;
            case HALF:
                return -1;
            case WAIT: {
                struct timespec time = {rule->number / 1000, (rule->number % 1000) * 1000000L};
                syscall(SYS_nanosleep, &time, NULL);
            }
        }
    }
    return 0;
}

static int play_path(uint32_t op, uint32_t when, const char *path) {
    return play(op, when, path, strlen(path));
}

static int ours(const char *path) {
    if (!path || !root || strncmp(path, root, strlen(root)) != 0) return 0;
    size_t length = strlen(path);
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < FDS ? __atomic_load_n(&fds[fd].path, __ATOMIC_ACQUIRE) : NULL;
}

static int failed(int error) {
    errno = error;
    return -1;
}

static int open_at(int dir, const char *path, int flags, mode_t mode) {
    if (!ours(path)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    int error = play_path(OPEN, BEFORE, path);
    if (error) return failed(error);
    pthread_mutex_lock(&lock);
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        struct stat stat;
        int folder = fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode);
        __atomic_store_n(&fds[fd].path, strdup(path), __ATOMIC_RELEASE);
        write_note(OPEN, fd, flags, folder, path, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    int kept = errno;
    play_path(OPEN, AFTER, path);
    errno = kept;
    return fd;
}

#define MODE                                       \
    mode_t mode = 0;                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {         \
        va_list rest;                              \
        va_start(rest, flags);                     \
        mode = (mode_t)va_arg(rest, int);          \
        va_end(rest);                              \
    }

int open(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return open_at(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return open_at(dir, path, flags | O_LARGEFILE, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS && (fds[fd].path || fds[fd].socket)) {
        pthread_mutex_lock(&lock);
        char *path = __atomic_exchange_n(&fds[fd].path, NULL, __ATOMIC_ACQ_REL);
        fds[fd].socket = 0;
        write_note(CLOSED, fd, 0, 0, NULL, NULL, 0);
        int result = (int)syscall(SYS_close, fd);
        pthread_mutex_unlock(&lock);
        free(path);
        return result;
    }
    return (int)syscall(SYS_close, fd);
}

// A write to a file of ours; `at` is -1 where the file's own position counts.
static ssize_t put(int fd, const char *path, const void *data, size_t size, off_t at) {
    int error = play_path(WRITE, BEFORE, path);
    if (error > 0) return failed(error);
    if (error < 0) size /= 2;
    pthread_mutex_lock(&lock);
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    off_t from = at >= 0 ? at : syscall(SYS_lseek, fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t written = at >= 0 ? syscall(SYS_pwrite64, fd, data, size, at) : syscall(SYS_write, fd, data, size);
    if (written > 0) write_note(WRITE, fd, 0, from, NULL, data, (size_t)written);
    pthread_mutex_unlock(&lock);
    if (error < 0) return failed(ENOSPC);
    play_path(WRITE, AFTER, path);
    return written;
}

static void is_socket(int fd) {
    if (fd >= 0 && fd < FDS) fds[fd].socket = 1;
}

// Noted before it leaves: from here on the peer may have it.
static int leaving(int fd, const void *data, size_t size) {
    is_socket(fd);
    int error = play(SEND, BEFORE, data, size);
    if (!error) locked_note(SEND, fd, 0, (int64_t)size, NULL, data, size < SHOWN ? size : SHOWN);
    return error > 0 ? error : 0;
}

static ssize_t arrived(int fd, const void *data, ssize_t size) {
    if (size < 0) return size;
    is_socket(fd);
    int kept = errno;
    locked_note(RECV, fd, 0, size, NULL, data, (size_t)size < SHOWN ? (size_t)size : SHOWN);
    int error = play(RECV, AFTER, data, (size_t)size);
    errno = kept;
    return error > 0 ? failed(error) : size;
}

static int socket_like(int fd) {
    struct stat stat;
    return fd >= 0 && fd < FDS && (fds[fd].socket || (fstat(fd, &stat) == 0 && S_ISSOCK(stat.st_mode)));
}

ssize_t write(int fd, const void *data, size_t size) {
    const char *path = path_of(fd);
    if (path) return put(fd, path, data, size, -1);
    if (fd <= 2 || !socket_like(fd)) return syscall(SYS_write, fd, data, size);
    int error = leaving(fd, data, size);
    if (error) return failed(error);
    ssize_t sent = syscall(SYS_write, fd, data, size);
    play(SEND, AFTER, data, size);
    return sent;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    const char *path = path_of(fd);
    return path ? put(fd, path, data, size, at) : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    const char *path = path_of(fd);
    if (path) return count > 0 ? put(fd, path, parts[0].iov_base, parts[0].iov_len, -1) : 0;
    if (fd <= 2 || !socket_like(fd)) return syscall(SYS_writev, fd, parts, count);
    char *all = malloc(SHOWN);
    size_t size = 0;
    for (int i = 0; all && i < count && size < SHOWN; i++) {
        size_t more = parts[i].iov_len < SHOWN - size ? parts[i].iov_len : SHOWN - size;
        memcpy(all + size, parts[i].iov_base, more);
        size += more;
    }
    int error = leaving(fd, all ? all : "", size);
    ssize_t sent = error ? failed(error) : syscall(SYS_writev, fd, parts, count);
    if (!error) play(SEND, AFTER, all ? all : "", size);
    free(all);
    return sent;
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    int error = leaving(fd, data, size);
    if (error) return failed(error);
    ssize_t sent = syscall(SYS_sendto, fd, data, size, flags, to, length);
    int kept = errno;
    play(SEND, AFTER, data, size);
    errno = kept;
    return sent;
}

ssize_t send(int fd, const void *data, size_t size, int flags) { return sendto(fd, data, size, flags, NULL, 0); }

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *length) {
    ssize_t got = syscall(SYS_recvfrom, fd, data, size, flags, from, length);
    return flags & MSG_PEEK ? got : arrived(fd, data, got);
}

ssize_t recv(int fd, void *data, size_t size, int flags) { return recvfrom(fd, data, size, flags, NULL, NULL); }

static int unreadable(int fd) {
    const char *path = path_of(fd);
    int error = path ? play_path(READ, BEFORE, path) : 0;
    return error > 0 ? error : 0;
}

ssize_t read(int fd, void *data, size_t size) {
    int error = unreadable(fd);
    return error ? failed(error) : syscall(SYS_read, fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    int error = unreadable(fd);
    return error ? failed(error) : syscall(SYS_pread64, fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) { return pread64(fd, data, size, at); }

static int cut(int fd, off_t length) {
    const char *path = path_of(fd);
    if (!path) return (int)syscall(SYS_ftruncate, fd, length);
    int error = play_path(CUT, BEFORE, path);
    if (error > 0) return failed(error);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0) write_note(CUT, fd, 0, length, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

// What is written while the disk is at it need not be covered: the beginning counts.
static int harden(int fd, long call) {
    const char *path = path_of(fd);
    if (!path) return (int)syscall(call, fd);
    int error = play_path(SYNC, BEFORE, path);
    if (error > 0) return failed(error);
    locked_note(SYNC, fd, 0, 0, NULL, NULL, 0);
    int result = (int)syscall(call, fd);
    if (result == 0) locked_note(SYNCED, fd, 0, 0, NULL, NULL, 0);
    play_path(SYNC, AFTER, path);
    return result;
}

int fsync(int fd) { return harden(fd, SYS_fsync); }
int fdatasync(int fd) { return harden(fd, SYS_fdatasync); }

int rename(const char *from, const char *to) {
    if (!ours(from)) return (int)syscall(SYS_rename, from, to);
    int error = play_path(RENAME, BEFORE, to);
    if (error > 0) return failed(error);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_rename, from, to);
    if (result == 0) write_note(RENAME, -1, 0, 0, from, to, strlen(to));
    pthread_mutex_unlock(&lock);
    play_path(RENAME, AFTER, to);
    return result;
}

int unlink(const char *path) {
    if (!ours(path)) return (int)syscall(SYS_unlink, path);
    int error = play_path(UNLINK, BEFORE, path);
    if (error > 0) return failed(error);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0) write_note(UNLINK, -1, 0, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    int result = (int)syscall(SYS_mkdir, path, mode);
    if (result == 0 && ours(path)) locked_note(OPEN, -1, O_CREAT, 1, path, NULL, 0);
    return result;
}

// The wall clock; the one that only runs forward is left alone.
static void shift(int64_t *seconds, int64_t *nanos) {
    int64_t off = __atomic_load_n(&board->clock_ns, __ATOMIC_RELAXED);
    int64_t all = *nanos + off % 1000000000;
    *seconds += off / 1000000000 + (all < 0 ? -1 : all / 1000000000);
    *nanos = (all % 1000000000 + 1000000000) % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t seconds = time->tv_sec, nanos = time->tv_nsec;
        shift(&seconds, &nanos);
        time->tv_sec = seconds;
        time->tv_nsec = nanos;
    }
    return result;
}

int gettimeofday(struct timeval *time, void *zone) {
    (void)zone;
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
