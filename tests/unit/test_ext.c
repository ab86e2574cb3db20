/*
 * test_ext.c - header extensions, and the lengths in a LUKS header.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/ext.h"
#include "format/luks.h"

#define CLUSTER 512u
#define START 104u

static void put(uint8_t *p, unsigned bytes, uint64_t v)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

/* ----------------------------------------------------- where they may stand */
static const struct area_case {
	struct q2_header h;
	uint64_t cluster;
	bool there;
	uint64_t start, len;
} areas[] = {
	/* To the end of the cluster, or to the backing file's name. */
	{{.version = 3, .raw_length = 104, .header_length = 104},
	 512, true, 104, 408},
	{{.version = 3, .raw_length = 112, .header_length = 112},
	 65536, true, 112, 65424},
	{{.version = 2, .raw_length = 72, .header_length = 72},
	 512, true, 72, 440},
	{{.version = 3, .raw_length = 104, .header_length = 104,
	  .backing_offset = 200, .backing_size = 3},
	 512, true, 104, 96},
	/* A name behind the cluster bounds nothing; a name without bytes
	 * does. */
	{{.version = 3, .raw_length = 104, .header_length = 104,
	  .backing_offset = 4096, .backing_size = 3},
	 512, true, 104, 408},
	{{.version = 3, .raw_length = 104, .header_length = 104,
	  .backing_offset = 104},
	 512, true, 104, 0},
	/* The name inside of the header: readers skip the extensions. */
	{{.version = 3, .raw_length = 104, .header_length = 104,
	  .backing_offset = 96, .backing_size = 3},
	 512, false, 0, 0},
	{{.version = 2, .raw_length = 72, .header_length = 72,
	  .backing_offset = 71, .backing_size = 3},
	 512, false, 0, 0},
	/* header_length out of range. */
	{{.version = 3, .raw_length = 96, .header_length = 96},
	 512, false, 0, 0},
	{{.version = 3, .raw_length = 513, .header_length = 513},
	 512, false, 0, 0},
	{{.version = 3, .raw_length = 512, .header_length = 512},
	 512, true, 512, 0},
	{{.version = 3, .raw_length = UINT32_MAX, .header_length = UINT32_MAX},
	 UINT64_C(1) << 21, false, 0, 0},
};

START_TEST(area)
{
	const struct area_case *t = &areas[_i];
	struct q2_range r;

	ck_assert(q2_ext_area(&t->h, t->cluster, &r) == t->there);
	ck_assert_uint_eq(r.start, t->start);
	ck_assert_uint_eq(r.len, t->len);
}
END_TEST

/* ------------------------------------------------------------ the iterator */
#define STEPS 4

static const struct walk_case {
	const char *bytes; /* from START on; zeros follow */
	size_t n;
	uint32_t end; /* of the area */
	struct {
		enum q2_ext_step step;
		uint32_t type, len, at;
	} expect[STEPS];
} walks[] = {
	/* The end mark alone; twice the same answer. */
	{"", 0, CLUSTER,
	 {{Q2_EXT_ENDED, 0, 0, 104}, {Q2_EXT_ENDED, 0, 0, 104}}},
	/* The end mark with a length, which fits. */
	{"\0\0\0\0\0\0\0\5", 8, CLUSTER, {{Q2_EXT_ENDED, 0, 5, 104}}},
	/* The backing format, padded from 5 bytes to 8. */
	{"\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0", 16, CLUSTER,
	 {{Q2_EXT_ONE, Q2_EXT_FORMAT, 5, 104}, {Q2_EXT_ENDED, 0, 0, 120}}},
	/* No data at all, then another one. */
	{"\x12\x34\x56\x78\0\0\0\0\x44\x41\x54\x41\0\0\0\1/\0\0\0\0\0\0\0", 24,
	 CLUSTER,
	 {{Q2_EXT_ONE, 0x12345678, 0, 104},
	  {Q2_EXT_ONE, Q2_EXT_DATA_FILE, 1, 112},
	  {Q2_EXT_ENDED, 0, 0, 128}}},
	/* The area ends with the padding, or inside of it. */
	{"\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0", 16, 120,
	 {{Q2_EXT_ONE, Q2_EXT_FORMAT, 5, 104}, {Q2_EXT_NO_END, 0, 0, 120},
	  {Q2_EXT_NO_END, 0, 0, 120}}},
	{"\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0", 16, 117,
	 {{Q2_EXT_ONE, Q2_EXT_FORMAT, 5, 104}, {Q2_EXT_NO_END, 0, 0, 117}}},
	/* One byte less than the data. */
	{"\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0", 16, 116,
	 {{Q2_EXT_CUT, Q2_EXT_FORMAT, 5, 104},
	  {Q2_EXT_CUT, Q2_EXT_FORMAT, 5, 104}}},
	/* Less than a head: with its type, and without. */
	{"\xe2\x79\x2a\xca\0\0\0\5", 8, 111,
	 {{Q2_EXT_CUT, Q2_EXT_FORMAT, 0, 104}}},
	{"\xe2\x79\x2a\xca\0\0\0\5", 8, 107, {{Q2_EXT_CUT, 0, 0, 104}}},
	/* Lengths that would wrap. */
	{"\xe2\x79\x2a\xca\xff\xff\xff\xff", 8, CLUSTER,
	 {{Q2_EXT_CUT, Q2_EXT_FORMAT, UINT32_MAX, 104}}},
	{"\0\0\0\0\xff\xff\xff\xf8", 8, CLUSTER,
	 {{Q2_EXT_CUT, 0, 0xfffffff8, 104}}},
	/* Nothing fits. */
	{"", 0, START, {{Q2_EXT_NO_END, 0, 0, 104}}},
};

START_TEST(walk)
{
	const struct walk_case *t = &walks[_i];
	uint8_t bytes[CLUSTER] = {0};
	struct q2_ext_iter it;
	struct q2_ext e;

	memcpy(bytes + START, t->bytes, t->n);
	q2_ext_start(&it, bytes, (struct q2_range){START, t->end - START});
	for (size_t i = 0; i < STEPS; i++) {
		enum q2_ext_step step;

		if (i && t->expect[i].at == 0)
			break;
		step = q2_ext_next(&it, &e);
		ck_assert_int_eq(step, t->expect[i].step);
		ck_assert_uint_eq(e.type, t->expect[i].type);
		ck_assert_uint_eq(e.len, t->expect[i].len);
		ck_assert_uint_eq(e.at, t->expect[i].at);
		if (step == Q2_EXT_ONE || step == Q2_EXT_ENDED)
			ck_assert_ptr_eq(e.data, bytes + e.at + 8);
		else
			ck_assert_ptr_null(e.data);
	}
}
END_TEST

/* Readers take the last one of a type. */
START_TEST(find)
{
	static const char two[] = "\xe2\x79\x2a\xca\0\0\0\3raw\0\0\0\0\0"
				  "\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0"
				  "\0\0\0\0\0\0\0\0"
				  "\xe2\x79\x2a\xca\0\0\0\3vdi\0\0\0\0";
	uint8_t bytes[CLUSTER] = {0};
	struct q2_range where = {START, CLUSTER - START};
	struct q2_ext e = {0};

	memcpy(bytes + START, two, sizeof(two) - 1);
	ck_assert(!q2_ext_find(bytes, where, Q2_EXT_LUKS, &e));
	ck_assert(q2_ext_find(bytes, where, Q2_EXT_FORMAT, &e));
	ck_assert_uint_eq(e.at, 120);
	ck_assert_uint_eq(e.len, 5);
	ck_assert_mem_eq(e.data, "qcow2", 5);
}
END_TEST

/* A heap block of exactly the area's bytes, so that a sanitizer sees every read
 * past them; counts the steps, which must come to an end. */
static void walk_through(const uint8_t *bytes, uint32_t n)
{
	uint8_t *own = malloc(n ? n : 1);
	struct q2_ext_iter it;
	struct q2_ext e;
	uint32_t steps = 0, sum = 0;

	ck_assert_ptr_nonnull(own);
	memcpy(own, bytes, n);
	q2_ext_start(&it, own, (struct q2_range){0, n});
	while (q2_ext_next(&it, &e) == Q2_EXT_ONE) {
		ck_assert_uint_le(++steps, n / 8 + 1);
		for (uint32_t i = 0; i < e.len; i++)
			sum += e.data[i];
	}
	ck_assert_uint_le(e.at, n);
	ck_assert_uint_le(sum, n * 255);
	free(own);
}

START_TEST(any_bytes)
{
	static const char some[] = "\xe2\x79\x2a\xca\0\0\0\5qcow2\0\0\0"
				   "\x23\x85\x28\x75\0\0\0\x18\0\0\0\1\0\0\0\0"
				   "\0\0\0\0\0\0\0\x20\0\0\0\0\0\1\0\0"
				   "\0\0\0\0\0\0\0\0";
	uint8_t bytes[sizeof(some) - 1];

	for (uint32_t n = 0; n <= sizeof(bytes); n++)
		walk_through((const uint8_t *)some, n);
	for (size_t i = 0; i < sizeof(bytes); i++)
		for (unsigned v = 0; v < 256; v++) {
			memcpy(bytes, some, sizeof(bytes));
			bytes[i] = (uint8_t)v;
			walk_through(bytes, sizeof(bytes));
		}
}
END_TEST

/* -------------------------------------------------------------------- LUKS */

/* Two key slots of a LUKS1 header; the others are all zero. */
static const struct luks_case {
	uint64_t magic;
	uint32_t payload, key_bytes;
	uint32_t slot[2][2]; /* key material's sector, stripes */
	bool valid;
	uint64_t keys_end, payload_at;
} lukses[] = {
	/* 4000 stripes of 32 bytes are 250 sectors. */
	{Q2_LUKS_MAGIC, 520, 32, {{8, 4000}, {264, 4000}},
	 true, 264 * 512 + 128000, 520 * 512},
	{Q2_LUKS_MAGIC, 4096, 64, {{8, 4000}, {0, 0}},
	 true, 8 * 512 + 256000, 4096 * 512},
	/* The header itself. */
	{Q2_LUKS_MAGIC, 0, 0, {{0, 0}, {1, 4000}}, true, 592, 0},
	/* The largest numbers do not wrap. */
	{Q2_LUKS_MAGIC, UINT32_MAX, UINT32_MAX,
	 {{UINT32_MAX, UINT32_MAX}, {1, 1}},
	 true, UINT64_MAX, UINT64_C(0xffffffff) * 512},
	/* Version 2, and no LUKS at all. */
	{UINT64_C(0x4c554b53babe0002), 520, 32, {{8, 4000}, {264, 4000}},
	 false, 0, 0},
	{0, 0, 0, {{0, 0}, {0, 0}}, false, 0, 0},
};

START_TEST(luks)
{
	const struct luks_case *t = &lukses[_i];
	uint8_t b[Q2_LUKS_HEADER] = {0};
	struct q2_luks out;

	put(b, 8, t->magic);
	put(b + 104, 4, t->payload);
	put(b + 108, 4, t->key_bytes);
	for (size_t i = 0; i < 2; i++) {
		put(b + 208 + 48 * i + 40, 4, t->slot[i][0]);
		put(b + 208 + 48 * i + 44, 4, t->slot[i][1]);
	}
	ck_assert(q2_luks_parse(b, &out) == t->valid);
	ck_assert_uint_eq(out.magic, t->magic);
	ck_assert_uint_eq(out.keys_end, t->keys_end);
	ck_assert_uint_eq(out.payload, t->payload_at);
}
END_TEST

#define N(array) (int)(sizeof(array) / sizeof(*(array)))

int main(void)
{
	Suite *s = suite_create("ext");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, area, 0, N(areas));
	tcase_add_loop_test(t, walk, 0, N(walks));
	tcase_add_test(t, find);
	tcase_add_test(t, any_bytes);
	tcase_add_loop_test(t, luks, 0, N(lukses));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
