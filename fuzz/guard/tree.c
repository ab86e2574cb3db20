/*
 * tree.c - the processes below this one: how much they use, and their end.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"

#define MOST 65536u /* processes that are looked at */
#define PIDS (1u << 22) /* Linux has no larger number for one */

struct process {
	pid_t pid, parent;
	char state;
	uint64_t kb;
};

static struct process *all;
static uint8_t below[PIDS / 8]; /* a bit for each number */

void guard_tree_adopt(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* The name in /proc/PID/stat may hold anything: fields start behind its end. */
static bool read_one(const char *pid, struct process *p)
{
	static long page_kb;
	char path[64], text[1024], *rest;
	long pages = 0;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	rest = strrchr(text, ')');
	if (rest == NULL)
		return false;
	if (page_kb == 0)
		page_kb = sysconf(_SC_PAGESIZE) / 1024;
	*p = (struct process){.pid = atoi(pid)};
	if (sscanf(rest + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
			     "%*u %*d %*d %*d %*d %*d %*d %*u %*u %ld",
		   &p->state, &p->parent, &pages) != 3)
		return false;
	p->kb = (uint64_t)(pages > 0 ? pages : 0) * (uint64_t)page_kb;
	return true;
}

/* Numbers are used again: a signal goes to what still has the same parent. */
static void send(const struct process *p, int number)
{
	char pid[16];
	struct process is;
	int fd = (int)syscall(__NR_pidfd_open, p->pid, 0);

	if (fd < 0)
		return;
	snprintf(pid, sizeof(pid), "%d", p->pid);
	if (read_one(pid, &is) && (is.parent == p->parent || is.parent == getpid()))
		(void)syscall(__NR_pidfd_send_signal, fd, number, NULL, 0);
	close(fd);
}

static bool is_below(pid_t pid)
{
	return below[(unsigned)pid % PIDS / 8] >> (unsigned)pid % 8 & 1;
}

static void set_below(pid_t pid)
{
	below[(unsigned)pid % PIDS / 8] |= (uint8_t)(1u << (unsigned)pid % 8);
}

static size_t read_all(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	size_t n = 0;

	if (dir == NULL)
		return 0;
	while (n < MOST && (d = readdir(dir)) != NULL)
		if (isdigit((unsigned char)d->d_name[0]) &&
		    read_one(d->d_name, &all[n]))
			n++;
	closedir(dir);
	return n;
}

/* Those below this process come first in `all`; returns how many. */
static size_t scan(void)
{
	size_t n, found = 0, before;

	if (all == NULL)
		all = calloc(MOST, sizeof(*all));
	if (all == NULL)
		return 0;
	memset(below, 0, sizeof(below));
	set_below(getpid());
	n = read_all();
	do {
		before = found;
		for (size_t i = found; i < n; i++) {
			struct process p = all[i];

			if (!is_below(p.parent))
				continue;
			set_below(p.pid);
			all[i] = all[found];
			all[found++] = p;
		}
	} while (found != before);
	return found;
}

/* Pages that several have are divided among them there. */
static uint64_t shared_kb(const struct process *p)
{
	char path[64], line[128];
	unsigned long long kb = p->kb;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", p->pid);
	f = fopen(path, "re");
	if (f == NULL)
		return kb;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %llu kB", &kb) == 1)
			break;
	fclose(f);
	return kb;
}

#define NAMELESS 4096u
struct nameless {
	dev_t dev;
	ino_t ino;
};

/* The bytes that a process has in files without a name, of which each is counted once. */
static uint64_t nameless_of(pid_t pid, struct nameless *seen, size_t *n)
{
	char path[64];
	uint64_t bytes = 0;
	struct dirent *d;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && *n < NAMELESS && (d = readdir(dir)) != NULL) {
		size_t i = 0;

		if (fstatat(dirfd(dir), d->d_name, &st, 0) != 0 ||
		    !S_ISREG(st.st_mode) || st.st_nlink)
			continue;
		while (i < *n && (seen[i].dev != st.st_dev || seen[i].ino != st.st_ino))
			i++;
		if (i < *n)
			continue;
		seen[(*n)++] = (struct nameless){st.st_dev, st.st_ino};
		bytes += (uint64_t)st.st_blocks * 512;
	}
	if (dir)
		closedir(dir);
	return bytes;
}

struct guard_use guard_tree_use(uint64_t most)
{
	static struct nameless seen[NAMELESS];
	struct guard_use use = {.count = (unsigned)scan()};
	size_t n = 0;

	for (size_t i = 0; i < use.count; i++) {
		use.kb += all[i].kb;
		use.nameless += nameless_of(all[i].pid, seen, &n);
	}
	if (use.kb <= most || use.count < 2)
		return use;
	use.kb = 0;
	for (size_t i = 0; i < use.count; i++)
		use.kb += shared_kb(&all[i]);
	return use;
}

/* Those that run are stopped first, all of them: what is stopped starts nothing. */
static void stop_all(void)
{
	size_t running = 1, n;

	for (unsigned round = 0; running && round < 1000; round++) {
		running = 0;
		n = scan();
		for (size_t i = 0; i < n; i++) {
			if (strchr("TtZX", all[i].state))
				continue;
			running++;
			send(&all[i], SIGSTOP);
		}
		/* In the kernel for long, it does not stop, nor start anything. */
		if (round > 20)
			nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
}

bool guard_tree_any(void)
{
	pid_t pid = 1;

	for (unsigned i = 0; pid > 0 && i < 64; i++)
		pid = waitpid(-1, NULL, WNOHANG);
	return pid >= 0;
}

unsigned guard_tree_end(void)
{
	struct timespec step = {0, 500000};
	unsigned left = 0;
	size_t n;

	if (!guard_tree_any())
		return 0;
	stop_all();
	for (unsigned round = 0; round < 10000; round++) {
		n = scan();
		for (size_t i = 0; i < n; i++)
			if (all[i].state != 'Z')
				send(&all[i], SIGKILL);
			else if (all[i].parent == getpid())
				(void)waitpid(all[i].pid, NULL, WNOHANG);
		left = left > n ? left : (unsigned)n;
		if (!guard_tree_any())
			break;
		nanosleep(&step, NULL);
	}
	return left;
}
