/* q2mk_build.c: the commands that put things into an image, and the reading of their arguments. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdio.h>
#include <string.h>

static uint64_t number(struct ctx *c)
{
    return expr(&c->lex, c->im);
}

static void range(struct ctx *c, uint64_t *off, uint64_t *len)
{
    uint64_t size = c->im->set.size;

    *off = number(c);
    *len = number(c);
    if (*off > size || *len > size - *off)
        fail("the range ends behind the disk's %llu bytes", (unsigned long long)size);
    c->im->touched = true;
}

/* A byte, seed:N or text; without one, the given kind with a seed of its own. */
static struct pattern pattern(struct ctx *c, enum pat_kind seeded, enum pat_kind usual)
{
    struct pattern p = {usual, ++c->world->seed};

    if (lex_end(&c->lex))
        return p;
    if (lex_accept_key(&c->lex, "seed:")) {
        p = (struct pattern){seeded, number(c)};
    } else if (lex_accept(&c->lex, "text")) {
        p.kind = PAT_TEXT;
    } else {
        p = (struct pattern){PAT_BYTE, number(c)};
        if (p.arg > 255)
            fail("%llu is no byte", (unsigned long long)p.arg);
    }
    return p;
}

static void do_write(struct ctx *c)
{
    uint64_t off, len;
    struct pattern p;

    range(c, &off, &len);
    p = pattern(c, PAT_RANDOM, PAT_RANDOM);
    guest_write(c->im, off, len, &p);
}

static void do_compress(struct ctx *c)
{
    uint64_t off, len;
    struct pattern p;

    range(c, &off, &len);
    p = pattern(c, PAT_HALF, PAT_TEXT);
    guest_compress(c->im, off, len, &p);
}

static void do_zero(struct ctx *c)
{
    enum zero_how how = ZERO_KEEP;
    uint64_t off, len;

    range(c, &off, &len);
    if (lex_accept(&c->lex, "plain"))
        how = ZERO_PLAIN;
    else if (lex_accept(&c->lex, "alloc"))
        how = ZERO_ALLOC;
    guest_zero(c->im, off, len, how);
}

static void do_discard(struct ctx *c)
{
    uint64_t off, len;

    range(c, &off, &len);
    guest_discard(c->im, off, len, lex_accept(&c->lex, "full"));
}

static void do_prealloc(struct ctx *c)
{
    uint64_t off, len;

    range(c, &off, &len);
    guest_prealloc(c->im, off, len);
}

static void do_resize(struct ctx *c)
{
    c->im->touched = true;
    guest_resize(c->im, number(c));
}

static void do_gap(struct ctx *c)
{
    c->im->al.next += number(c);
    c->im->al.free_byte = 0;
}

static void do_shuffle(struct ctx *c)
{
    c->im->al.shuffle = true;
    c->im->al.rng = number(c);
}

static void untouched(struct ctx *c, const char *what)
{
    if (c->im->touched)
        fail("%s must come before everything that changes guest data", what);
}

static void do_backing(struct ctx *c)
{
    struct image *im = c->im;
    char *format;

    untouched(c, "backing");
    im->backing = lex_word(&c->lex);
    im->base = image_find(c->world, im->backing);
    if (im->base)
        st_copy(&im->guest, &im->base->guest, 0,
                im->base->set.size < im->set.size ? im->base->set.size : im->set.size);
    if (!lex_end(&c->lex)) {
        format = lex_word(&c->lex);
        buf_mem(&ext_add(im, EXT_BACKING_FORMAT)->data, format, strlen(format));
    }
}

static void do_data_file(struct ctx *c)
{
    struct image *im = c->im;

    untouched(c, "data-file");
    im->data_file = lex_word(&c->lex);
    while (!lex_end(&c->lex)) {
        if (lex_accept(&c->lex, "raw"))
            im->data_raw = true;
        else if (lex_accept(&c->lex, "nodata"))
            im->data_none = true;
        else
            fail("data-file NAME [raw] [nodata]");
    }
    im->set.incompat |= 4;
    if (im->data_raw)
        im->set.autoclear |= 2;
    buf_mem(&ext_add(im, EXT_DATA_FILE)->data, im->data_file, strlen(im->data_file));
}

static void do_luks(struct ctx *c)
{
    static const unsigned char magic[8] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1};
    struct image *im = c->im;
    struct pattern filler = {PAT_RANDOM, 0x4c554b53};
    uint64_t len = number(c);
    struct ext *e;

    if (len < sizeof(magic))
        fail("luks: at least 8 bytes");
    im->set.crypt = 2;
    im->luks_off = alloc_clusters(im, div_up(len, im->cs));
    pat_store(&filler, &im->disk, im->luks_off, len);
    st_write(&im->disk, im->luks_off, magic, sizeof(magic));
    e = ext_add(im, EXT_LUKS);
    buf_int(&e->data, 8, im->luks_off);
    buf_int(&e->data, 8, len);
}

static void do_aes(struct ctx *c)
{
    c->im->set.crypt = 1;
}

static void do_snapshot(struct ctx *c)
{
    struct snapshot s = {0};
    struct image *im = c->im;
    char id[24];

    im->touched = true;
    s.name = lex_word(&c->lex);
    s.id = grab_text(id, (size_t)snprintf(id, sizeof(id), "%zu", im->nsnaps + 1));
    s.extra = 24;
    s.disk = im->set.size;
    s.sec = 1600000000 + im->nsnaps;
    s.clock = (im->nsnaps + 1) * 1000000000;
    while (!lex_end(&c->lex)) {
        if (lex_accept_key(&c->lex, "id="))
            s.id = lex_word(&c->lex);
        else if (lex_accept_key(&c->lex, "vmstate="))
            s.vmstate = number(c);
        else if (lex_accept_key(&c->lex, "disk="))
            s.disk = number(c);
        else if (lex_accept_key(&c->lex, "extra="))
            s.extra = number(c);
        else if (lex_accept_key(&c->lex, "nsec="))
            s.nsec = number(c);
        else
            fail("snapshot: unknown option '%s'", c->lex.p);
    }
    snapshot_take(im, &s, ++c->world->seed);
}

static void do_bitmap(struct ctx *c)
{
    struct bitmap b = {NULL, 0, 0, 0, 1, 16};
    uint64_t from[64], len[64];
    struct bits set = {from, len, 0};

    b.name = lex_word(&c->lex);
    while (!lex_end(&c->lex)) {
        if (lex_accept_key(&c->lex, "gran=")) {
            b.gran = number(c);
        } else if (lex_accept_key(&c->lex, "flags=")) {
            b.flags = number(c);
        } else if (lex_accept_key(&c->lex, "type=")) {
            b.type = number(c);
        } else if (lex_accept_key(&c->lex, "set=") && set.n < 64) {
            from[set.n] = number(c);
            if (!lex_accept_op(&c->lex, ":"))
                fail("set=GUEST:LEN");
            len[set.n] = number(c);
            if (from[set.n] > c->im->set.size || len[set.n] > c->im->set.size - from[set.n])
                fail("set= ends behind the disk");
            set.n++;
        } else {
            fail("bitmap: unknown option '%s'", c->lex.p);
        }
    }
    if (b.gran < 9 || b.gran > 31)
        fail("gran= is a number of bits, 9 to 31");
    bitmap_add(c->im, &b, &set);
}

const struct command build_commands[] = {
    {"backing", PH_BUILD, do_backing},
    {"data-file", PH_BUILD, do_data_file},
    {"luks", PH_BUILD, do_luks},
    {"aes", PH_BUILD, do_aes},
    {"write", PH_BUILD, do_write},
    {"compress", PH_BUILD, do_compress},
    {"zero", PH_BUILD, do_zero},
    {"discard", PH_BUILD, do_discard},
    {"prealloc", PH_BUILD, do_prealloc},
    {"snapshot", PH_BUILD, do_snapshot},
    {"resize", PH_BUILD, do_resize},
    {"bitmap", PH_BUILD, do_bitmap},
    {"gap", PH_BUILD, do_gap},
    {"shuffle", PH_BUILD, do_shuffle},
    {NULL, PH_BUILD, NULL},
};
