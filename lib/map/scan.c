/*
 * scan.c - looking at many files: a node for each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "map/sizes.h"

#define TICK 256u

enum q2_status q2_scan_new(const struct q2_scan_opts *opts,
			   struct q2_scan **scan, struct q2_err *err)
{
	*scan = calloc(1, sizeof(**scan));
	if (*scan == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	(*scan)->opts = *opts;
	return Q2_OK;
}

static void free_text(const char *text)
{
	free((void *)(uintptr_t)text);
}

void q2_scan_free(struct q2_scan *scan)
{
	if (scan == NULL)
		return;
	for (size_t i = 0; i < scan->n; i++) {
		free_text(scan->at[i].f.path);
		free_text(scan->at[i].f.error);
		free_text(scan->at[i].f.backing);
		free_text(scan->at[i].f.format);
		free(scan->at[i].data_name);
	}
	for (size_t i = 0; i < scan->n_roots; i++)
		free(scan->roots[i]);
	free(scan->roots);
	free(scan->at);
	free(scan->index);
	free(scan->volumes);
	free(scan);
}

/* ---------------------------------------------------------------- identity */
static size_t slot_of(const struct q2_scan *s, uint64_t device, uint64_t inode)
{
	size_t mask = s->n_index - 1;
	uint64_t h = (inode ^ device << 32) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 20) & mask;

	while (s->index[i] && (s->at[s->index[i] - 1].f.inode != inode ||
			       s->at[s->index[i] - 1].f.device != device))
		i = (i + 1) & mask;
	return i;
}

size_t q2_scan_by_identity(const struct q2_scan *s, uint64_t device,
			   uint64_t inode)
{
	size_t i;

	if (s->n_index == 0)
		return Q2_NO_FILE;
	i = slot_of(s, device, inode);
	return s->index[i] ? s->index[i] - 1 : Q2_NO_FILE;
}

/* Room for one more node, and for its place in the index. */
static bool make_room(struct q2_scan *s)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 256;
		void *at = realloc(s->at, room * sizeof(*s->at));

		if (at == NULL)
			return false;
		s->at = at;
		s->room = room;
	}
	if (2 * (s->n + 1) > s->n_index) {
		size_t n = s->n_index ? 2 * s->n_index : 1024;
		size_t *index = calloc(n, sizeof(*index));

		if (index == NULL)
			return false;
		free(s->index);
		s->index = index;
		s->n_index = n;
		for (size_t i = 0; i < s->n; i++)
			if (s->at[i].f.inode)
				s->index[slot_of(s, s->at[i].f.device,
						 s->at[i].f.inode)] = i + 1;
	}
	return true;
}

/* ---------------------------------------------------------------- one file */
static uint64_t commitment_of(const struct q2_opened *o, uint64_t length)
{
	const struct q2_geom *g = &o->img.geom;
	struct q2_shape shape = {.cluster_size = g->cluster_size,
				 .ref_order = g->ref_order,
				 .entry_bytes = 1u << g->entry_bits};
	uint64_t most = q2_full_size(&shape, g->disk_size);

	/* The data are in another file. */
	if (g->data_file && most != UINT64_MAX)
		most -= q2_div_up(g->disk_size, g->cluster_size) *
			g->cluster_size;
	/* What there is now may all be kept by snapshots. */
	if (g->snapshots)
		most = q2_add_sat(most, length);
	return q2_max(most, length);
}

static bool copy(const char *from, const char **to)
{
	*to = from[0] ? strdup(from) : NULL;
	return from[0] == '\0' || *to;
}

/* What the header says.  False if memory ran out. */
static bool describe(struct q2_scan_node *n, const struct q2_opened *o)
{
	const char *data;

	n->f.kind = Q2_FILE_QCOW2;
	n->f.capacity = q2_shown_size(o->img.geom.disk_size);
	n->f.snapshots = o->img.geom.snapshots;
	n->f.commitment = commitment_of(o, n->f.length);
	if (!copy(o->names.backing, &n->f.backing) ||
	    !copy(o->names.format, &n->f.format) ||
	    !copy(o->names.data_file, &data))
		return false;
	n->data_name = (char *)(uintptr_t)data;
	return true;
}

static bool called_raw(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (strcmp(dot, ".raw") == 0 || strcmp(dot, ".img") == 0);
}

static enum q2_status fail_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

static enum q2_status add_node(struct q2_scan *s, const char *path,
			       struct q2_scan_node *n, size_t *number,
			       struct q2_err *err)
{
	struct q2_progress p = {"scan", s->n, s->n};

	n->f.path = strdup(path);
	if (n->f.path == NULL || !make_room(s))
		return fail_memory(err);
	*number = s->n;
	if (n->f.inode)
		s->index[slot_of(s, n->f.device, n->f.inode)] = s->n + 1;
	s->at[s->n++] = *n;
	*n = (struct q2_scan_node){0};
	if (s->n % TICK == 0 && s->opts.progress &&
	    s->opts.progress(s->opts.ctx, &p))
		return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}

static enum q2_status add_bad(struct q2_scan *s, const char *path,
			      struct q2_scan_node *n, const char *why,
			      size_t *number, struct q2_err *err)
{
	n->f.kind = Q2_FILE_BAD;
	n->f.error = strdup(why);
	return n->f.error ? add_node(s, path, n, number, err) :
			    fail_memory(err);
}

/* The file is open; n has its identity. */
static enum q2_status read_file(struct q2_scan *s, const char *path,
				struct q2_io *io, bool wanted,
				struct q2_scan_node *n, size_t *number,
				struct q2_err *err)
{
	struct q2_opened o;
	struct q2_err why = {0};
	bool qcow2;
	enum q2_status st = q2_image_probe(io, &qcow2, &why);

	n->f.length = io->size;
	n->f.allocation = io->stored;
	if (st != Q2_OK)
		return add_bad(s, path, n, why.text[0] ? why.text :
				       q2_status_text(st), number, err);
	if (!qcow2) {
		if (!wanted && !called_raw(path))
			return Q2_OK;
		n->f.kind = Q2_FILE_RAW;
		n->f.capacity = n->f.length;
		n->f.commitment = q2_max(n->f.length, n->f.allocation);
		return add_node(s, path, n, number, err);
	}
	st = q2_image_open(io, &s->budget, &o, &why);
	if (st == Q2_E_NOMEM || st == Q2_E_BUDGET)
		return fail_memory(err);
	if (st != Q2_OK)
		return add_bad(s, path, n, why.text, number, err);
	if (!describe(n, &o))
		return fail_memory(err);
	return add_node(s, path, n, number, err);
}

static void drop(struct q2_scan_node *n)
{
	free_text(n->f.path);
	free_text(n->f.error);
	free_text(n->f.backing);
	free_text(n->f.format);
	free(n->data_name);
}

enum q2_status q2_scan_look(struct q2_scan *s, const char *path, bool wanted,
			    size_t *number, struct q2_err *err)
{
	struct q2_scan_node n = {.f = {.base = Q2_NO_FILE,
				       .data_file = Q2_NO_FILE,
				       .names = 1}};
	struct q2_err why = {0};
	struct q2_io *io = NULL;
	enum q2_status st;
	struct stat sb;

	*number = Q2_NO_FILE;
	if (stat(path, &sb) < 0) {
		(void)q2_fail_errno(&why, errno, Q2_NO_OFFSET, "cannot open");
		st = add_bad(s, path, &n, why.text, number, err);
		drop(&n);
		return st;
	}
	*number = q2_scan_by_identity(s, sb.st_dev, sb.st_ino);
	if (*number != Q2_NO_FILE) {
		s->at[*number].f.names++;
		return Q2_OK;
	}
	n.f.device = sb.st_dev;
	n.f.inode = sb.st_ino;
	n.f.changed = sb.st_mtime;
	st = q2_io_open(path, &io, &why);
	if (st == Q2_E_NOMEM)
		return fail_memory(err);
	if (st != Q2_OK)
		st = add_bad(s, path, &n, why.text, number, err);
	else
		st = read_file(s, path, io, wanted, &n, number, err);
	q2_io_close(io);
	drop(&n);
	return st;
}

bool q2_scan_file(const struct q2_scan *scan, size_t i,
		  struct q2_scan_file *out)
{
	if (i >= scan->n)
		return false;
	*out = scan->at[i].f;
	return true;
}

size_t q2_scan_find(const struct q2_scan *scan, const char *path)
{
	struct stat sb;

	if (stat(path, &sb) < 0)
		return Q2_NO_FILE;
	return q2_scan_by_identity(scan, sb.st_dev, sb.st_ino);
}

bool q2_scan_volume(const struct q2_scan *scan, size_t i,
		    struct q2_scan_volume *out)
{
	if (i >= scan->n_volumes)
		return false;
	*out = scan->volumes[i];
	return true;
}

const char *q2_file_flag_text(unsigned i)
{
	static const char *const names[Q2_FF_COUNT_BITS] = {
		"missing-base",	 "loop",	  "base-newer",
		"base-smaller",	 "base-format",	  "no-format",
		"outside",	 "not-a-file",	  "missing-data-file",
		"shared-base",
	};

	return i < Q2_FF_COUNT_BITS ? names[i] : NULL;
}
