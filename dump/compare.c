/*
 * compare.c - whether two guests read the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "dump.h"

/* As qemu-img compare has them. */
enum { SAME = 0, DIFFERENT = 1, NOT_OPENED = 2, NOT_READ = 4 };

static bool on_difference(void *ctx, uint64_t guest, uint64_t length)
{
	struct dump *dump = ctx;
	struct q2_buf b = {0};

	q2_buf_format(&b, "differ: %llu to %llu (%llu bytes)\n",
		      (unsigned long long)guest,
		      (unsigned long long)(guest + length - 1),
		      (unsigned long long)length);
	(void)q2_cli_output_add(&dump->out, b.at, b.n);
	q2_buf_free(&b);
	return dump->out.error != 0;
}

static void say_sizes(struct dump *dump, const struct q2_guest *a,
		      const struct q2_guest *b)
{
	char text[160];

	if (q2_guest_size(a) == q2_guest_size(b) || dump->options->quiet)
		return;
	snprintf(text, sizeof(text),
		 "the disks have different sizes, %llu and %llu bytes",
		 (unsigned long long)q2_guest_size(a),
		 (unsigned long long)q2_guest_size(b));
	q2_cli_complain(dump->tool, NULL, text);
}

static int compare(struct dump *dump, struct q2_guest *a, struct q2_guest *b)
{
	struct q2_read_opts scan = dump_scan(dump);
	struct q2_err err = {0};
	bool same;
	enum q2_status st;

	say_sizes(dump, a, b);
	st = q2_guest_compare(a, b, &scan,
			      dump->options->quiet ? NULL : on_difference,
			      &same, &err);
	q2_cli_progress_clear(&dump->progress);
	if (st != Q2_OK) {
		int status = dump_failed(dump, NULL, st, &err);

		return status == Q2_EXIT_INTERRUPTED ? status : NOT_READ;
	}
	return same ? SAME : DIFFERENT;
}

int dump_compare(struct dump *dump, const char *path_a, const char *path_b)
{
	const struct options *o = dump->options;
	struct q2_guest *a = NULL, *b = NULL;
	int status = NOT_OPENED;

	dump_close_sandbox(dump, path_a, path_b, NULL);
	if (dump_open(dump, path_a, o->format, &a) == 0 &&
	    dump_open_other(dump, path_b, &b) == 0)
		status = compare(dump, a, b);
	q2_guest_close(a);
	q2_guest_close(b);
	return status;
}
