/*
 * dump.h - one dump on its way.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_DUMP_H
#define Q2_DUMP_DUMP_H

#include "dump/journal.h"
#include "dump/newimage.h"
#include "dump/pass.h"
#include "io/target.h"

/* What the new image has come to. */
struct q2_dump_sums {
	uint64_t length; /* of the file, in bytes */
	uint64_t plain;	 /* clusters */
	uint64_t stream_bytes;
	size_t job; /* bytes of the disk that are looked at together */
};

struct q2_dump_run {
	struct q2_guest *guest;
	const char *path;
	const struct q2_dump_opts *opts;
	struct q2_dump_result *result;
	struct q2_target *target; /* NULL: nothing is written; QCOW2 only */
	uint64_t start;
	uint64_t length;
	bool partial; /* the scan does not see the whole disk */
	unsigned percent; /* of the disk that is looked at; 0: all */
	struct q2_dump_sums sums; /* QCOW2 */
	/* Of what is being written, until it has its name; NULL for none. */
	struct q2_journal *journal;
};

/* Creation options with the defaults filled in, of an image without a backing
 * file. */
struct q2_newimage_opts q2_dump_image(const struct q2_dump_opts *o,
				      uint64_t size);

/* Sets what is common to both formats. */
struct q2_pass q2_dump_scan(const struct q2_dump_run *d);

/* Takes over what the scan has learnt. */
void q2_dump_learn(struct q2_dump_run *d, const struct q2_pass *s);

enum q2_status q2_dump_raw(struct q2_dump_run *d,
			   struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_dump_qcow2(struct q2_dump_run *d,
			     struct q2_err *err) Q2_MUST_CHECK;

/* With Q2_DUMP_VERIFY: reads the result again, from the disk, and compares
 * digests and bitmaps; of a QCOW2 image all tables are checked, too. */
enum q2_status q2_dump_verify(struct q2_dump_run *d,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Whether these options make sense, by themselves and with this guest. */
enum q2_status q2_dump_judge(struct q2_dump_run *d,
			     struct q2_err *err) Q2_MUST_CHECK;

#endif
