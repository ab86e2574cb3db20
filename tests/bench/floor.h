/*
 * floor.h - the parts of the floor program.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FLOOR_H
#define FLOOR_H

#include <stddef.h>
#include <stdint.h>

/* Says what failed, and ends. */
_Noreturn void die(const char *what);

/* Reads all of them; what lies behind the end of the file is zeros. */
void read_at(int fd, uint8_t *buf, size_t len, uint64_t off);

/* Copies a file, without what is zeros. */
void copy_bytes(const char *from, const char *to);

/* Prints the XXH3-128 digest of a file. */
void hash_bytes(const char *path);

#endif
