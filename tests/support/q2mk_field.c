/* q2mk_field.c: the fields a recipe can name: header.size, l2[0][1].offset, refcount[3], ... */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

struct field {
    const char *name;
    unsigned off, bytes;
};

static const struct field header_fields[] = {
    {"magic", 0, 4},
    {"version", 4, 4},
    {"backing_file_offset", 8, 8},
    {"backing_file_size", 16, 4},
    {"cluster_bits", 20, 4},
    {"size", 24, 8},
    {"crypt_method", 32, 4},
    {"l1_size", 36, 4},
    {"l1_table_offset", 40, 8},
    {"refcount_table_offset", 48, 8},
    {"refcount_table_clusters", 56, 4},
    {"nb_snapshots", 60, 4},
    {"snapshots_offset", 64, 8},
    {"incompatible_features", 72, 8},
    {"compatible_features", 80, 8},
    {"autoclear_features", 88, 8},
    {"refcount_order", 96, 4},
    {"header_length", 100, 4},
    {"compression_type", 104, 1},
    {NULL, 0, 0},
};

static const struct field snap_fields[] = {
    {"l1_offset", 0, 8}, {"l1_size", 8, 4},   {"id_len", 12, 2},    {"name_len", 14, 2},
    {"sec", 16, 4},      {"nsec", 20, 4},     {"clock", 24, 8},     {"vmsize32", 32, 4},
    {"extra_size", 36, 4}, {"vmsize64", 40, 8}, {"disk_size", 48, 8}, {"icount", 56, 8},
    {NULL, 0, 0},
};

static const struct field bmext_fields[] = {
    {"nb", 8, 4}, {"reserved", 12, 4}, {"dir_size", 16, 8}, {"dir_offset", 24, 8}, {NULL, 0, 0},
};

static const struct field bmdir_fields[] = {
    {"table_offset", 0, 8}, {"table_size", 8, 4}, {"flags", 12, 4},      {"type", 16, 1},
    {"gran", 17, 1},        {"name_size", 18, 2}, {"extra_size", 20, 4}, {NULL, 0, 0},
};

static const struct field ext_fields[] = {{"type", 0, 4}, {"len", 4, 4}, {NULL, 0, 0}};

static const struct field luks_fields[] = {{"offset", 8, 8}, {"length", 16, 8}, {NULL, 0, 0}};

static void whole(struct place *pl, uint64_t off, unsigned bytes)
{
    *pl = (struct place){off, bytes, 0, 8 * bytes, 0};
}

static void record_field(const struct path *p, const struct field *f, uint64_t base,
                         struct place *pl)
{
    if (!p->field)
        fail("%s needs a .field", p->name);
    while (f->name && strcmp(f->name, p->field) != 0)
        f++;
    if (!f->name)
        fail("%s has no field '%s'", p->name, p->field);
    whole(pl, base + f->off, f->bytes);
}

/* A field of a table entry; l2: those that only an L2 entry has are meant as well. */
static void entry_field(const struct image *im, const struct path *p, uint64_t off, bool l2,
                        struct place *pl)
{
    unsigned x = 70 - im->set.cluster_bits;
    const char *f = p->field ? p->field : "";

    whole(pl, off, 8);
    if (strcmp(f, "offset") == 0) {
        pl->mask = strcmp(p->name, "rt") == 0 ? ~UINT64_C(511) : OFF_MASK;
    } else if (strcmp(f, "copied") == 0) {
        *pl = (struct place){off, 8, 63, 1, 0};
    } else if (l2 && strcmp(f, "compressed") == 0) {
        *pl = (struct place){off, 8, 62, 1, 0};
    } else if (l2 && strcmp(f, "zero") == 0) {
        *pl = (struct place){off, 8, 0, 1, 0};
    } else if (l2 && strcmp(f, "sectors") == 0) {
        *pl = (struct place){off, 8, x, 62 - x, 0};
    } else if (l2 && strcmp(f, "coffset") == 0) {
        *pl = (struct place){off, 8, 0, x, 0};
    } else if (l2 && im->set.extl2 && strcmp(f, "bitmap") == 0) {
        pl->off += 8;
    } else if (*f) {
        fail("%s has no field '%s'", p->name, f);
    }
}

static void in_l1(const struct image *im, const struct path *p, uint64_t off, uint64_t n,
                  uint64_t i, struct place *pl)
{
    if (i >= n)
        fail("%s: index %llu is behind the last entry", p->name, (unsigned long long)i);
    entry_field(im, p, off + i * 8, false, pl);
}

static void in_l2(const struct image *im, const struct path *p, uint64_t table, uint64_t j,
                  struct place *pl)
{
    if (j >= im->l2n)
        fail("%s: an L2 table has only %llu entries", p->name, (unsigned long long)im->l2n);
    entry_field(im, p, table + j * l2_entry_size(im), true, pl);
}

static void refcount(const struct image *im, uint64_t cluster, struct place *pl)
{
    unsigned width = 1u << im->set.refcount_order;
    uint64_t per = refs_per_block(im), idx = cluster / per, bit = cluster % per * width, block;

    if (idx >= im->al.rt_clusters * im->cs / 8)
        fail("refcount[%llu] is behind the refcount table", (unsigned long long)cluster);
    block = st_get(&im->built, im->al.rt_off + idx * 8, 8);
    if (block == 0)
        fail("refcount[%llu] has no refcount block", (unsigned long long)cluster);
    if (width >= 8)
        whole(pl, block + bit / 8, width / 8);
    else
        *pl = (struct place){block + bit / 8, 1, (unsigned)(bit % 8), width, 0};
}

static uint64_t ext_of_type(const struct image *im, uint64_t type, const char *what)
{
    const struct ext *e = ext_find(im, type);

    if (!e)
        fail("the image has no %s extension", what);
    return e->off;
}

static void bitmap_entry(const struct image *im, const struct path *p, struct place *pl)
{
    at_bitmap(im, p->idx[0]); /* checks the index */
    in_l1(im, p, im->bitmaps[p->idx[0]].table_off, im->bitmaps[p->idx[0]].table_size, p->idx[1],
          pl);
}

static bool snapshot_place(const struct image *im, const struct path *p, struct place *pl)
{
    const struct snapshot *s;

    if (strcmp(p->name, "snapl1") == 0 && p->n == 2) {
        s = get_snapshot(im, p->idx[0]);
        in_l1(im, p, s->l1_off, s->l1_size, p->idx[1], pl);
    } else if (strcmp(p->name, "snapl2") == 0 && p->n == 3) {
        s = get_snapshot(im, p->idx[0]);
        in_l2(im, p, at_l2(im, s->l1_off, s->l1_size, p->idx[1]), p->idx[2], pl);
    } else if (strcmp(p->name, "snap") == 0 && p->n == 1) {
        record_field(p, snap_fields, at_snapshot(im, p->idx[0]), pl);
    } else {
        return false;
    }
    return true;
}

static bool extension_place(const struct image *im, const struct path *p, struct place *pl)
{
    if (strcmp(p->name, "bmext") == 0 && p->n == 0)
        record_field(p, bmext_fields, ext_of_type(im, EXT_BITMAPS, "bitmaps"), pl);
    else if (strcmp(p->name, "bmdir") == 0 && p->n == 1)
        record_field(p, bmdir_fields, at_bitmap(im, p->idx[0]), pl);
    else if (strcmp(p->name, "bmtab") == 0 && p->n == 2)
        bitmap_entry(im, p, pl);
    else if (strcmp(p->name, "ext") == 0 && p->n == 1)
        record_field(p, ext_fields, at_ext(im, p->idx[0]), pl);
    else if (strcmp(p->name, "luks") == 0 && p->n == 0)
        record_field(p, luks_fields, ext_of_type(im, EXT_LUKS, "crypto header"), pl);
    else
        return false;
    return true;
}

static bool integer_place(const struct path *p, struct place *pl)
{
    static const char *const names[] = {"u8", "u16", "u32", "u64"};
    unsigned i;

    for (i = 0; i < 4; i++) {
        if (strcmp(p->name, names[i]) == 0 && p->n == 1 && !p->field) {
            whole(pl, p->idx[0], 1u << i);
            return true;
        }
    }
    return false;
}

void place_find(const struct image *im, const struct path *p, struct place *pl)
{
    if (strcmp(p->name, "header") == 0 && p->n == 0)
        record_field(p, header_fields, 0, pl);
    else if (strcmp(p->name, "l1") == 0 && p->n == 1)
        in_l1(im, p, im->l1_off, im->l1_size, p->idx[0], pl);
    else if (strcmp(p->name, "l2") == 0 && p->n == 2)
        in_l2(im, p, at_l2(im, im->l1_off, im->l1_size, p->idx[0]), p->idx[1], pl);
    else if (strcmp(p->name, "rt") == 0 && p->n == 1)
        in_l1(im, p, im->al.rt_off, im->al.rt_clusters * im->cs / 8, p->idx[0], pl);
    else if (strcmp(p->name, "refcount") == 0 && p->n == 1 && !p->field)
        refcount(im, p->idx[0], pl);
    else if (!snapshot_place(im, p, pl) && !extension_place(im, p, pl) && !integer_place(p, pl))
        fail("%s with %u indices is no field of an image", p->name, p->n);
}
