/*
 * testplan.h - plans made by chance, and what they must make of an image.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTPLAN_H
#define TESTPLAN_H

#include "repair/plan.h"

#define TEST_MAX 8192 /* no image is larger */

/* A number below `below`; the same row of them after the same seed. */
void test_seed(uint64_t seed);
uint32_t test_number(uint32_t below);

struct test_image {
	uint8_t bytes[TEST_MAX];
	uint64_t size;
};

struct test_case {
	struct test_image before;
	struct test_image after;
	struct q2_plan *plan;
};

/* An image and a plan of some edits, many of which touch the same sectors. */
void test_case_make(struct test_case *c, uint64_t seed, unsigned n_edits);
void test_case_free(struct test_case *c);

/* An image in memory that can be written; the caller closes it. */
struct q2_io *test_open(const struct test_image *image);

/* Whether the object holds just that. */
bool test_holds(struct q2_io *io, const struct test_image *image);

#endif
