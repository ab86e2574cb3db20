/*
 * chk_ext.c - tests the header extensions and the backing file's name.
 * Gathers c->ext; the LUKS header's range by way of chk_luks.c.
 * When it fails the result is partial: bitmaps or keys may seem leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/chk_ext.h"

#include <string.h>

#include "format/bitmap.h"

/* What QEMU 8.2 can be told as a file's format: formats, then protocols. */
static const char *const formats[] = {
	"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhdx",
	"parallels", "bochs", "cloop", "dmg", "luks", "vvfat",
	"file", "host_device", "host_cdrom", "nbd", "ssh", "http", "https",
	"ftp", "ftps", "iscsi", "nfs", "rbd", "gluster", "nvme",
	"io_uring", "nvme-io_uring", "virtio-blk-vfio-pci",
	"virtio-blk-vhost-user", "virtio-blk-vhost-vdpa",
	"null-co", "null-aio", "blkdebug", "blkverify", "blkreplay",
	"blklogwrites", "compress", "copy-before-write", "copy-on-read",
	"preallocate", "quorum", "replication", "throttle", "snapshot-access",
};

/* Extensions of a type that must be there once at the most. */
struct once {
	uint32_t type;
	bool owns; /* it names clusters */
	bool seen;
	struct q2_ext last; /* which readers go by */
};

enum { AT_FORMAT, AT_FEATURES, AT_BITMAPS, AT_LUKS, AT_DATA_FILE, KNOWN };

struct scan {
	struct q2_checker *c;
	struct once known[KNOWN];
	bool whole; /* the area was read to its end */
};

/* Names come from C strings in most writers, whatever length they store. */
static size_t text_length(const uint8_t *text, size_t n)
{
	const uint8_t *nul = memchr(text, 0, n);

	return nul ? (size_t)(nul - text) : n;
}

static void emit_name(struct q2_checker *c, enum q2_problem_id id,
		      const struct q2_ext *e, const char *name, size_t n)
{
	struct q2_finding f = {.fields = Q2_F_HOST, .host = e->at};

	q2_finding_text(&f, name, n);
	q2_found(c, id, &f);
}

static void emit_found(struct q2_checker *c, enum q2_problem_id id,
		       const struct q2_ext *e, uint64_t found)
{
	q2_found(c, id,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_FOUND,
			 .host = e->at,
			 .found = found,
		 });
}

/* Format, "Header", backing_file_offset; what is wrong with offset and length
 * is reported with the header. */
static void backing_name(struct q2_checker *c)
{
	const struct q2_header *h = &c->header;
	const uint8_t *name;
	size_t n;
	struct q2_finding f = {.fields = Q2_F_FOUND};

	if (h->backing_offset == 0 || h->backing_size == 0 ||
	    q2_header_has(&c->faults, Q2_HF_BACKING_OFFSET) ||
	    q2_header_has(&c->faults, Q2_HF_BACKING_SIZE))
		return;
	name = c->first + h->backing_offset;
	n = text_length(name, h->backing_size);
	if (n < h->backing_size &&
	    !q2_header_has(&c->faults, Q2_HF_BACKING_IN_HEADER)) {
		f.found = n;
		q2_finding_text(&f, (const char *)name, h->backing_size);
		q2_found(c, Q2_P_BACKING_NUL, &f);
	}
	if (n == 0)
		return;
	c->ext.backing = (const char *)name;
	c->ext.backing_len = n;
}

static bool known_format(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
		if (strlen(formats[i]) == n && !memcmp(formats[i], name, n))
			return true;
	return false;
}

static void backing_format(struct q2_checker *c, const struct q2_ext *e)
{
	const char *name = (const char *)e->data;
	size_t n = text_length(e->data, e->len);

	if (e->len > Q2_EXT_FORMAT_MAX)
		emit_found(c, Q2_P_EXT_FORMAT_LONG, e, e->len);
	else if (n && !known_format(name, n))
		emit_name(c, Q2_P_EXT_FORMAT_UNKNOWN, e, name, n);
	if (n == 0)
		return;
	c->ext.format = name;
	c->ext.format_len = n;
	/* A name that is there but unusable is the header's problem. */
	if (c->header.backing_offset == 0 || c->header.backing_size == 0)
		emit_name(c, Q2_P_EXT_FORMAT_NO_BACKING, e, name, n);
}

static void feature_names(struct q2_checker *c, const struct q2_ext *e)
{
	const uint8_t *p = e->data;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_FOUND,
		.host = e->at + 4,
		.found = e->len,
	};

	if (e->len % Q2_FEATURE_LEN) {
		q2_found(c, Q2_P_EXT_FEATURES_BAD, &f);
		return;
	}
	for (uint32_t i = 0; i < e->len; i += Q2_FEATURE_LEN) {
		if (p[i] <= 2 && p[i + 1] <= 63)
			continue;
		f.host = e->at + Q2_EXT_HEAD + i;
		f.found = (uint64_t)p[i] << 8 | p[i + 1];
		q2_found(c, Q2_P_EXT_FEATURES_BAD, &f);
		return;
	}
}

static void data_file(struct q2_checker *c, const struct q2_ext *e)
{
	const char *name = (const char *)e->data;
	size_t n = text_length(e->data, e->len);

	if (!c->img.geom.data_file) {
		emit_name(c, Q2_P_EXT_DATA_FILE_STALE, e, name, n);
	} else if (n) {
		c->ext.data_file = name;
		c->ext.data_file_len = n;
	}
}

static void bitmaps_bad(struct q2_checker *c, const struct q2_ext *e,
			const char *what, uint64_t found, uint64_t expected)
{
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
		.host = e->at,
		.found = found,
		.expected = expected,
	};

	q2_finding_text(&f, what, strlen(what));
	q2_found(c, Q2_P_EXT_BITMAPS_BAD, &f);
}

/* Format, "Bitmaps extension".  If only one of the two lengths is absurd, the
 * other one bounds the directory; what it has to be is known when that was
 * read. */
static void bitmaps(struct q2_checker *c, const struct q2_ext *e)
{
	bool trusted = c->header.autoclear & Q2_AUTOCLEAR_BITMAPS;
	struct q2_bitmaps_ext x;
	bool count_bad, size_bad, offset_bad;

	if (e->len != Q2_EXT_BITMAPS_LEN) {
		bitmaps_bad(c, e, "its length", e->len, Q2_EXT_BITMAPS_LEN);
		c->result->partial = true;
		return;
	}
	x = q2_bitmaps_ext_parse(e->data);
	count_bad = x.bitmaps == 0 || x.bitmaps > Q2_BITMAPS_MAX;
	size_bad = x.dir_size == 0 || x.dir_size > Q2_BITMAPDIR_MAX;
	offset_bad = x.dir_offset == 0 ||
		     (x.dir_offset & (c->img.geom.cluster_size - 1));
	/* Of bitmaps that are stale, nothing is expected. */
	if (trusted && x.reserved)
		bitmaps_bad(c, e, "the reserved field", x.reserved, 0);
	if (trusted && count_bad && size_bad)
		bitmaps_bad(c, e, "the number of bitmaps", x.bitmaps,
			    x.bitmaps ? Q2_BITMAPS_MAX : 1);
	if (trusted && offset_bad)
		bitmaps_bad(c, e, "the directory's offset", x.dir_offset,
			    x.dir_offset & ~(c->img.geom.cluster_size - 1));
	c->ext.has_bitmaps = !offset_bad && !(count_bad && size_bad);
	if (!c->ext.has_bitmaps)
		c->result->partial = true;
	c->ext.bitmaps = x.bitmaps;
	c->ext.bitmap_dir_offset = x.dir_offset;
	c->ext.bitmap_dir_size = x.dir_size;
}

static void one(struct scan *s, const struct q2_ext *e)
{
	for (size_t i = 0; i < KNOWN; i++) {
		struct once *k = &s->known[i];

		if (k->type != e->type)
			continue;
		if (k->seen) {
			emit_found(s->c, Q2_P_EXT_DUPLICATE, e, e->type);
			/* What the other one names is not walked. */
			if (k->owns)
				s->c->result->partial = true;
		}
		k->seen = true;
		k->last = *e;
		return;
	}
	emit_found(s->c, Q2_P_EXT_UNKNOWN, e, e->type);
}

static void walk(struct scan *s, struct q2_range area)
{
	struct q2_checker *c = s->c;
	struct q2_ext_iter it;
	struct q2_ext e;
	enum q2_ext_step step;
	struct q2_finding f = {.fields = Q2_F_HOST, .host = area.start};

	/* Old writers put the backing file's name right behind the header. */
	s->whole = true;
	if (area.len == 0)
		return;
	if (area.start % 8) {
		q2_found(c, Q2_P_EXT_UNALIGNED, &f);
		/* They may as well start elsewhere. */
		c->result->partial = true;
	}
	q2_ext_start(&it, c->first, area);
	while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE)
		one(s, &e);
	f.host = e.at;
	if (step == Q2_EXT_NO_END) {
		q2_found(c, Q2_P_EXT_NO_END, &f);
	} else if (step == Q2_EXT_ENDED) {
		if (e.len)
			emit_found(c, Q2_P_EXT_END_LENGTH, &e, e.len);
	} else {
		f.fields |= Q2_F_FOUND | Q2_F_EXPECTED;
		f.found = e.type;
		f.expected = q2_end(area);
		q2_found(c, Q2_P_EXT_TOO_LONG, &f);
		s->whole = false;
	}
}

static void judge_known(struct scan *s)
{
	static void (*const judge[KNOWN])(struct q2_checker *,
					  const struct q2_ext *) = {
		[AT_FORMAT] = backing_format,
		[AT_FEATURES] = feature_names,
		[AT_BITMAPS] = bitmaps,
		[AT_DATA_FILE] = data_file,
	};

	for (size_t i = 0; i < KNOWN; i++)
		if (s->known[i].seen && judge[i])
			judge[i](s->c, &s->known[i].last);
}

/* What must be there and is not. */
static void judge_missing(const struct scan *s)
{
	struct q2_checker *c = s->c;
	struct q2_finding f = {0};

	if (c->img.geom.data_file && c->ext.data_file == NULL)
		q2_found(c, Q2_P_DATA_FILE_NAME_MISSING, &f);
	if ((c->header.autoclear & Q2_AUTOCLEAR_BITMAPS) &&
	    !s->known[AT_BITMAPS].seen)
		q2_found(c, Q2_P_BITMAPS_BIT_NO_EXT, &f);
	if (c->ext.backing && c->ext.format == NULL) {
		q2_finding_text(&f, c->ext.backing, c->ext.backing_len);
		q2_found(c, Q2_P_BACKING_NO_FORMAT, &f);
	}
}

enum q2_status q2_chk_extensions(struct q2_checker *c)
{
	struct scan s = {
		.c = c,
		.known = {
			[AT_FORMAT] = {.type = Q2_EXT_FORMAT},
			[AT_FEATURES] = {.type = Q2_EXT_FEATURES},
			[AT_BITMAPS] = {.type = Q2_EXT_BITMAPS, .owns = true},
			[AT_LUKS] = {.type = Q2_EXT_LUKS, .owns = true},
			[AT_DATA_FILE] = {.type = Q2_EXT_DATA_FILE},
		},
	};
	struct q2_range area;

	backing_name(c);
	if (q2_ext_area(&c->header, c->img.geom.cluster_size, &area))
		walk(&s, area);
	judge_known(&s);
	if (s.whole)
		judge_missing(&s);
	else /* bitmaps or keys may be named where we could not look */
		c->result->partial = true;
	if (s.known[AT_LUKS].seen)
		return q2_chk_luks(c, &s.known[AT_LUKS].last);
	return s.whole ? q2_chk_luks(c, NULL) : Q2_OK;
}
