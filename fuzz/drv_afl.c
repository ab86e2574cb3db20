/*
 * drv_afl.c - AFL++ persistent mode with shared memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * Compiled for each target: TARGET is its function.  Q2F_KNOWN in the environment
 * names oracles that are known to be broken.
 */
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "q2fuzz.h"

__AFL_FUZZ_INIT();

int main(void)
{
	const char *known = getenv("Q2F_KNOWN");
	const unsigned char *data;

	if (known)
		q2f_known = known;
	/* What one execution gave back the next one gets, and not the kernel. */
	mallopt(M_MMAP_THRESHOLD, 8 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
	__AFL_INIT();
	data = __AFL_FUZZ_TESTCASE_BUF;
	while (__AFL_LOOP(100000))
		TARGET(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
	return 0;
}
