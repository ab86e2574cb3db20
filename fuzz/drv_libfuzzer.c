/*
 * drv_libfuzzer.c - libFuzzer, and whatever takes its interface (OSS-Fuzz).
 *
 * SPDX-License-Identifier: MIT
 *
 * The target is what the program's name ends with, after the last "-":
 * q2fuzz-lf-check runs the target check.
 */
#include <stdlib.h>
#include <string.h>

#include "mutator/q2mut.h"
#include "q2fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

static const struct q2f_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dash = strrchr((*argv)[0], '-');

	(void)argc;
	target = dash ? q2f_target(dash + 1) : NULL;
	if (target == NULL)
		exit(2);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return target->run(data, size);
}

/* A quarter of the time bytes are changed without knowing what they are. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed)
{
	if (size && (seed % 4 == 0 || max < Q2MUT_MAX))
		return LLVMFuzzerMutate(data, size, max);
	return q2mut_mutate(data, size, max, seed, Q2MUT_ANY);
}
