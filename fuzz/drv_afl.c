/*
 * drv_afl.c - AFL++ persistent mode with shared memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * The target is what the program's name ends with, after the last "-":
 * q2fuzz-afl-check runs the target check.
 */
#include <string.h>
#include <unistd.h>

#include "q2fuzz.h"

__AFL_FUZZ_INIT();

int main(int argc, char **argv)
{
	const char *dash = strrchr(argv[0], '-');
	const struct q2f_target *t = dash ? q2f_target(dash + 1) : NULL;
	const unsigned char *data;

	(void)argc;
	if (t == NULL)
		return 2;
	__AFL_INIT();
	data = __AFL_FUZZ_TESTCASE_BUF;
	while (__AFL_LOOP(100000))
		t->run(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
	return 0;
}
