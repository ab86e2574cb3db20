/*
 * chk_header.c - the header's fields, and the geometry that they leave.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    everything that the header's own fields and the file's length tell.
 * Gathers:  the geometry, and the host ranges of header, L1 and refcount table.
 * Disables: everything, if there is no geometry; single tables otherwise.
 */
#include <string.h>

#include "base/endian.h"
#include "check/checker.h"

/* Which problem each fault is.  All of them tell found and expected as far as
 * the problem declares these fields. */
static const enum q2_problem_id problem_of[Q2_HF_COUNT] = {
	[Q2_HF_VERSION] = Q2_P_HEADER_VERSION,
	[Q2_HF_SHORT] = Q2_P_HEADER_SHORT,
	[Q2_HF_INCOMPAT_UNKNOWN] = Q2_P_INCOMPAT_UNKNOWN,
	[Q2_HF_CLUSTER_BITS] = Q2_P_CLUSTER_BITS,
	[Q2_HF_EXTL2_BITS] = Q2_P_EXTL2_CLUSTER_BITS,
	[Q2_HF_SIZE_TOO_BIG] = Q2_P_SIZE_TOO_BIG,
	[Q2_HF_SIZE_UNALIGNED] = Q2_P_SIZE_UNALIGNED,
	[Q2_HF_L1_TOO_SMALL] = Q2_P_L1_TOO_SMALL,
	[Q2_HF_CRYPT_METHOD] = Q2_P_CRYPT_METHOD,
	[Q2_HF_L1_LIMIT] = Q2_P_L1_SIZE_LIMIT,
	[Q2_HF_L1_UNALIGNED] = Q2_P_L1_OFFSET_UNALIGNED,
	[Q2_HF_L1_ZERO] = Q2_P_L1_OFFSET_ZERO,
	[Q2_HF_L1_OUTSIDE] = Q2_P_L1_OUTSIDE,
	[Q2_HF_REFTABLE_UNALIGNED] = Q2_P_REFTABLE_UNALIGNED,
	[Q2_HF_REFTABLE_MISSING] = Q2_P_REFTABLE_MISSING,
	[Q2_HF_REFTABLE_OUTSIDE] = Q2_P_REFTABLE_OUTSIDE,
	[Q2_HF_REFTABLE_LIMIT] = Q2_P_REFTABLE_LIMIT,
	[Q2_HF_SNAPSHOT_COUNT] = Q2_P_SNAPSHOT_COUNT,
	[Q2_HF_SNAPTABLE_UNALIGNED] = Q2_P_SNAPTABLE_UNALIGNED,
	[Q2_HF_SNAPTABLE_ZERO] = Q2_P_SNAPTABLE_ZERO,
	[Q2_HF_DIRTY] = Q2_P_DIRTY,
	[Q2_HF_CORRUPT] = Q2_P_CORRUPT_BIT,
	[Q2_HF_COMPRESSION_BIT] = Q2_P_COMPRESSION_BIT,
	[Q2_HF_COMPRESSION_TYPE] = Q2_P_COMPRESSION_TYPE,
	[Q2_HF_AUTOCLEAR_UNKNOWN] = Q2_P_AUTOCLEAR_UNKNOWN,
	[Q2_HF_COMPAT_UNKNOWN] = Q2_P_COMPAT_UNKNOWN,
	[Q2_HF_RAW_BIT_NO_DATA_FILE] = Q2_P_RAW_BIT_NO_DATA_FILE,
	[Q2_HF_RAW_BIT_BACKING] = Q2_P_RAW_BIT_BACKING,
	[Q2_HF_REFCOUNT_ORDER] = Q2_P_REFCOUNT_ORDER,
	[Q2_HF_HEADER_LENGTH] = Q2_P_HEADER_LENGTH,
	[Q2_HF_LENGTH_UNALIGNED] = Q2_P_HEADER_LENGTH_UNALIGNED,
	[Q2_HF_PADDING] = Q2_P_HEADER_PADDING,
	[Q2_HF_BACKING_OFFSET] = Q2_P_BACKING_OFFSET,
	[Q2_HF_BACKING_SIZE] = Q2_P_BACKING_SIZE,
	[Q2_HF_BACKING_IN_HEADER] = Q2_P_BACKING_IN_HEADER,
	[Q2_HF_BACKING_EMPTY] = Q2_P_BACKING_EMPTY,
	[Q2_HF_SNAPSHOT_DATA_FILE] = Q2_P_SNAPSHOT_DATA_FILE,
};

/* Some problems name a host range or a byte instead of two values. */
static void shape(const struct q2_header_fault *fault, struct q2_finding *f)
{
	unsigned want = f->problem->fields;

	f->fields = want & (Q2_F_FOUND | Q2_F_EXPECTED);
	f->found = fault->found;
	f->expected = fault->expected;
	if (want & Q2_F_LENGTH) {
		f->fields |= Q2_F_HOST | Q2_F_LENGTH;
		f->fields &= ~(unsigned)(Q2_F_FOUND | Q2_F_EXPECTED);
		f->host = fault->found;
		f->length = fault->expected;
	} else if (want & Q2_F_HOST) {
		f->fields |= Q2_F_HOST;
		f->host = fault->found;
	}
}

/* The name that the image itself gives to the first unknown feature: the
 * feature name table says it for just this case. */
static void name_feature(struct q2_checker *c, struct q2_finding *f)
{
	uint8_t area[4096] = {0};
	size_t n = (size_t)q2_min(sizeof(area), c->img.io->size);
	size_t at = c->header.header_length;
	unsigned bit = (unsigned)__builtin_ctzll(f->found);

	q2_finding_text(f, "", 0);
	if (q2_pread(c->img.io, area, n, 0, NULL) != Q2_OK)
		return;
	while (at <= n && n - at >= 8) {
		uint32_t type = q2_be32(area + at);
		uint32_t len = q2_be32(area + at + 4);

		at += 8;
		if (type == 0 || len > n - at)
			return;
		for (uint32_t i = 0; type == 0x6803f857 && i + 48 <= len;
		     i += 48)
			if (area[at + i] == 0 && area[at + i + 1] == bit) {
				const char *s = (const char *)area + at + i + 2;

				q2_finding_text(f, s, strnlen(s, 46));
				return;
			}
		at += (size_t)((len + UINT64_C(7)) & ~UINT64_C(7));
	}
}

static void judge(struct q2_checker *c)
{
	q2_header_judge(&c->header, c->img.io->size, &c->faults);
	for (size_t i = 0; i < c->faults.n; i++) {
		enum q2_problem_id id = problem_of[c->faults.at[i].id];
		struct q2_finding f = {.problem = q2_problem(id)};

		shape(&c->faults.at[i], &f);
		if (id == Q2_P_HEADER_PADDING) {
			uint8_t byte = 0;

			if (q2_pread(c->img.io, &byte, 1, f.host, NULL) ==
			    Q2_OK)
				f.found = byte;
		}
		if (id == Q2_P_INCOMPAT_UNKNOWN)
			name_feature(c, &f);
		q2_found(c, id, &f);
	}
}

/* A table that starts inside of the file, but ends past it. */
static void judge_ends(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t end = g->file_clusters << g->cluster_bits;
	struct q2_finding f = {.fields = Q2_F_HOST | Q2_F_LENGTH,
			       .host = g->reftable_offset,
			       .length = g->reftable_bytes};

	if (g->reftable_bytes &&
	    !q2_inside(g->reftable_offset, g->reftable_bytes, end))
		q2_found(c, Q2_P_REFTABLE_OUTSIDE, &f);
}

enum q2_status q2_chk_header(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	enum q2_status st;

	judge(c);
	if (!q2_geom_make(&c->header, &c->faults, c->img.io->size,
			  &c->img.geom)) {
		c->result->partial = true;
		return Q2_OK;
	}
	judge_ends(c);
	/* Snapshot tables that cannot be found hide what they refer to. */
	if (g->l1_entries < g->l1_needed ||
	    q2_header_has(&c->faults, Q2_HF_L1_LIMIT) ||
	    q2_header_has(&c->faults, Q2_HF_L1_OUTSIDE) ||
	    g->snapshots != c->header.nb_snapshots)
		c->result->partial = true;
	st = q2_meta_add(c, Q2_K_HEADER, 0,
			 (struct q2_range){0, g->cluster_size});
	if (st == Q2_OK)
		st = q2_meta_add(c, Q2_K_REFTABLE, 0,
				 (struct q2_range){g->reftable_offset,
						   g->reftable_bytes});
	if (st == Q2_OK)
		st = q2_meta_add(c, Q2_K_L1, 0,
				 (struct q2_range){g->l1_offset,
						   UINT64_C(8) *
							   g->l1_entries});
	return st;
}
