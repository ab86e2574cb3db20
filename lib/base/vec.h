/*
 * vec.h - a growable array of one type under a budget.
 *
 * SPDX-License-Identifier: MIT
 *
 * Q2_VEC(name, type) declares struct name {type *at; size_t n, room;} and the
 * functions name_push() and name_free().
 */
#ifndef Q2_BASE_VEC_H
#define Q2_BASE_VEC_H

#include <stdlib.h>

#include "base/budget.h"

/* qsort() that takes the NULL of an empty vector, and leaves alone what is in order,
 * as most is that is gathered from tables. */
static inline void q2_sort(void *at, size_t n, size_t size,
			   int (*compare)(const void *, const void *))
{
	const char *item = at;
	size_t i = 1;

	while (i < n && compare(item + (i - 1) * size, item + i * size) <= 0)
		i++;
	if (i < n)
		qsort(at, n, size, compare);
}

/* Room for more than `room` items.  Where coverage is measured there is hardly any to
 * spare: then each place that adds to a list is one where memory can lack, and the
 * tests let it. */
static inline size_t q2_more_room(size_t room)
{
#ifdef Q2_COVERAGE
	return room + 1 + (room & 1);
#else
	return room + room / 2 + 8;
#endif
}

#define Q2_VEC(name, type)                                                     \
	struct name {                                                          \
		type *at;                                                      \
		size_t n;                                                      \
		size_t room;                                                   \
	};                                                                     \
	static inline enum q2_status name##_push(                              \
		struct name *v, struct q2_budget *b, type item,                \
		struct q2_err *err)                                            \
	{                                                                      \
		if (v->at == NULL || v->n == v->room) {                        \
			size_t room = q2_more_room(v->room);                   \
			void *block = v->at;                                   \
			enum q2_status st =                                    \
				q2_regrow(b, v->room * sizeof(type),           \
					  room * sizeof(type), &block, err);   \
			if (st != Q2_OK)                                       \
				return st;                                     \
			v->at = block;                                         \
			v->room = room;                                        \
		}                                                              \
		v->at[v->n++] = item;                                          \
		return Q2_OK;                                                  \
	}                                                                      \
	static inline void name##_free(struct name *v, struct q2_budget *b)    \
	{                                                                      \
		q2_put(b, v->at, v->room * sizeof(type));                      \
		v->at = NULL;                                                  \
		v->n = v->room = 0;                                            \
	}

#endif
