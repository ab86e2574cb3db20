/*
 * look.c - what one file's header says: a node of the scan.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/bitmapdir.h"
#include "map/scan.h"
#include "map/sizes.h"

/* What bitmaps come to take once every bit of them is set. */
struct bits {
	const struct q2_geom *g;
	uint64_t clusters;
};

static void add_bitmap(void *ctx, const struct q2_bitmap *b, const char *name)
{
	struct bits *bits = ctx;
	uint64_t cs = bits->g->cluster_size;
	uint64_t n = q2_div_up(q2_bitmap_bytes(bits->g->disk_size, b->gran), cs);

	(void)name;
	n += q2_div_up(n * 8, cs);
	bits->clusters = q2_add_sat(bits->clusters, n);
}

/* Clusters that are neither the disk's nor its tables'. */
static enum q2_status others_of(const struct q2_opened *o, uint64_t *clusters,
				struct q2_err *err)
{
	const struct q2_geom *g = &o->img.geom;
	struct bits bits = {.g = g};
	enum q2_status st;
	bool whole;

	*clusters = 0;
	if (q2_inside(o->luks.start, o->luks.len,
		      g->file_clusters << g->cluster_bits))
		*clusters = q2_div_up(o->luks.len, g->cluster_size);
	if (o->bitmaps.bitmaps == 0)
		return Q2_OK;
	st = q2_bitmapdir_walk(o, add_bitmap, &bits, &whole, err);
	bits.clusters = q2_add_sat(bits.clusters,
				   q2_div_up(q2_min(o->bitmaps.dir_size,
						    g->file_size),
					     g->cluster_size));
	/* Writers store them anew before they free what was there. */
	bits.clusters = q2_add_sat(bits.clusters, bits.clusters);
	*clusters = q2_add_sat(*clusters, bits.clusters);
	return st == Q2_E_NOMEM || st == Q2_E_BUDGET ? st : Q2_OK;
}

/* A refcount table that is too small is made half as large again, elsewhere, and
 * behind a gap of up to what one refcount block covers; the old one is freed.  So
 * clusters remain free. */
static uint64_t left_by_tables(const struct q2_geom *g, uint64_t clusters)
{
	uint64_t per_block = UINT64_C(1) << g->block_bits;
	uint64_t blocks = q2_div_up(clusters, per_block);
	uint64_t need = q2_div_up(blocks, g->cluster_size / 8);
	uint64_t have = q2_max(g->reftable_bytes >> g->cluster_bits, 1);
	uint64_t last = need + need / 2 + 1, gaps = 0;

	if (need <= have)
		return 0;
	for (; have < last; have += have / 2 + 1)
		gaps += per_block;
	return 3 * last + gaps;
}

static uint64_t commitment_of(const struct q2_opened *o, uint64_t length,
			      uint64_t others)
{
	const struct q2_geom *g = &o->img.geom;
	struct q2_shape shape = {.cluster_size = g->cluster_size,
				 .ref_order = g->ref_order,
				 .entry_bytes = 1u << g->entry_bits,
				 .more = others};
	uint64_t most = q2_full_size(&shape, g->disk_size);

	shape.more = q2_add_sat(others,
				left_by_tables(g, most >> g->cluster_bits));
	most = q2_full_size(&shape, g->disk_size);

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
	uint64_t others;

	if (others_of(o, &others, NULL) != Q2_OK)
		return false;
	n->f.kind = Q2_FILE_QCOW2;
	n->f.capacity = q2_shown_size(o->img.geom.disk_size);
	n->f.snapshots = o->img.geom.snapshots;
	n->f.alone = commitment_of(o, n->f.length, others);
	if (!copy(o->names.backing, &n->f.backing) ||
	    !copy(o->names.format, &n->f.format) ||
	    !copy(o->names.data_file, &data))
		return false;
	n->data_name = (char *)(uintptr_t)data;
	return true;
}

/* An image that has lost its header must not vanish from the sums. */
static bool called_image(const char *path)
{
	static const char *const ends[] = {".raw", ".img", ".qcow2"};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(ends) / sizeof(*ends); i++)
		if (strcmp(dot, ends[i]) == 0)
			return true;
	return false;
}

static enum q2_status add_bad(struct q2_scan *s, const char *path,
			      struct q2_scan_node *n, const char *why,
			      size_t *number, struct q2_err *err)
{
	n->f.kind = Q2_FILE_BAD;
	n->f.error = strdup(why);
	return n->f.error ? q2_scan_add_node(s, path, n, number, err) :
			    q2_scan_no_memory(err);
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
	if (!io->is_device)
		n->f.allocation = io->stored;
	if (st != Q2_OK)
		return add_bad(s, path, n, why.text[0] ? why.text :
				       q2_status_text(st), number, err);
	if (!qcow2) {
		if (!wanted && !called_image(path))
			return Q2_OK;
		n->f.kind = Q2_FILE_RAW;
		n->f.capacity = n->f.length;
		n->f.alone = q2_max(n->f.length, n->f.allocation);
		return q2_scan_add_node(s, path, n, number, err);
	}
	st = q2_image_open(io, &s->budget, &o, &why);
	if (st == Q2_E_NOMEM || st == Q2_E_BUDGET)
		return q2_scan_no_memory(err);
	if (st != Q2_OK)
		return add_bad(s, path, n, why.text, number, err);
	if (!describe(n, &o))
		return q2_scan_no_memory(err);
	return q2_scan_add_node(s, path, n, number, err);
}

/* What is met in a folder may have gone since that was read. */
static bool gone(int error, bool wanted)
{
	return !wanted && (error == ENOENT || error == ENOTDIR);
}

/* Opens the file, whose identity n has. */
static enum q2_status open_file(struct q2_scan *s, const char *path,
				const char *shown, bool wanted,
				struct q2_scan_node *n, size_t *number,
				struct q2_err *err)
{
	struct q2_err why = {0};
	struct q2_io *io;
	enum q2_status st;

	if (shown != path && strcmp(shown, path) != 0) {
		n->given = strdup(path);
		if (n->given == NULL)
			return q2_scan_no_memory(err);
	}
	st = q2_io_open(path, &io, &why);
	if (st == Q2_E_NOMEM)
		return q2_scan_no_memory(err);
	if (st != Q2_OK && gone(why.sys_errno, wanted))
		return Q2_OK;
	if (st != Q2_OK)
		return add_bad(s, shown, n, why.text, number, err);
	st = read_file(s, shown, io, wanted, n, number, err);
	q2_io_close(io);
	return st;
}

enum q2_status q2_scan_look(struct q2_scan *s, const char *path,
			    const char *shown, bool wanted, size_t *number,
			    struct q2_err *err)
{
	struct q2_scan_node n = {.f = {.base = Q2_NO_FILE,
				       .data_file = Q2_NO_FILE,
				       .volume = Q2_NO_FILE,
				       .names = 1}};
	struct q2_err why = {0};
	enum q2_status st;
	struct stat sb;
	bool device;

	*number = Q2_NO_FILE;
	if (stat(path, &sb) < 0) {
		if (gone(errno, wanted))
			return Q2_OK;
		(void)q2_fail_errno(&why, errno, Q2_NO_OFFSET, "cannot open");
		st = add_bad(s, shown, &n, why.text, number, err);
		q2_scan_drop_node(&n);
		return st;
	}
	device = S_ISBLK(sb.st_mode);
	st = q2_scan_identify(path, &sb, &n.id, &n.below, err);
	if (st == Q2_OK)
		*number = q2_scan_by_identity(s, n.id);
	if (st != Q2_OK || *number != Q2_NO_FILE) {
		if (st == Q2_OK)
			s->at[*number].f.names++;
		q2_scan_drop_node(&n);
		return st;
	}
	n.f.device = n.id.fs;
	n.f.inode = n.id.inode;
	n.f.is_device = device && n.below == NULL;
	n.f.changed = n.f.is_device ? 0 : sb.st_mtime;
	/* It is the file's, of which blocks are counted. */
	if (n.below)
		n.f.allocation = (uint64_t)sb.st_blocks * 512;
	st = open_file(s, path, shown, wanted, &n, number, err);
	q2_scan_drop_node(&n);
	return st;
}
