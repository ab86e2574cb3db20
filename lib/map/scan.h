/*
 * scan.h - many images: the files that were met.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_SCAN_H
#define Q2_MAP_SCAN_H

#include "image/open.h"

struct q2_scan_node {
	struct q2_scan_file f; /* its texts are allocated */
	char *data_name; /* as the image names it; NULL: none, or not its own */
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
	char **roots; /* real paths of the folders given, and of files' */
	size_t n_roots;
	struct q2_scan_volume *volumes;
	size_t n_volumes;
};

/* Looks at one file.  *number is that of its node, or Q2_NO_FILE if it is not
 * worth one: neither `wanted`, nor QCOW2, nor called like a raw image. */
enum q2_status q2_scan_look(struct q2_scan *s, const char *path, bool wanted,
			    size_t *number, struct q2_err *err) Q2_MUST_CHECK;

/* The node with this identity, or Q2_NO_FILE. */
size_t q2_scan_by_identity(const struct q2_scan *s, uint64_t device,
			   uint64_t inode);

#endif
