/*
 * test_every_entry.c - every class of L1, L2 and bitmap table entries, beside an
 * oracle.
 *
 * SPDX-License-Identifier: MIT
 *
 * The oracle is written from the format text: it takes an entry apart by a table
 * of bits, and decides by tables.  It shares names with the library, and no mask
 * and no function.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/bitmap.h"
#include "format/entry.h"

#define N(array) (sizeof(array) / sizeof(*(array)))

/* ---------------------------------------------------------------- the fields */

enum part {
	OFFSET,	  /* in bytes, as its bits stand */
	RESERVED, /* how many of them are set */
	ZERO,
	PACKED,
	COPIED,
	PARTS
};

/* Format, "Cluster mapping" and "Bitmap table": of each bit, what it is. */
static const struct bits {
	unsigned first, last;
	enum part part;
} l1_bits[] = {
	{0, 8, RESERVED},
	{9, 55, OFFSET},
	{56, 62, RESERVED},
	{63, 63, COPIED},
}, l2_bits[] = {
	{0, 0, ZERO},
	{1, 8, RESERVED},
	{9, 55, OFFSET},
	{56, 61, RESERVED},
	{62, 62, PACKED},
	{63, 63, COPIED},
}, bitmap_bits[] = {
	{0, 0, ZERO}, /* all ones, if there is no offset */
	{1, 8, RESERVED},
	{9, 55, OFFSET},
	{56, 63, RESERVED},
};

static uint64_t bit(unsigned i)
{
	return UINT64_C(1) << i;
}

static void take_apart(const struct bits *table, size_t n, uint64_t raw,
		       uint64_t parts[PARTS])
{
	memset(parts, 0, PARTS * sizeof(*parts));
	for (size_t i = 0; i < n; i++)
		for (unsigned b = table[i].first; b <= table[i].last; b++) {
			if (!(raw & bit(b)))
				continue;
			parts[table[i].part] +=
				table[i].part == OFFSET ? bit(b) : 1;
		}
}

/* ------------------------------------------------------------------ the image */

struct image {
	unsigned version;
	unsigned cluster_bits;
	bool ext_l2, data_file;
	uint64_t cluster;   /* bytes */
	uint64_t file_size; /* 40 clusters, the last one whole or in part */
	uint64_t file_end;  /* of the last cluster */
	struct q2_geom geom;
};

static void put(uint8_t *p, unsigned bytes, uint64_t v)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v /= 256;
	}
}

/* The geometry comes from a header, as it always does. */
static void make_image(struct image *im, unsigned version, unsigned cluster_bits,
		       bool ext_l2, bool data_file, bool whole)
{
	uint8_t b[Q2_HEADER_READ] = {'Q', 'F', 'I', 0xfb};
	struct q2_header_faults f;
	struct q2_header h;

	*im = (struct image){.version = version, .cluster_bits = cluster_bits,
			     .ext_l2 = ext_l2, .data_file = data_file};
	im->cluster = bit(cluster_bits);
	im->file_end = 40 * im->cluster;
	im->file_size = im->file_end - (whole ? 0 : im->cluster / 2 - 17);
	put(b + 4, 4, version);
	put(b + 20, 4, cluster_bits);
	put(b + 24, 8, 20 * im->cluster);
	put(b + 36, 4, 8);
	put(b + 40, 8, 3 * im->cluster);
	put(b + 48, 8, im->cluster);
	put(b + 56, 4, 1);
	if (version == 3) {
		put(b + 72, 8, (ext_l2 ? 16u : 0u) + (data_file ? 4u : 0u));
		put(b + 96, 4, 4);
		put(b + 100, 4, 104);
	}
	q2_header_parse(b, sizeof(b), &h);
	q2_header_judge(&h, im->file_size, &f);
	ck_assert_uint_eq(f.n, 0);
	ck_assert(q2_geom_make(&h, &f, im->file_size, &im->geom));
}

/* Images of every cluster size, number `i` of them; false behind the last. */
static bool next_image(unsigned i, struct image *im)
{
	static const struct {
		unsigned version;
		bool ext_l2, data_file, whole;
	} kinds[] = {
		{2, false, false, true}, {2, false, false, false},
		{3, false, false, true}, {3, false, false, false},
		{3, false, true, true},	 {3, true, false, true},
		{3, true, false, false}, {3, true, true, true},
	};
	unsigned k = i % N(kinds);
	unsigned cluster_bits = 9 + i / N(kinds);

	if (cluster_bits > 21)
		return false;
	/* Subclusters need clusters of 16 KiB. */
	make_image(im, kinds[k].version, cluster_bits,
		   kinds[k].ext_l2 && cluster_bits >= 14, kinds[k].data_file,
		   kinds[k].whole);
	return true;
}

/* Offsets of every class: none, aligned inside, the last cluster, the first one
 * outside, the largest; each bit that alignment forbids; each bit alone. */
static size_t all_offsets(const struct image *im, uint64_t *out)
{
	size_t n = 0;

	out[n++] = 0;
	out[n++] = im->cluster;
	out[n++] = 39 * im->cluster;
	out[n++] = 40 * im->cluster;
	out[n++] = bit(56) - im->cluster;
	for (unsigned b = 9; b < im->cluster_bits; b++) {
		out[n++] = im->cluster + bit(b);
		out[n++] = 41 * im->cluster + bit(b);
	}
	for (unsigned b = 9; b < 56; b++)
		out[n++] = bit(b);
	return n;
}

/* No bit, each bit alone, and all of these. */
static size_t all_flags(uint64_t among, uint64_t *out)
{
	size_t n = 0;

	out[n++] = 0;
	for (unsigned b = 0; b < 64; b++)
		if (among & bit(b))
			out[n++] = bit(b);
	out[n++] = among;
	return n;
}

/* -------------------------------------------------------------------- L2 table */

struct answer {
	enum q2_l2_type type;
	unsigned faults;
	bool refers;
	uint64_t start, len;
};

/* Format, "Extended L2 Entries": what some subcluster is, by three facts. */
static const enum q2_l2_type by_subclusters[2][2][2] = {
	/* [host cluster][any allocated][any zero] */
	{{Q2_L2_UNALLOCATED, Q2_L2_ZERO_PLAIN},
	 {Q2_L2_UNALLOCATED, Q2_L2_ZERO_PLAIN}},
	{{Q2_L2_NORMAL, Q2_L2_ZERO_ALLOC}, {Q2_L2_NORMAL, Q2_L2_NORMAL}},
};

static const enum q2_l2_type by_zero[2][2] = {
	/* [host cluster][zero flag] */
	{Q2_L2_UNALLOCATED, Q2_L2_ZERO_PLAIN},
	{Q2_L2_NORMAL, Q2_L2_ZERO_ALLOC},
};

static struct answer packed_oracle(const struct image *im, uint64_t raw,
				   uint64_t bitmap)
{
	struct answer a = {.type = Q2_L2_COMPRESSED};
	unsigned x = 62 - (im->cluster_bits - 8);
	uint64_t more = 0, sector, end;

	for (unsigned b = 0; b < 62; b++)
		if (raw & bit(b)) {
			if (b < x)
				a.start += bit(b);
			else
				more += bit(b - x);
		}
	/* From the byte on, through the sector that it is in and `more` ones. */
	sector = a.start / 512;
	end = (sector + more + 1) * 512;
	a.len = end - a.start;
	if (raw & bit(63))
		a.faults |= Q2_EF_COPIED_COMPRESSED;
	if (im->data_file)
		a.faults |= Q2_EF_COMPRESSED_DATA_FILE;
	if (bitmap)
		a.faults |= Q2_EF_COMPRESSED_BITMAP;
	if (a.start >= bit(56) || end > im->file_end)
		a.faults |= Q2_EF_OUTSIDE;
	else if (end - 512 >= im->file_size)
		a.faults |= Q2_EF_CUT;
	/* A stream that is cut is still the entry's. */
	a.refers = !(a.faults & Q2_EF_OUTSIDE) && !im->data_file;
	return a;
}

static void subclusters(uint64_t bitmap, unsigned host, struct answer *a)
{
	unsigned allocated = 0, zero = 0;

	for (unsigned s = 0; s < 32; s++) {
		bool is_allocated = bitmap & bit(s);
		bool is_zero = bitmap & bit(32 + s);

		allocated |= is_allocated;
		zero |= is_zero;
		if (is_allocated && is_zero)
			a->faults |= Q2_EF_SUB_CONFLICT;
	}
	if (allocated && !host)
		a->faults |= Q2_EF_SUB_NO_OFFSET;
	a->type = by_subclusters[host][allocated][zero];
}

static struct answer l2_oracle(const struct image *im, uint64_t raw,
			       uint64_t bitmap, uint64_t guest)
{
	struct answer a = {0};
	uint64_t p[PARTS];
	unsigned host;

	take_apart(l2_bits, N(l2_bits), raw, p);
	if (p[PACKED])
		return packed_oracle(im, raw, bitmap);
	host = p[OFFSET] || (im->data_file && p[COPIED]);
	a.start = p[OFFSET];
	a.len = host ? im->cluster : 0;
	a.type = by_zero[host][p[ZERO]];
	if (im->ext_l2)
		subclusters(bitmap, host, &a);
	a.faults |= p[RESERVED] ? Q2_EF_RESERVED : 0u;
	a.faults |= p[ZERO] && im->version < 3 ? Q2_EF_ZERO_V2 : 0u;
	a.faults |= p[ZERO] && im->ext_l2 ? Q2_EF_ZERO_EXTL2 : 0u;
	if (!host) {
		a.faults |= p[COPIED] ? Q2_EF_COPIED_UNUSED : 0u;
	} else if (p[OFFSET] % im->cluster) {
		a.faults |= Q2_EF_UNALIGNED;
	} else if (im->data_file) {
		a.faults |= p[OFFSET] == guest ? 0u : Q2_EF_DATA_FILE_OFFSET;
		a.faults |= p[COPIED] ? 0u : Q2_EF_DATA_FILE_COPIED;
	} else if (p[OFFSET] >= im->file_size) {
		a.faults |= Q2_EF_OUTSIDE;
	} else {
		a.refers = true;
	}
	return a;
}

static void compare_l2(const struct image *im, uint64_t raw, uint64_t bitmap,
		       uint64_t guest)
{
	struct q2_l2_entry e = q2_l2_decode(&im->geom, raw, bitmap, guest);
	struct answer a = l2_oracle(im, raw, bitmap, guest);

	if (e.type == a.type && e.faults == a.faults && e.refers == a.refers &&
	    e.host.start == a.start && e.host.len == a.len &&
	    e.copied == (raw >= bit(63)))
		return;
	ck_abort_msg("v%u, clusters of 2^%u%s%s: entry %016llx %016llx: type %d "
		     "(%d), faults %x (%x), refers %d (%d), start %llx (%llx), "
		     "length %llx (%llx)",
		     im->version, im->cluster_bits,
		     im->ext_l2 ? ", subclusters" : "",
		     im->data_file ? ", data file" : "",
		     (unsigned long long)raw, (unsigned long long)bitmap, e.type,
		     a.type, e.faults, a.faults, e.refers, a.refers,
		     (unsigned long long)e.host.start,
		     (unsigned long long)a.start, (unsigned long long)e.host.len,
		     (unsigned long long)a.len);
}

/* Of a bitmap: nothing, each bit, all, each pair that contradicts itself, and
 * neighbours that do not. */
static size_t all_bitmaps(const struct image *im, uint64_t *out)
{
	size_t n = 0;

	out[n++] = 0;
	if (!im->ext_l2)
		return n;
	for (unsigned b = 0; b < 64; b++)
		out[n++] = bit(b);
	for (unsigned s = 0; s < 32; s++) {
		out[n++] = bit(s) + bit(32 + s);
		out[n++] = bit(s) + bit(32 + (s + 1) % 32);
	}
	out[n++] = bit(32) - 1;
	out[n++] = UINT64_MAX - (bit(32) - 1);
	out[n++] = UINT64_MAX;
	return n;
}

START_TEST(standard_entries)
{
	uint64_t offsets[96], flags[64], bitmaps[160];
	struct image im;

	for (unsigned i = 0; next_image(i, &im); i++) {
		size_t n_off = all_offsets(&im, offsets);
		size_t n_flag = all_flags(bit(0) + (bit(9) - bit(1)) +
						  (bit(62) - bit(56)), flags);
		size_t n_map = all_bitmaps(&im, bitmaps);

		for (size_t o = 0; o < n_off; o++)
			for (size_t f = 0; f < n_flag; f++)
				for (size_t m = 0; m < n_map; m++) {
					uint64_t raw = offsets[o] + flags[f];

					compare_l2(&im, raw, bitmaps[m],
						   offsets[o]);
					compare_l2(&im, raw + bit(63),
						   bitmaps[m], offsets[o]);
					compare_l2(&im, raw + bit(63),
						   bitmaps[m],
						   7 * im.cluster);
				}
	}
}
END_TEST

/* Where a stream may start; not all of them fit every descriptor. */
static size_t all_starts(const struct image *im, unsigned x, uint64_t *out)
{
	const uint64_t near[] = {0, im->cluster, 39 * im->cluster,
				 im->file_size / 512 * 512, im->file_end};
	size_t n = 0;

	for (size_t i = 0; i < N(near); i++)
		for (unsigned b = 0; b <= im->cluster_bits; b++) {
			out[n++] = near[i] + bit(b);
			out[n++] = near[i] + bit(b) - 1;
		}
	for (unsigned b = 9; b < x; b++)
		out[n++] = bit(b);
	out[n++] = bit(x) - 1;
	return n;
}

START_TEST(compressed_entries)
{
	uint64_t starts[320];
	struct image im;

	for (unsigned i = 0; next_image(i, &im); i++) {
		unsigned x = 62 - (im.cluster_bits - 8);
		size_t n = all_starts(&im, x, starts);

		for (size_t s = 0; s < n; s++)
			for (uint64_t more = 0; more < bit(62 - x); more++) {
				uint64_t raw = bit(62) + more * bit(x) +
					       starts[s];

				compare_l2(&im, raw, 0, 0);
				compare_l2(&im, raw + bit(63), 0, 0);
				if (im.ext_l2)
					compare_l2(&im, raw, bit(more % 64), 0);
				/* Of many lengths, the ends and some. */
				if (more >= 70 && more < bit(62 - x) - 70)
					more += 61;
			}
	}
}
END_TEST

/* --------------------------------------------------------- L1 and bitmap tables */

static void compare_l1(const struct image *im, uint64_t raw)
{
	struct q2_l1_entry e = q2_l1_decode(&im->geom, raw);
	uint64_t p[PARTS];
	unsigned faults;
	bool used = false;

	take_apart(l1_bits, N(l1_bits), raw, p);
	faults = p[RESERVED] ? Q2_EF_RESERVED : 0u;
	if (p[OFFSET] == 0) {
		/* Reserved bits are a fault already. */
		if (p[COPIED] && !p[RESERVED])
			faults |= Q2_EF_FLAGS_ONLY;
	} else if (p[OFFSET] % im->cluster) {
		faults |= Q2_EF_UNALIGNED;
	} else if (p[OFFSET] >= im->file_size) {
		faults |= Q2_EF_OUTSIDE;
	} else {
		used = true;
	}
	ck_assert_msg(e.faults == faults && e.used == used &&
			      e.copied == (p[COPIED] != 0) &&
			      e.table.n == p[OFFSET] / im->cluster,
		      "L1 entry %016llx: faults %x (%x)",
		      (unsigned long long)raw, e.faults, faults);
}

static void compare_bitmap(const struct image *im, uint64_t raw)
{
	struct q2_bitmap_entry e = q2_bitmap_decode(&im->geom, raw);
	uint64_t p[PARTS];
	unsigned faults;
	bool used = false;

	take_apart(bitmap_bits, N(bitmap_bits), raw, p);
	faults = p[RESERVED] || (p[ZERO] && p[OFFSET]) ? Q2_EF_RESERVED : 0u;
	if (p[OFFSET] % im->cluster)
		faults |= Q2_EF_UNALIGNED;
	else if (p[OFFSET] >= im->file_size)
		faults |= Q2_EF_OUTSIDE;
	else
		used = p[OFFSET] != 0;
	ck_assert_msg(e.faults == faults && e.used == used &&
			      e.ones == (p[ZERO] && !p[OFFSET]) &&
			      e.host == p[OFFSET],
		      "bitmap table entry %016llx: faults %x (%x)",
		      (unsigned long long)raw, e.faults, faults);
}

START_TEST(other_entries)
{
	uint64_t offsets[96], l1[64], bitmap[64];
	struct image im;

	for (unsigned i = 0; next_image(i, &im); i++) {
		size_t n_off = all_offsets(&im, offsets);
		size_t n_l1 = all_flags(bit(9) - 1 + bit(63) - bit(56), l1);
		size_t n_bitmap = all_flags(bit(9) - 1 +
					    (UINT64_MAX - (bit(56) - 1)),
					    bitmap);

		for (size_t o = 0; o < n_off; o++) {
			for (size_t f = 0; f < n_l1; f++) {
				compare_l1(&im, offsets[o] + l1[f]);
				compare_l1(&im, offsets[o] + l1[f] + bit(63));
			}
			for (size_t f = 0; f < n_bitmap; f++)
				compare_bitmap(&im, offsets[o] + bitmap[f]);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("every entry");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, standard_entries);
	tcase_add_test(t, compressed_entries);
	tcase_add_test(t, other_entries);
	tcase_set_timeout(t, 600);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
