/*
 * test_snapshot.c - records of the snapshot table.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/snapshot.h"

#define ROOM 4096

/* What a record is made from; fields as in the format's table. */
struct recipe {
	uint64_t l1_offset;
	uint32_t l1_size;
	uint16_t id_len, name_len;
	uint32_t sec, nsec;
	uint64_t clock;
	uint32_t vm_state_32, extra_len;
	uint64_t extra[3]; /* VM state, disk size, icount */
	const char *text;  /* id and name, right behind the extra data */
};

static const struct recipe usual = {
	.l1_offset = 0x30000,
	.l1_size = 1,
	.id_len = 1,
	.name_len = 4,
	.sec = 1700000000,
	.nsec = 123456789,
	.clock = 42,
	.extra_len = 24,
	.extra = {0, 1048576, UINT64_MAX},
	.text = "1snap",
};

static uint8_t *put(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = bytes; i--; v >>= 8)
		p[i] = (uint8_t)v;
	return p + bytes;
}

/* Returns the length without padding. */
static size_t make(uint8_t b[ROOM], const struct recipe *r)
{
	uint8_t *p = b;

	memset(b, 0, ROOM);
	p = put(p, 8, r->l1_offset);
	p = put(p, 4, r->l1_size);
	p = put(p, 2, r->id_len);
	p = put(p, 2, r->name_len);
	p = put(p, 4, r->sec);
	p = put(p, 4, r->nsec);
	p = put(p, 8, r->clock);
	p = put(p, 4, r->vm_state_32);
	p = put(p, 4, r->extra_len);
	for (size_t i = 0; i < 3; i++)
		put(p + 8 * i, 8, r->extra[i]);
	if (r->extra_len <= 1024) {
		p += r->extra_len;
		memcpy(p, r->text, strlen(r->text));
		p += strlen(r->text);
	}
	return (size_t)(p - b);
}

/* ------------------------------------------------------------------ fields */
START_TEST(fields)
{
	uint8_t b[ROOM];
	size_t n = make(b, &usual);
	struct q2_snapshot s;

	q2_snapshot_parse(b, n, &s);
	ck_assert_uint_eq(s.l1_offset, 0x30000);
	ck_assert_uint_eq(s.l1_size, 1);
	ck_assert_uint_eq(s.id_len, 1);
	ck_assert_uint_eq(s.name_len, 4);
	ck_assert_uint_eq(s.sec, 1700000000);
	ck_assert_uint_eq(s.nsec, 123456789);
	ck_assert_uint_eq(s.clock, 42);
	ck_assert_uint_eq(s.extra_len, 24);
	ck_assert(s.has_disk_size && s.has_vm_state_64);
	ck_assert_uint_eq(s.disk_size, 1048576);
	/* 40 bytes, 24 of extra data, 1 + 4 of text, 3 of padding. */
	ck_assert_uint_eq(s.id_at, 64);
	ck_assert_uint_eq(s.name_at, 65);
	ck_assert_uint_eq(s.end, 69);
	ck_assert_uint_eq(s.len, 72);
	ck_assert_mem_eq(b + s.id_at, "1", 1);
	ck_assert_mem_eq(b + s.name_at, "snap", 4);
}
END_TEST

static const struct size_case {
	uint32_t extra_len, vm_state_32;
	uint64_t extra[2];
	bool has_state, has_disk;
	uint64_t state, disk, len;
} sizes[] = {
	/* "If this field is present, the 32-bit value is ignored." */
	{24, 7, {9, 512}, true, true, 9, 512, 72},
	{16, 7, {UINT64_C(1) << 40, 512},
	 true, true, UINT64_C(1) << 40, 512, 64},
	{15, 7, {9, 0}, true, false, 9, 0, 64},
	{8, 7, {9, 0}, true, false, 9, 0, 56},
	{7, 7, {0, 0}, false, false, 7, 0, 56},
	{0, UINT32_MAX, {0, 0}, false, false, UINT32_MAX, 0, 48},
	{1024, 0, {1, 2}, true, true, 1, 2, 1072},
};

START_TEST(extra)
{
	const struct size_case *t = &sizes[_i];
	struct recipe r = usual;
	uint8_t b[ROOM];
	struct q2_snapshot s;
	size_t n;

	r.extra_len = t->extra_len;
	r.vm_state_32 = t->vm_state_32;
	memcpy(r.extra, t->extra, sizeof(t->extra));
	n = make(b, &r);
	q2_snapshot_parse(b, n, &s);
	ck_assert(s.has_vm_state_64 == t->has_state);
	ck_assert(s.has_disk_size == t->has_disk);
	ck_assert_uint_eq(s.vm_state, t->state);
	ck_assert_uint_eq(s.disk_size, t->disk);
	ck_assert_uint_eq(s.len, t->len);
	ck_assert_int_eq(q2_snapshot_judge(b, n, &s), Q2_SNAPSHOT_SOUND);
}
END_TEST

/* ------------------------------------------------------ sound and plausible */
static const struct q2_geom geom = {
	.version = 3,
	.cluster_bits = 16,
	.l2_bits = 13,
	.entry_bits = 3,
	.cluster_size = 65536,
	.file_size = 0x50000,
	.file_clusters = 5,
};

/* One deviation from the usual record each. */
static const struct judge_case {
	const char *what;
	size_t at; /* in the record */
	unsigned bytes;
	uint64_t value;
	enum q2_snapshot_state state;
	bool plausible;
} judges[] = {
	{"nothing", 8, 4, 1, Q2_SNAPSHOT_SOUND, true},
	{"L1 at 0", 0, 8, 0, Q2_SNAPSHOT_SOUND, false},
	{"L1 not aligned", 0, 8, 0x30200, Q2_SNAPSHOT_SOUND, false},
	{"L1 past the end", 0, 8, 0x50000, Q2_SNAPSHOT_SOUND, false},
	{"L1 ends with the file", 0, 8, 0x40000, Q2_SNAPSHOT_SOUND, true},
	{"L1 of no entries", 8, 4, 0, Q2_SNAPSHOT_SOUND, false},
	{"L1 up to the end", 8, 4, 0x20000 / 8, Q2_SNAPSHOT_SOUND, true},
	{"L1 too long", 8, 4, 0x20000 / 8 + 1, Q2_SNAPSHOT_SOUND, false},
	{"no id", 12, 2, 0, Q2_SNAPSHOT_SOUND, false},
	{"no name", 14, 2, 0, Q2_SNAPSHOT_SOUND, true},
	{"id reaches into padding", 12, 2, 2, Q2_SNAPSHOT_BAD, false},
	{"name reaches into padding", 14, 2, 5, Q2_SNAPSHOT_BAD, false},
	{"name reaches far", 14, 2, 0x8004, Q2_SNAPSHOT_BAD, false},
	{"a second has more", 20, 4, 1000000000, Q2_SNAPSHOT_SOUND, false},
	{"extra data of 16", 36, 4, 16, Q2_SNAPSHOT_SOUND, false},
	{"extra data of 0", 36, 4, 0, Q2_SNAPSHOT_BAD, false},
	{"extra data of 1032", 36, 4, 1032, Q2_SNAPSHOT_EXTRA, false},
	{"extra data without end", 36, 4, UINT32_MAX, Q2_SNAPSHOT_EXTRA, false},
	{"disk of 512 MiB", 48, 8, UINT64_C(1) << 29, Q2_SNAPSHOT_SOUND, true},
	{"disk larger than L1", 48, 8, (UINT64_C(1) << 29) + 1,
	 Q2_SNAPSHOT_SOUND, false},
	{"control character", 66, 1, 7, Q2_SNAPSHOT_SOUND, false},
	{"not ASCII", 66, 1, 0xe4, Q2_SNAPSHOT_SOUND, true},
	{"NUL in the id", 64, 1, 0, Q2_SNAPSHOT_BAD, false},
};

START_TEST(judge)
{
	const struct judge_case *t = &judges[_i];
	uint8_t b[ROOM];
	struct q2_snapshot s;

	make(b, &usual);
	/* With 16 bytes the last eight of the extra data become text. */
	if (!strcmp(t->what, "extra data of 16"))
		memset(b + 56, '\t', 8);
	put(b + t->at, t->bytes, t->value);
	q2_snapshot_parse(b, sizeof(b), &s);
	ck_assert_msg(q2_snapshot_judge(b, sizeof(b), &s) == t->state, "%s",
		      t->what);
	ck_assert_msg(q2_snapshot_plausible(&geom, b, sizeof(b), &s) ==
			      t->plausible,
		      "%s", t->what);
}
END_TEST

START_TEST(zeros)
{
	uint8_t b[ROOM] = {0};
	struct q2_snapshot s;

	q2_snapshot_parse(b, sizeof(b), &s);
	ck_assert_uint_eq(s.len, 40);
	ck_assert_int_eq(q2_snapshot_judge(b, sizeof(b), &s), Q2_SNAPSHOT_BAD);
}
END_TEST

/* The table is there, whatever the lengths behind it say. */
START_TEST(table)
{
	static const struct {
		size_t at;
		unsigned bytes;
		uint64_t value;
		bool there;
	} cases[] = {
		{8, 4, 1, true},	  {12, 2, 0xffff, true},
		{36, 4, 0xffffffff, true}, {0, 8, 0, false},
		{0, 8, 0x30200, false},   {0, 8, 0x50000, false},
		{0, 8, UINT64_C(0xffffffffffff0000), false},
		{8, 4, 0, false},	  {8, 4, 4194305, false},
		{20, 4, 1000000000, false},
	};
	uint8_t b[ROOM];
	struct q2_snapshot s;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		make(b, &usual);
		put(b + cases[i].at, cases[i].bytes, cases[i].value);
		q2_snapshot_parse(b, sizeof(b), &s);
		ck_assert(q2_snapshot_has_table(&geom, &s) == cases[i].there);
	}
}
END_TEST

/* Records without a disk size are to be expected in version 2 only. */
START_TEST(version2)
{
	struct q2_geom g = geom;
	struct recipe r = usual;
	uint8_t b[ROOM];
	struct q2_snapshot s;
	size_t n;

	r.extra_len = 0;
	memset(r.extra, 0, sizeof(r.extra));
	n = make(b, &r);
	q2_snapshot_parse(b, n, &s);
	ck_assert_int_eq(q2_snapshot_judge(b, n, &s), Q2_SNAPSHOT_SOUND);
	ck_assert(!q2_snapshot_plausible(&g, b, n, &s));
	g.version = 2;
	ck_assert(q2_snapshot_plausible(&g, b, n, &s));
}
END_TEST

/* --------------------------------------------------------------- any bytes */

/* Exactly n bytes on the heap, so that a sanitizer sees reads past them. */
static enum q2_snapshot_state try(const uint8_t *bytes, size_t n)
{
	uint8_t *own = malloc(n ? n : 1);
	struct q2_snapshot s;
	enum q2_snapshot_state state;
	bool plausible;

	ck_assert_ptr_nonnull(own);
	memcpy(own, bytes, n);
	q2_snapshot_parse(own, n, &s);
	state = q2_snapshot_judge(own, n, &s);
	plausible = q2_snapshot_plausible(&geom, own, n, &s);
	ck_assert(!plausible || state == Q2_SNAPSHOT_SOUND);
	ck_assert(state != Q2_SNAPSHOT_SOUND || s.end <= n);
	ck_assert_uint_eq(s.len % 8, 0);
	ck_assert_uint_lt(s.len - s.end, 8);
	free(own);
	return state;
}

START_TEST(truncated)
{
	uint8_t b[ROOM];
	size_t n = make(b, &usual);

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(try(b, i), Q2_SNAPSHOT_CUT);
	ck_assert_int_eq(try(b, n), Q2_SNAPSHOT_SOUND);
}
END_TEST

START_TEST(any_bytes)
{
	uint8_t b[ROOM];
	size_t n = make(b, &usual);

	for (size_t i = 0; i < n; i++) {
		uint8_t was = b[i];

		for (unsigned v = 0; v < 256; v++) {
			b[i] = (uint8_t)v;
			try(b, n);
		}
		b[i] = was;
	}
}
END_TEST

#define N(array) (int)(sizeof(array) / sizeof(*(array)))

int main(void)
{
	Suite *s = suite_create("snapshot");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, fields);
	tcase_add_loop_test(t, extra, 0, N(sizes));
	tcase_add_loop_test(t, judge, 0, N(judges));
	tcase_add_test(t, zeros);
	tcase_add_test(t, table);
	tcase_add_test(t, version2);
	tcase_add_test(t, truncated);
	tcase_add_test(t, any_bytes);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
