/*
 * chk_raw.c - a file without the magic: a raw disk, or a QCOW2 image that lost it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    whether header fields or tables of a QCOW2 image are there.
 * Gathers:  result->is_raw.
 * Disables: everything else, as no header says where the tables are.
 */
#include "base/endian.h"
#include "base/zeros.h"
#include "check/checker.h"
#include "format/entry.h"
#include "format/refcount.h"

/* How much is read: from the start on, and of tables that seem to be there. */
#define SCAN_BYTES (UINT64_C(64) << 20)
#define LOOK_BYTES (UINT64_C(64) << 20)
#define CHUNK (UINT64_C(256) << 10)
#define PIECE 4096u
#define SECTOR 512u
#define WORDS (SECTOR / 8)
#define NEAR 4u

/* A sector that may be part of an L1, L2 or refcount table: each of its words is
 * zero, or could be an entry that leads inside the file. */
struct shape {
	bool ext;	  /* every other word is a subcluster bitmap */
	bool plain;	  /* offsets only, no flags */
	unsigned entries; /* that name a host offset */
	unsigned copied;
	uint64_t bits; /* of all standard offsets: tells their alignment */
};

struct probe {
	struct q2_io *io;
	uint8_t *chunk;
	uint64_t left;	    /* bytes that looking closely may still read */
	uint64_t done;	    /* below this, all belongs to a table found */
	uint64_t agree;	    /* tables whose offsets fit their own place */
	uint64_t differ;    /* tables whose offsets contradict it */
	uint64_t refcounts; /* refcount table and blocks found */
	bool inner;	    /* another image starts here: it explains the rest */
};

static uint64_t compressed_offset(uint64_t word, unsigned bits)
{
	return word & ((UINT64_C(1) << (70 - bits)) - 1);
}

/* False if the word is no entry.  Compressed ones are judged as for the largest
 * clusters; all other cluster sizes demand more. */
static bool add_word(struct shape *s, uint64_t word, uint64_t size)
{
	uint64_t off = word & Q2_ENTRY_OFFSET;

	s->plain = s->plain && off == word;
	if (word == 0 || (word == Q2_ZERO && !s->ext))
		return true;
	s->entries++;
	if (word & Q2_COMPRESSED)
		return !(word & Q2_COPIED) &&
		       compressed_offset(word, Q2_CLUSTER_BITS_MAX) < size;
	if ((word & Q2_L2_RESERVED) || off == 0 || off >= size ||
	    (s->ext && (word & Q2_ZERO)))
		return false;
	s->copied += word & Q2_COPIED ? 1 : 0;
	s->bits |= off;
	return true;
}

static bool add_bitmap(uint64_t word, uint64_t bitmap)
{
	uint32_t alloc = (uint32_t)bitmap;

	if (alloc & (uint32_t)(bitmap >> 32))
		return false;
	return word & Q2_COMPRESSED ? bitmap == 0 : word || !alloc;
}

static bool shape_as(const uint8_t *sector, uint64_t size, bool ext,
		     struct shape *s)
{
	*s = (struct shape){.ext = ext, .plain = true};
	for (size_t i = 0; i < WORDS; i += ext ? 2 : 1) {
		uint64_t word = q2_be64(sector + 8 * i);

		if (!add_word(s, word, size))
			return false;
		if (ext && !add_bitmap(word, q2_be64(sector + 8 * i + 8)))
			return false;
	}
	return true;
}

static bool aligned(const uint8_t *sector, const struct shape *s,
		    unsigned bits, uint64_t size)
{
	if (s->bits & ((UINT64_C(1) << bits) - 1))
		return false;
	for (size_t i = 0; i < WORDS; i += s->ext ? 2 : 1) {
		uint64_t word = q2_be64(sector + 8 * i);

		if ((word & Q2_COMPRESSED) &&
		    compressed_offset(word, bits) >= size)
			return false;
	}
	return true;
}

/* A whole table, seen closely. */
struct look {
	unsigned entries;
	unsigned copied;
	bool itself; /* an entry names the table's own cluster */
	bool near;   /* an entry names one of the next clusters */
};

static void place(const uint8_t *sector, const struct shape *s, unsigned bits,
		  uint64_t table, struct look *l)
{
	for (size_t i = 0; i < WORDS; i += s->ext ? 2 : 1) {
		uint64_t word = q2_be64(sector + 8 * i);
		bool packed = word & Q2_COMPRESSED;
		uint64_t off = packed ? compressed_offset(word, bits) :
					word & Q2_ENTRY_OFFSET;
		uint64_t after = (off >> bits) - (table >> bits);

		if (word == 0 || (off >> bits) < (table >> bits))
			continue;
		l->itself |= after == 0;
		l->near |= after >= 1 && after <= (packed ? 1 : NEAR);
	}
}

static bool look_read(struct probe *p, uint8_t *to, size_t n, uint64_t at)
{
	if (p->left < n)
		return false;
	p->left -= n;
	return q2_pread_zero(p->io, to, n, at, NULL) == Q2_OK;
}

/* Looks at the cluster at `table`.  False if it is no table. */
static bool look_at(struct probe *p, uint64_t table, unsigned bits, bool ext,
		    struct look *l)
{
	uint64_t end = table + (UINT64_C(1) << bits);
	uint8_t piece[PIECE];
	struct shape s;

	*l = (struct look){0};
	for (uint64_t at = table; at < end; at += PIECE) {
		uint64_t data = q2_io_data(p->io, at).start;
		size_t n;

		at = q2_max(at, data - data % SECTOR);
		if (at >= end || at >= p->io->size)
			break;
		n = (size_t)q2_min(PIECE, end - at);
		if (!look_read(p, piece, n, at))
			return false;
		for (size_t i = 0; i < n; i += SECTOR) {
			if (q2_all_zero(piece + i, SECTOR))
				continue;
			if (!shape_as(piece + i, p->io->size, ext, &s) ||
			    !aligned(piece + i, &s, bits, p->io->size))
				return false;
			l->entries += s.entries;
			l->copied += s.copied;
			place(piece + i, &s, bits, table, l);
		}
	}
	return l->entries != 0;
}

/* The place of a table decides.  Writers allocate an L2 table and then the first
 * cluster that it names, so that one of the next clusters is named; the table's
 * own cluster never is.  In an image that lies somewhere inside a raw disk all
 * offsets are off by the same distance, and the contrary is found. */
static void try_place(struct probe *p, const uint8_t *sector,
		      const struct shape *s, uint64_t at)
{
	/* Many offsets tell the cluster size; few may all be even. */
	unsigned bits = s->entries < NEAR || !s->bits ?
				Q2_CLUSTER_BITS_MIN :
				(unsigned)__builtin_ctzll(s->bits) - 1;

	bits = bits < Q2_CLUSTER_BITS_MIN ? Q2_CLUSTER_BITS_MIN : bits;
	for (; bits <= Q2_CLUSTER_BITS_MAX; bits++) {
		uint64_t table = at >> bits << bits;
		struct look here = {0}, whole;

		if (table == 0 || !aligned(sector, s, bits, p->io->size))
			continue;
		place(sector, s, bits, table, &here);
		if (!(here.near || here.itself) ||
		    !look_at(p, table, bits, s->ext, &whole))
			continue;
		/* One small number may be anything; not so with a flag. */
		if (whole.copied == 0 && whole.entries < NEAR)
			continue;
		if (whole.itself)
			p->differ++;
		else
			p->agree++;
		p->done = table + (UINT64_C(1) << bits);
		return;
	}
}

static bool leads_to_table(struct probe *p, uint64_t off, unsigned bits)
{
	uint8_t first[SECTOR];
	struct shape s;

	if (!look_read(p, first, SECTOR, off) ||
	    !(q2_all_zero(first, SECTOR) ||
	      shape_as(first, p->io->size, false, &s) ||
	      shape_as(first, p->io->size, true, &s)))
		return false;
	for (; bits >= Q2_CLUSTER_BITS_MIN; bits--) {
		struct look l;

		if ((look_at(p, off, bits, false, &l) ||
		     (bits >= 14 && look_at(p, off, bits, true, &l))) &&
		    !l.itself)
			return true;
	}
	return false;
}

/* The sector as part of an L1 table: most of what it names must be L2 tables. */
static void try_l1(struct probe *p, const uint8_t *sector,
		   const struct shape *s, uint64_t at)
{
	unsigned bits = (unsigned)__builtin_ctzll(s->bits);
	unsigned tables = 0, others = 0;

	if (bits > Q2_CLUSTER_BITS_MAX)
		bits = Q2_CLUSTER_BITS_MAX;
	for (size_t i = 0; i < WORDS && tables + others < 2 * NEAR; i++) {
		uint64_t word = q2_be64(sector + 8 * i);

		if (word & Q2_L1_RESERVED)
			return;
		if (word == 0)
			continue;
		if (leads_to_table(p, word & Q2_ENTRY_OFFSET, bits))
			tables++;
		else if (++others * 3 > NEAR)
			return;
	}
	if (tables < NEAR)
		return;
	p->agree += tables + 1;
	p->done = at + SECTOR;
}

/* What a refcount block of the given width says. */
struct block {
	uint64_t at;
	unsigned bits;
	unsigned order;
	uint64_t used; /* counts of clusters inside the file */
	uint64_t past; /* of others */
	uint64_t large;
};

static bool counts(struct probe *p, const struct block *b, uint64_t off)
{
	uint64_t clu = off >> b->bits;
	uint64_t byte = clu << b->order >> 3;
	uint64_t in_byte = b->order < 3 ? 8u >> b->order : 1;
	uint8_t bytes[8];

	return byte < UINT64_C(1) << b->bits &&
	       look_read(p, bytes, sizeof(bytes), b->at + byte) &&
	       q2_refcount(bytes, b->order, clu % in_byte) != 0;
}

static bool count_block(struct probe *p, struct block *b)
{
	uint64_t clusters = q2_div_up(p->io->size, UINT64_C(1) << b->bits);
	uint64_t size = UINT64_C(1) << b->bits;
	uint64_t clu = 0;
	uint8_t piece[PIECE];

	for (uint64_t at = 0; at < size; at += PIECE) {
		size_t len = (size_t)q2_min(PIECE, size - at);

		if (!look_read(p, piece, len, b->at + at))
			return false;
		for (uint64_t i = 0; i < len * UINT64_C(8) >> b->order;
		     i++, clu++) {
			uint64_t n = q2_refcount(piece, b->order, i);

			b->used += n && clu < clusters;
			b->past += n && clu >= clusters;
			b->large += n > 4096;
		}
	}
	return b->used >= (b->order < 3 ? 16 : 3) &&
	       b->past <= 8 + b->used / 16 && b->large <= b->used / 16;
}

/* The sector as the start of a refcount table: its first block must know the
 * header, the table and itself, and nothing much past the end of the file. */
static void try_refcounts(struct probe *p, const uint8_t *sector,
			  const struct shape *s, uint64_t at)
{
	uint64_t first = q2_be64(sector);

	if (!s->plain || first == 0 || at == 0 || p->refcounts)
		return;
	for (unsigned i = 0; i < 7 * (Q2_CLUSTER_BITS_MAX + 1); i++) {
		struct block b = {.at = first, .bits = i / 7, .order = i % 7};

		if (b.bits < Q2_CLUSTER_BITS_MIN || first >> b.bits == at >> b.bits ||
		    (s->bits | at) & ((UINT64_C(1) << b.bits) - 1))
			continue;
		if (counts(p, &b, 0) && counts(p, &b, at) &&
		    counts(p, &b, first) && count_block(p, &b)) {
			p->refcounts = 1 + s->entries;
			return;
		}
	}
}

/* A header at another place than the file's start. */
static bool is_header(const struct probe *p, const uint8_t *sector)
{
	struct q2_header_faults faults;
	struct q2_header h;
	struct q2_geom g;

	if (q2_be32(sector) != Q2_MAGIC)
		return false;
	q2_header_parse(sector, SECTOR, &h);
	q2_header_judge(&h, p->io->size, &faults);
	return q2_geom_make(&h, &faults, p->io->size, &g);
}

static void try_sector(struct probe *p, const uint8_t *sector, uint64_t at)
{
	struct shape s;

	if (at && is_header(p, sector))
		p->inner = true;
	if (p->inner || at < p->done || q2_all_zero(sector, SECTOR))
		return;
	for (int ext = 0; ext < 2 && at >= p->done; ext++) {
		if (!shape_as(sector, p->io->size, ext, &s) || !s.entries)
			continue;
		if (!ext)
			try_refcounts(p, sector, &s, at);
		try_place(p, sector, &s, at);
		if (!ext && s.bits && p->agree == 0 && at >= p->done)
			try_l1(p, sector, &s, at);
	}
}

static enum q2_status scan(struct q2_checker *c, struct probe *p)
{
	uint64_t left = SCAN_BYTES;
	uint64_t at = 0;

	while (left && at < p->io->size && !p->inner) {
		uint64_t start = q2_io_data(p->io, at).start & ~(CHUNK - 1);
		uint64_t n;
		enum q2_status st;

		at = q2_max(at, start);
		if (at >= p->io->size)
			break;
		n = q2_min(q2_min(CHUNK, left), p->io->size - at);
		st = q2_tick(c, "tables", SCAN_BYTES - left, SCAN_BYTES);
		if (st != Q2_OK)
			return st;
		/* What cannot be read holds no evidence. */
		if (q2_pread_zero(p->io, p->chunk, CHUNK, at, NULL) == Q2_OK)
			for (uint64_t i = 0; i < n; i += SECTOR)
				try_sector(p, p->chunk + i, at + i);
		left -= n;
		at += CHUNK;
	}
	return Q2_OK;
}

/* The number of tables that the header's own fields lead to, if they are those
 * of a header whose magic alone is wrong; 0 otherwise. */
static uint64_t header_tables(struct q2_checker *c)
{
	struct q2_header *h = &c->header;
	struct q2_header_faults faults;
	struct q2_geom g;
	uint8_t bytes[8];
	uint64_t block;

	q2_header_judge(h, c->img.io->size, &faults);
	if (!q2_geom_make(h, &faults, c->img.io->size, &g) ||
	    g.reftable_bytes == 0 || h->l1_offset == 0 ||
	    q2_header_has(&faults, Q2_HF_L1_UNALIGNED) ||
	    q2_header_has(&faults, Q2_HF_L1_OUTSIDE) ||
	    q2_header_has(&faults, Q2_HF_L1_TOO_SMALL) ||
	    h->l1_offset >= g.file_size ||
	    q2_pread_zero(c->img.io, bytes, sizeof(bytes), g.reftable_offset,
			  NULL) != Q2_OK)
		return 0;
	block = q2_be64(bytes);
	return block && block < g.file_size && block % g.cluster_size == 0 ?
		       3 : 0; /* L1, refcount table, refcount block */
}

/* An image of which nothing but the first bytes was lost keeps its refcounts; one
 * of small clusters may lose them with its header, and keeps L2 tables.  An image
 * without either, as one without data may be, cannot be told from a raw disk. */
enum q2_status q2_chk_raw(struct q2_checker *c)
{
	struct probe p = {.io = c->img.io, .left = LOOK_BYTES};
	struct q2_finding f = {.fields = Q2_F_FOUND | Q2_F_COUNT,
			       .found = c->header.magic};
	enum q2_status st;
	void *chunk;

	f.count = header_tables(c);
	st = q2_get_raw(&c->budget, CHUNK, &chunk, c->err);
	if (st != Q2_OK)
		return st;
	p.chunk = chunk;
	st = scan(c, &p);
	q2_put(&c->budget, chunk, CHUNK);
	if (st != Q2_OK)
		return st;
	f.count = q2_max(f.count, p.refcounts);
	if (p.agree > p.differ)
		f.count += p.agree;
	if (f.count == 0) {
		c->result->is_raw = true;
		return Q2_OK;
	}
	c->result->partial = true;
	q2_found(c, Q2_P_HEADER_MAGIC, &f);
	return Q2_OK;
}
