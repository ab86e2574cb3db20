/*
 * inplace.c - --absorb and --commit.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dump.h"

static bool on_progress(void *ctx, const struct q2_progress *now)
{
	struct dump *dump = ctx;

	return q2_cli_progress_tick(&dump->progress, now);
}

static unsigned flags_of(const struct options *o)
{
	unsigned flags = 0;

	flags |= o->keep_top ? Q2_INPLACE_KEEP : 0;
	flags |= o->mark_bitmaps ? Q2_INPLACE_STALE_BITMAPS : 0;
	flags |= o->allow_probe ? Q2_INPLACE_ALLOW_PROBE : 0;
	flags |= o->allow_any ? Q2_INPLACE_ALLOW_ANY : 0;
	flags |= o->dry_run ? Q2_INPLACE_DRY_RUN : 0;
	flags |= o->plaintext ? Q2_INPLACE_PLAINTEXT : 0;
	return flags;
}

const char *dump_inplace_wrong(const struct options *o)
{
	bool verb = o->absorb || o->commit;

	if (!verb && (o->base != NULL || o->siblings.n || o->dry_run))
		return "--base, --siblings and --dry-run go with --absorb or "
		       "--commit";
	if ((o->keep_top || o->mark_bitmaps) && !o->commit)
		return "--keep-top and --mark-bitmaps go with --commit";
	if (verb && (dump_for_image(o) || o->resume || o->force))
		return "options for a new image do not go with --absorb or "
		       "--commit";
	if (verb && (o->snapshot || o->layer != UINT64_MAX || o->range ||
		     o->salvage || o->map || o->format || o->other_format ||
		     o->threads))
		return "options for reading do not go with --absorb or "
		       "--commit";
	return NULL;
}

static void tell(struct dump *dump, const char *image,
		 const struct q2_inplace_result *r)
{
	const struct options *o = dump->options;
	char text[200];
	int n;

	if (o->quiet)
		return;
	if (r->nothing_to_do || (!o->dry_run && r->data + r->zeros == 0))
		n = snprintf(text, sizeof(text), ": nothing to copy\n");
	else if (o->dry_run)
		n = snprintf(text, sizeof(text),
			     ": may need %llu bytes more\n",
			     (unsigned long long)r->needed);
	else
		n = snprintf(text, sizeof(text),
			     ": %llu bytes of data and %llu of zeros %s\n",
			     (unsigned long long)r->data,
			     (unsigned long long)r->zeros,
			     o->commit ? "committed" : "absorbed");
	(void)q2_cli_output_add(&dump->out, image, strlen(image));
	(void)q2_cli_output_add(&dump->out, text, (size_t)n);
}

int dump_inplace(struct dump *dump, const char *image)
{
	const struct options *o = dump->options;
	struct q2_inplace_opts opts = {
		.job = o->commit ? Q2_COMMIT : Q2_ABSORB,
		.flags = flags_of(o),
		.base = o->base,
		.siblings = o->siblings.at,
		.allow = o->allow.at,
		.backing_format = o->backing_format < 0 ? NULL :
				  o->backing_format == Q2_GUEST_RAW ? "raw" :
								      "qcow2",
		.data_file = o->data_file,
		.rate = o->rate,
		.progress = on_progress,
		.ctx = dump,
	};
	struct q2_inplace_result result;
	struct q2_err err = {0};
	enum q2_status st;
	int status;

	dump->progress.about = image;
	dump_close_sandbox(dump, image, NULL, NULL);
	status = q2_cli_secrets_read(dump->tool, &o->secrets, &dump->secrets);
	if (status != 0)
		return status;
	opts.secrets = dump->secrets.at;
	opts.n_secrets = dump->secrets.n;
	st = q2_inplace(image, &opts, &result, &err);
	q2_cli_progress_clear(&dump->progress);
	if (st != Q2_OK)
		return dump_failed(dump, image, st, &err);
	tell(dump, image, &result);
	return 0;
}
