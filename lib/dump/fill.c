/*
 * fill.c - from the maps to jobs, from jobs to bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define SALVAGE_STEP 4096u /* bytes that are given up together */
#define SHARE_MIN (UINT64_C(64) << 10) /* less is not worth a call */

bool q2_piece_to_read(const struct q2_guest *g, const struct q2_piece *p)
{
	switch (p->e.kind) {
	case Q2_MAP_DATA:
		/* A hole is no zeros once it is decrypted, nor if it is only
		 * that the data file was cut off. */
		return !p->e.hole || q2_layer_encrypted(g, p->depth) ||
		       q2_guest_cut(g, p);
	case Q2_MAP_COMPRESSED:
	case Q2_MAP_UNREADABLE:
		return true;
	default:
		return false;
	}
}

/* What a piece is to the scan. */
static enum q2_job_kind kind_of(const struct q2_pass *s, unsigned side,
				const struct q2_piece *p)
{
	if (s->below && p->depth >= s->below)
		return Q2_JOB_GAP;
	if (q2_piece_to_read(s->guest[side], p))
		return Q2_JOB_DATA;
	return s->below ? Q2_JOB_ZERO : Q2_JOB_GAP;
}

/* What lies at `at`, no longer than to `end`, both counted from the scan's
 * start; past a guest's end there are zeros. */
static enum q2_job_kind look(struct q2_pass *s, unsigned side, uint64_t at,
			     uint64_t end, struct q2_piece *p)
{
	struct q2_guest *g = s->guest[side];
	uint64_t guest = s->start + at;

	if (guest >= g->size) {
		*p = (struct q2_piece){.e = {.guest = guest,
					     .length = end - at}};
		return Q2_JOB_GAP;
	}
	q2_guest_at(g, guest, q2_min(end - at, g->size - guest), p);
	return kind_of(s, side, p);
}

/* The kind of all sides together: *len bytes from `at` on. */
static enum q2_job_kind look_all(struct q2_pass *s, uint64_t at, uint64_t end,
				 uint64_t *len)
{
	enum q2_job_kind kind = Q2_JOB_GAP;

	for (unsigned side = 0; side < 2 && s->guest[side]; side++) {
		struct q2_piece p;
		enum q2_job_kind k = look(s, side, at, end, &p);

		if (side == 0 || k == Q2_JOB_DATA)
			kind = k;
		end = at + p.e.length;
		if (k == Q2_JOB_DATA)
			break;
	}
	*len = end - at;
	return kind;
}

static enum q2_status push(struct q2_part *part, const struct q2_piece *p,
			   struct q2_err *err)
{
	if (part->n == part->room) {
		size_t room = part->room + part->room / 2 + 64;
		struct q2_piece *more = realloc(part->pieces,
						room * sizeof(*more));

		if (more == NULL)
			return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
				       "no memory");
		part->pieces = more;
		part->room = room;
	}
	part->pieces[part->n++] = *p;
	return Q2_OK;
}

static void set_blocks(struct q2_part *part, uint64_t at, uint64_t len)
{
	for (uint64_t b = at >> Q2_BLOCK_BITS;
	     b <= (at + len - 1) >> Q2_BLOCK_BITS; b++)
		q2_blocks_set(&part->blocks[b / Q2_CHUNK_BLOCKS],
			      b % Q2_CHUNK_BLOCKS);
}

static void keep(const struct q2_pass *s, struct q2_job *job, uint64_t at,
		 uint64_t len)
{
	for (uint64_t c = at / s->cluster; c <= (at + len - 1) / s->cluster;
	     c++)
		job->kept[c / 64] |= UINT64_C(1) << (c % 64);
}

/* Whether any cluster of this part of the job is to be written. */
static bool touches_kept(const struct q2_pass *s, const struct q2_job *job,
			 uint64_t at, uint64_t len)
{
	for (uint64_t c = at / s->cluster; c <= (at + len - 1) / s->cluster;
	     c++)
		if (q2_job_kept(job, (size_t)c))
			return true;
	return false;
}

/* Below the kept clusters lies what fills them up. */
static enum q2_status fill_up(struct q2_pass *s, struct q2_job *job,
			      struct q2_err *err)
{
	struct q2_part *part = &job->part[0];
	enum q2_status st = Q2_OK;
	size_t n = 0;

	/* All pieces were taken; those that are not needed go again. */
	for (size_t i = 0; i < part->n && st == Q2_OK; i++) {
		const struct q2_piece *p = &part->pieces[i];
		uint64_t at = p->e.guest - s->start - job->at;

		if (p->depth >= s->below &&
		    !touches_kept(s, job, at, p->e.length))
			continue;
		if (p->e.kind != Q2_MAP_DATA && p->e.kind !=
		    Q2_MAP_COMPRESSED && p->e.kind != Q2_MAP_UNREADABLE)
			continue;
		set_blocks(part, at, p->e.length);
		part->pieces[n++] = *p;
	}
	part->n = n;
	(void)err;
	return st;
}

static enum q2_status fill_side(struct q2_pass *s, unsigned side,
				struct q2_job *job, struct q2_err *err)
{
	struct q2_part *part = &job->part[side];
	uint64_t at = 0;
	enum q2_status st = Q2_OK;

	part->n = 0;
	memset(part->blocks, 0, sizeof(part->blocks));
	while (at < job->len && st == Q2_OK) {
		struct q2_piece p;
		enum q2_job_kind kind = look(s, side, job->at + at,
					     job->at + job->len, &p);

		if (s->below && kind != Q2_JOB_GAP)
			keep(s, job, at, p.e.length);
		if (s->below || kind == Q2_JOB_DATA)
			st = push(part, &p, err);
		if (!s->below && kind == Q2_JOB_DATA)
			set_blocks(part, at, p.e.length);
		at += p.e.length;
	}
	return st == Q2_OK && s->below ? fill_up(s, job, err) : st;
}

/* Grows a job without data as far as there are none, in whole jobs. */
static bool fill_gap(struct q2_pass *s, struct q2_job *job)
{
	uint64_t end = s->gap_max && s->gap_max < s->length - s->next ?
			       s->next + s->gap_max : s->length;
	uint64_t len, at = s->next;

	job->kind = look_all(s, at, end, &len);
	if (job->kind == Q2_JOB_DATA)
		return false;
	for (at += len; at < end; at += len)
		if (look_all(s, at, end, &len) != job->kind)
			break;
	if (at < s->length)
		at -= at % s->job_size;
	if (at <= s->next)
		return false;
	job->len = at - s->next;
	return true;
}

enum q2_status q2_job_fill(struct q2_pass *s, struct q2_job *job,
			   struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	job->at = s->next;
	job->status = Q2_OK;
	job->err = (struct q2_err){0};
	job->n_losses = 0;
	memset(job->has_digest, 0, sizeof(job->has_digest));
	memset(job->kept, 0, sizeof(job->kept));
	if (!fill_gap(s, job)) {
		job->kind = Q2_JOB_DATA;
		job->len = q2_min(s->job_size, s->length - s->next);
		for (unsigned side = 0; side < 2 && s->guest[side] &&
		     st == Q2_OK; side++)
			st = fill_side(s, side, job, err);
	}
	s->next += job->len;
	return st;
}

/* ---------------------------------------------------------------- reading */

/* Zeros between two pieces, but only in blocks that a piece touches. */
static void pad(uint8_t *bytes, size_t from, size_t to)
{
	size_t up = (from + Q2_BLOCK_SIZE - 1) & ~(Q2_BLOCK_SIZE - 1);
	size_t down = to & ~(Q2_BLOCK_SIZE - 1);

	if (up >= to) {
		memset(bytes + from, 0, to - from);
		return;
	}
	memset(bytes + from, 0, up - from);
	memset(bytes + down, 0, to - down);
}

static bool add_loss(struct q2_job *job, uint64_t guest, uint64_t length,
		     const char *why)
{
	struct q2_loss *more;

	if (job->n_losses) {
		struct q2_loss *last = &job->losses[job->n_losses - 1];

		if (last->guest + last->length == guest &&
		    strncmp(last->why, why, sizeof(last->why) - 1) == 0) {
			last->length += length;
			return true;
		}
	}
	more = realloc(job->losses, (job->n_losses + 1) * sizeof(*more));
	if (more == NULL)
		return false;
	job->losses = more;
	more[job->n_losses] = (struct q2_loss){.guest = guest,
					       .length = length};
	snprintf(more[job->n_losses++].why, sizeof(more->why), "%.*s",
		 (int)sizeof(more->why) - 1, why);
	return true;
}

/* The image's fault, not a lack of memory, and not of one place only if the whole
 * disk or its server has gone. */
static bool salvageable(enum q2_status st, const struct q2_err *why)
{
	if (why->sys_errno == ENOTCONN || why->sys_errno == ENODEV ||
	    why->sys_errno == ENXIO)
		return false;
	return st == Q2_E_FORMAT || st == Q2_E_IO || st == Q2_E_RANGE;
}

static enum q2_status read_step(struct q2_reader *r, struct q2_job *job,
				const struct q2_piece *p, uint8_t *out,
				struct q2_err *err)
{
	struct q2_err why = {0};
	enum q2_status st = q2_reader_piece(r, p, out, NULL, &why);

	if (st == Q2_OK || !salvageable(st, &why)) {
		if (err)
			*err = why;
		return st;
	}
	memset(out, 0, (size_t)p->e.length);
	if (!add_loss(job, p->e.guest, p->e.length, why.text))
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	return Q2_OK;
}

/* Of plain data, what can be read is taken in small steps. */
static enum q2_status salvage(struct q2_reader *r, struct q2_job *job,
			      const struct q2_piece *p, uint8_t *out,
			      struct q2_err *err)
{
	struct q2_piece step = *p;
	uint64_t left = p->e.length;
	enum q2_status st = Q2_OK;

	if (p->e.kind != Q2_MAP_DATA)
		return read_step(r, job, p, out, err);
	while (left && st == Q2_OK) {
		step.e.length = q2_min(left, SALVAGE_STEP);
		st = read_step(r, job, &step, out, err);
		out += step.e.length;
		step.e.guest += step.e.length;
		step.e.host += step.e.length;
		left -= step.e.length;
	}
	return st;
}

static enum q2_status read_piece(struct q2_pass *s, unsigned thread,
				 unsigned side, struct q2_job *job,
				 const struct q2_piece *p)
{
	struct q2_reader *r = s->team.readers[thread][side];
	struct q2_packed packed = {0};
	size_t at = (size_t)(p->e.guest - s->start - job->at);
	uint8_t *out = job->part[side].bytes + at;
	struct q2_err why = {0};
	enum q2_status st = q2_reader_piece(r, p, out, &packed, &why);

	if (st == Q2_OK) {
		if (packed.len && s->sink->packed)
			s->sink->packed(s->ctx, job, at, p, &packed);
		return st;
	}
	if (salvageable(st, &why) && s->opts->salvage) {
		why = (struct q2_err){0};
		st = salvage(r, job, p, out, &why);
	}
	if (st == Q2_OK)
		return st;
	return q2_fail(&job->err, st, why.sys_errno, why.offset,
		       "guest range %llu to %llu of '%.60s': %s",
		       (unsigned long long)p->e.guest,
		       (unsigned long long)(p->e.guest + p->e.length - 1),
		       s->guest[side]->view.layers[p->depth]->path, why.text);
}

/* Plain data may not have to pass through memory. */
static bool share(struct q2_pass *s, unsigned side, struct q2_job *job,
		  const struct q2_piece *p, uint64_t at)
{
	const struct q2_layer *l = s->guest[side]->view.layers[p->depth];
	struct q2_range host = {p->e.host, p->e.length};
	struct q2_part *part = &job->part[side];

	if (!q2_job_may_share(s) || p->e.kind != Q2_MAP_DATA ||
	    q2_layer_encrypted(s->guest[side], p->depth) ||
	    l->map.host_io == NULL || at % Q2_BLOCK_SIZE ||
	    host.start % Q2_BLOCK_SIZE || host.len % Q2_BLOCK_SIZE ||
	    host.len < SHARE_MIN ||
	    !q2_inside(host.start, host.len, l->map.host_io->size))
		return false;
	/* The first failure says that this file system, or these two files,
	 * cannot. */
	if (!s->sink->share(s->ctx, job->at + at, l->map.host_io, host)) {
		atomic_store(&s->cannot_share, true);
		return false;
	}
	for (uint64_t b = at / Q2_BLOCK_SIZE;
	     b < (at + host.len) / Q2_BLOCK_SIZE; b++)
		q2_blocks_clear(&part->blocks[b / Q2_CHUNK_BLOCKS],
				b % Q2_CHUNK_BLOCKS);
	return true;
}

static enum q2_status read_side(struct q2_pass *s, unsigned thread,
				unsigned side, struct q2_job *job)
{
	struct q2_part *part = &job->part[side];
	enum q2_status st = Q2_OK;
	size_t end = 0;

	for (size_t i = 0; i < part->n && st == Q2_OK; i++) {
		const struct q2_piece *p = &part->pieces[i];
		size_t at = (size_t)(p->e.guest - s->start - job->at);

		if (share(s, side, job, p, at))
			continue;
		pad(part->bytes, end, at);
		st = read_piece(s, thread, side, job, p);
		end = at + (size_t)p->e.length;
	}
	if (end < s->job_size)
		pad(part->bytes, end, s->job_size);
	return st;
}

static void digest(struct q2_job *job)
{
	for (size_t i = 0; i * Q2_CHUNK_SIZE < job->len; i++) {
		struct q2_blocks *b = &job->part[0].blocks[i];
		size_t at = i * Q2_CHUNK_SIZE;

		job->has_digest[i] = !q2_blocks_none(b);
		if (job->has_digest[i])
			job->digest[i] = q2_digest_chunk(
				b, job->part[0].bytes + at,
				(size_t)q2_min(Q2_CHUNK_SIZE, job->len - at));
	}
}

void q2_job_read(struct q2_pass *s, unsigned thread, struct q2_job *job)
{
	for (unsigned side = 0; side < 2 && s->guest[side]; side++) {
		struct q2_part *part = &job->part[side];

		job->status = read_side(s, thread, side, job);
		if (job->status != Q2_OK)
			return;
		for (size_t i = 0; i * Q2_CHUNK_SIZE < job->len; i++)
			q2_blocks_sift(&part->blocks[i],
				       part->bytes + i * Q2_CHUNK_SIZE,
				       (size_t)q2_min(Q2_CHUNK_SIZE, job->len -
						      i * Q2_CHUNK_SIZE));
	}
	if (s->digest)
		digest(job);
}
