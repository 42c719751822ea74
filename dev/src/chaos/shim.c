/* A disk that forgets and a disk that is full, for one folder of one program (LD_PRELOAD).
 *
 * RELAIS_SHIM_FOLDER  files below it are meant, and no others
 * RELAIS_SHIM_UNDO    keeps, for every file, what its writes since its last fsync replaced: who rolls these logs back,
 *                     newest first, has the disk as a power cut leaves it when nothing was written without being asked to
 * RELAIS_SHIM_FULL    while a file of this name exists, writes fail with ENOSPC
 *
 * A log is named after device and inode, so that it follows a renamed file. Each of its records: offset, length of the
 * replaced bytes, size of the file before (three 64-bit integers), the bytes. Names of files are taken for durable at
 * once; what a program writes through stdio is not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(result, name, ...)                                                \
    static result (*real_##name)(__VA_ARGS__);                                 \
    if (!real_##name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

static ssize_t real_plain_write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real_write(fd, bytes, length);
}

/* Whether fd is a file that is meant; its state in *about. */
static int meant(int fd, struct stat *about) {
    const char *folder = getenv("RELAIS_SHIM_FOLDER");
    if (!folder || fstat(fd, about) || !S_ISREG(about->st_mode) || !about->st_nlink) return 0;
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return !strncmp(path, folder, strlen(folder));
}

static int is_full(void) {
    const char *flag = getenv("RELAIS_SHIM_FULL");
    return flag && !access(flag, F_OK);
}

static int log_path(const struct stat *about, char *path) {
    const char *folder = getenv("RELAIS_SHIM_UNDO");
    if (!folder) return 0;
    snprintf(path, PATH_MAX, "%s/%llx-%llx", folder, (unsigned long long)about->st_dev,
             (unsigned long long)about->st_ino);
    return 1;
}

/* The log of a file, locked; -1: there is none to be kept. Closing it unlocks. */
static int open_log(const struct stat *about) {
    char path[PATH_MAX];
    if (!log_path(about, path)) return -1;
    int log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log >= 0 && flock(log, LOCK_EX)) { close(log); return -1; }
    return log;
}

/* Notes what a write of `length` bytes at `offset` is about to replace. */
static void note(int fd, int log, uint64_t offset, uint64_t length) {
    struct stat about;
    if (fstat(fd, &about)) return;
    uint64_t size = about.st_size;
    uint64_t old = offset >= size ? 0 : (size - offset < length ? size - offset : length);
    size_t total = 3 * sizeof(uint64_t) + old;
    char *record = malloc(total);
    if (!record) return;
    /* The file may be open for writing only. */
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = old ? open(link, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t read = old ? pread(reader, record + 3 * sizeof(uint64_t), old, offset) : 0;
    if (reader >= 0) close(reader);
    if (read == (ssize_t)old) {
        uint64_t head[3] = {offset, old, size};
        memcpy(record, head, sizeof head);
        if (real_plain_write(log, record, total) != (ssize_t)total) abort();
    }
    free(record);
}

static uint64_t length_of(const struct iovec *parts, int count) {
    uint64_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    return length;
}

static uint64_t position(int fd) {
    struct stat about;
    if ((fcntl(fd, F_GETFL) & O_APPEND) && !fstat(fd, &about)) return about.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

/* Does `call` for a file that is meant behind a note of what it replaces. */
#define NOTED(fd, offset, length, call)                                        \
    struct stat about;                                                         \
    int kept = errno;                                                          \
    if (!meant(fd, &about)) { errno = kept; return call; }                     \
    if (is_full()) { errno = ENOSPC; return -1; }                              \
    int log = open_log(&about);                                                \
    if (log >= 0) note(fd, log, offset, length);                               \
    errno = kept;                                                              \
    ssize_t result = call;                                                     \
    kept = errno;                                                              \
    if (log >= 0) close(log);                                                  \
    errno = kept;                                                              \
    return result

ssize_t write(int fd, const void *bytes, size_t length) {
    NOTED(fd, position(fd), length, real_plain_write(fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    NOTED(fd, position(fd), length_of(parts, count), real_writev(fd, parts, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    NOTED(fd, offset, length, real_pwrite(fd, bytes, length, offset));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    NOTED(fd, offset, length, real_pwrite64(fd, bytes, length, offset));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    NOTED(fd, offset, length_of(parts, count), real_pwritev(fd, parts, count, offset));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
    NOTED(fd, offset, length_of(parts, count), real_pwritev64(fd, parts, count, offset));
}

/* All that is cut off may come back: it is noted as if it were overwritten. */
static uint64_t cut_off(int fd, uint64_t size) {
    struct stat now;
    return !fstat(fd, &now) && (uint64_t)now.st_size > size ? now.st_size - size : 0;
}

int ftruncate(int fd, off_t size) {
    REAL(int, ftruncate, int, off_t);
    NOTED(fd, size, cut_off(fd, size), real_ftruncate(fd, size));
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    NOTED(fd, size, cut_off(fd, size), real_ftruncate64(fd, size));
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    NOTED(fd, offset, 0, real_posix_fallocate(fd, offset, length));
}

/* What is on the disk cannot be rolled back any more. */
#define SETTLED(fd, call)                                                      \
    struct stat about;                                                         \
    int log = meant(fd, &about) ? open_log(&about) : -1;                       \
    int result = call;                                                         \
    int kept = errno;                                                          \
    if (log >= 0) {                                                            \
        REAL(int, ftruncate, int, off_t);                                      \
        if (!result && real_ftruncate(log, 0)) abort();                        \
        close(log);                                                            \
    }                                                                          \
    errno = kept;                                                              \
    return result

int fsync(int fd) {
    REAL(int, fsync, int);
    SETTLED(fd, real_fsync(fd));
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    SETTLED(fd, real_fdatasync(fd));
}

/* The inode of a file that is gone may become another file's. */
static void forget(const struct stat *about) {
    char path[PATH_MAX];
    if (about->st_nlink == 1 && S_ISREG(about->st_mode) && log_path(about, path)) {
        REAL(int, unlink, const char *);
        int kept = errno;
        real_unlink(path);
        errno = kept;
    }
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    struct stat about;
    int there = !lstat(path, &about);
    int result = real_unlink(path);
    if (!result && there) forget(&about);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    struct stat about, moved;
    int there = !lstat(to, &about) && !lstat(from, &moved) && about.st_ino != moved.st_ino;
    int result = real_rename(from, to);
    if (!result && there) forget(&about);
    return result;
}
