/*
 * t_medium.c - a part of target write: data apart, hidden data, and rehearsals.
 *
 * SPDX-License-Identifier: MIT
 *
 * W-1 in a data file, and under a veil, what was written is what is read, by the same
 * writer and by a fresh one, and the image stays sound, also when an operation or an
 * allocation fails; W-2 a rehearsal counts what the writer then takes.
 */
#include <string.h>

#include "base/hash.h"
#include "image/write.h"
#include "t_medium.h"
#include "../tests/support/testio.h"

#define DISK_MAX (UINT64_C(160) << 10)
#define STEPS 24u

/* An image under a writer, and what its guest should read. */
struct medium {
	struct q2_io *image;
	struct q2_io *data; /* NULL: in the image */
	struct test_io t_image;
	struct test_io t_data;
	struct q2_budget budget;
	struct q2_writer *w;
	uint8_t *want;
	uint64_t n;
	uint64_t random;
};

/* Anything that depends on the place will do for a cipher. */
static enum q2_status turn(void *ctx, uint8_t *bytes, size_t len,
			   uint64_t guest, uint64_t host, struct q2_err *err)
{
	(void)ctx;
	(void)err;
	if (len % Q2_VEIL_UNIT || guest % Q2_VEIL_UNIT || host % Q2_VEIL_UNIT)
		q2f_violation("W-1", "%zu bytes at %llu are no whole units", len,
			      (unsigned long long)guest);
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= (uint8_t)(0x5a + guest / Q2_VEIL_UNIT +
				      i / Q2_VEIL_UNIT);
	return Q2_OK;
}

static const struct q2_veil veil = {.hide = turn, .show = turn};

static uint64_t draw(struct medium *m, uint64_t below)
{
	m->random = m->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return below ? (m->random >> 33) % below : 0;
}

static enum q2_status start(struct medium *m, unsigned flags, struct q2_err *err)
{
	const struct q2_writer_opts opts = {
		.flags = flags | Q2_WRITER_STALE_BITMAPS,
		.data = m->data ? &m->t_data.io : NULL,
		.veil = flags & Q2_WRITER_REHEARSAL ? NULL : &veil,
		.batch = 4096,
	};

	return q2_writer_open(&m->t_image.io, &m->budget, &opts, &m->w, err);
}

static void medium_open(struct medium *m, const struct q2f_input *in,
			const struct q2_io *data)
{
	*m = (struct medium){.random = q2_hash(in->image, in->size) +
				       in->ctl.pick};
	if (q2_io_memory_rw(in->image, in->size, 0, &m->image, NULL) != Q2_OK)
		return;
	test_io_open(&m->t_image, m->image);
	if (data == NULL)
		return;
	if (q2_io_memory_rw(q2_io_memory_bytes(data), (size_t)data->size, 0,
			    &m->data, NULL) == Q2_OK)
		test_io_open(&m->t_data, m->data);
}

static void medium_close(struct medium *m)
{
	q2_writer_close(m->w);
	if (m->budget.used)
		q2f_violation("I-7", "a writer leaves %llu bytes behind",
			      (unsigned long long)m->budget.used);
	if (m->image) {
		q2_io_close(&m->t_image.io);
		q2_io_close(m->image);
	}
	if (m->data) {
		q2_io_close(&m->t_data.io);
		q2_io_close(m->data);
	}
	q2f_own_free(m->want);
}

static void compare(struct medium *m, const char *when)
{
	uint8_t *got = q2f_own((size_t)m->n + 1);
	struct q2_err err = {0};

	if (q2_write_read(m->w, got, (size_t)m->n, 0, &err) != Q2_OK)
		q2f_violation("W-1", "%s: it cannot be read: %s", when,
			      err.text);
	for (uint64_t i = 0; i < m->n; i++)
		if (got[i] != m->want[i])
			q2f_violation("W-1", "%s: byte %llu is %02x, not %02x",
				      when, (unsigned long long)i, got[i],
				      m->want[i]);
	q2f_own_free(got);
}

/* One step of those that a guest takes; what it should read follows. */
static enum q2_status step(struct medium *m, struct q2_err *err)
{
	uint64_t cs = q2_writer_geom(m->w)->cluster_size;
	uint64_t at = draw(m, m->n), len = 1 + draw(m, 2 * cs);
	uint8_t buf[8192];
	enum q2_status st;

	len = q2_min(q2_min(len, m->n - at), sizeof(buf));
	switch (draw(m, 8)) {
	case 0:
		return q2_write_commit(m->w, err);
	case 1:
	case 2:
		st = q2_write_zeros(m->w, at, len, draw(m, 2) ? Q2_ZEROS_KEEP :
				    Q2_ZEROS_PLAIN, err);
		memset(m->want + at, 0, (size_t)len);
		return st;
	case 3:
	case 4: /* whole clusters */
		at -= at % cs;
		len = q2_min(cs * (1 + draw(m, 3)), (m->n - at) / cs * cs);
		memset(m->want + at, 0, (size_t)len);
		return q2_write_discard(m->w, at, len, err);
	default:
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)(draw(m, 7) ? at + i : 0);
		memcpy(m->want + at, buf, (size_t)len);
		return q2_write(m->w, buf, (size_t)len, at, err);
	}
}

static enum q2_status steps(struct medium *m, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < STEPS && st == Q2_OK; i++)
		st = step(m, err);
	return st == Q2_OK ? q2_write_commit(m->w, err) : st;
}

static void judge_image(struct medium *m, enum q2_verdict worst)
{
	struct q2_check_opts opts = {0};
	struct q2_check_result result;

	if (q2_check(m->image, &opts, &result, NULL) != Q2_OK ||
	    result.verdict > worst)
		q2f_violation("W-1", "the image is %s then",
			      q2_verdict_text(result.verdict));
}

/* Room for what the guest should read, longer by what the disk may grow. */
static void expect(struct medium *m)
{
	m->n = q2_writer_geom(m->w)->disk_size;
	m->want = q2f_own((size_t)(m->n + 512 +
				   3 * q2_writer_geom(m->w)->cluster_size));
}

/* The disk gets longer, by zeros, if it may; false if not. */
static bool grow(struct medium *m, struct q2_err *err, enum q2_status *st)
{
	uint64_t size = m->n + 2 * q2_writer_geom(m->w)->cluster_size + 512;

	if (q2_write_resize(m->w, size, true, NULL) != Q2_OK)
		return false;
	*st = q2_write_resize(m->w, size, false, err);
	if (*st == Q2_OK)
		m->n = size;
	return true;
}

/* The disk is read first: false if it cannot be. */
static bool learn(struct medium *m)
{
	expect(m);
	return q2_write_read(m->w, m->want, (size_t)m->n, 0, NULL) == Q2_OK;
}

static void with_steps(const struct q2f_input *in, const struct q2_io *data)
{
	struct q2_writer_counts counts[2];
	struct q2_err err = {0};
	enum q2_status st = Q2_OK;
	struct medium m;
	uint64_t random;
	bool grown;

	medium_open(&m, in, data);
	if (start(&m, 0, &err) != Q2_OK || !learn(&m)) {
		medium_close(&m);
		return;
	}
	random = m.random;
	if (steps(&m, &err) != Q2_OK)
		q2f_violation("W-1", "without a fault: %s", err.text);
	compare(&m, "at the end");
	grown = grow(&m, &err, &st);
	if (grown && (st != Q2_OK || q2_write_commit(m.w, &err) != Q2_OK))
		q2f_violation("W-1", "it cannot grow: %s", err.text);
	compare(&m, "grown");
	q2_writer_counts(m.w, &counts[0]);
	q2_writer_close(m.w);
	if (start(&m, 0, &err) != Q2_OK)
		q2f_violation("W-1", "it cannot be opened again: %s", err.text);
	compare(&m, "opened again");
	judge_image(&m, Q2_CLEAN);
	medium_close(&m);

	medium_open(&m, in, data);
	if (start(&m, Q2_WRITER_REHEARSAL, &err) != Q2_OK)
		q2f_violation("W-2", "it cannot be rehearsed: %s", err.text);
	expect(&m);
	m.random = random;
	if (steps(&m, &err) != Q2_OK)
		q2f_violation("W-2", "a rehearsal fails: %s", err.text);
	if (grow(&m, &err, &st) != grown || st != Q2_OK)
		q2f_violation("W-2", "growing is rehearsed otherwise: %s",
			      err.text);
	q2_writer_counts(m.w, &counts[1]);
	if (counts[0].end != counts[1].end)
		q2f_violation("W-2", "%llu clusters are rehearsed, and %llu taken",
			      (unsigned long long)counts[1].end,
			      (unsigned long long)counts[0].end);
	medium_close(&m);
}

/* The k-th operation fails, of the image or of the data file, or an allocation. */
static void with_fault(const struct q2f_input *in, const struct q2_io *data,
		       unsigned op, uint32_t k, bool apart)
{
	struct q2_err err = {0};
	enum q2_status st;
	struct medium m;
	bool reached;

	medium_open(&m, in, data);
	if (op == TEST_OPS)
		q2f_heap_watch_zeroed(k);
	else if (apart)
		m.t_data.faults.fail_at[op] = k;
	else
		m.t_image.faults.fail_at[op] = k;
	st = start(&m, 0, &err);
	if (st == Q2_OK) {
		expect(&m);
		st = steps(&m, &err);
	}
	if (st == Q2_OK)
		(void)grow(&m, &err, &st);
	reached = q2f_heap_done();
	if (op < TEST_OPS)
		reached = (apart ? &m.t_data : &m.t_image)->done[op] >= k;
	q2f_fault_reached |= reached;
	if (reached && st == Q2_OK)
		q2f_violation("W-1", "failure %u of kind %u was overlooked", k,
			      op);
	judge_image(&m, Q2_LEAKS);
	medium_close(&m);
}

static void faults(const struct q2f_input *in, const struct q2_io *data)
{
	if (in->ctl.fail_alloc)
		with_fault(in, data, TEST_OPS, in->ctl.fail_alloc, false);
	for (unsigned apart = 0; apart < (data ? 2u : 1u); apart++) {
		if (in->ctl.fail_read)
			with_fault(in, data, TEST_READ, in->ctl.fail_read,
				   apart);
		for (unsigned op = TEST_WRITE;
		     op < TEST_OPS && in->ctl.fail_write; op++)
			with_fault(in, data, op, in->ctl.fail_write, apart);
	}
}

void q2f_medium(const struct q2f_input *in, const struct q2_check_result *result)
{
	struct q2_io *io, *data = NULL;
	struct q2_header h;
	struct q2_header_faults bad;
	struct q2_geom g;

	q2_header_parse(in->image, in->size, &h);
	q2_header_judge(&h, in->size, &bad);
	if (!q2_geom_make(&h, &bad, in->size, &g) || g.disk_size == 0 ||
	    g.disk_size > DISK_MAX || h.backing_offset ||
	    result->verdict != Q2_CLEAN || !(g.crypt || g.data_file))
		return;
	/* The file's own bytes are as good data as any. */
	if (q2_io_memory_rw(in->image, in->size, 0, &io, NULL) != Q2_OK)
		return;
	if (g.data_file)
		data = io;
	if (q2f_faulty(&in->ctl))
		faults(in, data);
	else
		with_steps(in, data);
	q2_io_close(io);
}
