/*
 * keep.c - a check whose state is kept, so that another run can go on from it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/keep.h"

#include <string.h>

#include "base/err.h"
#include "base/hash.h"

/* Findings past that many bytes are too many to be kept. */
#define NOTES_MAX (UINT64_C(64) << 20)
#define NOTE_MAX 256u /* bytes of one */
#define PIECE 65536u
#define END 0x7132u /* what a state ends with */

/* ----------------------------------------------------------------- findings */

static void put_finding(struct q2_buf *b, const struct q2_finding *f)
{
	const uint64_t each[] = {f->fields, f->kind,   f->tree,	 f->l1,
				 f->l2,	    f->index,  f->host,	 f->guest,
				 f->length, f->other,  f->found, f->expected,
				 f->count,  f->text_len};

	for (size_t i = 0; i < sizeof(each) / sizeof(*each); i++)
		q2_put_number(b, each[i]);
	q2_buf_add(b, f->text, f->text_len);
}

static void take_finding(struct q2_source *in, enum q2_problem_id id,
			 struct q2_finding *f)
{
	*f = (struct q2_finding){
		.fields = (unsigned)q2_take_up_to(in, UINT32_MAX)};
	f->kind = (enum q2_kind)q2_take_up_to(in, Q2_K_COUNT - 1);
	f->tree = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	f->l1 = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	f->l2 = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	f->index = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	f->host = q2_take_number(in);
	f->guest = q2_take_number(in);
	f->length = q2_take_number(in);
	f->other = q2_take_number(in);
	f->found = q2_take_number(in);
	f->expected = q2_take_number(in);
	f->count = q2_take_number(in);
	f->text_len = (uint32_t)q2_take_up_to(in, sizeof(f->text));
	for (uint32_t i = 0; i < f->text_len; i++)
		f->text[i] = (char)q2_take_byte(in);
	in->failed |= q2_problem(id) == NULL ||
		      (f->fields & ~q2_problem(id)->fields);
}

static bool make_room(struct q2_checker *c, size_t n)
{
	struct q2_notes *notes = &c->notes;
	size_t room = notes->room + notes->room / 2 + 4096;
	void *block = notes->at;

	if (notes->room - notes->n >= n)
		return true;
	if (room > NOTES_MAX ||
	    q2_regrow(&c->budget, notes->room, room, &block, NULL) != Q2_OK)
		return false;
	notes->at = block;
	notes->room = room;
	return true;
}

void q2_keep_finding(struct q2_checker *c, enum q2_problem_id id,
		     const struct q2_finding *f)
{
	struct q2_notes *notes = &c->notes;
	struct q2_buf b;

	if (!notes->noting || notes->lost)
		return;
	if (!make_room(c, NOTE_MAX)) {
		notes->lost = true;
		return;
	}
	q2_buf_fix(&b, (char *)notes->at + notes->n, NOTE_MAX);
	q2_put_number(&b, (uint64_t)id);
	put_finding(&b, f);
	notes->n += b.n;
	notes->count++;
}

static void take_findings(struct q2_checker *c, struct q2_source *in)
{
	for (uint64_t n = q2_take_number(in); n && !in->failed; n--) {
		enum q2_problem_id id = (enum q2_problem_id)q2_take_up_to(
			in, Q2_P_END);
		struct q2_finding f;

		take_finding(in, id, &f);
		if (!in->failed)
			q2_found(c, id, &f);
	}
}

/* ------------------------------------------------------------------- tables */

/* The state tells of tables by their numbers: these must be the same tables. */
static uint64_t digest_tables(const struct q2_checker *c)
{
	const struct q2_l2ref_vec *t = &c->refs.tables;
	uint64_t sum = t->n;

	for (size_t i = 0; i < t->n; i++) {
		const struct q2_l2ref *r = &t->at[i];
		const uint64_t each[] = {r->clu,    r->weight,
					 r->slot,   r->tree,
					 r->active, r->limit,
					 r->flags & ~(unsigned)Q2_L2_UNREAD};

		sum = q2_hash_on(sum, each, sizeof(each));
	}
	return sum;
}

static void put_unread(struct q2_buf *b, const struct q2_l2ref_vec *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->at[i].flags & Q2_L2_UNREAD)
			q2_put_number(b, i + 1);
	q2_put_number(b, 0);
}

static void take_unread(struct q2_source *in, struct q2_l2ref_vec *t)
{
	uint64_t i = q2_take_up_to(in, t->n);

	for (; i && !in->failed; i = q2_take_up_to(in, t->n))
		t->at[i - 1].flags |= Q2_L2_UNREAD;
}

/* 0 for none, or 1 + the number of the table. */
static void put_table(struct q2_buf *b, const struct q2_checker *c,
		      const struct q2_l2ref *ref)
{
	q2_put_number(b, ref ? (uint64_t)(ref - c->refs.tables.at) + 1 : 0);
}

static const struct q2_l2ref *take_table(struct q2_source *in,
					 const struct q2_checker *c)
{
	uint64_t i = q2_take_up_to(in, c->refs.tables.n);

	return i ? &c->refs.tables.at[i - 1] : NULL;
}

/* -------------------------------------------------------------------- parts */

/* Numbers of the walk and of the check, in one order for both ways. */
#define NUMBERS 11u
static void list_numbers(struct q2_l2_work *w, uint64_t *each[NUMBERS])
{
	struct q2_checker *c = w->c;
	uint64_t *const all[NUMBERS] = {
		&w->place.tables,   &w->count.allocated, &w->count.fragmented,
		&w->count.compressed, &w->count.mapped,	 &w->count.data_end,
		&w->count.next,	    &w->sound_stream,	 &w->streams,
		&c->over.n,  &c->result->check_errors};

	memcpy(each, all, sizeof(all));
}

static void put_work(struct q2_buf *b, struct q2_l2_work *w)
{
	struct q2_checker *c = w->c;
	uint64_t *each[NUMBERS];

	q2_put_number(b, digest_tables(c));
	list_numbers(w, each);
	for (size_t i = 0; i < NUMBERS; i++)
		q2_put_number(b, *each[i]);
	q2_put_number(b, w->place.table);
	q2_put_number(b, w->place.entries);
	q2_put_number(b, c->over.why);
	q2_put_number(b, c->result->partial);
	put_table(b, c, w->beyond_in);
	put_table(b, c, w->past_last);
	put_finding(b, &w->beyond);
	put_finding(b, &w->plain);
	put_finding(b, &w->past);
	put_unread(b, &c->refs.tables);
}

static enum q2_status take_work(struct q2_source *in, struct q2_l2_work *w)
{
	struct q2_checker *c = w->c;
	uint64_t *each[NUMBERS];

	if (q2_take_number(in) != digest_tables(c))
		return q2_fail(c->err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "the state is of other L2 tables");
	list_numbers(w, each);
	for (size_t i = 0; i < NUMBERS; i++)
		*each[i] = q2_take_number(in);
	w->place.table = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	w->place.entries = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	c->over.why = (unsigned)q2_take_up_to(in, UINT32_MAX);
	c->result->partial |= q2_take_number(in) != 0;
	w->beyond_in = take_table(in, c);
	w->past_last = take_table(in, c);
	take_finding(in, Q2_P_L2_BEYOND_DISK, &w->beyond);
	take_finding(in, Q2_P_COMPRESSED_ENCRYPTED, &w->plain);
	take_finding(in, Q2_P_L1_BEYOND_DISK, &w->past);
	take_unread(in, &c->refs.tables);
	return Q2_OK;
}

static void put_vectors(struct q2_buf *b, const struct q2_checker *c)
{
	q2_put_number(b, c->suspects.n);
	for (size_t i = 0; i < c->suspects.n && !b->failed; i++) {
		q2_put_number(b, c->suspects.at[i].clu);
		q2_put_number(b, c->suspects.at[i].found);
		q2_put_number(b, c->suspects.at[i].why);
	}
	q2_put_number(b, c->compressed.n);
	for (size_t i = 0; i < c->compressed.n && !b->failed; i++)
		q2_put_number(b, c->compressed.at[i]);
}

static enum q2_status take_vectors(struct q2_source *in, struct q2_checker *c)
{
	enum q2_status st = Q2_OK;
	uint64_t n = q2_take_number(in);

	c->suspects.n = 0;
	for (; n && st == Q2_OK && !in->failed; n--) {
		struct q2_suspect s = {.clu = q2_take_up_to(
					       in, c->img.geom.file_clusters)};

		s.found = q2_take_number(in);
		s.why = (unsigned)q2_take_up_to(in, UINT32_MAX);
		st = q2_suspects_push(&c->suspects, &c->budget, s, c->err);
	}
	n = st == Q2_OK ? q2_take_number(in) : 0;
	for (; n && st == Q2_OK && !in->failed; n--)
		st = q2_descriptors_push(&c->compressed, &c->budget,
					 q2_take_number(in), c->err);
	return st;
}

/* -------------------------------------------------------------------- whole */

static bool write_state(struct q2_l2_work *w)
{
	struct q2_checker *c = w->c;
	const struct q2_check_keep *keep = c->opts->keep;
	struct q2_buf b;
	void *store;
	bool whole;

	if (q2_get_raw(&c->budget, PIECE, &store, NULL) != Q2_OK)
		return false;
	q2_buf_pipe(&b, store, PIECE, keep->write, keep->ctx);
	put_work(&b, w);
	put_vectors(&b, c);
	whole = q2_refmap_put(&c->map, &b, NULL) == Q2_OK;
	q2_put_number(&b, c->notes.count);
	q2_buf_add(&b, c->notes.at, c->notes.n);
	q2_put_number(&b, END);
	q2_buf_flush(&b);
	q2_put(&c->budget, store, PIECE);
	return whole && !b.failed;
}

enum q2_status q2_keep_look(struct q2_l2_work *w, enum q2_status st, bool last)
{
	struct q2_checker *c = w->c;
	const struct q2_check_keep *keep = c->opts->keep;

	if (keep == NULL || (st != Q2_OK && st != Q2_E_INTERRUPTED) ||
	    !keep->wanted(keep->ctx, last || st != Q2_OK))
		return st;
	keep->end(keep->ctx, !c->notes.lost && write_state(w));
	return st;
}

static enum q2_status take_state(struct q2_l2_work *w, struct q2_source *in)
{
	struct q2_checker *c = w->c;
	enum q2_status st = take_work(in, w);

	if (st == Q2_OK)
		st = take_vectors(in, c);
	if (st == Q2_OK && !in->failed)
		st = q2_refmap_take(&c->map, in, c->img.geom.file_clusters,
				    c->err);
	if (st == Q2_OK && !in->failed)
		take_findings(c, in);
	if (st == Q2_OK && (q2_take_number(in) != END || in->failed))
		st = q2_fail(c->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			     "the state is damaged");
	return st;
}

enum q2_status q2_keep_begin(struct q2_l2_work *w)
{
	struct q2_checker *c = w->c;
	const struct q2_check_keep *keep = c->opts->keep;
	struct q2_source *in;
	enum q2_status st;
	void *block;

	c->notes.noting = keep != NULL;
	if (keep == NULL || keep->read == NULL)
		return Q2_OK;
	st = q2_get(&c->budget, sizeof(*in), &block, c->err);
	if (st != Q2_OK)
		return st;
	in = block;
	in->read = keep->read;
	in->ctx = keep->ctx;
	st = take_state(w, in);
	q2_put(&c->budget, block, sizeof(*in));
	return st;
}

void q2_keep_end(struct q2_checker *c)
{
	q2_put(&c->budget, c->notes.at, c->notes.room);
	c->notes = (struct q2_notes){0};
}

bool q2_check_identity(struct q2_io *io, const struct q2_check_opts *opts,
		       uint64_t *identity)
{
	uint8_t head[Q2_HEADER_READ] = {0};
	const uint64_t form[] = {q2_hash(Q2_VERSION, sizeof(Q2_VERSION)),
				 opts->flags};
	uint64_t hash = q2_hash(form, sizeof(form));

	/* What cannot be read is told by the check. */
	if (q2_pread_zero(io, head, sizeof(head), 0, NULL) == Q2_OK)
		hash = q2_hash_on(hash, head, sizeof(head));
	return q2_io_traces(io, hash, identity);
}
