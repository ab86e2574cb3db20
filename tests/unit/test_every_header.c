/*
 * test_every_header.c - every class of values of every header field, alone and
 * with every class of every other field, beside an oracle.
 *
 * SPDX-License-Identifier: MIT
 *
 * See header_oracle.h.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/geom.h"
#include "header_oracle.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

/* --------------------------------------------------------------- the comparison */

static const struct q2_header_fault *find(const struct q2_header_faults *f,
					  enum q2_header_fault_id id)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->at[i].id == id)
			return &f->at[i];
	return NULL;
}

static void say_no(const struct image *im, const char *what, unsigned long long n)
{
	char text[FIELDS * 20] = "";
	size_t end = 0;

	for (int f = 0; f < FIELDS; f++)
		end += (size_t)snprintf(text + end, sizeof(text) - end, " %llx",
					(unsigned long long)im->v[f]);
	ck_abort_msg("%s %llu; file of %llu bytes, fields%s", what, n,
		     (unsigned long long)im->file_size, text);
}

static void compare_geometry(const struct image *im, const struct q2_geom *g)
{
	const uint64_t *v = im->v;
	uint64_t entry = has_bit(v[INCOMPATIBLE], 4) ? 16 : 8;
	uint64_t width = 1, l1 = 0, reftable = 0;
	uint64_t limit = 32 * 1048576 / 8;

	for (uint64_t i = 0; i < (v[ORDER] > 6 ? 4 : v[ORDER]); i++)
		width *= 2;
	if (!l1_unaligned(im, v) && !l1_zero(im, v) &&
	    v[L1_OFFSET] < im->file_end) {
		/* Of a length that cannot be, only what the disk needs. */
		l1 = v[L1_SIZE] > limit ? im->needed : v[L1_SIZE];
		if (l1 > (im->file_end - v[L1_OFFSET]) / 8)
			l1 = (im->file_end - v[L1_OFFSET]) / 8;
	}
	if (!reftable_unaligned(im, v) && !reftable_missing(im, v) &&
	    !reftable_outside(im, v) && !order(im, v)) {
		reftable = v[REFTABLE_CLUSTERS] * im->cluster;
		if (reftable_limit(im, v))
			reftable = 8 * up(im->file_end / im->cluster,
					  im->cluster * 8 / width);
		if (reftable > 8 * 1048576)
			reftable = 8 * 1048576;
	}
	if (g->cluster_size != im->cluster ||
	    g->file_clusters != im->file_end / im->cluster ||
	    g->disk_clusters != up(v[SIZE], im->cluster) ||
	    UINT64_C(1) << g->entry_bits != entry ||
	    entry << g->l2_bits != im->cluster ||
	    width << g->block_bits != im->cluster * 8 ||
	    g->offset_bits != 70 - v[CLUSTER_BITS] ||
	    g->l1_needed != im->needed)
		say_no(im, "another geometry", 0);
	if (g->l1_entries != l1)
		say_no(im, "usable L1 entries, not", l1);
	if (g->reftable_bytes != reftable)
		say_no(im, "usable bytes of the refcount table, not", reftable);
	if (snaptable_unaligned(im, v) || snaptable_zero(im, v) ?
		    g->snapshots != 0 :
		    g->snapshots != (v[SNAPSHOTS] > 65536 ? 65536 : v[SNAPSHOTS]))
		say_no(im, "snapshots", g->snapshots);
}

static unsigned long compared;

static void compare(struct image im)
{
	uint8_t b[Q2_HEADER_READ];
	struct q2_header_faults f;
	struct q2_header h;
	struct q2_geom g;
	bool made, roots = true;
	size_t n = 0;

	write_bytes(&im, b);
	q2_header_parse(b, im.file_size < sizeof(b) ? (size_t)im.file_size :
						       sizeof(b), &h);
	q2_header_judge(&h, im.file_size, &f);
	made = q2_geom_make(&h, &f, im.file_size, &g);
	compared++;
	read_bytes(&im, b);
	read_as(&im);
	for (size_t i = 0; i < N(rules); i++) {
		const struct q2_header_fault *got = find(&f, rules[i].id);
		bool broken = rules[i].broken(&im, im.v);

		if (i == ROOTS && n > 0)
			roots = false;
		if (!roots || (im.file_size < 72 &&
			       rules[i].id != Q2_HF_SHORT))
			broken = false;
		n += broken;
		if (broken != (got != NULL))
			say_no(&im, broken ? "not found: fault" : "found: fault",
			       rules[i].id);
		if (broken && rules[i].field != NO_FIELD &&
		    got->found != im.v[rules[i].field])
			say_no(&im, "fault tells another value:", rules[i].id);
	}
	if (n != f.n)
		say_no(&im, "faults that no rule is for:", f.n);
	if (made != (roots && !size_too_big(&im, im.v)))
		say_no(&im, made ? "a geometry" : "no geometry", 0);
	if (made)
		compare_geometry(&im, &g);
}

/* ------------------------------------------------------------------ the classes */

struct class {
	enum field field;
	bool alone; /* too many of a kind to go with all others */
	uint64_t value;
};

#define CLASSES 512

struct classes {
	size_t n;
	struct class at[CLASSES];
};

static void add(struct classes *c, enum field field, bool alone, uint64_t value)
{
	ck_assert_uint_lt(c->n, CLASSES);
	c->at[c->n++] = (struct class){field, alone, value};
}

static void add_list(struct classes *c, enum field field, size_t n,
		     const uint64_t *values)
{
	for (size_t i = 0; i < n; i++)
		add(c, field, false, values[i]);
}

#define ADD(c, field, ...) do { \
	const uint64_t values_[] = {__VA_ARGS__}; \
	add_list(c, field, N(values_), values_); \
} while (0)

/* Offsets of a table. */
static void add_offsets(struct classes *c, enum field field, uint64_t cs,
			uint64_t file_size)
{
	uint64_t end = up(file_size, cs) * cs;

	ADD(c, field, 0, 1, 8, 256, cs / 2, cs - 1, cs, cs + 512, 3 * cs,
	    end - cs, end, end + cs, UINT64_MAX / 2 + 1 - cs, UINT64_MAX / 2 + 1,
	    UINT64_MAX - cs + 1, UINT64_MAX);
}

static void add_bits(struct classes *c, enum field field)
{
	uint64_t v = 1;

	for (unsigned b = 0; b < 64; b++, v *= 2)
		add(c, field, b > 5 && b < 63, v);
	ADD(c, field, 0, 31, UINT64_MAX);
}

static void make_classes(struct classes *c, uint64_t cs, uint64_t file_size)
{
	uint64_t l1_max = 32 * 1048576 / 8, end = up(file_size, cs) * cs;
	uint64_t largest = l1_max * (cs / 8) * cs, pad = 1;

	c->n = 0;
	ADD(c, VERSION, 0, 1, 2, 3, 4, UINT32_MAX);
	ADD(c, BACKING_OFFSET, 0, 1, 71, 72, 103, 104, 111, 112, 200, cs - 8,
	    cs - 1, cs, cs + 1, UINT64_C(1) << 32, UINT64_MAX);
	ADD(c, BACKING_SIZE, 0, 1, cs - 200, cs - 199, 1023, 1024, UINT32_MAX);
	ADD(c, CLUSTER_BITS, 0, 3, 8, 9, 13, 14, 16, 21, 22, 31, 32, 63, 64,
	    UINT32_MAX);
	ADD(c, SIZE, 0, 1, 511, 512, 513, cs, 8 * (cs / 8) * cs,
	    8 * (cs / 8) * cs + 1, 8 * (cs / 8) * cs + 512, largest / 2,
	    largest / 2 + 512, largest, largest + 1, largest + 512,
	    UINT64_MAX / 2 - 511, UINT64_MAX / 2, UINT64_MAX - 511, UINT64_MAX);
	ADD(c, CRYPT, 0, 1, 2, 3, UINT32_MAX);
	ADD(c, L1_SIZE, 0, 1, 7, 8, 9, (end - 3 * cs) / 8,
	    (end - 3 * cs) / 8 + 1, l1_max, l1_max + 1, UINT32_MAX);
	add_offsets(c, L1_OFFSET, cs, file_size);
	add_offsets(c, REFTABLE_OFFSET, cs, file_size);
	ADD(c, REFTABLE_CLUSTERS, 0, 1, 2, 8 * 1048576 / cs,
	    8 * 1048576 / cs + 1, UINT32_MAX);
	ADD(c, SNAPSHOTS, 0, 1, 65536, 65537, UINT32_MAX);
	add_offsets(c, SNAPSHOTS_OFFSET, cs, file_size);
	add_bits(c, INCOMPATIBLE);
	add_bits(c, COMPATIBLE);
	add_bits(c, AUTOCLEAR);
	ADD(c, ORDER, 0, 1, 2, 3, 4, 5, 6, 7, 8, 32, UINT32_MAX);
	ADD(c, LENGTH, 0, 71, 72, 96, 103, 104, 105, 106, 108, 111, 112, 113,
	    120, cs - 8, cs - 1, cs, cs + 1, cs + 8, UINT32_MAX);
	ADD(c, TYPE, 0, 1, 2, 128, 255);
	for (unsigned i = 0; i < 7; i++, pad *= 256)
		add(c, PADDING, false, pad);
	ADD(c, PADDING, 0, UINT64_C(0x80000000000000), (UINT64_C(1) << 56) - 1);
}

/* Sound, with an L1 table of 8 entries; bytes 105 to 111 belong to it. */
static void make_sound(struct image *im, uint64_t version, unsigned cluster_bits,
		       uint64_t file_size)
{
	uint64_t cs = UINT64_C(1) << cluster_bits;

	*im = (struct image){.file_size = file_size};
	im->v[VERSION] = version;
	im->v[CLUSTER_BITS] = cluster_bits;
	im->v[SIZE] = 8 * (cs / 8) * cs;
	im->v[L1_SIZE] = 8;
	im->v[L1_OFFSET] = 3 * cs;
	im->v[REFTABLE_OFFSET] = cs;
	im->v[REFTABLE_CLUSTERS] = 1;
	im->v[ORDER] = 4;
	im->v[LENGTH] = 112;
}

/* _i is the cluster size; a file that ends in a cluster, or in between. */
START_TEST(fields_in_pairs)
{
	unsigned cluster_bits = (unsigned)_i;
	uint64_t cs = UINT64_C(1) << cluster_bits;
	struct classes c;
	struct image sound;

	for (unsigned k = 0; k < 4; k++) {
		uint64_t file_size = 40 * cs - (k & 1 ? cs / 2 - 17 : 0);

		make_sound(&sound, k & 2 ? 2 : 3, cluster_bits, file_size);
		make_classes(&c, cs, file_size);
		compare(sound);
		for (size_t a = 0; a < c.n; a++) {
			struct image one = sound;

			one.v[c.at[a].field] = c.at[a].value;
			compare(one);
			for (size_t b = a + 1; b < c.n; b++) {
				struct image two = one;

				if (c.at[a].alone || c.at[b].alone ||
				    c.at[a].field == c.at[b].field)
					continue;
				two.v[c.at[b].field] = c.at[b].value;
				compare(two);
			}
		}
	}
	ck_assert_uint_gt(compared, 50000);
}
END_TEST

START_TEST(files_of_any_length)
{
	struct classes c;
	struct image im;

	make_classes(&c, 65536, 40 * 65536);
	for (uint64_t size = 0; size <= 2 * Q2_HEADER_READ; size++)
		for (size_t a = 0; a < c.n; a++)
			for (uint64_t version = 2; version <= 3; version++) {
				make_sound(&im, version, 16, size);
				im.v[c.at[a].field] = c.at[a].value;
				compare(im);
			}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("every header");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, fields_in_pairs, 9, 22);
	tcase_add_test(t, files_of_any_length);
	tcase_set_timeout(t, 600);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
