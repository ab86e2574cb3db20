/*
 * write_backing.c - naming another backing file, with one sector.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Header" and "Header extensions": the name, its format and everything
 * else in the first cluster.  A layout for the new cluster is tried in thought
 * first: at each moment of writing it, with any sectors missing, a reader must find
 * the old meaning or the new one, and never lose an extension.
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/hash.h"
#include "format/ext.h"
#include "image/write_int.h"

#define AT_BACKING_OFFSET 8
#define AT_BACKING_SIZE 16
#define SUBSETS 8u /* changed sectors of which every subset is tried */

/* What a reader finds. */
struct meaning {
	bool sound;
	char name[Q2_BACKING_MAX + 1];
	char format[Q2_EXT_FORMAT_MAX + 1];
	uint64_t others; /* digest of the extensions that matter */
};

struct plan {
	uint8_t *old;	/* the first cluster, as it is */
	uint8_t *next;	/* as it is to be at the end */
	uint8_t *first; /* step one: all but the first sector, and the old name */
	uint8_t *work;
	uint64_t size;
	struct meaning before;
	struct meaning after;
};

static void find_meaning(const uint8_t *bytes, uint64_t size,
			 struct meaning *m)
{
	struct q2_range area;
	struct q2_ext_iter it;
	struct q2_header h;
	struct q2_ext e;
	enum q2_ext_step step;

	memset(m, 0, sizeof(*m));
	q2_header_parse(bytes, (size_t)size, &h);
	if (!q2_ext_area(&h, size, &area) ||
	    h.backing_size > Q2_BACKING_MAX)
		return;
	if (h.backing_offset) {
		if (!q2_inside(h.backing_offset, h.backing_size, size))
			return;
		memcpy(m->name, bytes + h.backing_offset, h.backing_size);
	}
	q2_ext_start(&it, bytes, area);
	while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE) {
		uint64_t part[3] = {m->others, e.type, 0};

		if (e.type == Q2_EXT_FORMAT) {
			if (e.len > Q2_EXT_FORMAT_MAX)
				return;
			memset(m->format, 0, sizeof(m->format));
			memcpy(m->format, e.data, e.len);
		} else if (e.type != Q2_EXT_FEATURES) {
			part[2] = q2_hash(e.data, e.len) + e.len;
			m->others = q2_hash(part, sizeof(part));
		}
	}
	/* A format says nothing where there is no name. */
	if (m->name[0] == '\0')
		memset(m->format, 0, sizeof(m->format));
	m->sound = step == Q2_EXT_ENDED || step == Q2_EXT_NO_END;
}

static bool means(const uint8_t *bytes, uint64_t size,
		  const struct meaning *want)
{
	struct meaning m;

	find_meaning(bytes, size, &m);
	return m.sound && strcmp(m.name, want->name) == 0 &&
	       strcmp(m.format, want->format) == 0 && m.others == want->others;
}

static bool differs(const uint8_t *a, const uint8_t *b, uint64_t sector)
{
	return memcmp(a + sector * Q2_W_SECTOR, b + sector * Q2_W_SECTOR,
		      Q2_W_SECTOR) != 0;
}

/* Whether any part of the sectors in which `to` differs from `from` can be written
 * without the meaning being lost.  Of many, only beginnings are tried; writing goes
 * one by one then. */
static bool safe_step(struct plan *p, const uint8_t *from, const uint8_t *to,
		      const struct meaning *want)
{
	uint64_t sectors[SUBSETS + 1];
	size_t n = 0;

	for (uint64_t i = 0; i < p->size / Q2_W_SECTOR; i++) {
		if (!differs(from, to, i))
			continue;
		if (n == SUBSETS)
			return false;
		sectors[n++] = i;
	}
	for (uint32_t set = 0; set < UINT32_C(1) << n; set++) {
		memcpy(p->work, from, (size_t)p->size);
		for (size_t i = 0; i < n; i++)
			if (set >> i & 1)
				memcpy(p->work + sectors[i] * Q2_W_SECTOR,
				       to + sectors[i] * Q2_W_SECTOR,
				       Q2_W_SECTOR);
		if (!means(p->work, p->size, want))
			return false;
	}
	return true;
}

/* Whether the way from old to next is safe; p->first is made for it. */
static bool safe(struct plan *p)
{
	uint64_t at = q2_be64(p->old + AT_BACKING_OFFSET);
	uint64_t len = strlen(p->before.name);

	if (!means(p->next, p->size, &p->after))
		return false;
	memcpy(p->first, p->next, (size_t)p->size);
	if (at)
		memcpy(p->first + at, p->old + at, (size_t)len);
	memcpy(p->first, p->old, Q2_W_SECTOR);
	if (!safe_step(p, p->old, p->first, &p->before))
		return false;
	memcpy(p->first, p->next, Q2_W_SECTOR);
	if (!safe_step(p, p->first, p->next, &p->after))
		return false;
	memcpy(p->first, p->old, Q2_W_SECTOR);
	return true;
}

/* Copies the extensions to p->next, with this backing format (NULL: none), packed;
 * returns where the end mark ends, or 0 if there is no room. */
static uint64_t pack_extensions(struct plan *p, const struct q2_header *h,
				const char *format)
{
	uint64_t at = h->header_length;
	size_t len = format ? strlen(format) : 0;
	struct q2_ext_iter it;
	struct q2_range area;
	struct q2_ext e;

	if (!q2_ext_area(h, p->size, &area))
		return 0;
	memset(p->next + at, 0, (size_t)(p->size - at));
	if (format && at + 8 + len <= p->size) {
		q2_put_be32(p->next + at, Q2_EXT_FORMAT);
		q2_put_be32(p->next + at + 4, (uint32_t)len);
		memcpy(p->next + at + 8, format, len);
		at += 8 + ((len + 7) & ~(size_t)7);
	}
	q2_ext_start(&it, p->old, area);
	while (q2_ext_next(&it, &e) == Q2_EXT_ONE) {
		uint64_t whole = 8 + (((uint64_t)e.len + 7) & ~UINT64_C(7));

		if (e.type == Q2_EXT_FORMAT)
			continue;
		if (at + whole > p->size)
			return 0;
		memcpy(p->next + at, p->old + e.at, 8 + (size_t)e.len);
		at += whole;
	}
	return at + 8 <= p->size ? at + 8 : 0;
}

static bool put_name(struct plan *p, uint64_t at, const char *name)
{
	size_t len = name ? strlen(name) : 0;

	q2_put_be64(p->next + AT_BACKING_OFFSET, name ? at : 0);
	q2_put_be32(p->next + AT_BACKING_SIZE, (uint32_t)len);
	if (!q2_inside(at, len, p->size))
		return false;
	memcpy(p->next + at, name ? name : "", len);
	return true;
}

/* Everything packed, the name behind the end mark or somewhat later. */
static bool packed(struct plan *p, const struct q2_header *h,
		   const char *name, const char *format, uint64_t name_at)
{
	uint64_t end;

	memcpy(p->next, p->old, (size_t)p->size);
	end = pack_extensions(p, h, format);
	if (end == 0)
		return false;
	return put_name(p, q2_max(end, name_at), name) && safe(p);
}

/* Only the name's fields change; the old format's extension stays, and says nothing
 * any more. */
static bool unnamed(struct plan *p)
{
	uint64_t at = q2_be64(p->old + AT_BACKING_OFFSET);

	memcpy(p->next, p->old, (size_t)p->size);
	memset(p->next + at, 0, strlen(p->before.name));
	return put_name(p, 0, NULL) && safe(p);
}

/* The extensions stay where they are, as the format does not change. */
static bool renamed(struct plan *p, const char *name, uint64_t name_at)
{
	uint64_t at = q2_be64(p->old + AT_BACKING_OFFSET);

	if (name == NULL || strcmp(p->before.format, p->after.format) != 0 ||
	    p->before.name[0] == '\0')
		return false;
	memcpy(p->next, p->old, (size_t)p->size);
	memset(p->next + at, 0, strlen(p->before.name));
	return put_name(p, name_at, name) && safe(p);
}

static bool find_layout(struct plan *p, const char *name, const char *format)
{
	uint64_t len = strlen(p->before.name);
	struct q2_header h;
	uint64_t behind;

	q2_header_parse(p->old, (size_t)p->size, &h);
	behind = h.backing_offset ? (h.backing_offset + len + 7) & ~7u : 0;
	if (renamed(p, name, behind) || renamed(p, name, h.backing_offset))
		return true;
	if (packed(p, &h, name, format, 0) ||
	    packed(p, &h, name, format, behind))
		return true;
	/* A sector of its own. */
	behind = (behind + Q2_W_SECTOR - 1) & ~(uint64_t)(Q2_W_SECTOR - 1);
	if (packed(p, &h, name, format, behind))
		return true;
	return name == NULL && unnamed(p);
}

static enum q2_status put_changes(struct q2_writer *w, const uint8_t *from,
				  const uint8_t *to, uint64_t size,
				  struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < size / Q2_W_SECTOR && st == Q2_OK; i++)
		if (differs(from, to, i))
			st = q2_w_put(w, to + i * Q2_W_SECTOR, Q2_W_SECTOR,
				      i * Q2_W_SECTOR, err);
	return st == Q2_OK ? q2_w_barrier(w, err) : st;
}

static enum q2_status carry_out(struct q2_writer *w, struct plan *p,
				struct q2_err *err)
{
	enum q2_status st = put_changes(w, p->old, p->first, p->size, err);

	if (st == Q2_OK) {
		memcpy(w->sector, p->next, Q2_W_SECTOR);
		st = q2_w_put(w, w->sector, Q2_W_SECTOR, 0, err);
	}
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	memcpy(p->first, p->next, Q2_W_SECTOR);
	if (st == Q2_OK)
		st = put_changes(w, p->first, p->next, p->size, err);
	return st;
}

/* A plan for the first cluster as it is. */
static enum q2_status plan(struct q2_writer *w, struct plan *p,
			   const char *name, const char *format,
			   struct q2_err *err)
{
	enum q2_status st = q2_pread_zero(w->img.io, p->old, (size_t)p->size, 0,
					  err);

	if (st != Q2_OK)
		return st;
	find_meaning(p->old, p->size, &p->before);
	p->after = p->before;
	memset(p->after.name, 0, sizeof(p->after.name));
	memset(p->after.format, 0, sizeof(p->after.format));
	memcpy(p->after.name, name ? name : "", name ? strlen(name) : 0);
	if (name && format)
		memcpy(p->after.format, format, strlen(format));
	if (!p->before.sound || !find_layout(p, name, format))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, 0,
			       "the header leaves no safe way to name another "
			       "backing file");
	return Q2_OK;
}

enum q2_status q2_write_backing(struct q2_writer *w, const char *name,
				const char *format, bool try_only,
				struct q2_err *err)
{
	struct plan p = {.size = w->img.geom.cluster_size};
	enum q2_status st;
	void *block;

	if (name && (strlen(name) > Q2_BACKING_MAX || name[0] == '\0'))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "the backing file's name is too long");
	if (name && format && strlen(format) > Q2_EXT_FORMAT_MAX)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "the backing format's name is too long");
	st = try_only ? Q2_OK : q2_write_commit(w, err);
	if (st != Q2_OK)
		return st;
	st = q2_get(w->img.budget, 4 * p.size, &block, err);
	if (st != Q2_OK)
		return st;
	p.old = block;
	p.next = p.old + p.size;
	p.first = p.next + p.size;
	p.work = p.first + p.size;
	st = plan(w, &p, name, name ? format : NULL, err);
	if (st == Q2_OK && !try_only)
		st = carry_out(w, &p, err);
	if (st != Q2_E_UNSUPPORTED)
		st = q2_w_end(w, st, err);
	q2_put(w->img.budget, block, 4 * p.size);
	return st;
}
