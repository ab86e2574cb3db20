/*
 * open.c - opening images.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump.h"

static int open_with(struct dump *dump, const char *path, int format,
		     const struct q2_cli_list *files,
		     struct q2_cli_secrets *secrets, struct q2_guest **guest)
{
	const struct options *o = dump->options;
	struct q2_guest_opts opts = {
		.format = (enum q2_guest_format)format,
		.allow_probe = o->allow_probe != 0,
		.backing_format = o->backing_format < 0 ? NULL :
				  o->backing_format == Q2_GUEST_RAW ? "raw" :
								      "qcow2",
		.allow_any = o->allow_any != 0,
		.allow = o->allow.n ? o->allow.at : NULL,
		.data_file = o->data_file,
		.salvage = o->salvage != 0,
		.snapshot = o->snapshot,
		.layer = o->layer == UINT64_MAX ? Q2_ANY_LAYER :
						  (uint32_t)o->layer,
		.secrets = secrets->at};
	struct q2_err err = {0};
	enum q2_status st;
	int status = q2_cli_secrets_read(dump->tool, files, secrets);
	const char *written;

	*guest = NULL;
	if (status != 0)
		return status;
	opts.n_secrets = secrets->n;
	dump->progress.about = path;
	st = q2_guest_open(path, &opts, guest, &err);
	if (st != Q2_OK)
		return dump_failed(dump, path, st, &err);
	written = q2_guest_written(*guest);
	if (written)
		q2_cli_complain(dump->tool, written,
				"another process may be writing to it: what is "
				"read may never have been there at one time");
	return 0;
}

int dump_open(struct dump *dump, const char *path, int format,
	      struct q2_guest **guest)
{
	return open_with(dump, path, format, &dump->options->secrets,
			 &dump->secrets, guest);
}

int dump_open_other(struct dump *dump, const char *path,
		    struct q2_guest **guest)
{
	const struct options *o = dump->options;

	if (o->other_secrets.n == 0)
		return dump_open(dump, path, o->other_format, guest);
	return open_with(dump, path, o->other_format, &o->other_secrets,
			 &dump->other_secrets, guest);
}
