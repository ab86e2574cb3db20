/* q2mk_main.c: the command line of q2mk. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const char *guest, *snapshot, *text;
    const char *exprs[64];
    size_t nexprs;
};

static _Noreturn void usage(FILE *to, int code)
{
    fputs("usage: q2mk [-g RAW [-s SNAPSHOT]] RECIPE OUT\n"
          "       q2mk -e EXPR [-e EXPR]... RECIPE\n"
          "       q2mk -r FILE RECIPE\n"
          "  -g RAW   write the guest's view before the damage to RAW\n"
          "  -s NAME  let that be the view of the internal snapshot NAME\n"
          "  -e EXPR  print the value of an expression\n"
          "  -r FILE  print FILE with every {EXPR} (hex: {x:EXPR}) replaced by its value\n",
          to);
    exit(code);
}

static void parse(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt(argc, argv, "g:s:e:r:h")) != -1) {
        if (c == 'g')
            o->guest = optarg;
        else if (c == 's')
            o->snapshot = optarg;
        else if (c == 'r')
            o->text = optarg;
        else if (c == 'e' && o->nexprs < 64)
            o->exprs[o->nexprs++] = optarg;
        else
            usage(c == 'h' ? stdout : stderr, c == 'h' ? 0 : 1);
    }
    if (argc - optind != (o->nexprs || o->text ? 1 : 2))
        usage(stderr, 1);
}

/* The guest's view of the active disk or of a snapshot, cut to its size. */
static void save_guest(const struct image *im, const struct options *o)
{
    const struct store *view = &im->guest;
    uint64_t size = im->set.size;
    struct store cut;
    size_t i;

    for (i = 0; o->snapshot && i < im->nsnaps; i++) {
        if (strcmp(im->snaps[i].name, o->snapshot) == 0) {
            view = &im->snaps[i].guest;
            size = im->snaps[i].size;
            break;
        }
    }
    if (o->snapshot && i == im->nsnaps)
        fail("there is no snapshot '%s'", o->snapshot);
    st_clone(&cut, view);
    st_truncate(&cut, size);
    st_save(&cut, o->guest);
    st_free(&cut);
}

int main(int argc, char **argv)
{
    static struct world w;
    struct options o = {0};
    struct recipe r;
    struct image *im;
    size_t i;

    parse(argc, argv, &o);
    recipe_read(&r, argv[optind]);
    im = image_new(&w, NULL);
    recipe_run(&r, &w, im, false);
    for (i = 0; i < o.nexprs; i++) {
        struct lex l = {o.exprs[i]};
        uint64_t v;

        where_set("-e", 1);
        v = expr(&l, im);
        if (!lex_end(&l))
            fail("'%s' is too much", l.p);
        printf("%llu\n", (unsigned long long)v);
    }
    if (o.text)
        text_replace(im, o.text);
    where_set(NULL, 0);
    if (!o.nexprs && !o.text) {
        world_save(&w, argv[optind + 1]);
        if (o.guest)
            save_guest(im, &o);
    }
    return fflush(stdout) ? 1 : 0;
}
