/*
 * crew.h - threads that work on slots of a ring, which are retired in order.
 *
 * SPDX-License-Identifier: MIT
 *
 * One thread, the caller's, fills slots and retires them; the others work.  All
 * memory belongs to the caller.
 */
#ifndef Q2_DUMP_CREW_H
#define Q2_DUMP_CREW_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define Q2_CREW_MAX 8u
#define Q2_CREW_SLOTS 32u

struct q2_crew {
	pthread_mutex_t lock;
	pthread_cond_t wanted; /* there is something to do, or nothing more */
	pthread_cond_t done;
	pthread_t threads[Q2_CREW_MAX];
	unsigned n_threads;
	size_t n_slots;
	/* Counts since the start; a slot is a count modulo n_slots. */
	size_t submitted;
	size_t taken;
	size_t retired;
	bool finished[Q2_CREW_SLOTS];
	size_t awaited; /* a slot that the caller sleeps for; SIZE_MAX: none */
	unsigned idle;	/* threads that sleep */
	bool stop;
	unsigned next_thread;
	/* Works on a slot; `thread` is below the number of threads asked for. */
	void (*work)(void *ctx, unsigned thread, size_t slot);
	void *ctx;
};

/* Starts up to `threads` threads; where there are none to be had, work is done
 * while submitting. */
void q2_crew_start(struct q2_crew *c, unsigned threads, size_t slots,
		   void (*work)(void *ctx, unsigned thread, size_t slot),
		   void *ctx);

/* Whether a slot is free, and which one comes next. */
bool q2_crew_slot(const struct q2_crew *c, size_t *slot);
void q2_crew_submit(struct q2_crew *c);

/* The slot that was submitted first, when it is done; false if there is none. */
bool q2_crew_oldest(struct q2_crew *c, size_t *slot);
void q2_crew_retire(struct q2_crew *c);

/* Ends the threads; slots that nobody works on yet are dropped. */
void q2_crew_stop(struct q2_crew *c);

#endif
