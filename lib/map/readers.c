/*
 * readers.c - programs that read QCOW2, and what stops each of them.
 *
 * SPDX-License-Identifier: MIT
 *
 * The one table of them.  A reader that opens an image and then shows wrong data
 * counts as one that cannot read it.  Sources: QEMU's interface documents, which
 * say since when each feature is known; for the others their own code, in the
 * versions named here.  tests/map/readers.sh asks the programs that Debian has.
 */
#include "map/readers.h"

#include <stdlib.h>
#include <string.h>

#include "image/naming.h"

#define NEVER UINT_LEAST32_MAX
#define V(major, minor) ((uint_least32_t)(major) << 16 | (minor))

static const char *const need_text[Q2_NEEDS] = {
	[Q2_NEED_VERSION_2] = "version-2",
	[Q2_NEED_VERSION_3] = "version-3",
	[Q2_NEED_LENGTH_112] = "header-length-112",
	[Q2_NEED_LENGTH_ODD] = "header-length",
	[Q2_NEED_DIRTY] = "dirty",
	[Q2_NEED_CORRUPT] = "marked-corrupt",
	[Q2_NEED_DATA_FILE] = "data-file",
	[Q2_NEED_COMPRESSION_TYPE] = "zstd",
	[Q2_NEED_EXTENDED_L2] = "extended-l2",
	[Q2_NEED_UNKNOWN_COMPATIBLE] = "unknown-compatible",
	[Q2_NEED_AUTOCLEAR] = "autoclear-features",
	[Q2_NEED_REFCOUNT_WIDTH] = "refcount-width",
	[Q2_NEED_AES] = "aes",
	[Q2_NEED_LUKS] = "luks",
	[Q2_NEED_BACKING] = "backing-file",
	[Q2_NEED_BACKING_DRIVER] = "backing-file-driver",
	[Q2_NEED_LARGE_DISK] = "disk-over-16T",
	[Q2_NEED_COMPRESSED] = "compressed-clusters",
	[Q2_NEED_ZERO] = "zero-clusters",
};

/* since[]: the first version that can; 0 stands for all of them. */
struct reader {
	const char *name;
	bool versions; /* it is asked for by version, too */
	uint_least32_t since[Q2_NEEDS];
};

static const struct reader readers[] = {
	{"qemu", true, {
		[Q2_NEED_VERSION_3] = V(1, 1),
		[Q2_NEED_LENGTH_112] = V(1, 1),
		[Q2_NEED_LENGTH_ODD] = V(1, 1),
		[Q2_NEED_DIRTY] = V(1, 2),
		[Q2_NEED_CORRUPT] = V(1, 7),
		[Q2_NEED_REFCOUNT_WIDTH] = V(2, 3),
		[Q2_NEED_LUKS] = V(2, 10),
		[Q2_NEED_DATA_FILE] = V(4, 0),
		[Q2_NEED_COMPRESSION_TYPE] = V(5, 1),
		[Q2_NEED_EXTENDED_L2] = V(5, 2),
	}},
	/* Before 51 it ignored feature bits and took marks of zeros for
	 * offsets; keys were never asked for.  Bases: since 51 on request; it
	 * takes whatever names them for a path. */
	{"cloud-hypervisor", true, {
		[Q2_NEED_BACKING_DRIVER] = NEVER,
		[Q2_NEED_DATA_FILE] = NEVER,
		[Q2_NEED_EXTENDED_L2] = NEVER,
		[Q2_NEED_AES] = NEVER,
		[Q2_NEED_LUKS] = NEVER,
		[Q2_NEED_LARGE_DISK] = NEVER,
		[Q2_NEED_COMPRESSED] = V(50, 0),
		[Q2_NEED_COMPRESSION_TYPE] = V(50, 0),
		[Q2_NEED_ZERO] = V(51, 0),
		[Q2_NEED_REFCOUNT_WIDTH] = V(51, 0),
	}},
	/* Its tools, as of 20201213.  Programs that use the library can give it
	 * the base. */
	{"libqcow", false, {
		[Q2_NEED_CORRUPT] = NEVER,
		[Q2_NEED_DATA_FILE] = NEVER,
		[Q2_NEED_COMPRESSION_TYPE] = NEVER,
		[Q2_NEED_EXTENDED_L2] = NEVER,
		[Q2_NEED_UNKNOWN_COMPATIBLE] = NEVER,
		[Q2_NEED_LENGTH_ODD] = NEVER,
		[Q2_NEED_LUKS] = NEVER,
		[Q2_NEED_BACKING] = NEVER,
		[Q2_NEED_ZERO] = NEVER,
	}},
	/* By way of ocaml-qcow 0.10.3. */
	{"hyperkit", false, {
		[Q2_NEED_LENGTH_112] = NEVER,
		[Q2_NEED_LENGTH_ODD] = NEVER,
		[Q2_NEED_DATA_FILE] = NEVER,
		[Q2_NEED_COMPRESSION_TYPE] = NEVER,
		[Q2_NEED_EXTENDED_L2] = NEVER,
		[Q2_NEED_AUTOCLEAR] = NEVER,
		[Q2_NEED_REFCOUNT_WIDTH] = NEVER,
		[Q2_NEED_AES] = NEVER,
		[Q2_NEED_LUKS] = NEVER,
		[Q2_NEED_BACKING] = NEVER,
		[Q2_NEED_COMPRESSED] = NEVER,
		[Q2_NEED_ZERO] = NEVER,
	}},
	/* As of August 2026.  It looks for the base's format under a number
	 * that nobody else uses, and wants it. */
	{"crosvm", false, {
		[Q2_NEED_VERSION_2] = NEVER,
		[Q2_NEED_DATA_FILE] = NEVER,
		[Q2_NEED_COMPRESSION_TYPE] = NEVER,
		[Q2_NEED_EXTENDED_L2] = NEVER,
		[Q2_NEED_REFCOUNT_WIDTH] = NEVER,
		[Q2_NEED_AES] = NEVER,
		[Q2_NEED_LUKS] = NEVER,
		[Q2_NEED_BACKING] = NEVER,
		[Q2_NEED_LARGE_DISK] = NEVER,
		[Q2_NEED_COMPRESSED] = NEVER,
		[Q2_NEED_ZERO] = NEVER,
	}},
};

#define READERS (sizeof(readers) / sizeof(*readers))
#define LARGE (UINT64_C(1) << 44)

/* Whether a name is not that of a file as it stands. */
static bool names_driver(const char *name)
{
	const char *path;
	bool from_cwd;

	return q2_name_split(name, &path, &from_cwd) != Q2_NAME_PATH ||
	       path != name;
}

unsigned q2_needs_of(const struct q2_opened *o)
{
	const struct q2_header *h = &o->header;
	const struct q2_geom *g = &o->img.geom;
	unsigned needs = 0;

	needs |= g->version == 2 ? Q2_NEED(Q2_NEED_VERSION_2) :
				   Q2_NEED(Q2_NEED_VERSION_3);
	if (g->version > 2 && h->header_length == Q2_HEADER_READ)
		needs |= Q2_NEED(Q2_NEED_LENGTH_112);
	else if (g->version > 2 && h->header_length != Q2_HEADER_V3)
		needs |= Q2_NEED(Q2_NEED_LENGTH_ODD);
	if (h->incompatible & Q2_INCOMPAT_DIRTY)
		needs |= Q2_NEED(Q2_NEED_DIRTY);
	if (h->incompatible & Q2_INCOMPAT_CORRUPT)
		needs |= Q2_NEED(Q2_NEED_CORRUPT);
	if (g->data_file)
		needs |= Q2_NEED(Q2_NEED_DATA_FILE);
	if (h->incompatible & Q2_INCOMPAT_COMPRESSION)
		needs |= Q2_NEED(Q2_NEED_COMPRESSION_TYPE);
	if (g->ext_l2)
		needs |= Q2_NEED(Q2_NEED_EXTENDED_L2);
	if (h->compatible & ~Q2_COMPAT_KNOWN)
		needs |= Q2_NEED(Q2_NEED_UNKNOWN_COMPATIBLE);
	if (h->autoclear)
		needs |= Q2_NEED(Q2_NEED_AUTOCLEAR);
	if (g->ref_order != 4)
		needs |= Q2_NEED(Q2_NEED_REFCOUNT_WIDTH);
	if (g->crypt)
		needs |= g->crypt == 1 ? Q2_NEED(Q2_NEED_AES) :
					 Q2_NEED(Q2_NEED_LUKS);
	if (o->names.backing[0] || o->names.backing_bad)
		needs |= Q2_NEED(Q2_NEED_BACKING);
	if (names_driver(o->names.backing))
		needs |= Q2_NEED(Q2_NEED_BACKING_DRIVER);
	if (g->disk_size > LARGE)
		needs |= Q2_NEED(Q2_NEED_LARGE_DISK);
	return needs;
}

const char *q2_need_text(unsigned i)
{
	return i < Q2_NEEDS ? need_text[i] : NULL;
}

bool q2_program_at(size_t i, unsigned needs, struct q2_program *out)
{
	const struct reader *r;

	if (i >= READERS)
		return false;
	r = &readers[i];
	*out = (struct q2_program){.name = r->name, .versions = r->versions};
	for (unsigned k = 0; k < Q2_NEEDS; k++) {
		if (!(needs & Q2_NEED(k)))
			continue;
		if (r->since[k] == NEVER)
			out->stopped_by |= Q2_NEED(k);
		else if (r->since[k] > V(out->major, out->minor)) {
			out->major = r->since[k] >> 16;
			out->minor = r->since[k] & 0xffff;
		}
	}
	return true;
}

/* A number of up to four digits; *text is behind it then. */
static bool number(const char **text, unsigned *value)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	*value = (unsigned)strtoul(*text, &end, 10);
	if (end - *text > 4)
		return false;
	*text = end;
	return true;
}

bool q2_program_parse(const char *text, size_t *i, unsigned *major,
		     unsigned *minor)
{
	size_t len;

	for (*i = 0; *i < READERS; ++*i) {
		len = strlen(readers[*i].name);
		if (strncmp(text, readers[*i].name, len) == 0 &&
		    (text[len] == '\0' || text[len] == '-'))
			break;
	}
	if (*i == READERS)
		return false;
	text += len;
	/* The newest one. */
	*major = *minor = 0xffff;
	if (*text == '\0')
		return true;
	text++;
	*minor = 0;
	if (!readers[*i].versions || !number(&text, major))
		return false;
	if (*text == '.') {
		text++;
		if (!number(&text, minor))
			return false;
	}
	/* 2.12.1 reads what 2.12 reads. */
	if (*text == '.') {
		unsigned patch;

		text++;
		if (!number(&text, &patch))
			return false;
	}
	return *text == '\0';
}

unsigned q2_program_stops(size_t i, unsigned major, unsigned minor,
			 unsigned needs)
{
	unsigned stops = 0;

	for (unsigned k = 0; i < READERS && k < Q2_NEEDS; k++)
		if ((needs & Q2_NEED(k)) &&
		    (readers[i].since[k] == NEVER ||
		     readers[i].since[k] > V(major, minor)))
			stops |= Q2_NEED(k);
	return stops;
}
