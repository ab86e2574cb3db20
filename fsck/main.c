/*
 * main.c - qcow2-fsck: the command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsck.h"

#define AT(member) offsetof(struct options, member)

#define REPAIR(member) (AT(repair) + offsetof(struct repair_options, member))

static const struct q2_cli_option option_table[] = {
	{"no-changes", 'n', NULL, "only check, write nothing (the default)",
	 Q2_CLI_SET, AT(no_changes), 1},
	{"preen", 'p', NULL,
	 "repair what can be without any change to what the\n"
	 "guest reads, free only what is proven worthless",
	 Q2_CLI_SET, REPAIR(preen), 1},
	{"yes", 'y', NULL, "repair everything that can be", Q2_CLI_SET,
	 REPAIR(yes), 1},
	{"interactive", 'i', NULL, "ask about each problem", Q2_CLI_SET,
	 REPAIR(interactive), 1},
	{"plan", 0, "FILE",
	 "write the plan of a repair to a new file, change\n"
	 "nothing; alone as with -y, or with -p or -i",
	 Q2_CLI_TEXT, REPAIR(plan), 0},
	{"show-plan", 0, "FILE", "show a plan, or what a journal undoes",
	 Q2_CLI_TEXT, REPAIR(show_plan), 0},
	{"apply", 0, "FILE", "apply a plan, just as it is", Q2_CLI_TEXT,
	 REPAIR(apply), 0},
	{"journal", 0, "FILE",
	 "the undo journal, a new file; the default is\n"
	 "the image's name with .q2undo",
	 Q2_CLI_TEXT, REPAIR(journal), 0},
	{"no-journal", 0, NULL, "keep no journal: nothing can be undone",
	 Q2_CLI_SET, REPAIR(no_journal), 1},
	{"undo", 0, "FILE", "take back what a journal tells", Q2_CLI_TEXT,
	 REPAIR(undo), 0},
	{"redo", 0, "FILE", "end a repair that was interrupted", Q2_CLI_TEXT,
	 REPAIR(redo), 0},
	{"free-orphans", 0, NULL,
	 "free leaked clusters with data instead of keeping\n"
	 "them in a snapshot lost+found-N",
	 Q2_CLI_SET, REPAIR(free_orphans), 1},
	{"export-orphans", 0, "FILE",
	 "the new file that saves leaked clusters with data\n"
	 "where no snapshot can; the default is the image's\n"
	 "name with .q2orphans",
	 Q2_CLI_TEXT, REPAIR(orphans), 0},
	{"attach", 0, "SLOT=OFFSET",
	 "the L2 table at that offset belongs to that slot\n"
	 "of the L1 table; may be given several times",
	 Q2_CLI_LIST, REPAIR(attach), 0},
	{"rescue", 0, NULL, "search the file for tables that are lost",
	 Q2_CLI_SET, REPAIR(rescue), 1},
	{"discard", 0, NULL,
	 "give back the space of clusters that were freed;\n"
	 "the repair cannot be undone then",
	 Q2_CLI_SET, REPAIR(discard), 1},
	{"backup-metadata", 0, "FILE",
	 "save all metadata, without the guest's data, to a\n"
	 "new file",
	 Q2_CLI_TEXT, REPAIR(backup), 0},
	{"with-keys", 0, NULL, "and the LUKS header with its key slots",
	 Q2_CLI_SET, REPAIR(with_keys), 1},
	{"restore-metadata", 0, "FILE", "put such metadata back", Q2_CLI_TEXT,
	 REPAIR(restore), 0},
	{"data", 0, NULL,
	 "read data, too: inflate every compressed cluster",
	 Q2_CLI_SET, AT(data), 1},
	{"chain", 0, NULL,
	 "open and judge the backing files and the data file", Q2_CLI_SET,
	 AT(chain), 1},
	{"state", 0, "FILE",
	 "keep the state of a check, or of --rescue's search, in\n"
	 "FILE until it ends, and go on from one that is there",
	 Q2_CLI_TEXT, AT(state), 0},
	{"all-findings", 0, NULL, "list all findings, however many there are",
	 Q2_CLI_SET, AT(all_findings), 1},
	{"output", 0, OUTPUT_WORDS, "the report's form; text is the default",
	 Q2_CLI_CHOICE, AT(output), 0},
	{"exit", 0, EXIT_WORDS,
	 "exit status as fsck(8), the default, or qemu-img(1)", Q2_CLI_CHOICE,
	 AT(exit_style), 0},
	{"strict", 0, NULL, "let advice count as a problem in the exit status",
	 Q2_CLI_SET, AT(strict), 1},
	{"max-memory", 0, "SIZE",
	 "limit for tables and findings, such as 512M;\n"
	 "half of the machine's memory is the default",
	 Q2_CLI_SIZE, AT(max_memory), 0},
	{"progress-fd", 'C', "FD",
	 "write lines \"phase done total\" to a descriptor", Q2_CLI_FD,
	 AT(progress_fd), 0},
	{"quiet", 'q', NULL, "only the line with the verdict; no progress",
	 Q2_CLI_SET, AT(quiet), 1},
	{"verbose", 'v', NULL, "more facts about the image", Q2_CLI_SET,
	 AT(verbose), 1},
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),
	{"explain", 0, "ID",
	 "explain a problem, or several separated by commas", Q2_CLI_TEXT,
	 AT(explain), 0},
	{"list-problems", 0, NULL, "list all problems that can be found",
	 Q2_CLI_SET, AT(list_problems), 1},
	{0},
};

static const struct q2_cli_tool tool = {
	.name = "qcow2-fsck",
	.operands = "IMAGE...",
	.purpose = "Check and repair QCOW2 disk images.",
	.epilogue =
		"Exit status: the sum of 1 (all problems were repaired), 4 "
		"(problems are left),\n8 (something failed), 16 (wrong usage) "
		"and 32 (interrupted); 0 if all images\nare clean; 64 if the "
		"sandbox stopped the program.",
	.options = option_table,
};

static uint64_t half_of_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);

	if (pages <= 0 || size <= 0)
		return (uint64_t)512 << 20;
	return (uint64_t)pages * (uint64_t)size / 2;
}

void fsck_add_status(struct fsck *fsck, int fsck_style, int qemu_style)
{
	if (fsck->options->exit_style == EXIT_FSCK)
		fsck->status |= fsck_style;
	else if (fsck->status < qemu_style)
		fsck->status = qemu_style;
}

struct q2_sink fsck_sink(struct fsck *fsck)
{
	return (struct q2_sink){q2_cli_output_add, &fsck->out};
}

void fsck_complain(struct fsck *fsck, const char *path, enum q2_status st,
		   const struct q2_err *err)
{
	q2_cli_progress_clear(&fsck->progress);
	q2_cli_complain(fsck->tool, path,
			err->code != Q2_OK ? err->text : q2_status_text(st));
}

void fsck_say(struct fsck *fsck, const char *format, ...)
{
	char line[1024];
	va_list args;
	struct q2_buf b = {0};

	if (fsck->options->output != OUTPUT_TEXT)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* Names of files come with it: all but the newline is escaped. */
	q2_buf_escape(&b, line, strcspn(line, "\n"));
	q2_buf_char(&b, '\n');
	if (!b.failed)
		(void)q2_cli_output_add(&fsck->out, b.at, b.n);
	q2_buf_free(&b);
}

static void do_image(struct fsck *fsck, const char *path)
{
	switch (fsck->mode) {
	case MODE_CHECK:
		fsck_image(fsck, path);
		(void)fsck_journal_blocks(fsck, path, false);
		return;
	case MODE_REPAIR:
	case MODE_PLAN:
		fsck_repair(fsck, path);
		return;
	case MODE_APPLY:
		fsck_apply(fsck, path);
		return;
	case MODE_UNDO:
	case MODE_REDO:
		fsck_return(fsck, path);
		return;
	case MODE_BACKUP:
		fsck_backup(fsck, path);
		return;
	case MODE_RESTORE:
		fsck_restore(fsck, path);
		return;
	case MODE_SHOW:
		return;
	}
}

static void do_images(struct fsck *fsck, char *images[])
{
	if (fsck->mode == MODE_SHOW) {
		fsck_show_plan(fsck);
		return;
	}
	fsck_begin(fsck);
	for (; *images != NULL && fsck->out.error == 0; images++) {
		do_image(fsck, *images);
		if (q2_cli_interrupted())
			break;
	}
	fsck_end(fsck);
}

int main(int argc, char *argv[])
{
	struct options options = {.progress_fd = -1,
				  .max_memory = half_of_memory()};
	struct fsck fsck = {.tool = &tool, .options = &options, .first = true};
	bool catalogue;
	int first, status, error;

	q2_cli_start();
	status = q2_cli_parse(&tool, argc, argv, &options, &first);
	if (status >= 0)
		return status;
	catalogue = options.explain != NULL || options.list_problems;
	if (!catalogue && !fsck_choose_mode(&fsck, argc - first))
		return Q2_EXIT_USAGE;
	if (catalogue && first < argc)
		return q2_cli_misuse(&tool, "no image is wanted here",
				     argv[first]);
	q2_cli_output_open(&fsck.out, STDOUT_FILENO);
	q2_cli_progress_open(&fsck.progress, &tool, options.progress_fd,
			     options.quiet != 0);
	for (int i = first; i < argc; i++)
		(void)q2_cli_name(&tool, argv[i]); /* it cannot be opened */
	fsck.images = argv + first;
	status = catalogue ? 0 : fsck_state_open(&fsck);
	if (status == 0)
		status = fsck_confine(&fsck);
	if (status != 0) {
		q2_cli_state_close(&fsck.state, false);
		return status;
	}
	if (options.explain != NULL)
		fsck.status = fsck_explain(&fsck, options.explain);
	else if (options.list_problems)
		fsck.status = fsck_list_problems(&fsck);
	else
		do_images(&fsck, argv + first);
	q2_cli_state_close(&fsck.state, false);
	error = q2_cli_output_close(&fsck.out);
	if (error != 0) {
		q2_cli_complain(&tool, "standard output", strerror(error));
		fsck_add_status(&fsck, Q2_EXIT_FAILED, 1);
	}
	return fsck.status;
}
