/* q2mk_util.c: failure with a place, memory kept until exit, buffers, hashing, data patterns. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *file;
    unsigned line;
} where;

void where_set(const char *file, unsigned line)
{
    where.file = file;
    where.line = line;
}

_Noreturn void fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fputs("q2mk: ", stderr);
    if (where.file)
        fprintf(stderr, "%s:%u: ", where.file, where.line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

/* Everything grabbed hangs on one list, so that a leak checker sees it as still in use. */
struct grabbed {
    struct grabbed *next;
    max_align_t align;
};
static struct grabbed *all_grabbed;

void *grab(size_t n)
{
    struct grabbed *g = calloc(1, sizeof(*g) + n);

    if (!g)
        fail("out of memory");
    g->next = all_grabbed;
    all_grabbed = g;
    return g + 1;
}

void *grab_more(void *old, size_t have, size_t want)
{
    void *p = grab(want);

    if (have)
        memcpy(p, old, have);
    return p;
}

char *grab_text(const char *s, size_t n)
{
    char *t = grab(n + 1);

    memcpy(t, s, n);
    return t;
}

void *scratch(size_t n)
{
    void *p = malloc(n ? n : 1);

    if (!p)
        fail("out of memory");
    return p;
}

uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t div_up(uint64_t v, uint64_t unit)
{
    return v / unit + (v % unit != 0);
}

uint64_t round_up(uint64_t v, uint64_t unit)
{
    return div_up(v, unit) * unit;
}

void buf_mem(struct buf *b, const void *p, size_t n)
{
    if (b->len + n > b->cap) {
        size_t cap = 2 * (b->len + n) + 64;

        b->mem = grab_more(b->mem, b->len, cap);
        b->cap = cap;
    }
    if (n)
        memcpy(b->mem + b->len, p, n);
    b->len += n;
}

void buf_int(struct buf *b, unsigned bytes, uint64_t v)
{
    while (bytes--) {
        unsigned char c = (unsigned char)(v >> (8 * bytes));

        buf_mem(b, &c, 1);
    }
}

void buf_pad(struct buf *b, size_t unit)
{
    while (b->len % unit)
        buf_mem(b, "", 1);
}

/* One eight-byte slot of a pattern; slots depend on nothing but the seed and the position. */
static void pat_slot(const struct pattern *p, uint64_t slot, unsigned char out[8])
{
    static const char words[16][9] = {"cluster ", "offset  ", "table   ", "header  ",
                                      "backing ", "snapshot", "bitmap  ", "refcount",
                                      "guest   ", "host    ", "extent  ", "length  ",
                                      "copied  ", "zero    ", "leaked  ", "journal "};
    uint64_t w = mix64(mix64(p->arg) + slot * 0x9e3779b97f4a7c15u);
    unsigned i;

    if (p->kind == PAT_TEXT) {
        memcpy(out, words[w & 15], 8);
        return;
    }
    for (i = 0; i < 8; i++) {
        out[i] = (unsigned char)(w >> (8 * i));
        if (p->kind == PAT_HALF)
            out[i] = (unsigned char)('a' + (out[i] & 15));
    }
}

void pat_fill(const struct pattern *p, uint64_t pos, unsigned char *to, size_t n)
{
    unsigned char slot[8];
    size_t i;

    if (p->kind == PAT_BYTE) {
        memset(to, (int)(p->arg & 255), n);
        return;
    }
    for (i = 0; i < n; i++) {
        if (i == 0 || (pos + i) % 8 == 0)
            pat_slot(p, (pos + i) / 8, slot);
        to[i] = slot[(pos + i) % 8];
    }
}

void pat_store(const struct pattern *p, struct store *s, uint64_t off, uint64_t n)
{
    unsigned char chunk[4096];

    while (n) {
        size_t part = n < sizeof(chunk) ? (size_t)n : sizeof(chunk);

        pat_fill(p, off, chunk, part);
        st_write(s, off, chunk, part);
        off += part;
        n -= part;
    }
}
