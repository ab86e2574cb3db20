/*
 * naming.h - which file a name in an image means.
 *
 * SPDX-License-Identifier: MIT
 *
 * As QEMU has it: a colon before the first slash ends a protocol's name.  A
 * backing file's name starts in the folder of the path by which its overlay was
 * opened, symbolic links not resolved; after "file:" it starts in the current
 * folder, and so does a data file's name in any case.
 */
#ifndef Q2_IMAGE_NAMING_H
#define Q2_IMAGE_NAMING_H

#include "base/budget.h"
#include "q2.h"

enum q2_name_kind {
	Q2_NAME_PATH,	  /* a file */
	Q2_NAME_PROTOCOL, /* a URL or another protocol's name */
	Q2_NAME_JSON	  /* json:{…}: options for any driver */
};

/* *path is the part of the name that is a path (NULL if it is none), *from_cwd
 * whether that does not start in the overlay's folder. */
enum q2_name_kind q2_name_split(const char *name, const char **path,
				bool *from_cwd);

/* Length of the folder's part of a path, with its slash; 0 if there is none. */
size_t q2_folder_len(const char *path);

/* True if a component of the path is "..". */
bool q2_path_climbs(const char *path);

/* *out = the path that a backing name means beside the overlay opened as
 * `overlay`, to be freed with q2_put(budget, *out, *size).  `from_cwd` and
 * `path` as q2_name_split() gave them. */
enum q2_status q2_path_beside(const char *overlay, const char *path,
			      bool from_cwd, struct q2_budget *budget,
			      char **out, uint64_t *size,
			      struct q2_err *err) Q2_MUST_CHECK;

#endif
