/*
 * test_bitmap.c - records of the bitmap directory, and entries of tables.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/bitmap.h"

static const uint8_t record[] = {
	0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, /* table offset */
	0x00, 0x00, 0x00, 0x02,				/* entries */
	0x00, 0x00, 0x00, 0x05,				/* flags */
	0x01, 0x10,					/* type, granularity */
	0x00, 0x03,					/* name's length */
	0x00, 0x00, 0x00, 0x04,				/* extra data */
	0xde, 0xad, 0xbe, 0xef,				/* extra data */
	'd',  'a',  'y',				/* name */
	0x00,						/* padding */
};

START_TEST(extension)
{
	static const uint8_t data[24] = {
		0, 0, 0, 2, 0, 0, 0, 7, /* bitmaps, reserved */
		0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 8, 0, 0,
	};
	struct q2_bitmaps_ext x = q2_bitmaps_ext_parse(data);

	ck_assert_uint_eq(x.bitmaps, 2);
	ck_assert_uint_eq(x.reserved, 7);
	ck_assert_uint_eq(x.dir_size, 64);
	ck_assert_uint_eq(x.dir_offset, 0x80000);
}
END_TEST

START_TEST(fields)
{
	struct q2_bitmap b;

	q2_bitmap_parse(record, sizeof(record), &b);
	ck_assert_uint_eq(b.table_offset, 0x90000);
	ck_assert_uint_eq(b.table_size, 2);
	ck_assert_uint_eq(b.flags, Q2_BITMAP_IN_USE | Q2_BITMAP_EXTRA_OK);
	ck_assert_uint_eq(b.type, Q2_BITMAP_DIRTY);
	ck_assert_uint_eq(b.gran, 16);
	ck_assert_uint_eq(b.name_len, 3);
	ck_assert_uint_eq(b.extra_len, 4);
	ck_assert_uint_eq(b.name_at, 28);
	ck_assert_uint_eq(b.end, 31);
	ck_assert_uint_eq(b.len, 32);
	ck_assert_mem_eq(record + b.name_at, "day", 3);
}
END_TEST

static const struct length_case {
	uint16_t name_len;
	uint32_t extra_len;
	uint64_t end, len;
} lengths[] = {
	{0, 0, 24, 24},
	{1, 0, 25, 32},
	{8, 0, 32, 32},
	{9, 0, 33, 40},
	{1023, 0, 1047, 1048},
	{65535, 0, 65559, 65560},
	/* No length wraps. */
	{65535, UINT32_MAX, UINT64_C(4295032854), UINT64_C(4295032856)},
};

START_TEST(length)
{
	const struct length_case *t = &lengths[_i];
	uint8_t bytes[24] = {0};
	struct q2_bitmap b;

	bytes[18] = (uint8_t)(t->name_len >> 8);
	bytes[19] = (uint8_t)t->name_len;
	for (size_t i = 0; i < 4; i++)
		bytes[20 + i] = (uint8_t)(t->extra_len >> (24 - 8 * i));
	q2_bitmap_parse(bytes, sizeof(bytes), &b);
	ck_assert_uint_eq(b.end, t->end);
	ck_assert_uint_eq(b.len, t->len);
}
END_TEST

/* One field each that is not as usual; 64 KiB clusters, a file of 1 MiB. */
static const struct look_case {
	size_t at, bytes;
	uint64_t value;
	bool table, plausible;
} looks[] = {
	{24, 0, 0, true, true},
	{0, 8, 0, false, false},
	{0, 8, 0x90200, false, false},
	{0, 8, 0x100000, false, false},
	{0, 8, UINT64_C(0xffffffffffff0000), false, false},
	{8, 4, 0, false, false},
	{8, 4, 8192, true, true}, /* 512 MiB of bitmap data */
	{8, 4, 8193, false, false},
	{8, 4, UINT32_MAX, false, false},
	{12, 4, 3, true, true},
	{12, 4, 4, true, false},
	{12, 4, 8, true, false},
	{16, 1, 0, true, false},
	{17, 1, 8, true, false},
	{17, 1, 31, true, true},
	{17, 1, 32, true, false},
	{18, 2, 0, true, false},
	{18, 2, 1023, true, true},
	{18, 2, 1024, true, false},
	{20, 4, 1, true, false},
};

START_TEST(look)
{
	const struct look_case *t = &looks[_i];
	struct q2_geom g = {
		.cluster_bits = 16,
		.cluster_size = 65536,
		.file_size = 0x100000,
		.file_clusters = 16,
	};
	uint8_t bytes[32];
	struct q2_bitmap b;

	memcpy(bytes, record, sizeof(bytes));
	memset(bytes + 12, 0, 4);
	memset(bytes + 20, 0, 4);
	for (size_t i = 0; i < t->bytes; i++)
		bytes[t->at + i] =
			(uint8_t)(t->value >> (8 * (t->bytes - 1 - i)));
	q2_bitmap_parse(bytes, sizeof(bytes), &b);
	ck_assert(q2_bitmap_has_table(&g, &b) == t->table);
	ck_assert(q2_bitmap_plausible(&g, &b) == t->plausible);
}
END_TEST

/* Exactly n bytes on the heap, so that a sanitizer sees reads past them. */
static void try(const uint8_t *bytes, size_t n)
{
	uint8_t *own = malloc(n ? n : 1);
	struct q2_bitmap b;

	ck_assert_ptr_nonnull(own);
	memcpy(own, bytes, n);
	q2_bitmap_parse(own, n, &b);
	ck_assert_uint_eq(b.name_at, 24 + (uint64_t)b.extra_len);
	ck_assert_uint_eq(b.end, b.name_at + b.name_len);
	ck_assert_uint_eq(b.len % 8, 0);
	ck_assert_uint_lt(b.len - b.end, 8);
	free(own);
}

START_TEST(any_bytes)
{
	uint8_t bytes[sizeof(record)];
	struct q2_bitmap whole, cut;

	for (size_t n = 0; n <= sizeof(record); n++)
		try(record, n);
	for (size_t i = 0; i < sizeof(record); i++)
		for (unsigned v = 0; v < 256; v++) {
			memcpy(bytes, record, sizeof(bytes));
			bytes[i] = (uint8_t)v;
			try(bytes, sizeof(bytes));
		}
	/* Missing bytes count as zero. */
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, record, 10);
	q2_bitmap_parse(bytes, sizeof(bytes), &whole);
	q2_bitmap_parse(record, 10, &cut);
	ck_assert_uint_eq(cut.table_offset, whole.table_offset);
	ck_assert_uint_eq(cut.table_size, 0);
	ck_assert_uint_eq(cut.len, whole.len);
}
END_TEST

static const struct need_case {
	uint64_t disk;
	unsigned gran;
	uint64_t bytes;
} needs[] = {
	{0, 16, 0},
	{1, 16, 1},
	{UINT64_C(8) << 16, 16, 1},
	{(UINT64_C(8) << 16) + 1, 16, 2},
	{UINT64_C(1) << 40, 9, UINT64_C(1) << 28},
	{UINT64_MAX, 9, UINT64_C(1) << 52},
	{UINT64_MAX, 0, UINT64_C(1) << 61},
	{UINT64_MAX, 63, 1},
};

START_TEST(need)
{
	ck_assert_uint_eq(q2_bitmap_bytes(needs[_i].disk, needs[_i].gran),
			  needs[_i].bytes);
}
END_TEST

/* Clusters of 4 KiB, a file of 10. */
static const struct entry_case {
	uint64_t raw;
	unsigned faults;
	bool used, ones;
	uint64_t host;
} entries[] = {
	{0, 0, false, false, 0},
	{1, 0, false, true, 0},
	{0x9000, 0, true, false, 0x9000},
	/* "Reserved and must be zero if bits 9 - 55 are non-zero." */
	{0x9001, Q2_EF_RESERVED, true, false, 0x9000},
	/* Bits 1 to 8 and 56 to 63. */
	{0x9002, Q2_EF_RESERVED, true, false, 0x9000},
	{0x9100, Q2_EF_RESERVED, true, false, 0x9000},
	{UINT64_C(1) << 56 | 0x9000, Q2_EF_RESERVED, true, false, 0x9000},
	{UINT64_C(1) << 63 | 0x9000, Q2_EF_RESERVED, true, false, 0x9000},
	{UINT64_C(1) << 63, Q2_EF_RESERVED, false, false, 0},
	{UINT64_C(1) << 63 | 1, Q2_EF_RESERVED, false, true, 0},
	{0x9200, Q2_EF_UNALIGNED, false, false, 0x9200},
	{0x9800, Q2_EF_UNALIGNED, false, false, 0x9800},
	{0xa000, Q2_EF_OUTSIDE, false, false, 0xa000},
	{Q2_ENTRY_OFFSET & ~UINT64_C(4095), Q2_EF_OUTSIDE, false, false,
	 UINT64_C(0x00fffffffffff000)},
	{UINT64_MAX, Q2_EF_RESERVED | Q2_EF_UNALIGNED, false, false,
	 UINT64_C(0x00fffffffffffe00)},
};

START_TEST(entry)
{
	const struct entry_case *t = &entries[_i];
	struct q2_geom g = {
		.cluster_bits = 12,
		.cluster_size = 4096,
		.file_size = 0xa000,
		.file_clusters = 10,
	};
	struct q2_bitmap_entry e = q2_bitmap_decode(&g, t->raw);

	ck_assert_uint_eq(e.faults, t->faults);
	ck_assert(e.used == t->used);
	ck_assert(e.ones == t->ones);
	ck_assert_uint_eq(e.host, t->host);
	/* A last cluster that is there in part is there. */
	g.file_size = 0x9001;
	e = q2_bitmap_decode(&g, t->raw);
	ck_assert(e.used == t->used);
}
END_TEST

#define N(array) (int)(sizeof(array) / sizeof(*(array)))

int main(void)
{
	Suite *s = suite_create("bitmap");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, extension);
	tcase_add_test(t, fields);
	tcase_add_loop_test(t, length, 0, N(lengths));
	tcase_add_loop_test(t, look, 0, N(looks));
	tcase_add_test(t, any_bytes);
	tcase_add_loop_test(t, need, 0, N(needs));
	tcase_add_loop_test(t, entry, 0, N(entries));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
