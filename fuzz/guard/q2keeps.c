/*
 * q2keeps.c - does a guest still read what it could read without doubt?
 *
 * SPDX-License-Identifier: MIT
 *
 * Of images before and after a repair, with the reader of the fuzz targets, which shares
 * nothing with the library: oracle R-4 for repairers of others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../guest.h"

#define LARGEST (64 << 20)

static const char help[] =
	"usage: q2keeps BEFORE AFTER\n"
	"Exit status: 0 what was read without doubt before is read so after; 1 it is\n"
	"not; 2 usage; 3 there is nothing to judge by: too large, or not to be read.\n";

static uint8_t *load(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes = NULL;
	struct stat st;

	if (f == NULL)
		return NULL;
	if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size <= LARGEST) {
		*size = (size_t)st.st_size;
		bytes = malloc(*size + 1);
		if (bytes && fread(bytes, 1, *size, f) != *size) {
			free(bytes);
			bytes = NULL;
		}
	}
	fclose(f);
	return bytes;
}

/* The first cluster that is lost, or -1.  Where tables and refcounts agree about a
 * cluster, the root fields are right: of another disk, all is lost. */
static long first_lost(const struct q2f_guest *before,
		       const struct q2f_guest *after)
{
	bool other = before->cluster_size != after->cluster_size ||
		     before->plain != after->plain;

	for (size_t i = 0; i < before->n; i++)
		if (before->digest[i] > Q2F_GUEST_ZEROS &&
		    (other || i >= after->n ||
		     before->digest[i] != after->digest[i]))
			return (long)i;
	return -1;
}

static const struct q2f_guest *named(const struct q2f_guest *g, uint64_t name)
{
	static const struct q2f_guest none;

	for (size_t i = 0; i < g->n_snapshots; i++)
		if (g->snapshots[i].name == name)
			return &g->snapshots[i];
	return &none;
}

static int compare(const struct q2f_guest *before, const struct q2f_guest *after)
{
	long lost = first_lost(before, after);
	const char *of = "the disk";

	if (before->cluster_size == 0)
		return 3;
	for (size_t i = 0; i < before->n_snapshots && lost < 0; i++) {
		const struct q2f_guest *s = &before->snapshots[i];

		lost = first_lost(s, named(after, s->name));
		of = "a snapshot";
	}
	if (lost < 0)
		return 0;
	printf("cluster %ld of %s reads otherwise\n", lost, of);
	return 1;
}

int main(int argc, char **argv)
{
	size_t n_before = 0, n_after = 0;
	struct q2f_guest before, after;
	uint8_t *a, *b;
	int status = 3;

	if (argc != 3) {
		fputs(help, stderr);
		return 2;
	}
	a = load(argv[1], &n_before);
	b = load(argv[2], &n_after);
	if (a && b) {
		q2f_guest_read_counted(&before, a, n_before);
		q2f_guest_read(&after, b, n_after, false);
		status = compare(&before, &after);
		q2f_guest_free(&before);
		q2f_guest_free(&after);
	}
	free(a);
	free(b);
	return status;
}
