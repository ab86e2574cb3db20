/*
 * mkbig.c - writes large QCOW2 images for the benchmarks: all of the metadata,
 * data clusters as holes.
 *
 *   mkbig KIND OUT   writes OUT and prints name=value lines about it
 *   mkbig --list     prints the kinds
 *
 * Version 3, 64 KiB clusters, 16-bit refcounts. `qemu-img check` finds nothing
 * wrong with them (leaks1m: the leaks only).
 *
 *   seq1t    1 TiB, every guest cluster allocated, laid out as
 *            `qemu-img create -o preallocation=metadata` does: each of the 2048
 *            L2 tables stands before the 8192 clusters that it maps, a refcount
 *            block behind the first run that needs it.
 *   rand64g  64 GiB, fully allocated by single-cluster writes in a random order
 *            (always the same): the host clusters are a random permutation of
 *            the guest's. Each L2 table lies where its first write fell, nearly
 *            all of them at the front.
 *   frag1t   The same with 1 TiB. qemu-img needs very long for it; it is there
 *            to be tried by hand.
 *   snap1t   seq1t with 50 internal snapshots. 102 of the 2048 L1 slots (5 %,
 *            every 20th) are rewritten during their life, 10 or 11 of them
 *            after each snapshot, each slot five times: as a guest write to a
 *            shared table does, the write copies the L2 table and puts one new
 *            data cluster into the copy. 2048 + 510 = 2558 distinct L2 tables;
 *            any two of the 51 L1 tables share at least 1946 of their 2048.
 *   leaks1m  64 GiB; 1,000,000 of its 1,048,576 clusters have lost their L2
 *            entry and kept their refcount of 1.
 *
 * The hostile kinds are in mkbig_hostile.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mkbig.h"

#define BITS      16u
#define CS        (1u << BITS)
#define PER_L2    (CS / 8)         /* entries in an L2 table */
#define PER_BLOCK (CS / 2)         /* refcounts in a refcount block */
#define NONE      UINT32_MAX
#define SNAPS     50u

/*
 * An L2 table. A copy is what it was copied from with entry `at` replaced by
 * `data`.
 */
struct table {
	uint32_t host;   /* cluster */
	uint32_t slot;   /* which of the L1 slots it serves */
	uint32_t from;   /* table that it is a copy of, or NONE */
	uint32_t at, data;
	uint32_t weight; /* entries that name it, over all L1 tables */
	int active;
};

struct big {
	int fd;
	uint64_t size;      /* virtual, bytes */
	uint32_t slots;     /* entries in each L1 table */
	uint32_t guest;     /* guest clusters */
	uint32_t next;      /* first host cluster not handed out */
	uint32_t cap;       /* host clusters that the arrays have room for */
	uint32_t *map;      /* host cluster of each guest cluster or 0, as in
			       the first table of its slot */
	uint16_t *ref;      /* refcount of each host cluster */
	uint32_t *block;    /* cluster of each refcount block */
	uint32_t nblocks;
	struct table *tab;
	uint32_t ntab;
	uint32_t *l1;       /* nl1 times `slots` table numbers; the first is
			       the active L1 table */
	uint32_t l1_host[SNAPS + 1];
	uint32_t nl1;
	uint32_t snap_host; /* cluster of the snapshot table, or 0 */
	uint64_t refs;      /* from L1 and L2 entries, and to L1 tables */
};

/*
 * Hands out n adjacent clusters; as QEMU does, a refcount block that they turn
 * out to need comes behind them.
 */
static uint32_t take(struct big *b, uint32_t n)
{
	uint32_t at = b->next;

	b->next += n;
	while (b->nblocks * PER_BLOCK < b->next)
		b->block[b->nblocks++] = b->next++;
	if (b->next > b->cap)
		die("more clusters than planned");
	return at;
}

static uint32_t new_table(struct big *b, uint32_t slot, uint32_t from)
{
	struct table *t = &b->tab[b->ntab];

	*t = (struct table){ .host = take(b, 1), .slot = slot, .from = from };
	return b->ntab++;
}

static void start(struct big *b, int fd, uint64_t size)
{
	*b = (struct big){ .fd = fd, .size = size, .nl1 = 1 };
	b->guest = (uint32_t)(size >> BITS);
	b->slots = b->guest / PER_L2;
	b->cap = b->guest + b->guest / 1024 + 4096;
	b->map = need(b->guest, sizeof *b->map);
	b->ref = need(b->cap + PER_BLOCK, sizeof *b->ref);
	b->block = need(b->cap / PER_BLOCK + 2, sizeof *b->block);
	b->tab = need(b->slots + (size_t)SNAPS * b->slots, sizeof *b->tab);
	b->l1 = need((SNAPS + 1) * (size_t)b->slots, sizeof *b->l1);
	for (uint32_t s = 0; s < b->slots; s++)
		b->l1[s] = NONE;
	take(b, 2); /* header and refcount table; the first block follows */
	b->l1_host[0] = take(b, 1);
}

static void finish(struct big *b)
{
	free(b->map);
	free(b->ref);
	free(b->block);
	free(b->tab);
	free(b->l1);
}

static void lay_sequential(struct big *b)
{
	for (uint32_t s = 0; s < b->slots; s++) {
		b->l1[s] = new_table(b, s, NONE);
		uint32_t first = take(b, PER_L2);

		for (uint32_t i = 0; i < PER_L2; i++)
			b->map[s * PER_L2 + i] = first + i;
	}
}

/* One guest cluster is written: its L2 table comes first if it is missing. */
static uint32_t write_cluster(struct big *b, uint32_t g)
{
	if (b->l1[g / PER_L2] == NONE)
		b->l1[g / PER_L2] = new_table(b, g / PER_L2, NONE);
	return take(b, 1);
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void lay_random(struct big *b)
{
	uint32_t *order = need(b->guest, sizeof *order);
	uint64_t state = 20240229;

	for (uint32_t i = 0; i < b->guest; i++) {
		uint32_t j = (uint32_t)(splitmix(&state) % (i + 1u));

		order[i] = order[j];
		order[j] = i;
	}
	for (uint32_t i = 0; i < b->guest; i++)
		b->map[order[i]] = write_cluster(b, order[i]);
	free(order);
}

static void lay_leaks(struct big *b)
{
	const uint64_t leaks = 1000000;

	for (uint32_t g = 0; g < b->guest; g++) {
		uint32_t host = write_cluster(b, g);

		/* spreads them evenly: the sum over all g is exactly `leaks` */
		if ((g + 1) * leaks / b->guest != g * leaks / b->guest)
			b->ref[host] = 1;
		else
			b->map[g] = host;
	}
}

/*
 * The life of snap1t: a snapshot, then a write into some of the slots that it
 * shares; fifty times.
 */
static void lay_snapshots(struct big *b)
{
	lay_sequential(b);
	for (uint32_t step = 0; step < SNAPS; step++) {
		uint32_t *saved = b->l1 + (size_t)b->nl1 * b->slots;

		memcpy(saved, b->l1, b->slots * sizeof *saved);
		b->l1_host[b->nl1++] = take(b, 1);
		for (uint32_t j = 0; j < b->slots / 20; j++) {
			if ((j + step) % 10)
				continue;
			uint32_t slot = j * 20;
			uint32_t t = new_table(b, slot, b->l1[slot]);

			b->tab[t].at = (step * 131 + j * 7) % PER_L2;
			b->tab[t].data = take(b, 1);
			b->l1[slot] = t;
		}
	}
	b->snap_host = take(b, 1);
}

/*
 * The host clusters that table t maps. The copies of one slot replace different
 * entries, so the order is free.
 */
static void expand(const struct big *b, const struct table *t,
		   uint32_t out[PER_L2])
{
	memcpy(out, b->map + (size_t)t->slot * PER_L2, PER_L2 * sizeof *out);
	for (; t->from != NONE; t = &b->tab[t->from])
		out[t->at] = t->data;
}

static void count(struct big *b)
{
	static uint32_t out[PER_L2];

	for (size_t i = 0; i < (size_t)b->nl1 * b->slots; i++)
		b->tab[b->l1[i]].weight++;
	for (uint32_t s = 0; s < b->slots; s++)
		b->tab[b->l1[s]].active = 1;
	b->refs = b->nl1;
	for (uint32_t n = 0; n < b->ntab; n++) {
		const struct table *t = &b->tab[n];

		b->ref[t->host] = (uint16_t)t->weight;
		b->refs += t->weight;
		expand(b, t, out);
		for (uint32_t i = 0; i < PER_L2; i++) {
			if (!out[i])
				continue;
			b->ref[out[i]] = (uint16_t)(b->ref[out[i]] + t->weight);
			b->refs += t->weight;
		}
	}
	b->ref[0] = b->ref[1] = 1;
	for (uint32_t i = 0; i < b->nl1; i++)
		b->ref[b->l1_host[i]] = 1;
	for (uint32_t i = 0; i < b->nblocks; i++)
		b->ref[b->block[i]] = 1;
	if (b->snap_host)
		b->ref[b->snap_host] = 1;
}

static uint64_t byte_of(uint32_t cluster)
{
	return (uint64_t)cluster << BITS;
}

static void put_entry(uint8_t *table, uint32_t i, uint32_t cluster, int sole)
{
	put64(table + (size_t)i * 8, byte_of(cluster) | (sole ? COPIED : 0));
}

static void write_mapping(const struct big *b)
{
	static uint32_t out[PER_L2];
	static uint8_t buf[CS];

	for (uint32_t n = 0; n < b->ntab; n++) {
		const struct table *t = &b->tab[n];

		expand(b, t, out);
		for (uint32_t i = 0; i < PER_L2; i++) {
			int sole = t->active && b->ref[out[i]] == 1;

			put_entry(buf, i, out[i], out[i] && sole);
		}
		put_at(b->fd, buf, CS, byte_of(t->host));
	}
	for (uint32_t k = 0; k < b->nl1; k++) {
		const uint32_t *l1 = b->l1 + (size_t)k * b->slots;

		memset(buf, 0, CS);
		for (uint32_t s = 0; s < b->slots; s++) {
			const struct table *t = &b->tab[l1[s]];

			put_entry(buf, s, t->host, k == 0 && t->weight == 1);
		}
		put_at(b->fd, buf, CS, byte_of(b->l1_host[k]));
	}
}

static void write_refcounts(const struct big *b)
{
	static uint8_t buf[CS];

	for (uint32_t n = 0; n < b->nblocks; n++) {
		for (uint32_t i = 0; i < PER_BLOCK; i++) {
			uint32_t c = n * PER_BLOCK + i;

			put16(buf + (size_t)i * 2, c < b->next ? b->ref[c] : 0);
		}
		put_at(b->fd, buf, CS, byte_of(b->block[n]));
	}
	memset(buf, 0, CS);
	for (uint32_t n = 0; n < b->nblocks; n++)
		put64(buf + (size_t)n * 8, byte_of(b->block[n]));
	put_at(b->fd, buf, CS, byte_of(1));
}

static void write_image(struct big *b)
{
	static uint8_t snaps[CS];
	struct hdr h = {
		.bits = BITS,
		.order = 4,
		.size = b->size,
		.l1_size = b->slots,
		.l1_off = byte_of(b->l1_host[0]),
		.rt_off = byte_of(1),
		.rt_clusters = 1,
		.nsnaps = b->nl1 - 1,
		.snap_off = byte_of(b->snap_host),
	};
	size_t len = 0;

	count(b);
	set_length(b->fd, byte_of(b->next));
	write_mapping(b);
	write_refcounts(b);
	for (uint32_t k = 1; k < b->nl1; k++)
		len += put_snapshot(snaps + len, k, byte_of(b->l1_host[k]),
				    b->slots, b->size);
	if (len)
		put_at(b->fd, snaps, len, byte_of(b->snap_host));
	put_header(b->fd, &h);
	printf("host_clusters=%" PRIu32 "\n", b->next);
	printf("l2_tables=%" PRIu32 "\n", b->ntab);
	printf("references=%" PRIu64 "\n", b->refs);
}

static const struct kind {
	const char *name;
	unsigned gib;
	void (*lay)(struct big *);
} kinds[] = {
	{ "seq1t", 1024, lay_sequential }, { "rand64g", 64, lay_random },
	{ "frag1t", 1024, lay_random },    { "snap1t", 1024, lay_snapshots },
	{ "leaks1m", 64, lay_leaks },
};

static int make(const char *kind, int fd)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct big b;

		if (strcmp(kinds[i].name, kind))
			continue;
		start(&b, fd, (uint64_t)kinds[i].gib << 30);
		kinds[i].lay(&b);
		write_image(&b);
		finish(&b);
		return 1;
	}
	return make_hostile(kind, fd);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
			printf("%s%s", i ? " " : "", kinds[i].name);
		list_hostile();
		puts("");
		return 0;
	}
	if (argc != 3) {
		fputs("usage: mkbig KIND OUT | mkbig --list\n", stderr);
		return 2;
	}
	int fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		die(argv[2]);
	errno = 0;
	if (!make(argv[1], fd)) {
		fprintf(stderr, "mkbig: no kind %s\n", argv[1]);
		unlink(argv[2]);
		return 2;
	}
	if (close(fd))
		die(argv[2]);
	return fflush(stdout) ? 1 : 0;
}
