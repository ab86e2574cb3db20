/*
 * calls_sandbox.c - a tool confines itself, or says that it could not.
 *
 * SPDX-License-Identifier: MIT
 *
 * With --require-sandbox no failure, of whatever call, may leave a tool that works
 * without being confined.  Here the last steps, which could not be taken back, are
 * only counted.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "cli/cli.h"

#if defined(HAVE_LIBSECCOMP) && !defined(__SANITIZE_ADDRESS__) &&               \
	!defined(__SANITIZE_THREAD__)
#define HAS_FILTER
#endif

static const struct q2_cli_tool tool = {.name = "calls"};
static bool filtered, restricted, no_privileges, no_core;
static sigjmp_buf ended;
static int status;

int __wrap_seccomp_load(void *ctx);
int __wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c,
		 unsigned long d);
int __wrap_setrlimit64(int what, const struct rlimit *to);
long __real_syscall(long number, ...);
void __wrap__exit(int code) __attribute__((noreturn));
void *__real_seccomp_init(uint32_t action);
void *__wrap_seccomp_init(uint32_t action);
int __real_seccomp_rule_add_array(void *ctx, uint32_t action, int call,
				  unsigned n, const void *args);
int __wrap_seccomp_rule_add_array(void *ctx, uint32_t action, int call,
				  unsigned n, const void *args);
int __wrap_seccomp_rule_add(void *ctx, uint32_t action, int call, unsigned n);

#ifdef HAVE_LIBSECCOMP
int __wrap_seccomp_load(void *ctx)
{
	(void)ctx;
	if (fail_now(FAIL_LOCK))
		return -EINVAL;
	filtered = true;
	return 0;
}

void *__wrap_seccomp_init(uint32_t action)
{
	return fail_now(FAIL_ALLOC) ? NULL : __real_seccomp_init(action);
}

int __wrap_seccomp_rule_add_array(void *ctx, uint32_t action, int call,
				  unsigned n, const void *args)
{
	return fail_now(FAIL_ALLOC) ? -ENOMEM :
				      __real_seccomp_rule_add_array(
					      ctx, action, call, n, args);
}

/* Without any condition. */
int __wrap_seccomp_rule_add(void *ctx, uint32_t action, int call, unsigned n)
{
	(void)n;
	return fail_now(FAIL_ALLOC) ? -ENOMEM :
				      __real_seccomp_rule_add_array(
					      ctx, action, call, 0, NULL);
}
#endif

int __wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c,
		 unsigned long d)
{
	(void)a;
	(void)b;
	(void)c;
	(void)d;
	if (fail_now(FAIL_LOCK))
		return -1;
	no_privileges |= what == PR_SET_NO_NEW_PRIVS;
	return 0;
}

int __wrap_setrlimit64(int what, const struct rlimit *to)
{
	no_core |= what == RLIMIT_CORE && to->rlim_max == 0;
	return 0;
}

void __wrap__exit(int code)
{
	status = code;
	siglongjmp(ended, 1);
}

/* Landlock, of this version; 0: the kernel has none. */
static int version = 6;

long fail_landlock(long number, long first)
{
	if (version == 0) {
		errno = ENOSYS;
		return -1;
	}
	if (number == SYS_landlock_create_ruleset)
		return first == 0 ? version : dup(STDERR_FILENO);
	restricted |= number == SYS_landlock_restrict_self;
	return 0;
}

static enum q2_status confine(enum q2_sandbox_mode mode, unsigned needs,
			      struct q2_err *err)
{
	static struct q2_cli_sandbox s;

	s = (struct q2_cli_sandbox){.verbose = mode == Q2_SANDBOX_REQUIRED,
				    .ruleset = -1};
	filtered = restricted = no_privileges = no_core = false;
	if (sigsetjmp(ended, 1) == 0) {
		status = q2_cli_sandbox_start(&s, &tool, mode, needs);
		q2_cli_sandbox_allow(&s, "given/top.qcow2",
				     Q2_SANDBOX_ALL_FILES);
		q2_cli_sandbox_allow(&s, "given/nothing", Q2_SANDBOX_ALL_FILES);
		q2_cli_sandbox_allow(&s, NULL, Q2_SANDBOX_ALL_FILES);
		q2_cli_sandbox_allow_folder(&s, "work/new",
					    Q2_SANDBOX_MAKE_FILES);
		q2_cli_sandbox_allow_folder(&s, "given", Q2_SANDBOX_READ_FILES);
		q2_cli_sandbox_allow_nbd(&s, needs & Q2_SANDBOX_NET ?
					 "nbds://server/x" : "image");
		if (status == 0) {
			q2_cli_sandbox_close(&s);
			q2_cli_sandbox_close(&s);
		}
	}
	if (s.ruleset >= 0)
		close(s.ruleset);
	if (status == 0)
		return Q2_OK;
	snprintf(err->text, sizeof(err->text), "status %d", status);
	return Q2_E_UNSUPPORTED;
}

static void begin(void)
{
	empty_work();
	version = 6;
}

#ifdef HAVE_LIBSECCOMP
static enum q2_status run_required(struct q2_err *err)
{
	static const unsigned needs[] = {
		0, Q2_SANDBOX_WRITE, Q2_SANDBOX_THREADS,
		Q2_SANDBOX_NET | Q2_SANDBOX_WRITE | Q2_SANDBOX_THREADS};
	static const int versions[] = {1, 3, 4, 6};
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < 4 && st == Q2_OK; i++) {
		version = versions[i];
		st = confine(Q2_SANDBOX_REQUIRED, needs[i], err);
	}
	return st;
}

/* What is said to be confined, is. */
static bool right_required(bool done)
{
	bool all = filtered && restricted && no_privileges && no_core;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	all = true;
#endif
	return !done || all;
}
#endif

static enum q2_status run_auto(struct q2_err *err)
{
	enum q2_status st = confine(Q2_SANDBOX_AUTO, 0, err);

	version = 0;
	return st == Q2_OK ? confine(Q2_SANDBOX_AUTO, 0, err) : st;
}

/* Where the kernel cannot, the tool works all the same. */
static bool right_auto(bool done)
{
	return done;
}

/* -------------------------------------------------------- what is forbidden */
#ifdef HAS_FILTER
static void raise_as(int code, int call)
{
	siginfo_t info = {.si_signo = SIGSYS, .si_code = code};

	info.si_syscall = call;
	info.si_arch = call == SYS_openat ? 0 : q2_cli_sandbox_arch();
	/* To itself a process may say that the kernel sent it. */
	if (__real_syscall(SYS_rt_sigqueueinfo, getpid(), SIGSYS, &info) != 0)
		die("SIGSYS cannot be raised");
}

static enum q2_status run_forbidden(struct q2_err *err)
{
	/* si_code of the filter's, known calls, one of no name, and another cause */
	static const int calls[] = {SYS_execve, SYS_socket, SYS_openat,
				    SYS_getpid};
	char text[4][200];
	int saved = dup(STDERR_FILENO), pipes[2];
	enum q2_status st = confine(Q2_SANDBOX_REQUIRED, 0, err);

	for (int i = 0; i < 4 && st == Q2_OK; i++) {
		ssize_t n;

		if (pipe(pipes) != 0 || dup2(pipes[1], STDERR_FILENO) < 0)
			die("no pipe");
		if (sigsetjmp(ended, 1) == 0) {
			raise_as(i == 3 ? SI_QUEUE : 1, calls[i]);
			status = 0;
		}
		dup2(saved, STDERR_FILENO);
		close(pipes[1]);
		n = 0;
		while (n >= 0 && memchr(text[i], '\n', (size_t)n) == NULL) {
			ssize_t more = read(pipes[0], text[i] + n,
					    sizeof(text[i]) - (size_t)n);

			if (more <= 0)
				break;
			n += more;
		}
		close(pipes[0]);
		if (status != Q2_EXIT_SANDBOX)
			st = Q2_E_UNSUPPORTED;
		result_add(text[i], (size_t)(n > 0 ? n : 0));
	}
	close(saved);
	signal(SIGSYS, SIG_DFL);
	if (st != Q2_OK)
		strcpy(err->text, "not as it should be");
	return st;
}
#endif

const struct scene sandbox_scenes[] = {
#ifdef HAVE_LIBSECCOMP
	{"sandbox required", begin, run_required, right_required, 0},
#endif
	{"sandbox", begin, run_auto, right_auto, SCENE_TOLERANT},
#ifdef HAS_FILTER
	{"sandbox and an intruder", begin, run_forbidden, NULL,
	 SCENE_TOLERANT | SCENE_FEW},
#endif
	{0},
};
