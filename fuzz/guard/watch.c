/*
 * watch.c - files that a command opens and changes, by its system calls.
 *
 * SPDX-License-Identifier: MIT
 *
 * A filter of seccomp has each call that names a file wait for an answer of the parent,
 * which reads the name.  So it sees programs without shared libraries, and such as have
 * a sanitizer, too; whoever changes the name after it was looked at is not caught.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "guard.h"

#define CANARY "Q2-CANARY-DO-NOT-OPEN"
#define NONE 9 /* no such argument */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

#if !defined(ARCH) || !defined(SECCOMP_USER_NOTIF_FLAG_CONTINUE)

bool guard_watch_child(int sock)
{
	(void)!write(sock, "", 1);
	return false;
}

int guard_watch_from(int sock)
{
	char byte;

	(void)!read(sock, &byte, 1);
	return -1;
}

void guard_watch_answer(int fd, const char *const *folders, size_t n,
			struct guard_seen *seen)
{
	(void)fd;
	(void)folders;
	(void)n;
	(void)seen;
}

#else

#define FCHMODAT2 452 /* on all architectures, since Linux 6.6 */

enum kind { OPENS, OPENS_HOW, RUNS, FORKS, CHANGES, FOLLOWS };

/* The calls, and which of their arguments are a folder and a name; of those that open,
 * what for. */
static const struct call {
	int nr;
	enum kind kind;
	uint8_t dir, name, dir2, name2, flags;
} calls[] = {
	{__NR_openat, OPENS, 0, 1, NONE, NONE, 2},
	{__NR_openat2, OPENS_HOW, 0, 1, NONE, NONE, 2},
	{__NR_execve, RUNS, NONE, 0, NONE, NONE, 0},
	{__NR_execveat, RUNS, 0, 1, NONE, NONE, 0},
	{__NR_clone, FORKS, NONE, NONE, NONE, NONE, 0},
	{__NR_clone3, FORKS, NONE, NONE, NONE, NONE, 0},
	{__NR_truncate, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_fchmodat, FOLLOWS, 0, 1, NONE, NONE, 0},
	{__NR_fchownat, FOLLOWS, 0, 1, NONE, NONE, 0},
	{__NR_utimensat, FOLLOWS, 0, 1, NONE, NONE, 0},
	{__NR_setxattr, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_removexattr, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_lsetxattr, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_lremovexattr, CHANGES, NONE, 0, NONE, NONE, 0},
	{FCHMODAT2, FOLLOWS, 0, 1, NONE, NONE, 0},
	{__NR_mkdirat, CHANGES, 0, 1, NONE, NONE, 0},
	{__NR_mknodat, CHANGES, 0, 1, NONE, NONE, 0},
	{__NR_unlinkat, CHANGES, 0, 1, NONE, NONE, 0},
	{__NR_symlinkat, CHANGES, 1, 2, NONE, NONE, 0},
	{__NR_linkat, CHANGES, 0, 1, 2, 3, 0},
	{__NR_renameat2, CHANGES, 0, 1, 2, 3, 0},
#ifdef __NR_renameat
	{__NR_renameat, CHANGES, 0, 1, 2, 3, 0},
#endif
#ifdef __NR_open
	{__NR_fork, FORKS, NONE, NONE, NONE, NONE, 0},
	{__NR_vfork, FORKS, NONE, NONE, NONE, NONE, 0},
	{__NR_open, OPENS, NONE, 0, NONE, NONE, 1},
	{__NR_creat, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_chmod, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_chown, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_lchown, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_utime, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_utimes, FOLLOWS, NONE, 0, NONE, NONE, 0},
	{__NR_futimesat, FOLLOWS, 0, 1, NONE, NONE, 0},
	{__NR_mkdir, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_mknod, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_rmdir, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_unlink, CHANGES, NONE, 0, NONE, NONE, 0},
	{__NR_symlink, CHANGES, NONE, 1, NONE, NONE, 0},
	{__NR_link, CHANGES, NONE, 0, NONE, 1, 0},
	{__NR_rename, CHANGES, NONE, 0, NONE, 1, 0},
#endif
};
#define CALLS (sizeof(calls) / sizeof(*calls))

/* After these, names and files are others than those that were looked at. */
static const int refused[] = {
	__NR_chroot, __NR_mount, __NR_pivot_root, __NR_open_by_handle_at,
};
#define REFUSED (sizeof(refused) / sizeof(*refused))

static size_t make_filter(struct sock_filter *f)
{
	const uint32_t asks = SECCOMP_RET_USER_NOTIF;
	size_t n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH,
					      1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					      SECCOMP_RET_ALLOW);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr));
	/* What opens files past this filter: there is no such thing. */
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
					      __NR_io_uring_setup, 0, 1);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					      SECCOMP_RET_ERRNO | ENOSYS);
	for (size_t i = 0; i < REFUSED; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
				(uint32_t)refused[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						      SECCOMP_RET_ERRNO | EPERM);
	}
	for (size_t i = 0; i < CALLS; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
				(uint32_t)calls[i].nr, 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, asks);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
					      SECCOMP_RET_ALLOW);
	return n;
}

static bool send_fd(int sock, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {0};
	struct iovec v = {.iov_base = u.room, .iov_len = 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *c = &u.align;

		m.msg_control = &u;
		m.msg_controllen = sizeof(u.room);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) == 1 && fd >= 0;
}

bool guard_watch_child(int sock)
{
	struct sock_filter filter[8 + 2 * (CALLS + REFUSED)];
	struct sock_fprog program = {.filter = filter};
	long fd;

	program.len = (unsigned short)make_filter(filter);
	fd = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
		     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0 && errno == EACCES &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		fd = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
			     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (!send_fd(sock, (int)fd))
		return false;
	close((int)fd);
	return true;
}

int guard_watch_from(int sock)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {0};
	char byte;
	struct iovec v = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u,
			   .msg_controllen = sizeof(u)};
	int fd = -1;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) == 1 &&
	    m.msg_controllen >= CMSG_LEN(sizeof(int)) &&
	    u.align.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&u.align), sizeof(fd));
	return fd;
}

/* Up to its end, over however many pages: each may be the last. */
static bool read_name(pid_t pid, uint64_t at, char *name, size_t room)
{
	size_t n = 0;

	while (n + 1 < room) {
		uint64_t here = at + n;
		size_t len = 4096 - here % 4096;
		struct iovec to = {.iov_base = name + n, .iov_len = len};
		struct iovec from = {.iov_base = (void *)(uintptr_t)here};

		if (len > room - 1 - n)
			len = room - 1 - n;
		to.iov_len = from.iov_len = len;
		if (process_vm_readv(pid, &to, 1, &from, 1, 0) != (ssize_t)len)
			return false;
		if (memchr(name + n, 0, len))
			return true;
		n += len;
	}
	name[n] = 0;
	return true;
}

/* `name` as a path for this process. */
static bool whole(char *out, size_t room, pid_t pid, int dir, const char *name)
{
	char link[64];
	ssize_t n;

	/* What is open there is not what is open here. */
	if (strncmp(name, "/proc/self/", 11) == 0)
		return (size_t)snprintf(out, room, "/proc/%d/%s", pid,
					name + 11) < room;
	if (strncmp(name, "/dev/fd/", 8) == 0)
		return (size_t)snprintf(out, room, "/proc/%d/%s", pid,
					name + 5) < room;
	if (strcmp(name, "/dev/stdout") == 0 || strcmp(name, "/dev/stderr") == 0)
		return (size_t)snprintf(out, room, "/proc/%d/fd/%d", pid,
					name[8] == 'o' ? 1 : 2) < room;
	if (name[0] == '/')
		return (size_t)snprintf(out, room, "%s", name) < room;
	if (dir == AT_FDCWD)
		snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
	else
		snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, dir);
	n = readlink(link, out, room - 1);
	if (n <= 0 || out[0] != '/')
		return false;
	if (name[0] == 0) {
		out[n] = 0;
		return true;
	}
	return (size_t)snprintf(out + n, room - (size_t)n, "/%s", name) <
	       room - (size_t)n;
}

static bool is_inside(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 &&
	       (path[n] == 0 || path[n] == '/' || folder[n - 1] == '/');
}

static bool is_open_file(const char *path)
{
	int n = 0;

	return sscanf(path, "/proc/%*u/fd/%*u%n", &n) == 0 && n > 0 &&
	       path[n] == 0;
}

/* May this be changed?  What is no file on a disk may. */
static bool may(const char *path, bool follow, const char *const *folders,
		size_t n)
{
	char real[PATH_MAX], folder[2 * PATH_MAX], *slash;
	struct stat st;

	if (follow && stat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode) ||
				     S_ISSOCK(st.st_mode)))
		return true;
	snprintf(folder, sizeof(folder), "%s", path);
	for (size_t len = strlen(folder); len > 1 && folder[len - 1] == '/';)
		folder[--len] = 0;
	if (!follow || realpath(path, real) == NULL) {
		/* A link that leads nowhere leads somewhere else; what is open,
		 * and has no name any more, is nowhere. */
		if (follow && lstat(folder, &st) == 0)
			return is_open_file(folder);
		slash = strrchr(folder, '/');
		if (slash == NULL)
			return false;
		slash[slash == folder] = 0;
		if (realpath(folder, real) == NULL)
			return true; /* there is no such folder */
	}
	if (is_inside(real, "/proc"))
		return true;
	for (size_t i = 0; i < n; i++)
		if (is_inside(real, folders[i]))
			return true;
	return false;
}

static void note(struct guard_seen *seen, bool *what, const char *path)
{
	*what = true;
	if (seen->where[0] == 0)
		snprintf(seen->where, sizeof(seen->where), "%.500s", path);
}

struct asked {
	const struct seccomp_notif *req;
	const struct call *call;
	const char *const *folders;
	size_t n;
	struct guard_seen *seen;
};

static bool for_writing(const struct asked *a)
{
	pid_t pid = (pid_t)a->req->pid;
	uint64_t flags = a->req->data.args[a->call->flags];
	struct iovec to = {.iov_base = &flags, .iov_len = sizeof(flags)};
	struct iovec from = {.iov_base = (void *)(uintptr_t)flags,
			     .iov_len = sizeof(flags)};

	if (a->call->kind == OPENS_HOW &&
	    process_vm_readv(pid, &to, 1, &from, 1, 0) != sizeof(flags))
		return false;
	if (flags & O_PATH)
		return false;
	return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
}

/* The errno with which the call fails, or 0: it may go on. */
static int judge_name(const struct asked *a, unsigned dir, unsigned name)
{
	const __u64 *args = a->req->data.args;
	pid_t pid = (pid_t)a->req->pid;
	char text[PATH_MAX], path[2 * PATH_MAX];

	if (!read_name(pid, args[name], text, sizeof(text)))
		return 0;
	if (strstr(text, CANARY)) {
		note(a->seen, &a->seen->canary, text);
		return ENOENT;
	}
	if (a->call->kind == RUNS ||
	    ((a->call->kind == OPENS || a->call->kind == OPENS_HOW) &&
	     !for_writing(a)))
		return 0;
	if (!whole(path, sizeof(path), pid, dir == NONE ? AT_FDCWD :
							  (int)args[dir], text))
		return 0;
	if (may(path, a->call->kind != CHANGES, a->folders, a->n))
		return 0;
	note(a->seen, &a->seen->elsewhere, path);
	return EACCES;
}

void guard_watch_answer(int fd, const char *const *folders, size_t n,
			struct guard_seen *seen)
{
	/* The kernel's may be longer by a few fields: with room for these. */
	static union {
		struct seccomp_notif req;
		struct seccomp_notif_resp resp;
		uint64_t room[64];
	} in, out;
	struct asked a = {&in.req, NULL, folders, n, seen};
	int error = 0;

	memset(&in, 0, sizeof(in));
	memset(&out, 0, sizeof(out));
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &in.req) != 0)
		return;
	for (size_t i = 0; i < CALLS; i++)
		if (calls[i].nr == in.req.data.nr)
			a.call = &calls[i];
	if (a.call && a.call->kind == FORKS)
		seen->forks++;
	else if (a.call)
		error = judge_name(&a, a.call->dir, a.call->name);
	if (a.call && error == 0 && a.call->name2 != NONE)
		error = judge_name(&a, a.call->dir2, a.call->name2);
	out.resp.id = in.req.id;
	if (error)
		out.resp.error = -error;
	else
		out.resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &out.resp);
}

#endif
