/*
 * places.h - the places of the code where something can fail.
 *
 * SPDX-License-Identifier: MIT
 *
 * Of a thousand allocations of one run most come from the same few places.  A place is
 * an operation with the calls that led to it; where one failed before, in whichever
 * run, it need not fail again.
 */
#ifndef Q2F_PLACES_H
#define Q2F_PLACES_H

#include <stddef.h>
#include <stdint.h>

#define Q2F_DEPTH_MAX 64u

/* From now on operations that are asked for are noted: of each place that is a new
 * one, told apart by so many calls, which operation of its kind it is. */
void q2f_places_begin(unsigned depth);

/* As if nothing had failed anywhere. */
void q2f_places_forget(void);

/* *k: the operations noted, which stay until the next begin, rising. */
size_t q2f_places_end(const uint32_t **k);

#endif
