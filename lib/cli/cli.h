/*
 * cli.h - what the command line tools share: options, output, progress,
 * signals, exit status.
 *
 * SPDX-License-Identifier: MIT
 *
 * Unlike the rest of the library these functions print, and handle signals.
 */
#ifndef Q2_CLI_CLI_H
#define Q2_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rename.h"
#include "cli/sandbox.h"
#include "cli/state.h"
#include "q2.h"

/* Exit status after fsck(8): a sum of these. */
enum {
	Q2_EXIT_CLEAN = 0,
	Q2_EXIT_REPAIRED = 1,
	Q2_EXIT_PROBLEMS = 4,	  /* problems are left */
	Q2_EXIT_FAILED = 8,	  /* an operational error */
	Q2_EXIT_USAGE = 16,	  /* wrong options or operands */
	Q2_EXIT_INTERRUPTED = 32, /* ended by a signal */
};

/* ----------------------------------------------------------------- options
 * One table for each tool drives the parser, --help, and the list from which
 * shells complete.  --help, --version, --long-options and --short-options come
 * by themselves.  Parsing has no side effects but for those four.
 */
enum q2_cli_type {
	Q2_CLI_SET,    /* no argument: sets an int to `value` */
	Q2_CLI_CHOICE, /* sets an int to the index of a word in `arg` */
	Q2_CLI_FD,     /* sets an int to a file descriptor open for writing */
	Q2_CLI_SIZE,   /* sets a uint64_t, see q2_cli_size() */
	Q2_CLI_NUMBER, /* sets a uint64_t, see q2_cli_number() */
	Q2_CLI_TEXT,   /* sets a const char * */
	Q2_CLI_LIST    /* may be given more than once: a struct q2_cli_list */
};

/* Texts in the order in which they were given, NULL behind the last one. */
#define Q2_CLI_LIST_MAX 64
struct q2_cli_list {
	size_t n;
	const char *at[Q2_CLI_LIST_MAX + 1];
};

/* What files of --secret hold; all zero at first. */
struct q2_cli_secrets {
	size_t n;
	struct q2_secret at[Q2_CLI_LIST_MAX];
};

struct q2_cli_option {
	const char *name; /* without --; NULL ends the table */
	char letter;	  /* 0 for none */
	const char *arg;  /* its name; for Q2_CLI_CHOICE "one|two|three" */
	const char *help; /* \n starts another line */
	enum q2_cli_type type;
	size_t at; /* offsetof() what is set, in the tool's options */
	int value;
};

struct q2_cli_tool {
	const char *name;
	const char *operands; /* after "[options]" in the usage line */
	const char *purpose;  /* a sentence */
	const char *epilogue; /* end of --help, or NULL */
	const struct q2_cli_option *options;
};

/* Fills in *options.  Returns -1 and the index of the first operand in *first,
 * or else the status with which the tool has to exit at once. */
int q2_cli_parse(const struct q2_cli_tool *tool, int argc, char *argv[],
		 void *options, int *first);

/* Says on stderr what is wrong with the call; returns Q2_EXIT_USAGE. */
int q2_cli_misuse(const struct q2_cli_tool *tool, const char *what,
		  const char *about);

/* A line on stderr: "tool: about: what", control characters escaped.  `about`
 * may be NULL. */
void q2_cli_complain(const struct q2_cli_tool *tool, const char *about,
		     const char *what);

/* Reads the files of a list of FILE or LAYER=FILE, as --secret takes them, unless
 * that was done.  0, or the status to exit with: it was complained about.  What was
 * read is wiped by q2_cli_secrets_forget(), also after failure. */
int q2_cli_secrets_read(const struct q2_cli_tool *tool,
			const struct q2_cli_list *list,
			struct q2_cli_secrets *out);
void q2_cli_secrets_forget(struct q2_cli_secrets *secrets);
/* The FILE in such an argument. */
const char *q2_cli_secret_path(const char *text);

/* Whether an operand begins with "file:" or "json:". */
bool q2_cli_is_name(const char *text);

/* Makes of such an operand, which is to be a QCOW2 image, the path that it stands
 * for, in place; false if it stands for none, which has been complained about. */
bool q2_cli_name(const struct q2_cli_tool *tool, char *name);

/* A number with an optional unit: k or K, M, G, T, P, E, alone or followed by iB,
 * are powers of 1024; or 0x and hexadecimal digits.  With a unit it may have a
 * fraction, as in 1.5G, of which bytes are rounded.  False for anything else. */
bool q2_cli_size(const char *text, uint64_t *size);

/* Decimal digits, and nothing else. */
bool q2_cli_number(const char *text, uint64_t *number);

/* ------------------------------------------------------------------ output
 * What goes to stdout is collected and written when it is complete, so that a
 * reader gets a whole document or nothing.  Large documents wait in a temporary
 * file that has no name.
 */
struct q2_cli_output {
	int fd;
	int spill;    /* temporary file in use, or -1 */
	int reserve;  /* one that is not used yet, or -1 */
	int error;    /* errno of the first failure, 0 for none */
	bool no_file; /* a temporary file could not be had */
	struct q2_buf buf;
};

void q2_cli_output_open(struct q2_cli_output *out, int fd);

/* Has the temporary file made now, because it cannot be later: a sandbox is about
 * to close. */
void q2_cli_output_reserve(struct q2_cli_output *out);

/* Collects; `out` is a struct q2_cli_output.  0, or -1 after a failure. */
int q2_cli_output_add(void *out, const char *bytes, size_t n);

/* Writes what was collected; 0 or -1. */
int q2_cli_output_commit(struct q2_cli_output *out);

/* Drops what was not committed, where there is no `fd` yet. */
void q2_cli_output_drop(struct q2_cli_output *out);

/* Drops what was not committed and closes `fd`.  Returns the errno of the
 * first failure there ever was. */
int q2_cli_output_close(struct q2_cli_output *out);

/* ---------------------------------------------------- signals and progress */

/* To be called first: makes sure that descriptors 0 to 2 are taken, so that
 * no image is opened as one of them; turns a broken pipe into an error; has
 * SIGINT, SIGTERM and SIGHUP ask for an end, and SIGUSR1 for a line. */
void q2_cli_start(void);

/* The signal that asked for an end; 0 if none did. */
int q2_cli_interrupted(void);

/* Whether the terminal, by its name, can do no more than print. */
bool q2_cli_dumb(void);

struct q2_cli_progress {
	const struct q2_cli_tool *tool;
	const char *about; /* the file that is worked on */
	int fd;		   /* "phase done total" lines; -1: none */
	bool terminal;	   /* keep a line on stderr up to date */
	bool shown;	   /* there is such a line now */
	const char *phase; /* the last one that was told */
	uint64_t fd_done;  /* what fd was told last */
	bool bytes;	   /* phases count bytes: tell the rate, too */
	uint64_t begun;	   /* of the phase; times in milliseconds */
	uint64_t first;	   /* what was done then */
	uint64_t seen;	   /* and at last */
	uint64_t fd_next;
	uint64_t terminal_next;
};

/* fd: for machines, -1 for none.  `quiet`: nothing on a terminal. */
void q2_cli_progress_open(struct q2_cli_progress *p,
			  const struct q2_cli_tool *tool, int fd, bool quiet);

/* Shows how far the work is.  True if a signal asked for an end. */
bool q2_cli_progress_tick(struct q2_cli_progress *p,
			  const struct q2_progress *now);

/* Clears the line on the terminal; to be called before anything is printed. */
void q2_cli_progress_clear(struct q2_cli_progress *p);

#endif
