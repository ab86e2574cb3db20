/*
 * mapfile.c - what was read and what was lost, in the form of ddrescue's maps.
 *
 * SPDX-License-Identifier: MIT
 *
 * "+" is what was read, "-" what could not be.  Lines that start with # are
 * comments to ddrescue: here they tell zeros from data, and why something is lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

struct mapfile {
	struct aside file;
	bool any; /* the members below hold a range */
	enum q2_range_kind kind;
	uint64_t start;
	uint64_t end;
	char why[240];
};

int dump_map_open(struct dump *dump)
{
	struct mapfile *m;

	if (dump->options->map == NULL)
		return 0;
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		q2_cli_complain(dump->tool, NULL, strerror(ENOMEM));
		return Q2_EXIT_FAILED;
	}
	q2_cli_output_open(&m->file.out, -1);
	m->file.path = dump->options->map;
	if (dump_aside_open(dump, &m->file) != 0) {
		free(m);
		return Q2_EXIT_FAILED;
	}
	if (dump->sandbox.started)
		q2_cli_output_reserve(&m->file.out);
	dump->map = m;
	return 0;
}

int dump_map_judge(struct dump *dump, const struct q2_guest *guest,
		   const char *out)
{
	const struct mapfile *m = dump->map;
	struct q2_buf part = {0};
	bool same;

	if (m == NULL)
		return 0;
	q2_buf_format(&part, "%s.part", out);
	q2_buf_add(&part, "", 1);
	same = dump_aside_is(&m->file, out) ||
	       (!part.failed && dump_aside_is(&m->file, part.at));
	q2_buf_free(&part);
	if (!same)
		return dump_aside_judge(dump, &m->file, guest);
	q2_cli_complain(dump->tool, m->file.path,
			"the map cannot be the image that is written");
	return Q2_EXIT_FAILED;
}

static void put(struct mapfile *m, const struct q2_buf *b)
{
	(void)q2_cli_output_add(&m->file.out, b->at, b->n);
}

static void put_head(struct mapfile *m, uint64_t end)
{
	struct q2_buf b = {0};

	q2_buf_format(&b, "# Mapfile of qcow2-dump: what was read of a disk\n"
		      "# current_pos  current_status  current_pass\n"
		      "0x%08llX     +               1\n"
		      "#      pos        size  status\n",
		      (unsigned long long)end);
	put(m, &b);
	q2_buf_free(&b);
}

static void put_range(struct mapfile *m)
{
	struct q2_buf b = {0};

	if (!m->any)
		return;
	if (m->kind == Q2_RANGE_ZERO)
		q2_buf_text(&b, "# zeros:\n");
	if (m->kind == Q2_RANGE_LOST) {
		q2_buf_text(&b, "# lost: ");
		q2_buf_escape(&b, m->why, strlen(m->why));
		q2_buf_char(&b, '\n');
	}
	q2_buf_format(&b, "0x%08llX  0x%08llX  %c\n",
		      (unsigned long long)m->start,
		      (unsigned long long)(m->end - m->start),
		      m->kind == Q2_RANGE_LOST ? '-' : '+');
	put(m, &b);
	q2_buf_free(&b);
}

void dump_map_add(struct dump *dump, enum q2_range_kind kind, uint64_t guest,
		  uint64_t length, const char *why)
{
	struct mapfile *m = dump->map;
	const char *text = why ? why : "";

	if (m->any && m->kind == kind && m->end == guest &&
	    strncmp(m->why, text, sizeof(m->why) - 1) == 0) {
		m->end += length;
		return;
	}
	if (!m->any)
		put_head(m, guest);
	put_range(m);
	m->any = true;
	m->kind = kind;
	m->start = guest;
	m->end = guest + length;
	strncpy(m->why, text, sizeof(m->why) - 1);
}

int dump_map_close(struct dump *dump, int status)
{
	struct mapfile *m = dump->map;
	int wrong = status & ~Q2_EXIT_PROBLEMS;

	if (m == NULL)
		return status;
	if (wrong == 0)
		put_range(m);
	wrong = dump_aside_close(dump, &m->file, wrong);
	free(m);
	dump->map = NULL;
	return status | wrong;
}
