/*
 * crew.c - a ring of slots and the threads that work on them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/crew.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>

static void *run(void *arg)
{
	struct q2_crew *c = arg;
	unsigned me;

	pthread_mutex_lock(&c->lock);
	me = c->next_thread++;
	for (;;) {
		size_t slot;
		bool wake;

		while (!c->stop && c->taken == c->submitted) {
			c->idle++;
			pthread_cond_wait(&c->wanted, &c->lock);
			c->idle--;
		}
		if (c->stop)
			break;
		slot = c->taken++ % c->n_slots;
		pthread_mutex_unlock(&c->lock);
		c->work(c->ctx, me, slot);
		pthread_mutex_lock(&c->lock);
		c->finished[slot] = true;
		wake = c->awaited == slot;
		if (!wake)
			continue;
		pthread_mutex_unlock(&c->lock);
		pthread_cond_signal(&c->done);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void q2_crew_start(struct q2_crew *c, unsigned threads, size_t slots,
		   void (*work)(void *ctx, unsigned thread, size_t slot),
		   void *ctx)
{
	sigset_t all, before;

	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wanted, NULL);
	pthread_cond_init(&c->done, NULL);
	c->n_slots = slots;
	c->awaited = SIZE_MAX;
	c->work = work;
	c->ctx = ctx;
	/* Signals are for the thread that asks for progress. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (c->n_threads < threads && c->n_threads < Q2_CREW_MAX &&
	       pthread_create(&c->threads[c->n_threads], NULL, run, c) == 0)
		c->n_threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool q2_crew_slot(const struct q2_crew *c, size_t *slot)
{
	*slot = c->submitted % c->n_slots;
	return c->submitted - c->retired < c->n_slots;
}

void q2_crew_submit(struct q2_crew *c)
{
	size_t slot = c->submitted % c->n_slots;
	bool wake;

	if (c->n_threads == 0) {
		c->work(c->ctx, 0, slot);
		c->finished[slot] = true;
		c->submitted++;
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->finished[slot] = false;
	c->submitted++;
	wake = c->idle > 0;
	pthread_mutex_unlock(&c->lock);
	if (wake)
		pthread_cond_signal(&c->wanted);
}

/* Waits for one slot, under the lock. */
static void await(struct q2_crew *c, size_t slot)
{
	c->awaited = slot;
	while (!c->finished[slot])
		pthread_cond_wait(&c->done, &c->lock);
	c->awaited = SIZE_MAX;
}

bool q2_crew_oldest(struct q2_crew *c, size_t *slot)
{
	size_t held = c->submitted - c->retired;

	if (held == 0)
		return false;
	*slot = c->retired % c->n_slots;
	if (c->n_threads == 0)
		return true;
	pthread_mutex_lock(&c->lock);
	/* To be woken for each slot would cost more than some slots do: sleep
	 * until half of them can be retired. */
	if (!c->finished[*slot]) {
		await(c, (c->retired + held / 2) % c->n_slots);
		await(c, *slot);
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

void q2_crew_retire(struct q2_crew *c)
{
	c->finished[c->retired % c->n_slots] = false;
	c->retired++;
}

void q2_crew_stop(struct q2_crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->wanted);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->n_threads; i++)
		pthread_join(c->threads[i], NULL);
	pthread_cond_destroy(&c->done);
	pthread_cond_destroy(&c->wanted);
	pthread_mutex_destroy(&c->lock);
}
