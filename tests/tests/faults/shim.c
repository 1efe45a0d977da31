/* A disk that fails once, put between a process and the system with LD_PRELOAD.
 *
 * FAULTY_FOLDER  The files below this folder are watched.
 * FAULTY_TRACE   Each watched call adds a line to this file: its kind, its file and, where it was made to fail, "failed".
 * FAULTY_CALLS   "KIND:N:ERRNO:END,…": the N-th call of this kind on a file whose name ends so fails with this error. Each
 *                counts from where the one before it failed; one with the error 0 fails nothing and only counts, and one
 *                with -1 waits until the next one has failed.
 * FAULTY_DISK    What the disk holds of sled's log, where that is not what the system's cache holds. It gets what is synced.
 *                What a sync that fails was to bring there is called clean and stays missing, as Linux does it.
 *
 * Kinds: open, readdir, read, write, fdatasync, fsync, sync_file_range, fadvise.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES (1 << 16)
#define FDS 1024
/* The function that would have been called without us. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *calls;
static int trace = -1, disk = -1;
/* How many calls of the kind that is to fail were seen. */
static long seen;
/* The log's pages that the cache holds and the disk has not got yet. */
static char dirty[PAGES];
/* How often bringing the log to the disk has failed, and how much of that each file descriptor was told: the system
 * tells each once. */
static int failures, told[FDS];

__attribute__((constructor)) static void begin(void) {
    const char *name;
    folder = getenv("FAULTY_FOLDER");
    calls = getenv("FAULTY_CALLS");
    if ((name = getenv("FAULTY_TRACE"))) trace = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if ((name = getenv("FAULTY_DISK"))) disk = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
}

static int ends(const char *name, const char *end, size_t len) {
    size_t all = strlen(name);
    return all >= len && !memcmp(name + all - len, end, len);
}

static int is_log(const char *name) { return disk >= 0 && !strcmp(name, "sled/db"); }

/* The name of a path in the folder, or nothing. */
static const char *below(const char *path) {
    size_t len = folder ? strlen(folder) : 0;
    return len && !strncmp(path, folder, len) && path[len] == '/' ? path + len + 1 : NULL;
}

/* The name of an open file in the folder, or nothing. */
static const char *named(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = folder ? readlink(link, path, PATH_MAX - 1) : -1;
    if (len < 0) return NULL;
    path[len] = 0;
    return below(path);
}

/* Counts a call; the error it is to fail with, or 0. */
static int fault(const char *kind, const char *name) {
    int error = 0;
    if (calls && *calls) {
        char what[32];
        long nth;
        int at;
        if (sscanf(calls, "%31[^:]:%ld:%d:%n", what, &nth, &error, &at) < 3) abort();
        size_t len = strcspn(calls + at, ",");
        if (strcmp(what, kind) || !ends(name, calls + at, len) || ++seen < nth) {
            error = 0;
        } else {
            seen = 0;
            calls += at + len + (calls[at + len] == ',');
        }
    }
    if (error < 0) {
        const char *next = calls;
        for (int left = 10000; calls == next && left; left--) {
            pthread_mutex_unlock(&lock);
            usleep(1000);
            pthread_mutex_lock(&lock);
        }
        error = 0;
    }
    char line[PATH_MAX + 64];
    int len = snprintf(line, sizeof line, "%s %s%s\n", kind, name, error ? " failed" : "");
    if (trace >= 0 && syscall(SYS_write, trace, line, len) != len) abort();
    return error;
}

/* The log, for our own reading and writing: the caller's descriptor may be good for one of them only. */
static int open_log(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sled/db", folder);
    int log = syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    if (log < 0) abort();
    return log;
}

static void wrote(const char *name, off_t at, ssize_t count) {
    if (!is_log(name) || count <= 0) return;
    if ((at + count - 1) / PAGE >= PAGES) abort();
    memset(dirty + at / PAGE, 1, (at + count - 1) / PAGE - at / PAGE + 1);
}

/* Copies the log's pages that are dirty (or clean) from one file to the other, or only calls them clean. */
static void copy(int from, int to, int which, off_t at, off_t end) {
    char page[PAGE];
    for (off_t number = at / PAGE; number * PAGE < end; number++) {
        if (dirty[number] != which) continue;
        dirty[number] = 0;
        if (to < 0) continue;
        ssize_t len = syscall(SYS_pread64, from, page, PAGE, number * PAGE);
        /* The cache knows how long the file is, whatever came to the disk. */
        if (len < 0) abort();
        if (!which) memset(page + len, 0, PAGE - len), len = end - number * PAGE < PAGE ? end - number * PAGE : PAGE;
        if (syscall(SYS_pwrite64, to, page, len, number * PAGE) != len) abort();
    }
}

static off_t size(int file) {
    struct stat stat;
    if (fstat(file, &stat)) abort();
    return stat.st_size;
}

/* A sync of the log, or of a part of it: whether it fails. One of a part leaves the data in the drive's own cache, so that
 * a sync of all of it that fails after it loses that, too. */
static int sync_log(int fd, int error, off_t at, off_t end) {
    int log = open_log();
    off_t all = size(log);
    if (error || !end) copy(log, error ? -1 : disk, 1, at, end && end < all ? end : all);
    if (!error && !end && syscall(SYS_ftruncate, disk, all)) abort();
    syscall(SYS_close, log);
    if (fd >= FDS) abort();
    if (error) failures++;
    else if (told[fd] < failures) error = EIO;
    told[fd] = failures;
    return error;
}

/* The kernel brings to the disk what a process left when it ended; only a cut of the power, or a kill here, forgets it.
 * The lock is kept: what other threads do between here and the process's end would come to the log and not to the disk. */
__attribute__((destructor)) static void end(void) {
    pthread_mutex_lock(&lock);
    if (disk >= 0 && folder) {
        int log = open_log();
        copy(log, disk, 1, 0, size(log));
    }
}

/* Runs a call on a file that is watched, unless it is to fail; `then` follows one that was not. */
#define WATCHED(type, kind, name, call, then)                                                                              \
    do {                                                                                                                   \
        pthread_mutex_lock(&lock);                                                                                         \
        int error = fault(kind, name);                                                                                     \
        type done = (type)-1;                                                                                              \
        if (!error) {                                                                                                      \
            done = call;                                                                                                   \
            error = errno;                                                                                                 \
            then;                                                                                                          \
        }                                                                                                                  \
        pthread_mutex_unlock(&lock);                                                                                       \
        if (done < 0) late(kind);                                                                                          \
        errno = error;                                                                                                     \
        return done;                                                                                                       \
    } while (0)

/* A disk tries for a while before it gives up; those who wait for a write are waiting by then. */
static void late(const char *kind) {
    if (!strcmp(kind, "write")) usleep(50 * 1000);
}

/* Rust's File::read_at; what sled reads of its log. */
ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name) return NEXT(pread64)(fd, to, count, at);
    WATCHED(ssize_t, "read", name, NEXT(pread64)(fd, to, count, at), );
}

/* fs::read and Read: the witness, sled's settings and snapshots. */
ssize_t read(int fd, void *to, size_t count) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name) return NEXT(read)(fd, to, count);
    WATCHED(ssize_t, "read", name, NEXT(read)(fd, to, count), );
}

/* File::write_all_at: sled's log and the witness. */
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name) return NEXT(pwrite64)(fd, from, count, at);
    WATCHED(ssize_t, "write", name, NEXT(pwrite64)(fd, from, count, at), wrote(name, at, done));
}

/* Write: the lock's text, sled's settings and snapshots. Nothing writes the log so. */
ssize_t write(int fd, const void *from, size_t count) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name) return NEXT(write)(fd, from, count);
    if (is_log(name)) abort();
    WATCHED(ssize_t, "write", name, NEXT(write)(fd, from, count), );
}

#define SYNC(kind, call, at, end)                                                                                          \
    char path[PATH_MAX];                                                                                                   \
    const char *name = named(fd, path);                                                                                    \
    if (!name) return call;                                                                                                \
    pthread_mutex_lock(&lock);                                                                                             \
    int error = fault(kind, name);                                                                                         \
    if (is_log(name)) error = sync_log(fd, error, at, end);                                                                \
    int done = error ? -1 : call;                                                                                          \
    if (!error) error = errno;                                                                                             \
    pthread_mutex_unlock(&lock);                                                                                           \
    errno = error;                                                                                                         \
    return done

/* sync_data: the ledger's own sync of each group. */
int fdatasync(int fd) { SYNC("fdatasync", NEXT(fdatasync)(fd), 0, 0); }

/* sync_all: files and names at an opening, and sled's background. */
int fsync(int fd) { SYNC("fsync", NEXT(fsync)(fd), 0, 0); }

/* How sled ends a write of its log. */
int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    SYNC("sync_file_range", NEXT(sync_file_range)(fd, at, count, flags), at, at + count);
}

/* Drops the log's clean pages from the cache, so that the disk itself is read again. */
static int advise(int fd, int advice) {
    char path[PATH_MAX];
    const char *name = named(fd, path);
    if (!name || advice != POSIX_FADV_DONTNEED) return 0;
    pthread_mutex_lock(&lock);
    /* It returns its error, and has no use for errno. */
    int error = fault("fadvise", name);
    if (!error && is_log(name)) {
        int log = open_log();
        copy(disk, log, 0, 0, size(log));
        syscall(SYS_close, log);
    }
    pthread_mutex_unlock(&lock);
    return error;
}

/* Two names of one function; which one a caller gets depends on its headers. A part of a file is taken for all of it. */
int posix_fadvise(int fd, off_t at, off_t count, int advice) { return (void)at, (void)count, advise(fd, advice); }
int posix_fadvise64(int fd, off64_t at, off64_t count, int advice) { return (void)at, (void)count, advise(fd, advice); }

/* Every file is opened so by Rust. */
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *name = below(path);
    if (!name) return NEXT(open64)(path, flags, mode);
    /* What failed before it was opened was told to another. */
    WATCHED(int, "open", name, NEXT(open64)(path, flags, mode), if (done >= 0 && done < FDS) told[done] = failures);
}

/* Listing a folder: how sled finds its snapshot. */
struct dirent64 *readdir64(DIR *dir) {
    char path[PATH_MAX];
    const char *name = named(dirfd(dir), path);
    if (!name) return NEXT(readdir64)(dir);
    pthread_mutex_lock(&lock);
    int error = fault("readdir", name);
    pthread_mutex_unlock(&lock);
    if (!error) return NEXT(readdir64)(dir);
    errno = error;
    return NULL;
}
