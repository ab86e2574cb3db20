/*
 * state.c - --state: a check that another run goes on with.
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

bool fsck_state_load(struct run *run, struct q2_io *io,
		     const struct q2_check_opts *opts,
		     struct q2_check_keep *keep)
{
	struct q2_cli_state *s = &run->fsck->state;
	uint64_t identity;

	run->err.code = Q2_E_REFUSED;
	if (!q2_check_identity(io, opts, &identity)) {
		snprintf(run->err.text, sizeof(run->err.text),
			 "whether it has changed since cannot be told: --state "
			 "is for images that are files");
		return false;
	}
	s->anew = "remove it to start anew";
	if (q2_cli_whole_load(s, identity) != 0) {
		snprintf(run->err.text, sizeof(run->err.text),
			 "not checked: the state cannot be used");
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
