/*
 * mut_own.h - what the mutator's own files share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MUT_OWN_H
#define MUT_OWN_H

#include <stdbool.h>
#include <string.h>

#include "q2mut.h"

#define MUT_OFFSET UINT64_C(0x00fffffffffffe00)
#define MUT_COPIED UINT64_C(0x8000000000000000)
#define MUT_PACKED UINT64_C(0x4000000000000000)

/* Where fields of the header lie. */
enum {
	H_VERSION = 4,
	H_BACKING = 8,
	H_BACKING_SIZE = 16,
	H_BITS = 20,
	H_SIZE = 24,
	H_CRYPT = 32,
	H_L1_SIZE = 36,
	H_L1 = 40,
	H_RT = 48,
	H_RT_CLUSTERS = 56,
	H_SNAPS = 60,
	H_SNAPTAB = 64,
	H_INCOMPAT = 72,
	H_COMPAT = 80,
	H_AUTOCLEAR = 88,
	H_ORDER = 96,
	H_LENGTH = 100,
	H_TYPE = 104
};

/* An image under change.  What its header says is read again by mut_look(); a
 * field that makes no sense is taken for a usual value, so that all parts can be
 * reached in every image. */
struct mut {
	uint8_t *b;
	size_t n, cap;
	uint64_t rng;
	uint32_t profile;
	unsigned version, bits, order;
	bool ext_l2, data_file;
	size_t cs;
	size_t l1, l1_n; /* in the file */
	size_t rt, rt_n;
	size_t snaptab;
	unsigned snaps;
	size_t exts; /* where extensions start */
	const uint8_t *other; /* a second image; may be NULL */
	size_t n_other;
};

void mut_look(struct mut *m);

static inline uint64_t mut_random(struct mut *m)
{
	uint64_t z = m->rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 <= result < n; n > 0. */
static inline size_t mut_below(struct mut *m, size_t n)
{
	return (size_t)(mut_random(m) % n);
}

static inline bool mut_one_in(struct mut *m, unsigned n)
{
	return mut_random(m) % n == 0;
}

static inline uint64_t mut_load(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static inline void mut_store(uint8_t *p, unsigned bytes, uint64_t v)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

/* Reading past the end gives 0; writing there does nothing. */
static inline uint64_t mut_get(const struct mut *m, size_t at, unsigned bytes)
{
	return at < m->n && m->n - at >= bytes ? mut_load(m->b + at, bytes) : 0;
}

static inline void mut_set(struct mut *m, size_t at, unsigned bytes,
			   uint64_t v)
{
	if (at < m->n && m->n - at >= bytes)
		mut_store(m->b + at, bytes, v);
}

/* Appends a cluster, filled from `from` (NULL: zeros); its offset, or 0 if there
 * is no room.  The image is padded to whole clusters first. */
size_t mut_append(struct mut *m, const uint8_t *from);

/* The offset of record i of the snapshot table; 0 if it is not there. */
size_t mut_snapshot(const struct mut *m, unsigned i);

/* The first extension of this type; 0 if there is none. */
size_t mut_extension(const struct mut *m, uint32_t type);

/* A used entry of this table if a few tries find one, else any. */
size_t mut_used_entry(struct mut *m, size_t table, size_t n, size_t width);

/* The L2 table of some L1 entry of a random tree; 0 if there is none. */
size_t mut_some_l2(struct mut *m);

/* Notes for q2mut_last(). */
void mut_say(const char *what, size_t at, const char *how);

/* One field, one structure, the refcounts. */
void mut_field(struct mut *m);
void mut_structure(struct mut *m);
void mut_fix(struct mut *m);

/* Builds a sound image; m->b is empty. */
void mut_base(struct mut *m);

#endif
