/*
 * allow.c - which files may be opened because an image names them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/allow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/naming.h"
#include "io/nbd.h"

/* Cuts a path to its folder, without a slash at the end unless it is the root. */
static void to_folder(char *path)
{
	size_t n = q2_folder_len(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	path[n] = '\0';
}

void q2_allowed_init(struct q2_allowed *a, const char *const *more, bool any,
		     bool texts, const char *image)
{
	*a = (struct q2_allowed){.more = more, .any = any, .texts = texts};
	a->image = strdup(image);
	if (a->image == NULL)
		return;
	to_folder(a->image);
	if (texts)
		return;
	a->link_to = realpath(image, NULL);
	if (a->link_to)
		to_folder(a->link_to);
	if (a->image[0] == '\0') {
		free(a->image);
		a->image = realpath(".", NULL);
	} else {
		char *real = realpath(a->image, NULL);

		free(a->image);
		a->image = real;
	}
}

void q2_allowed_free(struct q2_allowed *a)
{
	free(a->image);
	free(a->link_to);
	a->image = a->link_to = NULL;
}

/* Whether the file is in the folder or below; "" is the current one, of which
 * nothing but relative paths can be told. */
static bool in_folder(const char *folder, const char *file)
{
	size_t n = folder ? strlen(folder) : 0;

	if (folder == NULL)
		return false;
	if (n == 0)
		return file[0] != '/';
	while (n > 1 && folder[n - 1] == '/')
		n--;
	return strncmp(folder, file, n) == 0 &&
	       (file[n] == '/' || (n == 1 && folder[0] == '/'));
}

static bool in_named(const struct q2_allowed *a, const char *file)
{
	for (size_t i = 0; a->more && a->more[i]; i++) {
		char *real;
		bool in;

		if (q2_nbd_is_uri(a->more[i]))
			continue;
		real = a->texts ? NULL : realpath(a->more[i], NULL);
		/* One file may be named, too, such as a device. */
		in = in_folder(real ? real : a->more[i], file) ||
		     strcmp(real ? real : a->more[i], file) == 0;

		free(real);
		if (in)
			return true;
	}
	return false;
}

static enum q2_status refuse(const char *file, struct q2_err *err)
{
	int n = (int)q2_folder_len(file);

	return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
		       "outside of the image's folder; --allow-path=%.*s "
		       "allows it", n > 1 ? n - 1 : n ? n : 1,
		       n ? file : ".");
}

enum q2_status q2_allowed(const struct q2_allowed *a, const char *path,
			  struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	char *real;

	if (a->any)
		return Q2_OK;
	if (a->texts) {
		if (q2_path_climbs(path) || (!in_folder(a->image, path) &&
					     !in_named(a, path)))
			return refuse(path, err);
		return Q2_OK;
	}
	real = realpath(path, NULL);
	if (real == NULL)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot open");
	if (!in_folder(a->image, real) && !in_folder(a->link_to, real) &&
	    !in_named(a, real))
		st = refuse(real, err);
	free(real);
	return st;
}

/* Neither a name of the machine nor one of a socket is to be continued. */
enum q2_status q2_allowed_server(const struct q2_allowed *a, const char *uri,
				 struct q2_err *err)
{
	for (size_t i = 0; a->more && a->more[i]; i++) {
		const char *given = a->more[i];
		size_t n = strlen(given);

		if (q2_nbd_is_uri(given) &&
		    (strcmp(uri, given) == 0 ||
		     (given[n - 1] == '/' && strncmp(uri, given, n) == 0)))
			return Q2_OK;
	}
	return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
		       "it is on a server; --allow-path=%.100s allows it", uri);
}
