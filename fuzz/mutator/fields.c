/*
 * fields.c - changing one field to a value that means something.
 *
 * SPDX-License-Identifier: MIT
 *
 * The kind of structure is chosen first, then the field: large tables do not
 * drown the header's few words.
 */
#include "mut_own.h"

struct field {
	uint16_t at;
	uint8_t bytes;
	const char *name;
	/* Values at the format's limits, and those of known bugs. */
	uint64_t values[8];
};

static const struct field header[] = {
	{H_VERSION, 4, "version", {2, 3, 1, 4, 0, 0xffffffff}},
	{H_BACKING, 8, "backing_file_offset",
	 {0, 4, 72, 104, 112, 512, UINT64_MAX, 508}},
	{H_BACKING_SIZE, 4, "backing_file_size",
	 {0, 1, 1023, 1024, 512, 0x7fffffff, 0xffffffff}},
	{H_BITS, 4, "cluster_bits", {9, 8, 10, 12, 16, 21, 22, 0x25252525}},
	{H_SIZE, 8, "size",
	 {0, 1, 511, 512, UINT64_MAX, INT64_MAX, UINT64_C(1) << 37,
	  0xeeeeeeeeeeeeeeee}},
	{H_CRYPT, 4, "crypt_method", {0, 1, 2, 3, 0xffffffff}},
	{H_L1_SIZE, 4, "l1_size",
	 {0, 1, 2, 64, 4194304, 4194305, 0x7fffffff, 0xffffffff}},
	{H_L1, 8, "l1_table_offset",
	 {0, 512, 0x1234567890abcdef, 0x7fffffffffff0000, UINT64_MAX}},
	{H_RT, 8, "refcount_table_offset",
	 {0, 512, 0x1234567890abcdef, 0xffffffffffff0000, UINT64_MAX}},
	{H_RT_CLUSTERS, 4, "refcount_table_clusters",
	 {0, 1, 2, 16384, 16385, 0x00020001, 0x7f, 0xffffffff}},
	{H_SNAPS, 4, "nb_snapshots",
	 {0, 1, 2, 65536, 65537, 0x7fffffff, 0xffffffff}},
	{H_SNAPTAB, 8, "snapshots_offset",
	 {0, 512, 0x1234567890abcdef, 0xffffffffffff0000}},
	{H_INCOMPAT, 8, "incompatible_features",
	 {0, 1, 2, 4, 8, 16, 32, UINT64_MAX}},
	{H_COMPAT, 8, "compatible_features", {0, 1, 2, UINT64_MAX}},
	{H_AUTOCLEAR, 8, "autoclear_features", {0, 1, 2, 3, 4, UINT64_MAX}},
	{H_ORDER, 4, "refcount_order", {0, 1, 2, 3, 5, 6, 7, 0xffffffff}},
	{H_LENGTH, 4, "header_length",
	 {0, 72, 96, 104, 105, 112, 512, 0xffffffff}},
	{H_TYPE, 1, "compression_type", {0, 1, 2, 255}},
	{105, 1, "padding", {0, 1, 255}},
};

/* An offset that leads somewhere: into the image, to its end, past it. */
static uint64_t some_offset(struct mut *m, uint64_t own)
{
	uint64_t clu = mut_below(m, m->n / m->cs + 1) * m->cs;

	switch (mut_below(m, 16)) {
	case 0:
		return 0;
	case 1:
		return (m->n + m->cs - 1) / m->cs * m->cs;
	case 2:
		return m->n / m->cs * m->cs;
	case 3:
		return clu + 512 * mut_below(m, 8);
	case 4:
		return m->l1;
	case 5:
		return m->rt;
	case 6:
		return mut_get(m, m->rt, 8) & ~UINT64_C(511);
	case 7:
		return own / m->cs * m->cs;
	case 8:
		return UINT64_C(1) << (9 + mut_below(m, 55));
	case 9:
		return (UINT64_C(1) << (9 + mut_below(m, 46))) - m->cs;
	case 10:
		return m->snaptab;
	case 11:
		return UINT64_C(0x00fffffffffffe00) & ~(uint64_t)(m->cs - 1);
	default:
		return clu;
	}
}

/* A table entry: the old one with another offset, flag or bit. */
static uint64_t some_entry(struct mut *m, uint64_t old, uint64_t own,
			   const char **how)
{
	unsigned x = 70 - m->bits;

	switch (mut_below(m, 14)) {
	case 0:
		*how = "zero";
		return 0;
	case 1:
		*how = "copied";
		return old ^ MUT_COPIED;
	case 2:
		*how = "packed";
		return old ^ MUT_PACKED;
	case 3:
		*how = "zero-flag";
		return old ^ 1;
	case 4:
		*how = "reserved";
		return old ^ UINT64_C(1) << (mut_one_in(m, 2) ?
						     1 + mut_below(m, 8) :
						     56 + mut_below(m, 6));
	case 5:
		*how = "bit";
		return old ^ UINT64_C(1) << mut_below(m, 64);
	case 6:
		*how = "unaligned";
		return old + 512;
	case 7:
		*how = "next";
		return old + m->cs;
	case 8:
		*how = "flags-only";
		return MUT_COPIED;
	case 9:
		*how = "stream";
		return MUT_PACKED | mut_random(m) % (m->n + 1) |
		       mut_below(m, 4) << x;
	case 10:
		*how = "random";
		return mut_random(m);
	default:
		*how = "offset";
		return (old & ~MUT_OFFSET) | some_offset(m, own);
	}
}

static uint64_t some_number(struct mut *m, uint64_t old, unsigned bytes)
{
	uint64_t all = bytes == 8 ? UINT64_MAX :
				    (UINT64_C(1) << 8 * bytes) - 1;

	switch (mut_below(m, 8)) {
	case 0:
		return 0;
	case 1:
		return all;
	case 2:
		return all >> 1;
	case 3:
		return old + 1;
	case 4:
		return old - 1;
	case 5:
		return old ^ UINT64_C(1) << mut_below(m, 8 * bytes);
	case 6:
		return mut_random(m) & all >> mut_below(m, 8 * bytes);
	default:
		return some_offset(m, old) & all;
	}
}

static void change_header(struct mut *m)
{
	const struct field *f =
		&header[mut_below(m, sizeof(header) / sizeof(*header))];
	uint64_t v;

	if (mut_one_in(m, 2)) {
		v = f->values[mut_below(m, 8)];
	} else if (mut_one_in(m, 2) && f->bytes == 8) {
		v = some_offset(m, f->at);
	} else {
		v = some_number(m, mut_get(m, f->at, f->bytes), f->bytes);
	}
	mut_set(m, f->at, f->bytes, v);
	mut_say(f->name, f->at, NULL);
}

static void change_entry(struct mut *m, const char *name, size_t at)
{
	const char *how;
	uint64_t v;

	if (at == 0)
		return;
	v = some_entry(m, mut_get(m, at, 8), at, &how);
	mut_set(m, at, 8, v);
	mut_say(name, at, how);
}

static void change_l2(struct mut *m)
{
	size_t table = mut_some_l2(m), width = m->ext_l2 ? 16 : 8, at;

	if (table == 0)
		return;
	at = mut_used_entry(m, table, m->cs / width, width);
	if (m->ext_l2 && mut_one_in(m, 3)) {
		mut_set(m, at + 8, 8,
			mut_get(m, at + 8, 8) ^ UINT64_C(1)
							<< mut_below(m, 64));
		mut_say("subclusters", at + 8, NULL);
		return;
	}
	change_entry(m, "l2", at);
}

static void change_refcount(struct mut *m)
{
	size_t entry = mut_used_entry(m, m->rt, m->rt_n, 8);
	uint64_t block = mut_get(m, entry, 8) & ~UINT64_C(511);
	unsigned bytes = m->order > 3 ? 1u << (m->order - 3) : 1;
	size_t used = (m->n / m->cs + 1) * bytes, at;

	if (block == 0 || block >= m->n)
		return;
	at = (size_t)block + mut_below(m, used / bytes) * bytes;
	mut_set(m, at, bytes,
		mut_one_in(m, 3) ? mut_below(m, 4) :
				   some_number(m, mut_get(m, at, bytes),
					       bytes));
	mut_say("refcount", at, NULL);
}

/* One of the numbers of a snapshot's record. */
static void change_snapshot(struct mut *m)
{
	static const struct {
		uint8_t at, bytes;
		const char *name;
	} fields[] = {
		{0, 8, "snap.l1_offset"},    {8, 4, "snap.l1_size"},
		{12, 2, "snap.id_len"},	     {14, 2, "snap.name_len"},
		{20, 4, "snap.nsec"},	     {32, 4, "snap.vm32"},
		{36, 4, "snap.extra_size"},  {40, 8, "snap.vm64"},
		{48, 8, "snap.disk_size"},   {56, 4, "snap.text"},
	};
	size_t rec, i = mut_below(m, sizeof(fields) / sizeof(*fields));

	if (m->snaps == 0)
		return;
	rec = mut_snapshot(m, (unsigned)mut_below(m, m->snaps));
	if (rec == 0)
		return;
	rec += fields[i].at;
	mut_set(m, rec, fields[i].bytes,
		i == 0 ? some_offset(m, rec) :
			 some_number(m, mut_get(m, rec, fields[i].bytes),
				     fields[i].bytes));
	mut_say(fields[i].name, rec, NULL);
}

/* The extension itself, a record of the directory, or a table's entry. */
static void change_bitmap(struct mut *m)
{
	static const struct {
		uint8_t at, bytes;
		const char *name;
	} fields[] = {
		{0, 8, "bitmap.table_offset"}, {8, 4, "bitmap.table_size"},
		{12, 4, "bitmap.flags"},       {16, 1, "bitmap.type"},
		{17, 1, "bitmap.granularity"}, {18, 2, "bitmap.name_size"},
		{20, 4, "bitmap.extra_size"},  {24, 2, "bitmap.name"},
	};
	size_t ext = mut_extension(m, 0x23852875), i, at;
	uint64_t dir = mut_get(m, ext + 24, 8);

	if (ext == 0)
		return;
	if (mut_one_in(m, 3)) {
		static const uint8_t places[5] = {4, 8, 12, 16, 24};

		i = mut_below(m, 5);
		at = ext + places[i];
		mut_set(m, at, i < 3 ? 4 : 8,
			some_number(m, mut_get(m, at, i < 3 ? 4 : 8),
				    i < 3 ? 4 : 8));
		mut_say("bitmaps-ext", at, NULL);
		return;
	}
	if (dir == 0 || dir >= m->n)
		return;
	at = (size_t)dir + 32 * mut_below(m, 3);
	if (mut_one_in(m, 3)) {
		at = (size_t)(mut_get(m, at, 8) % (m->n + 1));
		change_entry(m, "bitmap-table", at);
		return;
	}
	i = mut_below(m, sizeof(fields) / sizeof(*fields));
	at += fields[i].at;
	mut_set(m, at, fields[i].bytes,
		i == 0 ? some_offset(m, at) :
			 some_number(m, mut_get(m, at, fields[i].bytes),
				     fields[i].bytes));
	mut_say(fields[i].name, at, NULL);
}

static void change_extension(struct mut *m)
{
	static const uint32_t types[] = {0, 0xe2792aca, 0x6803f857, 0x23852875,
					 0x0537be77, 0x44415441, 0x12345678};
	size_t at = m->exts;

	while (at + 8 < m->cs && mut_get(m, at, 4) && mut_one_in(m, 2))
		at += 8 + (size_t)((mut_get(m, at + 4, 4) + 7) % m->cs &
				   ~UINT64_C(7));
	if (mut_one_in(m, 2)) {
		mut_set(m, at, 4, types[mut_below(m, 7)]);
		mut_say("ext.type", at, NULL);
	} else {
		mut_set(m, at + 4, 4,
			some_number(m, mut_get(m, at + 4, 4), 4));
		mut_say("ext.length", at + 4, NULL);
	}
}

/* Bytes of a compressed stream, or of any cluster. */
static void change_bytes(struct mut *m)
{
	size_t table = mut_some_l2(m), at = mut_below(m, m->n + 1);
	unsigned n = 1 + (unsigned)mut_below(m, 8);

	for (size_t i = 0; table && i < m->cs; i += 8) {
		uint64_t raw = mut_get(m, table + i, 8);

		uint64_t off = raw & ((UINT64_C(1) << (70 - m->bits)) - 1);

		if ((raw & MUT_PACKED) && off < m->n)
			at = (size_t)off + mut_below(m, 16);
	}
	mut_say("bytes", at, NULL);
	while (n--)
		mut_set(m, at++, 1, mut_random(m));
}

void mut_field(struct mut *m)
{
	/* Of sixteen; the header's share is small, as most of what is changed
	 * there only keeps the image from being opened. */
	static const uint8_t shares[6][7] = {
		/* header l1 l2 reftable refcount snapshot bitmap */
		{2, 3, 8, 9, 11, 13, 15}, {1, 3, 5, 5, 6, 15, 15},
		{1, 1, 2, 2, 3, 3, 15},	  {1, 2, 8, 8, 9, 9, 9},
		{1, 2, 4, 8, 15, 15, 15}, {15, 15, 15, 15, 15, 15, 15},
	};
	const uint8_t *share = shares[m->profile < 6 ? m->profile : 0];
	size_t pick = mut_below(m, 16);

	if (pick < share[0])
		change_header(m);
	else if (pick < share[1])
		change_entry(m, "l1", mut_used_entry(m, m->l1, m->l1_n, 8));
	else if (pick < share[2])
		change_l2(m);
	else if (pick < share[3])
		change_entry(m, "reftable",
			     mut_used_entry(m, m->rt, m->rt_n, 8));
	else if (pick < share[4])
		change_refcount(m);
	else if (pick < share[5])
		change_snapshot(m);
	else if (pick < share[6])
		change_bitmap(m);
	else if (m->profile == Q2MUT_COMPRESSED || mut_one_in(m, 3))
		change_bytes(m);
	else
		change_extension(m);
}
