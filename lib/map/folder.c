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
#include "map/scan.h"

#define DEPTH_MAX 64u

/* Remembers a folder from which files may be looked at. */
static enum q2_status add_root(struct q2_scan *s, const char *path, bool folder,
			       struct q2_err *err)
{
	struct q2_scan_root *roots =
		realloc(s->roots, (s->n_roots + 1) * sizeof(*roots));
	struct q2_scan_root root = {0};
	char *slash;

	if (roots == NULL)
		return q2_scan_no_memory(err);
	s->roots = roots;
	root.real = realpath(path, NULL);
	if (root.real == NULL)
		return Q2_OK; /* it is bad, and that is told */
	root.given = strdup(path);
	if (root.given == NULL) {
		free(root.real);
		return q2_scan_no_memory(err);
	}
	if (!folder) {
		slash = strrchr(root.real, '/');
		slash[slash == root.real] = '\0';
		slash = strrchr(root.given, '/');
		if (slash)
			slash[slash == root.given] = '\0';
		else
			root.given[0] = '\0';
	}
	s->roots[s->n_roots++] = root;
	return Q2_OK;
}

/* Remembers what was asked for: workers that share a scan are told the same. */
static enum q2_status add_asked(struct q2_scan *s, const char *path,
				struct q2_err *err)
{
	char **asked = realloc(s->asked, (s->n_asked + 1) * sizeof(*asked));

	if (asked == NULL)
		return q2_scan_no_memory(err);
	s->asked = asked;
	asked[s->n_asked] = strdup(path);
	if (asked[s->n_asked] == NULL)
		return q2_scan_no_memory(err);
	s->n_asked++;
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
	if (!S_ISREG(sb.st_mode) || !q2_scan_is_mine(s, sb.st_ino))
		return Q2_OK;
	st = q2_scan_look(s, path, path, false, &number, err);
	if (st == Q2_OK && number != Q2_NO_FILE)
		s->at[number].f.asked = true;
	return st;
}

static enum q2_status bad_folder(struct q2_scan *s, const char *path,
				 bool wanted, struct q2_err *err)
{
	size_t number;

	/* As a file it cannot be opened, and so the reason is told. */
	return q2_scan_look(s, path, path, wanted, &number, err);
}

static enum q2_status walk(struct q2_scan *s, const char *path, unsigned depth,
			   struct q2_err *err)
{
	struct dirent **entry;
	size_t len = strlen(path);
	enum q2_status st = Q2_OK;
	int n = -1;

	errno = 0;
	if (depth <= DEPTH_MAX)
		n = scandir(path, &entry, NULL, alphasort);
	if (n < 0)
		return errno == ENOMEM ? q2_scan_no_memory(err) :
					 bad_folder(s, path, depth == 0, err);
	for (int i = 0; i < n; i++) {
		const char *name = entry[i]->d_name;
		struct q2_buf b = {0};

		if (st == Q2_OK && strcmp(name, ".") && strcmp(name, "..")) {
			q2_buf_text(&b, path);
			if (len && path[len - 1] != '/')
				q2_buf_char(&b, '/');
			q2_buf_add(&b, name, strlen(name) + 1);
			st = b.failed ? q2_scan_no_memory(err) :
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
	bool there = stat(path, &sb) == 0;
	bool folder = there && S_ISDIR(sb.st_mode);
	enum q2_status st;

	if (scan->streams)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "a scan that joins others looks at no files itself");
	st = add_root(scan, path, folder, err);
	if (st == Q2_OK)
		st = add_asked(scan, path, err);
	if (st == Q2_OK)
		st = q2_scan_this_host(scan, err);
	if (st != Q2_OK)
		return st;
	if (folder)
		return walk(scan, path, 0, err);
	if (there && !q2_scan_is_mine(scan, sb.st_ino))
		return Q2_OK;
	st = q2_scan_look(scan, path, path, true, &number, err);
	if (st == Q2_OK && number != Q2_NO_FILE)
		scan->at[number].f.asked = true;
	return st;
}
