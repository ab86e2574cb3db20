/* q2mk.h: the types and functions of q2mk, which builds QCOW2 test images from text recipes. */
/* SPDX-License-Identifier: MIT */
#ifndef Q2MK_H
#define Q2MK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OFF_MASK 0x00fffffffffffe00u /* host offset in an L1 or standard L2 entry */
#define F_COPIED (UINT64_C(1) << 63)
#define F_COMPRESSED (UINT64_C(1) << 62)
#define F_ZERO UINT64_C(1)
#define ALL_ZERO_SUBS 0xffffffff00000000u
#define ALL_ALLOC_SUBS 0xffffffffu

#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define EXT_BITMAPS 0x23852875u
#define EXT_LUKS 0x0537be77u
#define EXT_DATA_FILE 0x44415441u

/* ---- util: failure, memory that lives until exit, big-endian buffers, hashing ---- */
void where_set(const char *file, unsigned line);
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *grab(size_t n);                                 /* zeroed, never freed */
void *grab_more(void *old, size_t have, size_t want); /* a larger copy of a grabbed array */
char *grab_text(const char *s, size_t n);
void *scratch(size_t n); /* uninitialised, give back with free() */
uint64_t mix64(uint64_t x);
uint64_t round_up(uint64_t v, uint64_t unit);
uint64_t div_up(uint64_t v, uint64_t unit);

struct buf {
    unsigned char *mem;
    size_t len, cap;
};
void buf_mem(struct buf *b, const void *p, size_t n);
void buf_int(struct buf *b, unsigned bytes, uint64_t v); /* big endian */
void buf_pad(struct buf *b, size_t unit);

/* ---- store: a sparse array of bytes ---- */
struct page;
struct store {
    struct page *tab;
    size_t cap, used;
    uint64_t len;
};
void st_read(const struct store *s, uint64_t off, void *to, size_t n);
void st_write(struct store *s, uint64_t off, const void *from, size_t n);
void st_zero(struct store *s, uint64_t off, uint64_t n); /* never makes the store longer */
void st_copy(struct store *to, const struct store *from, uint64_t off, uint64_t n);
uint64_t st_get(const struct store *s, uint64_t off, unsigned bytes);
void st_put(struct store *s, uint64_t off, unsigned bytes, uint64_t v);
void st_truncate(struct store *s, uint64_t len);
void st_clone(struct store *to, const struct store *from);
void st_free(struct store *s);
void st_save(const struct store *s, const char *path);

/* ---- patterns of guest data ---- */
enum pat_kind { PAT_RANDOM, PAT_HALF, PAT_TEXT, PAT_BYTE };
struct pattern {
    enum pat_kind kind;
    uint64_t arg; /* seed, or the byte */
};
void pat_fill(const struct pattern *p, uint64_t pos, unsigned char *to, size_t n);
void pat_store(const struct pattern *p, struct store *s, uint64_t off, uint64_t n);

/* ---- the image under construction ---- */
struct settings {
    unsigned version, cluster_bits, refcount_order, crypt;
    bool extl2, zstd, noend;
    uint64_t size, header_length, l1_entries, rt_clusters;
    uint64_t incompat, compat, autoclear;
};

struct alloc {
    uint64_t next, high; /* next cluster never handed out; highest one in use */
    uint64_t pool[32];
    unsigned pool_n;
    bool shuffle;
    uint64_t rng;
    uint64_t free_byte; /* where the next compressed stream may go; 0 = nowhere yet */
    uint64_t rt_off, rt_clusters;
};

struct region { /* a table that is rewritten, and moved when it does not fit any more */
    uint64_t off, clusters;
};

struct snapshot {
    const char *id, *name;
    uint64_t l1_off, l1_size, sec, nsec, clock, vmstate, disk, extra;
    uint64_t size; /* of the guest's disk when it was taken */
    struct store guest;
};

struct bitmap {
    const char *name;
    uint64_t table_off, table_size, flags, type, gran;
};

struct ext {
    uint64_t type, off;
    struct buf data;
};

enum phase { PH_SETTINGS, PH_BUILD, PH_DAMAGE };

struct image {
    const char *name; /* NULL: the image of the outermost recipe */
    enum phase phase;
    bool is_raw, touched, finished;
    struct settings set;
    uint64_t cs, l2n;
    struct alloc al;
    struct store disk, built, refs, guest, data;
    uint64_t l1_off, l1_size;
    struct snapshot *snaps;
    size_t nsnaps;
    struct region snap_table, bm_dir;
    struct bitmap *bitmaps;
    size_t nbitmaps;
    struct ext *exts;
    size_t nexts;
    const char *backing;
    const struct image *base; /* the backing image, if this recipe made it */
    uint64_t backing_off, luks_off;
    const char *data_file;
    bool data_raw, data_none;
};

struct world { /* everything one run builds */
    struct image **images;
    size_t nimages;
    uint64_t seed;
};

/* ---- allocator and refcounts (q2mk_alloc.c) ---- */
void alloc_init(struct image *im);
uint64_t alloc_clusters(struct image *im, uint64_t n); /* host offset of a contiguous run */
uint64_t alloc_bytes(struct image *im, uint64_t n);    /* for a compressed stream */
void free_clusters(struct image *im, uint64_t off, uint64_t n);
uint64_t ref_get(const struct image *im, uint64_t cluster);
void ref_up(struct image *im, uint64_t cluster);
void ref_down(struct image *im, uint64_t cluster);
uint64_t refs_per_block(const struct image *im);
void alloc_finish(struct image *im);
void region_store(struct image *im, struct region *r, const struct buf *b);

/* ---- L1 and L2 tables (q2mk_table.c) ---- */
struct entry {
    uint64_t e, bm;
};
unsigned l2_entry_size(const struct image *im);
uint64_t l1_needed(const struct image *im, uint64_t size);
void l1_grow(struct image *im, uint64_t entries);
uint64_t l2_peek(const struct image *im, uint64_t guest); /* host offset or 0 */
struct entry entry_get(const struct image *im, uint64_t guest);
void l2_ready(struct image *im, uint64_t guest);       /* makes or copies the table, if need be */
void entry_put(struct image *im, uint64_t guest, struct entry v); /* copies a shared table first */
bool entry_allocated(const struct image *im, struct entry v);
void entry_unref(struct image *im, struct entry v);
void comp_extent(const struct image *im, uint64_t e, uint64_t *first, uint64_t *last);
void tables_share(struct image *im);
void l2_drop(struct image *im, uint64_t l1_index);

/* ---- guest operations (q2mk_guest.c, q2mk_zero.c, q2mk_comp.c, q2mk_resize.c) ---- */
enum zero_how { ZERO_KEEP, ZERO_PLAIN, ZERO_ALLOC };
void put_data(struct image *im, uint64_t guest, uint64_t subs);
void guest_write(struct image *im, uint64_t off, uint64_t len, const struct pattern *p);
uint64_t subs_of(const struct image *im, uint64_t cluster, uint64_t off, uint64_t len);
void guest_prealloc(struct image *im, uint64_t off, uint64_t len);
uint64_t fresh_cluster(struct image *im);
void guest_zero(struct image *im, uint64_t off, uint64_t len, enum zero_how how);
void discard_cluster(struct image *im, uint64_t guest, bool full);
void guest_discard(struct image *im, uint64_t off, uint64_t len, bool full);
void guest_compress(struct image *im, uint64_t off, uint64_t len, const struct pattern *p);
void guest_resize(struct image *im, uint64_t size);

/* ---- header, extensions, snapshots, bitmaps, the life of an image ---- */
struct ext *ext_add(struct image *im, uint64_t type);
struct ext *ext_find(const struct image *im, uint64_t type);
void ext_feature_table(struct image *im);
void header_finish(struct image *im);
void snapshot_take(struct image *im, struct snapshot *s, uint64_t seed);
struct bits {
    uint64_t *from, *len;
    size_t n;
};
void bitmap_add(struct image *im, struct bitmap *b, const struct bits *set);
void image_init(struct image *im);   /* settings are complete: lay out the fixed tables */
void image_finish(struct image *im); /* the build is complete: write what was kept back */

/* ---- recipe text (q2mk_lex.c) and expressions (q2mk_expr.c) ---- */
struct lex {
    const char *p;
};
bool lex_end(struct lex *l);
bool lex_accept(struct lex *l, const char *word); /* a whole word */
bool lex_accept_op(struct lex *l, const char *op);
bool lex_accept_key(struct lex *l, const char *key); /* "key=" or "key:" without a space */
char *lex_word(struct lex *l);                       /* a word or a "quoted text" */
void lex_bytes(struct lex *l, struct buf *b);        /* hex:0011.. or "text" */
char *lex_name(struct lex *l);                       /* [a-z_0-9]+ or NULL */
bool lex_number(struct lex *l, uint64_t *v);
uint64_t expr(struct lex *l, const struct image *im);

/* ---- places an expression or a damage command can name (q2mk_place.c, q2mk_field.c) ---- */
struct place {
    uint64_t off;
    unsigned bytes, shift, bits;
    uint64_t mask; /* not 0: an address field; the value is what lies under the mask, unshifted */
};
struct path { /* name[i][j].field, parsed */
    const char *name, *field;
    uint64_t idx[3];
    unsigned n;
};
void path_parse(struct lex *l, const struct image *im, struct path *p);
uint64_t symbol_value(const struct image *im, const struct path *p);
void place_find(const struct image *im, const struct path *p, struct place *pl);
uint64_t place_get(const struct image *im, const struct place *pl);
void place_put(struct image *im, const struct place *pl, uint64_t v);
uint64_t at_l2(const struct image *im, uint64_t l1_off, uint64_t l1_size, uint64_t i);
uint64_t at_snapshot(const struct image *im, uint64_t s);
uint64_t at_bitmap(const struct image *im, uint64_t b);
uint64_t at_ext(const struct image *im, uint64_t n);
const struct snapshot *get_snapshot(const struct image *im, uint64_t s);

/* ---- commands ---- */
struct ctx {
    struct world *world;
    struct image *im;
    struct lex lex;
    struct recipe *recipe;
};
struct recipe {
    const char *file;
    char **lines;
    size_t n, at;
};
typedef void command_fn(struct ctx *c);
struct command {
    const char *name;
    enum phase phase;
    command_fn *run;
};
extern const struct command settings_commands[], build_commands[], extra_commands[],
    damage_commands[];
struct image *image_new(struct world *w, const char *name);
const struct image *image_find(const struct world *w, const char *name);
void recipe_read(struct recipe *r, const char *file);
void recipe_run(struct recipe *r, struct world *w, struct image *im, bool nested);
char *slurp(const char *file, size_t *len);
void world_save(const struct world *w, const char *out);
void text_replace(const struct image *im, const char *file);

#endif
