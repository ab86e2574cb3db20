/*
 * link.c - who depends on whom, and what each file system has to bear.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/vec.h"
#include "image/naming.h"
#include "image/resolve.h"
#include "map/scan.h"

/* ------------------------------------------------------------------- names */
/* The path that people see of a file with this real path: it begins with what they
 * gave, and does not depend on who names the file.  NULL: it is in no folder that
 * was given; *failed if memory ran out. */
static char *shown_path(const struct q2_scan *s, const char *real, bool *failed)
{
	struct q2_buf b = {0};

	for (size_t i = 0; i < s->n_roots; i++) {
		const struct q2_scan_root *root = &s->roots[i];
		size_t n = strlen(root->real), len = strlen(root->given);
		const char *rest = real + n;

		if (strncmp(root->real, real, n) != 0 ||
		    (*rest != '/' && n != 1))
			continue;
		rest += *rest == '/';
		q2_buf_text(&b, root->given);
		if (len && root->given[len - 1] != '/')
			q2_buf_char(&b, '/');
		q2_buf_add(&b, rest, strlen(rest) + 1);
		*failed = b.failed;
		return b.at;
	}
	return NULL;
}

/* Whether a path where nothing is leads out of the folders given: what there is of
 * its folders tells. */
static enum q2_status missing_outside(const struct q2_scan *s, const char *path,
				      bool *outside, struct q2_err *err)
{
	char *folder = strdup(path), *real = NULL, *shown = NULL;
	bool failed = folder == NULL;
	struct q2_buf below = {0};

	while (!failed && real == NULL) {
		char *slash = strrchr(folder, '/');

		if (slash && slash != folder)
			*slash = '\0';
		real = realpath(slash == folder ? "/" :
				slash		? folder : ".", NULL);
		if (slash == NULL || slash == folder)
			break;
	}
	free(folder);
	if (real) {
		q2_buf_text(&below, real);
		q2_buf_add(&below, "/", 2);
		failed |= below.failed;
	}
	if (real && !failed)
		shown = shown_path(s, below.at, &failed);
	*outside = shown == NULL;
	q2_buf_free(&below);
	free(real);
	free(shown);
	return failed ? q2_scan_no_memory(err) : Q2_OK;
}

/* The file at `path`, which is looked at if it is in the folders given; else the
 * flags say why there is none: `gone`, or Q2_FF_OUTSIDE, or both. */
static enum q2_status look_up(struct q2_scan *s, const char *path,
			      unsigned gone, size_t *number, unsigned *flags,
			      struct q2_identity *id, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	char *real, *shown;
	bool failed = false;
	struct stat sb;
	char *below;

	*number = Q2_NO_FILE;
	if (stat(path, &sb) < 0) {
		bool outside = errno == EACCES;

		if (!outside) {
			*flags |= gone;
			st = missing_outside(s, path, &outside, err);
		}
		*flags |= outside ? Q2_FF_OUTSIDE : 0u;
		return st;
	}
	st = q2_scan_identify(path, &sb, id, &below, err);
	if (st != Q2_OK)
		return st;
	free(below);
	*number = q2_scan_by_identity(s, *id);
	if (*number != Q2_NO_FILE)
		return Q2_OK;
	real = realpath(path, NULL);
	shown = real ? shown_path(s, real, &failed) : NULL;
	if (failed)
		st = q2_scan_no_memory(err);
	else if (real == NULL)
		*flags |= errno == EACCES ? Q2_FF_OUTSIDE : gone;
	else if (shown == NULL)
		*flags |= Q2_FF_OUTSIDE;
	else
		st = q2_scan_look(s, path, shown, true, number, err);
	free(real);
	free(shown);
	return st;
}

/* Whether the name leads to a file.  Whose current folder a relative name in JSON
 * starts in is not known. */
static enum q2_status find_place(const char *name, bool data_file,
				 struct q2_place *place, bool *found)
{
	enum q2_status st = data_file ? q2_resolve_data(name, place, NULL) :
					q2_resolve(name, place, NULL);

	*found = st == Q2_OK && !place->server &&
		 (data_file || strncmp(name, "json:", 5) != 0 ||
		  place->path[0] == '/');
	return st == Q2_E_NOMEM ? st : Q2_OK;
}

/* The file that a name in node i means. */
static enum q2_status resolve(struct q2_scan *s, size_t i, const char *name,
			      bool data_file, size_t *number,
			      struct q2_err *err)
{
	const struct q2_scan_node *n = &s->at[i];
	struct q2_identity id = {0};
	unsigned gone = data_file ? Q2_FF_NO_DATA_FILE : Q2_FF_NO_BASE;
	unsigned flags = 0;
	struct q2_place place;
	uint64_t size;
	enum q2_status st;
	bool found;
	char *path;

	*number = Q2_NO_FILE;
	if (find_place(name, data_file, &place, &found) != Q2_OK)
		return q2_scan_no_memory(err);
	if (!found) {
		s->at[i].f.flags |= Q2_FF_NOT_A_FILE;
		return Q2_OK;
	}
	st = q2_path_beside(n->given ? n->given : n->f.path, place.path,
			    place.from_cwd || place.path[0] == '/', &s->budget,
			    &path, &size, err);
	if (st != Q2_OK)
		return st;
	st = look_up(s, path, gone, number, &flags, &id, err);
	q2_put(&s->budget, path, size);
	s->at[i].f.flags |= flags;
	if (data_file)
		s->at[i].data = id;
	else
		s->at[i].base = id;
	return st;
}

static bool says_raw(const char *format)
{
	return strcmp(format, "raw") == 0 || strcmp(format, "file") == 0 ||
	       strcmp(format, "host_device") == 0;
}

static void compare(struct q2_scan *s, size_t i)
{
	struct q2_scan_file *f = &s->at[i].f;
	const struct q2_scan_file *base = &s->at[f->base].f;

	if (base->kind == Q2_FILE_BAD)
		return;
	/* Devices have no such time. */
	if (base->changed > f->changed && !base->is_device && !f->is_device)
		f->flags |= Q2_FF_BASE_NEWER;
	if (base->capacity < f->capacity)
		f->flags |= Q2_FF_BASE_SMALLER;
	if (f->format && (base->kind == Q2_FILE_RAW ?
				  !says_raw(f->format) :
				  strcmp(f->format, "qcow2") != 0))
		f->flags |= Q2_FF_BASE_FORMAT;
}

static enum q2_status follow(struct q2_scan *s, size_t i, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	size_t number;

	if (s->at[i].data_name) {
		st = resolve(s, i, s->at[i].data_name, true, &number, err);
		s->at[i].f.data_file = number;
	}
	if (st != Q2_OK || s->at[i].f.backing == NULL)
		return st;
	if (s->at[i].f.format == NULL)
		s->at[i].f.flags |= Q2_FF_NO_FORMAT;
	st = resolve(s, i, s->at[i].f.backing, false, &number, err);
	s->at[i].f.base = number;
	return st;
}

/* ------------------------------------------------------------------- loops */
/* Every node has one base at the most: a walk that comes back to where it was
 * before has found a loop, and one that comes to where another was finds nothing
 * new.  So every node is gone through once, or twice on a loop. */
static bool find_loops(struct q2_scan *s)
{
	size_t *walk = calloc(s->n + 1, sizeof(*walk)); /* 0: none was there */

	for (size_t i = 0; walk && i < s->n; i++) {
		size_t at = i;

		while (at != Q2_NO_FILE && walk[at] == 0) {
			walk[at] = i + 1;
			at = s->at[at].f.base;
		}
		if (at == Q2_NO_FILE || walk[at] != i + 1)
			continue;
		for (; !(s->at[at].f.flags & Q2_FF_LOOP);
		     at = s->at[at].f.base)
			s->at[at].f.flags |= Q2_FF_LOOP;
	}
	free(walk);
	return walk != NULL;
}

/* ------------------------------------------------------------------- order */
struct place {
	const char *path;
	size_t was;
};

static int by_path(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->path, y->path);

	return order ? order : (x->was > y->was) - (x->was < y->was);
}

static void renumber(size_t *number, const size_t *now)
{
	if (*number != Q2_NO_FILE)
		*number = now[*number];
}

/* Sorts the nodes by path, and puts the new numbers wherever the old ones were. */
static bool sort(struct q2_scan *s)
{
	struct place *place = calloc(s->n + 1, sizeof(*place));
	size_t *now = calloc(s->n + 1, sizeof(*now));
	struct q2_scan_node *at = calloc(s->n + 1, sizeof(*at));
	bool ok = place && now && at;

	for (size_t i = 0; ok && i < s->n; i++)
		place[i] = (struct place){s->at[i].f.path, i};
	if (ok)
		q2_sort(place, s->n, sizeof(*place), by_path);
	for (size_t i = 0; ok && i < s->n; i++) {
		now[place[i].was] = i;
		at[i] = s->at[place[i].was];
	}
	for (size_t i = 0; ok && i < s->n; i++) {
		renumber(&at[i].f.base, now);
		renumber(&at[i].f.data_file, now);
	}
	for (size_t i = 0; ok && i < s->n_index; i++)
		if (s->index[i])
			s->index[i] = now[s->index[i] - 1] + 1;
	if (ok) {
		free(s->at);
		s->at = at;
		s->room = s->n + 1;
	} else {
		free(at);
	}
	free(place);
	free(now);
	return ok;
}

/* ----------------------------------------------------------------- volumes */
/* The file system that a file of this host is on; or a device is one of its own. */
static enum q2_status find_volume(struct q2_scan *s, struct q2_scan_node *n,
				  struct q2_err *err)
{
	struct q2_scan_file *f = &n->f;
	struct q2_scan_volume v = {.device = f->device,
				   .is_device = f->is_device,
				   .known = f->is_device};
	struct statvfs vfs;
	enum q2_status st;
	char *shared;

	for (size_t i = 0; i < s->n_volumes; i++)
		if (s->volumes[i].device == f->device) {
			f->volume = i;
			return Q2_OK;
		}
	if (f->is_device) {
		v.size = f->length;
	} else if (statvfs(n->below ? n->below : f->path, &vfs) == 0) {
		v.known = true;
		v.size = (uint64_t)vfs.f_blocks * vfs.f_frsize;
		v.free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	}
	st = q2_scan_shared_name(f->device, &shared, err);
	if (st != Q2_OK)
		return st;
	v.shared = shared;
	st = q2_scan_add_volume(s, 0, &v, &f->volume, err);
	free(shared);
	return st;
}

static enum q2_status sum_up(struct q2_scan *s, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < s->n && st == Q2_OK; i++) {
		struct q2_scan_file *f = &s->at[i].f;
		struct q2_scan_volume *v;

		if (f->inode == 0)
			continue;
		if (s->streams == 0)
			st = find_volume(s, &s->at[i], err);
		if (st != Q2_OK)
			break;
		v = &s->volumes[f->volume];
		v->files++;
		v->capacity = q2_add_sat(v->capacity, f->capacity);
		v->length = q2_add_sat(v->length, f->length);
		v->allocation = q2_add_sat(v->allocation, f->allocation);
		v->commitment = q2_add_sat(v->commitment, f->commitment);
	}
	return st;
}

/* ------------------------------------------------------------------- joined */
/* A file that another scan was not given, but that is here. */
static void find_named(struct q2_scan *s, struct q2_identity id, size_t *number,
		       unsigned *flags)
{
	*number = q2_scan_by_identity(s, id);
	if (*number != Q2_NO_FILE)
		*flags &= ~(unsigned)Q2_FF_OUTSIDE;
}

static void follow_joined(struct q2_scan *s, struct q2_scan_node *n)
{
	unsigned outside = n->f.flags & Q2_FF_OUTSIDE;
	unsigned base = outside, data = outside;

	find_named(s, n->base, &n->f.base, &base);
	find_named(s, n->data, &n->f.data_file, &data);
	/* It stays outside if one of those that it names is. */
	if ((n->base.inode == 0 || base == 0) &&
	    (n->data.inode == 0 || data == 0) &&
	    (n->base.inode || n->data.inode))
		n->f.flags &= ~(unsigned)Q2_FF_OUTSIDE;
}

enum q2_status q2_scan_link(struct q2_scan *scan, struct q2_err *err)
{
	enum q2_status st = q2_scan_check_parts(scan, err);

	for (size_t i = 0; scan->streams && i < scan->n; i++)
		follow_joined(scan, &scan->at[i]);
	/* Files that are only named are looked at, and may name others. */
	for (size_t i = 0; !scan->streams && i < scan->n && st == Q2_OK; i++)
		st = follow(scan, i, err);
	if (st != Q2_OK)
		return st;
	if (!sort(scan) || !find_loops(scan))
		return q2_scan_no_memory(err);
	for (size_t i = 0; i < scan->n; i++) {
		struct q2_scan_file *f = &scan->at[i].f;

		if (f->base == Q2_NO_FILE)
			continue;
		scan->at[f->base].f.overlays++;
		compare(scan, i);
	}
	for (size_t i = 0; i < scan->n; i++) {
		struct q2_scan_file *f = &scan->at[i].f;
		uint64_t taken;

		if (f->overlays > 1)
			f->flags |= Q2_FF_SHARED;
		taken = f->is_device ? f->length : f->allocation;
		/* Nobody may write to what others stand on. */
		f->alone = q2_max(f->alone, taken);
		f->commitment = f->overlays ? taken : f->alone;
		f->growth = f->commitment - taken;
	}
	return sum_up(scan, err);
}
