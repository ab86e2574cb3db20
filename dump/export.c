/*
 * export.c - writing the disk out.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "dump.h"

/* "zlib", "zstd:19"; false for anything else. */
static bool parse_compress(const char *text, struct q2_dump_opts *out)
{
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);
	uint64_t level = 0;

	if (n == 4 && memcmp(text, "zlib", 4) == 0)
		out->compress = Q2_COMPRESS_ZLIB;
	else if (n == 4 && memcmp(text, "zstd", 4) == 0)
		out->compress = Q2_COMPRESS_ZSTD;
	else
		return false;
	if (colon == NULL)
		return true;
	if (!q2_cli_number(colon + 1, &level) || level == 0 ||
	    level > (out->compress == Q2_COMPRESS_ZLIB ? 12 : 22))
		return false;
	out->level = (int)level;
	return true;
}

static unsigned flags_of(const struct options *o)
{
	unsigned flags = 0;

	flags |= o->force ? Q2_DUMP_FORCE : 0;
	flags |= o->resume ? Q2_DUMP_RESUME : 0;
	flags |= o->no_sync ? Q2_DUMP_NO_SYNC : 0;
	flags |= o->verify ? Q2_DUMP_VERIFY : 0;
	flags |= o->plaintext ? Q2_DUMP_PLAINTEXT : 0;
	flags |= o->assume_zeroed ? Q2_DUMP_ZEROED : 0;
	flags |= o->bitmaps ? Q2_DUMP_BITMAPS : 0;
	flags |= o->drop_bitmaps ? Q2_DUMP_DROP_BITMAPS : 0;
	return flags;
}

static bool for_qcow2(const struct options *o)
{
	return o->cluster_size != UNSET || o->refcount_bits != UNSET ||
	       o->extended_l2 ||
	       o->compress || o->compat || o->keep_backing ||
	       o->bitmaps;
}

bool dump_for_image(const struct options *o)
{
	return for_qcow2(o) || o->output || o->preallocate ||
	       o->assume_zeroed || o->drop_bitmaps || o->verify || o->no_sync;
}

/* Options for one format only make no sense with the other. */
static const char *misplaced(const struct options *o)
{
	if (o->output == Q2_DUMP_RAW && for_qcow2(o))
		return "that option needs --output-format=qcow2";
	if (o->output == Q2_DUMP_QCOW2 &&
	    (o->preallocate || o->assume_zeroed))
		return "that option needs --output-format=raw";
	return NULL;
}

static bool power_of_two(uint64_t n, uint64_t least, uint64_t most)
{
	return n >= least && n <= most && (n & (n - 1)) == 0;
}

/* The form of a QCOW2 image; a message if there is none like that. */
static const char *take_form(const struct options *o, struct q2_dump_opts *out)
{
	uint64_t cs = o->cluster_size == UNSET ? 65536 : o->cluster_size;
	uint64_t bits = o->refcount_bits == UNSET ? 16 : o->refcount_bits;

	if (!power_of_two(cs, 512, 2 << 20))
		return "--cluster-size takes a power of two from 512 to 2M";
	if (!power_of_two(bits, 1, 64))
		return "--refcount-bits takes a power of two from 1 to 64";
	if (o->extended_l2 && cs < 16384)
		return "--extended-l2 takes clusters of 16K at the least";
	if (o->compat && (o->extended_l2 || bits != 16 ||
			  out->compress == Q2_COMPRESS_ZSTD))
		return "version 2 of the format has refcounts of 16 bits, and "
		       "neither subclusters nor zstd";
	/* What was not given is left to the library. */
	while (o->cluster_size != UNSET && cs >> out->cluster_bits > 1)
		out->cluster_bits++;
	if (o->refcount_bits != UNSET)
		out->refcount_bits = (unsigned)bits;
	return NULL;
}

/* An exit status if the options make no sense, else -1. */
static int make_opts(struct dump *dump, struct q2_dump_opts *out)
{
	const struct options *o = dump->options;
	const char *wrong = misplaced(o);

	if (wrong != NULL)
		return q2_cli_misuse(dump->tool, wrong, NULL);
	*out = (struct q2_dump_opts){.format = (enum q2_dump_format)o->output,
				     .flags = flags_of(o),
				     .scan = dump_scan(dump),
				     .length = UINT64_MAX,
				     .preallocate =
					(enum q2_preallocate)o->preallocate,
				     .ext_l2 = o->extended_l2 != 0};
	if (o->range != NULL &&
	    !dump_range(o->range, &out->start, &out->length))
		return q2_cli_misuse(dump->tool, "--range takes two sizes, "
				     "as in 1M+64K, or one", o->range);
	if (o->compress != NULL && !parse_compress(o->compress, out))
		return q2_cli_misuse(dump->tool, "--compress takes zlib or "
				     "zstd, maybe with a level as in zstd:9",
				     o->compress);
	wrong = take_form(o, out);
	if (wrong != NULL)
		return q2_cli_misuse(dump->tool, wrong, NULL);
	if (o->keep_backing && strcmp(o->keep_backing, "0") == 0)
		return q2_cli_misuse(dump->tool, "--keep-backing takes a layer "
				     "below the image, which is 0", NULL);
	if (o->output == Q2_DUMP_QCOW2)
		out->version = o->compat ? 2 : 3;
	return -1;
}

static void say_lost(struct dump *dump, const char *image,
		     const struct q2_dump_result *r)
{
	char text[120];

	snprintf(text, sizeof(text),
		 "%llu bytes could not be read, and are zeros in the result",
		 (unsigned long long)r->lost);
	q2_cli_complain(dump->tool, image, text);
}

static void say_left(struct dump *dump, const char *image,
		     const struct q2_dump_result *r)
{
	char text[120];

	snprintf(text, sizeof(text),
		 "%lu of its bitmaps, in use or damaged, are not in the result",
		 (unsigned long)r->bitmaps_left);
	q2_cli_complain(dump->tool, image, text);
}

/* What only the chain tells: which layer is meant. */
static int find_kept(struct dump *dump, const struct q2_guest *guest,
		     const char *image, struct q2_dump_opts *opts)
{
	const char *want = dump->options->keep_backing;
	char text[200];

	if (want == NULL)
		return 0;
	opts->keep_backing = q2_guest_below(guest, want);
	if (opts->keep_backing != 0)
		return 0;
	snprintf(text, sizeof(text), "'%.140s' is not a layer below it", want);
	q2_cli_complain(dump->tool, image, text);
	return Q2_EXIT_FAILED;
}

static int write_out(struct dump *dump, struct q2_guest *guest,
		     const char *image, const char *out,
		     const struct q2_dump_opts *opts)
{
	struct q2_dump_result result = {0};
	struct q2_err err = {0};
	enum q2_status st;
	int status = 0;

	/* Whatever is quiet: a loss is told, unless it was asked for. */
	if (opts->format == Q2_DUMP_RAW && q2_guest_bitmaps(guest) != 0 &&
	    !(opts->flags & Q2_DUMP_DROP_BITMAPS))
		q2_cli_complain(dump->tool, image, "its bitmaps are not in "
				"the result: a raw image has none");
	st = q2_dump(guest, out, opts, &result, &err);
	q2_cli_progress_clear(&dump->progress);
	if (st != Q2_OK)
		return dump_failed(dump, st == Q2_E_REFUSED ? image : out, st,
				   &err);
	if (result.bitmaps_left != 0)
		say_left(dump, image, &result);
	if (result.lost != 0) {
		say_lost(dump, image, &result);
		status = Q2_EXIT_PROBLEMS;
	}
	return status;
}

/* What is written has no options but ours. */
static int plain_name(struct dump *dump, const char **out)
{
	if (!q2_cli_is_name(*out))
		return 0;
	if ((*out)[0] == 'j')
		return q2_cli_misuse(dump->tool, "what is written cannot have "
				     "a json: name", NULL);
	*out += sizeof("file:") - 1;
	return 0;
}

int dump_export(struct dump *dump, const char *image, const char *out)
{
	struct q2_dump_opts opts = {0};
	struct q2_guest *guest = NULL;
	int status = plain_name(dump, &out);

	if (status == 0)
		status = dump_map_open(dump);
	if (status == 0) {
		status = make_opts(dump, &opts);
		dump_close_sandbox(dump, image, NULL, out);
		if (status < 0)
			status = dump_open(dump, image, dump->options->format,
					   &guest);
	}
	if (status == 0) {
		status = dump_map_judge(dump, guest, out);
		if (status == 0)
			status = find_kept(dump, guest, image, &opts);
		if (status == 0)
			status = write_out(dump, guest, image, out, &opts);
		q2_guest_close(guest);
	}
	return dump_map_close(dump, status);
}
