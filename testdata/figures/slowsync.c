/* Makes each flush of a file take 2 ms longer, as on block storage over a network: for
   Postfix, by LD_PRELOAD. Our own server sleeps as long before each of its flushes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void wait_for_disk(void)
{
	struct timespec t = {0, 2000000};
	nanosleep(&t, 0);
}

int fsync(int fd)
{
	static int (*real)(int);
	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	wait_for_disk();
	return real(fd);
}

int fdatasync(int fd)
{
	static int (*real)(int);
	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	wait_for_disk();
	return real(fd);
}
