/*
 * main.c - qcow2-fsck: the command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "fsck.h"

#define AT(member) offsetof(struct options, member)

static const struct q2_cli_option option_table[] = {
	{"no-changes", 'n', NULL, "only check, write nothing (the default)",
	 Q2_CLI_SET, AT(no_changes), 1},
	{"data", 0, NULL,
	 "read data, too: inflate every compressed cluster",
	 Q2_CLI_SET, AT(data), 1},
	{"chain", 0, NULL,
	 "open and judge the backing files and the data file", Q2_CLI_SET,
	 AT(chain), 1},
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
	.purpose = "Check QCOW2 disk images, without writing to them.",
	.epilogue =
		"Exit status: the sum of 4 (problems found), 8 (a check failed),"
		" 16 (wrong\nusage) and 32 (interrupted); 0 if all images are "
		"clean.",
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

static void check_images(struct fsck *fsck, char *images[])
{
	fsck_begin(fsck);
	for (; *images != NULL && fsck->out.error == 0; images++) {
		fsck_image(fsck, *images);
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
	if (!catalogue && first == argc)
		return q2_cli_misuse(&tool, "no image was given", NULL);
	if (catalogue && first < argc)
		return q2_cli_misuse(&tool, "no image is wanted here",
				     argv[first]);
	q2_cli_output_open(&fsck.out, STDOUT_FILENO);
	q2_cli_progress_open(&fsck.progress, &tool, options.progress_fd,
			     options.quiet != 0);
	if (options.explain != NULL)
		fsck.status = fsck_explain(&fsck, options.explain);
	else if (options.list_problems)
		fsck.status = fsck_list_problems(&fsck);
	else
		check_images(&fsck, argv + first);
	error = q2_cli_output_close(&fsck.out);
	if (error != 0) {
		q2_cli_complain(&tool, "standard output", strerror(error));
		fsck_add_status(&fsck, Q2_EXIT_FAILED, 1);
	}
	return fsck.status;
}
