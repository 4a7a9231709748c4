/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Another time of day, for LD_PRELOAD: CLOCK_REALTIME is shifted by the seconds that stand in the
 * file named by WEEK_LATER, as 19 decimal digits. The file is mapped once, before the program's
 * system call filter, and may be overwritten in place while it runs; monotonic clocks and the
 * kernel's own timeouts go on as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define DIGITS 19

static const volatile char *text;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void week_later_open(void)
{
	const char *path = getenv("WEEK_LATER");
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *page;

	real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (fd < 0)
		return;
	page = mmap(NULL, DIGITS, PROT_READ, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (page != MAP_FAILED)
		text = page;
}

static int64_t shift(void)
{
	int64_t seconds = 0;

	for (int i = 0; text != NULL && i < DIGITS; i++) {
		if (text[i] >= '0' && text[i] <= '9')
			seconds = seconds * 10 + (text[i] - '0');
	}
	return seconds;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r;

	if (real_gettime == NULL)
		week_later_open();
	r = real_gettime(id, ts);
	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += shift();
	return r;
}

time_t time(time_t *ret)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ret != NULL)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *ret, void *zone)
{
	struct timespec ts = {0};

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	ret->tv_sec = ts.tv_sec;
	ret->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
