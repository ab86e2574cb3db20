/* q2mk_run.c: runs a recipe line by line: phases, nested files, and what is written at the end. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdio.h>
#include <string.h>

struct image *image_new(struct world *w, const char *name)
{
    struct image *im = grab(sizeof(*im));

    im->name = name;
    im->set.version = 3;
    im->set.cluster_bits = 9;
    im->set.refcount_order = 4;
    im->set.size = 65536;
    w->images = grab_more(w->images, w->nimages * sizeof(im), (w->nimages + 1) * sizeof(im));
    w->images[w->nimages++] = im;
    return im;
}

const struct image *image_find(const struct world *w, const char *name)
{
    size_t i;

    for (i = 0; i < w->nimages; i++)
        if (w->images[i]->name && strcmp(w->images[i]->name, name) == 0)
            return w->images[i];
    return NULL;
}

static struct image *new_file(struct ctx *c)
{
    char *name = lex_word(&c->lex);

    if (c->im->phase == PH_DAMAGE)
        fail("files must come before the damage");
    if (*name == '/' || strstr(name, ".."))
        fail("files are made beside OUT: '%s'", name);
    if (image_find(c->world, name))
        fail("'%s' is made twice", name);
    if (c->im->backing && strcmp(c->im->backing, name) == 0)
        fail("'%s' must be made before it is named as the backing file", name);
    return image_new(c->world, name);
}

static void raw_file(struct ctx *c)
{
    struct image *im = new_file(c);
    uint64_t len = expr(&c->lex, c->im);
    struct pattern p = {PAT_RANDOM, ++c->world->seed};

    if (lex_accept_key(&c->lex, "seed:"))
        p.arg = expr(&c->lex, c->im);
    else if (!lex_end(&c->lex))
        p = (struct pattern){PAT_BYTE, expr(&c->lex, c->im)};
    im->is_raw = true;
    im->set.size = round_up(len, 512);
    pat_store(&p, &im->guest, 0, len);
    im->guest.len = len;
}

static bool run_from(struct ctx *c, const struct command *t, const char *word, enum phase upto)
{
    for (; t->name; t++) {
        if (strcmp(t->name, word) != 0)
            continue;
        if (c->im->phase > upto)
            fail("%s comes too late here", word);
        if (t->phase == PH_BUILD)
            image_init(c->im);
        if (t->phase == PH_DAMAGE) {
            image_finish(c->im);
            c->im->phase = PH_DAMAGE;
        }
        t->run(c);
        if (!lex_end(&c->lex))
            fail("%s: '%s' is too much", word, c->lex.p);
        return true;
    }
    return false;
}

static void run_line(struct ctx *c)
{
    char *word = lex_word(&c->lex);

    if (strcmp(word, "file") == 0)
        recipe_run(c->recipe, c->world, new_file(c), true);
    else if (strcmp(word, "rawfile") == 0)
        raw_file(c);
    else if (!run_from(c, settings_commands, word, PH_SETTINGS) &&
             !run_from(c, extra_commands, word, PH_BUILD) &&
             !run_from(c, build_commands, word, PH_BUILD) &&
             !run_from(c, damage_commands, word, PH_DAMAGE))
        fail("unknown command '%s'", word);
}

void recipe_run(struct recipe *r, struct world *w, struct image *im, bool nested)
{
    struct ctx c = {w, im, {NULL}, r};

    while (r->at < r->n) {
        const char *line = r->lines[r->at++];

        where_set(r->file, (unsigned)r->at);
        c.lex.p = line;
        if (lex_end(&c.lex))
            continue;
        if (nested && strcmp(c.lex.p, "end") == 0) {
            image_finish(im);
            return;
        }
        run_line(&c);
    }
    if (nested)
        fail("'end' is missing");
    image_finish(im);
}

static const char *beside(const char *out, const char *name)
{
    const char *slash = strrchr(out, '/');
    struct buf b = {NULL, 0, 0};

    if (slash)
        buf_mem(&b, out, (size_t)(slash - out) + 1);
    buf_mem(&b, name, strlen(name) + 1);
    return (const char *)b.mem;
}

void world_save(const struct world *w, const char *out)
{
    size_t i;

    for (i = 0; i < w->nimages; i++) {
        const struct image *im = w->images[i];

        st_save(im->is_raw ? &im->guest : &im->disk, im->name ? beside(out, im->name) : out);
        if (im->data_file && !im->data_none)
            st_save(&im->data, beside(out, im->data_file));
    }
}
