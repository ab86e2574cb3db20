/*
 * mode.c - what the options ask for, and which do not go together.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>

#include "fsck.h"

bool fsck_parse_attach(const char *text, struct q2_attach *a)
{
	char *end;
	unsigned long long slot, host;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	slot = strtoull(text, &end, 0);
	if (*end != '=' || slot > UINT32_MAX || end[1] < '0' || end[1] > '9')
		return false;
	host = strtoull(end + 1, &end, 0);
	*a = (struct q2_attach){(uint32_t)slot, host};
	return *end == '\0' && errno == 0;
}

/* The options that say what to do; at most one may be given, except that --plan
 * takes a policy. */
static enum mode mode_of(const struct repair_options *r, int *given)
{
	const struct {
		bool is;
		enum mode mode;
	} each[] = {
		{r->plan != NULL, MODE_PLAN},
		{r->show_plan != NULL, MODE_SHOW},
		{r->apply != NULL, MODE_APPLY},
		{r->undo != NULL, MODE_UNDO},
		{r->redo != NULL, MODE_REDO},
		{r->backup != NULL, MODE_BACKUP},
		{r->restore != NULL, MODE_RESTORE},
	};
	enum mode mode = MODE_CHECK;

	*given = 0;
	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
		if (each[i].is) {
			mode = each[i].mode;
			++*given;
		}
	return mode;
}

/* Why the options make no sense together; NULL if they do. */
static const char *conflict(const struct options *o, enum mode mode)
{
	const struct repair_options *r = &o->repair;
	int policies = r->preen + r->yes + r->interactive;
	bool planning = mode == MODE_REPAIR || mode == MODE_PLAN;
	bool applying = mode == MODE_REPAIR || mode == MODE_APPLY ||
			mode == MODE_RESTORE;

	if (policies + o->no_changes > 1)
		return "only one of -n, -p, -y and -i can be given";
	if (o->no_changes && mode != MODE_CHECK)
		return "-n goes with nothing that writes or plans";
	if (policies && !planning)
		return "-p, -y and -i go with no other mode than --plan";
	if ((r->free_orphans || r->rescue || r->attach.n) &&
	    (!planning || r->preen))
		return "--free-orphans, --rescue and --attach need -y, -i or "
		       "--plan";
	if (r->orphans && mode != MODE_REPAIR && mode != MODE_APPLY &&
	    mode != MODE_REDO)
		return "--export-orphans goes with -y, -i, --apply and --redo";
	if (r->orphans && (r->preen || r->free_orphans))
		return "--export-orphans goes with neither -p nor "
		       "--free-orphans";
	if ((r->journal || r->no_journal) && !applying)
		return "--journal and --no-journal go with what writes to an "
		       "image";
	if (r->journal && r->no_journal)
		return "--journal and --no-journal exclude each other";
	if (r->discard && mode != MODE_REPAIR && mode != MODE_APPLY)
		return "--discard goes with -p, -y, -i and --apply";
	if (r->with_keys && mode != MODE_BACKUP)
		return "--with-keys goes with --backup-metadata";
	if ((o->data || o->chain) && mode != MODE_CHECK)
		return "--data and --chain are for checking alone";
	if (o->state && mode != MODE_CHECK && !r->rescue)
		return "--state is for checking alone, and for --rescue";
	if (o->state && r->interactive)
		return "--state does not go with -i";
	if (o->output == OUTPUT_QEMU && mode != MODE_CHECK)
		return "--output=qemu is for checking alone";
	return NULL;
}

static const char *wrong_number(enum mode mode, const struct options *o, int n)
{
	if (mode == MODE_SHOW)
		return n ? "no image is wanted here" : NULL;
	if (n == 0)
		return "no image was given";
	if (n > 1 && mode != MODE_CHECK && mode != MODE_REPAIR)
		return "only one image can be given here";
	if (n > 1 && (o->repair.journal || o->repair.orphans))
		return "one journal, or file for orphans, is for one image";
	if (n > 1 && o->state)
		return "one state is for one image";
	return NULL;
}

bool fsck_choose_mode(struct fsck *fsck, int n_images)
{
	const struct options *o = fsck->options;
	const struct repair_options *r = &o->repair;
	const char *wrong = NULL;
	int given;

	fsck->mode = mode_of(r, &given);
	if (fsck->mode == MODE_CHECK && (r->preen || r->yes || r->interactive))
		fsck->mode = MODE_REPAIR;
	if (given > 1)
		wrong = "only one of the options that take a plan, a journal or "
			"a backup can be given";
	if (wrong == NULL)
		wrong = conflict(o, fsck->mode);
	if (wrong == NULL)
		wrong = wrong_number(fsck->mode, o, n_images);
	if (wrong != NULL) {
		(void)q2_cli_misuse(fsck->tool, wrong, NULL);
		return false;
	}
	for (size_t i = 0; i < r->attach.n; i++) {
		struct q2_attach attach;

		if (fsck_parse_attach(r->attach.at[i], &attach))
			continue;
		(void)q2_cli_misuse(fsck->tool, "--attach takes SLOT=OFFSET, "
				    "two numbers", r->attach.at[i]);
		return false;
	}
	return true;
}
