/*
 * inplace_name.c - what the top image has to call its new backing file.
 *
 * SPDX-License-Identifier: MIT
 *
 * A name is as relative as the one that it replaces.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "dump/inplace.h"
#include "image/naming.h"
#include "image/resolve.h"
#include "io/nbd.h"

/* A colon before the first slash would be a protocol's. */
static void append_plain(struct q2_buf *b, const char *path)
{
	if (path[0] != '/' && path[strcspn(path, ":/")] == ':')
		q2_buf_text(b, "./");
	q2_buf_text(b, path);
}

/* Appends the way from folder `from` to file `to`, both absolute and resolved. */
static void append_way(struct q2_buf *b, const char *from, const char *to)
{
	bool up = false;
	size_t same = 0;

	for (size_t i = 0; from[i] && from[i] == to[i]; i++)
		if (to[i + 1] == '/' && (from[i + 1] == '/' || !from[i + 1]))
			same = i + 1;
	for (const char *p = from + same; *p; p++)
		if (*p == '/' && p[1]) {
			q2_buf_text(b, "../");
			up = true;
		}
	if (up)
		q2_buf_text(b, to + same + 1);
	else
		append_plain(b, to + same + 1);
}

static enum q2_status append_resolved(struct q2_buf *b, const char *top,
				      const char *base, bool relative,
				      struct q2_err *err)
{
	size_t n = q2_folder_len(top);
	char *folder = n ? strndup(top, n) : strdup(".");
	char *from = folder ? realpath(folder, NULL) : NULL;
	char *to = realpath(base, NULL);
	enum q2_status st = Q2_OK;

	if (from == NULL || to == NULL)
		st = q2_fail_errno(err, errno, Q2_NO_OFFSET,
				   "cannot find out the base's path");
	else if (relative)
		append_way(b, from, to);
	else
		q2_buf_text(b, to);
	free(folder);
	free(from);
	free(to);
	return st;
}

enum q2_status q2_inplace_name(struct q2_inplace *ip, char **name,
			       uint64_t *size, const char **format,
			       struct q2_err *err)
{
	const struct q2_layer *top = ip->chain.layers[0];
	const struct q2_layer *base;
	struct q2_buf b = {0};
	struct q2_place place;
	size_t n, m;
	bool from_cwd;
	enum q2_status st = Q2_OK;
	void *block;

	*name = NULL;
	*size = 0;
	*format = NULL;
	if (ip->base >= ip->chain.n)
		return Q2_OK;
	base = ip->chain.layers[ip->base];
	*format = base->raw ? "raw" : "qcow2";
	/* What QEMU takes from the current folder is better off beside the image
	 * than in whatever folder is the current one now. */
	st = q2_resolve(top->opened.names.backing, &place, err);
	if (st != Q2_OK)
		return st;
	from_cwd = strncmp(top->opened.names.backing, "json:", 5) == 0 ?
			   place.path[0] == '/' : place.from_cwd;
	n = q2_folder_len(top->path);
	m = q2_folder_len(base->path);
	if (q2_nbd_is_uri(base->path))
		q2_buf_text(&b, base->path);
	else if (!from_cwd && n == m && memcmp(top->path, base->path, n) == 0)
		append_plain(&b, base->path + m);
	else
		st = append_resolved(&b, top->path, base->path, !from_cwd,
				     err);
	q2_buf_char(&b, '\0');
	if (st == Q2_OK && b.failed)
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	if (st == Q2_OK)
		st = q2_get(&ip->budget, b.n, &block, err);
	if (st == Q2_OK) {
		memcpy(block, b.at, b.n);
		*name = block;
		*size = b.n;
	}
	q2_buf_free(&b);
	return st;
}
