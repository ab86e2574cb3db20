/*
 * header_oracle.h - what a header says and which rules it breaks.
 *
 * SPDX-License-Identifier: MIT
 *
 * Written from the format text and from QEMU's limits as its documentation tells
 * them, without the library's help: a table of fields, and a table of rules that
 * each say of the fields alone whether they are broken.
 */
#ifndef HEADER_ORACLE_H
#define HEADER_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "format/header.h"

enum field {
	VERSION, BACKING_OFFSET, BACKING_SIZE, CLUSTER_BITS, SIZE, CRYPT,
	L1_SIZE, L1_OFFSET, REFTABLE_OFFSET, REFTABLE_CLUSTERS, SNAPSHOTS,
	SNAPSHOTS_OFFSET, INCOMPATIBLE, COMPATIBLE, AUTOCLEAR, ORDER, LENGTH,
	TYPE, PADDING, FIELDS, NO_FIELD = FIELDS
};

/* Format, "Header". */
static const struct {
	unsigned at, bytes;
} where[FIELDS] = {
	[VERSION] = {4, 4},	      [BACKING_OFFSET] = {8, 8},
	[BACKING_SIZE] = {16, 4},     [CLUSTER_BITS] = {20, 4},
	[SIZE] = {24, 8},	      [CRYPT] = {32, 4},
	[L1_SIZE] = {36, 4},	      [L1_OFFSET] = {40, 8},
	[REFTABLE_OFFSET] = {48, 8},  [REFTABLE_CLUSTERS] = {56, 4},
	[SNAPSHOTS] = {60, 4},	      [SNAPSHOTS_OFFSET] = {64, 8},
	[INCOMPATIBLE] = {72, 8},     [COMPATIBLE] = {80, 8},
	[AUTOCLEAR] = {88, 8},	      [ORDER] = {96, 4},
	[LENGTH] = {100, 4},	      [TYPE] = {104, 1},
	[PADDING] = {105, 7},
};

struct image {
	uint64_t v[FIELDS];
	uint64_t file_size;
	/* The oracle's: */
	uint64_t cluster;  /* bytes */
	uint64_t file_end; /* of the last cluster, which may be there in part */
	uint64_t needed;   /* L1 entries */
};

static uint64_t up(uint64_t n, uint64_t unit)
{
	return n / unit + (n % unit ? 1 : 0);
}

static bool has_bit(uint64_t v, unsigned i)
{
	while (i--)
		v /= 2;
	return v % 2;
}

static void write_bytes(const struct image *im, uint8_t b[Q2_HEADER_READ])
{
	memset(b, 0, Q2_HEADER_READ);
	memcpy(b, "QFI\xfb", 4);
	for (int f = 0; f < FIELDS; f++) {
		uint64_t v = im->v[f];

		for (unsigned i = where[f].bytes; i--; v /= 256)
			b[where[f].at + i] = (uint8_t)v;
	}
}

/* Bytes that the file does not have are zero. */
static void read_bytes(struct image *im, const uint8_t b[Q2_HEADER_READ])
{
	for (int f = 0; f < FIELDS; f++) {
		im->v[f] = 0;
		for (unsigned i = 0; i < where[f].bytes; i++)
			im->v[f] = im->v[f] * 256 +
				   (where[f].at + i < im->file_size ?
					    b[where[f].at + i] : 0);
	}
}

/* What the fields mean: a version 2 header ends after 72 bytes, and one of
 * version 3 where it says; what it lacks has the value that was usual before. */
static void read_as(struct image *im)
{
	uint64_t *v = im->v;
	bool v3 = v[VERSION] == 3;

	for (int f = INCOMPATIBLE; f < FIELDS && !v3; f++)
		v[f] = 0;
	if (!v3) {
		v[ORDER] = 4;
		v[LENGTH] = 72;
	}
	if (v[LENGTH] <= where[TYPE].at)
		v[TYPE] = 0;
	for (unsigned at = 105; at < Q2_HEADER_READ; at++)
		if (at >= v[LENGTH]) {
			/* The bytes from `at` on are not the header's. */
			for (unsigned i = at; i < Q2_HEADER_READ; i++)
				v[PADDING] /= 256;
			break;
		}
	im->cluster = 1;
	if (v[CLUSTER_BITS] > 21)
		return;
	for (uint64_t i = 0; i < v[CLUSTER_BITS]; i++)
		im->cluster *= 2;
	im->file_end = up(im->file_size, im->cluster) * im->cluster;
	if (im->cluster >= 16)
		im->needed = up(up(v[SIZE], im->cluster), im->cluster /
				(has_bit(v[INCOMPATIBLE], 4) ? 16 : 8));
}

/* ------------------------------------------------------------------- the rules */

#define RULE(name) static bool name(const struct image *im, const uint64_t *v)

RULE(short_file)
{
	if (im->file_size < 72)
		return true;
	return v[VERSION] == 3 && im->file_size < 104;
}
RULE(version) { (void)im; return v[VERSION] < 2 || v[VERSION] > 3; }
RULE(incompat_unknown) { (void)im; return v[INCOMPATIBLE] > 31; }
RULE(cluster_bits)
{
	(void)im;
	return v[CLUSTER_BITS] < 9 || v[CLUSTER_BITS] > 21;
}
RULE(extl2_bits)
{
	return !cluster_bits(im, v) && has_bit(v[INCOMPATIBLE], 4) &&
	       v[CLUSTER_BITS] < 14;
}
RULE(size_too_big) { (void)v; return im->needed > 32 * 1048576 / 8; }
RULE(size_unaligned) { return !size_too_big(im, v) && v[SIZE] % 512; }
RULE(l1_too_small) { return !size_too_big(im, v) && v[L1_SIZE] < im->needed; }
RULE(crypt_method) { (void)im; return v[CRYPT] > 2; }
RULE(l1_limit) { (void)im; return v[L1_SIZE] > 32 * 1048576 / 8; }
RULE(l1_unaligned) { return v[L1_OFFSET] % im->cluster; }
RULE(l1_zero) { (void)im; return v[L1_OFFSET] == 0 && v[L1_SIZE]; }
RULE(l1_outside)
{
	if (l1_limit(im, v) || l1_unaligned(im, v) || l1_zero(im, v))
		return false;
	/* A table of no entries needs an offset that a file can have. */
	if (v[L1_SIZE] == 0)
		return v[L1_OFFSET] > UINT64_MAX / 2;
	return v[L1_OFFSET] > im->file_end ||
	       v[L1_SIZE] > (im->file_end - v[L1_OFFSET]) / 8;
}
RULE(reftable_unaligned) { return v[REFTABLE_OFFSET] % im->cluster; }
RULE(reftable_missing)
{
	return !reftable_unaligned(im, v) &&
	       (v[REFTABLE_OFFSET] == 0 || v[REFTABLE_CLUSTERS] == 0);
}
RULE(reftable_outside)
{
	return !reftable_unaligned(im, v) && !reftable_missing(im, v) &&
	       v[REFTABLE_OFFSET] >= im->file_size;
}
RULE(reftable_limit)
{
	return v[REFTABLE_CLUSTERS] > 8 * 1048576 / im->cluster;
}
RULE(snapshot_count) { (void)im; return v[SNAPSHOTS] > 65536; }
RULE(snaptable_unaligned)
{
	return v[SNAPSHOTS_OFFSET] % im->cluster ||
	       has_bit(v[SNAPSHOTS_OFFSET], 63);
}
RULE(snaptable_zero)
{
	(void)im;
	return v[SNAPSHOTS_OFFSET] == 0 && v[SNAPSHOTS];
}
RULE(dirty) { (void)im; return has_bit(v[INCOMPATIBLE], 0); }
RULE(corrupt) { (void)im; return has_bit(v[INCOMPATIBLE], 1); }
RULE(type_unknown) { (void)im; return v[TYPE] > 1; }
RULE(type_bit)
{
	return !type_unknown(im, v) &&
	       has_bit(v[INCOMPATIBLE], 3) != (v[TYPE] == 1);
}
RULE(autoclear_unknown) { (void)im; return v[AUTOCLEAR] > 3; }
RULE(compat_unknown) { (void)im; return v[COMPATIBLE] > 1; }
RULE(raw_no_data_file)
{
	(void)im;
	return has_bit(v[AUTOCLEAR], 1) && !has_bit(v[INCOMPATIBLE], 2);
}
RULE(raw_backing)
{
	(void)im;
	return has_bit(v[AUTOCLEAR], 1) && has_bit(v[INCOMPATIBLE], 2) &&
	       v[BACKING_OFFSET] && v[BACKING_SIZE];
}
RULE(order) { (void)im; return v[ORDER] > 6; }
RULE(header_length)
{
	return v[VERSION] == 3 && (v[LENGTH] < 104 || v[LENGTH] > im->cluster);
}
RULE(length_unaligned) { return !header_length(im, v) && v[LENGTH] % 8; }
RULE(padding) { (void)im; return v[PADDING] != 0; }
RULE(backing_offset) { return v[BACKING_OFFSET] >= im->cluster; }
RULE(backing_size)
{
	return v[BACKING_OFFSET] && !backing_offset(im, v) &&
	       (v[BACKING_SIZE] > 1023 ||
		v[BACKING_SIZE] > im->cluster - v[BACKING_OFFSET]);
}
RULE(backing_in_header)
{
	(void)im;
	return v[BACKING_OFFSET] && v[BACKING_OFFSET] < v[LENGTH];
}
RULE(backing_empty)
{
	return v[BACKING_OFFSET] && !backing_in_header(im, v) &&
	       !backing_offset(im, v) && v[BACKING_SIZE] == 0;
}
RULE(snapshot_data_file)
{
	(void)im;
	return has_bit(v[INCOMPATIBLE], 2) && v[SNAPSHOTS];
}

/* `field` is what the fault reports, if that is one as it stands. */
static const struct {
	enum q2_header_fault_id id;
	bool (*broken)(const struct image *im, const uint64_t *v);
	enum field field;
} rules[] = {
	/* The first five leave nothing to judge the others by. */
	{Q2_HF_VERSION, version, VERSION},
	{Q2_HF_SHORT, short_file, NO_FIELD},
	{Q2_HF_INCOMPAT_UNKNOWN, incompat_unknown, NO_FIELD},
	{Q2_HF_CLUSTER_BITS, cluster_bits, CLUSTER_BITS},
	{Q2_HF_EXTL2_BITS, extl2_bits, CLUSTER_BITS},
	{Q2_HF_SIZE_TOO_BIG, size_too_big, SIZE},
	{Q2_HF_SIZE_UNALIGNED, size_unaligned, SIZE},
	{Q2_HF_L1_TOO_SMALL, l1_too_small, L1_SIZE},
	{Q2_HF_CRYPT_METHOD, crypt_method, CRYPT},
	{Q2_HF_L1_LIMIT, l1_limit, L1_SIZE},
	{Q2_HF_L1_UNALIGNED, l1_unaligned, L1_OFFSET},
	{Q2_HF_L1_ZERO, l1_zero, L1_OFFSET},
	{Q2_HF_L1_OUTSIDE, l1_outside, L1_OFFSET},
	{Q2_HF_REFTABLE_UNALIGNED, reftable_unaligned, REFTABLE_OFFSET},
	{Q2_HF_REFTABLE_MISSING, reftable_missing, REFTABLE_OFFSET},
	{Q2_HF_REFTABLE_OUTSIDE, reftable_outside, REFTABLE_OFFSET},
	{Q2_HF_REFTABLE_LIMIT, reftable_limit, NO_FIELD},
	{Q2_HF_SNAPSHOT_COUNT, snapshot_count, SNAPSHOTS},
	{Q2_HF_SNAPTABLE_UNALIGNED, snaptable_unaligned, SNAPSHOTS_OFFSET},
	{Q2_HF_SNAPTABLE_ZERO, snaptable_zero, SNAPSHOTS},
	{Q2_HF_DIRTY, dirty, NO_FIELD},
	{Q2_HF_CORRUPT, corrupt, NO_FIELD},
	{Q2_HF_COMPRESSION_BIT, type_bit, TYPE},
	{Q2_HF_COMPRESSION_TYPE, type_unknown, TYPE},
	{Q2_HF_AUTOCLEAR_UNKNOWN, autoclear_unknown, NO_FIELD},
	{Q2_HF_COMPAT_UNKNOWN, compat_unknown, NO_FIELD},
	{Q2_HF_RAW_BIT_NO_DATA_FILE, raw_no_data_file, NO_FIELD},
	{Q2_HF_RAW_BIT_BACKING, raw_backing, NO_FIELD},
	{Q2_HF_REFCOUNT_ORDER, order, ORDER},
	{Q2_HF_HEADER_LENGTH, header_length, LENGTH},
	{Q2_HF_LENGTH_UNALIGNED, length_unaligned, LENGTH},
	{Q2_HF_PADDING, padding, NO_FIELD},
	{Q2_HF_BACKING_OFFSET, backing_offset, BACKING_OFFSET},
	{Q2_HF_BACKING_SIZE, backing_size, BACKING_SIZE},
	{Q2_HF_BACKING_IN_HEADER, backing_in_header, BACKING_OFFSET},
	{Q2_HF_BACKING_EMPTY, backing_empty, BACKING_OFFSET},
	{Q2_HF_SNAPSHOT_DATA_FILE, snapshot_data_file, SNAPSHOTS},
};

#define ROOTS 5u

#endif
