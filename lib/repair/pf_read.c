/*
 * pf_read.c - a plan as bytes: reading, and refusing.
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing is believed before its checksum was seen, and nothing is allocated
 * that the file's real length does not cover.
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"
#include "io/io.h"
#include "repair/apply.h"
#include "repair/planfile.h"

#define STORE ((size_t)64 << 10)

struct reader {
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_err *err;
	uint64_t off;	 /* of the next byte */
	uint64_t length; /* of header and records */
	uint64_t number; /* of the next record */
	uint64_t digest;
	const uint8_t *zeros; /* Q2_PF_ZERO_MAX of them, once needed */
	uint64_t n_actions;
	uint64_t n_edits;
	uint64_t n_exports;
	uint64_t before; /* the image's time */
	uint64_t start; /* of what is in the store */
	size_t n;
	uint8_t store[STORE];
};

static enum q2_status damaged(struct q2_err *err, uint64_t offset,
			      const char *what)
{
	return q2_fail(err, Q2_E_FORMAT, 0, offset,
		       "refused, it is damaged: %s, at offset %llu", what,
		       (unsigned long long)offset);
}

static enum q2_status get(struct reader *r, void *to, size_t n)
{
	enum q2_status st = Q2_OK;

	if (n > r->length - r->off)
		return damaged(r->err, r->off, "a record is too long");
	if (n >= STORE) {
		st = q2_pread(r->io, to, n, r->off, r->err);
	} else {
		if (r->off < r->start || r->off + n > r->start + r->n) {
			r->start = r->off;
			r->n = (size_t)q2_min(STORE, r->length - r->off);
			st = q2_pread(r->io, r->store, r->n, r->off, r->err);
			if (st != Q2_OK)
				r->n = 0;
		}
		if (st == Q2_OK)
			memcpy(to, r->store + (r->off - r->start), n);
	}
	r->off += n;
	return st;
}

/* A record is read as it is checked: first its head, then pieces. */
struct record {
	uint64_t at; /* its offset */
	uint32_t type;
	uint32_t left; /* bytes not read yet */
	uint64_t expected;
	uint64_t sum;
};

static enum q2_status get_head(struct reader *r, enum q2_pf_record type,
			       struct record *rec)
{
	uint8_t b[Q2_PF_RECORD];
	enum q2_status st;

	rec->at = r->off;
	st = get(r, b, sizeof(b));
	if (st != Q2_OK)
		return st;
	rec->type = q2_be32(b);
	rec->left = q2_be32(b + 4);
	rec->expected = q2_be64(b + 8);
	rec->sum = q2_pf_begin(rec->type, rec->left, r->number++);
	if (rec->type != type || rec->left > r->length - r->off)
		return damaged(r->err, rec->at, "not the record expected here");
	return Q2_OK;
}

static enum q2_status get_piece(struct reader *r, struct record *rec, void *to,
				size_t n)
{
	enum q2_status st;

	if (n > rec->left)
		return damaged(r->err, rec->at, "a record is too short");
	st = get(r, to, n);
	if (st == Q2_OK && n)
		rec->sum = q2_hash_on(rec->sum, to, n);
	rec->left -= (uint32_t)n;
	return st;
}

/* The same, into memory of the plan. */
static enum q2_status keep_piece(struct reader *r, struct record *rec, size_t n,
				 const uint8_t **out)
{
	uint8_t *to;

	*out = NULL;
	if (n > rec->left)
		return damaged(r->err, rec->at, "a record is too short");
	to = q2_plan_keep(r->plan, NULL, n + 1, r->err);
	if (to == NULL)
		return r->err->code;
	*out = to;
	to[n] = 0;
	return get_piece(r, rec, to, n);
}

static enum q2_status end_record(struct reader *r, const struct record *rec)
{
	uint8_t b[8];

	if (rec->left || rec->sum != rec->expected)
		return damaged(r->err, rec->at, "a checksum does not match");
	q2_put_be64(b, rec->expected);
	r->digest = q2_hash_on(r->digest, b, 8);
	return Q2_OK;
}

static bool finding_from(const uint8_t *b, struct q2_action *a)
{
	struct q2_finding *f = &a->f;
	const uint8_t *longs = b + 48;
	uint32_t number = q2_be32(b + 8);

	a->problem = q2_be32(b);
	a->effect = (enum q2_effect)q2_be32(b + 4);
	f->problem = q2_problem_by_number(number);
	f->fields = q2_be32(b + 12);
	f->kind = (enum q2_kind)q2_be32(b + 16);
	f->tree = q2_be32(b + 20);
	f->l1 = q2_be32(b + 24);
	f->l2 = q2_be32(b + 28);
	f->index = q2_be32(b + 32);
	f->text_len = q2_be32(b + 36);
	f->host = q2_be64(longs);
	f->guest = q2_be64(longs + 8);
	f->length = q2_be64(longs + 16);
	f->other = q2_be64(longs + 24);
	f->found = q2_be64(longs + 32);
	f->expected = q2_be64(longs + 40);
	f->count = q2_be64(longs + 48);
	return a->effect <= Q2_EFFECT_KEPT && f->kind < Q2_K_COUNT &&
	       f->text_len <= sizeof(f->text) &&
	       f->fields < 2 * (unsigned)Q2_F_TEXT &&
	       (number == 0) == (f->problem == NULL) &&
	       (a->problem == 0 || q2_problem_by_number(a->problem));
}

static enum q2_status read_action(struct reader *r)
{
	struct q2_action a = {0};
	uint8_t b[Q2_PF_FINDING];
	const uint8_t *text;
	struct record rec;
	uint32_t text_len;
	enum q2_status st = get_head(r, Q2_PF_ACTION, &rec);

	if (st == Q2_OK)
		st = get_piece(r, &rec, b, sizeof(b));
	if (st != Q2_OK)
		return st;
	text_len = q2_be32(b + 40);
	if (!finding_from(b, &a))
		return damaged(r->err, rec.at, "an action makes no sense");
	st = get_piece(r, &rec, a.f.text, a.f.text_len);
	if (st == Q2_OK)
		st = keep_piece(r, &rec, text_len, &text);
	if (st == Q2_OK)
		st = end_record(r, &rec);
	if (st != Q2_OK)
		return st;
	if (memchr(text, 0, text_len))
		return damaged(r->err, rec.at, "an action makes no sense");
	a.text = (const char *)text;
	return q2_actions_push(&r->plan->actions, &r->plan->budget, a, r->err);
}

/* Bytes that are there, or zeros that were left out. */
static enum q2_status read_bytes(struct reader *r, struct record *rec, size_t n,
				 bool zeros, const uint8_t **out)
{
	if (!zeros)
		return keep_piece(r, rec, n, out);
	if (n > Q2_PF_ZERO_MAX)
		return damaged(r->err, rec->at, "an edit makes no sense");
	if (r->zeros == NULL) {
		uint8_t *z = q2_plan_keep(r->plan, NULL, Q2_PF_ZERO_MAX, r->err);

		if (z == NULL)
			return r->err->code;
		memset(z, 0, Q2_PF_ZERO_MAX);
		r->zeros = z;
	}
	*out = r->zeros;
	return Q2_OK;
}

static enum q2_status read_edit(struct reader *r)
{
	struct q2_edit e = {0};
	uint8_t b[Q2_PF_WRITE];
	struct record rec;
	uint32_t flags;
	enum q2_status st = get_head(r, Q2_PF_EDIT, &rec);

	if (st == Q2_OK)
		st = get_piece(r, &rec, b, sizeof(b));
	if (st != Q2_OK)
		return st;
	e.phase = (enum q2_phase)q2_be32(b);
	e.action = q2_be32(b + 4);
	e.offset = q2_be64(b + 8);
	e.before_len = q2_be32(b + 16);
	e.len = q2_be32(b + 20);
	flags = q2_be32(b + 24);
	st = read_bytes(r, &rec, e.before_len, flags & Q2_PF_ZERO_BEFORE,
			&e.before);
	if (st == Q2_OK)
		st = read_bytes(r, &rec, e.len, flags & Q2_PF_ZERO_AFTER,
				&e.after);
	if (st == Q2_OK)
		st = end_record(r, &rec);
	if (st != Q2_OK)
		return st;
	return q2_edits_push(&r->plan->edits, &r->plan->budget, e, r->err);
}

static enum q2_status read_export(struct reader *r)
{
	uint8_t b[Q2_PF_RANGE];
	struct q2_export e = {0};
	struct record rec;
	enum q2_status st = get_head(r, Q2_PF_EXPORT, &rec);

	if (st == Q2_OK)
		st = get_piece(r, &rec, b, sizeof(b));
	if (st == Q2_OK)
		st = end_record(r, &rec);
	if (st != Q2_OK)
		return st;
	e.offset = q2_be64(b);
	e.length = q2_be64(b + 8);
	e.table = q2_be32(b + 16) & 1;
	return q2_exports_push(&r->plan->exports, &r->plan->budget, e, r->err);
}

static enum q2_status read_end(struct reader *r)
{
	struct record rec;
	uint8_t b[8];
	uint64_t digest = r->digest;
	enum q2_status st = get_head(r, Q2_PF_END, &rec);

	if (st == Q2_OK)
		st = get_piece(r, &rec, b, sizeof(b));
	if (st == Q2_OK)
		st = end_record(r, &rec);
	if (st != Q2_OK)
		return st;
	if (q2_be64(b) != digest || r->off != r->length)
		return damaged(r->err, rec.at, "the end does not match");
	return Q2_OK;
}

enum q2_status q2_pf_header(struct q2_io *io, uint8_t *h, struct q2_err *err)
{
	uint64_t size = io->size;
	enum q2_status st = Q2_OK;
	uint32_t version;

	if (size >= 8)
		st = q2_pread(io, h, 8, 0, err);
	if (st != Q2_OK)
		return st;
	if (size < 8 || memcmp(h, Q2_PF_MAGIC, 8) != 0)
		return q2_fail(err, Q2_E_FORMAT, 0, 0,
			       "not a plan, journal or backup of qcow2-fsck");
	if (size < Q2_PF_HEADER)
		return damaged(err, size, "it is cut off");
	st = q2_pread(io, h, Q2_PF_HEADER, 0, err);
	if (st != Q2_OK)
		return st;
	version = q2_be32(h + Q2_PF_H_VERSION);
	if (version > Q2_PF_VERSION)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_PF_H_VERSION,
			       "refused: it has format %lu, and this program "
			       "knows formats up to %d",
			       (unsigned long)version, Q2_PF_VERSION);
	if (q2_be64(h + Q2_PF_H_CHECKSUM) != q2_hash(h, Q2_PF_H_CHECKSUM) ||
	    version != Q2_PF_VERSION)
		return damaged(err, 0, "the header's checksum does not match");
	return Q2_OK;
}

static enum q2_status read_header(struct reader *r, enum q2_plan_kind *kind)
{
	struct q2_plan *p = r->plan;
	uint8_t h[Q2_PF_HEADER];
	enum q2_status st = q2_pf_header(r->io, h, r->err);

	if (st != Q2_OK)
		return st;
	r->off = sizeof(h);
	*kind = (enum q2_plan_kind)q2_be32(h + Q2_PF_H_KIND);
	p->is_device = q2_be32(h + Q2_PF_H_FLAGS) & 1;
	p->old_size = q2_be64(h + Q2_PF_H_OLD_SIZE);
	p->new_size = q2_be64(h + Q2_PF_H_NEW_SIZE);
	p->identity = q2_be64(h + Q2_PF_H_IDENTITY);
	r->n_actions = q2_be64(h + Q2_PF_H_ACTIONS);
	r->n_edits = q2_be64(h + Q2_PF_H_EDITS);
	r->length = q2_be64(h + Q2_PF_H_LENGTH);
	r->before = q2_be64(h + Q2_PF_H_TIME);
	r->n_exports = q2_be64(h + Q2_PF_H_EXPORTS);
	r->digest = q2_hash(h, sizeof(h));
	return Q2_OK;
}

static enum q2_status judge_length(const struct reader *r,
				   enum q2_plan_kind kind)
{
	uint64_t size = r->io->size;
	uint64_t whole = r->length;

	if (kind < Q2_PLAN_REVIEW || kind > Q2_PLAN_BACKUP ||
	    r->length < Q2_PF_HEADER)
		return damaged(r->err, 0, "the header makes no sense");
	if (kind == Q2_PLAN_JOURNAL && whole <= size)
		whole = q2_pf_slots(whole) + (uint64_t)Q2_PF_SLOTS * Q2_PF_SLOT;
	if (size < whole)
		return damaged(r->err, size, "it is cut off");
	if (size > whole)
		return damaged(r->err, whole, "there is something behind it");
	return Q2_OK;
}

static enum q2_status read_all(struct reader *r, struct q2_plan_info *info)
{
	enum q2_plan_kind kind = Q2_PLAN_REVIEW;
	enum q2_status st = read_header(r, &kind);
	unsigned used;

	if (st == Q2_OK)
		st = judge_length(r, kind);
	for (uint64_t i = 0; i < r->n_actions && st == Q2_OK; i++)
		st = read_action(r);
	for (uint64_t i = 0; i < r->n_edits && st == Q2_OK; i++)
		st = read_edit(r);
	for (uint64_t i = 0; i < r->n_exports && st == Q2_OK; i++)
		st = read_export(r);
	if (st == Q2_OK)
		st = read_end(r);
	*info = (struct q2_plan_info){.kind = kind, .before = r->before};
	if (st == Q2_OK && kind == Q2_PLAN_JOURNAL)
		st = q2_pf_read_states(r->io, r->length, r->digest, info, &used,
				       r->err);
	if (st == Q2_OK && kind != Q2_PLAN_BACKUP)
		st = q2_plan_sound(r->plan, r->err);
	return st;
}

enum q2_status q2_pf_read(struct q2_io *io, uint64_t max_memory,
			  struct q2_plan **plan, struct q2_plan_info *info,
			  struct q2_err *err)
{
	struct q2_plan_info unused;
	struct q2_err own = {0};
	struct q2_budget budget = {0};
	struct reader *r;
	enum q2_status st;
	void *block;

	*plan = NULL;
	st = q2_get(&budget, sizeof(*r), &block, err);
	if (st != Q2_OK)
		return st;
	r = block;
	r->io = io;
	r->err = &own;
	st = q2_plan_new(max_memory, &r->plan, &own);
	if (st == Q2_OK)
		st = read_all(r, info ? info : &unused);
	if (st == Q2_OK)
		*plan = r->plan;
	else
		q2_plan_free(r->plan);
	q2_put(&budget, r, sizeof(*r));
	if (st != Q2_OK && err && err->code == Q2_OK)
		*err = own;
	return st;
}
