/*
 * dump.h - what the parts of qcow2-dump share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DUMP_H
#define DUMP_H

#include "cli/cli.h"
#include "q2.h"

#define FORMAT_WORDS "qcow2|raw"
#define OUTPUT_WORDS "raw|qcow2"
#define PREALLOCATE_WORDS "off|falloc|full"
#define COMPAT_WORDS "1.1|0.10"

#define UNSET UINT64_MAX /* a number that was not given, where 0 would be wrong */

/* Set by the option table. */
struct options {
	/* What is read. */
	int format;	/* enum q2_guest_format */
	int other_format;
	struct q2_cli_list allow;
	struct q2_cli_list secrets; /* FILE or LAYER=FILE */
	struct q2_cli_list other_secrets;
	int allow_any;
	int allow_probe;
	int backing_format; /* of FORMAT_WORDS, or -1 */
	const char *data_file;
	const char *snapshot;
	uint64_t layer; /* UINT64_MAX: all */
	const char *range;

	/* What is done. */
	int digest;
	const char *ranges;
	const char *check_digest;
	int compare;

	/* What is changed in place. */
	int absorb;
	int commit;
	const char *base;
	struct q2_cli_list siblings;
	int keep_top;
	int mark_bitmaps;
	int dry_run;

	/* What is written. */
	int output; /* enum q2_dump_format */
	int preallocate;
	int assume_zeroed;
	uint64_t cluster_size;	/* or UNSET */
	uint64_t refcount_bits; /* or UNSET */
	int extended_l2;
	const char *compress; /* METHOD or METHOD:LEVEL */
	int compat;
	const char *keep_backing; /* a layer, by number or file; NULL: none */
	int bitmaps;
	int drop_bitmaps;

	/* How. */
	int force;
	int resume;
	int no_sync;
	int verify;
	int plaintext;
	int salvage;
	const char *map;
	uint64_t threads;
	uint64_t rate;
	int progress_fd; /* -1 for none */
	int sandbox;	 /* enum q2_sandbox_mode */
	int quiet;
};

/* A file of its own beside what is written: see dump_aside_open(). */
struct aside {
	const char *path;
	struct q2_cli_output out; /* fd is -1: not open */
	bool made;		  /* by us: it is removed if we fail */
};

/* One run of the tool. */
struct dump {
	const struct q2_cli_tool *tool;
	const struct options *options;
	struct q2_cli_output out;
	struct q2_cli_progress progress;
	struct q2_cli_sandbox sandbox;
	struct q2_cli_secrets secrets; /* what was read from files */
	struct q2_cli_secrets other_secrets;
	struct mapfile *map; /* NULL for none */
	struct aside ranges; /* of --ranges */
	struct expected *expected;   /* of --check-digest */
	bool different;		     /* and what came out */
	uint64_t lost;		     /* bytes that a digest is not of */
	struct q2_cli_state state;   /* of --digest --resume */
};

/* Gives up what this run has no use for: 0 or an exit status.  Then, before images
 * are opened, all files but what is named: up to two images, what is written. */
int dump_confine(struct dump *dump, char *images[]);
void dump_close_sandbox(struct dump *dump, const char *image,
			const char *other, const char *out);

/* Opens an image as the options say; dump_open_other(): the second one of
 * --compare.  On failure it has complained, and returns an exit status; 0
 * otherwise. */
int dump_open(struct dump *dump, const char *path, int format,
	      struct q2_guest **guest);
int dump_open_other(struct dump *dump, const char *path,
		    struct q2_guest **guest);

/* Options common to all that go over a disk. */
struct q2_read_opts dump_scan(struct dump *dump);

/* Complains about `about`; the exit status that goes with it. */
int dump_failed(struct dump *dump, const char *about, enum q2_status st,
		const struct q2_err *err);

/* The verbs; each returns an exit status. */
int dump_export(struct dump *dump, const char *image, const char *out);
int dump_digest(struct dump *dump, const char *image);
int dump_check_digest(struct dump *dump, const char *image);
int dump_compare(struct dump *dump, const char *a, const char *b);

/* The file at a->path: made, or with --force opened as it is; whether it is one of
 * those that are read; whether that path leads to it, too; and either its bytes put
 * into it or, if `status` is not 0 or that fails, what was made removed.  All but
 * one return an exit status, and have complained. */
int dump_aside_open(struct dump *dump, struct aside *a);
int dump_aside_judge(struct dump *dump, const struct aside *a,
		     const struct q2_guest *guest);
bool dump_aside_is(const struct aside *a, const char *path);
int dump_aside_close(struct dump *dump, struct aside *a, int status);

/* A line of --ranges. */
#define DIGEST_HEX 32u
struct digest_line {
	uint64_t guest;
	uint64_t length;
	char hex[DIGEST_HEX + 1];
};
/* False if the line, without its newline, is none. */
bool dump_parse_range(const char *line, struct digest_line *out);

/* --digest --resume: opens the state before the sandbox closes; checks that it is
 * of this disk; both return an exit status.  What it knows; then what is new: a
 * line, and how far the disk is done. */
int dump_known_open(struct dump *dump);
int dump_known_load(struct dump *dump, const struct q2_guest *guest,
		    const char *image);
struct q2_digest_known dump_known(struct dump *dump);
void dump_known_add(struct dump *dump, const char *line, size_t n);
void dump_known_tell(struct dump *dump, const struct q2_progress *now);

/* "START+LENGTH", two sizes, or "START"; false if it is none. */
bool dump_range(const char *text, uint64_t *start, uint64_t *length);

/* The map of --salvage: begin; refuse it if it is another file that is used; add
 * ranges in order; and complete it, or remove it if `status` is not 0 or 4.  Exit
 * statuses. */
int dump_map_open(struct dump *dump);
int dump_map_judge(struct dump *dump, const struct q2_guest *guest,
		   const char *out);
void dump_map_add(struct dump *dump, enum q2_range_kind kind, uint64_t guest,
		  uint64_t length, const char *why);
int dump_map_close(struct dump *dump, int status);

/* Whether there are options for an image that is written. */
bool dump_for_image(const struct options *o);

/* --absorb and --commit.  A message if options do not go together with them, or
 * NULL; and the work, which returns an exit status. */
const char *dump_inplace_wrong(const struct options *o);
int dump_inplace(struct dump *dump, const char *image);

#endif
