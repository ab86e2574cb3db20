/*
 * record.c - one line of a scan's results.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/record.h"

#include <limits.h>
#include <string.h>

static const struct q2_json_member members[Q2_REC_KEYS] = {
	[Q2_REC_KIND] = {"kind", Q2_JSON_STRING},
	[Q2_REC_SCHEMA] = {"schema", Q2_JSON_NUMBER},
	[Q2_REC_PART] = {"part", Q2_JSON_NUMBER},
	[Q2_REC_PARTS] = {"parts", Q2_JSON_NUMBER},
	[Q2_REC_HOST] = {"host", Q2_JSON_STRING},
	[Q2_REC_BOOT] = {"boot", Q2_JSON_STRING},
	[Q2_REC_PATHS] = {"asked", Q2_JSON_STRINGS},
	[Q2_REC_DEVICE] = {"device", Q2_JSON_NUMBER},
	[Q2_REC_SHARED] = {"shared", Q2_JSON_STRING},
	[Q2_REC_SIZE] = {"size", Q2_JSON_NUMBER},
	[Q2_REC_FREE] = {"free", Q2_JSON_NUMBER},
	[Q2_REC_FILENAME] = {"filename", Q2_JSON_STRING},
	[Q2_REC_FILENAME_BYTES] = {"filename-bytes", Q2_JSON_STRING},
	[Q2_REC_FORMAT] = {"format", Q2_JSON_STRING},
	[Q2_REC_ERROR] = {"error", Q2_JSON_STRING},
	[Q2_REC_ONLY_NAMED] = {"only-named", Q2_JSON_BOOL},
	[Q2_REC_CAPACITY] = {"capacity", Q2_JSON_NUMBER},
	[Q2_REC_LENGTH] = {"length", Q2_JSON_NUMBER},
	[Q2_REC_BLOCK] = {"block-device", Q2_JSON_BOOL},
	[Q2_REC_ALLOCATION] = {"allocation", Q2_JSON_NUMBER},
	[Q2_REC_ALONE] = {"commitment-alone", Q2_JSON_NUMBER},
	[Q2_REC_INODE] = {"inode", Q2_JSON_NUMBER},
	[Q2_REC_NAMES] = {"paths", Q2_JSON_NUMBER},
	[Q2_REC_CHANGED] = {"changed", Q2_JSON_NUMBER},
	[Q2_REC_SNAPSHOTS] = {"snapshots", Q2_JSON_NUMBER},
	[Q2_REC_BACKING_NAME] = {"backing-name", Q2_JSON_STRING},
	[Q2_REC_BACKING_BYTES] = {"backing-name-bytes", Q2_JSON_STRING},
	[Q2_REC_BACKING_FORMAT] = {"backing-format", Q2_JSON_STRING},
	[Q2_REC_BASE_DEVICE] = {"base-device", Q2_JSON_NUMBER},
	[Q2_REC_BASE_INODE] = {"base-inode", Q2_JSON_NUMBER},
	[Q2_REC_DATA_DEVICE] = {"data-device", Q2_JSON_NUMBER},
	[Q2_REC_DATA_INODE] = {"data-inode", Q2_JSON_NUMBER},
	[Q2_REC_FLAGS] = {"flags", Q2_JSON_STRINGS},
	[Q2_REC_FILES] = {"files", Q2_JSON_NUMBER},
};

#define BIT(key) (UINT64_C(1) << (key))

/* What each kind of line cannot do without. */
static const struct {
	const char *name;
	uint64_t needs;
} kinds[] = {
	[Q2_RECORD_AUDIT] = {"audit", BIT(Q2_REC_SCHEMA) | BIT(Q2_REC_PART) |
				      BIT(Q2_REC_PARTS) | BIT(Q2_REC_HOST) |
				      BIT(Q2_REC_BOOT) | BIT(Q2_REC_PATHS)},
	[Q2_RECORD_VOLUME] = {"volume",
			      BIT(Q2_REC_DEVICE) | BIT(Q2_REC_SHARED)},
	[Q2_RECORD_FILE] = {"file", BIT(Q2_REC_FILENAME) | BIT(Q2_REC_FORMAT) |
				    BIT(Q2_REC_ONLY_NAMED) |
				    BIT(Q2_REC_FLAGS)},
	[Q2_RECORD_END] = {"end", BIT(Q2_REC_FILES)},
};

/* And a file that was found. */
#define FILE_NEEDS                                                             \
	(BIT(Q2_REC_DEVICE) | BIT(Q2_REC_INODE) | BIT(Q2_REC_CAPACITY) |       \
	 BIT(Q2_REC_LENGTH) | BIT(Q2_REC_ALONE) | BIT(Q2_REC_NAMES) |          \
	 BIT(Q2_REC_CHANGED))

#define KINDS (sizeof(kinds) / sizeof(*kinds))

static bool has(const struct q2_json_value *v, uint64_t needs)
{
	for (size_t i = 0; i < Q2_REC_KEYS; i++)
		if (needs & BIT(i) && !v[i].given)
			return false;
	return true;
}

static unsigned digit_of(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') :
	       c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* A name that is not UTF-8 comes in hexadecimal, too; that takes its place. */
static bool decode(struct q2_json_value *name, struct q2_json_value *bytes)
{
	char *to = (char *)(uintptr_t)bytes->text;
	const char *from = bytes->text;

	if (!bytes->given)
		return true;
	for (; from[0]; from += 2) {
		unsigned high = digit_of(from[0]), low = digit_of(from[1]);

		if (high > 15 || low > 15 || (high == 0 && low == 0))
			return false;
		*to++ = (char)(uint8_t)(high << 4 | low);
	}
	*to = '\0';
	if (!name->given || to == bytes->text)
		return false;
	name->text = bytes->text;
	return true;
}

const char *q2_record_read(const char *line, size_t n, char *room,
			   enum q2_record_kind *kind, struct q2_json_value *v)
{
	const char *why = q2_json_line(line, n, members, Q2_REC_KEYS, v, room);
	size_t i = 0;

	if (why)
		return why;
	while (i < KINDS && (!v[Q2_REC_KIND].given ||
			     strcmp(v[Q2_REC_KIND].text, kinds[i].name) != 0))
		i++;
	if (i == KINDS)
		return "it is no line of an audit's ndjson";
	*kind = (enum q2_record_kind)i;
	if (i == Q2_RECORD_AUDIT && v[Q2_REC_SCHEMA].given &&
	    v[Q2_REC_SCHEMA].number != 1)
		return "it has another schema than 1";
	if (!has(v, kinds[i].needs))
		return "a member is missing";
	if (!decode(&v[Q2_REC_FILENAME], &v[Q2_REC_FILENAME_BYTES]) ||
	    !decode(&v[Q2_REC_BACKING_NAME], &v[Q2_REC_BACKING_BYTES]))
		return "a name's bytes make no sense";
	return NULL;
}

static bool kind_of(const char *text, enum q2_file_kind *kind)
{
	*kind = strcmp(text, "qcow2") == 0 ? Q2_FILE_QCOW2 :
		strcmp(text, "raw") == 0   ? Q2_FILE_RAW : Q2_FILE_BAD;
	return *kind != Q2_FILE_BAD || strcmp(text, "unreadable") == 0;
}

static bool flags_of(const struct q2_json_value *v, unsigned *flags)
{
	const char *at = v->text;

	*flags = 0;
	for (size_t i = 0; i < v->count; i++) {
		unsigned bit = 0;

		while (q2_file_flag_text(bit) &&
		       strcmp(q2_file_flag_text(bit), at) != 0)
			bit++;
		if (q2_file_flag_text(bit) == NULL)
			return false;
		*flags |= 1u << bit;
		at += strlen(at) + 1;
	}
	return true;
}

const char *q2_record_file(const struct q2_json_value *v,
			   struct q2_scan_file *f)
{
	if (!kind_of(v[Q2_REC_FORMAT].text, &f->kind))
		return "a format that is unknown";
	if (!flags_of(&v[Q2_REC_FLAGS], &f->flags))
		return "a flag that is unknown";
	if ((f->kind == Q2_FILE_BAD) != v[Q2_REC_ERROR].given)
		return "an error that does not fit the format";
	if (v[Q2_REC_FILENAME].text[0] == '\0')
		return "a file without a name";
	f->asked = v[Q2_REC_ONLY_NAMED].number == 0;
	f->names = 1;
	if (!v[Q2_REC_INODE].given)
		return f->kind == Q2_FILE_BAD ? NULL : "a member is missing";
	f->is_device = v[Q2_REC_BLOCK].number != 0;
	if (!has(v, FILE_NEEDS) ||
	    v[Q2_REC_ALLOCATION].given == f->is_device)
		return "a member is missing, or is there in vain";
	if (v[Q2_REC_INODE].number == 0)
		return "an inode of 0";
	if (v[Q2_REC_NAMES].number == 0 || v[Q2_REC_NAMES].number > INT_MAX ||
	    v[Q2_REC_SNAPSHOTS].number > UINT32_MAX ||
	    v[Q2_REC_LENGTH].number > INT64_MAX ||
	    v[Q2_REC_ALLOCATION].number > INT64_MAX)
		return "a number that is out of range";
	if (v[Q2_REC_ALONE].number < v[Q2_REC_ALLOCATION].number)
		return "a file that cannot come to take what it takes";
	f->device = v[Q2_REC_DEVICE].number;
	f->inode = v[Q2_REC_INODE].number;
	f->names = (size_t)v[Q2_REC_NAMES].number;
	f->changed = (int64_t)v[Q2_REC_CHANGED].number;
	f->snapshots = (uint32_t)v[Q2_REC_SNAPSHOTS].number;
	f->capacity = v[Q2_REC_CAPACITY].number;
	f->length = v[Q2_REC_LENGTH].number;
	f->allocation = v[Q2_REC_ALLOCATION].number;
	f->alone = v[Q2_REC_ALONE].number;
	return NULL;
}
