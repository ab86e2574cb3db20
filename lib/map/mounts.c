/*
 * mounts.c - this host, and what file systems are called by all hosts.
 *
 * SPDX-License-Identifier: MIT
 *
 * A device number means something to one host only, until that starts anew.  What
 * a network file system was mounted from means the same to all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "map/scan.h"

#define FILE_MAX (1u << 24) /* bytes */

/* All of a file of /proc, which has no length of its own; false if it cannot be
 * read.  A NUL stands at its end. */
static bool slurp(const char *path, struct q2_buf *b)
{
	char part[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd < 0)
		return false;
	do {
		n = read(fd, part, sizeof(part));
		if (n > 0)
			q2_buf_add(b, part, (size_t)n);
	} while (n > 0 && b->n < FILE_MAX && !b->failed);
	close(fd);
	q2_buf_add(b, "", 1);
	return n == 0 && !b->failed;
}

enum q2_status q2_scan_this_host(struct q2_scan *s, struct q2_err *err)
{
	char name[256] = "";
	struct q2_buf boot = {0};
	size_t number;
	enum q2_status st;

	if (s->n_hosts)
		return Q2_OK;
	if (gethostname(name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	if (!slurp("/proc/sys/kernel/random/boot_id", &boot)) {
		bool memory = !boot.failed;

		q2_buf_free(&boot);
		return memory ? q2_scan_add_host(s, name, "", &number, err) :
				q2_scan_no_memory(err);
	}
	boot.at[strcspn(boot.at, "\n")] = '\0';
	st = q2_scan_add_host(s, name, boot.at, &number, err);
	q2_buf_free(&boot);
	return st;
}

/* Types whose source is the same for all hosts.  Those of one host's disks are left
 * out: two hosts may well call theirs alike. */
static bool is_network(const char *type, size_t n)
{
	static const char *const types[] = {
		"nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "lustre", "gpfs",
		"beegfs", "glusterfs", "fuse.glusterfs", "fuse.ceph",
		"fuse.ceph-fuse", "fuse.sshfs", "fuse.moosefs", "fuse.juicefs",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strlen(types[i]) == n && memcmp(types[i], type, n) == 0)
			return true;
	return false;
}

/* A line of mountinfo: … major:minor root point options … - type source options.
 * The name of the file system, if it is this device's. */
static void name_of(const char *line, const char *device, struct q2_buf *out)
{
	const char *at = line, *dash;
	size_t type;

	for (int i = 0; i < 2; i++) {
		at += strcspn(at, " ");
		at += *at == ' ';
	}
	if (strncmp(at, device, strlen(device)) != 0)
		return;
	dash = strstr(at, " - ");
	if (dash == NULL)
		return;
	dash += 3;
	type = strcspn(dash, " ");
	if (!is_network(dash, type) || dash[type] == '\0')
		return;
	/* Version 4 of NFS has a name of its own, but is the same thing. */
	if (type == 4 && memcmp(dash, "nfs4", 4) == 0)
		q2_buf_text(out, "nfs");
	else
		q2_buf_add(out, dash, type);
	q2_buf_char(out, ' ');
	dash += type + 1;
	q2_buf_add(out, dash, strcspn(dash, " "));
}

enum q2_status q2_scan_shared_name(uint64_t device, char **name,
				   struct q2_err *err)
{
	struct q2_buf mounts = {0}, out = {0};
	char number[64];

	*name = NULL;
	(void)snprintf(number, sizeof(number), "%u:%u ", major(device),
		       minor(device));
	if (!slurp("/proc/self/mountinfo", &mounts)) {
		q2_buf_fail_as(&out, &mounts);
	} else {
		char *line = mounts.at, *end;

		for (; out.n == 0 && (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			name_of(line, number, &out);
		}
	}
	q2_buf_add(&out, "", 1);
	q2_buf_free(&mounts);
	if (out.failed) {
		q2_buf_free(&out);
		return q2_scan_no_memory(err);
	}
	*name = out.at;
	return Q2_OK;
}
