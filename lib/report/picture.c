/*
 * picture.c - the layout of a file as a picture of characters.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "report/survey.h"

/* What a character can show: the uses, with data told apart by owner. */
enum {
	B_DATA_SHARED = Q2_U_COUNT,
	B_DATA_SNAPSHOT,
	BLOCKS
};

static const struct {
	char letter;
	const char *meaning; /* NULL: q2_use_text() */
} marks[BLOCKS] = {
	[Q2_U_FREE] = {'.', NULL},
	[Q2_U_LEAKED] = {'!', NULL},
	[Q2_U_HEADER] = {'H', NULL},
	[Q2_U_L1] = {'1', NULL},
	[Q2_U_L2] = {'2', NULL},
	[Q2_U_REFTABLE] = {'R', NULL},
	[Q2_U_REFBLOCK] = {'r', NULL},
	[Q2_U_SNAPTABLE] = {'S', NULL},
	[Q2_U_SNAPSHOT_L1] = {'s', NULL},
	[Q2_U_BITMAP_DIR] = {'B', NULL},
	[Q2_U_BITMAP_TABLE] = {'t', NULL},
	[Q2_U_BITMAP_DATA] = {'b', NULL},
	[Q2_U_LUKS] = {'K', NULL},
	[Q2_U_DATA] = {'#', "data of the active disk"},
	[Q2_U_COMPRESSED] = {'c', NULL},
	[Q2_U_VMSTATE] = {'v', NULL},
	[Q2_U_MIXED] = {'X', NULL},
	[B_DATA_SHARED] = {'*', "data that the active disk and snapshots share"},
	[B_DATA_SNAPSHOT] = {'o', "data of snapshots only"},
};

struct q2_picture {
	const struct q2_survey *survey;
	unsigned columns;
	uint64_t step; /* bytes for each character */
	size_t n;
	uint64_t (*sum)[BLOCKS]; /* bytes of each use */
};

enum q2_status q2_picture_new(const struct q2_survey *survey, unsigned columns,
			     unsigned rows, struct q2_picture **blocks,
			     struct q2_err *err)
{
	const struct q2_check_result *r = q2_survey_result(survey);
	uint64_t cs = UINT64_C(1) << r->cluster_bits;
	uint64_t most = (uint64_t)columns * rows;
	uint64_t clusters = r->file_size / cs + (r->file_size % cs != 0);
	uint64_t each = clusters / most + (clusters % most != 0);
	struct q2_picture *b = calloc(1, sizeof(*b));

	*blocks = b;
	if (b == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	b->survey = survey;
	b->columns = columns;
	b->step = (each ? each : 1) * cs;
	b->n = (size_t)(r->file_size / b->step + (r->file_size % b->step != 0));
	b->sum = calloc(b->n ? b->n : 1, sizeof(*b->sum));
	if (b->sum)
		return Q2_OK;
	free(b);
	*blocks = NULL;
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

void q2_picture_free(struct q2_picture *blocks)
{
	if (blocks)
		free(blocks->sum);
	free(blocks);
}

static unsigned mark_of(const struct q2_use_row *row)
{
	if (row->use != Q2_U_DATA || row->snapshot == Q2_NO_SNAPSHOT)
		return row->use;
	return row->active ? B_DATA_SHARED : B_DATA_SNAPSHOT;
}

enum q2_status q2_picture_add(void *blocks, const struct q2_use_row *row)
{
	struct q2_picture *b = blocks;
	uint64_t at = row->host, end = row->host + row->length;
	unsigned mark = mark_of(row);

	while (at < end && at / b->step < b->n) {
		uint64_t next = (at / b->step + 1) * b->step;

		next = next < end ? next : end;
		b->sum[at / b->step][mark] += next - at;
		at = next;
	}
	return Q2_OK;
}

static unsigned most_of(const uint64_t sum[BLOCKS])
{
	unsigned most = 0;

	for (unsigned i = 1; i < BLOCKS; i++)
		if (sum[i] > sum[most])
			most = i;
	return most;
}

static void put_legend(struct q2_buf *out, const bool seen[BLOCKS])
{
	for (unsigned i = 0; i < BLOCKS; i++)
		if (seen[i])
			q2_buf_format(out, "  %c  %s\n", marks[i].letter,
				      marks[i].meaning ?
				      marks[i].meaning :
				      q2_use_text((enum q2_use)i));
}

enum q2_status q2_picture_report(const struct q2_picture *blocks,
				const char *filename,
				const struct q2_sink *sink)
{
	bool seen[BLOCKS] = {false};
	char store[8192];
	struct q2_buf out;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	q2_survey_put_title(&out, blocks->survey, filename);
	q2_buf_text(&out, "each character is ");
	q2_render_exact(&out, blocks->step);
	q2_buf_char(&out, '\n');
	for (size_t i = 0; i < blocks->n; i++) {
		unsigned most = most_of(blocks->sum[i]);

		if (i % blocks->columns == 0)
			q2_buf_format(&out, "%s%#14llx  ", i ? "\n" : "",
				      (unsigned long long)(i * blocks->step));
		q2_buf_char(&out, marks[most].letter);
		seen[most] = true;
	}
	q2_buf_char(&out, '\n');
	put_legend(&out, seen);
	return q2_report_flush(&out);
}
