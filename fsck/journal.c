/*
 * journal.c - names of journals: what is there already, and what becomes of it.
 *
 * SPDX-License-Identifier: MIT
 *
 * No journal is ever overwritten while it can still undo something.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsck.h"

#define SUFFIX ".q2undo"
#define ORPHANS ".q2orphans"
#define OLD_MAX 10000

static char *beside(const char *path, const char *suffix)
{
	size_t size = strlen(path) + strlen(suffix) + 1;
	char *name = malloc(size);

	if (name)
		snprintf(name, size, "%s%s", path, suffix);
	return name;
}

/* Beside the file itself: whoever comes to it by another name must find the journal. */
char *fsck_default_journal(const char *path)
{
	struct stat sb;
	char *real = lstat(path, &sb) == 0 && S_ISLNK(sb.st_mode) ?
			     realpath(path, NULL) : NULL;
	char *name = beside(real ? real : path, SUFFIX);

	free(real);
	return name;
}

static bool is_unfinished(const struct q2_plan_info *info)
{
	return info->state == Q2_STATE_APPLYING ||
	       info->state == Q2_STATE_UNDOING;
}

static void tell_unfinished(struct fsck *fsck, const char *path,
			    const char *name)
{
	struct q2_buf b = {0};

	q2_buf_text(&b, "a repair of this image was not finished, or not undone "
			"to the end; its journal is ");
	q2_buf_escape(&b, name, strlen(name));
	q2_buf_text(&b, ". Go on with --redo=");
	q2_buf_escape(&b, name, strlen(name));
	q2_buf_text(&b, " or back with --undo=");
	q2_buf_escape(&b, name, strlen(name));
	q2_buf_text(&b, "; nothing else is safe");
	q2_buf_add(&b, "", 1);
	q2_cli_complain(fsck->tool, path, b.failed ? name : b.at);
	q2_buf_free(&b);
}

#define IN_THE_WAY "a journal is in the way; nothing was written"
#define NO_PLACE                                                               \
	"there would be no journal; nothing was written; --journal takes "     \
	"another name, and --no-journal keeps none"

/* A journal of that name could not be made, so that the work would be for nothing. */
static const char *no_place(struct fsck *fsck, const char *name)
{
	char *copy = strdup(name);
	bool is_wrong = *name == '\0' || copy == NULL ||
			access(dirname(copy), W_OK | X_OK) < 0;

	if (is_wrong)
		q2_cli_complain(fsck->tool, name,
				*name ? strerror(errno) : "an empty name");
	free(copy);
	return is_wrong ? NO_PLACE : NULL;
}

/* Why the file of that name is in the way; NULL if it is not. */
static const char *blocks(struct fsck *fsck, const char *path, const char *name,
			  bool chosen, bool writing)
{
	struct q2_plan_info info;
	struct q2_err err = {0};
	enum q2_status st = q2_journal_peek(name, &info, &err);

	if (st == Q2_OK && is_unfinished(&info)) {
		tell_unfinished(fsck, path, name);
		return IN_THE_WAY;
	}
	if (!writing)
		return NULL;
	if (st != Q2_OK && err.sys_errno == ENOENT)
		return chosen ? no_place(fsck, name) : NULL;
	if (st != Q2_OK && err.sys_errno == ENAMETOOLONG) {
		q2_cli_complain(fsck->tool, name, strerror(ENAMETOOLONG));
		return NO_PLACE;
	}
	if (chosen) {
		q2_cli_complain(fsck->tool, name,
				"is there already, and is not overwritten: "
				"move it away, or choose another --journal");
		return IN_THE_WAY;
	}
	if (st == Q2_OK)
		return NULL;
	q2_cli_complain(fsck->tool, name, err.text);
	q2_cli_complain(fsck->tool, name,
			"stands where the journal belongs: move it away, or "
			"choose another --journal");
	return IN_THE_WAY;
}

const char *fsck_journal_blocks(struct fsck *fsck, const char *path,
				bool writing)
{
	const struct repair_options *r = &fsck->options->repair;
	char *name = fsck_default_journal(path);
	bool in_use = writing && !r->journal && !r->no_journal;
	const char *why = name ? blocks(fsck, path, name, false, in_use) : NULL;

	if (why == NULL && r->journal)
		why = blocks(fsck, path, r->journal, true, writing);
	free(name);
	return why;
}

/* The first name of the kind NAME.1, NAME.2 that is free. */
static bool move_away(struct fsck *fsck, const char *name)
{
	size_t size = strlen(name) + 16;
	char *other = malloc(size);
	bool moved = false;

	for (unsigned n = 1; other && n < OLD_MAX && !moved; n++) {
		snprintf(other, size, "%s.%u", name, n);
		if (q2_rename(name, other, RENAME_NOREPLACE) == 0)
			moved = true;
		else if (errno == EINVAL || errno == ENOSYS)
			moved = access(other, F_OK) < 0 && errno == ENOENT &&
				rename(name, other) == 0;
		else if (errno != EEXIST)
			break;
	}
	if (moved)
		fsck_say(fsck, "the earlier journal is now %s\n", other);
	free(other);
	return moved;
}

static enum q2_status fail(struct q2_err *err, enum q2_status st,
			   const char *text)
{
	err->code = st;
	snprintf(err->text, sizeof(err->text), "%s", text);
	return st;
}

/* What stands beside a device is gone when the machine starts again. */
static bool is_device(const char *path)
{
	struct stat sb;

	return stat(path, &sb) == 0 && S_ISBLK(sb.st_mode);
}

enum q2_status fsck_journal_name(struct fsck *fsck, const char *path,
				 char **name, struct q2_err *err)
{
	const struct repair_options *r = &fsck->options->repair;
	struct q2_plan_info info;
	enum q2_status st = Q2_OK;

	*name = NULL;
	if (r->no_journal)
		return Q2_OK;
	if (!r->journal && is_device(path))
		return fail(err, Q2_E_ARG, "beside a device no journal would "
			    "last: name a file with --journal");
	*name = r->journal ? strdup(r->journal) : fsck_default_journal(path);
	if (*name == NULL)
		return fail(err, Q2_E_NOMEM, "no memory");
	/* One that was undone tells nothing that a new plan would not. */
	if (!r->journal && q2_journal_peek(*name, &info, NULL) == Q2_OK) {
		if (info.state == Q2_STATE_UNDONE)
			(void)unlink(*name);
		else if (!move_away(fsck, *name))
			st = fail(err, Q2_E_IO, "the earlier journal cannot be "
				  "moved away");
	}
	if (st != Q2_OK) {
		free(*name);
		*name = NULL;
	}
	return st;
}

enum q2_status fsck_orphans_name(struct fsck *fsck, const char *path,
				 const struct q2_plan *plan, char **name,
				 struct q2_err *err)
{
	const char *chosen = fsck->options->repair.orphans;

	*name = NULL;
	if (plan && q2_plan_orphans(plan) == 0)
		return Q2_OK;
	if (!chosen && is_device(path))
		return plan ? fail(err, Q2_E_ARG, "beside a device orphans would "
				   "not last: name a file with "
				   "--export-orphans") : Q2_OK;
	*name = chosen ? strdup(chosen) : beside(path, ORPHANS);
	return *name ? Q2_OK : fail(err, Q2_E_NOMEM, "no memory");
}
