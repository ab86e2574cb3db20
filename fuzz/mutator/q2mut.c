/*
 * q2mut.c - one mutation, one generated image, and what was done.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "mut_own.h"

#define TRIES 8u /* of what an image may lack */

static char last[160];
static size_t last_n;
static unsigned said; /* how often, whether there was room or not */

static void say(const char *text)
{
	size_t n = strlen(text);

	said++;
	if (last_n + n + 2 > sizeof(last))
		return;
	if (last_n)
		last[last_n++] = ' ';
	memcpy(last + last_n, text, n + 1);
	last_n += n;
}

static char *put_number(char *p, size_t n)
{
	char digits[24];
	size_t k = 0;

	do
		digits[k++] = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	while (k)
		*p++ = digits[--k];
	return p;
}

void mut_say(const char *what, size_t at, const char *how)
{
	char text[80], *p = text;
	size_t n = strlen(what);

	if (n > 24)
		n = 24;
	memcpy(p, what, n);
	p += n;
	*p++ = '@';
	p = put_number(p, at);
	if (how) {
		*p++ = '=';
		n = strlen(how);
		memcpy(p, how, n);
		p += n;
	}
	*p = 0;
	say(text);
}

const char *q2mut_last(void)
{
	return last;
}

static void forget(void)
{
	last_n = 0;
	last[0] = 0;
}

/* One to four changes; a third of the time refcounts follow. */
static void damage(struct mut *m)
{
	unsigned n = 1;

	while (n < 4 && mut_one_in(m, 3))
		n++;
	while (n--) {
		unsigned before = said;

		for (unsigned i = 0; i < TRIES && said == before; i++) {
			mut_look(m);
			if (m->n < 128 || mut_below(m, 8) < 6)
				mut_field(m);
			else
				mut_structure(m);
		}
	}
	if (mut_one_in(m, 3)) {
		mut_fix(m);
		say("fix");
	}
}

size_t q2mut_splice(uint8_t *buf, size_t n, size_t cap, const uint8_t *other,
		    size_t n_other, uint64_t seed, uint32_t profile)
{
	struct mut m = {.b = buf,
			.n = n,
			.cap = cap,
			.rng = seed,
			.profile = profile,
			.other = other,
			.n_other = n_other};

	forget();
	if (n == 0)
		return q2mut_generate(buf, cap, seed, profile);
	mut_look(&m);
	damage(&m);
	return m.n;
}

size_t q2mut_mutate(uint8_t *buf, size_t n, size_t cap, uint64_t seed,
		    uint32_t profile)
{
	return q2mut_splice(buf, n, cap, NULL, 0, seed, profile);
}

size_t q2mut_generate(uint8_t *buf, size_t cap, uint64_t seed,
		      uint32_t profile)
{
	struct mut m = {.b = buf,
			.cap = cap < Q2MUT_MAX ? cap : Q2MUT_MAX,
			.rng = seed * UINT64_C(0xd1342543de82ef95) + 1,
			.profile = profile};

	forget();
	if (cap < 32768)
		return 0;
	mut_base(&m);
	if (profile != Q2MUT_SOUND)
		damage(&m);
	return m.n;
}
