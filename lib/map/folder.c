/*
 * folder.c - everything below a folder, in the order of names.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "map/scan.h"

#define DEPTH_MAX 64u

static enum q2_status fail_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

/* Remembers a folder from which files may be looked at. */
static enum q2_status add_root(struct q2_scan *s, const char *path, bool folder,
			       struct q2_err *err)
{
	char **roots = realloc(s->roots, (s->n_roots + 1) * sizeof(*roots));
	char *real;

	if (roots == NULL)
		return fail_memory(err);
	s->roots = roots;
	real = realpath(path, NULL);
	if (real == NULL)
		return Q2_OK; /* it is bad, and that is told */
	if (!folder) {
		char *slash = strrchr(real, '/');

		slash[slash == real] = '\0';
	}
	s->roots[s->n_roots++] = real;
	return Q2_OK;
}

static enum q2_status walk(struct q2_scan *s, const char *path, unsigned depth,
			   struct q2_err *err);

static enum q2_status one(struct q2_scan *s, const char *path, unsigned depth,
			  struct q2_err *err)
{
	struct stat sb;
	size_t number;
	enum q2_status st;

	/* It may have gone since the folder was read. */
	if (lstat(path, &sb) < 0)
		return Q2_OK;
	if (S_ISDIR(sb.st_mode))
		return walk(s, path, depth + 1, err);
	if (!S_ISREG(sb.st_mode))
		return Q2_OK;
	st = q2_scan_look(s, path, false, &number, err);
	if (st == Q2_OK && number != Q2_NO_FILE)
		s->at[number].f.asked = true;
	return st;
}

static enum q2_status bad_folder(struct q2_scan *s, const char *path,
				 struct q2_err *err)
{
	size_t number;

	/* As a file it cannot be opened, and so the reason is told. */
	return q2_scan_look(s, path, true, &number, err);
}

static enum q2_status walk(struct q2_scan *s, const char *path, unsigned depth,
			   struct q2_err *err)
{
	struct dirent **entry;
	size_t len = strlen(path);
	enum q2_status st = Q2_OK;
	int n = depth > DEPTH_MAX ? -1 : scandir(path, &entry, NULL, alphasort);

	if (n < 0)
		return errno == ENOMEM ? fail_memory(err) :
					 bad_folder(s, path, err);
	for (int i = 0; i < n; i++) {
		const char *name = entry[i]->d_name;
		struct q2_buf b = {0};

		if (st == Q2_OK && strcmp(name, ".") && strcmp(name, "..")) {
			q2_buf_text(&b, path);
			if (len && path[len - 1] != '/')
				q2_buf_char(&b, '/');
			q2_buf_add(&b, name, strlen(name) + 1);
			st = b.failed ? fail_memory(err) :
					one(s, b.at, depth, err);
			q2_buf_free(&b);
		}
		free(entry[i]);
	}
	free(entry);
	return st;
}

enum q2_status q2_scan_add(struct q2_scan *scan, const char *path,
			   struct q2_err *err)
{
	struct stat sb;
	size_t number;
	bool folder = stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
	enum q2_status st = add_root(scan, path, folder, err);

	if (st != Q2_OK)
		return st;
	if (folder)
		return walk(scan, path, 0, err);
	st = q2_scan_look(scan, path, true, &number, err);
	if (st == Q2_OK && number != Q2_NO_FILE)
		scan->at[number].f.asked = true;
	return st;
}
