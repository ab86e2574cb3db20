/*
 * digest.c - fingerprints of what a guest reads.
 *
 * SPDX-License-Identifier: MIT
 *
 * A file of digests is text: a line with the disk's size, one for each chunk that
 * is not all zeros (offset, length, digest), in order, and one with the digest of
 * the whole, so that a file that was cut off is told.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

#define HEAD "qcow2-dump digests 1"

static void put_hex(struct q2_buf *b, const struct q2_digest *d)
{
	for (size_t i = 0; i < sizeof(d->bytes); i++)
		q2_buf_format(b, "%02x", d->bytes[i]);
}

/* ---------------------------------------------------------------- --ranges */

static void on_chunk(void *ctx, uint64_t guest, uint64_t length,
		     const struct q2_digest *digest)
{
	struct dump *dump = ctx;
	struct q2_buf b = {0};

	q2_buf_format(&b, "%" PRIu64 " %" PRIu64 " ", guest, length);
	put_hex(&b, digest);
	dump_known_add(dump, b.at, b.n);
	q2_buf_char(&b, '\n');
	(void)q2_cli_output_add(&dump->ranges.out, b.at, b.n);
	q2_buf_free(&b);
}

/* A run that can be continued makes its file when all is known. */
static int open_ranges(struct dump *dump, const struct q2_guest *guest)
{
	struct aside *a = &dump->ranges;
	int status = 0;
	char text[80];
	int n;

	q2_cli_output_open(&a->out, -1);
	a->path = dump->options->ranges;
	if (!dump->options->resume)
		status = dump_aside_open(dump, a);
	if (status == 0)
		status = dump_aside_judge(dump, a, guest);
	if (status != 0)
		return dump_aside_close(dump, a, status);
	n = snprintf(text, sizeof(text), HEAD "\nsize %" PRIu64 "\n",
		     q2_guest_size(guest));
	(void)q2_cli_output_add(&a->out, text, (size_t)n);
	return 0;
}

/* Completes the file, or removes it when something failed. */
static int close_ranges(struct dump *dump, const struct q2_digest *digest,
			int status)
{
	struct aside *a = &dump->ranges;
	struct q2_buf b = {0};

	if (a->out.fd < 0 && status == 0)
		status = dump_aside_open(dump, a);
	if (status == 0) {
		q2_buf_text(&b, "disk ");
		put_hex(&b, digest);
		q2_buf_char(&b, '\n');
		(void)q2_cli_output_add(&a->out, b.at, b.n);
		q2_buf_free(&b);
	}
	return dump_aside_close(dump, a, status);
}

/* With --salvage: what a digest is not of. */
static void on_lost(void *ctx, enum q2_range_kind kind, uint64_t guest,
		    uint64_t length, const char *why)
{
	struct dump *dump = ctx;

	(void)guest;
	(void)why;
	if (kind == Q2_RANGE_LOST)
		dump->lost += length;
}

static struct q2_read_opts scan_for_digest(struct dump *dump)
{
	struct q2_read_opts scan = dump_scan(dump);

	if (scan.salvage)
		scan.range = on_lost;
	return scan;
}

/* The exit status that goes with it. */
static int say_lost(struct dump *dump, const char *image)
{
	char text[100];

	if (dump->lost == 0)
		return 0;
	snprintf(text, sizeof(text),
		 "%" PRIu64 " bytes could not be read, and were taken as zeros",
		 dump->lost);
	q2_cli_complain(dump->tool, image, text);
	return Q2_EXIT_PROBLEMS;
}

/* ---------------------------------------------------------------- --digest */

static int digest(struct dump *dump, struct q2_guest *guest, const char *image)
{
	struct q2_read_opts scan = scan_for_digest(dump);
	struct q2_digest_known known = {0};
	struct q2_digest d = {{0}};
	struct q2_err err = {0};
	struct q2_buf b = {0};
	enum q2_status st;
	int status = dump_known_load(dump, guest, image);

	if (status != 0)
		return status;
	if (dump->options->resume)
		known = dump_known(dump);
	if (dump->options->ranges != NULL) {
		status = open_ranges(dump, guest);
		if (status != 0)
			return status;
		scan.chunk = on_chunk;
	}
	st = q2_guest_digest_on(guest, &scan, known.recall ? &known : NULL, &d,
				&err);
	q2_cli_progress_clear(&dump->progress);
	if (st != Q2_OK)
		status = dump_failed(dump, image, st, &err);
	if (dump->options->ranges != NULL)
		status = close_ranges(dump, &d, status);
	if (status != 0)
		return status;
	put_hex(&b, &d);
	q2_buf_text(&b, "  ");
	q2_buf_escape(&b, image, strlen(image));
	q2_buf_char(&b, '\n');
	(void)q2_cli_output_add(&dump->out, b.at, b.n);
	q2_buf_free(&b);
	return say_lost(dump, image);
}

int dump_digest(struct dump *dump, const char *image)
{
	struct q2_guest *guest;
	int status = dump_known_open(dump);

	if (status == 0) {
		dump_close_sandbox(dump, image, NULL, NULL);
		status = dump_open(dump, image, dump->options->format, &guest);
	}
	if (status == 0) {
		status = digest(dump, guest, image);
		q2_guest_close(guest);
	}
	q2_cli_state_close(&dump->state, status == 0);
	return status;
}

/* ---------------------------------------------------------- --check-digest */

/* One line of the file that was not met yet. */
struct expected {
	FILE *file;
	bool more; /* the members below are a chunk's line */
	bool bad;  /* the file is not what it should be */
	uint64_t size;
	struct digest_line line;
};

static void next_line(struct expected *e)
{
	char line[160];
	size_t n;

	e->more = false;
	if (fgets(line, sizeof(line), e->file) == NULL) {
		e->bad = true; /* the last line is missing */
		return;
	}
	n = strcspn(line, "\n");
	if (strncmp(line, "disk ", 5) == 0) {
		e->bad = n != 5 + DIGEST_HEX || line[n] != '\n';
		return;
	}
	e->more = line[n] == '\n';
	line[n] = '\0';
	e->more = e->more && dump_parse_range(line, &e->line);
	e->bad = !e->more;
}

static bool open_expected(struct expected *e, const char *path)
{
	char line[80];

	e->file = fopen(path, "re");
	if (e->file == NULL)
		return false;
	e->bad = fgets(line, sizeof(line), e->file) == NULL ||
		 strcmp(line, HEAD "\n") != 0 ||
		 fgets(line, sizeof(line), e->file) == NULL ||
		 sscanf(line, "size %" SCNu64, &e->size) != 1;
	if (!e->bad)
		next_line(e);
	return true;
}

static void differs(struct dump *dump, uint64_t guest, uint64_t length,
		    const char *how)
{
	struct q2_buf b = {0};

	dump->different = true;
	if (dump->options->quiet)
		return;
	q2_buf_format(&b, "%s: %" PRIu64 " to %" PRIu64 "\n", how, guest,
		      guest + length - 1);
	(void)q2_cli_output_add(&dump->out, b.at, b.n);
	q2_buf_free(&b);
}

/* Chunks of the file before this one are all zeros in the image. */
static void catch_up(struct dump *dump, struct expected *e, uint64_t guest)
{
	while (e->more && !e->bad && e->line.guest < guest) {
		differs(dump, e->line.guest, e->line.length, "now zeros");
		next_line(e);
	}
}

static void on_found(void *ctx, uint64_t guest, uint64_t length,
		     const struct q2_digest *digest)
{
	struct dump *dump = ctx;
	struct expected *e = dump->expected;
	struct q2_buf b = {0};

	catch_up(dump, e, guest);
	if (e->bad)
		return; /* what should be here is not known */
	if (!e->more || e->line.guest != guest) {
		differs(dump, guest, length, "was zeros");
		return;
	}
	put_hex(&b, digest);
	if (b.failed || e->line.length != length ||
	    memcmp(b.at, e->line.hex, DIGEST_HEX) != 0)
		differs(dump, guest, length, "changed");
	q2_buf_free(&b);
	next_line(e);
}

static int check(struct dump *dump, struct q2_guest *guest, const char *image)
{
	struct q2_read_opts scan = scan_for_digest(dump);
	struct expected *e = dump->expected;
	struct q2_digest d;
	struct q2_err err = {0};
	enum q2_status st;

	if (e->size != q2_guest_size(guest)) {
		q2_cli_complain(dump->tool, image, "the disk has another size "
				"than the one that was digested");
		dump->different = true;
	}
	scan.chunk = on_found;
	st = q2_guest_digest(guest, &scan, &d, &err);
	q2_cli_progress_clear(&dump->progress);
	if (st != Q2_OK)
		return dump_failed(dump, image, st, &err);
	catch_up(dump, e, UINT64_MAX);
	if (e->bad) {
		q2_cli_complain(dump->tool, dump->options->check_digest,
				"no file of digests, or not a whole one");
		return Q2_EXIT_FAILED;
	}
	return say_lost(dump, image) | (dump->different ? Q2_EXIT_PROBLEMS : 0);
}

int dump_check_digest(struct dump *dump, const char *image)
{
	const char *path = dump->options->check_digest;
	struct expected e = {0};
	struct q2_guest *guest;
	int status;

	if (!open_expected(&e, path)) {
		q2_cli_complain(dump->tool, path, strerror(errno));
		return Q2_EXIT_FAILED;
	}
	dump->expected = &e;
	if (e.bad) {
		q2_cli_complain(dump->tool, path, "no file of digests");
		status = Q2_EXIT_FAILED;
	} else {
		dump_close_sandbox(dump, image, NULL, NULL);
		status = dump_open(dump, image, dump->options->format, &guest);
	}
	if (status == 0) {
		status = check(dump, guest, image);
		q2_guest_close(guest);
	}
	dump->expected = NULL;
	fclose(e.file);
	return status;
}
