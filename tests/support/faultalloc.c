/*
 * faultalloc.c - a library to preload: a chosen allocation fails.
 *
 * SPDX-License-Identifier: MIT
 *
 * FAULT_ALLOC  number of the allocation that returns NULL, counted from 1; 0: none
 * FAULT_COUNT  a file in which the number of allocations is written at exit
 *
 * Allocations of other libraries while the program starts count, too; those after its
 * end do not: what counts the lines that ran needs them.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

/* What the C library calls its own. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t n);
void __cxa_finalize(void *object);

static unsigned long count;
static int ended;

static int fails(void)
{
	static unsigned long wanted;

	if (ended)
		return 0;
	if (count == 0) {
		const char *text = getenv("FAULT_ALLOC");

		wanted = text ? strtoul(text, NULL, 10) : 0;
	}
	return ++count == wanted;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
	return fails() ? NULL : __libc_realloc(old, n);
}

/* Each object calls this when its handlers have run: the program does so before what
 * counts its lines writes that down. */
void __cxa_finalize(void *object)
{
	void (*next)(void *) = NULL;
	Dl_info of, program;

	if (dladdr(object, &of) &&
	    dladdr((const void *)getauxval(AT_ENTRY), &program) &&
	    of.dli_fbase == program.dli_fbase)
		ended = 1;
	*(void **)&next = dlsym(RTLD_NEXT, "__cxa_finalize");
	if (next)
		next(object);
}

__attribute__((destructor)) static void tell(void)
{
	const char *name = getenv("FAULT_COUNT");
	unsigned long n = count;
	FILE *f = name ? fopen(name, "w") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%lu\n", n);
	fclose(f);
}
