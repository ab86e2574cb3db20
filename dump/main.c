/*
 * main.c - qcow2-dump: the command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"

#define AT(member) offsetof(struct options, member)

static const struct q2_cli_option option_table[] = {
	{"format", 'f', FORMAT_WORDS, "of IMAGE; qcow2 is the default",
	 Q2_CLI_CHOICE, AT(format), 0},
	{"second-format", 'F', FORMAT_WORDS, "of the other image of --compare",
	 Q2_CLI_CHOICE, AT(other_format), 0},
	{"output-format", 'O', OUTPUT_WORDS,
	 "of what is written; raw is the default", Q2_CLI_CHOICE, AT(output),
	 0},
	{"snapshot", 0, "NAME", "read an internal snapshot, at its own size",
	 Q2_CLI_TEXT, AT(snapshot), 0},
	{"layer", 0, "N", "read this layer of the chain alone; IMAGE is 0",
	 Q2_CLI_NUMBER, AT(layer), 0},
	{"range", 0, "START[+LENGTH]", "only this part of the disk",
	 Q2_CLI_TEXT, AT(range), 0},
	{"allow-path", 0, "FOLDER",
	 "files below it may be opened because an image names\n"
	 "them, as those below IMAGE's own folder; or the URI of\n"
	 "a server",
	 Q2_CLI_LIST, AT(allow), 0},
	{"allow-any-path", 0, NULL, "the same for files anywhere", Q2_CLI_SET,
	 AT(allow_any), 1},
	{"allow-probe", 0, NULL,
	 "guess the format of backing files if it is not stated", Q2_CLI_SET,
	 AT(allow_probe), 1},
	{"backing-format", 0, FORMAT_WORDS,
	 "of backing files whose format is not stated", Q2_CLI_CHOICE,
	 AT(backing_format), 0},
	{"data-file", 0, "FILE", "IMAGE's external data file", Q2_CLI_TEXT,
	 AT(data_file), 0},
	{"secret", 0, "[LAYER=]FILE",
	 "the secret of an encrypted image, or only of the layer\n"
	 "with that number; IMAGE is 0",
	 Q2_CLI_LIST, AT(secrets), 0},
	{"second-secret", 0, "[LAYER=]FILE",
	 "of the other image of --compare, if it has others",
	 Q2_CLI_LIST, AT(other_secrets), 0},
	{"plaintext", 0, NULL, "write out what was encrypted, unencrypted",
	 Q2_CLI_SET, AT(plaintext), 1},
	{"preallocate", 0, PREALLOCATE_WORDS,
	 "raw: reserve the file's blocks, or write all of them", Q2_CLI_CHOICE,
	 AT(preallocate), 0},
	{"assume-zeroed", 0, NULL, "the target device reads as zeros already",
	 Q2_CLI_SET, AT(assume_zeroed), 1},
	{"cluster-size", 0, "SIZE", "qcow2: 512 to 2M; 64K is the default",
	 Q2_CLI_SIZE, AT(cluster_size), 0},
	{"refcount-bits", 0, "BITS", "qcow2: 1 to 64; 16 is the default",
	 Q2_CLI_NUMBER, AT(refcount_bits), 0},
	{"extended-l2", 0, NULL, "qcow2: with subclusters", Q2_CLI_SET,
	 AT(extended_l2), 1},
	{"compress", 'c', "zlib|zstd[:LEVEL]", "qcow2: pack the data", Q2_CLI_TEXT,
	 AT(compress), 0},
	{"compat", 0, COMPAT_WORDS, "qcow2: 0.10 is version 2 of the format",
	 Q2_CLI_CHOICE, AT(compat), 0},
	{"keep-backing", 0, "LAYER",
	 "qcow2: this layer, by its file or its number in the\n"
	 "chain, stays the backing file",
	 Q2_CLI_TEXT, AT(keep_backing), 0},
	{"bitmaps", 0, NULL, "qcow2: keep IMAGE's persistent bitmaps",
	 Q2_CLI_SET, AT(bitmaps), 1},
	{"drop-bitmaps", 0, NULL,
	 "bitmaps of IMAGE need not be in the result; of those\n"
	 "for --bitmaps only what is in use or damaged", Q2_CLI_SET,
	 AT(drop_bitmaps), 1},
	{"force", 0, NULL, "replace an existing file", Q2_CLI_SET, AT(force),
	 1},
	{"resume", 0, NULL,
	 "continue an interrupted run, and keep what is done if\n"
	 "this one is interrupted; also with --digest --ranges",
	 Q2_CLI_SET, AT(resume), 1},
	{"no-sync", 0, NULL, "do not wait until all is on the disk",
	 Q2_CLI_SET, AT(no_sync), 1},
	{"verify", 0, NULL, "read the result again and compare digests",
	 Q2_CLI_SET, AT(verify), 1},
	{"salvage", 0, NULL, "take what cannot be read as zeros", Q2_CLI_SET,
	 AT(salvage), 1},
	{"map", 0, "FILE",
	 "write a map of what was read and lost, as ddrescue does",
	 Q2_CLI_TEXT, AT(map), 0},
	{"digest", 0, NULL, "print a digest of the disk, write nothing",
	 Q2_CLI_SET, AT(digest), 1},
	{"ranges", 0, "FILE", "with --digest: keep one digest per MiB",
	 Q2_CLI_TEXT, AT(ranges), 0},
	{"check-digest", 0, "FILE",
	 "tell which parts of the disk differ from such a FILE", Q2_CLI_TEXT,
	 AT(check_digest), 0},
	{"compare", 0, NULL, "compare two images, write nothing", Q2_CLI_SET,
	 AT(compare), 1},
	{"absorb", 0, NULL,
	 "copy what is below IMAGE into it, and name no backing\n"
	 "file any more, or the one of --base",
	 Q2_CLI_SET, AT(absorb), 1},
	{"commit", 0, NULL,
	 "copy what IMAGE has into its backing file, or the one\n"
	 "of --base, and empty IMAGE",
	 Q2_CLI_SET, AT(commit), 1},
	{"base", 0, "LAYER",
	 "the file that is to be IMAGE's backing file then, or\n"
	 "its number in the chain, where IMAGE is 0",
	 Q2_CLI_TEXT, AT(base), 0},
	{"siblings", 0, "PATH",
	 "a file, or a folder: if other overlays there share a\n"
	 "file that would change, do nothing",
	 Q2_CLI_LIST, AT(siblings), 0},
	{"keep-top", 0, NULL, "with --commit: do not empty IMAGE", Q2_CLI_SET,
	 AT(keep_top), 1},
	{"mark-bitmaps", 0, NULL,
	 "with --commit: mark enabled bitmaps of the base as\n"
	 "not to be trusted, as they miss what is copied",
	 Q2_CLI_SET, AT(mark_bitmaps), 1},
	{"dry-run", 0, NULL,
	 "with --absorb or --commit: only say what is in the\n"
	 "way, and how much room may be needed",
	 Q2_CLI_SET, AT(dry_run), 1},
	{"threads", 0, "N", "as many as there are processors is the default",
	 Q2_CLI_NUMBER, AT(threads), 0},
	{"rate", 0, "SIZE", "at most so many bytes of data a second",
	 Q2_CLI_SIZE, AT(rate), 0},
	{"progress-fd", 'C', "FD",
	 "write lines \"phase done total\" to a descriptor", Q2_CLI_FD,
	 AT(progress_fd), 0},
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),
	{"quiet", 'q', NULL, "no progress, and no list of differences",
	 Q2_CLI_SET, AT(quiet), 1},
	{0},
};

static const struct q2_cli_tool tool = {
	.name = "qcow2-dump",
	.operands = "IMAGE OUT\n"
		    "       qcow2-dump [options] --digest|--check-digest=FILE IMAGE\n"
		    "       qcow2-dump [options] --compare IMAGE IMAGE\n"
		    "       qcow2-dump [options] --absorb|--commit IMAGE",
	.purpose = "Flatten a chain of QCOW2 disk images, in place or into a "
		   "new one, or digest or\ncompare what guests read.\nOUT is a file, a block device, "
		   "the URI of an NBD export, or - for standard\noutput.",
	.epilogue =
		"Exit status: 0 done; 4 parts were lost or differ; 8 it failed; "
		"16 wrong usage;\n32 interrupted. With --compare: 0 the same, "
		"1 not, more: it failed.",
	.options = option_table,
};

int dump_failed(struct dump *dump, const char *about, enum q2_status st,
		const struct q2_err *err)
{
	q2_cli_progress_clear(&dump->progress);
	if (st == Q2_E_INTERRUPTED && q2_cli_interrupted())
		return Q2_EXIT_INTERRUPTED;
	q2_cli_complain(dump->tool, about,
			err->code != Q2_OK ? err->text : q2_status_text(st));
	return Q2_EXIT_FAILED;
}

static bool on_progress(void *ctx, const struct q2_progress *now)
{
	struct dump *dump = ctx;

	dump_known_tell(dump, now);
	return q2_cli_progress_tick(&dump->progress, now);
}

static void on_range(void *ctx, enum q2_range_kind kind, uint64_t guest,
		     uint64_t length, const char *why)
{
	dump_map_add(ctx, kind, guest, length, why);
}

struct q2_read_opts dump_scan(struct dump *dump)
{
	const struct options *o = dump->options;
	struct q2_read_opts s = {.threads = (unsigned)o->threads,
				 .rate = o->rate,
				 .salvage = o->salvage != 0,
				 .progress = on_progress,
				 .ctx = dump};

	if (dump->map != NULL)
		s.range = on_range;
	return s;
}

bool dump_range(const char *text, uint64_t *start, uint64_t *length)
{
	const char *plus = strchr(text, '+');
	char first[32];

	*length = UINT64_MAX;
	if (plus == NULL)
		return q2_cli_size(text, start);
	if ((size_t)(plus - text) >= sizeof(first))
		return false;
	memcpy(first, text, (size_t)(plus - text));
	first[plus - text] = '\0';
	return q2_cli_size(first, start) && q2_cli_size(plus + 1, length);
}

/* A message if these options do not go together. */
static const char *contradiction(const struct options *o)
{
	int verbs = o->digest + o->compare + (o->check_digest != NULL) +
		    o->absorb + o->commit;
	bool reads = o->digest || o->compare || o->check_digest != NULL;

	if (verbs > 1)
		return "--digest, --check-digest, --compare, --absorb and "
		       "--commit exclude each other";
	if (o->ranges != NULL && !o->digest)
		return "--ranges goes with --digest";
	if (o->digest && o->resume && (o->ranges == NULL || o->salvage))
		return "--digest --resume takes --ranges, beside which it keeps "
		       "what is done, and no --salvage";
	if (o->range != NULL && verbs > 0)
		return "--range is for what is written";
	if (o->map != NULL && (!o->salvage || verbs > 0))
		return "--map goes with --salvage, when an image is written";
	if (o->salvage && o->compare)
		return "nothing is salvaged by --compare";
	if (o->resume && (o->compare || o->check_digest != NULL))
		return "this cannot be continued: make digests of each disk "
		       "with --digest --resume --ranges, which can, and compare "
		       "the files";
	if (reads && (dump_for_image(o) || (o->force && !o->ranges)))
		return "an option for what is written does not go with what "
		       "only reads";
	if ((o->other_format || o->other_secrets.n) && !o->compare)
		return "--second-format and --second-secret go with --compare";
	if (o->compare && (o->snapshot != NULL || o->data_file != NULL ||
			   o->layer != UINT64_MAX))
		return "--compare takes neither --snapshot, --layer nor "
		       "--data-file";
	if (o->layer != UINT64_MAX && o->layer >= UINT32_MAX)
		return "--layer takes a small number";
	if (o->threads > 1024)
		return "--threads takes a small number";
	return dump_inplace_wrong(o);
}

static int run(struct dump *dump, int n, char *operands[])
{
	const struct options *o = dump->options;
	bool one = o->digest || o->check_digest != NULL || o->absorb ||
		   o->commit;
	bool two = !one;
	const char *wrong = contradiction(o);
	int status;

	if (wrong != NULL)
		return q2_cli_misuse(dump->tool, wrong, NULL);
	if (n < (two ? 2 : 1))
		return q2_cli_misuse(dump->tool,
				     two ? "two operands are wanted" :
					   "no image was given", NULL);
	if (n > (two ? 2 : 1))
		return q2_cli_misuse(dump->tool, "one operand too many",
				     operands[n - 1]);
	if (two && !o->compare && strcmp(operands[1], "-") == 0 &&
	    o->progress_fd == STDOUT_FILENO)
		return q2_cli_misuse(dump->tool, "progress would go into the "
				     "image on standard output", "1");
	status = dump_confine(dump, operands);
	if (status != 0)
		return status;
	if (o->absorb || o->commit)
		return dump_inplace(dump, operands[0]);
	if (o->digest)
		return dump_digest(dump, operands[0]);
	if (o->check_digest != NULL)
		return dump_check_digest(dump, operands[0]);
	if (o->compare)
		return dump_compare(dump, operands[0], operands[1]);
	return dump_export(dump, operands[0], operands[1]);
}

int main(int argc, char *argv[])
{
	struct options options = {.backing_format = -1,
				  .layer = UINT64_MAX,
				  .cluster_size = UNSET,
				  .refcount_bits = UNSET,
				  .progress_fd = -1};
	struct dump dump = {.tool = &tool, .options = &options};
	int first, status, error;

	q2_cli_start();
	status = q2_cli_parse(&tool, argc, argv, &options, &first);
	if (status >= 0)
		return status;
	q2_cli_progress_open(&dump.progress, &tool, options.progress_fd,
			     options.quiet != 0);
	dump.progress.bytes = true;
	/* An image that goes to standard output leaves no room for text. */
	q2_cli_output_open(&dump.out, STDOUT_FILENO);
	status = run(&dump, argc - first, argv + first);
	q2_cli_secrets_forget(&dump.secrets);
	q2_cli_secrets_forget(&dump.other_secrets);
	(void)q2_cli_output_commit(&dump.out);
	error = q2_cli_output_close(&dump.out);
	if (error != 0) {
		q2_cli_complain(&tool, "standard output", strerror(error));
		status = Q2_EXIT_FAILED;
	}
	return status;
}
