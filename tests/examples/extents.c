/*
 * extents.c - walks the guest's disk: which of its bytes lie where, and in which
 * file of the chain.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: extents IMAGE                 cc extents.c $(pkg-config --cflags --libs q2)
 */
#include <inttypes.h>
#include <q2.h>
#include <stdio.h>

static enum q2_status print(void *ctx, const struct q2_row *r)
{
	struct q2_disk_layer layer;

	if (!q2_disk_layer(ctx, r->depth, &layer))
		return Q2_E_ARG;
	printf("%" PRIu64 " + %" PRIu64 ": %s", r->guest, r->length,
	       q2_content_text(r->content));
	if (r->flags & Q2_ROW_HOST)
		printf(", at %" PRIu64 " in %s", r->host, layer.path);
	printf("\n");
	return Q2_OK;
}

int main(int argc, char *argv[])
{
	/* Backing files are opened because we ask for it, in the image's folder. */
	const struct q2_disk_opts opts = {.chain = true};
	struct q2_rows_opts rows = {.length = UINT64_MAX, .row = print};
	struct q2_err err = {0};
	struct q2_disk *disk;
	enum q2_status st;

	if (argc != 2) {
		fprintf(stderr, "usage: extents IMAGE\n");
		return 2;
	}
	st = q2_disk_open(argv[1], &opts, &disk, &err);
	if (st == Q2_OK) {
		rows.ctx = disk;
		st = q2_disk_rows(disk, &rows, &err);
		q2_disk_close(disk);
	}
	if (st != Q2_OK)
		fprintf(stderr, "extents: %s: %s\n", argv[1], err.text);
	return st == Q2_OK ? 0 : 1;
}
