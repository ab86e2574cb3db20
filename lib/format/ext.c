/*
 * ext.c - walking over the header extensions.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/ext.h"

#include "base/endian.h"

bool q2_ext_area(const struct q2_header *h, uint64_t cluster_size,
		 struct q2_range *area)
{
	uint64_t end = cluster_size;

	*area = (struct q2_range){0, 0};
	if (h->version == 3 && h->raw_length < Q2_HEADER_V3)
		return false;
	if (h->header_length > cluster_size)
		return false;
	if (h->backing_offset) {
		if (h->backing_offset < h->header_length)
			return false;
		end = q2_min(end, h->backing_offset);
	}
	*area = (struct q2_range){h->header_length, end - h->header_length};
	return true;
}

void q2_ext_start(struct q2_ext_iter *it, const uint8_t *bytes,
		  struct q2_range area)
{
	it->bytes = bytes;
	it->at = (uint32_t)area.start;
	it->end = (uint32_t)q2_end(area);
}

enum q2_ext_step q2_ext_next(struct q2_ext_iter *it, struct q2_ext *out)
{
	const uint8_t *p = it->bytes + it->at;
	uint32_t room = it->end - it->at;

	*out = (struct q2_ext){.at = it->at};
	if (room == 0)
		return Q2_EXT_NO_END;
	if (room >= 4)
		out->type = q2_be32(p);
	if (room < Q2_EXT_HEAD)
		return Q2_EXT_CUT;
	out->len = q2_be32(p + 4);
	room -= Q2_EXT_HEAD;
	/* QEMU tests the length before it looks at the type, so that an end
	 * mark with a wild length stops it, too. */
	if (out->len > room)
		return Q2_EXT_CUT;
	out->data = p + Q2_EXT_HEAD;
	if (out->type == Q2_EXT_END)
		return Q2_EXT_ENDED;
	/* The padding of the last one may be missing. */
	it->at += Q2_EXT_HEAD;
	it->at += (uint32_t)q2_min((uint64_t)(out->len + 7u) & ~UINT64_C(7),
				   room);
	return Q2_EXT_ONE;
}

bool q2_ext_find(const uint8_t *bytes, struct q2_range area, uint32_t type,
		 struct q2_ext *out)
{
	struct q2_ext_iter it;
	struct q2_ext e;
	bool found = false;

	q2_ext_start(&it, bytes, area);
	while (q2_ext_next(&it, &e) == Q2_EXT_ONE) {
		if (e.type != type)
			continue;
		*out = e;
		found = true;
	}
	return found;
}
