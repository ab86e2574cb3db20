/*
 * stored.c - plans in files.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "base/err.h"
#include "io/io.h"
#include "repair/planfile.h"

enum q2_status q2_plan_save(const struct q2_plan *plan, const char *path,
			    enum q2_plan_kind kind, bool replace,
			    struct q2_err *err)
{
	return q2_pf_save(plan, path, kind, replace, 0, err);
}

enum q2_status q2_pf_save(const struct q2_plan *plan, const char *path,
			  enum q2_plan_kind kind, bool replace, uint64_t before,
			  struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_create(path, &io, err);

	if (st != Q2_OK)
		return st;
	st = q2_pf_write(plan, kind, before, io, err);
	if (st == Q2_OK)
		st = q2_io_publish(io, replace, err);
	q2_io_close(io);
	return st;
}

enum q2_status q2_plan_load(const char *path, uint64_t max_memory,
			    struct q2_plan **plan, struct q2_plan_info *info,
			    struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open(path, &io, err);

	*plan = NULL;
	if (st != Q2_OK)
		return st;
	st = q2_pf_read(io, max_memory, plan, info, err);
	q2_io_close(io);
	return st;
}

enum q2_status q2_journal_peek(const char *path, struct q2_plan_info *info,
			       struct q2_err *err)
{
	uint8_t h[Q2_PF_HEADER];
	uint64_t length, digest;
	struct q2_io *io;
	unsigned used;
	enum q2_status st = q2_io_open(path, &io, err);

	*info = (struct q2_plan_info){.kind = Q2_PLAN_REVIEW};
	if (st != Q2_OK)
		return st;
	st = q2_pf_header(io, h, err);
	if (st == Q2_OK && q2_be32(h + Q2_PF_H_KIND) != Q2_PLAN_JOURNAL)
		st = q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			     "not a journal");
	info->kind = Q2_PLAN_JOURNAL;
	if (st == Q2_OK)
		st = q2_pf_digest(io, &length, &digest, err);
	if (st == Q2_OK)
		st = q2_pf_read_states(io, length, digest, info, &used, err);
	q2_io_close(io);
	return st;
}
