/*
 * test_state.c - a state that is one piece: whatever their sizes, the last one is
 * found again, or the one before it if a write was cut short.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define IDENTITY UINT64_C(0x123456789abcdef)

static const struct q2_cli_tool tool = {.name = "test"};
static char path[] = "state-XXXXXX";
static unsigned complaints;

/* In the place of the tools' own. */
void q2_cli_complain(const struct q2_cli_tool *t, const char *about,
		     const char *what)
{
	(void)t;
	(void)about;
	(void)what;
	complaints++;
}

int q2_cli_interrupted(void)
{
	return 1;
}

static uint8_t byte_of(unsigned piece, size_t at)
{
	return (uint8_t)((at * 2654435761u + piece * 40503u) >> 9);
}

static void keep_piece(struct q2_cli_state *s, unsigned piece, size_t n)
{
	char some[1000];

	ck_assert(q2_cli_whole_due(s, true));
	for (size_t at = 0; at < n;) {
		size_t part = n - at < sizeof(some) ? n - at : sizeof(some);

		for (size_t i = 0; i < part; i++)
			some[i] = (char)byte_of(piece, at + i);
		if (q2_cli_whole_add(s, some, part) != 0) {
			q2_cli_whole_end(s, false);
			return;
		}
		at += part;
	}
	q2_cli_whole_end(s, true);
}

/* Which piece of `sizes` the file holds; fails unless it does byte for byte. */
static uint64_t piece_in_file(const size_t *sizes)
{
	struct q2_cli_state s;
	unsigned piece;
	char some[999];
	size_t n = 0, got;
	unsigned wrong = 0;

	ck_assert_int_eq(q2_cli_state_open(&s, &tool, path), 0);
	ck_assert_int_eq(q2_cli_whole_load(&s, IDENTITY), 0);
	/* The first byte tells nothing for sure: its length does. */
	for (piece = 0; sizes[piece] != s.last.n; piece++)
		ck_assert_uint_ne(sizes[piece], 0);
	while ((got = q2_cli_whole_read(&s, some, sizeof(some))) != 0)
		for (size_t i = 0; i < got; i++)
			wrong += (uint8_t)some[i] != byte_of(piece, n++);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(n, sizes[piece]);
	q2_cli_state_close(&s, false);
	return piece;
}

START_TEST(any_sizes)
{
	/* Growing, shrinking, and such as do not fit before the last one. */
	static const size_t sizes[] = {10,     70000,  65536,  200001, 65537,
				       400000, 1,      131072, 3000,   600000,
				       40,     90001,  5,      70001,  500000,
				       12,     0};
	struct q2_cli_state s;
	struct stat sb;
	unsigned done = 0, missed = 0;

	unlink(path);
	for (unsigned i = 0; sizes[i]; i++) {
		ck_assert_int_eq(q2_cli_state_open(&s, &tool, path), 0);
		ck_assert_int_eq(q2_cli_whole_load(&s, IDENTITY), 0);
		keep_piece(&s, i, sizes[i]);
		ck_assert_ptr_nonnull(s.file);
		/* There was no room: the next attempt has it. */
		if (s.last.n != sizes[i]) {
			ck_assert_uint_eq(s.last.n, sizes[done]);
			missed++;
			keep_piece(&s, i, sizes[i]);
		}
		ck_assert_uint_eq(s.last.n, sizes[i]);
		q2_cli_state_close(&s, false);
		ck_assert_uint_eq(piece_in_file(sizes), i);
		done = i;
	}
	ck_assert_uint_gt(missed, 0);
	ck_assert_uint_eq(complaints, 0);
	/* It does not grow for ever. */
	ck_assert_int_eq(stat(path, &sb), 0);
	ck_assert_int_lt(sb.st_size, 3 * 600000);
	unlink(path);
}
END_TEST

/* Whatever part of the last piece's writes was done: one of the two is there. */
START_TEST(cut_short)
{
	static const size_t sizes[] = {300, 500, 0};
	struct q2_cli_state s;
	char before[4096] = "", after[4096] = "";
	ssize_t n_before, n_after;
	int fd;

	unlink(path);
	ck_assert_int_eq(q2_cli_state_open(&s, &tool, path), 0);
	ck_assert_int_eq(q2_cli_whole_load(&s, IDENTITY), 0);
	keep_piece(&s, 0, sizes[0]);
	fd = open(path, O_RDWR);
	n_before = pread(fd, before, sizeof(before), 0);
	keep_piece(&s, 1, sizes[1]);
	n_after = pread(fd, after, sizeof(after), 0);
	q2_cli_state_close(&s, false);
	ck_assert_int_eq(n_before, 512 + 300);
	ck_assert_int_eq(n_after, 512 + 800);
	/* The data come first, then the line; each up to any byte. */
	for (ssize_t cut = n_before; cut < n_after; cut += 7) {
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(pwrite(fd, after, (size_t)cut, 0), cut);
		ck_assert_int_eq(pwrite(fd, before, 512, 0), 512);
		ck_assert_uint_eq(piece_in_file(sizes), 0);
	}
	for (ssize_t cut = 128; cut <= 128 + 102; cut++) {
		ck_assert_int_eq(pwrite(fd, after, (size_t)n_after, 0), n_after);
		ck_assert_int_eq(pwrite(fd, before + cut, (size_t)(256 - cut),
					cut), 256 - cut);
		ck_assert_uint_eq(piece_in_file(sizes), cut == 128 + 102);
	}
	close(fd);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("state");
	TCase *tc = tcase_create("whole");
	SRunner *runner = srunner_create(suite);
	int fd = mkstemp(path);
	int failed;

	close(fd);
	tcase_add_test(tc, any_sizes);
	tcase_add_test(tc, cut_short);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	unlink(path);
	return failed != 0;
}
