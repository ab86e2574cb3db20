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

#define LAYERS 200u
#define FORMAT_MAX 15u
#define SECTOR 512u

/* What a layer says of the next one; the name is cut at a NUL, as by QEMU. */
struct names {
	char backing[Q2_BACKING_MAX + 1];
	char format[FORMAT_MAX + 1]; /* empty: none given */
	char data_file[Q2_BACKING_MAX + 1];
};

struct identity {
	uint64_t dev;
	uint64_t inode;
};

struct chain {
	struct q2_checker *c;
	char *dir; /* of the overlay's path, with its slash, or "" */
	uint64_t dir_size;
	uint64_t disk_size; /* of the overlay's disk */
	uint32_t layer;	    /* of the member at hand; the image itself is 0 */
	size_t n_seen;
	struct identity seen[LAYERS + 1];
};

static void copy_name(char *to, size_t room, const char *from, size_t n)
{
	size_t len = from ? strnlen(from, q2_min(n, room - 1)) : 0;

	if (len)
		memcpy(to, from, len);
	to[len] = '\0';
}

static void copy_names(const struct q2_checker *c, struct names *out)
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

/* The part of the name that is a path; NULL if it is another protocol's.  As
 * QEMU has it, a colon before the first slash ends a protocol's name.  A path
 * after file: starts from the current directory, whatever names it. */
static const char *plain_path(const char *name, bool *from_cwd)
{
	*from_cwd = strncmp(name, "file:", 5) == 0;
	if (*from_cwd)
		return name + 5;
	*from_cwd = name[0] == '/';
	return name[strcspn(name, ":/")] == ':' ? NULL : name;
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

/* Opens `dir` + `name`.  *io stays NULL if that is not possible. */
static enum q2_status open_file(struct chain *w, const char *dir,
				const char *name, struct q2_io **io)
{
	size_t dir_len = strlen(dir);
	size_t size = dir_len + strlen(name) + 1;
	struct q2_err why = {0};
	enum q2_status st;
	void *path;

	*io = NULL;
	st = q2_get(&w->c->budget, size, &path, w->c->err);
	if (st != Q2_OK)
		return st;
	memcpy(path, dir, dir_len);
	memcpy((char *)path + dir_len, name, size - dir_len);
	st = pass_on(w, q2_io_open(path, io, &why), &why);
	q2_put(&w->c->budget, path, size);
	return st;
}

/* Sets the directory from which the next layer's name starts: that of the path
 * by which this one was opened, symbolic links not resolved. */
static enum q2_status enter_dir(struct chain *w, const char *path,
				bool from_cwd)
{
	const char *slash = strrchr(path, '/');
	size_t more = slash ? (size_t)(slash + 1 - path) : 0;
	size_t keep = from_cwd ? 0 : strlen(w->dir);
	enum q2_status st;
	void *dir;

	st = q2_get(&w->c->budget, keep + more + 1, &dir, w->c->err);
	if (st != Q2_OK)
		return st;
	if (keep)
		memcpy(dir, w->dir, keep);
	memcpy((char *)dir + keep, path, more);
	q2_put(&w->c->budget, w->dir, w->dir_size);
	w->dir = dir;
	w->dir_size = keep + more + 1;
	return Q2_OK;
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

static enum q2_status run_names(struct q2_checker *m, struct names *out)
{
	uint8_t bytes[Q2_HEADER_READ];
	const struct q2_geom *g = &m->img.geom;
	enum q2_status st = q2_pread_zero(m->img.io, bytes, sizeof(bytes), 0,
					  m->err);
	void *block;

	if (st != Q2_OK)
		return st;
	q2_header_parse(bytes, sizeof(bytes), &m->header);
	st = q2_chk_header(m);
	if (st != Q2_OK || g->cluster_size == 0)
		return st;
	st = q2_get(&m->budget, g->cluster_size, &block, m->err);
	if (st != Q2_OK)
		return st;
	m->first = block;
	st = q2_pread_zero(m->img.io, m->first, (size_t)g->cluster_size, 0,
			   m->err);
	if (st == Q2_OK)
		st = q2_chk_extensions(m);
	if (st == Q2_OK)
		copy_names(m, out);
	return st;
}

/* What the member says of the next one: two phases of a check of its own. */
static enum q2_status read_names(struct chain *w, struct q2_io *io,
				 struct names *out)
{
	struct q2_check_opts quiet = {0};
	struct q2_check_result r = {0};
	struct q2_err why = {0};
	struct q2_checker *m = calloc(1, sizeof(*m));
	enum q2_status st;

	memset(out, 0, sizeof(*out));
	if (m == NULL)
		return q2_fail(w->c->err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory");
	m->opts = &quiet;
	m->result = &r;
	m->err = &why;
	m->budget.limit = memory_left(w->c);
	m->img.io = io;
	m->img.budget = &m->budget;
	st = run_names(m, out);
	q2_put(&m->budget, m->first, m->img.geom.cluster_size);
	q2_metas_free(&m->metas, &m->budget);
	q2_trees_free(&m->trees, &m->budget);
	free(m);
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
	bool from_cwd;
	const char *path = plain_path(name, &from_cwd);
	struct q2_io *io;
	enum q2_status st;

	if (name[0] == '\0')
		return Q2_OK;
	if (path == NULL) {
		report(w, Q2_P_BACKING_NOT_FOLLOWED, name, 0, 0);
		return Q2_OK;
	}
	st = open_file(w, "", path, &io);
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
				  struct names *next)
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
				    struct names *next)
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

/* One step.  next->backing is empty at the end of the chain. */
static enum q2_status step(struct chain *w, struct names *next)
{
	bool from_cwd;
	const char *path = plain_path(next->backing, &from_cwd);
	enum q2_problem_id wrong = Q2_P_BACKING_MISSING;
	struct q2_io *io = NULL;
	enum q2_status st = Q2_OK;

	if (w->layer == LAYERS) {
		wrong = Q2_P_BACKING_DEEP;
		goto out;
	}
	w->layer++;
	if (path == NULL) {
		wrong = Q2_P_BACKING_NOT_FOLLOWED;
		goto out;
	}
	st = open_file(w, from_cwd ? "" : w->dir, path, &io);
	if (io == NULL)
		goto out;
	if (met(w, io)) {
		wrong = Q2_P_BACKING_LOOP;
		goto out;
	}
	st = enter_dir(w, path, from_cwd);
	if (st == Q2_OK)
		st = judge_backing(w, io, next);
	q2_io_close(io);
	return st;
out:
	q2_io_close(io);
	if (st == Q2_OK)
		report(w, wrong, next->backing, 0, 0);
	next->backing[0] = '\0';
	return st;
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
	struct names next;
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
	st = enter_dir(w, c->opts->path, true);
	if (st == Q2_OK)
		st = judge_data_file(w, next.data_file,
				     c->result->data_file_end);
	while (st == Q2_OK && next.backing[0] != '\0') {
		st = step(w, &next);
		if (st == Q2_OK)
			st = q2_tick(c, "chain", w->layer, LAYERS);
	}
	q2_put(&c->budget, w->dir, w->dir_size);
	free(w);
	return st;
}
