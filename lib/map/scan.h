/*
 * scan.h - many images: the files that were met.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_SCAN_H
#define Q2_MAP_SCAN_H

#include <sys/stat.h>

#include "base/err.h"
#include "image/open.h"

/* Which file it is, under whatever name.  `fs` tells file systems apart: by their
 * device numbers, or in joined scans by the numbers of their volumes.  An inode of
 * 0 is nobody. */
struct q2_identity {
	uint64_t fs;
	uint64_t inode;
};

struct q2_scan_node {
	struct q2_scan_file f; /* its texts are allocated */
	struct q2_identity id;
	char *given;	 /* the path that it was opened by; NULL: f.path */
	char *below;	 /* of a loop device: the file's own path; else NULL */
	char *data_name; /* as the image names it; NULL: none, or not its own */
	/* The files that it names, wherever they are. */
	struct q2_identity base;
	struct q2_identity data;
	size_t stream; /* the last joined file that told of it, from 1 */
};

/* A folder that was given, or that of a file. */
struct q2_scan_root {
	char *real; /* its real path */
	char *given;
};

/* A host that files were seen on: device numbers are its own. */
struct q2_scan_host {
	char *name;
	char *boot; /* another one each time that it starts; empty: not known */
};

/* A part of a scan that several workers share. */
struct q2_scan_part {
	uint64_t scan; /* digest of the paths that were asked for */
	uint64_t parts;
	uint64_t part;
};

/* The nodes, and the folders below which files may be looked at. */
struct q2_scan {
	struct q2_scan_opts opts;
	struct q2_budget budget;
	struct q2_scan_node *at;
	size_t n;
	size_t room;
	size_t *index; /* of nodes by identity: number + 1; 0: empty slot */
	size_t n_index;
	struct q2_scan_root *roots;
	size_t n_roots;
	char **asked; /* the paths that were given */
	size_t n_asked;
	struct q2_scan_volume *volumes; /* `shared` is allocated */
	size_t *seen_by; /* the host of each volume */
	size_t n_volumes;
	struct q2_scan_host *hosts; /* of joined scans; else this one */
	size_t n_hosts;
	struct q2_scan_part *parts; /* that were joined */
	size_t n_parts;
	size_t streams; /* files that were joined */
};

/* Looks at one file.  *number is that of its node, or Q2_NO_FILE if it is not
 * worth one: neither `wanted`, nor QCOW2, nor called like a raw image.  `shown` is
 * the path that people see. */
enum q2_status q2_scan_look(struct q2_scan *s, const char *path,
			    const char *shown, bool wanted, size_t *number,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Added to the number of a device that is not that of a file system. */
#define Q2_OWN_DEVICE (UINT64_C(1) << 40)

/* Which file is at `path`, of which *sb tells: a loop device is the file that it
 * shows, and *sb tells of that then; *below is its path, to be freed. */
enum q2_status q2_scan_identify(const char *path, struct stat *sb,
				struct q2_identity *id, char **below,
				struct q2_err *err) Q2_MUST_CHECK;

/* The node with this identity, or Q2_NO_FILE. */
size_t q2_scan_by_identity(const struct q2_scan *s, struct q2_identity id);

/* Adds a node and takes its texts: *n is empty then.  `path` is copied. */
enum q2_status q2_scan_add_node(struct q2_scan *s, const char *path,
				struct q2_scan_node *n, size_t *number,
				struct q2_err *err) Q2_MUST_CHECK;
void q2_scan_drop_node(struct q2_scan_node *n);

/* Whether a file is this worker's to look at. */
bool q2_scan_is_mine(const struct q2_scan *s, uint64_t inode);

/* Finds or adds a host. */
enum q2_status q2_scan_add_host(struct q2_scan *s, const char *name,
				const char *boot, size_t *number,
				struct q2_err *err) Q2_MUST_CHECK;
/* Adds this host, unless it is there. */
enum q2_status q2_scan_this_host(struct q2_scan *s,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Adds a file system that a host saw; v->shared is copied. */
enum q2_status q2_scan_add_volume(struct q2_scan *s, size_t host,
				  const struct q2_scan_volume *v,
				  size_t *number,
				  struct q2_err *err) Q2_MUST_CHECK;

/* What all hosts call the file system with this device number: *name is
 * allocated; empty if it is one host's own, or if nobody knows. */
enum q2_status q2_scan_shared_name(uint64_t device, char **name,
				   struct q2_err *err) Q2_MUST_CHECK;

/* Whether all parts are there of each scan that was shared. */
enum q2_status q2_scan_check_parts(struct q2_scan *s,
				   struct q2_err *err) Q2_MUST_CHECK;

static inline enum q2_status q2_scan_no_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

#endif
