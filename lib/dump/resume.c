/*
 * resume.c - the same work as before, or not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/resume.h"

#include <string.h>

#include "base/err.h"
#include "base/hash.h"

/* The same program; the same part of the disk, and the same form. */
static uint64_t form_of(const struct q2_dump_run *d, size_t cluster)
{
	const struct q2_dump_opts *o = d->opts;
	const uint64_t form[] = {q2_hash(Q2_VERSION, sizeof(Q2_VERSION)),
				 Q2_CHUNK_SIZE,
				 d->start,
				 (uint64_t)o->format,
				 (uint64_t)o->preallocate,
				 cluster,
				 o->version,
				 o->refcount_bits,
				 o->ext_l2,
				 (uint64_t)o->compress,
				 (uint64_t)o->level,
				 o->keep_backing,
				 d->result->bitmaps};

	return q2_hash(form, sizeof(form));
}

/* The same files in the same state.  False if that cannot be known. */
static bool files_of(const struct q2_guest *g, uint64_t *hash)
{
	const struct q2_chain *view = &g->view;
	bool told = true;

	for (unsigned i = 0; i < view->n; i++) {
		const struct q2_layer *l = view->layers[i];
		uint64_t tree[2] = {*hash, l->map.tree.l1_offset};

		*hash = q2_hash(tree, sizeof(tree));
		told = q2_io_facts(l->io, *hash, hash) && told;
		if (l->data)
			told = q2_io_facts(l->data, *hash, hash) && told;
	}
	return told;
}

static struct q2_journal_key key_of(const struct q2_dump_run *d,
				    size_t cluster, bool *told)
{
	uint64_t hash = form_of(d, cluster);

	*told = files_of(d->guest, &hash);
	return (struct q2_journal_key){hash, d->length};
}

bool q2_guest_state(const struct q2_guest *guest, uint64_t *state)
{
	uint64_t hash = q2_hash(Q2_VERSION, sizeof(Q2_VERSION));
	bool told = true;

	for (unsigned i = 0; i < guest->view.n; i++) {
		const struct q2_layer *l = guest->view.layers[i];
		const struct q2_key *key = q2_guest_key(guest, i);
		const uint64_t form[3] = {hash, l->raw, l->map.size};

		hash = q2_hash(form, sizeof(form));
		/* Of these images no password can be told to be wrong. */
		told = told && (key == NULL || q2_key_by_host(key));
	}
	told = files_of(guest, &hash) && told;
	*state = hash;
	return told;
}

enum q2_status q2_resume_open(struct q2_dump_run *d, size_t cluster,
			      struct q2_journal **journal, struct q2_err *err)
{
	struct q2_journal_key key;
	unsigned flags = 0;
	bool told;

	*journal = NULL;
	if (!(d->opts->flags & Q2_DUMP_RESUME))
		return Q2_OK;
	if (q2_target_kind(d->target) != Q2_TARGET_FILE)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "only a file can be continued");
	key = key_of(d, cluster, &told);
	if (!told && !(d->opts->flags & Q2_DUMP_VERIFY))
		return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "whether the disk of a device or a server has "
			       "changed cannot be told: to continue takes "
			       "--verify");
	if (!q2_target_continued(d->target))
		flags |= Q2_JOURNAL_FRESH;
	if (d->opts->flags & Q2_DUMP_FORCE)
		flags |= Q2_JOURNAL_REPLACE;
	return q2_journal_open(d->path, &key, flags, journal, err);
}

enum q2_status q2_resume_image(struct q2_dump_run *d, struct q2_journal *journal,
			       const struct q2_newimage_opts *opts,
			       struct q2_newimage **image, struct q2_err *err)
{
	struct q2_budget *b = &d->guest->budget;
	struct q2_io *io = d->target ? q2_target_io(d->target) : NULL;
	const uint8_t *state = NULL;
	uint64_t end = 0;
	size_t len;
	enum q2_status st = q2_newimage_open(io, opts, b, image, err);

	if (st != Q2_OK || journal == NULL || io == NULL)
		return st;
	state = q2_journal_state(journal, &len);
	if (state == NULL || !q2_newimage_restore(*image, state, len, io->size,
						  &end)) {
		q2_newimage_free(*image);
		*image = NULL;
		st = q2_journal_forget(journal, err);
		if (st == Q2_OK)
			st = q2_resize(io, 0, err);
		return st == Q2_OK ? q2_newimage_open(io, opts, b, image, err) :
				     st;
	}
	d->partial = true;
	return q2_resize(io, end, err);
}
