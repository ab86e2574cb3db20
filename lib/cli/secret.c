/*
 * secret.c - the secrets of encrypted images, from files.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define SECRET_MAX 65536u

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

const char *q2_cli_secret_path(const char *text)
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
		else if (n < 0 && errno == EINTR)
			n = 1; /* of a pipe; and again */
	}
	error = n < 0 ? errno : *len == room ? EFBIG : 0;
	if (fd >= 0)
		close(fd);
	return error;
}

int q2_cli_secrets_read(const struct q2_cli_tool *tool,
			const struct q2_cli_list *list,
			struct q2_cli_secrets *out)
{
	while (out->n < list->n) {
		struct q2_secret *s = &out->at[out->n];
		const char *path = split(list->at[out->n], &s->layer);
		char *bytes = malloc(SECRET_MAX);
		int error = ENOMEM;

		s->bytes = bytes;
		if (bytes) {
			out->n++;
			error = read_file(path, bytes, SECRET_MAX, &s->len);
		}
		if (error != 0) {
			q2_cli_complain(tool, path, strerror(error));
			return Q2_EXIT_FAILED;
		}
	}
	return 0;
}

void q2_cli_secrets_forget(struct q2_cli_secrets *secrets)
{
	for (size_t i = 0; i < secrets->n; i++) {
		char *bytes = (char *)(uintptr_t)secrets->at[i].bytes;

		explicit_bzero(bytes, SECRET_MAX);
		free(bytes);
	}
	secrets->n = 0;
}
