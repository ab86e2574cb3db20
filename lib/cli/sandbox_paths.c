/*
 * sandbox_paths.c - files that may be opened: Landlock.
 *
 * SPDX-License-Identifier: MIT
 *
 * The kernel's interface is written down here, and asked by number: headers and
 * libraries may be older than the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/sandbox.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444 /* on every architecture */
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define NO_LANDLOCK                                                            \
	"sandbox: the kernel has no Landlock: the files to be opened are not " \
	"limited"

enum {
	EXECUTE = 1 << 0,
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_DIR = 1 << 3,
	REMOVE_FILE = 1 << 5,
	MAKE_REG = 1 << 8,
	ALL_OF_1 = (1 << 13) - 1,
	REFER = 1 << 13,     /* from version 2 on */
	TRUNCATE = 1 << 14,  /* 3 */
	IOCTL_DEV = 1 << 15, /* 5 */
	FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
};

enum { BIND_TCP = 1, CONNECT_TCP = 2 }; /* 4 */
enum { ABSTRACT_SOCKETS = 1, SIGNALS = 2 }; /* 6 */

struct ruleset {
	uint64_t files;
	uint64_t net;
	uint64_t scoped;
};

struct path_beneath {
	uint64_t allowed;
	int32_t parent;
};

static uint64_t handled(int version)
{
	uint64_t rights = ALL_OF_1;

	if (version >= 2)
		rights |= REFER;
	if (version >= 3)
		rights |= TRUNCATE;
	if (version >= 5)
		rights |= IOCTL_DEV;
	return rights;
}

/* Older kernels want a shorter struct. */
static size_t size_for(int version)
{
	return version >= 6 ? sizeof(struct ruleset) :
	       version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

bool q2_cli_sandbox_paths(struct q2_cli_sandbox *s)
{
	struct ruleset set = {.net = BIND_TCP | CONNECT_TCP,
			      .scoped = ABSTRACT_SOCKETS | SIGNALS};
	long got;

	if (s->ruleset >= 0 || s->version < 0)
		return s->ruleset >= 0;
	got = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
		      CREATE_RULESET_VERSION);
	s->version = got > 0 ? (int)got : -1;
	if (got <= 0)
		return false;
	set.files = handled(s->version);
	/* Sockets are the filter's to forbid where no NBD server is meant. */
	if (s->net)
		set.net = set.scoped = 0;
	got = syscall(SYS_landlock_create_ruleset, &set, size_for(s->version),
		      0u);
	s->ruleset = got >= 0 ? (int)got : -1;
	return got >= 0;
}

static uint64_t rights_of(unsigned access)
{
	uint64_t rights = 0;

	if (access & Q2_SANDBOX_READ_FILES)
		rights |= READ_FILE | READ_DIR | IOCTL_DEV;
	if (access & Q2_SANDBOX_WRITE_FILES)
		rights |= WRITE_FILE | TRUNCATE | IOCTL_DEV;
	/* A folder is opened to make its names durable. */
	if (access & Q2_SANDBOX_MAKE_FILES)
		rights |= MAKE_REG | REMOVE_FILE | READ_DIR;
	return rights;
}

void q2_cli_sandbox_allow(struct q2_cli_sandbox *s, const char *path,
			  unsigned access)
{
	struct path_beneath rule;
	struct stat sb;
	int fd;

	if (!s->started || s->closed || path == NULL || !q2_cli_sandbox_paths(s))
		return;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		/* It would be forbidden, and be told as that. */
		q2_cli_complain(s->tool, path,
				"cannot open: too many open files");
		_exit(Q2_EXIT_FAILED);
	}
	if (fd < 0)
		return;
	rule.parent = fd;
	rule.allowed = rights_of(access) & handled(s->version);
	if (fstat(fd, &sb) == 0) {
		if (!S_ISDIR(sb.st_mode))
			rule.allowed &= FOR_FILES;
		(void)syscall(SYS_landlock_add_rule, s->ruleset,
			      RULE_PATH_BENEATH, &rule, 0u);
	}
	close(fd);
}

void q2_cli_sandbox_allow_folder(struct q2_cli_sandbox *s, const char *path,
				 unsigned access)
{
	char *texts[2];
	struct stat sb;

	if (!s->started || s->closed || path == NULL)
		return;
	if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode)) {
		q2_cli_sandbox_allow(s, path, access);
		return;
	}
	texts[0] = strdup(path);
	texts[1] = realpath(path, NULL);
	for (size_t i = 0; i < 2; i++) {
		if (texts[i])
			q2_cli_sandbox_allow(s, dirname(texts[i]), access);
		free(texts[i]);
	}
}

void q2_cli_sandbox_allow_nbd(struct q2_cli_sandbox *s, const char *uri)
{
	static const char *const paths[] = {
		"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf",
		"/etc/host.conf", "/etc/gai.conf", "/etc/services",
		"/etc/protocols", "/etc/ld.so.cache", "/lib", "/lib64", "/usr",
		"/run/systemd/resolve",
	};

	if (!q2_cli_is_nbd(uri))
		return;
	/* Certificates and keys may be anywhere. */
	if (strncmp(uri, "nbds", 4) == 0)
		q2_cli_sandbox_allow(s, "/", Q2_SANDBOX_READ_FILES);
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		q2_cli_sandbox_allow(s, paths[i], Q2_SANDBOX_READ_FILES);
}

void q2_cli_sandbox_close(struct q2_cli_sandbox *s)
{
	bool done;

	if (!s->started || s->closed)
		return;
#ifdef Q2_COVERAGE /* the counts are written to files in the end */
	q2_cli_sandbox_allow(s, "/", Q2_SANDBOX_ALL_FILES);
#endif
	/* Small things that the C library looks at in passing. */
	q2_cli_sandbox_allow(s, "/sys/devices/system/cpu/online",
			     Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, "/proc/sys/vm/overcommit_memory",
			     Q2_SANDBOX_READ_FILES);
	done = q2_cli_sandbox_paths(s) &&
	       syscall(SYS_landlock_restrict_self, s->ruleset, 0u) == 0;
	if (s->ruleset >= 0)
		close(s->ruleset);
	s->ruleset = -1;
	s->closed = true;
	if (!done && (s->verbose || s->mode == Q2_SANDBOX_REQUIRED))
		q2_cli_complain(s->tool, NULL, NO_LANDLOCK);
	/* It was there when we started. */
	if (!done && s->mode == Q2_SANDBOX_REQUIRED)
		_exit(Q2_EXIT_FAILED);
}
