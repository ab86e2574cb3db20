/*
 * q2guard.c - runs one command on one image, and watches what it does.
 *
 * SPDX-License-Identifier: MIT
 *
 * Limits of time, memory and file size; the image before and after; and, through
 * q2canary.so, whether a file was opened that only the image names.  Prints one
 * line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HASHED (64u << 20) /* bytes; larger images: size and time only */

static const char help[] =
	"usage: q2guard [--max-time S] [--max-rss MB] [--max-file MB] IMAGE COMMAND\n"
	"COMMAND is for sh; @@ in it is the image.  Prints one line of JSON.\n"
	"Exit status: that of the command, 124 out of time, 128+N signal N.\n";

struct state {
	uint64_t hash;
	int64_t size;
	int64_t seconds, nanoseconds;
};

static struct state look(const char *path)
{
	struct state s = {.hash = UINT64_C(0xcbf29ce484222325)};
	static uint8_t buf[65536];
	struct stat st;
	FILE *f = fopen(path, "rb");
	size_t n;

	if (f == NULL || fstat(fileno(f), &st) != 0) {
		s.size = -1;
		return s;
	}
	s.size = st.st_size;
	if (st.st_size > HASHED) {
		s.seconds = st.st_mtim.tv_sec;
		s.nanoseconds = st.st_mtim.tv_nsec;
	} else {
		while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
			for (size_t i = 0; i < n; i++)
				s.hash = (s.hash ^ buf[i]) *
					 UINT64_C(0x100000001b3);
	}
	fclose(f);
	return s;
}

static bool same(const struct state *a, const struct state *b)
{
	return a->hash == b->hash && a->size == b->size &&
	       a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

static void expand(char *out, size_t room, const char *command,
		   const char *image)
{
	size_t n = 0;

	while (*command && n + 1 < room) {
		if (command[0] == '@' && command[1] == '@') {
			n += (size_t)snprintf(out + n, room - n, "'%s'", image);
			command += 2;
		} else {
			out[n++] = *command++;
		}
	}
	out[n < room ? n : room - 1] = 0;
}

static void limit(__rlimit_resource_t what, uint64_t most)
{
	struct rlimit l = {most, most};

	if (most)
		setrlimit(what, &l);
}

static void child(const char *command, uint64_t file, const char *log)
{
	int null = open("/dev/null", O_RDWR);
	char self[4096], so[4200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		snprintf(so, sizeof(so), "%s/q2canary.so", dirname(self));
		if (access(so, R_OK) == 0)
			setenv("LD_PRELOAD", so, 1);
	}
	setenv("Q2_CANARY_LOG", log, 1);
	setpgid(0, 0);
	limit(RLIMIT_FSIZE, file);
	limit(RLIMIT_CORE, 1);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* Sum of the resident memory of the group's leader and its children is not to be
 * had cheaply; the largest single process is what wait4() tells. */
static int wait_for(pid_t pid, double most, double *took, struct rusage *use,
		    bool *late)
{
	struct timespec a, b, step = {0, 500000};
	int status = 0;

	clock_gettime(CLOCK_MONOTONIC, &a);
	*late = false;
	for (;;) {
		pid_t got = wait4(pid, &status, WNOHANG, use);

		clock_gettime(CLOCK_MONOTONIC, &b);
		*took = (double)(b.tv_sec - a.tv_sec) +
			(double)(b.tv_nsec - a.tv_nsec) / 1e9;
		if (got == pid)
			break;
		if (*took > most) {
			*late = true;
			kill(-pid, SIGKILL);
			wait4(pid, &status, 0, use);
			break;
		}
		nanosleep(&step, NULL);
	}
	kill(-pid, SIGKILL); /* what it left running */
	return status;
}

static int run(const char *image, const char *text, double most,
	       uint64_t rss_mb, uint64_t file)
{
	char command[8192], log[] = "/tmp/q2guard.XXXXXX";
	struct state before = look(image), after;
	struct rusage use = {0};
	struct stat st = {0};
	int fd = mkstemp(log), status, code;
	double took;
	bool late;
	pid_t pid;

	if (before.size < 0 || fd < 0) {
		fprintf(stderr, "q2guard: %s: %s\n", image, strerror(errno));
		return 2;
	}
	expand(command, sizeof(command), text, image);
	pid = fork();
	if (pid < 0)
		return 2;
	if (pid == 0)
		child(command, file, log);
	status = wait_for(pid, most, &took, &use, &late);
	after = look(image);
	fstat(fd, &st);
	close(fd);
	unlink(log);
	code = late ? 124 :
	       WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
	printf("{\"status\":%d,\"signal\":%d,\"timeout\":%s,\"seconds\":%.3f,"
	       "\"rss_kb\":%ld,\"rss_exceeded\":%s,\"changed\":%s,"
	       "\"grew\":%lld,\"canary\":%s}\n",
	       code, code > 128 && code < 128 + 65 && !late ? code - 128 : 0,
	       late ? "true" : "false", took, use.ru_maxrss,
	       rss_mb && (uint64_t)use.ru_maxrss > rss_mb * 1024 ? "true" :
								   "false",
	       same(&before, &after) ? "false" : "true",
	       (long long)(after.size - before.size),
	       st.st_size ? "true" : "false");
	return code;
}

int main(int argc, char **argv)
{
	uint64_t rss = 0, file = UINT64_C(1) << 30;
	double most = 20;
	int i = 1;

	while (i + 1 < argc && strncmp(argv[i], "--", 2) == 0) {
		if (strcmp(argv[i], "--max-time") == 0)
			most = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--max-rss") == 0)
			rss = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--max-file") == 0)
			file = strtoull(argv[i + 1], NULL, 10) << 20;
		else
			break;
		i += 2;
	}
	if (argc - i != 2) {
		fputs(help, stderr);
		return 2;
	}
	return run(argv[i], argv[i + 1], most, rss, file);
}
