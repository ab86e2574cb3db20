/*
 * confine.c - what the verbs of qcow2-map have to be able to do.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map.h"

/* The operand itself, and what its options and names may lead to. */
static void allow(struct map *map, const struct verb *verb, const char *path)
{
	struct q2_cli_sandbox *s = &map->sandbox;

	q2_cli_sandbox_allow(s, path, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow_nbd(s, path);
	if (map->options->chain || verb->scans)
		q2_cli_sandbox_allow_folder(s, path, Q2_SANDBOX_READ_FILES);
}

/* Of what the operands and options name. */
static unsigned needs_of(const struct options *o, const struct verb *verb,
			 char *operands[])
{
	unsigned needs = (o->audit.to ? Q2_SANDBOX_WRITE : 0) |
			 (verb->threads ? Q2_SANDBOX_THREADS : 0);

	for (size_t i = 0; operands[i]; i++)
		if (q2_cli_is_nbd(operands[i]))
			needs |= Q2_SANDBOX_NET;
	for (size_t i = 0; i < o->allow.n; i++)
		if (q2_cli_is_nbd(o->allow.at[i]))
			needs |= Q2_SANDBOX_NET;
	return needs;
}

/* Where the system tells of file systems and devices. */
static void allow_system(struct q2_cli_sandbox *s)
{
	static const char *const paths[] = {
		"/proc/self/mountinfo", "/proc/sys/kernel/random/boot_id",
		"/sys/devices/virtual/block",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		q2_cli_sandbox_allow(s, paths[i], Q2_SANDBOX_READ_FILES);
}

int map_confine(struct map *map, const struct verb *verb, char *operands[])
{
	const struct options *o = map->options;
	struct q2_cli_sandbox *s = &map->sandbox;
	int status;

	if (operands[0])
		operands += verb->words;
	s->quiet = o->quiet != 0;
	if (o->sandbox != Q2_SANDBOX_OFF)
		q2_cli_output_reserve(&map->out);
	status = q2_cli_sandbox_start(s, map->tool,
				      (enum q2_sandbox_mode)o->sandbox,
				      needs_of(o, verb, operands));
	for (size_t i = 0; operands[i]; i++)
		allow(map, verb, operands[i]);
	for (size_t i = 0; i < o->allow.n; i++) {
		q2_cli_sandbox_allow(s, o->allow.at[i], Q2_SANDBOX_READ_FILES);
		q2_cli_sandbox_allow_nbd(s, o->allow.at[i]);
	}
	for (size_t i = 0; i < o->forecast.secrets.n; i++)
		q2_cli_sandbox_allow(s, q2_cli_secret_path(
					     o->forecast.secrets.at[i]),
				     Q2_SANDBOX_READ_FILES);
	if (verb->scans)
		allow_system(s);
	if (o->allow_any)
		q2_cli_sandbox_allow(s, "/", Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow_folder(s, o->audit.to, Q2_SANDBOX_ALL_FILES);
	if (status == 0)
		q2_cli_sandbox_close(s);
	return status;
}
