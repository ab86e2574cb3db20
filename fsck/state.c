/*
 * state.c - --state: a check, or a search, that another run goes on with.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "fsck.h"

int fsck_state_open(struct fsck *fsck)
{
	const char *path = fsck->options->state;

	if (path == NULL)
		return 0;
	return q2_cli_state_open(&fsck->state, fsck->tool, path);
}

static bool wanted(void *ctx, bool pressing)
{
	return q2_cli_whole_due(ctx, pressing);
}

static int add(void *ctx, const char *bytes, size_t n)
{
	return q2_cli_whole_add(ctx, bytes, n);
}

static void end(void *ctx, bool whole)
{
	q2_cli_whole_end(ctx, whole);
}

static size_t get(void *ctx, void *bytes, size_t n)
{
	return q2_cli_whole_read(ctx, bytes, n);
}

bool fsck_state_load(struct run *run, bool known, uint64_t identity,
		     struct q2_check_keep *keep)
{
	struct q2_cli_state *s = &run->fsck->state;

	run->err.code = Q2_E_REFUSED;
	if (!known) {
		snprintf(run->err.text, sizeof(run->err.text),
			 "whether it has changed since cannot be told: --state "
			 "is for images that are files");
		return false;
	}
	s->anew = "remove it to start anew";
	if (q2_cli_whole_load(s, identity) != 0) {
		snprintf(run->err.text, sizeof(run->err.text),
			 "not %s: the state cannot be used",
			 run->fsck->mode == MODE_CHECK ? "checked" : "planned");
		return false;
	}
	run->err = (struct q2_err){0};
	*keep = (struct q2_check_keep){.wanted = wanted,
				       .write = add,
				       .end = end,
				       .ctx = s};
	if (s->last.number != 0)
		keep->read = get;
	return true;
}
