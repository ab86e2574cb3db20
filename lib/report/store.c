/*
 * store.c - the findings of one check, counted and packed.
 *
 * SPDX-License-Identifier: MIT
 *
 * A damaged image can have millions of findings.  Each is packed into as many
 * bytes as its present fields need, and only so many are kept as the caller
 * asked for; all of them are counted.
 */
#include "base/err.h"
#include "check/problem.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_ROOM (16384 - 32)

struct q2_chunk {
	struct q2_chunk *next;
	size_t n;
	uint8_t at[CHUNK_ROOM];
};

/* The most that one finding can take: 13 numbers and the text. */
#define PACKED_MAX (13 * 10 + 1 + sizeof(((struct q2_finding *)0)->text))

static const unsigned numeric[] = {
	Q2_F_HOST,     Q2_F_GUEST, Q2_F_LENGTH, Q2_F_OTHER, Q2_F_FOUND,
	Q2_F_EXPECTED, Q2_F_COUNT, Q2_F_TREE,	Q2_F_L1,    Q2_F_L2,
	Q2_F_INDEX,
};

#define NUMERIC (sizeof(numeric) / sizeof(numeric[0]))

static size_t pack_number(uint8_t *p, uint64_t value)
{
	size_t n = 0;

	while (value >= 0x80) {
		p[n++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	p[n++] = (uint8_t)value;
	return n;
}

static uint64_t unpack_number(const uint8_t **p)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = *(*p)++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return value;
}

static size_t pack(uint8_t *p, const struct q2_finding *f)
{
	size_t n = pack_number(p, f->fields);

	for (size_t i = 0; i < NUMERIC; i++)
		if (f->fields & numeric[i])
			n += pack_number(p + n, q2_field_value(f, numeric[i]));
	if (f->fields & Q2_F_KIND)
		n += pack_number(p + n, (uint64_t)f->kind);
	if (f->fields & Q2_F_TEXT) {
		size_t len = f->text_len;

		p[n++] = (uint8_t)len;
		memcpy(p + n, f->text, len);
		n += len;
	}
	return n;
}

static void set_field(struct q2_finding *f, unsigned field, uint64_t value)
{
	switch (field) {
	case Q2_F_HOST:
		f->host = value;
		break;
	case Q2_F_GUEST:
		f->guest = value;
		break;
	case Q2_F_LENGTH:
		f->length = value;
		break;
	case Q2_F_OTHER:
		f->other = value;
		break;
	case Q2_F_FOUND:
		f->found = value;
		break;
	case Q2_F_EXPECTED:
		f->expected = value;
		break;
	case Q2_F_COUNT:
		f->count = value;
		break;
	case Q2_F_TREE:
		f->tree = (uint32_t)value;
		break;
	case Q2_F_L1:
		f->l1 = (uint32_t)value;
		break;
	case Q2_F_L2:
		f->l2 = (uint32_t)value;
		break;
	default:
		f->index = (uint32_t)value;
		break;
	}
}

bool q2_cursor_next(struct q2_cursor *c, const struct q2_problem *problem,
		    struct q2_finding *f)
{
	const uint8_t *p;

	while (c->chunk != NULL && c->at == c->chunk->n) {
		c->chunk = c->chunk->next;
		c->at = 0;
	}
	if (c->chunk == NULL)
		return false;
	p = c->chunk->at + c->at;
	*f = (struct q2_finding){.problem = problem, .count = 1};
	f->fields = (unsigned)unpack_number(&p);
	for (size_t i = 0; i < NUMERIC; i++)
		if (f->fields & numeric[i])
			set_field(f, numeric[i], unpack_number(&p));
	if (f->fields & Q2_F_KIND)
		f->kind = (enum q2_kind)unpack_number(&p);
	if (f->fields & Q2_F_TEXT) {
		size_t len = *p++;

		memcpy(f->text, p, len);
		f->text_len = (uint32_t)len;
		p += len;
	}
	c->at = (size_t)(p - c->chunk->at);
	return true;
}

enum q2_status q2_report_new(const char *filename, uint64_t keep,
			     uint64_t max_memory, struct q2_report **report,
			     struct q2_err *err)
{
	struct q2_report *r;
	size_t groups = 0;

	*report = NULL;
	while (q2_problem_at(groups) != NULL)
		groups++;
	r = calloc(1, sizeof(*r) + groups * sizeof(r->group[0]));
	if (r != NULL)
		r->filename = strdup(filename);
	if (r == NULL || r->filename == NULL) {
		free(r);
		return q2_fail(err, Q2_E_NOMEM, 0, UINT64_MAX, "no memory");
	}
	r->keep = keep;
	r->max_memory = max_memory;
	r->groups = groups;
	*report = r;
	return Q2_OK;
}

void q2_report_free(struct q2_report *report)
{
	if (report == NULL)
		return;
	for (size_t i = 0; i < report->groups; i++) {
		struct q2_chunk *c = report->group[i].first;

		while (c != NULL) {
			struct q2_chunk *next = c->next;

			free(c);
			c = next;
		}
	}
	free(report->filename);
	free(report);
}

/* Room for one more finding at the group's end; NULL if none is to be had. */
static struct q2_chunk *room_in(struct q2_report *r, struct q2_group *g)
{
	struct q2_chunk *c = g->last;

	if (c != NULL && CHUNK_ROOM - c->n >= PACKED_MAX)
		return c;
	if (r->max_memory != 0 && r->max_memory - r->memory < sizeof(*c))
		return NULL;
	c = malloc(sizeof(*c));
	if (c == NULL)
		return NULL;
	c->next = NULL;
	c->n = 0;
	if (g->last != NULL)
		g->last->next = c;
	else
		g->first = c;
	g->last = c;
	r->memory += sizeof(*c);
	return c;
}

void q2_report_add(struct q2_report *report, const struct q2_finding *f)
{
	const struct q2_problem *own = q2_problem_by_number(f->problem->number);
	struct q2_group *g;
	struct q2_chunk *c;

	if (own == NULL)
		return;
	g = &report->group[own - q2_problem_at(0)];
	g->findings++;
	g->count += f->problem->number == Q2_P_LEAK ? f->count : 1;
	if (g->kept == report->keep)
		return;
	c = room_in(report, g);
	if (c == NULL)
		return;
	c->n += pack(c->at + c->n, f);
	g->kept++;
}

void q2_report_end(struct q2_report *report,
		   const struct q2_check_result *result,
		   const struct q2_err *err)
{
	report->has_result = result != NULL;
	if (result != NULL)
		report->result = *result;
	if (err == NULL || err->code == Q2_OK)
		return;
	report->err = *err;
}

uint64_t q2_report_omitted(const struct q2_report *report)
{
	uint64_t omitted = 0;

	for (size_t i = 0; i < report->groups; i++)
		omitted += report->group[i].findings - report->group[i].kept;
	return omitted;
}

enum q2_verdict q2_report_verdict(const struct q2_report *report)
{
	if (report->has_result && report->err.code == Q2_OK)
		return report->result.verdict;
	if (report->has_result && report->result.corruptions > 0)
		return Q2_CORRUPTED;
	return Q2_UNREADABLE;
}

const char *q2_report_failure(const struct q2_report *report)
{
	return report->err.code == Q2_OK ? NULL : report->err.text;
}

const char *q2_report_error(const struct q2_report *report)
{
	const char *failure = q2_report_failure(report);

	if (failure != NULL || q2_report_verdict(report) != Q2_UNREADABLE ||
	    q2_report_unchecked(report))
		return failure;
	return report->result.is_raw
		       ? "raw, not QCOW2: it has no tables to check"
		       : "no usable QCOW2 header: its tables were not checked";
}
