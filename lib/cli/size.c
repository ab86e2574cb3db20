/*
 * size.c - sizes as users write them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli/cli.h"

/* "0x" and digits, no unit. */
static bool hexadecimal(const char *text, uint64_t *size)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t n = 0;

	for (text += 2; *text; text++) {
		int c = *text >= 'A' && *text <= 'F' ? *text + 32 : *text;
		const char *digit = strchr(digits, c);

		if (digit == NULL || n >> 60)
			return false;
		n = n << 4 | (uint64_t)(digit - digits);
	}
	*size = n;
	return true;
}

bool q2_cli_size(const char *text, uint64_t *size)
{
	static const char units[] = "KMGTPE";
	uint64_t n = 0;
	unsigned shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	if (text[0] == '0' && text[1] == 'x' && text[2] != '\0')
		return hexadecimal(text, size);
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	if (*text != '\0') {
		const char *unit = strchr(units, *text == 'k' ? 'K' : *text);

		if (unit == NULL)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		if (strcmp(text + 1, "") != 0 && strcmp(text + 1, "iB") != 0)
			return false;
	}
	if (n > UINT64_MAX >> shift)
		return false;
	*size = n << shift;
	return true;
}
