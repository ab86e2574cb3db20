/*
 * compare.c - digests of a disk, and the differences of two.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "dump/pass.h"

#define SECTOR 512u

struct differ {
	bool (*tell)(void *ctx, uint64_t guest, uint64_t length);
	void *ctx;
	bool same;
	bool enough;
	struct q2_range held; /* a difference that may go on */
};

static const struct q2_sink_ops digest_ops = {.transient = true};

/* What an earlier run has found out. */
struct earlier {
	const struct q2_digest_known *known;
	uint64_t next;  /* the lowest number that the next chunk may have */
	bool wrong;
};

static uint64_t skip_known(void *ctx, uint64_t at)
{
	const struct earlier *e = ctx;

	return e->known->bytes > at ? e->known->bytes - at : 0;
}

static bool recall(void *ctx, uint64_t *number, struct q2_digest *digest)
{
	struct earlier *e = ctx;
	uint64_t guest;

	if (!e->known->recall(e->known->ctx, &guest, digest))
		return false;
	*number = guest >> Q2_CHUNK_BITS;
	e->wrong = guest % Q2_CHUNK_SIZE != 0 || *number < e->next ||
		   guest >= e->known->bytes;
	e->next = *number + 1;
	return !e->wrong;
}

enum q2_status q2_guest_digest_on(struct q2_guest *guest,
				  const struct q2_read_opts *scan,
				  const struct q2_digest_known *known,
				  struct q2_digest *digest, struct q2_err *err)
{
	struct earlier e = {.known = known};
	struct q2_pass s = {.opts = scan,
			    .guest = {guest},
			    .length = guest->size,
			    .phase = "digest",
			    .digest = true,
			    .sink = &digest_ops,
			    .ctx = &e};
	enum q2_status st;

	*digest = (struct q2_digest){{0}};
	if (known) {
		if (known->bytes > guest->size ||
		    (known->bytes % Q2_DIGEST_GRAIN != 0 &&
		     known->bytes != guest->size))
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "nothing can be known of such a part "
				       "of the disk");
		s.skip = skip_known;
		s.recall = recall;
	}
	st = q2_pass_run(&s, err);
	if (st == Q2_OK && e.wrong)
		st = q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			     "the digests of an earlier run make no sense");
	if (st == Q2_OK)
		*digest = s.result;
	return st;
}

enum q2_status q2_guest_digest(struct q2_guest *guest,
			       const struct q2_read_opts *scan,
			       struct q2_digest *digest, struct q2_err *err)
{
	return q2_guest_digest_on(guest, scan, NULL, digest, err);
}

static void hand_on(struct differ *d)
{
	if (d->held.len && d->tell && !d->enough)
		d->enough = d->tell(d->ctx, d->held.start, d->held.len);
	d->held.len = 0;
}

static void add(struct differ *d, uint64_t at, uint64_t len)
{
	d->same = false;
	if (d->held.len && q2_end(d->held) == at) {
		d->held.len += len;
		return;
	}
	hand_on(d);
	d->held = (struct q2_range){at, len};
}

static const uint8_t *block_of(const struct q2_part *part, size_t block,
			       const uint8_t *zeros)
{
	const struct q2_blocks *b = &part->blocks[block / Q2_CHUNK_BLOCKS];

	return q2_blocks_has(b, block % Q2_CHUNK_BLOCKS) ?
		       part->bytes + block * Q2_BLOCK_SIZE : zeros;
}

static enum q2_status compare_retire(void *ctx, struct q2_job *job,
				     struct q2_err *err)
{
	static const uint8_t zeros[Q2_BLOCK_SIZE];
	struct differ *d = ctx;

	(void)err;
	if (job->kind != Q2_JOB_DATA)
		return Q2_OK;
	for (size_t at = 0; at < job->len && !d->enough; at += Q2_BLOCK_SIZE) {
		size_t len = (size_t)q2_min(Q2_BLOCK_SIZE, job->len - at);
		const uint8_t *a = block_of(&job->part[0], at / Q2_BLOCK_SIZE,
					    zeros);
		const uint8_t *b = block_of(&job->part[1], at / Q2_BLOCK_SIZE,
					    zeros);

		if (a == b || memcmp(a, b, len) == 0)
			continue;
		for (size_t i = 0; i < len; i += SECTOR) {
			size_t n = (size_t)q2_min(SECTOR, len - i);

			if (memcmp(a + i, b + i, n) != 0)
				add(d, job->at + at + i, n);
		}
	}
	/* Nobody wants to know more. */
	return d->enough || (!d->same && d->tell == NULL) ?
		       Q2_E_INTERRUPTED : Q2_OK;
}

static const struct q2_sink_ops compare_ops = {
	.retire = compare_retire,
};

enum q2_status
q2_guest_compare(struct q2_guest *a, struct q2_guest *b,
		 const struct q2_read_opts *scan,
		 bool (*differ)(void *ctx, uint64_t guest, uint64_t length),
		 bool *same, struct q2_err *err)
{
	struct differ d = {.tell = differ, .ctx = scan->ctx, .same = true};
	struct q2_pass s = {.opts = scan,
			    .guest = {a, b},
			    .length = q2_max(a->size, b->size),
			    .phase = "compare",
			    .sink = &compare_ops,
			    .ctx = &d};
	enum q2_status st = q2_pass_run(&s, err);

	hand_on(&d);
	*same = d.same;
	return st == Q2_E_INTERRUPTED && (d.enough || (!d.same && !differ)) ?
		       Q2_OK : st;
}
