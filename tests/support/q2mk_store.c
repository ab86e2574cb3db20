/* q2mk_store.c: a sparse array of bytes; the memory of every file and table under construction. */
/* SPDX-License-Identifier: MIT */
#define _FILE_OFFSET_BITS 64 /* on 32-bit machines, too */
#include "q2mk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u

struct page { /* a slot of an open-addressed hash table; free if mem is NULL */
    uint64_t key;
    unsigned char *mem;
};

static struct page *slot_of(const struct store *s, uint64_t key)
{
    size_t i = (size_t)mix64(key) & (s->cap - 1);

    while (s->tab[i].mem && s->tab[i].key != key)
        i = (i + 1) & (s->cap - 1);
    return &s->tab[i];
}

static unsigned char *page_find(const struct store *s, uint64_t key)
{
    return s->cap ? slot_of(s, key)->mem : NULL;
}

static void grow(struct store *s)
{
    struct store bigger = {NULL, s->cap ? 2 * s->cap : 64, s->used, s->len};
    size_t i;

    bigger.tab = calloc(bigger.cap, sizeof(*bigger.tab));
    if (!bigger.tab)
        fail("out of memory");
    for (i = 0; i < s->cap; i++)
        if (s->tab[i].mem)
            *slot_of(&bigger, s->tab[i].key) = s->tab[i];
    free(s->tab);
    *s = bigger;
}

static unsigned char *page_make(struct store *s, uint64_t key)
{
    struct page *p;

    if (s->used * 10 >= s->cap * 7)
        grow(s);
    p = slot_of(s, key);
    if (!p->mem) {
        p->key = key;
        p->mem = grab(PAGE);
        s->used++;
    }
    return p->mem;
}

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static size_t part_of(uint64_t off, uint64_t n)
{
    size_t room = PAGE - (size_t)(off % PAGE);

    return n < room ? (size_t)n : room;
}

void st_read(const struct store *s, uint64_t off, void *to, size_t n)
{
    unsigned char *out = to;

    while (n) {
        size_t part = part_of(off, n);
        const unsigned char *p = page_find(s, off / PAGE);

        if (p)
            memcpy(out, p + off % PAGE, part);
        else
            memset(out, 0, part);
        out += part;
        off += part;
        n -= part;
    }
}

void st_write(struct store *s, uint64_t off, const void *from, size_t n)
{
    const unsigned char *in = from;

    if (off > INT64_MAX || n > INT64_MAX - off)
        fail("offset %llu is too large", (unsigned long long)off);
    if (off + n > s->len)
        s->len = off + n;
    while (n) {
        size_t part = part_of(off, n);
        unsigned char *p = page_find(s, off / PAGE);

        if (!p && !all_zero(in, part))
            p = page_make(s, off / PAGE);
        if (p)
            memcpy(p + off % PAGE, in, part);
        in += part;
        off += part;
        n -= part;
    }
}

/* Walks the range, or the pages if there are fewer of them. */
void st_zero(struct store *s, uint64_t off, uint64_t n)
{
    uint64_t end = n > UINT64_MAX - off ? UINT64_MAX : off + n;
    size_t i;

    for (i = 0; n / PAGE > s->cap && i < s->cap; i++) {
        uint64_t at = s->tab[i].key * PAGE;
        uint64_t lo = at > off ? at : off, hi = at + PAGE < end ? at + PAGE : end;

        if (s->tab[i].mem && lo < hi)
            memset(s->tab[i].mem + (lo - at), 0, (size_t)(hi - lo));
    }
    while (n / PAGE <= s->cap && off < end) {
        size_t part = part_of(off, end - off);
        unsigned char *p = page_find(s, off / PAGE);

        if (p)
            memset(p + off % PAGE, 0, part);
        off += part;
    }
}

void st_copy(struct store *to, const struct store *from, uint64_t off, uint64_t n)
{
    unsigned char chunk[PAGE];

    while (n) {
        size_t part = part_of(off, n);

        st_read(from, off, chunk, part);
        st_write(to, off, chunk, part);
        off += part;
        n -= part;
    }
}

uint64_t st_get(const struct store *s, uint64_t off, unsigned bytes)
{
    unsigned char raw[8];
    uint64_t v = 0;
    unsigned i;

    st_read(s, off, raw, bytes);
    for (i = 0; i < bytes; i++)
        v = v << 8 | raw[i];
    return v;
}

void st_put(struct store *s, uint64_t off, unsigned bytes, uint64_t v)
{
    unsigned char raw[8];
    unsigned i;

    for (i = 0; i < bytes; i++)
        raw[i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
    st_write(s, off, raw, bytes);
}

void st_truncate(struct store *s, uint64_t len)
{
    if (len < s->len)
        st_zero(s, len, s->len - len);
    s->len = len;
}

void st_clone(struct store *to, const struct store *from)
{
    size_t i;

    *to = (struct store){NULL, 0, 0, from->len};
    for (i = 0; i < from->cap; i++)
        if (from->tab[i].mem)
            memcpy(page_make(to, from->tab[i].key), from->tab[i].mem, PAGE);
}

/* The pages themselves are kept until exit, like all that is grabbed. */
void st_free(struct store *s)
{
    free(s->tab);
    *s = (struct store){NULL, 0, 0, 0};
}

static int by_key(const void *a, const void *b)
{
    const struct page *x = a, *y = b;

    return x->key < y->key ? -1 : x->key > y->key;
}

static void save_page(int fd, const char *path, const struct page *p, uint64_t len)
{
    uint64_t at = p->key * PAGE;
    size_t n, done = 0;

    if (at >= len || all_zero(p->mem, PAGE))
        return;
    n = len - at < PAGE ? (size_t)(len - at) : PAGE;
    while (done < n) {
        ssize_t got = pwrite(fd, p->mem + done, n - done, (off_t)(at + done));

        if (got < 0)
            fail("%s: %s", path, strerror(errno));
        done += (size_t)got;
    }
}

void st_save(const struct store *s, const char *path)
{
    struct page *sorted = scratch(s->used * sizeof(*sorted));
    size_t i, n = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0 || ftruncate(fd, (off_t)s->len))
        fail("%s: %s", path, strerror(errno));
    for (i = 0; i < s->cap; i++)
        if (s->tab[i].mem)
            sorted[n++] = s->tab[i];
    qsort(sorted, n, sizeof(*sorted), by_key);
    for (i = 0; i < n; i++)
        save_page(fd, path, &sorted[i], s->len);
    if (close(fd))
        fail("%s: %s", path, strerror(errno));
    free(sorted);
}
