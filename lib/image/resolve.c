/*
 * resolve.c - plain names, file: names, URIs and json: names.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/resolve.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/err.h"
#include "image/naming.h"
#include "io/nbd.h"

#define DEPTH 4 /* objects in one another; a file's description needs two */
#define KEY_MAX 64u

/* The values that count, borrowed from the object. */
struct words {
	const char *driver;
	const char *filename;
	const char *file_driver;
	const char *file_filename;
	struct q2_err *err;
};

/* They change how a file is accessed, not what is read. */
static const char *const harmless[] = {
	"aio", "auto-read-only", "cache.direct", "cache.no-flush",
	"detect-zeroes", "discard", "force-share", "locking", "node-name",
	"read-only",
};

static enum q2_status refuse(struct q2_err *err, const char *what,
			     const char *name)
{
	return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
		       "%s '%.60s' of a json: name is not supported", what,
		       name);
}

static bool is_harmless(const char *key)
{
	if (strncmp(key, "file.", 5) == 0)
		key += 5;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (strcmp(key, harmless[i]) == 0)
			return true;
	return false;
}

static enum q2_status take(struct words *w, const char *key,
			   struct json_object *value)
{
	const struct {
		const char *key;
		const char **to;
	} each[] = {{"driver", &w->driver},
		    {"filename", &w->filename},
		    {"file.driver", &w->file_driver},
		    {"file.filename", &w->file_filename}};
	const size_t n = sizeof(each) / sizeof(*each);
	const char **to;
	size_t i = 0;

	while (i < n && strcmp(key, each[i].key) != 0)
		i++;
	if (i == n)
		return is_harmless(key) ? Q2_OK : refuse(w->err, "the option",
							 key);
	if (!json_object_is_type(value, json_type_string) ||
	    (size_t)json_object_get_string_len(value) !=
		    strlen(json_object_get_string(value)))
		return q2_fail(w->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%s' of a json: name is no text", key);
	to = each[i].to;
	/* Nested, and once more flattened. */
	if (*to != NULL)
		return q2_fail(w->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "a json: name has '%s' twice", key);
	*to = json_object_get_string(value);
	return Q2_OK;
}

static enum q2_status flatten(struct words *w, const char *prefix,
			      struct json_object *o, unsigned depth)
{
	enum q2_status st = Q2_OK;
	char key[KEY_MAX];

	json_object_object_foreach(o, name, value) {
		int n = snprintf(key, sizeof(key), "%s%s", prefix, name);

		if ((size_t)n + 1 >= sizeof(key))
			return refuse(w->err, "the option", name);
		if (!json_object_is_type(value, json_type_object)) {
			st = take(w, key, value);
		} else if (depth + 1 >= DEPTH) {
			st = refuse(w->err, "the option", key);
		} else {
			strcat(key, ".");
			st = flatten(w, key, value, depth + 1);
		}
		if (st != Q2_OK)
			break;
	}
	return st;
}

static bool is_file_driver(const char *driver)
{
	return strcmp(driver, "file") == 0 ||
	       strcmp(driver, "host_device") == 0;
}

/* From the words to a place: a format over a file, or a file as it is. */
static enum q2_status settle(const struct words *w, struct q2_place *out)
{
	const char *file = w->file_filename;
	const char *driver = w->driver;

	if (driver && is_file_driver(driver)) {
		if (w->file_driver || w->file_filename)
			return refuse(w->err, "a file below the driver",
				      driver);
		out->format = "raw";
		file = w->filename;
	} else if (driver && strcmp(driver, "qcow2") == 0) {
		out->format = "qcow2";
	} else if (driver && strcmp(driver, "raw") == 0) {
		out->format = "raw";
	} else if (driver) {
		return refuse(w->err, "the driver", driver);
	}
	if (w->filename && file != w->filename)
		return refuse(w->err, "the option", "filename");
	if (w->file_driver && !is_file_driver(w->file_driver))
		return refuse(w->err, "the driver", w->file_driver);
	if (file == NULL || file[0] == '\0')
		return q2_fail(w->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "a json: name has no '%s'",
			       driver && is_file_driver(driver) ?
				       "filename" : "file.filename");
	if (strlen(file) >= sizeof(out->path))
		return q2_fail(w->err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the name is too long");
	out->from_cwd = true;
	strcpy(out->path, file);
	return Q2_OK;
}

static enum q2_status from_json(const char *text, struct q2_place *out,
				struct q2_err *err)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH + 1);
	struct json_object *o = NULL;
	struct words w = {.err = err};
	enum q2_status st;
	bool good;

	if (tok == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	if (strlen(text) < INT32_MAX)
		o = json_tokener_parse_ex(tok, text, (int)strlen(text));
	good = o != NULL && json_object_is_type(o, json_type_object) &&
	       text[json_tokener_get_parse_end(tok)] == '\0';
	st = good ? flatten(&w, "", o, 0) :
		    q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			    "what follows json: is no JSON object");
	if (st == Q2_OK)
		st = settle(&w, out);
	json_object_put(o);
	json_tokener_free(tok);
	return st;
}

static enum q2_status from_text(const char *path, struct q2_place *out,
				struct q2_err *err)
{
	if (strlen(path) >= sizeof(out->path))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the name is too long");
	strcpy(out->path, path);
	return Q2_OK;
}

enum q2_status q2_resolve(const char *name, struct q2_place *out,
			  struct q2_err *err)
{
	const char *path;

	*out = (struct q2_place){.server = q2_nbd_is_uri(name)};
	if (out->server)
		return from_text(name, out, err);
	switch (q2_name_split(name, &path, &out->from_cwd)) {
	case Q2_NAME_JSON:
		return from_json(name + sizeof("json:") - 1, out, err);
	case Q2_NAME_PATH:
		return from_text(path, out, err);
	default:
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "only files and NBD servers are read");
	}
}

enum q2_status q2_resolve_data(const char *name, struct q2_place *out,
			       struct q2_err *err)
{
	*out = (struct q2_place){.from_cwd = true};
	return from_text(name, out, err);
}

enum q2_status q2_resolve_given(const char *name, struct q2_place *out,
				struct q2_err *err)
{
	if (strncmp(name, "json:", 5) == 0 || strncmp(name, "file:", 5) == 0)
		return q2_resolve(name, out, err);
	*out = (struct q2_place){.server = q2_nbd_is_uri(name),
				 .from_cwd = true};
	return from_text(name, out, err);
}

enum q2_status q2_name_path(const char *name, char *path, size_t size,
			    const char **format, struct q2_err *err)
{
	struct q2_place place;
	enum q2_status st = q2_resolve_given(name, &place, err);

	*format = NULL;
	if (st != Q2_OK)
		return st;
	if (strlen(place.path) >= size)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the name is too long");
	strcpy(path, place.path);
	*format = place.format;
	return Q2_OK;
}
