/*
 * inplace_siblings.c - other images that share a file which would change.
 *
 * SPDX-License-Identifier: MIT
 *
 * Only headers are read.  From each image found, the names of backing files are
 * followed as long as they lead to files.  A data file's name starts in whatever folder
 * is the current one: it is looked for in ours, and beside the image.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "dump/inplace.h"
#include "image/naming.h"
#include "image/resolve.h"

#define FOLDERS_MAX 16u /* one in the other */

struct search {
	struct q2_inplace *ip;
	const char *found; /* the overlay at hand */
	struct q2_err *err;
};

bool q2_inplace_same(const struct q2_io *a, const struct q2_io *b)
{
	uint64_t dev[2], inode[2];

	return a && b && q2_io_identity(a, &dev[0], &inode[0]) &&
	       q2_io_identity(b, &dev[1], &inode[1]) && dev[0] == dev[1] &&
	       inode[0] == inode[1];
}

static bool is_member(const struct q2_inplace *ip, const struct q2_io *io)
{
	for (unsigned i = 0; i < ip->chain.n; i++)
		if (q2_inplace_same(ip->chain.layers[i]->io, io))
			return true;
	return false;
}

static bool is_of(const struct q2_layer *l, const struct q2_io *io)
{
	return q2_inplace_same(l->io, io) || q2_inplace_same(l->data, io);
}

static bool changes(const struct q2_inplace *ip, const struct q2_io *io)
{
	if (is_of(ip->chain.layers[0], io))
		return true;
	return ip->opts->job == Q2_COMMIT &&
	       is_of(ip->chain.layers[ip->base], io);
}

static enum q2_status refuse(const struct search *s, const char *why)
{
	return q2_fail(s->err, Q2_E_REFUSED, 0, Q2_NO_OFFSET, "'%.100s' %s",
		       s->found, why);
}

/* Whether the image at `path` has a data file that would change. */
static enum q2_status judge_data(struct search *s, const char *path,
				 const struct q2_opened *opened)
{
	struct q2_budget *b = &s->ip->budget;
	enum q2_status st = Q2_OK;
	struct q2_place place;

	if (opened->names.data_file[0] == '\0' ||
	    q2_resolve_data(opened->names.data_file, &place, NULL) != Q2_OK)
		return Q2_OK;
	for (int i = 0; i < 2 && st == Q2_OK; i++) {
		struct q2_io *io = NULL;
		uint64_t size = 0;
		char *file = NULL;

		st = q2_path_beside(path, place.path, i == 0, b, &file, &size,
				    s->err);
		if (st == Q2_OK && q2_io_open_file(file, &io, NULL) == Q2_OK &&
		    changes(s->ip, io))
			st = refuse(s, "has a data file that would change");
		q2_io_close(io);
		q2_put(b, file, size);
	}
	return st;
}

/* Follows what the image in `io`, opened as `path`, names. */
static enum q2_status follow(struct search *s, const char *path,
			     struct q2_io *io, unsigned depth)
{
	struct q2_budget *b = &s->ip->budget;
	struct q2_opened *opened;
	struct q2_io *next = NULL;
	struct q2_place place;
	bool known, json;
	uint64_t size = 0;
	enum q2_status st;
	char *file = NULL;
	void *block;

	st = q2_get(b, sizeof(*opened), &block, s->err);
	if (st != Q2_OK)
		return st;
	opened = block;
	/* What is no image, or a broken one, is nobody's overlay. */
	if (q2_image_open(io, b, opened, NULL) != Q2_OK)
		goto out;
	st = judge_data(s, path, opened);
	if (st != Q2_OK || opened->names.backing[0] == '\0')
		goto out;
	known = q2_resolve(opened->names.backing, &place, NULL) == Q2_OK;
	json = strncmp(opened->names.backing, "json:", 5) == 0;
	/* Whose current folder a relative one starts in is not known. */
	if (!known || (json && place.path[0] != '/')) {
		if (json)
			st = refuse(s, "names a backing file in JSON, so that "
				       "it cannot be told whether that would "
				       "change");
		goto out;
	}
	if (place.server)
		goto out;
	st = q2_path_beside(path, place.path, place.from_cwd, b, &file, &size,
			    s->err);
	if (st != Q2_OK || q2_io_open_file(file, &next, NULL) != Q2_OK)
		goto out;
	if (changes(s->ip, next))
		st = refuse(s, "is another overlay of a file that would change");
	else if (depth < Q2_CHAIN_MAX)
		st = follow(s, file, next, depth + 1);
out:
	q2_io_close(next);
	q2_put(b, file, size);
	q2_put(b, block, sizeof(*opened));
	return st;
}

static enum q2_status look_at_file(struct search *s, const char *path)
{
	enum q2_status st = Q2_OK;
	struct q2_io *io;

	if (q2_io_open_file(path, &io, NULL) != Q2_OK)
		return Q2_OK;
	s->found = path;
	if (!is_member(s->ip, io) && q2_image_is_qcow2(io))
		st = follow(s, path, io, 1);
	q2_io_close(io);
	return st;
}

static enum q2_status look_at(struct search *s, const char *path,
			      unsigned depth);

static enum q2_status look_into(struct search *s, const char *path,
				unsigned depth)
{
	struct q2_budget *b = &s->ip->budget;
	enum q2_status st = Q2_OK;
	const struct dirent *e;
	DIR *dir = opendir(path);

	if (dir == NULL)
		return Q2_OK;
	while (st == Q2_OK && (e = readdir(dir)) != NULL) {
		size_t n = strlen(path), m = strlen(e->d_name);
		void *name;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		st = q2_get(b, n + m + 2, &name, s->err);
		if (st != Q2_OK)
			break;
		memcpy(name, path, n);
		((char *)name)[n] = '/';
		memcpy((char *)name + n + 1, e->d_name, m);
		st = look_at(s, name, depth + 1);
		q2_put(b, name, n + m + 2);
	}
	closedir(dir);
	return st;
}

static enum q2_status look_at(struct search *s, const char *path,
			      unsigned depth)
{
	struct stat sb;

	/* A link is followed only if the user names it. */
	if ((depth ? lstat(path, &sb) : stat(path, &sb)) < 0)
		return depth ? Q2_OK :
			       q2_fail(s->err, Q2_E_IO, 0, Q2_NO_OFFSET,
				       "'%.150s': there is no such file",
				       path);
	if (S_ISLNK(sb.st_mode) && stat(path, &sb) == 0 &&
	    S_ISDIR(sb.st_mode))
		return Q2_OK;
	if (S_ISDIR(sb.st_mode))
		return depth < FOLDERS_MAX ? look_into(s, path, depth) : Q2_OK;
	return S_ISREG(sb.st_mode) || S_ISBLK(sb.st_mode) ?
		       look_at_file(s, path) : Q2_OK;
}

enum q2_status q2_inplace_siblings(struct q2_inplace *ip, struct q2_err *err)
{
	struct search s = {.ip = ip, .err = err};
	enum q2_status st = Q2_OK;

	for (size_t i = 0; ip->opts->siblings && ip->opts->siblings[i] &&
			   st == Q2_OK; i++)
		st = look_at(&s, ip->opts->siblings[i], 0);
	return st;
}
