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

#include "base/err.h"
#include "base/vec.h"
#include "image/naming.h"
#include "map/scan.h"

/* ------------------------------------------------------------------- names */
static bool in_roots(const struct q2_scan *s, const char *real)
{
	for (size_t i = 0; i < s->n_roots; i++) {
		size_t n = strlen(s->roots[i]);

		if (strncmp(s->roots[i], real, n) == 0 &&
		    (real[n] == '/' || n == 1))
			return true;
	}
	return false;
}

/* The file at `path`, which is looked at if it is in the folders given; else the
 * flag says why there is none: `gone`, or Q2_FF_OUTSIDE. */
static enum q2_status look_up(struct q2_scan *s, const char *path,
			      unsigned gone, size_t *number, unsigned *flags,
			      struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	char *real;

	*number = q2_scan_find(s, path);
	if (*number != Q2_NO_FILE)
		return Q2_OK;
	real = realpath(path, NULL);
	if (real == NULL)
		*flags |= errno == EACCES ? Q2_FF_OUTSIDE : gone;
	else if (!in_roots(s, real))
		*flags |= Q2_FF_OUTSIDE;
	else
		st = q2_scan_look(s, path, true, number, err);
	free(real);
	return st;
}

/* The file that a name in node i means. */
static enum q2_status resolve(struct q2_scan *s, size_t i, const char *name,
			      bool data_file, size_t *number,
			      struct q2_err *err)
{
	unsigned gone = data_file ? Q2_FF_NO_DATA_FILE : Q2_FF_NO_BASE;
	unsigned flags = 0;
	const char *plain;
	bool from_cwd;
	uint64_t size;
	enum q2_status st;
	char *path;

	*number = Q2_NO_FILE;
	if (q2_name_split(name, &plain, &from_cwd) != Q2_NAME_PATH) {
		s->at[i].f.flags |= Q2_FF_NOT_A_FILE;
		return Q2_OK;
	}
	st = q2_path_beside(s->at[i].f.path, plain, from_cwd || data_file,
			    &s->budget, &path, &size, err);
	if (st != Q2_OK)
		return st;
	st = look_up(s, path, gone, number, &flags, err);
	q2_put(&s->budget, path, size);
	s->at[i].f.flags |= flags;
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
	if (base->changed > f->changed)
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
/* Every node has one base at the most: two walkers, one of which goes twice as
 * fast, meet if and only if there is a loop. */
static bool loops(const struct q2_scan *s, size_t i)
{
	size_t slow = i, fast = i;

	for (;;) {
		for (int k = 0; k < 2; k++) {
			fast = s->at[fast].f.base;
			if (fast == Q2_NO_FILE)
				return false;
			if (fast == i)
				return true;
		}
		slow = s->at[slow].f.base;
		if (slow == fast)
			return false; /* one that it is not part of */
	}
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
static struct q2_scan_volume *volume_of(struct q2_scan *s,
					const struct q2_scan_file *f)
{
	struct q2_scan_volume *v;
	struct statvfs vfs;

	for (size_t i = 0; i < s->n_volumes; i++)
		if (s->volumes[i].device == f->device)
			return &s->volumes[i];
	v = realloc(s->volumes, (s->n_volumes + 1) * sizeof(*v));
	if (v == NULL)
		return NULL;
	s->volumes = v;
	v = &s->volumes[s->n_volumes++];
	*v = (struct q2_scan_volume){.device = f->device};
	if (statvfs(f->path, &vfs) == 0) {
		v->known = true;
		v->size = (uint64_t)vfs.f_blocks * vfs.f_frsize;
		v->free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	}
	return v;
}

static bool sum_up(struct q2_scan *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct q2_scan_file *f = &s->at[i].f;
		struct q2_scan_volume *v;

		if (f->inode == 0)
			continue;
		v = volume_of(s, f);
		if (v == NULL)
			return false;
		v->files++;
		v->capacity = q2_add_sat(v->capacity, f->capacity);
		v->length = q2_add_sat(v->length, f->length);
		v->allocation = q2_add_sat(v->allocation, f->allocation);
		v->commitment = q2_add_sat(v->commitment, f->commitment);
	}
	return true;
}

enum q2_status q2_scan_link(struct q2_scan *scan, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	/* Files that are only named are looked at, and may name others. */
	for (size_t i = 0; i < scan->n && st == Q2_OK; i++)
		st = follow(scan, i, err);
	if (st != Q2_OK)
		return st;
	if (!sort(scan))
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	for (size_t i = 0; i < scan->n; i++) {
		struct q2_scan_file *f = &scan->at[i].f;

		if (f->base == Q2_NO_FILE)
			continue;
		scan->at[f->base].f.overlays++;
		compare(scan, i);
		if (loops(scan, i))
			f->flags |= Q2_FF_LOOP;
	}
	for (size_t i = 0; i < scan->n; i++) {
		struct q2_scan_file *f = &scan->at[i].f;

		if (f->overlays > 1)
			f->flags |= Q2_FF_SHARED;
		/* Nobody may write to what others stand on. */
		if (f->overlays)
			f->commitment = f->allocation;
		f->commitment = q2_max(f->commitment, f->allocation);
	}
	if (!sum_up(scan))
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	return Q2_OK;
}
