/*
 * fsck.h - what the parts of qcow2-fsck share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FSCK_H
#define FSCK_H

#include "cli/cli.h"
#include "q2.h"

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_NDJSON, OUTPUT_QEMU };
#define OUTPUT_WORDS "text|json|ndjson|qemu"

enum exit_style { EXIT_FSCK, EXIT_QEMU };
#define EXIT_WORDS "fsck|qemu"

/* Options that repair, or look after repairs.  Names of files are NULL unless
 * they were given. */
struct repair_options {
	int preen;
	int yes;
	int interactive;
	int no_journal;
	int free_orphans;
	int rescue;
	int discard;
	int with_keys;
	const char *plan;
	const char *show_plan;
	const char *apply;
	const char *journal;
	const char *orphans;
	const char *undo;
	const char *redo;
	const char *backup;
	const char *restore;
	struct q2_cli_list attach; /* SLOT=OFFSET */
};

/* Set by the option table. */
struct options {
	int output;	/* enum output */
	int exit_style; /* enum exit_style */
	int no_changes;
	int data;
	int chain;
	int all_findings;
	int strict;
	int quiet;
	int verbose;
	int list_problems;
	int progress_fd; /* -1 for none */
	int sandbox;	 /* enum q2_sandbox_mode */
	uint64_t max_memory;
	const char *state;   /* NULL, or a file to go on from */
	const char *explain; /* NULL, or ids separated by commas */
	struct repair_options repair;
};

/* What is done with each image. */
enum mode {
	MODE_CHECK,
	MODE_REPAIR, /* -p, -y, -i */
	MODE_PLAN,
	MODE_SHOW,
	MODE_APPLY,
	MODE_UNDO,
	MODE_REDO,
	MODE_BACKUP,
	MODE_RESTORE
};

/* One run of the tool. */
struct fsck {
	const struct q2_cli_tool *tool;
	const struct options *options;
	enum mode mode;
	struct q2_cli_output out;
	struct q2_cli_progress progress;
	struct q2_cli_sandbox sandbox;
	struct q2_cli_state state;
	char *const *images; /* the operands */
	int status; /* the exit status so far, in the style asked for */
	bool first; /* no image was reported yet */
};

/* Which mode the options ask for; says on stderr what does not go together and
 * returns false. */
bool fsck_choose_mode(struct fsck *fsck, int n_images);

/* SLOT=OFFSET, as --attach takes it. */
bool fsck_parse_attach(const char *text, struct q2_attach *a);

/* Gives up what this mode has no use for: 0 or the status to exit with.  Then, as
 * soon as the first image is open, and before it is looked at, all files but those
 * that were named. */
int fsck_confine(struct fsck *fsck);
void fsck_close_sandbox(struct fsck *fsck);

/* One image that is worked on. */
struct run {
	struct fsck *fsck;
	const char *path;
	struct q2_report *report;
	struct q2_check_result result;
	struct q2_err err;
	enum q2_status st;
	uint64_t max_memory; /* for tables */
	bool checked;	     /* result holds something */
};

void fsck_run_begin(struct run *run, struct fsck *fsck, const char *path);
/* Reports what was found and what hindered. */
void fsck_run_end(struct run *run);

/* For the library's callbacks; ctx is a struct run. */
void fsck_on_finding(void *ctx, const struct q2_finding *f);
bool fsck_on_progress(void *ctx, const struct q2_progress *now);

/* Reports that nothing is done with the image, and fails. */
void fsck_refuse(struct fsck *fsck, const char *path, const char *why);

/* The exit status that a check comes to, in either style. */
int fsck_status(const struct run *run);
int fsck_qemu_status(const struct run *run);

/* --state: opens the file, before the sandbox closes; 0 or the status to exit with.
 * Then for a check or plan of this identity, if it is known: *keep goes on from what
 * the file holds, and keeps what comes; false if it cannot, which is said. */
int fsck_state_open(struct fsck *fsck);
bool fsck_state_load(struct run *run, struct q2_io *io, bool known,
		     uint64_t identity, struct q2_check_keep *keep);

/* One image, in each mode.  All report, and add to the exit status. */
void fsck_image(struct fsck *fsck, const char *path);
void fsck_repair(struct fsck *fsck, const char *path);
void fsck_apply(struct fsck *fsck, const char *path);
void fsck_return(struct fsck *fsck, const char *path); /* undo and redo */
void fsck_backup(struct fsck *fsck, const char *path);
void fsck_restore(struct fsck *fsck, const char *path);
void fsck_show_plan(struct fsck *fsck);

/* Carries out a plan under a journal, checks the image again, and reports that.
 * `run` holds the check before, if there was one, and its report. */
void fsck_carry_out(struct run *run, struct q2_io *io,
		    const struct q2_plan *plan);

/* ---------------------------------------------------------------- journals */

/* Why nothing can be done, which is said on stderr besides, or NULL: an unfinished
 * repair of the image is in the way; or, if `writing`, anything else is where the
 * journal belongs, or none can be made there.  Static storage. */
const char *fsck_journal_blocks(struct fsck *fsck, const char *path,
				bool writing);

/* The name that a journal has unless another is given; to be freed, may be NULL. */
char *fsck_default_journal(const char *path);

/* *name: of the journal for a repair that starts now, to be freed, or NULL if none
 * is to be kept.  An ended one that stands there is moved away. */
enum q2_status fsck_journal_name(struct fsck *fsck, const char *path,
				 char **name, struct q2_err *err);

/* *name: of the file in which the plan's orphans are saved, to be freed; NULL if it
 * has none.  `plan` NULL: a journal's, which is not known yet. */
enum q2_status fsck_orphans_name(struct fsck *fsck, const char *path,
				 const struct q2_plan *plan, char **name,
				 struct q2_err *err);

/* --------------------------------------------------------------- questions */
struct questions;

struct questions *fsck_questions_new(struct fsck *fsck, const char *path);
void fsck_questions_free(struct questions *q);
void fsck_questions_add(struct questions *q, const struct q2_finding *f);
bool fsck_questions_ask(struct questions *q, const struct q2_problem *p,
			uint64_t count);
/* Whether the answer was to stop, and write nothing. */
bool fsck_questions_quit(const struct questions *q);

/* What stands around the reports of all images. */
void fsck_begin(struct fsck *fsck);
void fsck_end(struct fsck *fsck);

/* Adds one image's part to the exit status; for either style. */
void fsck_add_status(struct fsck *fsck, int fsck_style, int qemu_style);

/* The run failed because of another file: run->err is `err`, or with its code `text`,
 * told of that file.  Returns the code. */
enum q2_status fsck_about(struct run *run, const char *name, struct q2_err err,
			  const char *text);

/* "tool: path: text" on stderr, with what failed. */
void fsck_complain(struct fsck *fsck, const char *path, enum q2_status st,
		   const struct q2_err *err);

/* --list-problems and --explain; an exit status in fsck's style. */
int fsck_list_problems(struct fsck *fsck);
int fsck_explain(struct fsck *fsck, const char *ids);

/* Whether a report could be made; if not, that is said. */
void fsck_told(struct fsck *fsck, const char *path, enum q2_status st);

/* What the plan would do, or did, in short, if that is wanted as text. */
void fsck_tell_plan(struct fsck *fsck, const char *path, const struct q2_plan *plan);

/* A sink that collects for stdout. */
struct q2_sink fsck_sink(struct fsck *fsck);

/* Text to stdout, if the output is text; printf's way, one line or less. */
void fsck_say(struct fsck *fsck, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
