/*
 * plan.c - plans a repair of everything and prints it; nothing is written.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: plan IMAGE                    cc plan.c $(pkg-config --cflags --libs q2)
 */
#include <q2.h>
#include <stdio.h>

static int put(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	return fwrite(bytes, 1, n, stdout) == n ? 0 : -1;
}

int main(int argc, char *argv[])
{
	const struct q2_plan_opts opts = {.flags = Q2_PLAN_ALL};
	const struct q2_sink sink = {.write = put};
	struct q2_plan_result result;
	struct q2_plan *plan = NULL;
	struct q2_io *io = NULL;
	struct q2_err err = {0};
	enum q2_status st;

	if (argc != 2) {
		fprintf(stderr, "usage: plan IMAGE\n");
		return 2;
	}
	st = q2_io_open(argv[1], &io, &err);
	if (st == Q2_OK)
		st = q2_plan_make(io, &opts, &plan, &result, &err);
	if (st == Q2_OK)
		st = q2_plan_text(plan, NULL, Q2_TEXT_ALL, &sink);
	if (st != Q2_OK)
		fprintf(stderr, "plan: %s: %s\n", argv[1],
			err.code ? err.text : q2_status_text(st));
	q2_plan_free(plan);
	q2_io_close(io);
	return st == Q2_OK ? 0 : 1;
}
