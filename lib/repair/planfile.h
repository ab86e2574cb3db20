/*
 * planfile.h - a plan as bytes.
 *
 * SPDX-License-Identifier: MIT
 *
 * All integers are big-endian.
 *
 *   header    96 bytes: see enum q2_pf_header; checksum over what precedes it
 *   records   each u32 type, u32 length, u64 checksum, then `length` bytes:
 *             one for each action, one for each edit, one for each range to be
 *             saved before, an end record whose payload is the digest of all
 *             checksums so far
 *
 * A record's checksum starts from its type, length and number, so that records
 * cannot be exchanged.  A journal goes on: zeros up to a multiple of 512, then
 * SLOTS sectors, each of zeros or with a state.  Space for states is there from
 * the start, and a state is written in one sector, because it has to be written
 * when a disk may be full, and must be there whole or not at all.
 */
#ifndef Q2_REPAIR_PLANFILE_H
#define Q2_REPAIR_PLANFILE_H

#include "repair/plan.h"

#define Q2_PF_MAGIC "\211Q2PLAN\n"
#define Q2_PF_VERSION 1
#define Q2_PF_SLOTS 16
#define Q2_PF_SLOT 512

enum q2_pf_header { /* offsets */
	Q2_PF_H_MAGIC = 0,
	Q2_PF_H_VERSION = 8,
	Q2_PF_H_KIND = 12,
	Q2_PF_H_FLAGS = 16, /* bit 0: for a device */
	Q2_PF_H_OLD_SIZE = 24, /* at 20: zeros */
	Q2_PF_H_NEW_SIZE = 32,
	Q2_PF_H_IDENTITY = 40,
	Q2_PF_H_ACTIONS = 48,
	Q2_PF_H_EDITS = 56,
	Q2_PF_H_LENGTH = 64, /* of header and records */
	Q2_PF_H_TIME = 72, /* when the image was last changed */
	Q2_PF_H_EXPORTS = 80,
	Q2_PF_H_CHECKSUM = 88,
	Q2_PF_HEADER = 96
};

enum q2_pf_record { Q2_PF_ACTION = 1, Q2_PF_EDIT, Q2_PF_END, Q2_PF_EXPORT };

enum {
	Q2_PF_RECORD = 16, /* bytes before a record's payload */
	Q2_PF_FINDING = 112, /* fixed part of an action, before its two texts */
	Q2_PF_WRITE = 32,    /* fixed part of an edit, before its bytes */
	Q2_PF_RANGE = 24,    /* of an export: offset, length, 1 for a table */
};

/* Bits in an edit's flags: these bytes are all zeros, and left out. */
enum { Q2_PF_ZERO_BEFORE = 1, Q2_PF_ZERO_AFTER = 2 };
/* No longer run than this is left out, so that what a file can make us handle
 * stays in proportion to it. */
#define Q2_PF_ZERO_MAX (UINT32_C(2) << 20)

/* Where the checksum of a record begins, and how its pieces go on. */
uint64_t q2_pf_begin(uint32_t type, uint32_t length, uint64_t number);

/* Where the state slots begin. */
uint64_t q2_pf_slots(uint64_t length);

struct q2_io;
/* `before`: the time that a journal's image has before it is applied, or 0. */
enum q2_status q2_pf_write(const struct q2_plan *plan, enum q2_plan_kind kind,
			   uint64_t before, struct q2_io *io,
			   struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_pf_read(struct q2_io *io, uint64_t max_memory,
			  struct q2_plan **plan, struct q2_plan_info *info,
			  struct q2_err *err) Q2_MUST_CHECK;

/* Reads and judges the header alone; `h` has room for Q2_PF_HEADER bytes. */
enum q2_status q2_pf_header(struct q2_io *io, uint8_t *h,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Adds a state to a journal, of which `io` holds all, and makes it durable. */
enum q2_status q2_pf_add_state(struct q2_io *io, enum q2_plan_state state,
			       uint64_t changed, bool discarded,
			       struct q2_err *err) Q2_MUST_CHECK;

/* The slots of a journal whose records end at `length`, the digest of which is
 * `digest`; fills in the state.  *used: how many are taken. */
enum q2_status q2_pf_read_states(struct q2_io *io, uint64_t length,
				 uint64_t digest, struct q2_plan_info *info,
				 unsigned *used,
				 struct q2_err *err) Q2_MUST_CHECK;

/* The same as a file: appears complete and durable, or not at all. */
enum q2_status q2_pf_save(const struct q2_plan *plan, const char *path,
			  enum q2_plan_kind kind, bool replace, uint64_t before,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The end record's digest, from a file that was read before. */
enum q2_status q2_pf_digest(struct q2_io *io, uint64_t *length, uint64_t *digest,
			    struct q2_err *err) Q2_MUST_CHECK;

#endif
