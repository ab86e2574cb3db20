/*
 * sandbox.h - what a tool gives up before it looks at an image.
 *
 * SPDX-License-Identifier: MIT
 *
 * An image may be hostile and a parser may have a bug.  After
 * q2_cli_sandbox_start() the process can neither start programs nor other
 * processes, nor reach any network (but for NBD), nor gain privileges, and a tool
 * that only reads can open no file for writing: a system call that it has no use
 * for ends it, with a line on stderr and Q2_EXIT_SANDBOX.  After
 * q2_cli_sandbox_close() it can open only what was allowed by name, as far as the
 * kernel has Landlock.  Files that are open already stay so.
 *
 * Both are inherited by threads that are started later; call them before there
 * are any.
 */
#ifndef Q2_CLI_SANDBOX_H
#define Q2_CLI_SANDBOX_H

#include <stdbool.h>

struct q2_cli_tool;

/* The exit status of a tool that was stopped; no sum has it. */
#define Q2_EXIT_SANDBOX 64

enum q2_sandbox_mode {
	Q2_SANDBOX_AUTO,    /* as far as the kernel can */
	Q2_SANDBOX_OFF,	    /* --no-sandbox */
	Q2_SANDBOX_REQUIRED /* --require-sandbox: or fail */
};

/* Rows for a table of options; `at` is the offset of an int. */
#define Q2_CLI_SANDBOX_OPTIONS(at)                                             \
	{"no-sandbox", 0, NULL,                                                \
	 "for debugging: let the program do what it never needs", Q2_CLI_SET,  \
	 at, Q2_SANDBOX_OFF},                                                  \
	{"require-sandbox", 0, NULL,                                           \
	 "do nothing if the kernel cannot confine the program", Q2_CLI_SET,    \
	 at, Q2_SANDBOX_REQUIRED}

/* What a tool needs besides reading. */
enum {
	Q2_SANDBOX_WRITE = 1,	/* make, write, rename, remove files */
	Q2_SANDBOX_NET = 2,	/* an NBD server */
	Q2_SANDBOX_THREADS = 4
};

/* What may be done with the files of a path. */
enum {
	Q2_SANDBOX_READ_FILES = 1,  /* and list folders */
	Q2_SANDBOX_WRITE_FILES = 2, /* files that are there, or made */
	Q2_SANDBOX_MAKE_FILES = 4   /* make, rename and remove them */
};
#define Q2_SANDBOX_ALL_FILES                                                   \
	(Q2_SANDBOX_READ_FILES | Q2_SANDBOX_WRITE_FILES | Q2_SANDBOX_MAKE_FILES)

struct q2_cli_sandbox {
	const struct q2_cli_tool *tool;
	enum q2_sandbox_mode mode;
	bool verbose;	/* say on stderr what the kernel lacks; on a terminal that
			 * is said anyway */
	bool quiet;	/* not even there */
	bool started;
	bool closed;
	bool net;	/* an NBD server is to be reached */
	int ruleset;	/* Landlock's, while paths are added; or -1 */
	int version;	/* of Landlock; 0 not asked, -1 the kernel has none */
};

/* Drops what no run needs, and the system calls that this one does not.  0, or
 * the status to exit with at once, which was complained about. */
int q2_cli_sandbox_start(struct q2_cli_sandbox *s,
			 const struct q2_cli_tool *tool,
			 enum q2_sandbox_mode mode, unsigned needs);

/* Allows a file, or what is below a folder; one that is not there, or NULL, is
 * passed over. */
void q2_cli_sandbox_allow(struct q2_cli_sandbox *s, const char *path,
			  unsigned access);

/* The same for the folder that holds a file which need not be there yet, and, if
 * the file is a symbolic link, for the folder that it leads to.  A folder stands
 * for itself. */
void q2_cli_sandbox_allow_folder(struct q2_cli_sandbox *s, const char *path,
				 unsigned access);

/* What connecting to an NBD server takes: names of hosts, keys of servers. */
void q2_cli_sandbox_allow_nbd(struct q2_cli_sandbox *s, const char *uri);

/* The paths that were allowed are all there are from now on.  Any call but the
 * first does nothing. */
void q2_cli_sandbox_close(struct q2_cli_sandbox *s);

/* Whether a path names an NBD server. */
bool q2_cli_is_nbd(const char *path);

/* Parts of the above: the filter for system calls, and a list of paths that is to
 * be filled.  False if there can be none. */
bool q2_cli_sandbox_calls(unsigned needs);
unsigned q2_cli_sandbox_arch(void); /* ours, as siginfo_t names it; 0: not known */
bool q2_cli_sandbox_paths(struct q2_cli_sandbox *s);

#endif
