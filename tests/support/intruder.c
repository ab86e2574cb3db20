/*
 * intruder.c - a library to preload: what code would try that had got into a
 * parser.
 *
 * SPDX-License-Identifier: MIT
 *
 * INTRUDER=CALL  at the first pread(), which is of an image's header, this call is
 *                made; "intruder: CALL: ..." on stderr tells how it went, and the
 *                process ends with 99 if it was done, 98 if the kernel refused it.
 * INTRUDER_FILE  the file for the calls that take one
 * NO_LANDLOCK, NO_SECCOMP   set: the kernel lacks that
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static long call_open(int flags)
{
	return syscall(SYS_openat, AT_FDCWD, getenv("INTRUDER_FILE"), flags,
		       0600);
}

static long call_fork(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long call_execve(void)
{
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"exit 99"},
			NULL};

	return execv("/bin/sh", argv);
}

static long call_socket(int family)
{
	return syscall(SYS_socket, family, SOCK_STREAM, 0);
}

static long call_mmap(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static long call_mprotect(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : mprotect(at, 4096,
						PROT_READ | PROT_EXEC);
}

/* As a program of the 32-bit architecture would call: another table of numbers. */
static long call_foreign(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	long got;

	__asm__ volatile("int $0x80" : "=a"(got) : "0"(20L /* getpid */)
			 : "memory", "r8", "r9", "r10", "r11");
	return got;
#else
	return syscall(SYS_execve, "/bin/sh", NULL, NULL);
#endif
}

static long call_thread(void)
{
	/* Shares nothing by which it could run: only the answer counts. */
	return syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0);
}

static long call(const char *what)
{
	static const char name[] = "INTRUDER_FILE";
	char c = 'x';

#define IS(text) (strcmp(what, text) == 0)
	if (IS("read"))
		return call_open(O_RDONLY);
	if (IS("write"))
		return call_open(O_WRONLY);
	if (IS("create"))
		return call_open(O_RDWR | O_CREAT | O_EXCL);
	if (IS("unlink"))
		return syscall(SYS_unlinkat, AT_FDCWD, getenv(name), 0);
	if (IS("rename"))
		return rename(getenv(name), "elsewhere");
	if (IS("chmod"))
		return syscall(SYS_fchmodat, AT_FDCWD, getenv(name), 0777, 0);
	if (IS("truncate"))
		return truncate(getenv(name), 0);
	if (IS("mkdir"))
		return mkdir("intruder.d", 0700);
	if (IS("execve"))
		return call_execve();
	if (IS("fork"))
		return call_fork();
	if (IS("foreign"))
		return call_foreign();
	if (IS("thread"))
		return call_thread();
	if (IS("inet"))
		return call_socket(AF_INET);
	if (IS("unix"))
		return call_socket(AF_UNIX);
	if (IS("ptrace"))
		return ptrace(PTRACE_TRACEME, 0, 0, 0);
	if (IS("kill"))
		return kill(1, 0);
	if (IS("tgkill"))
		return syscall(SYS_tgkill, 1, 1, 0);
	if (IS("mount")) /* nowhere: the test runs as root, also without a sandbox */
		return syscall(SYS_mount, "none", "no/such/folder", "tmpfs", 0, 0);
	if (IS("unshare"))
		return syscall(SYS_unshare, CLONE_NEWNS);
	if (IS("setuid"))
		return syscall(SYS_setuid, getuid());
	if (IS("tiocsti"))
		return ioctl(STDERR_FILENO, TIOCSTI, &c);
	if (IS("mmap"))
		return call_mmap();
	if (IS("mprotect"))
		return call_mprotect();
	if (IS("setrlimit")) {
		unsigned long none[2] = {0, 0};

		return syscall(SYS_prlimit64, 0, 4, none, NULL);
	}
	if (IS("seccomp"))
		return prctl(PR_SET_SECCOMP, 2, NULL);
	if (IS("keyctl"))
		return syscall(SYS_keyctl, 0, -3, 0);
	if (IS("bpf"))
		return syscall(SYS_bpf, 0, NULL, 0);
	if (IS("readv-other"))
		return process_vm_readv(1, NULL, 0, NULL, 0, 0);
	abort();
#undef IS
}

static void intrude(void)
{
	static int done;
	const char *what = getenv("INTRUDER");
	long got;

	if (what == NULL || done)
		return;
	done = 1;
	got = call(what);
	dprintf(STDERR_FILENO, "intruder: %s: %s\n", what,
		got < 0 ? strerror(errno) : "done");
	_exit(got < 0 ? 98 : 99);
}

ssize_t pread(int fd, void *buf, size_t n, off_t off);
ssize_t pread64(int fd, void *buf, size_t n, off_t off);
long syscall(long number, ...);

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
	intrude();
	return pread64(fd, buf, n, off);
}

ssize_t pread64(int fd, void *buf, size_t n, off_t off)
{
	ssize_t (*real)(int, void *, size_t, off_t);

	*(void **)&real = dlsym(RTLD_NEXT, "pread64");
	intrude();
	return real(fd, buf, n, off);
}

int prctl(int option, ...)
{
	int (*real)(int, long, long, long, long);
	long a[4];
	va_list args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (option == PR_SET_SECCOMP && getenv("NO_SECCOMP")) {
		errno = EINVAL;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "prctl");
	return real(option, a[0], a[1], a[2], a[3]);
}

/* Landlock and seccomp are asked for by number. */
long syscall(long number, ...)
{
	long (*real)(long, long, long, long, long, long, long);
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if ((number == 444 && getenv("NO_LANDLOCK")) ||
	    (number == SYS_seccomp && getenv("NO_SECCOMP"))) {
		errno = ENOSYS;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
