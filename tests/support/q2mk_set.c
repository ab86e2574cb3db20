/* q2mk_set.c: the settings of a recipe, and the header's features and extensions. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

static uint64_t number(struct ctx *c)
{
    return expr(&c->lex, c->im);
}

static unsigned log_of(uint64_t v, unsigned low, unsigned high, const char *what)
{
    unsigned bits;

    for (bits = low; bits <= high; bits++)
        if (v == UINT64_C(1) << bits)
            return bits;
    fail("%s must be a power of two from %llu to %llu", what, 1ULL << low, 1ULL << high);
}

static void set_version(struct ctx *c)
{
    uint64_t v = number(c);

    if (v != 2 && v != 3)
        fail("version 2 or 3");
    c->im->set.version = (unsigned)v;
}

static void set_cluster(struct ctx *c)
{
    c->im->set.cluster_bits = log_of(number(c), 9, 21, "cluster");
}

static void set_size(struct ctx *c)
{
    c->im->set.size = number(c);
}

static void set_refcount(struct ctx *c)
{
    c->im->set.refcount_order = log_of(number(c), 0, 6, "refcount");
}

static void set_extl2(struct ctx *c)
{
    c->im->set.extl2 = true;
    c->im->set.incompat |= 16;
}

static void set_compression(struct ctx *c)
{
    if (lex_accept(&c->lex, "zstd")) {
        c->im->set.zstd = true;
        c->im->set.incompat |= 8;
    } else if (!lex_accept(&c->lex, "zlib")) {
        fail("compression zlib or zstd");
    }
}

static void set_header_length(struct ctx *c)
{
    c->im->set.header_length = number(c);
}

static void set_l1_entries(struct ctx *c)
{
    c->im->set.l1_entries = number(c);
}

static void set_rt_clusters(struct ctx *c)
{
    c->im->set.rt_clusters = number(c);
}

const struct command settings_commands[] = {
    {"version", PH_SETTINGS, set_version},
    {"cluster", PH_SETTINGS, set_cluster},
    {"size", PH_SETTINGS, set_size},
    {"refcount", PH_SETTINGS, set_refcount},
    {"extl2", PH_SETTINGS, set_extl2},
    {"compression", PH_SETTINGS, set_compression},
    {"header-length", PH_SETTINGS, set_header_length},
    {"l1-entries", PH_SETTINGS, set_l1_entries},
    {"rt-clusters", PH_SETTINGS, set_rt_clusters},
    {NULL, PH_SETTINGS, NULL},
};

static void add_lazy(struct ctx *c)
{
    c->im->set.compat |= 1;
}

static void add_dirty(struct ctx *c)
{
    c->im->set.incompat |= 1;
}

static void add_corrupt(struct ctx *c)
{
    c->im->set.incompat |= 2;
}

static void add_feature(struct ctx *c)
{
    struct settings *s = &c->im->set;
    uint64_t *to, bit;

    if (lex_accept(&c->lex, "incompat"))
        to = &s->incompat;
    else if (lex_accept(&c->lex, "compat"))
        to = &s->compat;
    else if (lex_accept(&c->lex, "autoclear"))
        to = &s->autoclear;
    else
        fail("feature incompat, compat or autoclear");
    bit = number(c);
    if (bit > 63)
        fail("there are only 64 bits");
    *to |= UINT64_C(1) << bit;
}

static void add_ext(struct ctx *c)
{
    uint64_t type = number(c);

    lex_bytes(&c->lex, &ext_add(c->im, type)->data);
}

static void add_feature_table(struct ctx *c)
{
    ext_feature_table(c->im);
}

static void add_noend(struct ctx *c)
{
    c->im->set.noend = true;
}

/* Header matters that may stand among the settings or later. */
const struct command extra_commands[] = {
    {"lazy", PH_SETTINGS, add_lazy},
    {"dirty", PH_SETTINGS, add_dirty},
    {"corrupt", PH_SETTINGS, add_corrupt},
    {"feature", PH_SETTINGS, add_feature},
    {"ext", PH_SETTINGS, add_ext},
    {"featuretable", PH_SETTINGS, add_feature_table},
    {"noend", PH_SETTINGS, add_noend},
    {NULL, PH_SETTINGS, NULL},
};
