/* A file system without locks: flock(2) fails with error $NO_FLOCK for files below $KEYFOB_CACHE_DIR, as the kernel has it fail. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int flock(int file, int operation)
{
	char link[64], path[PATH_MAX] = "";
	const char *folder = getenv("KEYFOB_CACHE_DIR"), *error = getenv("NO_FLOCK");
	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	if (readlink(link, path, sizeof path - 1) > 0 && folder && error && !strncmp(path, folder, strlen(folder))) {
		errno = atoi(error);
		return -1;
	}
	return syscall(SYS_flock, file, operation);
}
