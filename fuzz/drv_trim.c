/*
 * drv_trim.c - failing inputs made smaller, field by field.
 *
 * SPDX-License-Identifier: MIT
 */
#include "drv_trim.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mutator/q2mut.h"

#define ROOM (4 * Q2MUT_MAX)

/* What the oracle says of an input, in a child; "" if nothing. */
static void ask(q2f_trim_run *run, const uint8_t *data, size_t n, char *said,
		size_t room)
{
	int pipes[2], status;
	size_t got = 0;
	ssize_t k;
	pid_t pid;

	if (pipe(pipes) != 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		dup2(pipes[1], 2);
		close(pipes[0]);
		close(pipes[1]);
		run(data, n);
		_exit(0);
	}
	close(pipes[1]);
	while (got + 1 < room &&
	       (k = read(pipes[0], said + got, room - got - 1)) > 0)
		got += (size_t)k;
	close(pipes[0]);
	waitpid(pid, &status, 0);
	said[got] = 0;
	if (status == 0)
		said[0] = 0;
	else if (got == 0)
		snprintf(said, room, "status %d", status);
	/* The oracle's name is what counts, not its numbers. */
	said[strcspn(said, ":")] = 0;
}

/* Makes a failing file smaller for as long as it fails in the same way. */
int q2f_trim_file(const char *path, q2f_trim_run *run)
{
	static uint8_t now_bytes[ROOM], next[ROOM];
	char first[256], said[256];
	FILE *f = fopen(path, "rb");
	bool smaller = true;
	size_t n;

	if (f == NULL)
		return 2;
	n = fread(now_bytes, 1, sizeof(now_bytes), f);
	fclose(f);
	ask(run, now_bytes, n, first, sizeof(first));
	if (first[0] == 0) {
		fprintf(stderr, "q2fuzz: %s does not fail\n", path);
		return 2;
	}
	while (smaller) {
		smaller = false;
		for (unsigned i = 0; i < q2mut_trim_steps(n); i++) {
			size_t m = q2mut_trim(now_bytes, n, next, sizeof(next),
					      i);

			if (m == 0)
				continue;
			ask(run, next, m, said, sizeof(said));
			if (strcmp(said, first) != 0)
				continue;
			memcpy(now_bytes, next, m);
			n = m;
			smaller = true;
		}
	}
	f = fopen(path, "wb");
	if (f == NULL || fwrite(now_bytes, 1, n, f) != n || fclose(f) != 0)
		return 2;
	printf("%s: %zu bytes\n", path, n);
	return 0;
}
