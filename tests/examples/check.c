/*
 * check.c - checks a QCOW2 image that is held in memory, as a service would do
 * with an upload.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: check <IMAGE                  cc check.c $(pkg-config --cflags --libs q2)
 */
#include <inttypes.h>
#include <q2.h>
#include <stdio.h>
#include <stdlib.h>

static void found(void *ctx, const struct q2_finding *f)
{
	char text[400];

	(void)ctx;
	q2_finding_message(f, text, sizeof(text));
	printf("%s: %s\n", f->problem->id, text);
}

int main(void)
{
	/* What a file claims to hold must not cost more than this. */
	const struct q2_check_opts opts = {.max_memory = 64 << 20,
					   .found = found};
	struct q2_check_result result;
	struct q2_err err = {0};
	struct q2_io *io = NULL;
	unsigned char *bytes = NULL;
	size_t size = 0, got;

	do {
		unsigned char *more = realloc(bytes, size + 65536);

		if (more == NULL) {
			free(bytes);
			return 1;
		}
		bytes = more;
		got = fread(bytes + size, 1, 65536, stdin);
		size += got;
	} while (got != 0);
	if (q2_io_memory(bytes, size, &io, &err) != Q2_OK ||
	    q2_check(io, &opts, &result, &err) != Q2_OK) {
		fprintf(stderr, "check: %s\n", err.text);
		q2_io_close(io);
		free(bytes);
		return 1;
	}
	printf("%s: %" PRIu64 " corruptions, %" PRIu64 " leaked clusters\n",
	       q2_verdict_text(result.verdict), result.corruptions,
	       result.leaks);
	q2_io_close(io);
	free(bytes);
	return result.verdict == Q2_CLEAN ? 0 : 2;
}
