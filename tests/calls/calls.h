/*
 * calls.h - what the scenes of q2calls have in common.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>
#include <stddef.h>

#include "failcall.h"
#include "q2.h"

enum scene_flag {
	/* What cannot be looked at is told in the result; only lack of memory
	 * makes it fail, or leaves it as it was. */
	SCENE_TOLERANT = 1 << 0,
	SCENE_FEW = 1 << 1, /* each run takes long: not each call fails */
	SCENE_ONCE = 1 << 3, /* no call fails */
	SCENE_ENDS = 1 << 2 /* what ends early cannot be told from its end */
};

/* Some work of the library, on files of the folder "work". */
struct scene {
	const char *name;
	void (*set_up)(void);
	enum q2_status (*run)(struct q2_err *err);
	/* Whether all is as it has to be after success, or after failure. */
	bool (*right)(bool done);
	unsigned flags; /* enum scene_flag */
};

extern const struct scene dump_scenes[], place_scenes[], map_scenes[],
	io_scenes[], cli_scenes[], sandbox_scenes[], nbd_scenes[],
	device_scenes[], lock_scenes[], bound_scenes[], refuse_scenes[],
	repair_scenes[];

/* Somebody else has a file locked: what is there is his. */
extern bool in_use;

/* Some call for a lock says that there are none here. */
extern bool lockless;

/* Whether the scene's result is what it was when nothing failed: these bytes are
 * compared with those of the first run. */
void result_clear(void);
void result_add(const void *bytes, size_t n);
/* A sink that adds to it, and that can fail. */
extern const struct q2_sink to_result;

/* Files; these do not fail, or end the program. */
void copy_file(const char *from, const char *to);
bool same_file(const char *a, const char *b);
bool is_there(const char *path);
/* The names in the folder "work", sorted, each with a blank behind it. */
const char *names_at_work(void);
/* What the guest of this image reads, as a digest. */
struct q2_digest guest_of(const char *path);
bool same_guest(const char *path, const struct q2_digest *is);
/* Whether a check says that it is clean; or that it only has leaks. */
bool is_clean(const char *path);
bool is_usable(const char *path);

/* Removes all that is in "work". */
void empty_work(void);
/* For reading; it does not fail. */
struct q2_guest *open_guest(const char *path);

void die(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

#endif
