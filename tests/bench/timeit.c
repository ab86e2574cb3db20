/*
 * timeit.c - runs commands in turn and prints wall time, CPU time and peak
 * memory of each.
 *
 *   timeit [-n RUNS] [-w WARM-UPS] [-t SECONDS] [-c] [-p SHELL]
 *          -- COMMAND [ARG...] [::: COMMAND [ARG...]]...
 *
 * The commands are interleaved (A B C A B C ...), so that whatever else the
 * machine does falls on all of them. Their standard input and both outputs are
 * /dev/null. -n: measured runs (5), -w: runs before them (1).
 *   -t  ends a run that takes longer (status 142: SIGALRM).
 *   -c  empties the kernel's caches before each run; needs root. Without any
 *       command, only tells by its status whether that is permitted (0) or
 *       not (3).
 *   -p  has the shell do something before each run that is not measured, such
 *       as making a fresh copy of the image that the command changes.
 *
 * Prints a heading and a line per command, separated by tabs: its number, the
 * runs, the highest exit status (128 + signal when killed), then minimum,
 * median and maximum of wall seconds, of user + system seconds, and of the peak
 * resident set in KiB (never below this program's own, about 1 MiB). Exit
 * status: 0 when everything could be started, whatever it returned.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 16
#define MAX_RUNS     1000

enum { WALL, CPU, RSS, FIGURES };

struct command {
	char **argv;
	int status;
	double figure[FIGURES][MAX_RUNS];
};

static void die(const char *what)
{
	fprintf(stderr, "timeit: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* 0 when the caches were emptied. */
static int drop_caches(void)
{
	sync();
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = write(fd, "3\n", 2);

	close(fd);
	return n == 2 ? 0 : -1;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * In the child: the alarm outlives the exec. A failed exec is told through the
 * pipe, which a good one closes.
 */
static void become(char **argv, unsigned limit, int tell)
{
	int null = open("/dev/null", O_RDWR);

	if (null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 &&
	    dup2(null, 2) == 2) {
		if (null > 2)
			close(null);
		alarm(limit);
		execvp(argv[0], argv);
	}
	int why = errno;

	if (write(tell, &why, sizeof why) < 0)
		_exit(126);
	_exit(127);
}

/* One run; run < 0 is a warm-up and leaves only its status. */
static void run_once(struct command *c, int run, unsigned limit)
{
	struct rusage use;
	int status, why = 0, tell[2];

	if (pipe2(tell, O_CLOEXEC))
		die("pipe");
	double t0 = now();
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		become(c->argv, limit, tell[1]);
	while (wait4(pid, &status, 0, &use) < 0)
		if (errno != EINTR)
			die("wait");
	double t1 = now();

	close(tell[1]);
	if (read(tell[0], &why, sizeof why) == (ssize_t)sizeof why) {
		errno = why;
		die(c->argv[0]);
	}
	close(tell[0]);
	int code = WIFEXITED(status) ? WEXITSTATUS(status)
				     : 128 + WTERMSIG(status);

	if (code > c->status)
		c->status = code;
	if (run < 0)
		return;
	c->figure[WALL][run] = t1 - t0;
	c->figure[CPU][run] = seconds(use.ru_utime) + seconds(use.ru_stime);
	c->figure[RSS][run] = (double)use.ru_maxrss;
}

static void make_ready(const char *prepare, int cold)
{
	if (prepare && system(prepare)) {
		errno = ECANCELED;
		die(prepare);
	}
	if (cold && drop_caches())
		die("drop_caches");
}

static int up(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void report(struct command *c, int number, int runs)
{
	static const int digits[FIGURES] = { 6, 6, 0 };

	printf("%d\t%d\t%d", number, runs, c->status);
	for (int f = 0; f < FIGURES; f++) {
		double *v = c->figure[f];

		qsort(v, (size_t)runs, sizeof *v, up);
		double median = (v[(runs - 1) / 2] + v[runs / 2]) / 2;
		int d = digits[f];

		printf("\t%.*f\t%.*f\t%.*f", d, v[0], d, median, d,
		       v[runs - 1]);
	}
	putchar('\n');
}

/* Splits the arguments at ":::" into commands; returns how many. */
static int split(char **argv, struct command *cmd)
{
	int n = 0;

	while (*argv) {
		if (n == MAX_COMMANDS) {
			errno = E2BIG;
			die("commands");
		}
		cmd[n++].argv = argv;
		while (*argv && strcmp(*argv, ":::"))
			argv++;
		if (*argv)
			*argv++ = NULL;
		if (!*cmd[n - 1].argv) {
			errno = EINVAL;
			die("empty command");
		}
	}
	return n;
}

static long number(const char *s, long low, long high)
{
	char *end;
	long v = strtol(s, &end, 10);

	if (end == s || *end || v < low || v > high) {
		errno = EINVAL;
		die(s);
	}
	return v;
}

int main(int argc, char **argv)
{
	static struct command cmd[MAX_COMMANDS];
	int opt, cold = 0, runs = 5, warm = 1;
	const char *prepare = NULL;
	unsigned limit = 0;

	while ((opt = getopt(argc, argv, "+n:w:t:cp:")) != -1) {
		if (opt == 'n')
			runs = (int)number(optarg, 1, MAX_RUNS);
		else if (opt == 'w')
			warm = (int)number(optarg, 0, MAX_RUNS);
		else if (opt == 't')
			limit = (unsigned)number(optarg, 0, 86400);
		else if (opt == 'c')
			cold = 1;
		else if (opt == 'p')
			prepare = optarg;
		else
			return 2;
	}
	int commands = split(argv + optind, cmd);

	if (cold && drop_caches())
		return 3;
	if (!commands)
		return cold ? 0 : 2;
	for (int r = -warm; r < runs; r++)
		for (int k = 0; k < commands; k++) {
			make_ready(prepare, cold);
			run_once(&cmd[k], r < 0 ? -1 : r, limit);
		}
	puts("command\truns\tstatus\twall_min\twall_med\twall_max\t"
	     "cpu_min\tcpu_med\tcpu_max\trss_min\trss_med\trss_max");
	for (int k = 0; k < commands; k++)
		report(&cmd[k], k + 1, runs);
	return fflush(stdout) ? 1 : 0;
}
