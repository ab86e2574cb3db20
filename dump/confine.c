/*
 * confine.c - what qcow2-dump has to be able to do.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "dump.h"

int dump_confine(struct dump *dump, char *images[])
{
	const struct options *o = dump->options;
	bool exports = !o->digest && !o->check_digest && !o->compare;
	unsigned needs = Q2_SANDBOX_THREADS;

	if (exports || o->ranges)
		needs |= Q2_SANDBOX_WRITE;
	for (size_t i = 0; images[i]; i++)
		if (q2_cli_is_nbd(images[i]))
			needs |= Q2_SANDBOX_NET;
	for (size_t i = 0; i < o->allow.n; i++)
		if (q2_cli_is_nbd(o->allow.at[i]))
			needs |= Q2_SANDBOX_NET;
	dump->sandbox.quiet = o->quiet != 0;
	if (o->sandbox != Q2_SANDBOX_OFF)
		q2_cli_output_reserve(&dump->out);
	return q2_cli_sandbox_start(&dump->sandbox, dump->tool,
				    (enum q2_sandbox_mode)o->sandbox, needs);
}

/* An image, and the files that may be opened because it names them. */
static void allow_image(struct dump *dump, const char *name, unsigned access)
{
	struct q2_cli_sandbox *s = &dump->sandbox;
	char place[4096];
	const char *path = name, *format;

	/* A name that leads nowhere fails when it is opened. */
	if (q2_name_path(name, place, sizeof(place), &format, NULL) == Q2_OK)
		path = place;
	q2_cli_sandbox_allow(s, path, access);
	q2_cli_sandbox_allow_nbd(s, path);
	q2_cli_sandbox_allow_folder(s, path, access);
}

void dump_close_sandbox(struct dump *dump, const char *image,
			const char *other, const char *out)
{
	const struct options *o = dump->options;
	struct q2_cli_sandbox *s = &dump->sandbox;
	bool in_place = o->absorb || o->commit;
	unsigned access = in_place ? Q2_SANDBOX_ALL_FILES :
				     Q2_SANDBOX_READ_FILES;

	allow_image(dump, image, access);
	if (other)
		allow_image(dump, other, access);
	for (size_t i = 0; i < o->allow.n; i++) {
		q2_cli_sandbox_allow(s, o->allow.at[i], access);
		q2_cli_sandbox_allow_nbd(s, o->allow.at[i]);
	}
	if (o->allow_any)
		q2_cli_sandbox_allow(s, "/", access);
	for (size_t i = 0; i < o->secrets.n; i++)
		q2_cli_sandbox_allow(s, q2_cli_secret_path(o->secrets.at[i]),
				     Q2_SANDBOX_READ_FILES);
	for (size_t i = 0; i < o->other_secrets.n; i++)
		q2_cli_sandbox_allow(
			s, q2_cli_secret_path(o->other_secrets.at[i]),
			Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, o->data_file, access);
	q2_cli_sandbox_allow(s, o->base, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, o->keep_backing, Q2_SANDBOX_READ_FILES);
	/* An overlay that is missed would be lost: follow it anywhere. */
	if (o->siblings.n)
		q2_cli_sandbox_allow(s, "/", Q2_SANDBOX_READ_FILES);
	if (out && strcmp(out, "-") != 0) {
		q2_cli_sandbox_allow(s, out, Q2_SANDBOX_READ_FILES |
						     Q2_SANDBOX_WRITE_FILES);
		q2_cli_sandbox_allow_nbd(s, out);
		q2_cli_sandbox_allow_folder(s, out, Q2_SANDBOX_ALL_FILES);
	}
	q2_cli_sandbox_allow_folder(s, o->ranges, Q2_SANDBOX_WRITE_FILES |
							  Q2_SANDBOX_MAKE_FILES);
	q2_cli_sandbox_allow_folder(s, o->map, Q2_SANDBOX_MAKE_FILES);
	q2_cli_sandbox_close(s);
}
