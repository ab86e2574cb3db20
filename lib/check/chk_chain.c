/*
 * chk_chain.c - the files that the image names: backing chain and data file.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    that each file is there, is what its overlay says, and is sound.
 * Gathers:  nothing.  Runs only on request, since it opens other files.
 * Disables: nothing; a member that cannot be judged ends the chain.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "check/checker.h"
#include "image/naming.h"
#include "image/open.h"

#define LAYERS 200u
#define SECTOR Q2_SECTOR

struct identity {
	uint64_t dev;
	uint64_t inode;
};

struct chain {
	struct q2_checker *c;
	char *path; /* by which the overlay was opened */
	uint64_t path_size;
	uint64_t disk_size; /* of the overlay's disk */
	uint32_t layer;	    /* of the member at hand; the image itself is 0 */
	size_t n_seen;
	struct identity seen[LAYERS + 1];
};

static void copy_name(char *to, size_t room, const char *from, size_t n)
{
	size_t len = from ? strnlen(from, (size_t)q2_min(n, room - 1)) : 0;

	if (len)
		memcpy(to, from, len);
	to[len] = '\0';
}

static void copy_names(const struct q2_checker *c, struct q2_names *out)
{
	const struct q2_extensions *e = &c->ext;

	copy_name(out->backing, sizeof(out->backing), e->backing,
		  e->backing_len);
	copy_name(out->format, sizeof(out->format), e->format, e->format_len);
	copy_name(out->data_file, sizeof(out->data_file),
		  c->img.geom.data_file ? e->data_file : NULL,
		  e->data_file_len);
}

static void report(const struct chain *w, enum q2_problem_id id,
		   const char *name, uint64_t found, uint64_t expected)
{
	struct q2_finding f = {.index = w->layer,
			       .found = found,
			       .expected = expected};

	f.fields = q2_problem(id)->fields;
	q2_finding_text(&f, name, strlen(name));
	q2_found(w->c, id, &f);
}

/* Failures of memory and interruptions end the check; others tell that the file
 * at hand is of no use, and are dropped. */
static enum q2_status pass_on(struct chain *w, enum q2_status st,
			      const struct q2_err *why)
{
	if (st != Q2_E_NOMEM && st != Q2_E_BUDGET && st != Q2_E_INTERRUPTED)
		return Q2_OK;
	return q2_fail(w->c->err, st, why->sys_errno, why->offset, "%s",
		       why->text);
}

/* Opens the file.  *io stays NULL if that is not possible. */
static enum q2_status open_file(struct chain *w, const char *path,
				struct q2_io **io)
{
	struct q2_err why = {0};

	return pass_on(w, q2_io_open_file(path, io, &why), &why);
}

/* True if the file was met before; otherwise it is noted. */
static bool met(struct chain *w, const struct q2_io *io)
{
	struct identity id;

	if (!q2_io_identity(io, &id.dev, &id.inode))
		return false;
	for (size_t i = 0; i < w->n_seen; i++)
		if (w->seen[i].dev == id.dev && w->seen[i].inode == id.inode)
			return true;
	w->seen[w->n_seen++] = id;
	return false;
}

enum content { IS_QCOW2, IS_QCOW1, IS_OTHER };

static enum content content_of(struct q2_io *io)
{
	uint8_t bytes[8];

	if (q2_pread_zero(io, bytes, sizeof(bytes), 0, NULL) != Q2_OK ||
	    q2_be32(bytes) != Q2_MAGIC)
		return IS_OTHER;
	return q2_be32(bytes + 4) == 1 ? IS_QCOW1 : IS_QCOW2;
}

static bool means_raw(const char *format)
{
	return strcmp(format, "raw") == 0 || strcmp(format, "file") == 0 ||
	       strcmp(format, "host_device") == 0;
}

/* The memory that the main check left. */
static uint64_t memory_left(const struct q2_checker *c)
{
	if (c->budget.limit == 0)
		return 0;
	return c->budget.limit > c->budget.used ?
		       c->budget.limit - c->budget.used : 1;
}

/* The nested check.  Its findings are counted, not shown. */
static enum q2_status judge_member(struct chain *w, struct q2_io *io,
				   const char *name,
				   struct q2_check_result *r)
{
	struct q2_checker *c = w->c;
	struct q2_check_opts quiet = {.flags = c->opts->flags & Q2_CHECK_DATA,
				      .max_memory = memory_left(c),
				      .progress = c->opts->progress,
				      .ctx = c->opts->ctx};
	struct q2_err why = {0};
	enum q2_status st = q2_check(io, &quiet, r, &why);

	c->budget.peak = q2_max(c->budget.peak,
				c->budget.used + r->peak_memory);
	if (pass_on(w, st, &why) != Q2_OK)
		return st;
	if (st != Q2_OK)
		report(w, Q2_P_BACKING_MISSING, name, 0, 0);
	else if (r->verdict == Q2_CORRUPTED || r->verdict == Q2_UNREADABLE)
		report(w, Q2_P_BACKING_CORRUPT, name, r->corruptions, 0);
	return Q2_OK;
}

/* What the member says of the next one; nothing if it is not usable. */
static enum q2_status read_names(struct chain *w, struct q2_io *io,
				 struct q2_names *out)
{
	struct q2_budget budget = {.limit = memory_left(w->c)};
	struct q2_err why = {0};
	struct q2_opened *o = calloc(1, sizeof(*o));
	enum q2_status st;

	memset(out, 0, sizeof(*out));
	if (o == NULL)
		return q2_fail(w->c->err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory");
	st = q2_image_open(io, &budget, o, &why);
	if (st == Q2_OK)
		*out = o->names;
	free(o);
	return pass_on(w, st, &why);
}

static void compare_sizes(const struct chain *w, const char *name,
			  uint64_t size)
{
	/* Readers count a raw file's last, partial sector as a whole one. */
	uint64_t shown = q2_add_sat(size, (SECTOR - size % SECTOR) % SECTOR);

	if (shown < w->disk_size)
		report(w, Q2_P_BACKING_SHORTER, name, size, w->disk_size);
	else if (size > w->disk_size)
		report(w, Q2_P_BACKING_LARGER, name, size, w->disk_size);
}

/* A data file's name starts from the current directory, wherever the image is:
 * tried with QEMU 7.2, which treats backing names otherwise.  `end`: how far it
 * is mapped. */
static enum q2_status judge_data_file(struct chain *w, const char *name,
				      uint64_t end)
{
	const char *path;
	bool from_cwd;
	struct q2_io *io;
	enum q2_status st;

	if (name[0] == '\0')
		return Q2_OK;
	if (q2_name_split(name, &path, &from_cwd) != Q2_NAME_PATH) {
		report(w, Q2_P_BACKING_NOT_FOLLOWED, name, 0, 0);
		return Q2_OK;
	}
	st = open_file(w, path, &io);
	if (st != Q2_OK)
		return st;
	if (io == NULL)
		report(w, Q2_P_DATA_FILE_MISSING, name, 0, 0);
	else if (io->size < end)
		report(w, Q2_P_DATA_FILE_SHORT, name, io->size, end);
	q2_io_close(io);
	return Q2_OK;
}

/* A member of which its overlay says, or lets us see, that it is QCOW2.  Replaces
 * *next by what it names. */
static enum q2_status enter_qcow2(struct chain *w, struct q2_io *io,
				  struct q2_names *next)
{
	struct q2_check_result r;
	enum q2_status st = judge_member(w, io, next->backing, &r);

	if (st == Q2_OK && r.verdict != Q2_UNREADABLE) {
		compare_sizes(w, next->backing, r.virtual_size);
		w->disk_size = r.virtual_size;
	}
	if (st == Q2_OK)
		st = read_names(w, io, next);
	return st == Q2_OK ? judge_data_file(w, next->data_file,
					     r.data_file_end) : st;
}

/* A file is never taken for more than its overlay says it is. */
static enum q2_status judge_backing(struct chain *w, struct q2_io *io,
				    struct q2_names *next)
{
	enum content content = content_of(io);
	bool any = next->format[0] == '\0';
	bool qcow2 = any ? content == IS_QCOW2 :
			   strcmp(next->format, "qcow2") == 0;

	if (qcow2 != (content == IS_QCOW2))
		report(w, Q2_P_BACKING_FORMAT_WRONG, next->backing, 0, 0);
	else if (qcow2)
		return enter_qcow2(w, io, next);
	else if (any ? content == IS_OTHER : means_raw(next->format))
		compare_sizes(w, next->backing, io->size);
	else
		report(w, Q2_P_BACKING_NOT_FOLLOWED, next->backing, 0, 0);
	next->backing[0] = '\0';
	return Q2_OK;
}

/* Opens the file at `path`, which the next layer's name means. */
static enum q2_status enter(struct chain *w, const char *path,
			    struct q2_names *next)
{
	enum q2_problem_id wrong = Q2_P_BACKING_MISSING;
	struct q2_io *io;
	enum q2_status st = open_file(w, path, &io);

	if (io && !met(w, io)) {
		st = judge_backing(w, io, next);
	} else {
		if (io)
			wrong = Q2_P_BACKING_LOOP;
		if (st == Q2_OK)
			report(w, wrong, next->backing, 0, 0);
		next->backing[0] = '\0';
	}
	q2_io_close(io);
	return st;
}

/* One step.  next->backing is empty at the end of the chain. */
static enum q2_status step(struct chain *w, struct q2_names *next)
{
	struct q2_budget *b = &w->c->budget;
	bool deep = w->layer == LAYERS;
	const char *plain;
	uint64_t size;
	bool from_cwd;
	enum q2_status st;
	char *path;

	w->layer += !deep;
	if (deep ||
	    q2_name_split(next->backing, &plain, &from_cwd) != Q2_NAME_PATH) {
		report(w, deep ? Q2_P_BACKING_DEEP : Q2_P_BACKING_NOT_FOLLOWED,
		       next->backing, 0, 0);
		next->backing[0] = '\0';
		return Q2_OK;
	}
	st = q2_path_beside(w->path, plain, from_cwd, b, &path, &size,
			    w->c->err);
	if (st != Q2_OK)
		return st;
	q2_put(b, w->path, w->path_size);
	w->path = path;
	w->path_size = size;
	return enter(w, path, next);
}

/* Nothing comes after this phase, and other images may need the memory. */
static void drop_maps(struct q2_checker *c)
{
	q2_l2refs_free(&c->refs, &c->budget);
	q2_refmap_free(&c->map);
	q2_suspects_free(&c->suspects, &c->budget);
	q2_leaks_free(&c->leaks, &c->budget);
	q2_descriptors_free(&c->compressed, &c->budget);
}

enum q2_status q2_chk_chain(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	struct chain *w;
	struct q2_names next;
	enum q2_status st;

	if (!(c->opts->flags & Q2_CHECK_CHAIN))
		return Q2_OK;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return q2_fail(c->err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory");
	drop_maps(c);
	w->c = c;
	w->disk_size = g->disk_size;
	copy_names(c, &next);
	met(w, c->img.io);
	st = q2_path_beside("", c->opts->path, true, &c->budget, &w->path,
			    &w->path_size, c->err);
	if (st == Q2_OK)
		st = judge_data_file(w, next.data_file,
				     c->result->data_file_end);
	while (st == Q2_OK && next.backing[0] != '\0') {
		st = step(w, &next);
		if (st == Q2_OK)
			st = q2_tick(c, "chain", w->layer, LAYERS);
	}
	q2_put(&c->budget, w->path, w->path_size);
	free(w);
	return st;
}
