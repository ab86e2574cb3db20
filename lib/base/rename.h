/*
 * rename.h - renaming that replaces nothing.
 *
 * SPDX-License-Identifier: MIT
 *
 * Not every C library has a function for the system call.
 */
#ifndef Q2_BASE_RENAME_H
#define Q2_BASE_RENAME_H

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/fs.h>

/* As rename(), with RENAME_NOREPLACE or 0.  Some file systems cannot do it: EINVAL. */
static inline int q2_rename(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

#endif
