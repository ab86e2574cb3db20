/*
 * drv_afl.c - AFL++ persistent mode with shared memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * Compiled for each target: TARGET is its function.  Q2F_KNOWN in the environment
 * names oracles that are known to be broken.
 */
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
	q2f_keep_memory();
	__AFL_INIT();
	data = __AFL_FUZZ_TESTCASE_BUF;
	while (__AFL_LOOP(100000))
		TARGET(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
	return 0;
}
