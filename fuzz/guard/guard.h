/*
 * guard.h - what q2guard and q2gen share: a command, all that it starts, and what
 * that does to files.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GUARD_H
#define GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- look.c: an image, before and after ------------------------------------------ */

struct guard_state {
	uint64_t hash; /* of what is not zero */
	int64_t size;  /* -1: no regular file, or not to be read */
};

struct guard_state guard_look(const char *path);

/* Bytes that the files in a folder take. */
uint64_t guard_folder(const char *path);

/* Removes all that is in a folder, whatever its modes. */
void guard_folder_empty(const char *path);

/* `command` with each @@ as `image`, quoted where a shell needs it; false if there is
 * no @@, or no room. */
bool guard_expand(char *out, size_t room, const char *command,
		  const char *image);

/* --- tree.c: the processes below this one ---------------------------------------- */

/* What a command starts stays below this process, whatever it does about groups and
 * sessions. */
void guard_tree_adopt(void);

struct guard_use {
	uint64_t kb;	/* resident, shared pages divided among those who share */
	unsigned count; /* processes */
	uint64_t nameless; /* bytes of open files without a name */
};

/* `most`: kilobytes from which on it is worth while to look closely. */
struct guard_use guard_tree_use(uint64_t most);

/* Is there any?  Waits for those that have ended. */
bool guard_tree_any(void);

/* Ends them all, and waits for them; returns how many there were. */
unsigned guard_tree_end(void);

/* --- watch.c: files that are opened and changed ----------------------------------- */

struct guard_seen {
	bool canary;	/* a file that only the image names was opened */
	bool elsewhere; /* something outside of the folder would have been changed */
	unsigned forks; /* processes and threads that began */
	char where[512]; /* the first of these names */
};

/* In the child, as the last thing before the command starts: sends what watches it
 * over `sock`, or nothing if the system has no such thing. */
bool guard_watch_child(int sock);

/* In the parent: the descriptor, or -1. */
int guard_watch_from(int sock);

/* One call of the command, which waits for an answer.  It may change what is in
 * `folders`, n of them, as realpath() has them. */
void guard_watch_answer(int fd, const char *const *folders, size_t n,
			struct guard_seen *seen);

#endif
