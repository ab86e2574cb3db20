/*
 * afl_glue.c - the mutator as AFL++ loads it: AFL_CUSTOM_MUTATOR_LIBRARY.
 *
 * SPDX-License-Identifier: MIT
 *
 * The functions are those of AFL++'s documented interface for custom mutators;
 * no header of AFL++ is needed.
 */
#include <stdlib.h>
#include <string.h>

#include "q2mut.h"

#define EXPORT __attribute__((visibility("default")))

struct glue {
	uint64_t seed;
	uint8_t *buf;
	size_t room;
	uint8_t *trimmed; /* the best so far */
	size_t n_trimmed;
	unsigned step, steps;
};

EXPORT void *afl_custom_init(void *afl, unsigned seed);
EXPORT void afl_custom_deinit(void *data);
EXPORT size_t afl_custom_fuzz(void *data, uint8_t *in, size_t n, uint8_t **out,
			      uint8_t *add, size_t n_add, size_t max);
EXPORT const char *afl_custom_describe(void *data, size_t max);
EXPORT int32_t afl_custom_init_trim(void *data, uint8_t *in, size_t n);
EXPORT size_t afl_custom_trim(void *data, uint8_t **out);
EXPORT int32_t afl_custom_post_trim(void *data, uint8_t success);

static int make_room(struct glue *g, size_t n)
{
	uint8_t *buf;

	if (g->room >= n)
		return 1;
	buf = realloc(g->buf, n);
	if (buf == NULL)
		return 0;
	g->buf = buf;
	g->room = n;
	return 1;
}

void *afl_custom_init(void *afl, unsigned seed)
{
	struct glue *g = calloc(1, sizeof(*g));

	(void)afl;
	if (g)
		g->seed = seed;
	return g;
}

void afl_custom_deinit(void *data)
{
	struct glue *g = data;

	free(g->buf);
	free(g->trimmed);
	free(g);
}

size_t afl_custom_fuzz(void *data, uint8_t *in, size_t n, uint8_t **out,
		       uint8_t *add, size_t n_add, size_t max)
{
	struct glue *g = data;
	size_t room = n + Q2MUT_MAX;

	*out = in;
	if (room > max)
		room = max > n ? max : n;
	if (!make_room(g, room))
		return n;
	memcpy(g->buf, in, n);
	*out = g->buf;
	n = q2mut_splice(g->buf, n, room, add, n_add, g->seed++, Q2MUT_ANY);
	return n > max ? max : n;
}

const char *afl_custom_describe(void *data, size_t max)
{
	static char text[160];
	size_t n = 0;

	(void)data;
	for (const char *p = q2mut_last(); *p && n + 1 < sizeof(text) &&
					   n + 1 < max; p++)
		text[n++] = (char)(*p == ' ' || *p == '/' ? ',' : *p);
	text[n] = 0;
	return text;
}

int32_t afl_custom_init_trim(void *data, uint8_t *in, size_t n)
{
	struct glue *g = data;
	uint8_t *copy = realloc(g->trimmed, n ? n : 1);

	if (copy == NULL || !make_room(g, n))
		return 0;
	memcpy(copy, in, n);
	g->trimmed = copy;
	g->n_trimmed = n;
	g->step = 0;
	g->steps = q2mut_trim_steps(n);
	return (int32_t)g->steps;
}

size_t afl_custom_trim(void *data, uint8_t **out)
{
	struct glue *g = data;
	size_t n = q2mut_trim(g->trimmed, g->n_trimmed, g->buf, g->room,
			      g->step);

	if (n == 0) { /* nothing to do: the same once more */
		n = g->n_trimmed;
		memcpy(g->buf, g->trimmed, n);
	}
	*out = g->buf;
	return n;
}

int32_t afl_custom_post_trim(void *data, uint8_t success)
{
	struct glue *g = data;
	size_t n = q2mut_trim(g->trimmed, g->n_trimmed, g->buf, g->room,
			      g->step);

	if (success && n) {
		memcpy(g->trimmed, g->buf, n);
		g->n_trimmed = n;
	}
	return (int32_t)++g->step;
}
