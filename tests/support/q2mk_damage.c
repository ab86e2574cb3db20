/* q2mk_damage.c: the damage commands: they change bytes of the finished image, and only those. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdlib.h>

static void cmd_set(struct ctx *c)
{
    static const char *const ops[] = {"=", "+=", "-=", "^=", "|=", "&="};
    struct image *im = c->im;
    struct place pl;
    struct path p;
    uint64_t v, old;
    unsigned i;

    lex_end(&c->lex);
    path_parse(&c->lex, im, &p);
    place_find(im, &p, &pl);
    for (i = 0; i < 6 && !lex_accept_op(&c->lex, ops[i]); i++)
        continue;
    if (i == 6)
        fail("expected one of = += -= ^= |= &= at '%s'", c->lex.p);
    v = expr(&c->lex, im);
    old = place_get(im, &pl);
    switch (ops[i][0]) {
    case '+':
        v = old + v;
        break;
    case '-':
        v = old - v;
        break;
    case '^':
        v = old ^ v;
        break;
    case '|':
        v = old | v;
        break;
    case '&':
        v = old & v;
        break;
    default:
        break;
    }
    place_put(im, &pl, v);
}

static void cmd_fill(struct ctx *c)
{
    uint64_t off = expr(&c->lex, c->im), len = expr(&c->lex, c->im);
    struct pattern p = {PAT_BYTE, expr(&c->lex, c->im)};

    if (p.arg > 255)
        fail("%llu is no byte", (unsigned long long)p.arg);
    pat_store(&p, &c->im->disk, off, len);
}

static void cmd_copy(struct ctx *c)
{
    uint64_t from = expr(&c->lex, c->im), to = expr(&c->lex, c->im), len = expr(&c->lex, c->im);
    void *mem;

    if (len > UINT64_C(1) << 30)
        fail("copy takes at most 1G");
    mem = scratch((size_t)len);
    st_read(&c->im->disk, from, mem, (size_t)len);
    st_write(&c->im->disk, to, mem, (size_t)len);
    free(mem);
}

static void cmd_poke(struct ctx *c)
{
    uint64_t off = expr(&c->lex, c->im);
    struct buf b = {NULL, 0, 0};

    lex_bytes(&c->lex, &b);
    st_write(&c->im->disk, off, b.mem, b.len);
}

static void cmd_truncate(struct ctx *c)
{
    uint64_t len = expr(&c->lex, c->im);

    if (len > c->im->disk.len)
        fail("the file is only %llu bytes long", (unsigned long long)c->im->disk.len);
    st_truncate(&c->im->disk, len);
}

static void cmd_extend(struct ctx *c)
{
    uint64_t len = expr(&c->lex, c->im);

    if (len < c->im->disk.len || len > INT64_MAX)
        fail("the file is %llu bytes long", (unsigned long long)c->im->disk.len);
    c->im->disk.len = len;
}

static void cmd_data_truncate(struct ctx *c)
{
    if (!c->im->data_file)
        fail("the image has no data file");
    st_truncate(&c->im->data, expr(&c->lex, c->im));
}

const struct command damage_commands[] = {
    {"set", PH_DAMAGE, cmd_set},
    {"fill", PH_DAMAGE, cmd_fill},
    {"copy", PH_DAMAGE, cmd_copy},
    {"poke", PH_DAMAGE, cmd_poke},
    {"truncate", PH_DAMAGE, cmd_truncate},
    {"extend", PH_DAMAGE, cmd_extend},
    {"data-truncate", PH_DAMAGE, cmd_data_truncate},
    {NULL, PH_DAMAGE, NULL},
};
