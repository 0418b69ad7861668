/* A video output device for tests: a file whose name ends in ".video" answers the calls of one. "camera.video" is
   one that cannot be written to, and "small.video" takes pictures of its own width only.

   What is set and written is appended to that file: "Q" per query, "F" and the structure per format, "P" and the
   bytes per picture. The structures are those of the kernel's own header. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_named(int fd, const char *end) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name - 1);
    ssize_t most = strlen(end);
    if (n < most) return 0;
    name[n] = 0;
    return !strcmp(name + n - most, end);
}

static void keep(int fd, char kind, const void *bytes, size_t n) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (real(fd, &kind, 1) != 1 || real(fd, bytes, n) != (ssize_t)n) abort();
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *given = va_arg(more, void *);
    va_end(more);
    int (*real)(int, unsigned long, void *) = dlsym(RTLD_NEXT, "ioctl");
    if (!is_named(fd, ".video")) return real(fd, request, given);
    if ((unsigned)request == (unsigned)VIDIOC_QUERYCAP) {
        struct v4l2_capability *facts = given;
        memset(facts, 0, sizeof *facts);
        facts->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_DEVICE_CAPS;
        facts->device_caps = is_named(fd, "/camera.video") ? V4L2_CAP_VIDEO_CAPTURE : V4L2_CAP_VIDEO_OUTPUT;
        keep(fd, 'Q', "", 0);
        return 0;
    }
    if ((unsigned)request == (unsigned)VIDIOC_S_FMT) {
        struct v4l2_format *format = given;
        keep(fd, 'F', format, sizeof *format);
        if (is_named(fd, "/small.video")) format->fmt.pix.width = 320;
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (!is_named(fd, ".video")) return real(fd, bytes, n);
    keep(fd, 'P', bytes, n);
    return n;
}
