/*
 * survey.c - what reports of a survey begin with, and how they name owners.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/survey.h"

#include <string.h>

void q2_render_exact(struct q2_buf *out, uint64_t bytes)
{
	static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB"};
	size_t i = 0;

	for (; i < 4 && bytes && bytes % 1024 == 0; i++)
		bytes /= 1024;
	q2_buf_u64(out, bytes);
	q2_buf_text(out, units[i]);
}

static void put_length(struct q2_buf *out, uint64_t bytes)
{
	q2_render_exact(out, bytes);
	if (bytes == 0 || bytes % 1024)
		q2_buf_text(out, " bytes");
}

void q2_survey_put_head(struct q2_json *j, const struct q2_survey *s,
			const char *filename)
{
	const struct q2_check_result *r = q2_survey_result(s);

	q2_json_u64(j, "schema", 1);
	q2_json_text(j, "filename", filename);
	q2_json_u64(j, "file-size", r->file_size);
	q2_json_u64(j, "virtual-size", r->virtual_size);
	q2_json_u64(j, "cluster-size", UINT64_C(1) << r->cluster_bits);
	q2_json_u64(j, "image-end-offset", r->image_end_offset);
	q2_json_text(j, "verdict", q2_verdict_text(r->verdict));
	q2_json_bool(j, "partial", r->partial);
	q2_json_open(j, "problems", '{');
	for (size_t i = 0; q2_problem_at(i); i++)
		if (q2_survey_found(s, i) &&
		    q2_problem_at(i)->severity != Q2_ADVICE)
			q2_json_u64(j, q2_problem_at(i)->id,
				    q2_survey_found(s, i));
	q2_json_close(j, '{');
}

void q2_survey_put_title(struct q2_buf *out, const struct q2_survey *s,
			 const char *filename)
{
	const struct q2_check_result *r = q2_survey_result(s);
	const char *before = "  ";

	q2_buf_escape(out, filename, strlen(filename));
	q2_buf_text(out, ": ");
	put_length(out, r->file_size);
	q2_buf_text(out, ", for a disk of ");
	put_length(out, r->virtual_size);
	q2_buf_text(out, ", clusters of ");
	put_length(out, UINT64_C(1) << r->cluster_bits);
	q2_buf_char(out, '\n');
	if (r->verdict != Q2_CORRUPTED && !r->partial)
		return;
	q2_buf_text(out, "It is damaged; qcow2-fsck tells more:");
	for (size_t i = 0; q2_problem_at(i); i++) {
		if (!q2_survey_found(s, i) ||
		    q2_problem_at(i)->severity != Q2_CORRUPT)
			continue;
		q2_buf_format(out, "%s%s", before, q2_problem_at(i)->id);
		before = ", ";
	}
	q2_buf_text(out, r->partial ? "\nNot everything could be followed: "
				      "what follows is incomplete.\n" : "\n");
}

static bool find(const struct q2_survey *s, uint32_t index,
		 struct q2_snapshot_info *out)
{
	for (size_t i = 0; q2_survey_snapshot(s, i, out); i++)
		if (out->index == index)
			return true;
	return false;
}

void q2_survey_put_name(struct q2_buf *out, const struct q2_survey *s,
			uint32_t index)
{
	struct q2_snapshot_info info;

	if (!find(s, index, &info)) {
		q2_buf_format(out, "record %u", (unsigned)index);
		return;
	}
	q2_buf_escape(out, info.id, strlen(info.id));
	if (info.name[0] == '\0')
		return;
	q2_buf_text(out, " (");
	q2_buf_escape(out, info.name, strlen(info.name));
	q2_buf_char(out, ')');
}

void q2_survey_put_owner(struct q2_json *j, const struct q2_survey *s,
			 bool active, uint32_t snapshot)
{
	struct q2_snapshot_info info;

	q2_json_bool(j, "active", active);
	if (snapshot == Q2_NO_SNAPSHOT)
		return;
	if (snapshot == Q2_SEVERAL_SNAPSHOTS)
		q2_json_bool(j, "several-snapshots", true);
	else if (find(s, snapshot, &info))
		q2_json_text(j, "snapshot", info.id);
	else
		q2_json_u64(j, "snapshot-record", snapshot);
}

void q2_survey_put_whose(struct q2_buf *out, const struct q2_survey *s,
			 bool active, uint32_t snapshot)
{
	if (active)
		q2_buf_text(out, "active");
	if (snapshot == Q2_NO_SNAPSHOT) {
		q2_buf_text(out, active ? "" : "-");
		return;
	}
	q2_buf_text(out, active ? ", " : "");
	if (snapshot == Q2_SEVERAL_SNAPSHOTS) {
		q2_buf_text(out, "snapshots");
		return;
	}
	q2_buf_text(out, "snapshot ");
	q2_survey_put_name(out, s, snapshot);
}
