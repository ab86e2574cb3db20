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
	uint64_t max_memory;
	const char *explain; /* NULL, or ids separated by commas */
};

/* One run of the tool. */
struct fsck {
	const struct q2_cli_tool *tool;
	const struct options *options;
	struct q2_cli_output out;
	struct q2_cli_progress progress;
	int status; /* the exit status so far, in the style asked for */
	bool first; /* no image was reported yet */
};

/* Checks one image and reports it. */
void fsck_image(struct fsck *fsck, const char *path);

/* What stands around the reports of all images. */
void fsck_begin(struct fsck *fsck);
void fsck_end(struct fsck *fsck);

/* Adds one image's part to the exit status; for either style. */
void fsck_add_status(struct fsck *fsck, int fsck_style, int qemu_style);

/* --list-problems and --explain; an exit status in fsck's style. */
int fsck_list_problems(struct fsck *fsck);
int fsck_explain(struct fsck *fsck, const char *ids);

/* A sink that collects for stdout. */
struct q2_sink fsck_sink(struct fsck *fsck);

#endif
