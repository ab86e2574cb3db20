/*
 * lint.c - whether a file from strangers is safe to open.
 *
 * SPDX-License-Identifier: MIT
 *
 * What a service that takes images from its users should look at before any
 * reader that follows references does.
 */
#include <stdlib.h>
#include <string.h>

#include "image/naming.h"
#include "map/readers.h"

#define TABLES_MEMORY (UINT64_C(64) << 20)

enum rule {
	R_BACKING,
	R_BACKING_ABSOLUTE,
	R_BACKING_UP,
	R_BACKING_PROTOCOL,
	R_BACKING_JSON,
	R_BACKING_NO_FORMAT,
	R_BACKING_BAD,
	R_DATA_FILE,
	R_DATA_FILE_ABSOLUTE,
	R_DATA_FILE_UP,
	R_DATA_FILE_PROTOCOL,
	R_DATA_FILE_JSON,
	R_RAW_LOOKS_QCOW2,
	R_MARKED_CORRUPT,
	R_DIRTY,
	R_HEADER_FAULTS,
	R_SIZE,
	R_RATIO,
	R_AES,
	R_LUKS,
	R_SNAPSHOTS,
	R_BITMAPS,
	R_UNKNOWN_COMPATIBLE,
	R_UNKNOWN_AUTOCLEAR,
	R_VERSION_3,
	R_REFCOUNT_WIDTH,
	R_ZSTD,
	R_EXTENDED_L2,
	R_COMPRESSED,
	R_ZERO,
	R_TABLES,
	R_READER,
	RULES
};

static const struct q2_lint_rule rules[RULES] = {
	[R_BACKING] = {"backing-file", true,
		       "A reader opens another file and shows its content."},
	[R_BACKING_ABSOLUTE] = {"backing-absolute", true,
				"The backing file's path is absolute."},
	[R_BACKING_UP] = {"backing-parent-folder", true,
			  "The backing file's path leads out of the image's "
			  "folder."},
	[R_BACKING_PROTOCOL] = {"backing-protocol", true,
				"The backing file is reached over a protocol."},
	[R_BACKING_JSON] = {"backing-json", true,
			    "The backing file is given by options for any "
			    "driver."},
	[R_BACKING_NO_FORMAT] = {"backing-no-format", true,
				 "The backing file's format is not stated: "
				 "readers let its content decide."},
	[R_BACKING_BAD] = {"backing-name-invalid", true,
			   "The backing file's name is out of range."},
	[R_DATA_FILE] = {"data-file", true,
			 "A reader opens another file and shows its content."},
	[R_DATA_FILE_ABSOLUTE] = {"data-file-absolute", true,
				  "The data file's path is absolute."},
	[R_DATA_FILE_UP] = {"data-file-parent-folder", true,
			    "The data file's path leads out of the current "
			    "folder."},
	[R_DATA_FILE_PROTOCOL] = {"data-file-protocol", true,
				  "The data file is reached over a protocol."},
	[R_DATA_FILE_JSON] = {"data-file-json", true,
			      "The data file is given by options for any "
			      "driver."},
	[R_RAW_LOOKS_QCOW2] = {"raw-looks-qcow2", true,
			       "A reader that guesses formats takes this raw "
			       "image for QCOW2."},
	[R_MARKED_CORRUPT] = {"marked-corrupt", true,
			      "A writer has marked the image as corrupt."},
	[R_DIRTY] = {"dirty", false,
		     "The image was not closed; refcounts may be wrong."},
	[R_HEADER_FAULTS] = {"header-faults", true,
			     "The header breaks the format; qcow2-fsck tells "
			     "more."},
	[R_SIZE] = {"size-limit", true,
		    "The guest's disk is larger than the limit."},
	[R_RATIO] = {"ratio-limit", true,
		     "The guest's disk is too many times larger than the "
		     "file."},
	[R_AES] = {"aes", true,
		   "Encryption of the old kind, which is weak; current readers "
		   "refuse it."},
	[R_LUKS] = {"luks", false, "The data are encrypted."},
	[R_SNAPSHOTS] = {"snapshots", false,
			 "Internal snapshots may hold data that the disk does "
			 "not show."},
	[R_BITMAPS] = {"bitmaps", false, "There are persistent bitmaps."},
	[R_UNKNOWN_COMPATIBLE] = {"unknown-compatible", false,
				  "There are unknown features that readers may "
				  "ignore."},
	[R_UNKNOWN_AUTOCLEAR] = {"unknown-autoclear", false,
				 "There are unknown features that writers "
				 "drop."},
	[R_VERSION_3] = {"needs-version-3", false,
			 "Only readers of version 3 of the format take it."},
	[R_REFCOUNT_WIDTH] = {"needs-refcount-width", false,
			      "Its refcounts have not the usual 16 bits."},
	[R_ZSTD] = {"needs-zstd", false,
		    "Its compressed clusters are of the kind zstd."},
	[R_EXTENDED_L2] = {"needs-extended-l2", false,
			   "Its L2 entries are extended ones."},
	[R_COMPRESSED] = {"needs-compression", false,
			  "Some clusters are compressed."},
	[R_ZERO] = {"needs-zero-clusters", false,
		    "Some clusters are marked as zeros."},
	[R_TABLES] = {"damaged-tables", true,
		      "Parts of the disk cannot be read; qcow2-fsck tells "
		      "more."},
	[R_READER] = {"reader", true,
		      "A reader that is required cannot read it."},
};

const struct q2_lint_rule *q2_lint_rule(size_t i)
{
	return i < RULES ? &rules[i] : NULL;
}

struct lint {
	const struct q2_lint_opts *opts;
	const struct q2_opened *o;
};

static void note(const struct lint *l, enum rule rule, const char *what)
{
	l->opts->note(l->opts->ctx, &rules[rule], what);
}

/* `first` is the rule that any name falls under; absolute, parent folder,
 * protocol and json follow it. */
static void judge_name(const struct lint *l, const char *name, enum rule first)
{
	const char *path;
	bool from_cwd;

	note(l, first, name);
	switch (q2_name_split(name, &path, &from_cwd)) {
	case Q2_NAME_PROTOCOL:
		note(l, first + 3, name);
		return;
	case Q2_NAME_JSON:
		note(l, first + 4, name);
		return;
	case Q2_NAME_PATH:
		break;
	}
	if (path[0] == '/')
		note(l, first + 1, name);
	if (q2_path_climbs(path))
		note(l, first + 2, name);
}

static void judge_names(const struct lint *l)
{
	const struct q2_names *names = &l->o->names;

	if (names->backing[0]) {
		judge_name(l, names->backing, R_BACKING);
		if (names->format[0] == '\0')
			note(l, R_BACKING_NO_FORMAT, names->backing);
	}
	if (names->backing_bad)
		note(l, R_BACKING_BAD, NULL);
	if (!l->o->img.geom.data_file)
		return;
	/* One without a name is taken from wherever the reader is told. */
	if (names->data_file[0])
		judge_name(l, names->data_file, R_DATA_FILE);
	else
		note(l, R_DATA_FILE, NULL);
}

static void judge_size(const struct lint *l, uint64_t size, uint64_t length)
{
	const struct q2_lint_opts *o = l->opts;

	if (o->max_size && size > o->max_size)
		note(l, R_SIZE, NULL);
	if (o->max_ratio && size / o->max_ratio > length)
		note(l, R_RATIO, NULL);
}

static bool harmless(enum q2_header_fault_id id)
{
	switch (id) {
	case Q2_HF_DIRTY:
	case Q2_HF_CORRUPT:
	case Q2_HF_COMPAT_UNKNOWN:
	case Q2_HF_AUTOCLEAR_UNKNOWN:
	case Q2_HF_BACKING_OFFSET: /* these two have a rule of their own */
	case Q2_HF_BACKING_SIZE:
	case Q2_HF_PADDING:
	case Q2_HF_LENGTH_UNALIGNED:
	case Q2_HF_SIZE_UNALIGNED:
	case Q2_HF_BACKING_EMPTY:
		return true;
	default:
		return false;
	}
}

static void judge_header(const struct lint *l)
{
	const struct q2_header *h = &l->o->header;
	const struct q2_header_faults *f = &l->o->faults;
	const struct q2_geom *g = &l->o->img.geom;

	if (h->incompatible & Q2_INCOMPAT_CORRUPT)
		note(l, R_MARKED_CORRUPT, NULL);
	if (h->incompatible & Q2_INCOMPAT_DIRTY)
		note(l, R_DIRTY, NULL);
	for (size_t i = 0; i < f->n; i++)
		if (!harmless(f->at[i].id)) {
			note(l, R_HEADER_FAULTS, NULL);
			break;
		}
	if (g->crypt == 1)
		note(l, R_AES, NULL);
	if (g->crypt == 2)
		note(l, R_LUKS, NULL);
	if (g->snapshots)
		note(l, R_SNAPSHOTS, NULL);
	if (l->o->bitmaps.bitmaps)
		note(l, R_BITMAPS, NULL);
	if (h->compatible & ~Q2_COMPAT_KNOWN)
		note(l, R_UNKNOWN_COMPATIBLE, NULL);
	if (h->autoclear & ~(uint64_t)Q2_AUTOCLEAR_KNOWN)
		note(l, R_UNKNOWN_AUTOCLEAR, NULL);
	if (g->version == 3)
		note(l, R_VERSION_3, NULL);
	if (g->ref_order != 4)
		note(l, R_REFCOUNT_WIDTH, NULL);
	if (g->zstd)
		note(l, R_ZSTD, NULL);
	if (g->ext_l2)
		note(l, R_EXTENDED_L2, NULL);
}

/* ------------------------------------------------------------------- tables */
struct contents {
	bool compressed;
	bool zero;
	bool unreadable;
};

static enum q2_status see_row(void *ctx, const struct q2_row *r)
{
	struct contents *c = ctx;

	c->compressed |= r->content == Q2_C_COMPRESSED;
	c->zero |= r->content == Q2_C_ZERO || r->content == Q2_C_ZERO_ALLOC;
	c->unreadable |= r->content == Q2_C_UNREADABLE;
	return Q2_OK;
}

/* What the tables of the active disk ask of readers. */
static enum q2_status judge_tables(const struct lint *l, const char *path,
				   unsigned *needs, struct q2_err *err)
{
	struct contents c = {0};
	struct q2_disk_opts opts = {.max_memory = TABLES_MEMORY};
	struct q2_rows_opts rows = {.length = UINT64_MAX,
				    .merge = Q2_MERGE_RUNS,
				    .row = see_row,
				    .ctx = &c};
	struct q2_disk *disk;
	enum q2_status st = q2_disk_open(path, &opts, &disk, err);

	if (st == Q2_OK)
		st = q2_disk_rows(disk, &rows, err);
	q2_disk_close(disk);
	if (st != Q2_OK)
		return st;
	if (c.compressed) {
		note(l, R_COMPRESSED, NULL);
		*needs |= Q2_NEED(Q2_NEED_COMPRESSED);
	}
	/* With extended entries zeros are marked in another way. */
	if (c.zero && !l->o->img.geom.ext_l2) {
		note(l, R_ZERO, NULL);
		*needs |= Q2_NEED(Q2_NEED_ZERO);
	}
	if (c.unreadable)
		note(l, R_TABLES, NULL);
	return Q2_OK;
}

static enum q2_status judge_raw(const struct lint *l, struct q2_io *io,
				struct q2_err *err)
{
	bool qcow2;
	enum q2_status st = q2_image_probe(io, &qcow2, err);

	if (qcow2)
		note(l, R_RAW_LOOKS_QCOW2, NULL);
	judge_size(l, io->size, io->size);
	return st;
}

enum q2_status q2_lint(const char *path, const struct q2_lint_opts *opts,
		       unsigned *needs, struct q2_err *err)
{
	struct q2_budget budget = {0};
	struct q2_opened opened;
	struct lint l = {.opts = opts, .o = &opened};
	struct q2_io *io;
	uint64_t length;
	unsigned found = 0;
	enum q2_status st = q2_io_open(path, &io, err);

	if (st != Q2_OK)
		return st;
	length = io->size;
	if (opts->raw) {
		st = judge_raw(&l, io, err);
	} else {
		st = q2_image_open(io, &budget, &opened, err);
		if (st == Q2_OK) {
			judge_names(&l);
			judge_header(&l);
			found = q2_needs_of(&opened);
		}
	}
	/* Servers may have one client at a time. */
	q2_io_close(io);
	if (st == Q2_OK && !opts->raw) {
		st = judge_tables(&l, path, &found, err);
		if (st == Q2_OK)
			judge_size(&l, opened.img.geom.disk_size, length);
	}
	if (needs)
		*needs = found;
	return st;
}
