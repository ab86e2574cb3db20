/*
 * state.c - --state: a check, or a search, that another run goes on with.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <sys/stat.h>

#include "fsck.h"

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

int fsck_state_open(struct fsck *fsck)
{
	const char *path = fsck->options->state;

	if (path == NULL)
		return 0;
	/* An empty one would be taken for a new state, and removed. */
	if (fsck->images[0] && same_file(path, fsck->images[0])) {
		q2_cli_complain(fsck->tool, path, "is the image itself");
		return Q2_EXIT_FAILED;
	}
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

/* What keeps a state of this image from being of use; NULL if nothing does. */
static const char *objection(const struct run *run, const char *unseen,
			     bool known)
{
	if (!known)
		return "whether it has changed since could not be told: --state "
		       "is for files and for whole devices whose writes the "
		       "system counts";
	if (unseen && run->fsck->mode == MODE_REPAIR)
		return "whether it has changed since could be told in part "
		       "only: on such a device --state goes with --plan, and "
		       "not with -y";
	return NULL;
}

/* The state is gone on from, and might be another one now. */
static void warn(const struct run *run, const char *unseen)
{
	char text[300];

	(void)snprintf(text, sizeof(text),
		       "this goes on from a state; nothing was written to the device "
		       "since, as far as this system counts, but %s would not "
		       "have been noticed",
		       unseen);
	q2_cli_complain(run->fsck->tool, run->path, text);
}

bool fsck_state_load(struct run *run, struct q2_io *io, bool known,
		     uint64_t identity, struct q2_check_keep *keep)
{
	struct q2_cli_state *s = &run->fsck->state;
	const char *unseen = q2_io_unseen(io);
	const char *wrong = objection(run, unseen, known);

	run->err.code = Q2_E_REFUSED;
	if (wrong != NULL) {
		(void)snprintf(run->err.text, sizeof(run->err.text), "%s", wrong);
		return false;
	}
	s->anew = unseen ? "a device's holds until the system is started anew; "
			   "remove it to start anew" :
			   "remove it to start anew";
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
	if (s->last.number == 0)
		return true;
	keep->read = get;
	if (unseen)
		warn(run, unseen);
	return true;
}
