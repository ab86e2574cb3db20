/*
 * drv_novelty.c - which inputs run what none before did.
 *
 * SPDX-License-Identifier: MIT
 *
 * With VARIANT=edges each edge of the library's code has a counter, and this
 * finds those that were never counted before.  Elsewhere nothing is ever new.
 */
#include "drv_novelty.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGES 4096u

static struct {
	uint8_t *start;
	size_t n;
} ranges[RANGES];
static size_t n_ranges, n_edges;
static uint8_t *seen;

/* Called by the compiler's code, for each object file. */
void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);
void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop)
{
	if (start == stop || n_ranges == RANGES)
		return;
	for (size_t i = 0; i < n_ranges; i++)
		if (ranges[i].start == start)
			return;
	ranges[n_ranges].start = start;
	ranges[n_ranges++].n = (size_t)(stop - start);
	n_edges += (size_t)(stop - start);
}

void q2f_novelty_load(const char *path)
{
	FILE *f = fopen(path, "rb");

	seen = calloc(n_edges ? n_edges : 1, 1);
	if (seen == NULL)
		abort();
	if (f) {
		if (fread(seen, 1, n_edges, f) != n_edges)
			memset(seen, 0, n_edges);
		fclose(f);
	}
}

int q2f_novelty_store(const char *path)
{
	FILE *f = fopen(path, "wb");
	size_t all = 0;

	for (size_t i = 0; i < n_edges; i++)
		all += seen[i];
	fprintf(stderr, "q2fuzz: %zu of %zu edges\n", all, n_edges);
	if (f == NULL || fwrite(seen, 1, n_edges, f) != n_edges ||
	    fclose(f) != 0)
		return 2;
	return 0;
}

size_t q2f_novelty(void)
{
	uint8_t *mark = seen;
	size_t fresh = 0;

	for (size_t r = 0; r < n_ranges; r++) {
		const uint8_t *c = ranges[r].start;

		for (size_t i = 0; i < ranges[r].n; i++) {
			fresh += c[i] && !mark[i];
			mark[i] |= c[i] != 0;
		}
		mark += ranges[r].n;
	}
	return fresh;
}
