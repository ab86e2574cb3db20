/*
 * sandbox_calls.c - system calls that may be made: seccomp.
 *
 * SPDX-License-Identifier: MIT
 *
 * A list of what is allowed; whatever else is called ends the process.  The names
 * are those of all architectures and C libraries: a name that there is not here
 * costs nothing.
 */
#include "cli/sandbox.h"

#ifndef HAVE_LIBSECCOMP

bool q2_cli_sandbox_calls(unsigned needs)
{
	(void)needs;
	return false;
}

unsigned q2_cli_sandbox_arch(void)
{
	return 0;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/loop.h>
#include <seccomp.h>

#define N(array) (sizeof(array) / sizeof(*(array)))

static const int always[] = {
	/* files that are open */
	SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(readv), SCMP_SYS(preadv),
	SCMP_SYS(write), SCMP_SYS(pwrite64), SCMP_SYS(writev),
	SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(_llseek),
	SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(fstat64),
	SCMP_SYS(fstatfs), SCMP_SYS(fstatfs64), SCMP_SYS(fadvise64),
	SCMP_SYS(fadvise64_64), SCMP_SYS(arm_fadvise64_64),
	SCMP_SYS(readahead), SCMP_SYS(getdents), SCMP_SYS(getdents64),
	SCMP_SYS(fcntl), SCMP_SYS(fcntl64), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64),
	SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(ppoll_time64), SCMP_SYS(select), SCMP_SYS(_newselect),
	SCMP_SYS(pselect6), SCMP_SYS(pselect6_time64),
	/* names: what they are, not what is in them */
	SCMP_SYS(stat), SCMP_SYS(stat64), SCMP_SYS(lstat), SCMP_SYS(lstat64),
	SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(statx),
	SCMP_SYS(statfs), SCMP_SYS(statfs64), SCMP_SYS(readlink),
	SCMP_SYS(readlinkat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(getcwd),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	/* time, and waiting for it */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64),
	SCMP_SYS(clock_getres), SCMP_SYS(clock_getres_time64),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_nanosleep_time64),
	SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	/* signals, threads that there are, and the end */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaction), SCMP_SYS(sigprocmask),
	SCMP_SYS(sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(futex),
	SCMP_SYS(futex_time64), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* about ourselves and the machine */
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid),
	SCMP_SYS(getuid32), SCMP_SYS(geteuid), SCMP_SYS(geteuid32),
	SCMP_SYS(getgid), SCMP_SYS(getgid32), SCMP_SYS(getegid),
	SCMP_SYS(getegid32), SCMP_SYS(getrlimit), SCMP_SYS(ugetrlimit),
	SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(uname),
	SCMP_SYS(getrandom),
};

/* By number: libseccomp may not know them.  To give up more is always right. */
static const int landlock[] = {444, 445, 446};

static const int writing[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(rename), SCMP_SYS(renameat),
	SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat),
	SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(flock),
	SCMP_SYS(fallocate), SCMP_SYS(utimensat), SCMP_SYS(utimensat_time64),
	SCMP_SYS(fchmod),
};

static const int network[] = {
	SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt), SCMP_SYS(send), SCMP_SYS(sendto),
	SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recv),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),
	SCMP_SYS(recvmmsg_time64), SCMP_SYS(shutdown), SCMP_SYS(socketcall),
	SCMP_SYS(socketpair), SCMP_SYS(pipe2), SCMP_SYS(mmap),
	SCMP_SYS(mmap2), SCMP_SYS(mprotect),
};

/* The C library tries these and falls back on something older. */
static const int newer[] = {
	SCMP_SYS(clone3), SCMP_SYS(openat2),
};

static const unsigned long requests[] = {
	TIOCGWINSZ, 0x5401 /* TCGETS, by which isatty() asks */, BLKGETSIZE64,
	BLKDISCARD, BLKZEROOUT, FICLONERANGE, LOOP_GET_STATUS64,
};

static bool allow_all(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0) != 0)
			return false;
	return true;
}

/* `call` is done as `action` says if argument `arg`, under `mask`, is `value`. */
static bool when(scmp_filter_ctx ctx, uint32_t action, int call, unsigned arg,
		 uint64_t mask, uint64_t value)
{
	struct scmp_arg_cmp same = {.arg = arg,
				    .op = SCMP_CMP_MASKED_EQ,
				    .datum_a = mask,
				    .datum_b = value};

	return seccomp_rule_add_array(ctx, action, call, 1, &same) == 0;
}

/* Files are opened to be read. */
static bool allow_reading(scmp_filter_ctx ctx)
{
	const uint64_t change = O_ACCMODE | O_CREAT | O_TRUNC;

	return when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, change, 0) &&
	       when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, change, 0);
}

/* No memory becomes code.  A library that is loaded late is refused in a way that
 * it can tell; some do without. */
static bool allow_memory(scmp_filter_ctx ctx)
{
	static const int maps[] = {SCMP_SYS(mmap2),
#ifndef __s390__ /* there the arguments lie in memory */
				   SCMP_SYS(mmap)
#endif
	};
	bool ok = when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 2, PROT_EXEC,
		       0);

	for (size_t i = 0; i < N(maps) && ok; i++)
		ok = when(ctx, SCMP_ACT_ALLOW, maps[i], 2, PROT_EXEC, 0) &&
		     when(ctx, SCMP_ACT_ERRNO(EACCES), maps[i], 2, PROT_EXEC,
			  PROT_EXEC);
#ifdef __s390__
	ok = ok && seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap),
				    0) == 0;
#endif
	return ok;
}

static bool allow_threads(scmp_filter_ctx ctx)
{
#ifdef __s390__
	const unsigned flags = 1;
#else
	const unsigned flags = 0;
#endif

	return when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), flags, CLONE_THREAD,
		    CLONE_THREAD);
}

/* abort() raises a signal in our own process; names may be given to memory. */
static bool allow_special(scmp_filter_ctx ctx)
{
	const uint64_t low = UINT32_MAX;
	bool ok = when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0, low,
		       (uint64_t)getpid()) &&
		  when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0, low,
		       0x53564d41 /* PR_SET_VMA */) &&
		  /* to ask, not to set */
		  when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, UINT64_MAX,
		       0);

	for (size_t i = 0; i < N(requests) && ok; i++)
		ok = when(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, low,
			  requests[i] & low);
	for (size_t i = 0; i < N(newer) && ok; i++)
		ok = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), newer[i],
				      0) == 0;
	return ok;
}

static bool fill(scmp_filter_ctx ctx, unsigned needs)
{
	bool ok = allow_all(ctx, always, N(always)) &&
		  allow_all(ctx, landlock, N(landlock)) && allow_special(ctx);

	ok = ok && (needs & Q2_SANDBOX_WRITE ?
			    allow_all(ctx, writing, N(writing)) :
			    allow_reading(ctx));
	/* The resolver of host names loads libraries. */
	ok = ok && (needs & Q2_SANDBOX_NET ?
			    allow_all(ctx, network, N(network)) :
			    allow_memory(ctx));
	if (needs & Q2_SANDBOX_THREADS)
		ok = ok && allow_threads(ctx);
	return ok;
}

bool q2_cli_sandbox_calls(unsigned needs)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	bool ok;

#ifdef Q2_COVERAGE /* the counts are written to files in the end */
	if (ctx) {
		(void)allow_all(ctx, writing, N(writing));
		(void)seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mkdir), 0);
	}
#endif
	if (ctx == NULL)
		return false;
	/* By default that ends the thread alone, and says nothing. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP);
	/* A tree instead of a list; no matter if it cannot be had. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	ok = fill(ctx, needs) && seccomp_load(ctx) == 0;
	seccomp_release(ctx);
	return ok;
}

unsigned q2_cli_sandbox_arch(void)
{
	return seccomp_arch_native();
}

#endif
