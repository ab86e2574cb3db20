/*
 * test_map.c - what the survey and the forecasts are made of.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "image/holemap.h"
#include "map/cells.h"
#include "map/segments.h"
#include "map/sizes.h"
#include "mini.h"

/* ------------------------------------------------------------------- cells */
#define ACTIVE Q2_CELL_ACTIVE
#define DATA Q2_CELL_DATA
#define L2 Q2_CELL_L2
#define MIXED Q2_CELL_MIXED
#define OF(n) ((unsigned)(n) << Q2_CELL_OWNER_SHIFT)

static const struct join_case {
	unsigned old, more, both;
} joins[] = {
	{0, DATA | ACTIVE, DATA | ACTIVE},
	{DATA | ACTIVE, DATA | ACTIVE, DATA | ACTIVE},
	{DATA | ACTIVE, DATA | OF(1), DATA | ACTIVE | OF(1)},
	{DATA | OF(1), DATA | OF(1), DATA | OF(1)},
	{DATA | OF(1), DATA | OF(2), DATA | OF(Q2_OWNER_SEVERAL)},
	{DATA | OF(Q2_OWNER_SEVERAL), DATA | OF(2),
	 DATA | OF(Q2_OWNER_SEVERAL)},
	{DATA | OF(2), DATA | ACTIVE | OF(Q2_OWNER_SEVERAL),
	 DATA | ACTIVE | OF(Q2_OWNER_SEVERAL)},
	{DATA | ACTIVE, L2 | ACTIVE, MIXED | ACTIVE},
	{MIXED | ACTIVE, DATA | OF(3), MIXED | ACTIVE | OF(3)},
	{DATA | OF(Q2_OWNERS_MAX), DATA | OF(Q2_OWNERS_MAX),
	 DATA | OF(Q2_OWNERS_MAX)},
};

START_TEST(join)
{
	const struct join_case *t = &joins[_i];

	ck_assert_uint_eq(q2_cell_join((uint16_t)t->old, (uint16_t)t->more),
			  t->both);
}
END_TEST

START_TEST(pages)
{
	struct q2_budget b = {0};
	struct q2_cells c;
	uint64_t n = 0;

	q2_cells_init(&c, &b);
	ck_assert_uint_eq(q2_cells_get(&c, 5), 0);
	/* Far apart, out of order, and so many that the table grows. */
	for (uint64_t i = 0; i < 500; i++)
		ck_assert_int_eq(q2_cells_mark(&c, (499 - i) * 7919 << 9,
					       DATA | ACTIVE, NULL), Q2_OK);
	ck_assert_uint_eq(c.n, 500);
	q2_cells_sort(&c);
	for (size_t i = 1; i < c.n; i++)
		ck_assert_uint_lt(c.slots[i - 1]->number, c.slots[i]->number);
	for (uint64_t i = 0; i < 500; i++)
		n += q2_cells_get(&c, i * 7919 << 9) == (DATA | ACTIVE);
	ck_assert_uint_eq(n, 500);
	ck_assert_uint_eq(q2_cells_get(&c, 1), 0);
	ck_assert_uint_eq(q2_cells_seek(&c, 1), 1);
	ck_assert_uint_eq(q2_cells_seek(&c, UINT64_MAX), 500);
	q2_cells_free(&c);
	ck_assert_uint_eq(b.used, 0);
}
END_TEST

/* A run is what its clusters are one by one, over the bounds of pages. */
START_TEST(runs)
{
	static const struct {
		uint64_t clu, n;
		unsigned cell;
	} parts[] = {
		{0, 1, DATA | ACTIVE},	  {510, 3, DATA | OF(1)},
		{511, 1030, DATA | OF(2)}, {1024, 512, L2 | ACTIVE},
		{1 << 20, 600, DATA},	  {100, 0, DATA | ACTIVE},
	};
	struct q2_budget b = {0};
	struct q2_cells one, run;

	q2_cells_init(&one, &b);
	q2_cells_init(&run, &b);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		uint16_t cell = (uint16_t)parts[i].cell;

		ck_assert_int_eq(q2_cells_mark_run(&run, parts[i].clu,
						   parts[i].n, cell, NULL),
				 Q2_OK);
		for (uint64_t k = 0; k < parts[i].n; k++)
			ck_assert_int_eq(q2_cells_mark(&one, parts[i].clu + k,
						       cell, NULL), Q2_OK);
	}
	ck_assert_uint_eq(one.n, run.n);
	for (uint64_t k = 0; k < 3000; k++) {
		ck_assert_uint_eq(q2_cells_get(&one, k), q2_cells_get(&run, k));
		ck_assert_uint_eq(q2_cells_get(&one, k + (1 << 20)),
				  q2_cells_get(&run, k + (1 << 20)));
	}
	q2_cells_free(&one);
	q2_cells_free(&run);
	ck_assert_uint_eq(b.used, 0);
}
END_TEST

START_TEST(no_memory)
{
	struct q2_budget b = {.limit = 100};
	struct q2_cells c;

	q2_cells_init(&c, &b);
	ck_assert_int_eq(q2_cells_mark(&c, 1, DATA, NULL), Q2_E_BUDGET);
	q2_cells_free(&c);
	ck_assert_uint_eq(b.used, 0);
}
END_TEST

/* ---------------------------------------------------------------- segments */
#define SEGMENTS 6
static const struct flat_case {
	struct q2_meta in[3];
	size_t n;
	struct q2_segment out[SEGMENTS];
} flats[] = {
	/* Side by side, in any order. */
	{{{4, 2, Q2_K_L1, 0}, {0, 1, Q2_K_HEADER, 0}}, 2,
	 {{0, 1, Q2_U_HEADER, 0}, {4, 6, Q2_U_L1, 0}}},
	/* One inside of the other. */
	{{{0, 10, Q2_K_L1, 0}, {3, 2, Q2_K_REFBLOCK, 7}}, 2,
	 {{0, 3, Q2_U_L1, 0}, {3, 5, Q2_U_MIXED, 0}, {5, 10, Q2_U_L1, 0}}},
	/* Across its end. */
	{{{0, 4, Q2_K_L1, 0}, {3, 4, Q2_K_REFBLOCK, 7}}, 2,
	 {{0, 3, Q2_U_L1, 0}, {3, 4, Q2_U_MIXED, 0},
	  {4, 7, Q2_U_REFBLOCK, 7}}},
	/* The same twice, and a third one in the rest. */
	{{{2, 2, Q2_K_L1, 0}, {2, 2, Q2_K_LUKS, 0}, {3, 3, Q2_K_SNAPTABLE, 0}},
	 3,
	 {{2, 3, Q2_U_MIXED, 0}, {3, 4, Q2_U_MIXED, 0},
	  {4, 6, Q2_U_SNAPTABLE, 0}}},
	{{{0}}, 0, {{0}}},
};

/* Each cluster of `a` is in one segment of the list, of the same use. */
static enum q2_use use_at(const struct q2_segment *at, size_t n, uint64_t clu)
{
	for (size_t i = 0; i < n; i++)
		if (clu >= at[i].first && clu < at[i].end)
			return at[i].use;
	return Q2_U_FREE;
}

START_TEST(flat)
{
	const struct flat_case *t = &flats[_i];
	struct q2_checker *c = calloc(1, sizeof(*c));
	struct q2_survey s = {.checker = c};
	struct q2_segments out = {0};

	for (size_t i = 0; i < t->n; i++)
		ck_assert_int_eq(q2_metas_push(&c->metas, &c->budget,
					       t->in[i], NULL), Q2_OK);
	ck_assert_int_eq(q2_segments_make(&s, &out, NULL), Q2_OK);
	for (uint64_t clu = 0; clu < 12; clu++)
		ck_assert_int_eq(use_at(out.at, out.n, clu),
				 use_at(t->out, SEGMENTS, clu));
	for (size_t i = 1; i < out.n; i++)
		ck_assert_uint_le(out.at[i - 1].end, out.at[i].first);
	q2_segments_free(&out, &c->budget);
	q2_metas_free(&c->metas, &c->budget);
	ck_assert_uint_eq(c->budget.used, 0);
	free(c);
}
END_TEST

/* ------------------------------------------------------------------- sizes */
/* The second number is what qemu-img measure calls fully-allocated. */
static const struct size_case {
	struct q2_shape shape;
	uint64_t disk, full;
} sizes[] = {
	{{65536, 4, 8, 0}, 0, 196608},
	/* Two clusters more, and no more of anything else. */
	{{65536, 4, 8, 2}, 0, 327680},
	{{65536, 4, 8, UINT64_MAX}, 0, UINT64_MAX},
	{{65536, 4, 8, 0}, UINT64_C(1) << 30, 1074135040},
	{{65536, 4, 8, 0}, UINT64_C(10) << 20, 10813440},
	{{65536, 4, 8, 0}, UINT64_MAX, UINT64_MAX},
};

START_TEST(full_size)
{
	ck_assert_uint_eq(q2_full_size(&sizes[_i].shape, sizes[_i].disk),
			  sizes[_i].full);
}
END_TEST

/* ------------------------------------------------------------------- holes */
START_TEST(holes)
{
	struct mini m = {.bytes = calloc(1, 8192), .size = 8192};
	struct counted c = counted_new(&m);
	struct q2_budget b = {0};
	struct q2_holemap h = {0};
	struct q2_range r;

	c.hole = (struct q2_range){2048, 4096};
	r = q2_holemap_data(&h, &c.io, &b, 7000);
	ck_assert(r.start == 7000 && r.len == 1192);
	r = q2_holemap_data(&h, &c.io, &b, 100);
	ck_assert(r.start == 100 && r.len == 1948);
	r = q2_holemap_data(&h, &c.io, &b, 2048);
	ck_assert(r.start == 6144 && r.len == 2048);
	r = q2_holemap_data(&h, &c.io, &b, 8192);
	ck_assert_uint_eq(r.len, 0);
	q2_holemap_free(&h, &b);
	ck_assert_uint_eq(b.used, 0);
	free(m.bytes);
}
END_TEST

/* A file in many pieces, small and large ones: of each byte it is known by the
 * rule whether it is data. */
static bool is_data(uint64_t at)
{
	return at < 20000 ? at / 50 % 2 != 0 : at / 7000 % 3 == 1;
}

static uint64_t next_data(uint64_t at, uint64_t size, bool data)
{
	while (at < size && is_data(at) != data)
		at++;
	return at;
}

struct pieces {
	struct q2_io io;
	unsigned asked;
};

static struct q2_range pieces_data(struct q2_io *io, uint64_t off)
{
	struct pieces *p = (struct pieces *)io;
	uint64_t start = next_data(off, io->size, true);

	p->asked++;
	return (struct q2_range){
		start, next_data(start, io->size, false) - start};
}

START_TEST(holes_in_any_order)
{
	static const struct q2_io_ops ops = {.data = pieces_data};
	struct pieces p = {.io = {.ops = &ops, .size = 100000}};
	struct q2_budget b = {.limit = _i ? 1 << 20 : 6000};
	struct q2_holemap h = {0};
	uint64_t at = 0;
	unsigned pieces;

	(void)q2_holemap_data(&h, &p.io, &b, 0);
	/* The search must do without an index where there is no memory. */
	ck_assert(_i ? h.index != NULL : h.index == NULL);
	pieces = p.asked;
	ck_assert_uint_gt(pieces, 200);
	for (unsigned n = 0; n < 20000; n++) {
		struct q2_range r;
		uint64_t start;

		at = (at * 5 + 61) % 100003;
		r = q2_holemap_data(&h, &p.io, &b, at);
		start = next_data(at, p.io.size, true);
		if (start >= p.io.size) {
			ck_assert_uint_eq(r.len, 0);
			continue;
		}
		ck_assert_uint_eq(r.start, start);
		ck_assert_uint_eq(q2_end(r),
				  next_data(start, p.io.size, false));
	}
	ck_assert_uint_eq(p.asked, pieces);
	q2_holemap_free(&h, &b);
	ck_assert_uint_eq(b.used, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("map");
	TCase *t = tcase_create("map");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, join, 0, sizeof(joins) / sizeof(*joins));
	tcase_add_test(t, pages);
	tcase_add_test(t, runs);
	tcase_add_test(t, no_memory);
	tcase_add_loop_test(t, flat, 0, sizeof(flats) / sizeof(*flats));
	tcase_add_loop_test(t, full_size, 0, sizeof(sizes) / sizeof(*sizes));
	tcase_add_test(t, holes);
	tcase_add_loop_test(t, holes_in_any_order, 0, 2);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
