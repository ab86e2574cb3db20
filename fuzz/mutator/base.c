/*
 * base.c - building a sound, small image.
 *
 * SPDX-License-Identifier: MIT
 *
 * Order of clusters: header, refcount table, blocks, L1, then as needed.  The
 * refcounts and COPIED flags come from mut_fix() at the end.
 */
#include "mut_own.h"

#define NAME "Q2-CANARY-DO-NOT-OPEN"
#define NAME_LEN 21u

/* Clusters of the letter q, deflated with a window of 12 bits. */
static const uint8_t stream9[] = {0x2b, 0x2c, 0x1c, 0x05, 0x23, 0x19, 0, 0};
static const uint8_t stream10[] = {0x2b, 0x2c, 0x1c, 0x05, 0xa3, 0x60,
				   0x14, 0x8c, 0x54, 0,	   0};
static const uint8_t stream12[] = {0xed, 0xc1, 0x31, 0x0d, 0,	 0,    0,
				   0xc3, 0x20, 0xcd, 0xf5, 0xff, 0xcc, 0xc7,
				   0x02, 0x14, 0,    0,	   0,	 0xf0, 0x6e};
static const uint8_t stream14[33] = {0xed, 0xc1, 0x21, 0x01, 0, 0, 0,
				     0xc3, 0xa0, 0xcc, 0xeb, 0x6f, 0x1e, 0xe3,
				     0x06, 0x28, [31] = 0xe0, 0x6d};

/* What is being built. */
struct base {
	struct mut *m;
	size_t packed; /* where the next stream goes; 0: nowhere yet */
	size_t ext;    /* the next extension */
	bool zeros;    /* the version has zero clusters */
};

static size_t tables_needed(const struct base *b)
{
	const struct mut *m = b->m;
	uint64_t disk = mut_get(m, H_SIZE, 8);
	uint64_t reach = (uint64_t)m->cs * (m->cs / (m->ext_l2 ? 16 : 8));

	return (size_t)((disk + reach - 1) / reach);
}

static void start(struct base *b)
{
	static const uint8_t sizes[16] = {9, 9, 9, 9, 9, 9, 9, 9,
					  9, 9, 9, 10, 10, 10, 12, 12};
	struct mut *m = b->m;
	bool v2 = mut_one_in(m, 6);
	unsigned bits = sizes[mut_below(m, 16)];
	unsigned order = v2 || !mut_one_in(m, 3) ?
				 4 : (unsigned)mut_below(m, 7);
	bool ext_l2 = !v2 && mut_one_in(m, 64);
	uint64_t disk;

	if (ext_l2)
		bits = 14;
	m->cs = (size_t)1 << bits;
	m->n = 0;
	memset(m->b, 0, m->cs);
	m->n = m->cs;
	disk = m->cs * (1 + mut_below(m, bits == 9 ? 200 : 40));
	if (mut_one_in(m, 8))
		disk -= 512 * mut_below(m, m->cs / 512);
	mut_set(m, 0, 4, 0x514649fb);
	mut_set(m, H_VERSION, 4, v2 ? 2 : 3);
	mut_set(m, H_BITS, 4, bits);
	mut_set(m, H_SIZE, 8, disk);
	b->ext = 72;
	b->zeros = !v2;
	if (!v2) {
		mut_set(m, H_INCOMPAT, 8, ext_l2 ? 16 : 0);
		mut_set(m, H_ORDER, 4, order);
		mut_set(m, H_LENGTH, 4, mut_one_in(m, 4) ? 104 : 112);
		b->ext = (size_t)mut_get(m, H_LENGTH, 4);
	}
	mut_look(m);
}

/* Enough refcount blocks for what is still to come. */
static void start_refcounts(struct base *b)
{
	struct mut *m = b->m;
	size_t rt = mut_append(m, NULL);
	size_t per_block = m->cs * 8 >> m->order;
	size_t blocks = 100 / per_block + 1;

	mut_set(m, H_RT, 8, rt);
	mut_set(m, H_RT_CLUSTERS, 4, 1);
	for (size_t i = 0; i < blocks; i++)
		mut_set(m, rt + 8 * i, 8, mut_append(m, NULL));
	mut_look(m);
}

static void start_l1(struct base *b)
{
	struct mut *m = b->m;
	size_t n = tables_needed(b);

	if (mut_one_in(m, 8))
		n += mut_below(m, 3);
	mut_set(m, H_L1, 8, mut_append(m, NULL));
	mut_set(m, H_L1_SIZE, 4, n);
	mut_look(m);
}

/* Log2 of the bits of a refcount that can tell of a cluster full of streams, in each tree. */
#define WIDE 4u

/* A compressed cluster; streams are packed one behind the other, where that can be told. */
static uint64_t pack(struct base *b)
{
	struct mut *m = b->m;
	const uint8_t *s = m->bits == 9	 ? stream9 :
			   m->bits == 10 ? stream10 :
			   m->bits == 12 ? stream12 : stream14;
	size_t len = m->bits == 9  ? sizeof(stream9) :
		     m->bits == 10 ? sizeof(stream10) :
		     m->bits == 12 ? sizeof(stream12) : sizeof(stream14);
	unsigned x = 70 - m->bits;
	size_t at = b->packed;
	uint64_t sectors;

	if (at == 0 || at % m->cs + len > m->cs ||
	    m->order == 0 || mut_one_in(m, 8) || m->order < WIDE)
		at = mut_append(m, NULL);
	if (at == 0)
		return 0;
	memcpy(m->b + at, s, len);
	b->packed = (at + len) % m->cs ? at + len : 0;
	sectors = (at + len - 1) / 512 - at / 512;
	return MUT_PACKED | sectors << x | at;
}

static uint64_t new_entry(struct base *b)
{
	struct mut *m = b->m;
	size_t at;

	switch (mut_below(m, 8)) {
	case 0:
		return b->zeros && !m->ext_l2 ? 1 : 0;
	case 1:
		at = b->zeros ? mut_append(m, NULL) : 0;
		return at && !m->ext_l2 ? at | 1 : at;
	case 2:
	case 3:
		return pack(b);
	default:
		at = mut_append(m, NULL);
		if (at)
			memset(m->b + at, 'a' + (int)mut_below(m, 20),
			       m->cs);
		return at;
	}
}

/* Subclusters: some allocated, some zero, none both. */
static uint64_t subclusters(struct mut *m, uint64_t raw)
{
	uint64_t alloc = mut_one_in(m, 2) ? 0xffffffff :
					    mut_random(m) & 0xffffffff;
	uint64_t zeros = mut_random(m) & ~alloc & 0xffffffff;

	if (raw & MUT_PACKED)
		return 0;
	return raw & MUT_OFFSET ? zeros << 32 | alloc : zeros << 32;
}

static void put_entry(struct base *b, size_t table, size_t i)
{
	struct mut *m = b->m;
	uint64_t raw = new_entry(b);

	if (!m->ext_l2) {
		mut_set(m, table + 8 * i, 8, raw);
		return;
	}
	mut_set(m, table + 16 * i, 8, raw);
	mut_set(m, table + 16 * i + 8, 8, subclusters(m, raw));
}

/* A table with a few entries that lie on the disk; `from` is copied first. */
static size_t new_l2(struct base *b, size_t slot, size_t from)
{
	struct mut *m = b->m;
	size_t per_table = m->cs / (m->ext_l2 ? 16 : 8);
	size_t disk = (size_t)((mut_get(m, H_SIZE, 8) + m->cs - 1) / m->cs);
	size_t before = slot * per_table, on_disk;
	size_t at = mut_append(m, from ? m->b + from : NULL);
	size_t n = 1 + mut_below(m, 5);

	if (at == 0)
		return 0;
	on_disk = disk > before ? disk - before : 1;
	if (on_disk > per_table)
		on_disk = per_table;
	if (on_disk > 24 && !mut_one_in(m, 4))
		on_disk = 24;
	while (n--)
		put_entry(b, at, mut_below(m, on_disk));
	return at;
}

static void fill(struct base *b)
{
	struct mut *m = b->m;
	size_t n = tables_needed(b);

	for (size_t i = 0; i < n && i < 3; i++) {
		size_t slot = i == 2 ? n - 1 : i;

		if (mut_get(m, m->l1 + 8 * slot, 8) == 0 &&
		    !mut_one_in(m, 6))
			mut_set(m, m->l1 + 8 * slot, 8, new_l2(b, slot, 0));
	}
}

/* Snapshots: each has the active L1 table as it is, then the active disk goes
 * on with tables of its own. */
static void add_snapshots(struct base *b, unsigned n)
{
	struct mut *m = b->m;
	size_t tab = mut_append(m, NULL), pos = tab;

	if (tab == 0)
		return;
	mut_set(m, H_SNAPTAB, 8, tab);
	for (unsigned i = 0; i < n; i++) {
		size_t l1 = mut_append(m, m->b + m->l1);
		unsigned extra = m->version == 3 ? (mut_one_in(m, 3) ? 24 : 16) :
						   (mut_one_in(m, 2) ? 0 : 16);

		if (l1 == 0 || pos + 128 > tab + m->cs)
			break;
		mut_set(m, pos, 8, l1);
		mut_set(m, pos + 8, 4, m->l1_n);
		mut_set(m, pos + 12, 2, 1);
		mut_set(m, pos + 14, 2, 4);
		mut_set(m, pos + 16, 4, 1700000000);
		mut_set(m, pos + 36, 4, extra);
		if (extra >= 16)
			mut_set(m, pos + 48, 8, mut_get(m, H_SIZE, 8));
		m->b[pos + 40 + extra] = (uint8_t)('1' + i);
		memcpy(m->b + pos + 41 + extra, "snap", 4);
		pos += (45 + extra + 7) & ~7u;
		mut_set(m, H_SNAPS, 4, i + 1);
		mut_look(m);
		for (size_t slot = 0; slot < m->l1_n; slot++) {
			size_t old = (size_t)mut_get(m, m->l1 + 8 * slot, 8);

			if (old && mut_one_in(m, 2))
				mut_set(m, m->l1 + 8 * slot, 8,
					new_l2(b, slot, old));
		}
	}
}

static void put_ext(struct base *b, uint32_t type, const char *text,
		    size_t len)
{
	struct mut *m = b->m;

	if (b->ext + 16 + len > m->cs)
		return;
	mut_set(m, b->ext, 4, type);
	mut_set(m, b->ext + 4, 4, len);
	memcpy(m->b + b->ext + 8, text, len);
	b->ext += 8 + ((len + 7) & ~(size_t)7);
}

/* A bitmap with a granularity of 512: one cluster of bits is enough. */
static void add_bitmaps(struct base *b, unsigned n)
{
	struct mut *m = b->m;
	size_t dir = mut_append(m, NULL), pos = dir;
	char data[24] = {0};

	for (unsigned i = 0; i < n; i++) {
		size_t table = mut_append(m, NULL);
		size_t bits = mut_append(m, NULL);

		if (dir == 0 || table == 0 || bits == 0)
			return;
		mut_set(m, pos, 8, table);
		mut_set(m, pos + 8, 4, 1);
		mut_set(m, pos + 12, 4, mut_one_in(m, 4) ? 1 : 0);
		mut_set(m, pos + 16, 1, 1);
		mut_set(m, pos + 17, 1, 9 + mut_below(m, 8));
		mut_set(m, pos + 18, 2, 2);
		m->b[pos + 24] = 'b';
		m->b[pos + 25] = (uint8_t)('0' + i);
		pos += 32;
		m->b[bits] = 1;
		mut_set(m, table, 8, mut_one_in(m, 3) ? mut_below(m, 2) : bits);
	}
	mut_store((uint8_t *)data, 4, n);
	mut_store((uint8_t *)data + 8, 8, pos - dir);
	mut_store((uint8_t *)data + 16, 8, dir);
	put_ext(b, 0x23852875, data, 24);
	mut_set(m, H_AUTOCLEAR, 8, 1);
}

static void add_extensions(struct base *b)
{
	struct mut *m = b->m;
	size_t name;

	if (mut_one_in(m, 8))
		put_ext(b, 0x12345678, "unknown", 7);
	if (mut_one_in(m, 8)) {
		put_ext(b, 0xe2792aca, "raw", 3);
		name = b->ext + 8;
		if (name + NAME_LEN <= m->cs) {
			memcpy(m->b + name, NAME, NAME_LEN);
			mut_set(m, H_BACKING, 8, name);
			mut_set(m, H_BACKING_SIZE, 4, NAME_LEN);
		}
	}
	if (m->version == 3 && mut_one_in(m, 8))
		mut_set(m, H_COMPAT, 8, 1);
}

void mut_base(struct mut *m)
{
	struct base b = {.m = m};
	unsigned snaps, bitmaps;

	start(&b);
	start_refcounts(&b);
	start_l1(&b);
	fill(&b);
	snaps = mut_one_in(m, m->profile == Q2MUT_SNAPSHOTS ? 1 : 4) ?
			1 + (unsigned)mut_below(m, 3) : 0;
	/* One reference is all that a refcount of one bit can tell, and three of two. */
	if (m->order == 1 && snaps > 2)
		snaps = 2;
	if (snaps && m->order)
		add_snapshots(&b, snaps);
	bitmaps = m->profile == Q2MUT_BITMAPS || mut_one_in(m, 5) ?
			  1 + (unsigned)mut_below(m, 3) : 0;
	if (bitmaps && m->version == 3)
		add_bitmaps(&b, bitmaps);
	add_extensions(&b);
	if (mut_one_in(m, 8) && m->n > m->cs)
		m->n -= mut_below(m, m->cs / 8); /* a partial last cluster */
	mut_look(m);
	mut_fix(m);
}
