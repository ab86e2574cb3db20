/*
 * q2guard.c - runs one command on one image, and watches what it does.
 *
 * SPDX-License-Identifier: MIT
 *
 * Limits of time, memory, processes and disk; the image before and after; whether a file
 * was opened that only the image names, and whether anything outside of the image's
 * folder would have been changed.  Prints one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"

#define FOLDERS 16u
#define PROCESSES 500u
#define LOOK 0.02 /* seconds between two looks at what it uses */
#define FORKS 100u /* processes that begin between two looks */
#define GRACE 0.1 /* for what is about to end */

static const char help[] =
	"usage: q2guard [--max-time S] [--max-rss MB] [--max-file MB] [--may-write DIR]...\n"
	"               IMAGE COMMAND\n"
	"COMMAND is for sh; @@ in it is the image.  Prints one line of JSON.  Nothing\n"
	"outside of the image's folder, and of --may-write, can be changed.\n"
	"Exit status: that of the command, 124 stopped at a limit, 128+N signal N.\n";

static struct {
	double time;
	uint64_t rss_kb, file;
	const char *folders[FOLDERS]; /* the image's own is the first */
	size_t n_folders;
} opt = {.time = 20, .file = UINT64_C(1) << 30, .n_folders = 1};

struct result {
	struct guard_seen seen;
	struct guard_use use; /* the most */
	bool late, large, full, many;
	bool filtered; /* by seccomp, not by a preloaded library */
	unsigned left;
	double took;
	int status;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	stopped = number;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void limit(__rlimit_resource_t what, uint64_t most)
{
	struct rlimit l = {most, most};

	if (most)
		setrlimit(what, &l);
}

/* Of sanitizers a signal is wanted; who has wishes of his own gets them. */
static void sanitizer(const char *name, const char *wanted)
{
	const char *own = getenv(name);
	char text[4096];

	snprintf(text, sizeof(text), "%s%s%s", wanted, own ? ":" : "",
		 own ? own : "");
	setenv(name, text, 1);
}

static void preload(int log)
{
	char self[PATH_MAX], so[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return;
	self[n] = 0;
	snprintf(so, sizeof(so), "%s/q2canary.so", dirname(self));
	if (access(so, R_OK) != 0)
		return;
	setenv("LD_PRELOAD", so, 1);
	snprintf(self, sizeof(self), "/proc/%d/fd/%d", getppid(), log);
	setenv("Q2_CANARY_LOG", self, 1);
}

static void child(const char *command, int sock, int log)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	setpgid(0, 0);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	(void)!write(score, "1000", 4); /* if memory is short, it is the one */
	limit(RLIMIT_FSIZE, opt.file);
	limit(RLIMIT_CORE, 1);
	setenv("TMPDIR", opt.folders[0], 1);
	sanitizer("ASAN_OPTIONS", "abort_on_error=1");
	sanitizer("MSAN_OPTIONS", "abort_on_error=1");
	sanitizer("UBSAN_OPTIONS", "halt_on_error=1:abort_on_error=1");
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (!guard_watch_child(sock))
		preload(log);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* False if it is over a limit. */
static bool look_at_use(struct result *r, uint64_t before)
{
	struct guard_use use = guard_tree_use(opt.rss_kb ? opt.rss_kb : UINT64_MAX);

	if (use.kb > r->use.kb)
		r->use.kb = use.kb;
	r->large = opt.rss_kb && use.kb > opt.rss_kb;
	r->many = use.count > PROCESSES;
	r->full = opt.file && guard_folder(opt.folders[0]) + use.nameless >=
				      before + opt.file;
	return !r->large && !r->many && !r->full;
}

/* Waits for an event, and answers if it is a question. */
static void attend(struct result *r, int *watch, int process)
{
	struct pollfd p[] = {{.fd = *watch, .events = POLLIN},
			     {.fd = process, .events = POLLIN}};

	if (poll(p, 2, process < 0 ? 1 : 20) <= 0)
		return;
	if (p[0].revents & POLLIN) {
		guard_watch_answer(*watch, opt.folders, opt.n_folders, &r->seen);
	} else if (p[0].revents) { /* nobody is left to ask */
		close(*watch);
		*watch = -1;
	}
}

/* False if it is time to stop it.  What begins has to wait for us to look. */
static bool goes_on(struct result *r, int *watch, int process, uint64_t before)
{
	static double next;
	static unsigned forks;

	if (now() >= next || r->seen.forks - forks > FORKS) {
		if (!look_at_use(r, before))
			return false;
		next = now() + LOOK;
		forks = r->seen.forks;
	}
	attend(r, watch, process);
	return !stopped;
}

/* True if it ended by itself. */
static bool wait_for(pid_t pid, struct result *r, int *watch, uint64_t before)
{
	int process = (int)syscall(__NR_pidfd_open, pid, 0);
	double start = now();
	bool ended = false;

	do {
		ended = waitpid(pid, &r->status, WNOHANG) == pid;
		r->took = now() - start;
		r->late = !ended && r->took > opt.time;
	} while (!ended && !r->late && goes_on(r, watch, process, before));
	if (process >= 0)
		close(process);
	start = now();
	while (ended && guard_tree_any() && now() - start < GRACE)
		if (!goes_on(r, watch, -1, before))
			break;
	return ended;
}

static void put_text(const char *text)
{
	putchar('"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
			printf("\\u%04x", *p);
		else
			putchar(*p);
	putchar('"');
}

static const char *yes(bool b)
{
	return b ? "true" : "false";
}

static int tell(const struct result *r, const struct guard_state *before,
		const struct guard_state *after)
{
	bool ended = !r->late && !r->large && !r->full && !r->many;
	int code = !ended ? 124 :
		   WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status) :
					    WEXITSTATUS(r->status);

	printf("{\"status\":%d,\"signal\":%d,\"timeout\":%s,\"seconds\":%.3f,"
	       "\"rss_kb\":%llu,\"rss_exceeded\":%s,\"disk_exceeded\":%s,"
	       "\"too_many\":%s,\"left\":%u,\"changed\":%s,\"grew\":%lld,"
	       "\"canary\":%s,\"elsewhere\":%s,\"watch\":\"%s\",\"where\":",
	       code, code > 128 && code < 128 + 65 ? code - 128 : 0,
	       yes(r->late), r->took, (unsigned long long)r->use.kb,
	       yes(r->large), yes(r->full), yes(r->many), r->left,
	       yes(before->hash != after->hash || before->size != after->size),
	       (long long)(after->size - before->size), yes(r->seen.canary),
	       yes(r->seen.elsewhere), r->filtered ? "seccomp" : "preload");
	put_text(r->seen.where);
	puts("}");
	return code;
}

static void run(const char *command, struct result *r)
{
	int pair[2], log = memfd_create("canary", MFD_CLOEXEC), watch;
	uint64_t before = guard_folder(opt.folders[0]);
	struct rusage use = {0};
	bool ended;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
	    (pid = fork()) < 0) {
		perror("q2guard");
		exit(2);
	}
	if (pid == 0)
		child(command, pair[1], log);
	close(pair[1]);
	watch = guard_watch_from(pair[0]);
	close(pair[0]);
	r->filtered = watch >= 0;
	ended = wait_for(pid, r, &watch, before);
	r->left = guard_tree_end();
	if (!ended)
		r->left = 0;
	getrusage(RUSAGE_CHILDREN, &use);
	if ((uint64_t)use.ru_maxrss > r->use.kb)
		r->use.kb = (uint64_t)use.ru_maxrss;
	r->large |= ended && opt.rss_kb && r->use.kb > opt.rss_kb;
	r->full |= opt.file && guard_folder(opt.folders[0]) >= before + opt.file;
	r->seen.canary |= lseek(log, 0, SEEK_END) > 0;
}

static int guard(const char *image, const char *text)
{
	char command[65536], real[PATH_MAX], folder[PATH_MAX];
	struct guard_state before = guard_look(image), after;
	struct sigaction act = {.sa_handler = stop};
	struct result r = {0};

	if (before.size < 0 || realpath(image, real) == NULL) {
		fprintf(stderr, "q2guard: %s: not a file that can be read\n", image);
		return 2;
	}
	if (!guard_expand(command, sizeof(command), text, real)) {
		fprintf(stderr, "q2guard: no @@ in '%s', or too long\n", text);
		return 2;
	}
	memcpy(folder, real, sizeof(folder));
	opt.folders[0] = dirname(folder);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	guard_tree_adopt();
	run(command, &r);
	if (stopped)
		return 128 + (int)stopped;
	after = guard_look(image);
	return tell(&r, &before, &after);
}

static bool take(const char *name, const char *value)
{
	static char real[FOLDERS][PATH_MAX];
	char *end;
	double number = strtod(value, &end);

	if (strcmp(name, "--may-write") == 0) {
		if (opt.n_folders == FOLDERS ||
		    realpath(value, real[opt.n_folders]) == NULL)
			return false;
		opt.folders[opt.n_folders] = real[opt.n_folders];
		opt.n_folders++;
		return true;
	}
	if (*value == 0 || *end || !(number >= 0 && number < 1e9))
		return false;
	if (strcmp(name, "--max-time") == 0)
		opt.time = number;
	else if (strcmp(name, "--max-rss") == 0)
		opt.rss_kb = (uint64_t)(number * 1024);
	else if (strcmp(name, "--max-file") == 0)
		opt.file = (uint64_t)(number * (1 << 20));
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	int i = 1;

	while (i + 1 < argc && strncmp(argv[i], "--", 2) == 0 &&
	       take(argv[i], argv[i + 1]))
		i += 2;
	if (argc - i != 2) {
		fputs(help, stderr);
		return 2;
	}
	return guard(argv[i], argv[i + 1]);
}
