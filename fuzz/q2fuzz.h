/*
 * q2fuzz.h - what the fuzz targets and their drivers share.
 *
 * SPDX-License-Identifier: MIT
 *
 * A target is one function that takes any bytes, works in memory and touches no
 * file.  A plain image is a valid input: what a target is to do besides stands
 * in an optional trailer of 32 bytes, which is taken off before the image is
 * looked at.  A broken promise (an oracle) ends in q2f_violation().
 */
#ifndef Q2FUZZ_H
#define Q2FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "q2.h"

/* ----------------------------------------------------------------- targets */
typedef int q2f_fn(const uint8_t *data, size_t size);

struct q2f_target {
	const char *name;
	q2f_fn *run; /* returns 0; violations do not return */
	const char *what;
};

/* In a fixed order, until name is NULL. */
extern const struct q2f_target q2f_targets[];
const struct q2f_target *q2f_target(const char *name);

q2f_fn q2f_open, q2f_walk, q2f_check, q2f_snapshot, q2f_bitmap, q2f_compressed,
	q2f_repair, q2f_crash_repair, q2f_plan, q2f_map, q2f_chain, q2f_dump,
	q2f_write, q2f_rescue, q2f_report, q2f_keep;

/* ------------------------------------------------------------------- input */
#define Q2F_TRAILER 32u

enum q2f_flag {
	Q2F_DATA = 1 << 0, /* inflate compressed clusters */
	Q2F_FULL = 1 << 1, /* locate every finding */
	Q2F_ALL = 1 << 2,  /* repair: also what is not safe */
	Q2F_RESCUE = 1 << 3, /* repair: search the file for what is lost */
	Q2F_FREE = 1 << 4, /* repair: with Q2F_ALL, free what nothing names */
	Q2F_SECTOR = 1 << 5, /* fail_read is not the k-th read, but each of
			      * sector k, from 1 on */
	Q2F_ASK = 1 << 6, /* repair: not all is wanted, but what `pick` says */
	Q2F_EACH = 1 << 7 /* for the driver: not the k-th operation fails, but one in
			   * each place of the code, told apart by k calls; with
			   * Q2F_ONE_NOT each question is answered with no */
};

/* Of targets that repair, with Q2F_ASK, in `pick`.  By its low byte: 0, all is wanted; 1,
 * nothing; else each problem or not, by its number. */
#define Q2F_BELONGS 256u  /* tables are said to belong somewhere */
#define Q2F_DEVICE 512u	  /* the image lies on a device, */
#define Q2F_ROOM_BITS 12u /* which has so many KiB more */
#define Q2F_ONE_NOT 1024u /* only what is asked for as the low byte says is not wanted */

/* The trailer, big-endian: "Q2CT", version 1, flags, u16 pick, u32 fail_alloc,
 * u32 fail_read, u32 fail_write, u64 hole, u32 stop. */
struct q2f_control {
	unsigned flags;
	unsigned pick;	     /* the target's choice, such as how many writes */
	uint32_t fail_alloc; /* this allocation fails, from 1 on; 0: none */
	uint32_t fail_read;
	uint32_t fail_write;
	uint64_t hole; /* so many zeros follow the image and are not stored */
	uint32_t stop; /* this call of a progress function asks to stop */
};

/* Whether any fault is asked for. */
static inline bool q2f_faulty(const struct q2f_control *c)
{
	return c->fail_alloc || c->fail_read || c->fail_write || c->stop;
}

struct q2f_input {
	const uint8_t *image;
	size_t size;
	struct q2f_control ctl;
};

struct q2f_input q2f_split(const uint8_t *data, size_t size);

/* Writes the trailer's Q2F_TRAILER bytes. */
void q2f_trailer(uint8_t *out, const struct q2f_control *ctl);

/* Replaying, everything is tried with each input.  A fuzzer's executions are short:
 * what costs more than it finds is done with one input of n, chosen by its bytes. */
extern bool q2f_thorough;
bool q2f_sampled(const struct q2f_input *in, unsigned n);

/* zlib's next_in is not const, though nothing is written there. */
uint8_t *q2f_unconst(const uint8_t *p);

/* ----------------------------------------------------------------- oracles */

/* Tells which promise was broken, and how, then aborts. */
void q2f_violation(const char *oracle, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* The same for a promise that is known to be broken here and there: if the driver
 * was told so (q2f_known), it is counted, and true returned.  Otherwise this does
 * not return. */
bool q2f_open_violation(const char *oracle, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
extern const char *q2f_known; /* names of oracles; "" */
extern uint64_t q2f_known_seen;

/* What one execution gives back the next one gets, and not the kernel. */
void q2f_keep_memory(void);

/* What the target is at, if it does several things; "" or " (...)". */
extern const char *q2f_context;

/* Called first by q2f_violation(): the driver tells which input it was. */
extern void (*q2f_on_violation)(const char *oracle);

/* Set when a fault that the trailer asks for did happen. */
extern bool q2f_fault_reached;

/* An operation that the trailer could make fail is asked for: the k-th one of its
 * kind.  See places.h. */
enum q2f_place {
	Q2F_PLACE_IO, /* and the next ones: an enum test_op */
	Q2F_PLACE_ALLOC = 8,
	Q2F_PLACE_STOP,
	Q2F_PLACE_STATE,
	Q2F_PLACE_ASKED
};
void q2f_place(unsigned kind, uint64_t k);
#define Q2F_NEVER 0xffffff00u /* the k of what shall not fail */

/* A progress function that stops at the call that *ctx, an uint32_t, says; 0: never. */
bool q2f_stops(void *ctx, const struct q2_progress *p);

/* Allocations made by this program's own code: the linker sends them here. */
struct q2f_heap {
	uint64_t calls;
	uint64_t blocks; /* not yet freed */
	uint64_t live;	 /* bytes, as the allocator rounds them */
	uint64_t peak;
	uint64_t taken; /* all bytes so far, freed or not */
};
extern struct q2f_heap q2f_heap;

/* Starts to count anew; the `fail`-th allocation from now on fails (0: none). */
void q2f_heap_watch(uint32_t fail);
/* Goes on counting; the `fail`-th allocation of zeroed memory fails: only the
 * library asks for that. */
void q2f_heap_watch_zeroed(uint32_t fail);
/* Zeroed memory for targets: not counted, and never NULL. */
void *q2f_own(size_t size);
void q2f_own_free(void *p);
/* Stops failing; true if the chosen allocation was reached. */
bool q2f_heap_done(void);
/* Violates I-7 if anything is left that was allocated since counting began. */
void q2f_heap_empty(const char *what);
/* Violates D-1 if since then, beside `before` bytes, more was in use than so many
 * stored bytes explain: 64 for each, and read-ahead, windows over records, and what is
 * believed of claims over holes. */
void q2f_heap_judge(const char *what, uint64_t before, uint64_t stored);

/* An image in memory that is only read: counted, faulty if asked for, with a
 * hole behind it.  Violates I-10 if it is read more than its size explains. */
struct q2f_io;
struct q2_io *q2f_io_new(const struct q2f_input *in);
/* True if a read was made to fail. */
bool q2f_io_failed(const struct q2_io *io);
/* Reads so far, and their bytes. */
uint64_t q2f_io_reads(const struct q2_io *io);
uint64_t q2f_io_bytes(const struct q2_io *io);
/* What is stored: the returned number of bytes at *bytes. */
size_t q2f_io_view(const struct q2_io *io, const uint8_t **bytes);

/* ------------------------------------------------------------------- check */

/* What one check said, as far as two checks can be compared. */
struct q2f_said {
	enum q2_status status;
	struct q2_check_result result;
	uint64_t digest; /* of all findings in order */
	uint64_t findings;
	uint64_t corrupt; /* findings of that severity */
	uint64_t advice;
	uint64_t unreadable; /* findings UNREADABLE */
	/* Called for each finding besides; may be NULL. */
	void (*also)(void *ctx, const struct q2_finding *f);
	void *ctx;
	uint32_t stop; /* the call of progress that stops the check; 0: none */
	bool stopped;
	const struct q2_check_keep *keep; /* NULL: no state is kept */
	uint64_t max_memory;		  /* bytes; 0: no limit */
};

/* Checks the image; q2f_said.also, ctx, stop, keep and max_memory are the caller's,
 * the rest is set. */
void q2f_run_check(struct q2_io *io, unsigned flags, struct q2f_said *said);

/* Judges one check by itself (C-1: counts, fields and verdict agree). */
void q2f_judge_check(const struct q2f_said *said);

/* Of what a plan writes; not 0. */
uint64_t q2f_plan_digest(const struct q2_plan *plan);

/* A check of `in` under all oracles; *said may be NULL. */
void q2f_check_input(const struct q2f_input *in, struct q2f_said *said);

#endif
