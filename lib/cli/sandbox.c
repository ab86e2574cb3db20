/*
 * sandbox.c - privileges, limits, and the report of a forbidden system call.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/sandbox.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/cli.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of a call that a filter trapped */
#endif

/* What the signal handler can reach. */
static const char *name;
static unsigned arch;

/* The calls that an intruder would want; of all others the number must do. */
static const struct {
	long number;
	const char *name;
} known[] = {
	{SYS_execve, "execve"},
	{SYS_execveat, "execveat"},
	{SYS_clone, "clone"},
#ifdef SYS_fork
	{SYS_fork, "fork"},
	{SYS_vfork, "vfork"},
#endif
	{SYS_socket, "socket"},
	{SYS_connect, "connect"},
	{SYS_ptrace, "ptrace"},
	{SYS_kill, "kill"},
	{SYS_tgkill, "tgkill"},
	{SYS_mount, "mount"},
	{SYS_unshare, "unshare"},
	{SYS_setuid, "setuid"},
	{SYS_ioctl, "ioctl"},
	{SYS_mprotect, "mprotect"},
	{SYS_bpf, "bpf"},
	{SYS_prctl, "prctl"},
#ifdef SYS_open
	{SYS_open, "open"},
	{SYS_unlink, "unlink"},
	{SYS_rename, "rename"},
	{SYS_chmod, "chmod"},
#endif
	{SYS_openat, "openat"},
	{SYS_unlinkat, "unlinkat"},
	{SYS_fchmodat, "fchmodat"},
	{SYS_process_vm_writev, "process_vm_writev"},
};

static size_t put_text(char *at, const char *text)
{
	size_t n = strlen(text);

	memcpy(at, text, n);
	return n;
}

static size_t put_number(char *at, unsigned value)
{
	char digits[12];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	for (size_t i = 0; i < n; i++)
		at[i] = digits[n - 1 - i];
	return n;
}

/* Of what this calls, nothing allocates or locks. */
static void __attribute__((noreturn)) on_forbidden(int sig, siginfo_t *info,
						   void *context)
{
	char line[200];
	size_t n = put_text(line, name);

	bool foreign = info->si_code == SYS_SECCOMP && info->si_arch != arch;

	(void)context;
	n += put_text(line + n, info->si_code == SYS_SECCOMP ?
			": sandbox: forbidden system call " :
			": killed by signal ");
	n += put_number(line + n, info->si_code == SYS_SECCOMP ?
			(unsigned)info->si_syscall : (unsigned)sig);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (info->si_code == SYS_SECCOMP && !foreign &&
		    info->si_syscall == known[i].number) {
			n += put_text(line + n, " (");
			n += put_text(line + n, known[i].name);
			n += put_text(line + n, ")");
		}
	if (foreign)
		n += put_text(line + n, " of another architecture");
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		_exit(Q2_EXIT_SANDBOX); /* nobody is there to be told */
	_exit(Q2_EXIT_SANDBOX);
}

static bool catch_forbidden(void)
{
	struct sigaction new = {.sa_sigaction = on_forbidden};

	new.sa_flags = SA_SIGINFO;
	sigfillset(&new.sa_mask);
	return sigaction(SIGSYS, &new, NULL) == 0;
}

bool q2_cli_is_nbd(const char *path)
{
	return path != NULL && (strncmp(path, "nbd:", 4) == 0 ||
				strncmp(path, "nbds:", 5) == 0 ||
				strncmp(path, "nbd+", 4) == 0 ||
				strncmp(path, "nbds+", 5) == 0);
}

/* Sanitizers look after the process by means that no tool has a use for. */
static bool has_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#endif
#endif
	return false;
}

static bool limit(unsigned needs)
{
	/* Tables hold what guests wrote: no core file must show it. */
	const struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
	/* For users other than root, where there is no filter. */
	if ((needs & (Q2_SANDBOX_THREADS | Q2_SANDBOX_NET)) == 0)
		(void)setrlimit(RLIMIT_NPROC, &none);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       catch_forbidden() && q2_cli_sandbox_calls(needs);
}

int q2_cli_sandbox_start(struct q2_cli_sandbox *s,
			 const struct q2_cli_tool *tool,
			 enum q2_sandbox_mode mode, unsigned needs)
{
	const char *lack = NULL;

	s->verbose |= !s->quiet && isatty(STDERR_FILENO) == 1;
	s->tool = tool;
	s->mode = mode;
	s->ruleset = -1;
	s->net = (needs & Q2_SANDBOX_NET) != 0;
	s->started = mode != Q2_SANDBOX_OFF && !has_sanitizer();
	if (s->started) {
		name = tool->name;
		arch = q2_cli_sandbox_arch();
		if (!limit(needs))
			lack = "sandbox: the kernel, or this build, has no "
			       "filter for system calls";
	}
	if (mode == Q2_SANDBOX_REQUIRED && lack == NULL &&
	    !(s->started && q2_cli_sandbox_paths(s)))
		lack = "sandbox: the kernel, or this build, cannot limit the "
		       "files to be opened";
	if (lack == NULL || (!s->verbose && mode != Q2_SANDBOX_REQUIRED))
		return 0;
	q2_cli_complain(tool, NULL, lack);
	return mode == Q2_SANDBOX_REQUIRED ? Q2_EXIT_FAILED : 0;
}
