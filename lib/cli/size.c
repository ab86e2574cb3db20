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

/* Decimal digits; NULL if there are none or they are too many. */
static const char *decimal(const char *text, uint64_t *number)
{
	uint64_t n = 0;

	if (*text < '0' || *text > '9')
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return NULL;
		n = n * 10 + digit;
	}
	*number = n;
	return text;
}

/* What stands behind a point; of more digits than a double has, the first ones. */
static const char *fraction(const char *text, double *part)
{
	uint64_t n = 0, of = 1;

	for (; *text >= '0' && *text <= '9'; text++)
		if (of < 1000000000000000) {
			n = n * 10 + (uint64_t)(*text - '0');
			of *= 10;
		}
	*part = (double)n / (double)of;
	return text;
}

bool q2_cli_number(const char *text, uint64_t *number)
{
	text = decimal(text, number);
	return text && *text == '\0';
}

bool q2_cli_size(const char *text, uint64_t *size)
{
	static const char units[] = "KMGTPE";
	uint64_t n, rest;
	double part = 0;
	unsigned shift = 0;
	bool whole = true;

	if (text[0] == '0' && text[1] == 'x' && text[2] != '\0')
		return hexadecimal(text, size);
	text = decimal(text, &n);
	if (text == NULL)
		return false;
	if (*text == '.') {
		text = fraction(text + 1, &part);
		whole = false;
	}
	if (*text != '\0') {
		const char *unit = strchr(units, *text == 'k' ? 'K' : *text);

		if (unit == NULL)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		if (strcmp(text + 1, "") != 0 && strcmp(text + 1, "iB") != 0)
			return false;
	}
	/* There are no parts of bytes. */
	if (n > UINT64_MAX >> shift || (!whole && shift == 0))
		return false;
	rest = (uint64_t)(part * (double)((uint64_t)1 << shift) + 0.5);
	if (rest > UINT64_MAX - (n << shift))
		return false;
	*size = (n << shift) + rest;
	return true;
}
