/*
 * open.c - reading the header and the names in the first cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/open.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "format/ext.h"

enum q2_status q2_image_probe(struct q2_io *io, bool *qcow2,
			      struct q2_err *err)
{
	uint8_t bytes[8];
	enum q2_status st = q2_pread_zero(io, bytes, sizeof(bytes), 0, err);

	*qcow2 = st == Q2_OK && q2_be32(bytes) == Q2_MAGIC &&
		 q2_be32(bytes + 4) >= 2;
	return st;
}

bool q2_image_is_qcow2(struct q2_io *io)
{
	bool qcow2;

	return q2_image_probe(io, &qcow2, NULL) == Q2_OK && qcow2;
}

static enum q2_status refuse(const struct q2_header *h,
			     const struct q2_header_faults *f,
			     struct q2_err *err)
{
	if (h->magic != Q2_MAGIC)
		return q2_fail(err, Q2_E_FORMAT, 0, 0, "not a QCOW2 image");
	if (q2_header_has(f, Q2_HF_VERSION))
		return q2_fail(err, Q2_E_FORMAT, 0, 4,
			       "version %u of the format is not supported",
			       (unsigned)h->version);
	if (q2_header_has(f, Q2_HF_INCOMPAT_UNKNOWN))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, 72,
			       "it needs unknown features (incompatible "
			       "feature bits 0x%llx)",
			       (unsigned long long)(h->incompatible &
				~(uint64_t)Q2_INCOMPAT_KNOWN));
	return q2_fail(err, Q2_E_FORMAT, 0, 0,
		       "the header makes no sense; qcow2-fsck tells more");
}

static void find_active(struct q2_opened *o)
{
	const struct q2_header *h = &o->header;
	const struct q2_geom *g = &o->img.geom;

	o->active = (struct q2_tree){
		.id = Q2_TREE_ACTIVE,
		.l1_offset = h->l1_offset,
		.l1_entries = q2_header_has(&o->faults, Q2_HF_L1_LIMIT) ?
				      g->l1_needed : h->l1_size,
		.disk_size = g->disk_size,
	};
	if (q2_header_has(&o->faults, Q2_HF_L1_UNALIGNED) ||
	    q2_header_has(&o->faults, Q2_HF_L1_ZERO))
		o->active.l1_entries = 0;
}

static void copy_text(char *to, size_t room, const uint8_t *from, size_t n)
{
	size_t len = strnlen((const char *)from, (size_t)q2_min(n, room - 1));

	memcpy(to, from, len);
	to[len] = '\0';
}

/* `first` holds the first cluster. */
static void find_extensions(struct q2_opened *o, const uint8_t *first)
{
	const struct q2_header *h = &o->header;
	struct q2_names *names = &o->names;
	struct q2_range area;
	struct q2_ext e;

	if (h->backing_offset && h->backing_size) {
		names->backing_bad =
			q2_header_has(&o->faults, Q2_HF_BACKING_OFFSET) ||
			q2_header_has(&o->faults, Q2_HF_BACKING_SIZE);
		if (!names->backing_bad)
			copy_text(names->backing, sizeof(names->backing),
				  first + h->backing_offset, h->backing_size);
	}
	if (!q2_ext_area(h, o->img.geom.cluster_size, &area))
		return;
	if (q2_ext_find(first, area, Q2_EXT_FORMAT, &e) && e.data)
		copy_text(names->format, sizeof(names->format), e.data, e.len);
	if ((h->autoclear & Q2_AUTOCLEAR_BITMAPS) &&
	    q2_ext_find(first, area, Q2_EXT_BITMAPS, &e) && e.data &&
	    e.len == Q2_EXT_BITMAPS_LEN)
		o->bitmaps = q2_bitmaps_ext_parse(e.data);
	if (h->crypt_method == 2 &&
	    q2_ext_find(first, area, Q2_EXT_LUKS, &e) && e.data &&
	    e.len == Q2_EXT_LUKS_LEN)
		o->luks = (struct q2_range){q2_be64(e.data),
					    q2_be64(e.data + 8)};
	if (o->img.geom.data_file &&
	    q2_ext_find(first, area, Q2_EXT_DATA_FILE, &e) && e.data)
		copy_text(names->data_file, sizeof(names->data_file), e.data,
			  e.len);
}

enum q2_status q2_image_open(struct q2_io *io, struct q2_budget *budget,
			     struct q2_opened *out, struct q2_err *err)
{
	uint8_t bytes[Q2_HEADER_READ];
	struct q2_geom *g = &out->img.geom;
	enum q2_status st;
	void *first;

	memset(out, 0, sizeof(*out));
	out->img.io = io;
	out->img.budget = budget;
	st = q2_pread_zero(io, bytes, sizeof(bytes), 0, err);
	if (st != Q2_OK)
		return st;
	q2_header_parse(bytes, (size_t)q2_min(sizeof(bytes), io->size),
			&out->header);
	if (out->header.magic != Q2_MAGIC)
		return refuse(&out->header, &out->faults, err);
	q2_header_judge(&out->header, io->size, &out->faults);
	if (!q2_geom_make(&out->header, &out->faults, io->size, g))
		return refuse(&out->header, &out->faults, err);
	find_active(out);
	st = q2_get(budget, g->cluster_size, &first, err);
	if (st != Q2_OK)
		return st;
	st = q2_pread_zero(io, first, (size_t)g->cluster_size, 0, err);
	if (st == Q2_OK)
		find_extensions(out, first);
	q2_put(budget, first, g->cluster_size);
	return st;
}
