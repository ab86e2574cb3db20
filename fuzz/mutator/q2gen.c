/*
 * q2gen.c - images from seeds, into files or straight into a parser.
 *
 * SPDX-License-Identifier: MIT
 *
 * An image is a pure function of its seed and profile, so a number is all that a
 * bug report needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../guard/guard.h"
#include "q2mut.h"

#define STATUSES 256u

static const char help[] =
	"usage: q2gen --seed S [--count N] --out DIR     write images\n"
	"       q2gen --seed S [--count N] --cmd 'parser @@'\n"
	"                                  run it on each; @@ is the file; it has no\n"
	"                                  limits but time (q2corpus has)\n"
	"       q2gen --seed S [--count N] --measure     images a second\n"
	"       q2gen --seed S --one FILE                mutate FILE in place\n"
	"  --profile P   any snapshots bitmaps compressed refcounts header sound\n"
	"  --describe    print each image's seed and what was done to it\n"
	"  --timeout T   seconds for one run of the command (10)\n"
	"Exit status: 0 the command survived all images; 1 it was killed by a\n"
	"signal; 2 usage, or it could not be tried; 3 it only ran out of time.\n";

static struct {
	uint64_t seed, count;
	uint32_t profile;
	const char *out, *cmd, *one;
	bool describe, measure;
	uint64_t timeout;
} opt = {.count = 1, .timeout = 10};

static uint8_t image[2 * Q2MUT_MAX];
static volatile sig_atomic_t stopped;

static const char *const profiles[] = {"any",	     "snapshots", "bitmaps",
				       "compressed", "refcounts", "header",
				       "sound"};

static int die(const char *what)
{
	fprintf(stderr, "q2gen: %s: %s\n", what, strerror(errno));
	exit(2);
}

static size_t make(uint64_t seed)
{
	size_t n = q2mut_generate(image, sizeof(image), seed, opt.profile);

	if (opt.describe)
		printf("%llu %zu %s\n", (unsigned long long)seed, n,
		       q2mut_last());
	return n;
}

static void save(const char *path, const uint8_t *data, size_t n)
{
	FILE *f = fopen(path, "wb");

	if (f == NULL || fwrite(data, 1, n, f) != n || fclose(f) != 0)
		die(path);
}

static void write_all(void)
{
	char path[4096];

	if (mkdir(opt.out, 0777) != 0 && errno != EEXIST)
		die(opt.out);
	for (uint64_t i = 0; i < opt.count; i++) {
		size_t n = make(opt.seed + i);

		snprintf(path, sizeof(path), "%s/%llu.qcow2", opt.out,
			 (unsigned long long)(opt.seed + i));
		save(path, image, n);
	}
}

static void stop(int number)
{
	stopped = number;
}

static void child(const char *command)
{
	const struct rlimit size = {UINT64_C(1) << 30, UINT64_C(1) << 30};
	int null = open("/dev/null", O_RDWR);

	setpgid(0, 0);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	setrlimit(RLIMIT_FSIZE, &size);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* The command in a shell, with what it prints thrown away; its wait status, or -1
 * after the time ran out.  Whatever it started ends with it. */
static int run(const char *command)
{
	struct timespec step = {0, 1000000}, now, start;
	pid_t pid = fork();
	int status = -1;
	bool ended;

	if (pid < 0)
		die("fork");
	if (pid == 0)
		child(command);
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!(ended = waitpid(pid, &status, WNOHANG) == pid) && !stopped) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > (time_t)opt.timeout ||
		    (now.tv_sec - start.tv_sec == (time_t)opt.timeout &&
		     now.tv_nsec > start.tv_nsec))
			break;
		nanosleep(&step, NULL);
	}
	guard_tree_end();
	return ended ? status : -1;
}

static uint64_t seen[STATUSES], killed, late;

/* False if it is no use to go on. */
static bool count(uint64_t seed, int status)
{
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
					 WEXITSTATUS(status);

	if (stopped)
		return false;
	if (status == -1) {
		late++;
		printf("timeout: seed %llu\n", (unsigned long long)seed);
	} else if (code > 128) {
		killed++;
		printf("killed (status %d): seed %llu: %s\n", code,
		       (unsigned long long)seed, q2mut_last());
	} else if (code == 126 || code == 127) {
		fprintf(stderr, "q2gen: the shell cannot run '%s'\n", opt.cmd);
		return false;
	} else {
		seen[code]++;
	}
	return true;
}

static int sums(void)
{
	for (unsigned i = 0; i < STATUSES; i++)
		if (seen[i])
			printf("exit status %u: %llu\n", i,
			       (unsigned long long)seen[i]);
	printf("killed: %llu, out of time: %llu\n", (unsigned long long)killed,
	       (unsigned long long)late);
	return killed ? 1 : late ? 3 : 0;
}

static int run_all(void)
{
	char folder[] = "/tmp/q2gen.XXXXXX", file[64], command[8192];
	struct sigaction act = {.sa_handler = stop};
	bool goes_on = true;

	if (access("/dev/shm", W_OK) == 0)
		memcpy(folder, "/dev/shm/q.XXXXXX", sizeof("/dev/shm/q.XXXXXX"));
	if (mkdtemp(folder) == NULL)
		die(folder);
	snprintf(file, sizeof(file), "%s/image.qcow2", folder);
	if (!guard_expand(command, sizeof(command), opt.cmd, file)) {
		fprintf(stderr, "q2gen: no @@ in '%s', or too long\n", opt.cmd);
		rmdir(folder);
		return 2;
	}
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	guard_tree_adopt();
	for (uint64_t i = 0; i < opt.count && goes_on; i++) {
		size_t n = make(opt.seed + i);

		guard_folder_empty(folder);
		save(file, image, n);
		goes_on = count(opt.seed + i, run(command));
	}
	guard_folder_empty(folder);
	rmdir(folder);
	if (stopped)
		return 128 + (int)stopped;
	return goes_on ? sums() : 2;
}

static void measure(void)
{
	struct timespec a, b;
	uint64_t bytes = 0, left = opt.count;
	double s;

	clock_gettime(CLOCK_MONOTONIC, &a);
	while (left--)
		bytes += make(opt.seed + left);
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) +
	    (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%.0f images/s, %llu bytes on average\n",
	       (double)opt.count / s,
	       (unsigned long long)(bytes / opt.count));
}

static void mutate_one(void)
{
	FILE *f = fopen(opt.one, "rb");
	size_t n;

	if (f == NULL)
		die(opt.one);
	n = fread(image, 1, sizeof(image), f);
	if (n > sizeof(image) - Q2MUT_MAX / 2 || ferror(f)) {
		errno = ferror(f) ? errno : EFBIG;
		die(opt.one);
	}
	fclose(f);
	n = q2mut_mutate(image, n, sizeof(image), opt.seed, opt.profile);
	if (opt.describe)
		printf("%s\n", q2mut_last());
	save(opt.one, image, n);
}

static int find_profile(const char *name)
{
	for (uint32_t i = 0; i < sizeof(profiles) / sizeof(*profiles); i++)
		if (strcmp(profiles[i], name) == 0) {
			opt.profile = i;
			return 0;
		}
	fprintf(stderr, "q2gen: no profile '%s'\n", name);
	return 2;
}

static bool number(const char *text, uint64_t most, uint64_t *to)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || n > most) {
		fprintf(stderr, "q2gen: '%s' is no such number\n", text);
		return false;
	}
	*to = n;
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", 1, NULL, 's'},	   {"count", 1, NULL, 'n'},
		{"out", 1, NULL, 'o'},	   {"cmd", 1, NULL, 'c'},
		{"profile", 1, NULL, 'p'}, {"one", 1, NULL, '1'},
		{"timeout", 1, NULL, 't'}, {"describe", 0, NULL, 'd'},
		{"measure", 0, NULL, 'm'}, {"help", 0, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (c) {
		case 's':
			if (!number(optarg, UINT64_MAX, &opt.seed))
				return 2;
			break;
		case 'n':
			if (!number(optarg, UINT64_MAX, &opt.count))
				return 2;
			break;
		case 'o':
			opt.out = optarg;
			break;
		case 'c':
			opt.cmd = optarg;
			break;
		case 'p':
			if (find_profile(optarg))
				return 2;
			break;
		case '1':
			opt.one = optarg;
			break;
		case 't':
			if (!number(optarg, 1000000, &opt.timeout))
				return 2;
			break;
		case 'd':
			opt.describe = true;
			break;
		case 'm':
			opt.measure = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			fputs(help, stderr);
			return 2;
		}
	if (optind != argc || opt.count == 0 ||
	    (opt.out != NULL) + (opt.cmd != NULL) + (opt.one != NULL) +
			    opt.measure + (opt.describe && !opt.one &&
			    !opt.cmd && !opt.out && !opt.measure) != 1) {
		fputs(help, stderr);
		return 2;
	}
	if (opt.one) {
		mutate_one();
	} else if (opt.out) {
		write_all();
	} else if (opt.cmd) {
		return run_all();
	} else if (opt.measure) {
		measure();
	} else {
		for (uint64_t i = 0; i < opt.count; i++)
			(void)make(opt.seed + i);
	}
	if (fflush(stdout) != 0 || ferror(stdout))
		die("standard output");
	return 0;
}
