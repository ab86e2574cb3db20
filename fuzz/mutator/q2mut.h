/*
 * q2mut.h - a mutator and generator of QCOW2 images, for any fuzzer.
 *
 * SPDX-License-Identifier: MIT
 *
 * Needs no header of a fuzzer and no other library.  Everything is a function
 * of its arguments: the same bytes and seed give the same image, on any machine.
 * Buffers are the caller's; one thread at a time.
 */
#ifndef Q2MUT_H
#define Q2MUT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is aimed at; 0 is everything. */
enum q2mut_profile {
	Q2MUT_ANY = 0,
	Q2MUT_SNAPSHOTS = 1,
	Q2MUT_BITMAPS = 2,
	Q2MUT_COMPRESSED = 3,
	Q2MUT_REFCOUNTS = 4,
	Q2MUT_HEADER = 5,
	Q2MUT_SOUND = 6 /* generate only: no damage at all */
};

/* No image that generate() makes is longer; most have 3 to 30 KiB. */
#define Q2MUT_MAX 131072u

/* Changes buf[0..n) in place, which may grow up to `cap` bytes; returns the new
 * length. */
size_t q2mut_mutate(uint8_t *buf, size_t n, size_t cap, uint64_t seed,
		    uint32_t profile);

/* The same with a second image, from which clusters may be taken. */
size_t q2mut_splice(uint8_t *buf, size_t n, size_t cap, const uint8_t *other,
		    size_t n_other, uint64_t seed, uint32_t profile);

/* Writes image number `seed`: built sound, then damaged.  cap >= Q2MUT_MAX. */
size_t q2mut_generate(uint8_t *buf, size_t cap, uint64_t seed,
		      uint32_t profile);

/* What the last call did, such as "l2@2688=outside relocate-l1 fix"; static
 * storage. */
const char *q2mut_last(void);

/* Trimming by field: candidate number `step` of an image, 0 <= step < steps,
 * made from `in` to `out` (cap >= n); returns its length, 0 if this step changes
 * nothing. */
unsigned q2mut_trim_steps(size_t n);
size_t q2mut_trim(const uint8_t *in, size_t n, uint8_t *out, size_t cap,
		  unsigned step);

#ifdef __cplusplus
}
#endif
#endif
