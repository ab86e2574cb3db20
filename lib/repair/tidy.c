/*
 * tidy.c - a plan that is whole but for its looks: writes that belong together, and
 * actions that came to nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "repair/repair.h"

#define SECTOR 512u

/* What one action writes to the header in one phase is one write: the sector must
 * not be seen with a part of it. */
enum q2_status q2_join_header(struct q2_repair *r)
{
	struct q2_edits *edits = &r->plan->edits;
	uint8_t now[SECTOR];
	size_t kept = 0;
	enum q2_status st = q2_pread_zero(r->base, now, SECTOR, 0, r->err);

	for (size_t i = 0; i < edits->n && st == Q2_OK; i++) {
		struct q2_edit e = edits->at[i];
		struct q2_edit *last = kept ? &edits->at[kept - 1] : NULL;
		size_t end = (size_t)e.offset + e.len, from;
		bool inside = q2_inside(e.offset, e.len, SECTOR) &&
			      e.before_len == e.len;

		if (inside && last && last->phase == e.phase &&
		    last->action == e.action && last->offset < e.offset) {
			/* What stands between was changed earlier, if at all. */
			from = (size_t)last->offset;
			for (size_t k = 0; k < last->len; k++)
				now[from + k] = last->before[k];
			last->before = q2_plan_keep(r->plan, now + from,
						    end - from, r->err);
			memcpy(now + from, last->after, last->len);
			memcpy(now + e.offset, e.after, e.len);
			last->after = q2_plan_keep(r->plan, now + from,
						   end - from, r->err);
			if (last->before == NULL || last->after == NULL)
				return Q2_E_NOMEM;
			last->len = last->before_len = (uint32_t)(end - from);
			continue;
		}
		if (inside)
			memcpy(now + e.offset, e.after, e.len);
		edits->at[kept++] = e;
	}
	edits->n = kept;
	return st;
}

/* Actions that came to nothing go. */
enum q2_status q2_drop_idle(struct q2_repair *r)
{
	struct q2_plan *p = r->plan;
	uint64_t size = p->actions.n * sizeof(uint32_t);
	uint32_t *place;
	void *block;
	size_t kept = 0;
	enum q2_status st = q2_get(&r->budget, size, &block, r->err);

	if (st != Q2_OK)
		return st;
	place = block;
	for (size_t i = 0; i < p->edits.n; i++)
		place[p->edits.at[i].action] = 1;
	for (size_t i = 0; i < p->actions.n; i++) {
		if (place[i] == 0 && !p->actions.at[i].note)
			continue;
		place[i] = (uint32_t)kept;
		p->actions.at[kept++] = p->actions.at[i];
	}
	p->actions.n = kept;
	for (size_t i = 0; i < p->edits.n; i++)
		p->edits.at[i].action = place[p->edits.at[i].action];
	q2_put(&r->budget, place, size);
	return Q2_OK;
}
