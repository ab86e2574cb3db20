/*
 * naming.c - which file a name in an image means.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/naming.h"

#include <string.h>

enum q2_name_kind q2_name_split(const char *name, const char **path,
				bool *from_cwd)
{
	*path = NULL;
	*from_cwd = false;
	if (strncmp(name, "json:", 5) == 0)
		return Q2_NAME_JSON;
	if (strncmp(name, "file:", 5) == 0) {
		*from_cwd = true;
		*path = name + 5;
		return Q2_NAME_PATH;
	}
	if (name[strcspn(name, ":/")] == ':')
		return Q2_NAME_PROTOCOL;
	*from_cwd = name[0] == '/';
	*path = name;
	return Q2_NAME_PATH;
}

size_t q2_folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash + 1 - path) : 0;
}

bool q2_path_climbs(const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.')
			return true;
		if (path[n] == '\0')
			return false;
		path += n + 1;
	}
}

enum q2_status q2_path_beside(const char *overlay, const char *path,
			      bool from_cwd, struct q2_budget *budget,
			      char **out, uint64_t *size, struct q2_err *err)
{
	size_t folder = from_cwd ? 0 : q2_folder_len(overlay);
	size_t len = strlen(path);
	enum q2_status st;
	void *block;

	*out = NULL;
	*size = folder + len + 1;
	st = q2_get(budget, *size, &block, err);
	if (st != Q2_OK)
		return st;
	*out = block;
	memcpy(*out, overlay, folder);
	memcpy(*out + folder, path, len + 1);
	return Q2_OK;
}
