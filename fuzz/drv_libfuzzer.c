/*
 * drv_libfuzzer.c - libFuzzer, and whatever takes its interface (OSS-Fuzz).
 *
 * SPDX-License-Identifier: MIT
 *
 * The target is what the program's name ends with, after a "-": q2fuzz-lf-check runs
 * the target check.  Q2F_KNOWN in the environment names oracles that are known to be
 * broken.
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

/* "crash-repair" ends like "repair": the longest one counts. */
static bool is_named(const char *program, const struct q2f_target *t)
{
	size_t n = strlen(program), len = strlen(t->name);

	return n > len && program[n - len - 1] == '-' &&
	       strcmp(program + n - len, t->name) == 0 &&
	       (target == NULL || len > strlen(target->name));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *known = getenv("Q2F_KNOWN");

	(void)argc;
	for (const struct q2f_target *t = q2f_targets; t->name; t++)
		if (is_named((*argv)[0], t))
			target = t;
	if (target == NULL)
		exit(2);
	if (known)
		q2f_known = known;
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
