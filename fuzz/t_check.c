/*
 * t_check.c - target check: a whole check, under all its oracles.
 *
 * SPDX-License-Identifier: MIT
 *
 * C-1 counts, fields and verdict agree; C-2 the same findings twice; C-3 not one
 * byte of the image changes; C-4 what could not be read or allocated is never
 * called clean; C-5 the reference checker agrees; D-1 memory follows what is
 * stored; I-7 nothing is left behind; I-10 fuel (io.c).
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "io/io.h"
#include "q2fuzz.h"
#include "refcheck.h"

struct listener {
	struct q2f_said *said;
	uint64_t leaks;
	uint32_t calls; /* of progress */
};

static uint64_t digest(uint64_t seed, const struct q2_finding *f)
{
	const uint64_t v[] = {
		f->problem->number, f->fields,
		f->fields & Q2_F_KIND ? (uint64_t)f->kind : 0,
		f->fields & Q2_F_TREE ? f->tree : 0,
		f->fields & Q2_F_L1 ? f->l1 : 0,
		f->fields & Q2_F_L2 ? f->l2 : 0,
		f->fields & Q2_F_INDEX ? f->index : 0,
		f->fields & Q2_F_HOST ? f->host : 0,
		f->fields & Q2_F_GUEST ? f->guest : 0,
		f->fields & Q2_F_LENGTH ? f->length : 0,
		f->fields & Q2_F_OTHER ? f->other : 0,
		f->fields & Q2_F_FOUND ? f->found : 0,
		f->fields & Q2_F_EXPECTED ? f->expected : 0,
		f->fields & Q2_F_COUNT ? f->count : 0,
	};

	seed = 31 * seed + q2_hash(v, sizeof(v));
	if (f->fields & Q2_F_TEXT)
		seed = 31 * seed + q2_hash(f->text, f->text_len);
	return seed;
}

/* Whatever the image holds, a message is one line of printable text. */
static void judge_message(const struct q2_finding *f)
{
	char text[160], small[8];
	size_t n = q2_finding_message(f, text, sizeof(text));

	if (strlen(text) != (n < sizeof(text) ? n : sizeof(text) - 1))
		q2f_violation("I-6", "a message of %zu bytes", n);
	for (size_t i = 0; text[i]; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 127)
			q2f_violation("I-6", "a message with byte %d",
				      text[i]);
	if (q2_finding_message(f, small, sizeof(small)) != n ||
	    strncmp(small, text, sizeof(small) - 1) != 0)
		q2f_violation("I-6", "a message depends on the room for it");
}

/* What users may write for an id: in small letters, with dashes. */
static void judge_problem(const struct q2_problem *p)
{
	char id[64];
	size_t n = strlen(p->id);

	if (n >= sizeof(id))
		q2f_violation("I-6", "an id of %zu bytes", n);
	for (size_t i = 0; i <= n; i++)
		id[i] = (char)(p->id[i] == '_' ? '-' :
			       p->id[i] >= 'A' ? p->id[i] + 'a' - 'A' :
						 p->id[i]);
	if (q2_problem_by_id(id) != p || q2_problem_by_id(p->id) != p ||
	    q2_problem_by_number(p->number) != p ||
	    q2_problem_by_number(p->number + 1000) != NULL)
		q2f_violation("C-1", "problem %s is not found by its name",
			      p->id);
	id[n - 1] = '?';
	if (q2_problem_by_id(id) != NULL)
		q2f_violation("C-1", "there is a problem %s", id);
	if (q2_severity_text(p->severity)[0] == 'u' ||
	    q2_fix_text(p->fix)[0] == 'u')
		q2f_violation("C-1", "problem %s has an unknown class", p->id);
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct listener *l = ctx;

	if (p->phase == NULL || p->phase[0] == 0)
		q2f_violation("C-1", "a phase without a name");
	if (l->said->stop)
		q2f_place(Q2F_PLACE_STOP, l->calls + 1);
	if (++l->calls != l->said->stop)
		return false;
	l->said->stopped = q2f_fault_reached = true;
	return true;
}

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct listener *l = ctx;
	struct q2f_said *s = l->said;

	if (f->problem == NULL || (f->fields & ~f->problem->fields))
		q2f_violation("C-1", "a finding has fields that its problem lacks");
	if ((f->fields & Q2_F_TEXT) && f->text_len > sizeof(f->text))
		q2f_violation("I-6", "a finding's text of %u bytes",
			      f->text_len);
	if (q2f_thorough) {
		judge_message(f);
		judge_problem(f->problem);
		if ((f->fields & Q2_F_KIND) && !*q2_kind_text(f->kind))
			q2f_violation("C-1", "a kind without a name");
	}
	s->digest = digest(s->digest, f);
	s->findings++;
	s->corrupt += f->problem->severity == Q2_CORRUPT;
	s->advice += f->problem->severity == Q2_ADVICE;
	s->unreadable += f->problem->number == 901;
	if (f->problem->severity == Q2_LEAK)
		l->leaks += f->problem->number == 801 ? f->count : 1;
	if (s->also)
		s->also(s->ctx, f);
}

void q2f_run_check(struct q2_io *io, unsigned flags, struct q2f_said *said)
{
	struct listener l = {.said = said};
	struct q2_check_opts opts = {
		.flags = (flags & Q2F_DATA ? Q2_CHECK_DATA : 0) |
			 (flags & Q2F_FULL ? Q2_CHECK_FULL : 0),
		.found = on_found,
		.progress = said->stop ? on_progress : NULL,
		.ctx = &l,
		.keep = said->keep,
		.max_memory = said->max_memory,
	};
	struct q2_err err = {0};

	said->digest = said->findings = said->corrupt = said->advice = 0;
	said->unreadable = 0;
	said->stopped = false;
	said->status = q2_check(io, &opts, &said->result, &err);
	if (said->status != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "status %d without a cause",
			      (int)said->status);
	if (q2_status_text(said->status)[0] == 0 ||
	    (said->stopped && said->status != Q2_E_INTERRUPTED))
		q2f_violation("C-1", "status %d after being stopped",
			      (int)said->status);
	if (l.leaks != said->result.leaks)
		q2f_violation("C-1", "%llu leaks counted, %llu reported",
			      (unsigned long long)said->result.leaks,
			      (unsigned long long)l.leaks);
}

void q2f_judge_check(const struct q2f_said *s)
{
	const struct q2_check_result *r = &s->result;
	enum q2_verdict v = r->verdict;

	if (s->corrupt != r->corruptions || s->advice != r->advice)
		q2f_violation("C-1", "%llu corruptions counted, %llu reported",
			      (unsigned long long)r->corruptions,
			      (unsigned long long)s->corrupt);
	if ((v == Q2_CLEAN && (r->corruptions || r->leaks)) ||
	    (v == Q2_LEAKS && (r->corruptions || r->leaks == 0)) ||
	    (v == Q2_CORRUPTED && r->corruptions == 0))
		q2f_violation("C-1", "verdict %s with %llu corruptions, %llu leaks",
			      q2_verdict_text(v),
			      (unsigned long long)r->corruptions,
			      (unsigned long long)r->leaks);
	if (v == Q2_CLEAN && (s->status != Q2_OK || r->check_errors))
		q2f_violation("C-4", "clean, with status %d and %llu errors",
			      (int)s->status,
			      (unsigned long long)r->check_errors);
	/* A repair that relied on it would free what is in use. */
	if (s->unreadable && s->status == Q2_OK && !r->partial && v != Q2_UNREADABLE)
		q2f_violation("C-4", "%llu parts were not read, and all is said to be known",
			      (unsigned long long)s->unreadable);
	if (v == Q2_UNREADABLE && s->status == Q2_OK && !r->is_raw &&
	    r->corruptions == 0)
		q2f_violation("C-1", "unreadable, and nothing says why");
	if (r->allocated_clusters && v == Q2_UNREADABLE && s->status == Q2_OK)
		q2f_violation("C-1", "unreadable, but clusters were counted");
}

static void judge_memory(const struct q2f_input *in,
			 const struct q2f_said *s)
{
	q2f_heap_judge("a check", 0, in->size);
	q2f_heap_empty("a check");
	if (in->ctl.fail_alloc == 0 && s->result.peak_memory > q2f_heap.peak)
		q2f_violation("D-1", "a peak of %llu was told, of %llu",
			      (unsigned long long)s->result.peak_memory,
			      (unsigned long long)q2f_heap.peak);
}

/* One check with everything freed at its end. */
static void once(const struct q2f_input *in, struct q2f_said *s, bool *failed)
{
	struct q2_io *io = q2f_io_new(in);

	q2f_heap_watch(in->ctl.fail_alloc);
	q2f_run_check(io, in->ctl.flags, s);
	*failed = q2f_heap_done();
	judge_memory(in, s);
	*failed |= q2f_io_failed(io);
	q2_io_close(io);
}

/* The same input with a fault: it may not look better than without. */
static void with_fault(const struct q2f_input *in, const struct q2f_said *sound)
{
	struct q2f_said s = {.stop = in->ctl.stop};
	bool failed;

	once(in, &s, &failed);
	failed |= s.stopped;
	q2f_judge_check(&s);
	if (!failed) {
		if (s.digest != sound->digest)
			q2f_violation("C-2", "a fault that did not happen changes the findings");
		return;
	}
	/* What was not read may be a finding's text, or a sample; but then
	 * no verdict may rest on it. */
	if (s.status == Q2_OK && s.unreadable == 0 && !s.result.partial &&
	    s.result.verdict < sound->result.verdict)
		q2f_violation("C-4", "verdict %s instead of %s after a fault",
			      q2_verdict_text(s.result.verdict),
			      q2_verdict_text(sound->result.verdict));
}

/* The same with little memory: it says so, or it is enough. */
static void with_limit(const struct q2f_input *in, const struct q2f_said *sound)
{
	struct q2f_said s = {.max_memory = in->ctl.pick * UINT64_C(64)};
	bool failed;

	once(in, &s, &failed);
	q2f_judge_check(&s);
	if (s.result.peak_memory > s.max_memory)
		q2f_violation("D-1", "%llu bytes are taken of %llu",
			      (unsigned long long)s.result.peak_memory,
			      (unsigned long long)s.max_memory);
	if (s.status == Q2_OK && s.result.verdict < sound->result.verdict &&
	    !s.result.partial)
		q2f_violation("C-4", "verdict %s instead of %s with little memory",
			      q2_verdict_text(s.result.verdict),
			      q2_verdict_text(sound->result.verdict));
}

void q2f_check_input(const struct q2f_input *in, struct q2f_said *said)
{
	struct q2f_input sound = *in;
	struct q2f_said a = {0}, b = {0};
	struct q2f_refcheck *ref = q2f_sampled(in, 8) ?
					   q2f_refcheck_new(&sound) : NULL;
	uint64_t before = q2_hash(in->image, in->size);
	bool failed;

	sound.ctl.fail_alloc = sound.ctl.fail_read = sound.ctl.stop = 0;
	if (said) {
		a.also = said->also;
		a.ctx = said->ctx;
	}
	if (ref && !a.also) {
		a.also = q2f_refcheck_found;
		a.ctx = ref;
	}
	once(&sound, &a, &failed);
	q2f_judge_check(&a);
	if (q2f_sampled(in, 16)) {
		once(&sound, &b, &failed);
		if (a.digest != b.digest || a.findings != b.findings ||
		    a.status != b.status ||
		    a.result.verdict != b.result.verdict)
			q2f_violation("C-2", "two checks say two things");
	}
	if (ref)
		q2f_refcheck_compare(ref, &a);
	if (in->ctl.fail_alloc || in->ctl.fail_read || in->ctl.stop)
		with_fault(in, &a);
	if (in->ctl.pick)
		with_limit(&sound, &a);
	if (q2_hash(in->image, in->size) != before)
		q2f_violation("C-3", "a check changed the image");
	q2f_refcheck_free(ref);
	if (said)
		*said = a;
}

int q2f_check(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);

	q2f_check_input(&in, NULL);
	return 0;
}
