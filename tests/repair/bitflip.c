/*
 * bitflip.c - flips each bit of an image's metadata, repairs, and compares what
 * the guest reads.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: bitflip IMAGE [-v] [-k KIND] [-d DIR -e N]
 *        bitflip IMAGE -f DIR -e N
 *        bitflip IMAGE -j RESULT
 *
 * For each flip the plan for everything (-y) is made and carried out in memory.
 * Prints a line "KIND flips same differs loss erased unclean" for each kind of
 * structure: how often each guest disk reads as before the flip, how often not, how
 * many of those the plan admits to, how often a cluster of guest data of the sound
 * image ends with a refcount of 0, and how often the result is not clean.  With -v
 * each flip that is not as before is told.  With -d every Nth repaired image is
 * stored for other programs to judge.  With -f nothing is repaired: every Nth damaged
 * image is stored.  With -j a result of other programs is judged: exit status 1 if
 * guest data of the sound image has a refcount of 0 there, or cannot be found at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "repair/plan.h"
#include "../support/testview.h"

enum kind { HEADER, EXTENSION, L1, L2, BITMAPWORD, REFTABLE, REFBLOCK, SNAPSHOT,
	    SNAPL1, BITMAPS, KINDS };
static const char *const names[KINDS] = {
	"header", "extension", "L1", "L2", "subclusters", "refcount-table",
	"refcount-block", "snapshot-table", "snapshot-L1", "bitmap",
};

struct image {
	uint8_t *bytes;
	size_t size;
	struct view views[VIEWS];
	size_t n_views;
	uint8_t *data; /* one byte a host cluster: guest data lies there */
	uint64_t clusters;
};

struct flips {
	uint32_t *at; /* offsets of bytes */
	uint8_t *kind;
	uint8_t *bits; /* which of the byte's bits */
	size_t n;
};

static struct tally {
	unsigned flips, same, differs, loss, erased, unclean;
} tally[KINDS];

static void add(struct flips *f, enum kind kind, uint64_t off, uint64_t len,
		unsigned bits)
{
	for (uint64_t i = 0; i < len; i++) {
		if (f->n % 4096 == 0) {
			f->at = realloc(f->at, (f->n + 4096) * sizeof(*f->at));
			f->kind = realloc(f->kind, f->n + 4096);
			f->bits = realloc(f->bits, f->n + 4096);
		}
		f->at[f->n] = (uint32_t)(off + i);
		f->bits[f->n] = (uint8_t)bits;
		f->kind[f->n++] = (uint8_t)kind;
	}
}

static void add_words(struct flips *f, enum kind kind, const struct image *m,
		      uint64_t off, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 8)
		if (q2_be64(m->bytes + off + i))
			add(f, kind, off + i, 8, 0xff);
}

/* The bits of the refcounts of clusters in use. */
static void add_refcounts(struct flips *f, const struct q2_checker *c, uint64_t block,
			  uint64_t index)
{
	const struct q2_geom *g = &c->img.geom;

	for (uint64_t i = 0; i < UINT64_C(1) << g->block_bits; i++) {
		uint64_t clu = (index << g->block_bits) + i;
		uint64_t bit = i << g->ref_order;

		if (q2_refmap_get(&c->map, clu).count == 0)
			continue;
		if (g->ref_order >= 3)
			add(f, REFBLOCK, block + bit / 8, (1u << g->ref_order) / 8, 0xff);
		else
			add(f, REFBLOCK, block + bit / 8, 1,
			    ((1u << (1u << g->ref_order)) - 1) << bit % 8);
	}
}

static void collect(struct flips *f, const struct image *m)
{
	static const struct q2_check_opts opts;
	struct q2_check_result res;
	struct q2_io *io;
	struct q2_checker *c;

	if (q2_io_memory(m->bytes, m->size, &io, NULL) != Q2_OK)
		die("no memory");
	if (q2_checker_run(io, &opts, &res, &c, NULL) != Q2_OK)
		die("the check failed");
	if (res.verdict != Q2_CLEAN)
		die("the image is not clean to begin with");
	add(f, HEADER, 0, c->header.raw_length, 0xff);
	{ /* extensions, as far as bytes stand there */
		uint64_t end = c->img.geom.cluster_size;

		while (end > c->header.raw_length && m->bytes[end - 1] == 0)
			end--;
		/* The feature names are texts for people. */
		for (uint64_t i = c->header.raw_length; i < end; i++)
			if (q2_be32(m->bytes + i) == 0x6803f857u && i % 8 == 0) {
				add(f, EXTENSION, i, 8, 0xff);
				i += 8 + q2_be32(m->bytes + i + 4) - 1;
			} else {
				add(f, EXTENSION, i, 1, 0xff);
			}
	}
	for (size_t i = 0; i < c->trees.n; i++)
		add_words(f, c->trees.at[i].id == Q2_TREE_ACTIVE ? L1 : SNAPL1, m,
			  c->trees.at[i].l1_offset, UINT64_C(8) * c->trees.at[i].l1_entries);
	for (size_t i = 0; i < c->refs.tables.n; i++) {
		uint64_t t = c->refs.tables.at[i].clu << c->img.geom.cluster_bits;

		for (uint64_t k = 0; k < c->img.geom.cluster_size; k += 8)
			if (q2_be64(m->bytes + t + k))
				add(f, c->img.geom.ext_l2 && k % 16 ? BITMAPWORD : L2,
				    t + k, 8, 0xff);
	}
	add_words(f, REFTABLE, m, c->img.geom.reftable_offset, c->img.geom.reftable_bytes);
	for (size_t i = 0; i < c->metas.n; i++) {
		const struct q2_meta *x = &c->metas.at[i];
		uint64_t at = x->first << c->img.geom.cluster_bits;
		uint64_t len = x->n << c->img.geom.cluster_bits;

		if (at >= m->size) /* a hole behind the end, as good as zeros */
			continue;
		if (len > m->size - at) /* the last cluster need not be there whole */
			len = m->size - at;
		if (x->kind == Q2_K_REFBLOCK)
			add_refcounts(f, c, at, x->index);
		if (x->kind == Q2_K_BITMAP_TABLE)
			add_words(f, BITMAPS, m, at, len);
		if (x->kind == Q2_K_SNAPTABLE || x->kind == Q2_K_BITMAP_DIR) {
			uint64_t used = len;

			while (used && m->bytes[at + used - 1] == 0)
				used--;
			used = (used + 7) & ~UINT64_C(7);
			add(f, x->kind == Q2_K_SNAPTABLE ? SNAPSHOT : BITMAPS, at,
			    used < len ? used : len, 0xff);
		}
	}
	q2_checker_free(c);
	q2_io_close(io);
}

static bool same_views(const struct view *a, size_t n, const struct view *b, size_t m,
		       char *where, size_t room)
{
	if (m < n) {
		snprintf(where, room, "a disk is missing");
		return false;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < a[i].n; k++)
			if (k >= b[i].n || a[i].at[k] != b[i].at[k]) {
				snprintf(where, room, "disk %zu differs at cluster %zu", i, k);
				return false;
			}
	return true;
}

static const char *first_loss(const struct q2_plan *plan)
{
	for (size_t i = 0; i < plan->actions.n; i++)
		if (plan->actions.at[i].effect == Q2_EFFECT_SUSPECT ||
		    plan->actions.at[i].effect == Q2_EFFECT_LOSS)
			return plan->actions.at[i].text;
	return NULL;
}

static void store(const struct q2_io *over, const char *dir, enum kind kind,
		  uint32_t at, unsigned bit)
{
	char path[512];
	uint8_t *all = malloc((size_t)over->size);
	struct q2_io *io = (struct q2_io *)(uintptr_t)over;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-%u-%u.qcow2", dir, names[kind], at, bit);
	f = fopen(path, "wb");
	if (all == NULL || f == NULL ||
	    q2_pread(io, all, (size_t)over->size, 0, NULL) != Q2_OK ||
	    fwrite(all, 1, (size_t)over->size, f) != over->size || fclose(f))
		die("cannot store an image");
	free(all);
}

struct options {
	bool verbose;
	bool damaged; /* these are stored */
	const char *dir;
	const char *result;
	unsigned every;
	unsigned seen;
};

static void one_flip(const struct image *m, enum kind kind, uint32_t at, unsigned bit,
		     struct options *o)
{
	const struct q2_plan_opts popts = {.flags = Q2_PLAN_ALL};
	struct q2_plan_result plan_res;
	struct q2_check_result res;
	struct q2_budget budget = {0};
	struct q2_io *io, *over;
	struct q2_plan *plan = NULL;
	struct view views[VIEWS] = {0};
	uint8_t *counts = calloc(1, m->clusters + 1);
	char where[80] = "";
	struct q2_err err = {0};
	size_t n = 0;
	bool same = false, erased = false, opens;
	const char *loss;

	if (o->damaged && o->seen++ % o->every)
		goto out;
	m->bytes[at] ^= (uint8_t)(1u << bit);
	if (q2_io_memory(m->bytes, m->size, &io, NULL) != Q2_OK)
		die("no memory");
	if (o->damaged) {
		store(io, o->dir, kind, at, bit);
		q2_io_close(io);
		m->bytes[at] ^= (uint8_t)(1u << bit);
		goto out;
	}
	if (q2_plan_make(io, &popts, &plan, &plan_res, &err) != Q2_OK) {
		fprintf(stderr, "bitflip: %s+%u bit %u: %s\n", names[kind], at, bit, err.text);
		exit(1);
	}
	if (q2_io_overlay(io, &budget, &over, NULL) != Q2_OK)
		die("no memory");
	if (plan->new_size != plan->old_size && q2_resize(over, plan->new_size, NULL) != Q2_OK)
		die("resize");
	for (size_t i = 0; i < plan->edits.n; i++) {
		const struct q2_edit *e = &plan->edits.at[i];

		if (q2_pwrite(over, e->after, e->len, e->offset, NULL) != Q2_OK)
			die("write");
	}
	opens = view_all(over, views, &n, NULL, &res, counts, m->clusters);
	if (opens) {
		same = same_views(m->views, m->n_views, views, n, where, sizeof(where));
		for (uint64_t i = 0; i < m->clusters; i++)
			erased |= m->data[i] && !counts[i];
	}
	loss = first_loss(plan);
	tally[kind].flips++;
	tally[kind].same += same;
	tally[kind].differs += !same;
	tally[kind].loss += !same && loss;
	tally[kind].erased += erased;
	tally[kind].unclean += res.corruptions || res.leaks;
	if (o->verbose && (!same || erased || res.corruptions || res.leaks))
		printf("  %s+%u bit %u: %s%s%s; %llu corruptions, %llu leaks%s%s; %s\n",
		       names[kind], at, bit, !opens ? "does not open" : same ? "same" : where,
		       erased ? ", ERASED" : "", plan_res.not_converged ? ", NOT CONVERGED" : "",
		       (unsigned long long)res.corruptions, (unsigned long long)res.leaks,
		       loss ? "; " : "", loss ? loss : "",
		       plan->edits.n ? "repaired" : "nothing done");
	if (o->dir && plan->edits.n && o->seen++ % o->every == 0 && !res.corruptions)
		store(over, o->dir, kind, at, bit);
	view_free(views, n);
	q2_io_close(over);
	q2_plan_free(plan);
	q2_io_close(io);
	m->bytes[at] ^= (uint8_t)(1u << bit);
out:
	free(counts);
}

/* Whether all clusters of guest data still have a refcount. */
static int judge(const struct image *m, const char *path)
{
	struct view views[VIEWS] = {0};
	uint8_t *counts = calloc(1, m->clusters + 1);
	struct q2_check_result res;
	struct q2_io *io;
	size_t n = 0;
	bool erased;

	if (q2_io_open(path, &io, NULL) != Q2_OK)
		die("cannot open a result");
	erased = !view_all(io, views, &n, NULL, &res, counts, m->clusters);
	for (uint64_t i = 0; i < m->clusters; i++)
		erased |= m->data[i] && !counts[i];
	view_free(views, n);
	free(counts);
	q2_io_close(io);
	return erased;
}

static void load(const char *path, struct image *m)
{
	FILE *f = fopen(path, "rb");
	struct q2_check_result res;
	struct q2_io *io;

	if (f == NULL || fseek(f, 0, SEEK_END))
		die("cannot open the image");
	m->size = (size_t)ftell(f);
	m->bytes = malloc(m->size);
	rewind(f);
	if (m->bytes == NULL || fread(m->bytes, 1, m->size, f) != m->size)
		die("cannot read the image");
	fclose(f);
	m->clusters = m->size / 512 + 1;
	m->data = calloc(1, m->clusters);
	if (q2_io_memory(m->bytes, m->size, &io, NULL) != Q2_OK ||
	    !view_all(io, m->views, &m->n_views, m->data, &res, NULL, 0))
		die("not a QCOW2 image");
	q2_io_close(io);
}

int main(int argc, char *argv[])
{
	struct options o = {.every = 50};
	struct image m = {0};
	struct flips f = {0};
	int only = -1, c;

	while ((c = getopt(argc, argv, "vk:d:e:f:j:")) != -1)
		switch (c) {
		case 'v':
			o.verbose = true;
			break;
		case 'k':
			for (only = 0; only < KINDS && strcmp(names[only], optarg); only++)
				;
			break;
		case 'f':
			o.damaged = true;
			o.dir = optarg;
			break;
		case 'd':
			o.dir = optarg;
			break;
		case 'j':
			o.result = optarg;
			break;
		case 'e':
			o.every = (unsigned)atoi(optarg);
			break;
		default:
			return 2;
		}
	if (optind + 1 != argc || o.every == 0)
		die("usage: bitflip IMAGE [-v] [-k KIND] [-d DIR -e N] [-f DIR] [-j RESULT]");
	setvbuf(stdout, NULL, _IOLBF, 0);
	load(argv[optind], &m);
	if (o.result)
		return judge(&m, o.result);
	collect(&f, &m);
	for (size_t i = 0; i < f.n; i++)
		for (unsigned bit = 0; bit < 8; bit++)
			if ((f.bits[i] >> bit & 1) && (only < 0 || only == f.kind[i]))
				one_flip(&m, (enum kind)f.kind[i], f.at[i], bit, &o);
	for (int k = 0; k < KINDS; k++)
		if (tally[k].flips)
			printf("%s %u %u %u %u %u %u\n", names[k], tally[k].flips,
			       tally[k].same, tally[k].differs, tally[k].loss,
			       tally[k].erased, tally[k].unclean);
	return 0;
}
