/*
 * test_cli.c - sizes, options, output and progress, as the tools have them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"

#define FAILS UINT64_MAX

START_TEST(test_sizes)
{
	static const struct {
		const char *text;
		uint64_t size;
	} sizes[] = {
		{"0", 0},
		{"0x10", 16},
		{"0xAf", 0xaf},
		{"0x", FAILS},
		{"0xg", FAILS},
		{"0x[", FAILS},
		{"0x/", FAILS},
		{"0x0fffffffffffffff", UINT64_MAX >> 4},
		{"0x1ffffffffffffffff", FAILS},
		{"1.5K", 1536},
		{"1.5", FAILS},
		{".5K", FAILS},
		{"1.K", 1024},
		{"0.00000000000000000009E", 0},
		{"1.5kiB", 1536},
		{"1.x", FAILS},
		{"1Kib", FAILS},
		{"1Q", FAILS},
		{"-1", FAILS},
		{"15E", UINT64_C(15) << 60},
		{"16E", FAILS},
		{"18014398509481983.5K", UINT64_MAX - 511},
		{"18014398509481983.9999K", FAILS},
		{"18446744073709551616", FAILS},
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t size = FAILS;

		ck_assert_msg(q2_cli_size(sizes[i].text, &size) ==
				      (sizes[i].size != FAILS),
			      "%s", sizes[i].text);
		ck_assert_msg(size == sizes[i].size, "%s", sizes[i].text);
	}
}
END_TEST

/* ----------------------------------------------------------------- options */
static struct options {
	struct q2_cli_list list;
	int fd, flag;
	uint64_t number;
} options;

static const struct q2_cli_option table[] = {
	{"list", 'l', "TEXT", "texts", Q2_CLI_LIST, offsetof(struct options, list),
	 0},
	{"fd", 0, "N", "a descriptor", Q2_CLI_FD, offsetof(struct options, fd), 0},
	{"flag", 'f', NULL, "a flag", Q2_CLI_SET, offsetof(struct options, flag),
	 7},
	{"number", 'n', "N", "a number", Q2_CLI_NUMBER,
	 offsetof(struct options, number), 0},
	{.name = NULL},
};

static const struct q2_cli_tool tool = {.name = "test",
					.operands = "FILE",
					.purpose = "It is tested.",
					.options = table};

/* What is said on stderr, or on stdout. */
static char said[4096];

static bool begins(const char *with)
{
	return strncmp(said, with, strlen(with)) == 0;
}

static int parse(int fd, int argc, char *argv[])
{
	FILE *f = tmpfile();
	int first = 0, saved = dup(fd), status;
	size_t n;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(dup2(fileno(f), fd), 0);
	options = (struct options){0};
	optind = 0;
	status = q2_cli_parse(&tool, argc, argv, &options, &first);
	ck_assert_int_ge(dup2(saved, fd), 0);
	close(saved);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	return status == -1 ? first : -status;
}

#define PARSE(fd, ...)                                                         \
	parse(fd, (int)(sizeof((char *[]){"test", __VA_ARGS__}) /              \
			sizeof(char *)),                                       \
	      (char *[]){"test", __VA_ARGS__, NULL})

START_TEST(test_options)
{
	static char a[] = "--list=x";
	char *many[Q2_CLI_LIST_MAX + 3];

	ck_assert_int_eq(PARSE(2, "-fl", "x", "-n5", "--list", "y", "file"), 6);
	ck_assert_int_eq(options.flag, 7);
	ck_assert_uint_eq(options.number, 5);
	ck_assert_uint_eq(options.list.n, 2);
	ck_assert_str_eq(options.list.at[1], "y");
	ck_assert_str_eq(said, "");
	for (size_t i = 1; i < Q2_CLI_LIST_MAX + 2; i++)
		many[i] = a;
	many[0] = a;
	many[Q2_CLI_LIST_MAX + 2] = NULL;
	ck_assert_int_eq(parse(2, Q2_CLI_LIST_MAX + 1, many),
			 Q2_CLI_LIST_MAX + 1);
	ck_assert_uint_eq(options.list.n, Q2_CLI_LIST_MAX);
	ck_assert_int_eq(parse(2, Q2_CLI_LIST_MAX + 2, many), -Q2_EXIT_USAGE);
	ck_assert_ptr_nonnull(strstr(said, "--list takes 64 values at the most"));
	ck_assert_int_eq(PARSE(2, "--fd=2"), 2);
	ck_assert_int_eq(options.fd, 2);
	ck_assert_int_eq(PARSE(2, "--fd=2147483648"), -Q2_EXIT_USAGE);
	ck_assert_int_eq(PARSE(2, "--fd=1000"), -Q2_EXIT_USAGE);
	ck_assert_int_eq(PARSE(2, "--flag=1"), -Q2_EXIT_USAGE);
	ck_assert_ptr_nonnull(strstr(said, "takes no argument: --flag=1") ?:
			      strstr(said, "--flag=1: the option takes no"));
	ck_assert_int_eq(PARSE(2, "-fx"), -Q2_EXIT_USAGE);
	ck_assert_ptr_nonnull(strstr(said, "-x"));
	ck_assert_int_eq(PARSE(2, "-l"), -Q2_EXIT_USAGE);
	ck_assert_ptr_nonnull(strstr(said, "needs an argument"));
}
END_TEST

START_TEST(test_lists)
{
	ck_assert_int_eq(PARSE(1, "--long-options"), 0);
	ck_assert_str_eq(said, "--list=TEXT\n--fd=N\n--flag\n--number=N\n"
			       "--help\n--version\n");
	ck_assert_int_eq(PARSE(1, "--short-options"), 0);
	ck_assert_str_eq(said, "-l\n-f\n-n\n-h\n-V\n");
	ck_assert_int_eq(PARSE(1, "--version"), 0);
	ck_assert_str_eq(said, "test (qcow2-progs) " Q2_VERSION "\n");
	ck_assert_int_eq(PARSE(1, "-h"), 0);
	ck_assert(begins("Usage: test [options] FILE\n"));
}
END_TEST

/* ------------------------------------------------------------------ progress */
/* The terminal that stands for stderr, 40 columns wide or as many as are told. */
static int terminal, saved;

static void open_terminal(unsigned short columns)
{
	struct winsize size = {.ws_row = 5, .ws_col = columns};
	struct termios raw;
	int slave;

	terminal = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(grantpt(terminal), 0);
	ck_assert_int_eq(unlockpt(terminal), 0);
	slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	ck_assert_int_eq(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(slave, TCSANOW, &raw), 0);
	ck_assert_int_eq(ioctl(slave, TIOCSWINSZ, &size), 0);
	saved = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(slave, STDERR_FILENO), 0);
	close(slave);
}

static void close_terminal(void)
{
	size_t all = 0;
	ssize_t n;

	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	close(saved);
	/* When nobody has it open any more, that is the end. */
	while ((n = read(terminal, said + all, sizeof(said) - 1 - all)) > 0)
		all += (size_t)n;
	said[all] = '\0';
	close(terminal);
}

/* So many bytes were done since so many milliseconds. */
static const char *shown(unsigned short columns, bool bytes, uint64_t ms,
			 struct q2_progress now, const char *about)
{
	struct q2_cli_progress p;

	ck_assert_int_eq(setenv("TERM", "vt100", 1), 0);
	open_terminal(columns);
	q2_cli_progress_open(&p, &tool, -1, false);
	ck_assert(p.terminal);
	p.about = about;
	p.bytes = bytes;
	p.phase = now.phase;
	p.begun = p.terminal_next - ms - 1000000;
	p.terminal_next = 0;
	ck_assert(!q2_cli_progress_tick(&p, &now));
	ck_assert(p.shown);
	q2_cli_progress_clear(&p);
	ck_assert(!p.shown);
	close_terminal();
	return said;
}

/* After a thousand seconds, to which a slow machine does not add much. */
START_TEST(test_progress)
{
	struct q2_progress now = {.phase = "reading",
				  .done = UINT64_C(1000) << 20,
				  .total = UINT64_C(6000) << 20};

	ck_assert_str_eq(shown(100, true, 0, (struct q2_progress){
						     .phase = "looking"},
			       "a\nb"),
			 "\r\033[Ka\\nb: looking\r\033[K");
	shown(100, true, 0, now, NULL);
	ck_assert(begins("\r\033[Kreading 16 %, 1.0 MiB/s, 1 h 23 min "));
	now.done = UINT64_C(5000) << 20;
	shown(100, false, 0, now, NULL);
	ck_assert(begins("\r\033[Kreading 83 %, 3 min "));
	now.done = now.total;
	shown(100, false, 0, now, NULL);
	ck_assert_str_eq(said, "\r\033[Kreading 100 %, 0 s left\r\033[K");
	/* Too slow for a rate; and more than all, which is no progress. */
	now = (struct q2_progress){.phase = "reading", .done = 1, .total = 2};
	ck_assert_str_eq(shown(100, true, 1000000, now, NULL),
			 "\r\033[Kreading 50 %\r\033[K");
	now.done = 3;
	ck_assert_str_eq(shown(100, false, 0, now, NULL),
			 "\r\033[Kreading 150 %\r\033[K");
	/* It is cut to the width; one that is not told, or odd, is 80. */
	now.done = 1;
	ck_assert_str_eq(shown(10, false, 0, now, NULL),
			 "\r\033[Kreading 5\r\033[K");
	shown(0, false, 0, now, "a long name, such that the line ends in the middle "
				"of what it has to tell of it");
	ck_assert_uint_eq(strlen(said), 4 + 79 + 4);
	shown(60000, false, 0, now, "a long name, such that the line ends in the "
				    "middle of what it has to tell of it");
	ck_assert_uint_eq(strlen(said), 4 + 79 + 4);
}
END_TEST

START_TEST(test_dumb)
{
	struct q2_cli_progress p;

	open_terminal(80);
	for (int i = 0; i < 4; i++) {
		static const char *const terms[] = {"dumb", "", NULL, "xterm"};

		if (terms[i])
			ck_assert_int_eq(setenv("TERM", terms[i], 1), 0);
		else
			ck_assert_int_eq(unsetenv("TERM"), 0);
		ck_assert_int_eq(q2_cli_dumb(), i < 3);
		q2_cli_progress_open(&p, &tool, -1, false);
		ck_assert_int_eq(p.terminal, i == 3);
		q2_cli_progress_open(&p, &tool, -1, true);
		ck_assert(!p.terminal);
	}
	close_terminal();
}
END_TEST

START_TEST(test_signals)
{
	struct q2_progress now = {.phase = "one phase", .done = 3, .total = 4};
	struct q2_cli_progress p;
	int ends[2];
	ssize_t n;

	ck_assert_ptr_ne(signal(SIGHUP, SIG_IGN), SIG_ERR);
	q2_cli_start();
	/* What our parent ignores is not what ends us. */
	raise(SIGHUP);
	ck_assert_int_eq(q2_cli_interrupted(), 0);
	ck_assert_int_eq(pipe(ends), 0);
	q2_cli_progress_open(&p, &tool, ends[1], false);
	open_terminal(80);
	raise(SIGUSR1);
	ck_assert(!q2_cli_progress_tick(&p, &now));
	/* It begins anew where it goes back. */
	now.done = 1;
	ck_assert(!q2_cli_progress_tick(&p, &now));
	ck_assert_uint_eq(p.first, 1);
	close_terminal();
	ck_assert_str_eq(said, "test: one phase 75 % (3 of 4)\n");
	n = read(ends[0], said, sizeof(said));
	ck_assert_int_eq(n, 14);
	ck_assert_mem_eq(said, "one-phase 3 4\n", 14);
	/* Whoever listened is told nothing more once it is gone. */
	close(ends[0]);
	now.done = 4;
	ck_assert(!q2_cli_progress_tick(&p, &now));
	ck_assert_int_eq(p.fd, -1);
	close(ends[1]);
	raise(SIGTERM);
	ck_assert_int_eq(q2_cli_interrupted(), SIGTERM);
	ck_assert(q2_cli_progress_tick(&p, &now));
}
END_TEST

/* Without standard streams no file becomes one, and writing to them fails. */
START_TEST(test_streams)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		char c = 0;

		for (int fd = 0; fd < 3; fd++)
			close(fd);
		q2_cli_start();
		_exit(open("/dev/null", O_RDONLY) < 3 || write(1, &c, 1) != -1 ||
		      write(2, &c, 1) != -1 || read(0, &c, 1) != -1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* -------------------------------------------------------------------- output */
/* A document of that many blocks of 64 KiB, in which each has its number. */
static int document(struct q2_cli_output *out, int blocks)
{
	static char block[65536];

	for (int i = 0; i < blocks; i++) {
		memset(block, 'a' + i % 26, sizeof(block));
		if (q2_cli_output_add(out, block, sizeof(block)) != 0)
			return -1;
	}
	return 0;
}

static void written(const char *path, int blocks)
{
	FILE *f = fopen(path, "r");
	int c, at = 0, wrong = 0;

	ck_assert_ptr_nonnull(f);
	for (; (c = getc_unlocked(f)) != EOF; at++)
		wrong += c != 'a' + at / 65536 % blocks % 26;
	fclose(f);
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_eq(at % (blocks * 65536), 0);
}

/* More than is held in memory, with a file for it made before, or then; and where
 * there is none to be had. */
START_TEST(test_output)
{
	static const char *const dirs[] = {NULL, "", "/nowhere/at/all", "/tmp"};
	char path[] = "/tmp/q2-test-cli-XXXXXX";
	struct q2_cli_output out;

	close(mkstemp(path));
	if (dirs[_i % 4])
		setenv("TMPDIR", dirs[_i % 4], 1);
	else
		unsetenv("TMPDIR");
	q2_cli_output_open(&out, open(path, O_WRONLY | O_TRUNC));
	if (_i >= 4)
		q2_cli_output_reserve(&out);
	for (int round = 0; round < 2; round++) {
		ck_assert_int_eq(document(&out, 70), 0);
		ck_assert_int_eq(out.no_file, _i % 4 == 2);
		ck_assert_int_eq(out.spill < 0, _i % 4 == 2);
		ck_assert_int_eq(q2_cli_output_commit(&out), 0);
	}
	ck_assert_int_eq(document(&out, 70), 0);
	ck_assert_int_eq(q2_cli_output_close(&out), 0);
	written(path, 70);
	unlink(path);
}
END_TEST

/* Nobody wants it any more: what failed first is told in the end. */
START_TEST(test_output_fails)
{
	struct q2_cli_output out;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	close(ends[0]);
	(void)signal(SIGPIPE, SIG_IGN);
	q2_cli_output_open(&out, ends[1]);
	ck_assert_int_eq(document(&out, 70), 0);
	ck_assert_int_eq(q2_cli_output_commit(&out), -1);
	ck_assert_int_eq(q2_cli_output_commit(&out), -1);
	ck_assert_int_eq(q2_cli_output_add(&out, "", 1), -1);
	close(ends[1]);
	ck_assert_int_eq(q2_cli_output_close(&out), EPIPE);
	/* The file that holds what does not fit into memory. */
	q2_cli_output_open(&out, -1);
	out.spill = open("/dev/full", O_RDWR);
	ck_assert_int_eq(document(&out, 70), -1);
	ck_assert_int_eq(out.error, ENOSPC);
	ck_assert_int_eq(q2_cli_output_close(&out), ENOSPC);
	q2_cli_output_open(&out, -1);
	ck_assert_int_eq(q2_cli_output_close(&out), EBADF);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli");
	TCase *t = tcase_create("cli");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, test_sizes);
	tcase_add_test(t, test_options);
	tcase_add_test(t, test_lists);
	tcase_add_test(t, test_progress);
	tcase_add_test(t, test_dumb);
	tcase_add_test(t, test_signals);
	tcase_add_test(t, test_streams);
	tcase_add_loop_test(t, test_output, 0, 8);
	tcase_add_test(t, test_output_fails);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
