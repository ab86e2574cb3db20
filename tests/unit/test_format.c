/*
 * test_format.c - header, geometry, entries and refcounts against the format text.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/entry.h"
#include "format/refcount.h"

#define MIB (UINT64_C(1) << 20)

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

/* A sound version 3 header: 64 KiB clusters, 1 GiB disk, 2 L1 entries. */
static void sound(uint8_t b[Q2_HEADER_READ])
{
	memset(b, 0, Q2_HEADER_READ);
	put32(b, 0x514649fb);
	put32(b + 4, 3);
	put32(b + 20, 16);
	put64(b + 24, 1024 * MIB);
	put32(b + 36, 2);
	put64(b + 40, 0x30000);
	put64(b + 48, 0x10000);
	put32(b + 56, 1);
	put32(b + 96, 4);
	put32(b + 100, 112);
}

static void judge(const uint8_t *b, struct q2_header_faults *f,
		  struct q2_geom *g, bool *made)
{
	struct q2_header h;

	q2_header_parse(b, Q2_HEADER_READ, &h);
	q2_header_judge(&h, 16 * MIB, f);
	*made = q2_geom_make(&h, f, 16 * MIB, g);
}

START_TEST(sound_header_has_no_faults)
{
	uint8_t b[Q2_HEADER_READ];
	struct q2_header_faults f;
	struct q2_geom g;
	bool made;

	sound(b);
	judge(b, &f, &g, &made);
	ck_assert_uint_eq(f.n, 0);
	ck_assert(made);
	ck_assert_uint_eq(g.l1_needed, 2);
	ck_assert_uint_eq(g.l2_bits, 13);
	ck_assert_uint_eq(g.block_bits, 15);
	ck_assert_uint_eq(g.offset_bits, 54);
	ck_assert_uint_eq(g.disk_clusters, 16384);
	ck_assert_uint_eq(g.file_clusters, 256);
}
END_TEST

/* One field each: where, how wide, the value, and the fault it must raise. */
static const struct {
	unsigned at;
	unsigned width;
	uint64_t value;
	enum q2_header_fault_id fault;
	bool geometry;
} fields[] = {
	{4, 4, 1, Q2_HF_VERSION, false},
	{4, 4, 4, Q2_HF_VERSION, false},
	{20, 4, 8, Q2_HF_CLUSTER_BITS, false},
	{20, 4, 22, Q2_HF_CLUSTER_BITS, false},
	{20, 4, 0xffffffff, Q2_HF_CLUSTER_BITS, false},
	{24, 8, 1023 * MIB + 1, Q2_HF_SIZE_UNALIGNED, true},
	{24, 8, UINT64_MAX, Q2_HF_SIZE_TOO_BIG, false},
	{24, 8, UINT64_C(1) << 62, Q2_HF_SIZE_TOO_BIG, false},
	{36, 4, 1, Q2_HF_L1_TOO_SMALL, true},
	{36, 4, 4194305, Q2_HF_L1_LIMIT, true},
	{40, 8, 0x30200, Q2_HF_L1_UNALIGNED, true},
	{40, 8, 0, Q2_HF_L1_ZERO, true},
	{40, 8, 16 * MIB, Q2_HF_L1_OUTSIDE, true},
	{40, 8, UINT64_C(0x7fffffffffff0000), Q2_HF_L1_OUTSIDE, true},
	{40, 8, UINT64_C(0xffffffffffff0000), Q2_HF_L1_OUTSIDE, true},
	{48, 8, 0x10001, Q2_HF_REFTABLE_UNALIGNED, true},
	{48, 8, 0, Q2_HF_REFTABLE_MISSING, true},
	{48, 8, UINT64_C(0xffffffffffff0000), Q2_HF_REFTABLE_OUTSIDE, true},
	{56, 4, 0, Q2_HF_REFTABLE_MISSING, true},
	{56, 4, 129, Q2_HF_REFTABLE_LIMIT, true},
	{56, 4, 0xffffffff, Q2_HF_REFTABLE_LIMIT, true},
	{60, 4, 65537, Q2_HF_SNAPSHOT_COUNT, true},
	{64, 8, 0x200, Q2_HF_SNAPTABLE_UNALIGNED, true},
	{60, 4, 1, Q2_HF_SNAPTABLE_ZERO, true},
	{32, 4, 3, Q2_HF_CRYPT_METHOD, true},
	{72, 8, 1, Q2_HF_DIRTY, true},
	{72, 8, 2, Q2_HF_CORRUPT, true},
	{72, 8, 32, Q2_HF_INCOMPAT_UNKNOWN, false},
	{72, 8, UINT64_C(1) << 63, Q2_HF_INCOMPAT_UNKNOWN, false},
	{72, 8, 8, Q2_HF_COMPRESSION_BIT, true},
	{104, 1, 1, Q2_HF_COMPRESSION_BIT, true},
	{104, 1, 2, Q2_HF_COMPRESSION_TYPE, true},
	{80, 8, 2, Q2_HF_COMPAT_UNKNOWN, true},
	{88, 8, 4, Q2_HF_AUTOCLEAR_UNKNOWN, true},
	{88, 8, 2, Q2_HF_RAW_BIT_NO_DATA_FILE, true},
	{96, 4, 7, Q2_HF_REFCOUNT_ORDER, true},
	{100, 4, 103, Q2_HF_HEADER_LENGTH, true},
	{100, 4, 0x10001, Q2_HF_HEADER_LENGTH, true},
	{100, 4, 105, Q2_HF_LENGTH_UNALIGNED, true},
	{107, 1, 1, Q2_HF_PADDING, true},
	{8, 8, 0x10000, Q2_HF_BACKING_OFFSET, true},
	{8, 8, 4, Q2_HF_BACKING_IN_HEADER, true},
	{8, 8, 0x200, Q2_HF_BACKING_EMPTY, true},
};

START_TEST(each_field_raises_its_fault)
{
	uint8_t b[Q2_HEADER_READ];
	struct q2_header_faults f;
	struct q2_geom g;
	bool made;

	sound(b);
	if (fields[_i].width == 1)
		b[fields[_i].at] = (uint8_t)fields[_i].value;
	else if (fields[_i].width == 4)
		put32(b + fields[_i].at, (uint32_t)fields[_i].value);
	else
		put64(b + fields[_i].at, fields[_i].value);
	judge(b, &f, &g, &made);
	ck_assert_msg(q2_header_has(&f, fields[_i].fault), "row %d", _i);
	/* Snapshots without a table are a fault of their own. */
	ck_assert_uint_eq(f.n, fields[_i].fault == Q2_HF_SNAPSHOT_COUNT ? 2 : 1);
	ck_assert_msg(made == fields[_i].geometry, "row %d", _i);
}
END_TEST

/* Format: what a geometry promises must hold for any bytes. */
START_TEST(geometry_is_in_range_for_any_bytes)
{
	uint8_t b[Q2_HEADER_READ];
	uint64_t x = 88172645463325252u;
	struct q2_header_faults f;
	struct q2_geom g;
	bool made;
	unsigned geometries = 0;

	for (int round = 0; round < 200000; round++) {
		sound(b);
		for (int k = 0; k < 3; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			b[4 + x % 104] = (uint8_t)(x >> 32);
		}
		judge(b, &f, &g, &made);
		ck_assert_uint_le(f.n, Q2_HF_COUNT);
		if (!made)
			continue;
		geometries++;
		ck_assert(g.cluster_bits >= 9 && g.cluster_bits <= 21);
		ck_assert(g.ref_order <= 6);
		ck_assert_uint_le(g.l1_entries, Q2_L1_MAX);
		ck_assert_uint_le(g.l1_needed, Q2_L1_MAX);
		ck_assert_uint_le(g.reftable_bytes, Q2_REFTABLE_MAX);
		ck_assert_uint_le(g.snapshots, Q2_SNAPSHOTS_MAX);
		ck_assert_uint_eq(g.l1_offset % g.cluster_size, 0);
		ck_assert(g.disk_clusters << g.cluster_bits >= g.disk_size);
	}
	ck_assert_uint_gt(geometries, 10000);
}
END_TEST

static struct q2_geom geometry(bool ext_l2, bool data_file, unsigned version)
{
	uint8_t b[Q2_HEADER_READ];
	struct q2_header_faults f;
	struct q2_geom g;
	bool made;

	sound(b);
	put32(b + 4, version);
	put64(b + 72, (ext_l2 ? 16u : 0u) | (data_file ? 4u : 0u));
	put32(b + 36, 8);
	judge(b, &f, &g, &made);
	ck_assert(made);
	return g;
}

#define C Q2_COPIED
#define Z Q2_ZERO

static const struct {
	bool ext_l2, data_file;
	unsigned version;
	uint64_t raw, bitmap, guest;
	enum q2_l2_type type;
	unsigned faults;
	bool refers;
} entries[] = {
	{0, 0, 3, 0, 0, 0, Q2_L2_UNALLOCATED, 0, 0},
	{0, 0, 3, C | 0x50000, 0, 0, Q2_L2_NORMAL, 0, 1},
	{0, 0, 3, 0x50000, 0, 0, Q2_L2_NORMAL, 0, 1},
	{0, 0, 3, Z, 0, 0, Q2_L2_ZERO_PLAIN, 0, 0},
	{0, 0, 3, C | Z | 0x50000, 0, 0, Q2_L2_ZERO_ALLOC, 0, 1},
	{0, 0, 2, Z, 0, 0, Q2_L2_ZERO_PLAIN, Q2_EF_ZERO_V2, 0},
	{0, 0, 3, C, 0, 0, Q2_L2_UNALLOCATED, Q2_EF_COPIED_UNUSED, 0},
	{0, 0, 3, C | 0x50200, 0, 0, Q2_L2_NORMAL, Q2_EF_UNALIGNED, 0},
	{0, 0, 3, 0x50002, 0, 0, Q2_L2_NORMAL, Q2_EF_RESERVED, 1},
	{0, 0, 3, UINT64_C(1) << 56 | 0x50000, 0, 0, Q2_L2_NORMAL,
	 Q2_EF_RESERVED, 1},
	{0, 0, 3, UINT64_C(1) << 61 | 0x50000, 0, 0, Q2_L2_NORMAL,
	 Q2_EF_RESERVED, 1},
	{0, 0, 3, 0xff0000, 0, 0, Q2_L2_NORMAL, 0, 1},
	{0, 0, 3, 0x1000000, 0, 0, Q2_L2_NORMAL, Q2_EF_OUTSIDE, 0},
	{0, 0, 3, UINT64_C(0x00ffffffffff0000), 0, 0, Q2_L2_NORMAL,
	 Q2_EF_OUTSIDE, 0},
	/* Extended: allocation bits 0-31, zero bits 32-63. */
	{1, 0, 3, C | 0x50000, 1, 0, Q2_L2_NORMAL, 0, 1},
	{1, 0, 3, C | 0x50000, 0, 0, Q2_L2_NORMAL, 0, 1},
	{1, 0, 3, 0, UINT64_C(1) << 32, 0, Q2_L2_ZERO_PLAIN, 0, 0},
	{1, 0, 3, 0x50000, UINT64_C(1) << 32, 0, Q2_L2_ZERO_ALLOC, 0, 1},
	{1, 0, 3, 0x50000, UINT64_C(1) << 32 | 1, 0, Q2_L2_NORMAL,
	 Q2_EF_SUB_CONFLICT, 1},
	{1, 0, 3, 0x50000, UINT64_C(1) << 33 | 1, 0, Q2_L2_NORMAL, 0, 1},
	{1, 0, 3, 0, 1, 0, Q2_L2_UNALLOCATED, Q2_EF_SUB_NO_OFFSET, 0},
	{1, 0, 3, C | Z | 0x50000, 1, 0, Q2_L2_NORMAL, Q2_EF_ZERO_EXTL2, 1},
	/* Data file: host offset = guest offset, COPIED always. */
	{0, 1, 3, C | 0x50000, 0, 0x50000, Q2_L2_NORMAL, 0, 0},
	{0, 1, 3, C, 0, 0, Q2_L2_NORMAL, 0, 0},
	{0, 1, 3, 0, 0, 0, Q2_L2_UNALLOCATED, 0, 0},
	{0, 1, 3, C | 0x60000, 0, 0x50000, Q2_L2_NORMAL,
	 Q2_EF_DATA_FILE_OFFSET, 0},
	{0, 1, 3, 0x50000, 0, 0x50000, Q2_L2_NORMAL, Q2_EF_DATA_FILE_COPIED,
	 0},
	/* Compressed: 54 bits of offset, 8 of additional sectors. */
	{0, 0, 3, Q2_COMPRESSED | 0x50123, 0, 0, Q2_L2_COMPRESSED, 0, 1},
	{0, 0, 3, C | Q2_COMPRESSED | 0x50123, 0, 0, Q2_L2_COMPRESSED,
	 Q2_EF_COPIED_COMPRESSED, 1},
	{0, 0, 3, Q2_COMPRESSED | 0xfffe00, 0, 0, Q2_L2_COMPRESSED, 0, 1},
	{0, 0, 3, Q2_COMPRESSED | UINT64_C(1) << 54 | 0xfffe00, 0, 0,
	 Q2_L2_COMPRESSED, Q2_EF_OUTSIDE, 0},
	{0, 1, 3, Q2_COMPRESSED | 0x50000, 0, 0, Q2_L2_COMPRESSED,
	 Q2_EF_COMPRESSED_DATA_FILE, 0},
	{1, 0, 3, Q2_COMPRESSED | 0x50000, 4, 0, Q2_L2_COMPRESSED,
	 Q2_EF_COMPRESSED_BITMAP, 1},
};

START_TEST(l2_entries)
{
	struct q2_geom g = geometry(entries[_i].ext_l2, entries[_i].data_file,
				    entries[_i].version);
	struct q2_l2_entry e = q2_l2_decode(&g, entries[_i].raw,
					    entries[_i].bitmap,
					    entries[_i].guest);

	ck_assert_msg(e.type == entries[_i].type, "row %d: type %d", _i,
		      (int)e.type);
	ck_assert_msg(e.faults == entries[_i].faults, "row %d: faults %x", _i,
		      e.faults);
	ck_assert_msg(e.refers == entries[_i].refers, "row %d: refers", _i);
}
END_TEST

START_TEST(compressed_extent)
{
	struct q2_geom g = geometry(false, false, 3);
	struct q2_l2_entry e = q2_l2_decode(
		&g, Q2_COMPRESSED | UINT64_C(2) << 54 | 0x50123, 0, 0);

	/* From the byte on, to the end of the second sector after its own. */
	ck_assert_uint_eq(e.host.start, 0x50123);
	ck_assert_uint_eq(q2_end(e.host), 0x50000 + 3 * 512);
}
END_TEST

START_TEST(l1_entries)
{
	struct q2_geom g = geometry(false, false, 3);

	ck_assert(!q2_l1_decode(&g, 0).used);
	ck_assert_uint_eq(q2_l1_decode(&g, 0).faults, 0);
	ck_assert(q2_l1_decode(&g, C | 0x50000).used);
	ck_assert_uint_eq(q2_l1_decode(&g, C | 0x50000).table.n, 5);
	ck_assert_uint_eq(q2_l1_decode(&g, C).faults, Q2_EF_FLAGS_ONLY);
	ck_assert_uint_eq(q2_l1_decode(&g, 0x50001).faults, Q2_EF_RESERVED);
	ck_assert_uint_eq(q2_l1_decode(&g, UINT64_C(1) << 62 | 0x50000).faults,
			  Q2_EF_RESERVED);
	ck_assert_uint_eq(q2_l1_decode(&g, 0x50200).faults, Q2_EF_UNALIGNED);
	ck_assert_uint_eq(q2_l1_decode(&g, 0x1000000).faults, Q2_EF_OUTSIDE);
}
END_TEST

START_TEST(refcounts_of_every_width)
{
	/* Bits of byte 0 are 10110010, least significant first in use. */
	static const uint8_t b[16] = {0xb2, 0x01, 0x02, 0x03, 0x04, 0x05,
				      0x06, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 9};
	static const unsigned bits[8] = {0, 1, 0, 0, 1, 1, 0, 1};

	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(q2_refcount(b, 0, i), bits[i]);
	ck_assert_uint_eq(q2_refcount(b, 0, 8), 1);
	ck_assert_uint_eq(q2_refcount(b, 1, 0), 2);
	ck_assert_uint_eq(q2_refcount(b, 1, 1), 0);
	ck_assert_uint_eq(q2_refcount(b, 1, 2), 3);
	ck_assert_uint_eq(q2_refcount(b, 1, 3), 2);
	ck_assert_uint_eq(q2_refcount(b, 2, 0), 2);
	ck_assert_uint_eq(q2_refcount(b, 2, 1), 0xb);
	ck_assert_uint_eq(q2_refcount(b, 3, 1), 1);
	ck_assert_uint_eq(q2_refcount(b, 4, 1), 0x0203);
	ck_assert_uint_eq(q2_refcount(b, 5, 1), 0x04050607);
	ck_assert_uint_eq(q2_refcount(b, 6, 1), UINT64_C(0x0800000000000009));
	ck_assert_uint_eq(q2_refcount_max(0), 1);
	ck_assert_uint_eq(q2_refcount_max(4), 65535);
	ck_assert_uint_eq(q2_refcount_max(6), UINT64_MAX);
}
END_TEST

START_TEST(arithmetic_does_not_wrap)
{
	uint64_t r = 7;

	ck_assert(!q2_add(UINT64_MAX, 1, &r));
	ck_assert_uint_eq(r, 7);
	ck_assert(q2_add(UINT64_MAX - 1, 1, &r));
	ck_assert_uint_eq(r, UINT64_MAX);
	ck_assert(!q2_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &r));
	ck_assert(q2_mul(UINT64_C(1) << 32, UINT64_C(1) << 31, &r));
	ck_assert_uint_eq(q2_div_up(UINT64_MAX, 512), UINT64_C(1) << 55);
	ck_assert(q2_inside(5, 5, 10));
	ck_assert(!q2_inside(6, 5, 10));
	ck_assert(!q2_inside(UINT64_MAX, 2, 10));
	ck_assert(!q2_overlap((struct q2_range){0, 5},
			      (struct q2_range){5, 5}));
	ck_assert(q2_overlap((struct q2_range){0, 6},
			     (struct q2_range){5, 5}));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("format");
	TCase *t = tcase_create("format");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, sound_header_has_no_faults);
	tcase_add_loop_test(t, each_field_raises_its_fault, 0,
			    (int)(sizeof(fields) / sizeof(fields[0])));
	tcase_add_test(t, geometry_is_in_range_for_any_bytes);
	tcase_add_loop_test(t, l2_entries, 0,
			    (int)(sizeof(entries) / sizeof(entries[0])));
	tcase_add_test(t, compressed_extent);
	tcase_add_test(t, l1_entries);
	tcase_add_test(t, refcounts_of_every_width);
	tcase_add_test(t, arithmetic_does_not_wrap);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
