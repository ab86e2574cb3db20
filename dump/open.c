/*
 * open.c - opening images, and the secrets that this takes.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"

#define SECRET_MAX 65536u

struct secret {
	uint32_t layer;
	size_t len;
	char *bytes; /* SECRET_MAX of them */
};

/* "3=file" is about layer 3; a file of such a name can be had as "./3=file". */
static const char *split(const char *text, uint32_t *layer)
{
	size_t n = strspn(text, "0123456789");
	uint32_t number = 0;

	*layer = Q2_ANY_LAYER;
	if (n == 0 || n > 4 || text[n] != '=')
		return text;
	for (size_t i = 0; i < n; i++)
		number = number * 10 + (uint32_t)(text[i] - '0');
	*layer = number;
	return text + n + 1;
}

const char *dump_secret_path(const char *text)
{
	uint32_t layer;

	return split(text, &layer);
}

/* 0 or an errno value.  A byte too many shows that the file is too long. */
static int read_file(const char *path, char *bytes, size_t room, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 1;
	int error;

	*len = 0;
	while (n > 0 && *len < room) {
		n = read(fd, bytes + *len, room - *len);
		if (n > 0)
			*len += (size_t)n;
	}
	error = n < 0 ? errno : *len == room ? EFBIG : 0;
	if (fd >= 0)
		close(fd);
	return error;
}

int dump_read_secrets(struct dump *dump)
{
	const struct q2_cli_list *list = &dump->options->secrets;

	if (dump->secrets != NULL || list->n == 0)
		return 0;
	dump->secrets = calloc(list->n, sizeof(*dump->secrets));
	for (size_t i = 0; dump->secrets != NULL && i < list->n; i++) {
		struct secret *s = &dump->secrets[i];
		const char *path = split(list->at[i], &s->layer);
		int error;

		s->bytes = malloc(SECRET_MAX);
		if (s->bytes == NULL)
			break;
		dump->n_secrets = i + 1;
		error = read_file(path, s->bytes, SECRET_MAX, &s->len);
		if (error != 0) {
			q2_cli_complain(dump->tool, path, strerror(error));
			return Q2_EXIT_FAILED;
		}
	}
	if (dump->n_secrets == list->n)
		return 0;
	q2_cli_complain(dump->tool, NULL, strerror(ENOMEM));
	return Q2_EXIT_FAILED;
}

void dump_forget(struct dump *dump)
{
	for (size_t i = 0; i < dump->n_secrets; i++) {
		explicit_bzero(dump->secrets[i].bytes, SECRET_MAX);
		free(dump->secrets[i].bytes);
	}
	free(dump->secrets);
	dump->secrets = NULL;
	dump->n_secrets = 0;
}

int dump_open(struct dump *dump, const char *path, int format,
	      struct q2_guest **guest)
{
	const struct options *o = dump->options;
	struct q2_secret secrets[Q2_CLI_LIST_MAX];
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
		.secrets = secrets};
	struct q2_err err = {0};
	enum q2_status st;
	int status = dump_read_secrets(dump);
	const char *written;

	*guest = NULL;
	if (status != 0)
		return status;
	for (size_t i = 0; i < dump->n_secrets; i++)
		secrets[i] = (struct q2_secret){dump->secrets[i].layer,
						dump->secrets[i].bytes,
						dump->secrets[i].len};
	opts.n_secrets = dump->n_secrets;
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
