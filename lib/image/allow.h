/*
 * allow.h - which files may be opened because an image names them.
 *
 * SPDX-License-Identifier: MIT
 *
 * Those in the folder of the image that the user named, or below it, and in
 * folders that the user named besides.  Symbolic links are followed first: what
 * counts is where the file really is.
 */
#ifndef Q2_IMAGE_ALLOW_H
#define Q2_IMAGE_ALLOW_H

#include "q2.h"

struct q2_allowed {
	const char *const *more; /* borrowed; NULL for none */
	bool any;
	bool texts;    /* no file system: paths are compared as they are */
	char *image;   /* folder of the image's path, allocated */
	char *link_to; /* folder of what that path leads to */
};

/* `image` is the path by which the user named the image.  What cannot be found
 * out allows nothing. */
void q2_allowed_init(struct q2_allowed *a, const char *const *more, bool any,
		     bool texts, const char *image);
void q2_allowed_free(struct q2_allowed *a);

/* Q2_OK, or Q2_E_REFUSED with the option's name in the text, or Q2_E_IO if
 * there is no such file. */
enum q2_status q2_allowed(const struct q2_allowed *a, const char *path,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The same for an NBD export: its URI must be one that the user gave, or start with
 * one that ends in a slash. */
enum q2_status q2_allowed_server(const struct q2_allowed *a, const char *uri,
				 struct q2_err *err) Q2_MUST_CHECK;

#endif
