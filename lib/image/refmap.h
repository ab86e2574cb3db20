/*
 * refmap.h - how many references each host cluster has: about a byte each.
 *
 * SPDX-License-Identifier: MIT
 *
 * A page covers 4096 clusters and exists only where something was counted.  It
 * starts as a list, so that references scattered over a huge sparse file cost tens
 * of bytes each; where there are many it gets a byte a cluster, (count << 2 | mark).
 * Counts of 63 and more saturate into the page's list again; if that grows long,
 * the page gets eight bytes a cluster.
 */
#ifndef Q2_IMAGE_REFMAP_H
#define Q2_IMAGE_REFMAP_H

#include "base/budget.h"
#include "base/serial.h"

#define Q2_PAGE_BITS 12
#define Q2_PAGE_CELLS (1u << Q2_PAGE_BITS)
#define Q2_PAGE_CACHE 4096u /* entries at the most */

/* What is known of a cluster's references besides their number. */
enum q2_mark {
	Q2_MARK_NONE = 0,	/* whole clusters, COPIED does not matter */
	Q2_MARK_COPIED = 1,	/* one from the active tree has COPIED set */
	Q2_MARK_CLEAR = 2,	/* one from the active tree has it clear */
	Q2_MARK_COMPRESSED = 3 /* compressed data */
};

struct q2_page;

struct q2_cached_page {
	uint64_t number;
	uint8_t *cells; /* one byte each; NULL: slot unused */
};

struct q2_refmap {
	struct q2_budget *budget;
	struct q2_page **slots; /* open addressing by page number */
	size_t n_slots;		/* a power of two */
	size_t n_pages;
	uint64_t byte_pages; /* that have byte cells */
	uint64_t added;	     /* calls of q2_refmap_add() */
	struct q2_cached_page *cache; /* as many entries as there are slots */
	uint64_t cache_mask;
};

void q2_refmap_init(struct q2_refmap *m, struct q2_budget *budget);
void q2_refmap_free(struct q2_refmap *m);

/* The cells of the page of `clu` if it is cached, has byte cells and may be
 * written directly; NULL otherwise. */
static inline uint8_t *q2_refmap_cells(const struct q2_refmap *m, uint64_t clu)
{
	uint64_t number = clu >> Q2_PAGE_BITS;
	const struct q2_cached_page *c;

	if (m->cache == NULL)
		return NULL;
	c = &m->cache[number & m->cache_mask];
	return c->cells && c->number == number ? c->cells : NULL;
}

/* Byte cells of this value and above are not to be written directly. */
#define Q2_CELL_MAX 0xfbu

/* What was there before a reference was added. */
struct q2_ref {
	uint64_t count;
	enum q2_mark mark;
};

/* Adds `weight` references with `mark` to the cluster; *before is what it had.
 * Marks combine: COMPRESSED stays; of several others COPIED wins. */
enum q2_status q2_refmap_add(struct q2_refmap *m, uint64_t clu,
			     uint64_t weight, enum q2_mark mark,
			     struct q2_ref *before,
			     struct q2_err *err) Q2_MUST_CHECK;

struct q2_ref q2_refmap_get(const struct q2_refmap *m, uint64_t clu);

/* A page for reading in order.  Byte cells above Q2_CELL_MAX: use
 * q2_refmap_get(). */
struct q2_page_view {
	uint64_t number;      /* covers clusters from number << Q2_PAGE_BITS on */
	const uint8_t *bytes; /* byte cells; NULL: use q2_refmap_get() */
};

/* The page with this number; bytes is NULL too if there is none, then *absent. */
struct q2_page_view q2_refmap_view(const struct q2_refmap *m, uint64_t number,
				   bool *absent);

/* The cells of the page with this number that have references, rising, in *cells;
 * returns how many. */
unsigned q2_refmap_used(const struct q2_refmap *m, uint64_t number,
			uint16_t cells[Q2_PAGE_CELLS]);

/* At least as many as the clusters from `clu` on, n of them, n > 0, that are referenced;
 * told without a look at each. */
uint64_t q2_refmap_most(const struct q2_refmap *m, uint64_t clu, uint64_t n);

/* The first cluster from `clu` on, and before `end`, of which something was counted, or
 * `end`. */
uint64_t q2_refmap_next(const struct q2_refmap *m, uint64_t clu, uint64_t end);

/* The numbers of all pages in rising order, in *numbers (n of them), to be freed
 * with q2_put(budget, numbers, n * sizeof(uint64_t)). */
enum q2_status q2_refmap_pages(struct q2_refmap *m, uint64_t **numbers,
			       size_t *n, struct q2_err *err) Q2_MUST_CHECK;

/* Writes the map down: a few bytes for each run of clusters that are alike. */
enum q2_status q2_refmap_put(struct q2_refmap *m, struct q2_buf *out,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Makes the map anew of what was written, of a file with that many clusters.
 * Nonsense is told by in->failed. */
enum q2_status q2_refmap_take(struct q2_refmap *m, struct q2_source *in,
			      uint64_t clusters,
			      struct q2_err *err) Q2_MUST_CHECK;

#endif
