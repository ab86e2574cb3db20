/*
 * known.c - --digest --resume: what an interrupted run has found out.
 *
 * SPDX-License-Identifier: MIT
 *
 * The lines of the state are those of --ranges.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"

#define SUFFIX ".part"

bool dump_parse_range(const char *line, struct digest_line *out)
{
	int end = 0;

	return sscanf(line, "%" SCNu64 " %" SCNu64 " %32[0-9a-f]%n",
		      &out->guest, &out->length, out->hex, &end) == 3 &&
	       line[end] == '\0' && strlen(out->hex) == DIGEST_HEX;
}

/* The lock on the file is held from here on. */
int dump_known_open(struct dump *dump)
{
	const struct options *o = dump->options;
	char *path;
	size_t room;
	int status;

	if (!o->digest || !o->resume || o->ranges == NULL)
		return 0;
	if (!o->force && access(o->ranges, F_OK) == 0) {
		q2_cli_complain(dump->tool, o->ranges, strerror(EEXIST));
		return Q2_EXIT_FAILED;
	}
	room = strlen(o->ranges) + sizeof(SUFFIX);
	path = malloc(room);
	if (path == NULL) {
		q2_cli_complain(dump->tool, o->ranges, strerror(ENOMEM));
		return Q2_EXIT_FAILED;
	}
	snprintf(path, room, "%s" SUFFIX, o->ranges);
	status = q2_cli_state_open(&dump->state, dump->tool, path);
	free(path);
	return status;
}

int dump_known_load(struct dump *dump, const struct q2_guest *guest,
		    const char *image)
{
	uint64_t identity;

	if (!dump->options->resume)
		return 0;
	if (!q2_guest_state(guest, &identity)) {
		q2_cli_complain(dump->tool, image,
				"whether it has changed since cannot be told: "
				"--resume is for files, and not for QEMU's "
				"\"aes\"");
		return Q2_EXIT_FAILED;
	}
	return q2_cli_state_load(&dump->state, identity,
				 dump->options->force != 0);
}

static unsigned digit(char c)
{
	unsigned n = (unsigned char)c;

	return n <= '9' ? n - '0' : n - 'a' + 10;
}

/* As q2_digest_known has it. */
static bool recall(void *ctx, uint64_t *guest, struct q2_digest *digest)
{
	struct dump *dump = ctx;
	const char *line = q2_cli_state_recall(&dump->state);
	struct digest_line l;

	if (line == NULL)
		return false;
	if (!dump_parse_range(line, &l))
		l = (struct digest_line){.guest = UINT64_MAX}; /* refused */
	*guest = l.guest;
	for (size_t i = 0; i < sizeof(digest->bytes); i++)
		digest->bytes[i] = (uint8_t)(digit(l.hex[2 * i]) << 4 |
					     digit(l.hex[2 * i + 1]));
	(void)q2_cli_output_add(&dump->ranges.out, line, strlen(line));
	(void)q2_cli_output_add(&dump->ranges.out, "\n", 1);
	return true;
}

struct q2_digest_known dump_known(struct dump *dump)
{
	return (struct q2_digest_known){
		.bytes = q2_cli_state_position(&dump->state),
		.recall = recall,
		.ctx = dump};
}

void dump_known_add(struct dump *dump, const char *line, size_t n)
{
	if (dump->options->resume)
		q2_cli_state_add(&dump->state, line, n);
}

void dump_known_tell(struct dump *dump, const struct q2_progress *now)
{
	if (dump->state.path != NULL &&
	    (now->done % Q2_DIGEST_GRAIN == 0 || now->done == now->total))
		q2_cli_state_reach(&dump->state, now->done);
}
