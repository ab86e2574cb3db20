/*
 * pf_write.c - a plan as bytes: writing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/zeros.h"
#include "io/io.h"
#include "repair/planfile.h"

#define STORE ((size_t)64 << 10)

struct writer {
	struct q2_io *io;
	struct q2_err *err;
	enum q2_status st; /* the first failure sticks */
	uint64_t off;	   /* where store[0] goes */
	size_t n;
	uint64_t number; /* of the next record */
	uint64_t digest;
	uint8_t store[STORE];
};

uint64_t q2_pf_begin(uint32_t type, uint32_t length, uint64_t number)
{
	uint8_t b[16];

	q2_put_be32(b, type);
	q2_put_be32(b + 4, length);
	q2_put_be64(b + 8, number);
	return q2_hash(b, sizeof(b));
}

uint64_t q2_pf_slots(uint64_t length)
{
	return q2_div_up(length, Q2_PF_SLOT) * Q2_PF_SLOT;
}

static void drain(struct writer *w)
{
	if (w->st == Q2_OK && w->n)
		w->st = q2_pwrite(w->io, w->store, w->n, w->off, w->err);
	w->off += w->n;
	w->n = 0;
}

static void put(struct writer *w, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n) {
		size_t some = (size_t)q2_min(n, STORE - w->n);

		memcpy(w->store + w->n, p, some);
		w->n += some;
		p += some;
		n -= some;
		if (w->n == STORE)
			drain(w);
	}
}

static void put_zeros(struct writer *w, uint64_t n)
{
	static const uint8_t zeros[512];

	for (; n > sizeof(zeros); n -= sizeof(zeros))
		put(w, zeros, sizeof(zeros));
	put(w, zeros, (size_t)n);
}

/* A record's payload comes in up to three pieces. */
struct piece {
	const void *bytes;
	size_t n;
};

static void put_record(struct writer *w, enum q2_pf_record type,
		       const struct piece piece[3])
{
	uint32_t length = (uint32_t)(piece[0].n + piece[1].n + piece[2].n);
	uint64_t sum = q2_pf_begin(type, length, w->number++);
	uint8_t head[Q2_PF_RECORD];

	for (int i = 0; i < 3; i++)
		if (piece[i].n)
			sum = q2_hash_on(sum, piece[i].bytes, piece[i].n);
	q2_put_be32(head, type);
	q2_put_be32(head + 4, length);
	q2_put_be64(head + 8, sum);
	w->digest = q2_hash_on(w->digest, head + 8, 8);
	put(w, head, sizeof(head));
	for (int i = 0; i < 3; i++)
		put(w, piece[i].bytes, piece[i].n);
}

static void put_action(struct writer *w, const struct q2_action *a)
{
	const struct q2_finding *f = &a->f;
	const uint32_t words[] = {a->problem,
				  a->effect,
				  f->problem ? f->problem->number : 0,
				  f->fields,
				  f->kind,
				  f->tree,
				  f->l1,
				  f->l2,
				  f->index,
				  f->text_len,
				  (uint32_t)strlen(a->text),
				  0};
	const uint64_t longs[] = {f->host,  f->guest, f->length, f->other,
				  f->found, f->expected, f->count, 0};
	uint8_t b[Q2_PF_FINDING];
	struct piece pieces[] = {{b, sizeof(b)},
				 {f->text, f->text_len},
				 {a->text, strlen(a->text)}};

	_Static_assert(sizeof(words) + sizeof(longs) == sizeof(b), "layout");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		q2_put_be32(b + 4 * i, words[i]);
	for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++)
		q2_put_be64(b + sizeof(words) + 8 * i, longs[i]);
	put_record(w, Q2_PF_ACTION, pieces);
}

static bool left_out(const uint8_t *bytes, size_t n)
{
	return n && n <= Q2_PF_ZERO_MAX && q2_all_zero(bytes, n);
}

static void put_edit(struct writer *w, const struct q2_edit *e)
{
	bool zero_before = left_out(e->before, e->before_len);
	bool zero_after = left_out(e->after, e->len);
	uint8_t b[Q2_PF_WRITE] = {0};
	struct piece pieces[] = {{b, sizeof(b)},
				 {e->before, zero_before ? 0 : e->before_len},
				 {e->after, zero_after ? 0 : e->len}};

	q2_put_be32(b, e->phase);
	q2_put_be32(b + 4, e->action);
	q2_put_be64(b + 8, e->offset);
	q2_put_be32(b + 16, e->before_len);
	q2_put_be32(b + 20, e->len);
	q2_put_be32(b + 24, (zero_before ? Q2_PF_ZERO_BEFORE : 0) |
				    (zero_after ? Q2_PF_ZERO_AFTER : 0));
	put_record(w, Q2_PF_EDIT, pieces);
}

static void put_export(struct writer *w, const struct q2_export *e)
{
	uint8_t b[Q2_PF_RANGE] = {0};

	q2_put_be64(b, e->offset);
	q2_put_be64(b + 8, e->length);
	q2_put_be32(b + 16, e->table);
	put_record(w, Q2_PF_EXPORT,
		   (struct piece[3]){{b, sizeof(b)}, {0}, {0}});
}

static void make_header(const struct q2_plan *plan, enum q2_plan_kind kind,
			uint64_t before, uint64_t length,
			uint8_t h[Q2_PF_HEADER])
{
	memset(h, 0, Q2_PF_HEADER);
	memcpy(h + Q2_PF_H_MAGIC, Q2_PF_MAGIC, 8);
	q2_put_be32(h + Q2_PF_H_VERSION, Q2_PF_VERSION);
	q2_put_be32(h + Q2_PF_H_KIND, kind);
	q2_put_be32(h + Q2_PF_H_FLAGS, plan->is_device);
	q2_put_be64(h + Q2_PF_H_OLD_SIZE, plan->old_size);
	q2_put_be64(h + Q2_PF_H_NEW_SIZE, plan->new_size);
	q2_put_be64(h + Q2_PF_H_IDENTITY, plan->identity);
	q2_put_be64(h + Q2_PF_H_ACTIONS, plan->actions.n);
	q2_put_be64(h + Q2_PF_H_EDITS, plan->edits.n);
	q2_put_be64(h + Q2_PF_H_LENGTH, length);
	q2_put_be64(h + Q2_PF_H_TIME, before);
	q2_put_be64(h + Q2_PF_H_EXPORTS, plan->exports.n);
	q2_put_be64(h + Q2_PF_H_CHECKSUM, q2_hash(h, Q2_PF_H_CHECKSUM));
}

static uint64_t length_of(const struct q2_plan *plan)
{
	uint64_t n = Q2_PF_HEADER + Q2_PF_RECORD + 8 +
		     plan->exports.n * (Q2_PF_RECORD + Q2_PF_RANGE);

	for (size_t i = 0; i < plan->actions.n; i++)
		n += Q2_PF_RECORD + Q2_PF_FINDING +
		     plan->actions.at[i].f.text_len +
		     strlen(plan->actions.at[i].text);
	for (size_t i = 0; i < plan->edits.n; i++) {
		const struct q2_edit *e = &plan->edits.at[i];

		n += Q2_PF_RECORD + Q2_PF_WRITE;
		n += left_out(e->before, e->before_len) ? 0 : e->before_len;
		n += left_out(e->after, e->len) ? 0 : e->len;
	}
	return n;
}

static enum q2_status write_all(struct writer *w, const struct q2_plan *plan,
				enum q2_plan_kind kind, uint64_t before)
{
	uint64_t length = length_of(plan);
	uint8_t header[Q2_PF_HEADER], digest[8];

	make_header(plan, kind, before, length, header);
	w->digest = q2_hash(header, sizeof(header));
	put(w, header, sizeof(header));
	for (size_t i = 0; i < plan->actions.n; i++)
		put_action(w, &plan->actions.at[i]);
	for (size_t i = 0; i < plan->edits.n; i++)
		put_edit(w, &plan->edits.at[i]);
	for (size_t i = 0; i < plan->exports.n; i++)
		put_export(w, &plan->exports.at[i]);
	q2_put_be64(digest, w->digest);
	put_record(w, Q2_PF_END, (struct piece[3]){{digest, 8}, {0}, {0}});
	if (kind == Q2_PLAN_JOURNAL)
		put_zeros(w, q2_pf_slots(length) - length +
				     (uint64_t)Q2_PF_SLOTS * Q2_PF_SLOT);
	drain(w);
	return w->st;
}

enum q2_status q2_pf_write(const struct q2_plan *plan, enum q2_plan_kind kind,
			   uint64_t before, struct q2_io *io,
			   struct q2_err *err)
{
	struct q2_budget budget = {0};
	enum q2_status st;
	struct writer *w;
	void *block;

	for (size_t i = 0; i < plan->edits.n; i++)
		if (plan->edits.at[i].len > UINT32_C(1) << 30)
			return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
				       "an edit of the plan is too long");
	st = q2_get(&budget, sizeof(*w), &block, err);
	if (st != Q2_OK)
		return st;
	w = block;
	w->io = io;
	w->err = err;
	st = write_all(w, plan, kind, before);
	q2_put(&budget, w, sizeof(*w));
	return st;
}
