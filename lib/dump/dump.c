/*
 * dump.c - a dump from its beginning to the new name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/dump.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "dump/bitmaps.h"
#include "dump/qcow2.h"
#include "dump/raw.h"
#include "dump/resume.h"
#include "image/naming.h"

/* Longest stretch of zeros that is written at once. */
#define GAP_MAX (UINT64_C(64) << 20)

struct q2_pass q2_dump_scan(const struct q2_dump_run *d)
{
	const struct q2_dump_opts *o = d->opts;
	bool digest = (o->flags & Q2_DUMP_VERIFY) != 0 || o->scan.chunk;

	return (struct q2_pass){.opts = &o->scan,
				.guest = {d->guest},
				.start = d->start,
				.length = d->length,
				.phase = "dump",
				.digest = digest && !d->partial};
}

void q2_dump_learn(struct q2_dump_run *d, const struct q2_pass *s)
{
	d->result->data = s->data;
	d->result->lost = s->lost;
	d->result->has_digest = s->digest;
	d->result->digest = s->result;
}

static enum q2_status open_journal(struct q2_dump_run *d,
				   struct q2_raw_sink *sink,
				   struct q2_err *err)
{
	enum q2_status st = q2_resume_open(d, 0, &sink->journal, err);

	if (st != Q2_OK || sink->journal == NULL)
		return st;
	/* A file that has become shorter is not what it vouches for. */
	if (q2_target_io(d->target)->size < q2_journal_done(sink->journal))
		st = q2_journal_forget(sink->journal, err);
	if (st != Q2_OK)
		return st;
	d->partial = q2_journal_done(sink->journal) != 0;
	/* What is not vouched for must be zeros where zeros belong. */
	return q2_resize(q2_target_io(d->target),
			 q2_journal_done(sink->journal), err);
}

/* The scan did not see what an earlier run has done, or what a backing file keeps. */
static enum q2_status digest_again(struct q2_dump_run *d, struct q2_err *err)
{
	static const struct q2_sink_ops nothing = {.transient = true};
	struct q2_pass s;
	enum q2_status st;

	if (!d->partial || !(d->opts->flags & Q2_DUMP_VERIFY))
		return Q2_OK;
	d->partial = false;
	s = q2_dump_scan(d);
	s.phase = "digest";
	s.sink = &nothing;
	st = q2_pass_run(&s, err);
	d->result->has_digest = st == Q2_OK;
	d->result->digest = s.result;
	return st;
}

enum q2_status q2_dump_raw(struct q2_dump_run *d, struct q2_err *err)
{
	struct q2_io *io = q2_target_io(d->target);
	struct q2_raw_sink sink = {.target = d->target,
				   .lock = PTHREAD_MUTEX_INITIALIZER};
	struct q2_pass s;
	enum q2_status st = open_journal(d, &sink, err);

	s = q2_dump_scan(d);
	s.sink = io ? &q2_raw_ops : &q2_stream_ops;
	s.ctx = &sink;
	s.skip = q2_raw_skip;
	sink.zeros = d->opts->preallocate == Q2_PREALLOC_FULL ||
		     (q2_target_kind(d->target) == Q2_TARGET_DEVICE &&
		      !(d->opts->flags & Q2_DUMP_ZEROED));
	if (sink.zeros || !io)
		s.gap_max = GAP_MAX;
	if (st == Q2_OK && io)
		st = q2_resize(io, d->length, err);
	if (st == Q2_OK && d->opts->preallocate == Q2_PREALLOC_FALLOC)
		st = q2_target_reserve(d->target, d->length, err);
	if (st == Q2_OK)
		st = q2_pass_run(&s, err);
	if (st == Q2_OK)
		q2_dump_learn(d, &s);
	if (st == Q2_OK)
		st = digest_again(d, err);
	d->journal = sink.journal;
	return st;
}

static unsigned log2_of(unsigned n)
{
	unsigned bits = 0;

	while (n >> (bits + 1))
		bits++;
	return bits;
}

static enum q2_status make_packers(struct q2_qcow2_sink *sink,
				   const struct q2_dump_opts *o,
				   struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (unsigned t = 0; t < q2_pass_threads(sink->scan) && st == Q2_OK &&
	     o->compress != Q2_COMPRESS_NONE; t++)
		st = q2_packer_new(o->compress, o->level, &sink->packers[t],
				   err);
	return st;
}

/* The name by which the result finds its backing file: beside it, or wherever.
 * To be freed. */
static char *backing_name(const struct q2_dump_run *d, const char *backing)
{
	size_t here = q2_folder_len(d->path);
	size_t there = q2_folder_len(backing);
	const char *base = backing + there;
	char *name;

	if (here != there || memcmp(d->path, backing, here) != 0)
		return realpath(backing, NULL);
	/* A colon before a slash would make it a protocol. */
	name = malloc(strlen(base) + 3);
	if (name != NULL) {
		strcpy(name, strchr(base, ':') ? "./" : "");
		strcat(name, base);
	}
	return name;
}

struct q2_newimage_opts q2_dump_image(const struct q2_dump_opts *o,
				      uint64_t size)
{
	return (struct q2_newimage_opts){
		.version = o->version ? o->version : 3,
		.cluster_bits = o->cluster_bits ? o->cluster_bits : 16,
		.ref_order = o->refcount_bits ? log2_of(o->refcount_bits) : 4,
		.ext_l2 = o->ext_l2,
		.zstd = o->compress == Q2_COMPRESS_ZSTD,
		.disk_size = size};
}

static struct q2_newimage_opts image_opts(const struct q2_dump_run *d,
					  char *backing)
{
	const struct q2_dump_opts *o = d->opts;
	struct q2_newimage_opts n = q2_dump_image(o, d->length);

	n.bitmaps = d->result->bitmaps != 0;
	if (o->keep_backing) {
		const struct q2_layer *l =
			d->guest->view.layers[o->keep_backing];

		n.backing = backing;
		n.backing_format = l->raw ? "raw" : "qcow2";
	}
	return n;
}

enum q2_status q2_dump_qcow2(struct q2_dump_run *d, struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;
	char *backing = o->keep_backing ? backing_name(d,
		d->guest->view.layers[o->keep_backing]->path) : NULL;
	struct q2_newimage_opts n = image_opts(d, backing);
	struct q2_pass s;
	struct q2_qcow2_sink sink = {.scan = &s,
				     .version = n.version,
				     .cluster = (size_t)1 << n.cluster_bits,
				     .ext_l2 = n.ext_l2,
				     .compress = o->compress,
				     .percent = d->percent,
				     .target = d->target};
	enum q2_status st;

	d->partial = o->keep_backing != 0;
	st = o->keep_backing && backing == NULL ?
		q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			"the backing file cannot be named") :
		q2_resume_open(d, sink.cluster, &sink.journal, err);
	if (st == Q2_OK)
		st = q2_resume_image(d, sink.journal, &n, &sink.image, err);
	s = q2_dump_scan(d);
	s.sink = &q2_qcow2_ops;
	s.ctx = &sink;
	s.cluster = sink.cluster;
	s.thread_room = q2_pack_memory(o->compress, o->level, sink.cluster);
	s.below = o->keep_backing;
	s.skip = q2_qcow2_skip;
	if (st == Q2_OK)
		st = make_packers(&sink, o, err);
	if (st == Q2_OK)
		st = q2_pass_run(&s, err);
	if (st == Q2_OK)
		st = q2_bitmaps_carry(d, sink.image, err);
	if (st == Q2_OK)
		st = q2_newimage_finish(sink.image, err);
	if (st == Q2_OK) {
		q2_dump_learn(d, &s);
		d->sums = (struct q2_dump_sums){
			q2_newimage_length(sink.image), sink.plain,
			sink.stream_bytes, s.job_size};
	}
	if (st == Q2_OK)
		st = digest_again(d, err);
	d->result->copied = sink.copied;
	for (unsigned t = 0; t < Q2_CREW_MAX; t++)
		q2_packer_free(sink.packers[t]);
	d->journal = sink.journal;
	q2_newimage_free(sink.image);
	free(backing);
	return st;
}

/* What a server reads for us must not be what it writes for us. */
static enum q2_status judge_server(const struct q2_dump_run *d,
				   struct q2_err *err)
{
	const struct q2_chain *c = &d->guest->chain;

	for (unsigned i = 0; i < c->n; i++)
		if (q2_target_is_server(d->target, c->layers[i]->io) ||
		    q2_target_is_server(d->target, c->layers[i]->data))
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "it is one of the files that are read");
	return Q2_OK;
}

static unsigned target_flags(const struct q2_dump_opts *o)
{
	unsigned flags = 0;

	if (o->flags & Q2_DUMP_FORCE)
		flags |= Q2_TARGET_REPLACE;
	if (o->flags & Q2_DUMP_RESUME)
		flags |= Q2_TARGET_CONTINUE | Q2_TARGET_KEEP;
	if (o->flags & Q2_DUMP_NO_SYNC)
		flags |= Q2_TARGET_NO_SYNC;
	if (o->preallocate == Q2_PREALLOC_FULL)
		flags |= Q2_TARGET_FULL;
	return flags;
}

/* What is not right does not become so by being continued. */
static enum q2_status verify(struct q2_dump_run *d, struct q2_err *err)
{
	enum q2_status st = q2_dump_verify(d, err);

	if (st == Q2_OK || st == Q2_E_INTERRUPTED || d->journal == NULL)
		return st;
	/* The first error is the one that is told. */
	if (q2_journal_forget(d->journal, err) != Q2_OK)
		return Q2_E_IO;
	return st;
}

enum q2_status q2_dump(struct q2_guest *guest, const char *path,
		       const struct q2_dump_opts *opts,
		       struct q2_dump_result *result, struct q2_err *err)
{
	struct q2_dump_run d = {.guest = guest,
				.path = path,
				.opts = opts,
				.result = result,
				.start = opts->start};
	enum q2_status st;

	*result = (struct q2_dump_result){0};
	d.length = q2_min(opts->length, d.start < guest->size ?
						guest->size - d.start : 0);
	result->size = d.length;
	st = q2_dump_judge(&d, err);
	if (st == Q2_OK)
		st = q2_target_open(path, target_flags(opts), &d.target, err);
	if (st != Q2_OK)
		return st;
	if (q2_target_kind(d.target) == Q2_TARGET_FILE &&
	    !(opts->flags & Q2_DUMP_RESUME))
		q2_journal_discard(path);
	st = judge_server(&d, err);
	if (st == Q2_OK)
		st = opts->format == Q2_DUMP_RAW ? q2_dump_raw(&d, err) :
					   q2_dump_qcow2(&d, err);
	if (st == Q2_OK)
		st = q2_target_sync(d.target, err);
	if (st == Q2_OK)
		st = verify(&d, err);
	if (st == Q2_OK)
		st = q2_target_publish(d.target, err);
	q2_journal_close(d.journal, st == Q2_OK);
	q2_target_close(d.target);
	return st;
}
