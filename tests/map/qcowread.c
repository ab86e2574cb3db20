/*
 * qcowread.c - writes the disk of an image as libqcow reads it.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: qcowread IMAGE [PASSWORD] >raw
 */
#include <libqcow.h>
#include <stdio.h>
#include <string.h>

static char chunk[65536];

static int copy(libqcow_file_t *file)
{
	size64_t left;
	ssize_t n;

	if (libqcow_file_get_media_size(file, &left, NULL) != 1)
		return 1;
	while (left > 0) {
		n = libqcow_file_read_buffer(file, chunk,
					     left < sizeof(chunk) ?
						     (size_t)left :
						     sizeof(chunk), NULL);
		if (n <= 0 || fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
			return 1;
		left -= (size64_t)n;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	libqcow_file_t *file = NULL;
	int status = 1;

	if (argc < 2 || libqcow_file_initialize(&file, NULL) != 1)
		return 1;
	if (argc > 2 && libqcow_file_set_utf8_password(
				file, (const uint8_t *)argv[2], strlen(argv[2]),
				NULL) != 1)
		return 1;
	if (libqcow_file_open(file, argv[1], LIBQCOW_OPEN_READ, NULL) == 1)
		status = copy(file);
	libqcow_file_free(&file, NULL);
	return status;
}
