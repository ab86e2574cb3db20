/*
 * test_every_refcount.c - every refcount width and index, with every value or,
 * where those are too many, every bit, beside an oracle.
 *
 * SPDX-License-Identifier: MIT
 *
 * The oracle is written from the format text and goes bit by bit.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/refcount.h"

#define N(array) (sizeof(array) / sizeof(*(array)))
#define BLOCK 512u /* the smallest one */

static uint64_t bit(unsigned i)
{
	return UINT64_C(1) << i;
}

/* Format, "Refcount block entry": where bit `b` of refcount number `i` is. */
static void place(unsigned width, unsigned i, unsigned b, unsigned *byte,
		  unsigned *in_byte)
{
	if (width < 8) {
		*byte = i / (8 / width);
		*in_byte = i % (8 / width) * width + b;
	} else {
		/* Big-endian. */
		*byte = (i + 1) * (width / 8) - 1 - b / 8;
		*in_byte = b % 8;
	}
}

static void oracle_set(uint8_t *block, unsigned width, unsigned i, uint64_t v)
{
	for (unsigned b = 0; b < width; b++) {
		unsigned byte, in_byte;

		place(width, i, b, &byte, &in_byte);
		block[byte] = (uint8_t)(block[byte] & ~bit(in_byte));
		if (v & bit(b))
			block[byte] = (uint8_t)(block[byte] + bit(in_byte));
	}
}

static void one_refcount(unsigned order, unsigned i, uint64_t v)
{
	static const uint8_t grounds[] = {0x00, 0xff, 0xa5};
	uint8_t ours[BLOCK], theirs[BLOCK];
	unsigned width = (unsigned)bit(order);
	/* The bytes that a refcount and its neighbours are in. */
	size_t from = width < 8 ? i / (8 / width) : i * (width / 8);
	size_t span = width < 8 ? 1 : width / 8;
	size_t low = from < 8 ? 0 : from - 8;
	size_t high = from + span + 8 < BLOCK ? from + span + 8 : BLOCK;

	for (size_t k = 0; k < N(grounds); k++) {
		memset(ours + low, grounds[k], high - low);
		memset(theirs + low, grounds[k], high - low);
		oracle_set(theirs, width, i, v);
		if (q2_refcount(theirs, order, i) != v)
			ck_abort_msg("refcount %u of %u bits is not read", i,
				     width);
		q2_refcount_set(ours, order, i, v);
		if (memcmp(ours + low, theirs + low, high - low) != 0)
			ck_abort_msg("refcount %u of %u bits is not set as it "
				     "should be", i, width);
	}
}

START_TEST(refcounts)
{
	unsigned order = (unsigned)_i;
	unsigned width = (unsigned)bit(order);
	unsigned n = BLOCK * 8 / width;
	uint64_t largest = 0;

	for (unsigned b = 0; b < width; b++)
		largest += bit(b);
	ck_assert_uint_eq(q2_refcount_max(order), largest);
	for (unsigned i = 0; i < n; i++) {
		if (width <= 8)
			for (uint64_t v = 0; v <= largest; v++)
				one_refcount(order, i, v);
		for (unsigned b = 0; b < width; b++) {
			one_refcount(order, i, bit(b));
			one_refcount(order, i, bit(b) - 1);
			one_refcount(order, i, largest - bit(b));
		}
	}
	/* Sixteen bits, the usual width: every value. */
	for (uint64_t v = 0; order == 4 && v <= largest; v++)
		one_refcount(order, (unsigned)(v % n), v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("every refcount");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, refcounts, 0, 7);
	tcase_set_timeout(t, 600);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
