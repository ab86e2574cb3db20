/*
 * test_extents.c - what the map of one image says, entry by entry.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>

#include "image/extents.h"
#include "image/open.h"
#include "mini.h"

#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)
#define CS 512u
#define EXT_CS 16384u
#define SUB 512u

struct got {
	size_t n;
	struct q2_extent e[64];
};

static void take(struct got *g, const struct q2_extent *e)
{
	struct q2_extent *last = g->n ? &g->e[g->n - 1] : NULL;

	ck_assert_uint_gt(e->length, 0);
	if (last) {
		ck_assert_uint_eq(last->guest + last->length, e->guest);
		/* Where the map stops early is its own business. */
		if (last->kind == e->kind && last->why == e->why &&
		    last->has_host == e->has_host && last->hole == e->hole &&
		    e->kind != Q2_MAP_COMPRESSED &&
		    (!e->has_host || last->host + last->length == e->host)) {
			last->length += e->length;
			return;
		}
	}
	ck_assert_uint_lt(g->n, 64);
	g->e[g->n++] = *e;
}

/* The extents of a range of the disk, as far as the map reaches. */
static void walk(struct q2_map *m, uint64_t guest, uint64_t length,
		 struct got *got)
{
	uint64_t end = length > UINT64_MAX - guest ? UINT64_MAX : guest + length;
	struct q2_extent e;

	for (; guest < end && guest < m->size; guest += e.length) {
		q2_map_at(m, guest, end < m->size ? end - guest :
						    m->size - guest, &e);
		take(got, &e);
	}
}

static void map_io(struct q2_io *io, const struct q2_tree *tree, bool probe,
		   uint64_t guest, uint64_t length, struct got *got)
{
	struct q2_budget b = {0};
	struct q2_opened o;
	struct q2_map m;
	struct q2_err err = {0};

	got->n = 0;
	ck_assert_msg(q2_image_open(io, &b, &o, &err) == Q2_OK, "%s", err.text);
	ck_assert_int_eq(q2_map_open(&m, &o.img, tree ? tree : &o.active, NULL,
				     NULL), Q2_OK);
	q2_map_holes(&m, probe);
	walk(&m, guest, length, got);
	q2_map_close(&m);
	ck_assert_uint_eq(b.used, 0);
}

static void map_mini(struct mini *m, uint64_t guest, uint64_t length,
		     struct got *got)
{
	struct counted c = counted_new(m);

	map_io(&c.io, NULL, false, guest, length, got);
	free(m->bytes);
}

static void expect(const struct got *g, size_t i, uint64_t length,
		   enum q2_map_kind kind, bool has_host, uint64_t host)
{
	ck_assert_uint_lt(i, g->n);
	ck_assert_msg(g->e[i].length == length && g->e[i].kind == kind &&
			      g->e[i].has_host == has_host &&
			      (!has_host || g->e[i].host == host),
		      "extent %zu: length %llu kind %d host %d %llu", i,
		      (unsigned long long)g->e[i].length, (int)g->e[i].kind,
		      (int)g->e[i].has_host,
		      (unsigned long long)g->e[i].host);
}

/* ------------------------------------------------- one entry, each meaning */
static const struct entry_case {
	unsigned version;
	uint64_t raw;
	enum q2_map_kind kind;
	bool has_host;
	unsigned faults;
} entries[] = {
	{3, 0, Q2_MAP_NONE, false, 0},
	{2, 0, Q2_MAP_NONE, false, 0},
	{3, COPIED | 5 * CS, Q2_MAP_DATA, true, 0},
	{3, 5 * CS, Q2_MAP_DATA, true, 0},
	{2, COPIED | 5 * CS, Q2_MAP_DATA, true, 0},
	{3, 1, Q2_MAP_ZERO, false, 0},
	{3, COPIED | 5 * CS | 1, Q2_MAP_ZERO_ALLOC, true, 0},
	{2, 1, Q2_MAP_UNREADABLE, false, Q2_EF_ZERO_V2},
	{2, 5 * CS | 1, Q2_MAP_UNREADABLE, true, Q2_EF_ZERO_V2},
	/* Reserved bits do not change where the data is. */
	{3, 5 * CS | 2, Q2_MAP_DATA, true, Q2_EF_RESERVED},
	{3, COPIED, Q2_MAP_NONE, false, Q2_EF_COPIED_UNUSED},
	/* The last cluster of the file, and one behind it. */
	{3, 7 * CS, Q2_MAP_DATA, true, 0},
	{3, 8 * CS, Q2_MAP_UNREADABLE, true, Q2_EF_OUTSIDE},
	{3, PACKED | (5 * CS + 7), Q2_MAP_COMPRESSED, true, 0},
	{3, PACKED | COPIED | (5 * CS + 7), Q2_MAP_COMPRESSED, true,
	 Q2_EF_COPIED_COMPRESSED},
	{3, PACKED | 9 * CS, Q2_MAP_UNREADABLE, true, Q2_EF_OUTSIDE},
};

START_TEST(entry)
{
	const struct entry_case *t = &entries[_i];
	struct mini m = mini_new(t->version, 9, 8, 8 * CS, 1);
	uint64_t host = t->raw & UINT64_C(0x00fffffffffffe00);
	struct got g;

	if (t->raw & PACKED)
		host = t->raw & 0xffffff;
	mini_l1(&m, 0, COPIED | 4 * CS);
	mini_l2(&m, 4, 2, 8, t->raw, 0);
	map_mini(&m, 2 * CS, CS, &g);
	ck_assert_uint_eq(g.n, 1);
	expect(&g, 0, CS, t->kind, t->has_host, host);
	ck_assert_uint_eq(g.e[0].faults, t->faults);
	ck_assert(g.e[0].why == (t->kind == Q2_MAP_UNREADABLE ?
					 Q2_WHY_L2_ENTRY : Q2_WHY_NONE));
	if (t->kind == Q2_MAP_COMPRESSED)
		ck_assert_uint_eq(g.e[0].stored, CS - 7);
}
END_TEST

/* ------------------------------------------------------- runs and windows */
static struct mini runs(void)
{
	/* 64 entries a table; slot 1 has none, slot 2 the second table. */
	struct mini m = mini_new(3, 9, 16, 3 * 64 * CS - 100, 3);

	mini_l1(&m, 0, COPIED | 4 * CS);
	mini_l1(&m, 2, COPIED | 5 * CS);
	for (size_t i = 0; i < 4; i++)
		mini_l2(&m, 4, i, 8, COPIED | (6 + i) * CS, 0);
	mini_l2(&m, 4, 4, 8, 10 * CS, 0); /* goes on, shared */
	mini_l2(&m, 4, 5, 8, COPIED | 6 * CS, 0);
	mini_l2(&m, 4, 6, 8, 1, 0);
	mini_l2(&m, 4, 7, 8, 1, 0);
	mini_l2(&m, 5, 63, 8, COPIED | 11 * CS, 0);
	return m;
}

START_TEST(whole_disk)
{
	struct mini m = runs();
	struct got g;

	map_mini(&m, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 4);
	expect(&g, 0, 5 * CS, Q2_MAP_DATA, true, 6 * CS);
	expect(&g, 1, CS, Q2_MAP_DATA, true, 6 * CS);
	expect(&g, 2, 2 * CS, Q2_MAP_ZERO, false, 0);
	/* The size is cut to whole sectors: the last cluster is not reached. */
	expect(&g, 3, (56 + 64 + 63) * CS, Q2_MAP_NONE, false, 0);
}
END_TEST

START_TEST(window)
{
	struct mini m = runs();
	struct got g;

	map_mini(&m, CS + 100, 4 * CS, &g);
	ck_assert_uint_eq(g.n, 2);
	ck_assert_uint_eq(g.e[0].guest, CS + 100);
	expect(&g, 0, 4 * CS - 100, Q2_MAP_DATA, true, 7 * CS + 100);
	expect(&g, 1, 100, Q2_MAP_DATA, true, 6 * CS);
	m = runs();
	map_mini(&m, 1 << 20, 100, &g);
	ck_assert_uint_eq(g.n, 0);
}
END_TEST

START_TEST(snapshot_tree)
{
	struct mini m = runs();
	struct counted c = counted_new(&m);
	struct q2_tree tree = {.id = 0,
			       .l1_entries = 1,
			       .l1_offset = 3 * CS,
			       .disk_size = 2 * 64 * CS};
	struct got g;

	/* Its own disk; its table may be too short. */
	map_io(&c.io, &tree, false, 6 * CS, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 2);
	expect(&g, 0, 2 * CS, Q2_MAP_ZERO, false, 0);
	expect(&g, 1, 120 * CS, Q2_MAP_NONE, false, 0);
	tree.l1_offset += 8;
	map_io(&c.io, &tree, false, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 1);
	expect(&g, 0, 128 * CS, Q2_MAP_UNREADABLE, false, 0);
	free(m.bytes);
}
END_TEST

/* --------------------------------------------------------- damaged tables */
START_TEST(l1_faults)
{
	struct mini m = mini_new(3, 9, 8, 5 * 64 * CS, 4);
	struct got g;

	mini_l1(&m, 0, 4 * CS + 8);	   /* reserved bits only */
	mini_l1(&m, 1, COPIED | (4 * CS + 512 * 1000)); /* past the end */
	mini_l1(&m, 2, COPIED);		   /* flags only */
	mini_l2(&m, 4, 0, 8, 5 * CS, 0);
	map_mini(&m, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 5);
	expect(&g, 0, CS, Q2_MAP_DATA, true, 5 * CS);
	expect(&g, 1, 63 * CS, Q2_MAP_NONE, false, 0);
	expect(&g, 2, 64 * CS, Q2_MAP_UNREADABLE, false, 0);
	ck_assert_uint_eq(g.e[2].why, Q2_WHY_L1_ENTRY);
	ck_assert_uint_eq(g.e[2].faults, Q2_EF_OUTSIDE);
	expect(&g, 3, 128 * CS, Q2_MAP_NONE, false, 0);
	/* The table has four entries, the disk needs five. */
	expect(&g, 4, 64 * CS, Q2_MAP_UNREADABLE, false, 0);
	ck_assert_uint_eq(g.e[4].why, Q2_WHY_L1_MISSING);
}
END_TEST

START_TEST(unreadable_l2)
{
	struct mini m = runs();
	struct counted c = counted_new(&m);
	struct got g;

	c.bad = (struct q2_range){4 * CS + 8, 8};
	map_io(&c.io, NULL, false, 0, UINT64_MAX, &g);
	expect(&g, 0, 64 * CS, Q2_MAP_UNREADABLE, false, 0);
	ck_assert_uint_eq(g.e[0].why, Q2_WHY_L2_READ);
	expect(&g, 1, (64 + 63) * CS, Q2_MAP_NONE, false, 0);
	c.bad = (struct q2_range){3 * CS, 8};
	map_io(&c.io, NULL, false, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 1);
	ck_assert_uint_eq(g.e[0].why, Q2_WHY_L1_READ);
	free(m.bytes);
}
END_TEST

START_TEST(l1_past_end)
{
	struct mini m = runs();
	struct got g;

	mini_put(&m, 40, 8, 16 * CS);
	map_mini(&m, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 1);
	ck_assert_uint_eq(g.e[0].kind, Q2_MAP_UNREADABLE);
	ck_assert_uint_eq(g.e[0].why, Q2_WHY_L1_READ);
}
END_TEST

/* ------------------------------------------------------------ subclusters */
START_TEST(subclusters)
{
	struct mini m = mini_new(3, 14, 10, 8 * EXT_CS, 1);
	uint64_t all = UINT32_MAX;
	struct got g;

	mini_put(&m, 72, 8, 1 << 4);
	mini_l1(&m, 0, COPIED | 4 * EXT_CS);
	/* 16 of data, 4 zeros, 12 from below; then whole ones in order. */
	mini_l2(&m, 4, 0, 16, COPIED | 5 * EXT_CS, 0xffff | UINT64_C(0xf) << 48);
	mini_l2(&m, 4, 1, 16, COPIED | 6 * EXT_CS, all & ~UINT64_C(1));
	mini_l2(&m, 4, 2, 16, COPIED | 7 * EXT_CS, all);
	mini_l2(&m, 4, 3, 16, 8 * EXT_CS, all);
	mini_l2(&m, 4, 4, 16, 0, all << 32);
	mini_l2(&m, 4, 5, 16, 9 * EXT_CS, 0); /* preallocated */
	mini_l2(&m, 4, 6, 16, 9 * EXT_CS, 1 | UINT64_C(1) << 32);
	mini_l2(&m, 4, 7, 16, 0, 1);
	map_mini(&m, 0, UINT64_MAX, &g);
	expect(&g, 0, 16 * SUB, Q2_MAP_DATA, true, 5 * EXT_CS);
	expect(&g, 1, 4 * SUB, Q2_MAP_ZERO_ALLOC, true, 5 * EXT_CS + 16 * SUB);
	/* From below, but with room: it goes on in the next cluster. */
	expect(&g, 2, 13 * SUB, Q2_MAP_NONE, true, 5 * EXT_CS + 20 * SUB);
	expect(&g, 3, 31 * SUB + 2 * EXT_CS, Q2_MAP_DATA, true,
	       6 * EXT_CS + SUB);
	expect(&g, 4, EXT_CS, Q2_MAP_ZERO, false, 0);
	expect(&g, 5, EXT_CS, Q2_MAP_NONE, true, 9 * EXT_CS);
	expect(&g, 6, EXT_CS, Q2_MAP_UNREADABLE, true, 9 * EXT_CS);
	expect(&g, 7, EXT_CS, Q2_MAP_UNREADABLE, false, 0);
	ck_assert_uint_eq(g.e[7].faults, Q2_EF_SUB_NO_OFFSET);
	ck_assert_uint_eq(g.n, 8);
}
END_TEST

/* -------------------------------------------------------------- data file */
START_TEST(data_file)
{
	struct mini m = mini_new(3, 9, 8, 8 * CS, 1);
	struct got g;

	mini_put(&m, 72, 8, 1 << 2);
	mini_l1(&m, 0, COPIED | 4 * CS);
	mini_l2(&m, 4, 0, 8, COPIED, 0); /* offset 0 is a cluster here */
	mini_l2(&m, 4, 1, 8, COPIED | CS, 0);
	mini_l2(&m, 4, 3, 8, COPIED | 4 * CS, 0); /* not where it belongs */
	mini_l2(&m, 4, 4, 8, COPIED | 4 * CS | 1, 0);
	mini_l2(&m, 4, 5, 8, PACKED | 5 * CS, 0);
	map_mini(&m, 0, UINT64_MAX, &g);
	expect(&g, 0, 2 * CS, Q2_MAP_DATA, true, 0);
	expect(&g, 1, CS, Q2_MAP_NONE, false, 0);
	expect(&g, 2, CS, Q2_MAP_UNREADABLE, true, 4 * CS);
	expect(&g, 3, CS, Q2_MAP_ZERO_ALLOC, true, 4 * CS);
	expect(&g, 4, CS, Q2_MAP_UNREADABLE, true, 5 * CS);
	expect(&g, 5, 2 * CS, Q2_MAP_NONE, false, 0);
}
END_TEST

/* ------------------------------------------------- what is read, and holes */
START_TEST(each_table_once)
{
	struct mini m = runs();
	struct counted c = counted_new(&m);
	struct got g;

	map_io(&c.io, NULL, false, 0, UINT64_MAX, &g);
	/* Header, first cluster, L1; the two L2 tables lie side by side, but
	 * their slots do not. */
	ck_assert_uint_eq(c.reads, 5);
	free(m.bytes);
}
END_TEST

START_TEST(neighbours_together)
{
	struct mini m = mini_new(3, 9, 64, 16 * 64 * CS, 16);
	struct counted c = counted_new(&m);
	struct got g;

	for (size_t i = 0; i < 16; i++) {
		mini_l1(&m, i, COPIED | (4 + i) * CS);
		mini_l2(&m, 4 + i, 0, 8, COPIED | (32 + i) * CS, 0);
	}
	map_io(&c.io, NULL, false, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(c.reads, 4);
	ck_assert_uint_eq(g.n, 32);
	expect(&g, 30, CS, Q2_MAP_DATA, true, (32 + 15) * CS);
	free(m.bytes);
}
END_TEST

START_TEST(holes_cost_nothing)
{
	/* An L1 table of 4 MiB in 8 KiB of file that is there. */
	struct mini m = mini_new(3, 16, 80, (uint64_t)1 << 48, 1u << 19);
	struct counted c = counted_new(&m);
	struct got g;

	c.hole = (struct q2_range){4 << 16, 76 << 16};
	c.io.stored = 8192;
	map_io(&c.io, NULL, false, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 1);
	expect(&g, 0, (uint64_t)1 << 48, Q2_MAP_NONE, false, 0);
	/* Header, first cluster, and 64 KiB of L1 by 8. */
	ck_assert_uint_eq(c.reads, 2 + 8);
	free(m.bytes);
}
END_TEST

START_TEST(data_in_holes)
{
	struct mini m = runs();
	struct counted c = counted_new(&m);
	struct got g;

	c.hole = (struct q2_range){8 * CS, CS};
	map_io(&c.io, NULL, true, 0, 5 * CS, &g);
	ck_assert_uint_eq(g.n, 3);
	expect(&g, 0, 2 * CS, Q2_MAP_DATA, true, 6 * CS);
	expect(&g, 1, CS, Q2_MAP_DATA, true, 8 * CS);
	expect(&g, 2, 2 * CS, Q2_MAP_DATA, true, 9 * CS);
	ck_assert(!g.e[0].hole && g.e[1].hole && !g.e[2].hole);
	free(m.bytes);
}
END_TEST

START_TEST(raw)
{
	struct mini m = {.bytes = calloc(1, 5000), .size = 5000};
	struct counted c = counted_new(&m);
	struct q2_map map;
	struct got g = {0};

	c.hole = (struct q2_range){1024, 1024};
	q2_map_open_raw(&map, &c.io);
	/* Counted in whole sectors; the rest of the last one is zeros. */
	ck_assert_uint_eq(map.size, 5120);
	walk(&map, 0, UINT64_MAX, &g);
	ck_assert_uint_eq(g.n, 4);
	expect(&g, 0, 1024, Q2_MAP_DATA, true, 0);
	expect(&g, 1, 1024, Q2_MAP_ZERO_ALLOC, true, 1024);
	expect(&g, 2, 2952, Q2_MAP_DATA, true, 2048);
	expect(&g, 3, 120, Q2_MAP_ZERO_ALLOC, true, 5000);
	q2_map_close(&map);
	free(m.bytes);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("extents");
	TCase *t = tcase_create("extents");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, entry, 0, sizeof(entries) / sizeof(*entries));
	tcase_add_test(t, whole_disk);
	tcase_add_test(t, window);
	tcase_add_test(t, snapshot_tree);
	tcase_add_test(t, l1_faults);
	tcase_add_test(t, unreadable_l2);
	tcase_add_test(t, l1_past_end);
	tcase_add_test(t, subclusters);
	tcase_add_test(t, data_file);
	tcase_add_test(t, each_table_once);
	tcase_add_test(t, neighbours_together);
	tcase_add_test(t, holes_cost_nothing);
	tcase_add_test(t, data_in_holes);
	tcase_add_test(t, raw);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
