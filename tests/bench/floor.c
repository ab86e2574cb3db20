/*
 * floor.c - the least work that a check or a map of a QCOW2 image, or writing out
 * its disk, can be: what the benchmarks hold the tools against.
 *
 *   floor IMAGE         reads the header and each L1 table, then each distinct
 *                       L2 table once in disk order, and counts the references
 *                       in one flat array; prints references=N. Refcounts are
 *                       not read and nothing is judged.
 *   floor --read IMAGE  reads the same tables, the refcount table and its
 *                       blocks once, in ascending order, telling the kernel a
 *                       few megabytes ahead; prints bytes=N. For comparisons
 *                       with a cold cache.
 *   floor --copy FROM TO, floor --hash FILE
 *                       the bytes of a file, see floor_bytes.c.
 *
 *   floor --map IMAGE   reads the header, the active L1 table and its L2 tables in
 *                       the order of the guest's disk, and counts the runs of
 *                       clusters; prints extents=N.  Nothing is printed of them.
 *   floor --files DIR   reads the first 512 bytes of every file below a folder;
 *                       prints files=N.
 *
 * It trusts the image more than a tool may: it is for the images of mkbig that
 * are not hostile.
 *
 * SPDX-License-Identifier: MIT
 */
#include "floor.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OFFSET     UINT64_C(0x00fffffffffffe00)
#define COMPRESSED (UINT64_C(1) << 62)
#define AHEAD      (4u << 20) /* bytes announced before they are read */

struct span {
	uint64_t off, len;
};

struct l2 {
	uint64_t off;
	uint32_t weight;           /* L1 entries that name it */
};

struct image {
	int fd;
	unsigned bits;
	uint64_t clusters;         /* in the file, a partial one counts */
	uint32_t nl1;
	struct span *l1;           /* the active table first */
	struct span rt;
	uint8_t *count;            /* by host cluster, stays at 255 */
	struct l2 *l2;             /* the distinct L2 tables in disk order */
	size_t nl2, room;
	uint64_t refs;
};

void die(const char *what)
{
	const char *why = errno ? strerror(errno) : "not for this program";

	fprintf(stderr, "floor: %s: %s\n", what, why);
	exit(1);
}

static void *need(size_t n, size_t each)
{
	void *p = calloc(n ? n : 1, each);

	if (!p)
		die("memory");
	return p;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

/* What lies behind the end of the file reads as zeros. */
void read_at(int fd, uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("read");
		if (n == 0) {
			memset(buf, 0, len);
			return;
		}
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

/* Reads the header and the snapshot records: which L1 tables there are. */
static void open_image(struct image *im, const char *path)
{
	uint8_t h[112], s[64];
	struct stat st;

	im->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (im->fd < 0 || fstat(im->fd, &st))
		die(path);
	read_at(im->fd, h, sizeof h, 0);
	im->bits = (unsigned)get(h + 20, 4);
	if (memcmp(h, "QFI\xfb", 4) || im->bits < 9 || im->bits > 21)
		die(path);
	im->clusters = ((uint64_t)st.st_size + (UINT64_C(1) << im->bits) - 1) >>
		       im->bits;
	im->rt = (struct span){ get64(h + 48), get(h + 56, 4) << im->bits };
	im->nl1 = (uint32_t)get(h + 60, 4) + 1;
	im->l1 = need(im->nl1, sizeof *im->l1);
	im->l1[0] = (struct span){ get64(h + 40), get(h + 36, 4) * 8 };
	uint64_t at = get64(h + 64);

	for (uint32_t i = 1; i < im->nl1; i++) {
		read_at(im->fd, s, sizeof s, at);
		im->l1[i] = (struct span){ get64(s), get(s + 8, 4) * 8 };
		at += 40 + get(s + 36, 4) + get(s + 12, 2) + get(s + 14, 2);
		at = (at + 7) & ~UINT64_C(7);
	}
}

static void hit(struct image *im, uint64_t cluster, uint32_t weight)
{
	if (cluster >= im->clusters)
		return;
	uint32_t sum = im->count[cluster] + weight;

	im->count[cluster] = (uint8_t)(sum > 255 ? 255 : sum);
	im->refs += weight;
}

static int up(const void *a, const void *b)
{
	const struct l2 *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static size_t append(struct image *im, uint64_t off)
{
	if (im->nl2 == im->room) {
		im->room = im->room ? im->room * 2 : 1024;
		im->l2 = realloc(im->l2, im->room * sizeof *im->l2);
		if (!im->l2)
			die("memory");
	}
	im->l2[im->nl2] = (struct l2){ off, 1 };
	return im->nl2++;
}

/* Sorts the list of L2 tables and makes one of entries with the same offset. */
static void settle(struct image *im)
{
	size_t n = 0;

	if (im->nl2)
		qsort(im->l2, im->nl2, sizeof *im->l2, up);
	for (size_t i = 0; i < im->nl2; i++)
		if (n && im->l2[n - 1].off == im->l2[i].off)
			im->l2[n - 1].weight += im->l2[i].weight;
		else
			im->l2[n++] = im->l2[i];
	im->nl2 = n;
}

static int same_as_before(const struct image *im, uint32_t k)
{
	const struct span *t = &im->l1[k];

	return k && t->off == t[-1].off && t->len == t[-1].len;
}

/*
 * Reads every L1 table. A slot that says the same as in the table before needs
 * no place in the list.
 */
static void gather(struct image *im)
{
	size_t most = 0;

	for (uint32_t k = 0; k < im->nl1; k++)
		most = im->l1[k].len > most ? im->l1[k].len : most;
	uint8_t *buf = need(most, 1);
	struct {
		uint64_t off;
		size_t at;
	} *before = need(most / 8, sizeof *before);

	for (uint32_t k = 0; k < im->nl1; k++) {
		if (!same_as_before(im, k))
			read_at(im->fd, buf, im->l1[k].len, im->l1[k].off);
		for (size_t i = 0; i < im->l1[k].len / 8; i++) {
			uint64_t off = get64(buf + i * 8) & OFFSET;

			if (!off)
				continue;
			if (off == before[i].off) {
				im->l2[before[i].at].weight++;
				continue;
			}
			before[i].off = off;
			before[i].at = append(im, off);
		}
	}
	free(before);
	free(buf);
	settle(im);
}

static void hit_compressed(struct image *im, uint64_t e, uint32_t weight)
{
	unsigned x = 70 - im->bits;
	uint64_t off = e & ((UINT64_C(1) << x) - 1);
	uint64_t sectors = (e & (COMPRESSED - 1)) >> x;
	uint64_t end = (off & ~UINT64_C(511)) + (sectors + 1) * 512;

	for (uint64_t c = off >> im->bits; c <= (end - 1) >> im->bits; c++)
		hit(im, c, weight);
}

static void scan(struct image *im, const uint8_t *buf, size_t entries,
		 uint32_t weight)
{
	uint8_t *count = im->count;
	uint64_t clusters = im->clusters, refs = 0;
	unsigned bits = im->bits;

	for (size_t i = 0; i < entries; i++) {
		uint64_t e = get64(buf + i * 8), c = (e & OFFSET) >> bits;

		if (e & COMPRESSED) {
			hit_compressed(im, e, weight);
		} else if (c && c < clusters) {
			uint32_t sum = count[c] + weight;

			count[c] = (uint8_t)(sum > 255 ? 255 : sum);
			refs++;
		}
	}
	im->refs += refs * weight;
}

static void count_all(struct image *im)
{
	size_t size = (size_t)1 << im->bits;
	uint8_t *buf = need(size, 1);

	gather(im);
	im->count = need(im->clusters, 1);
	for (uint32_t k = 0; k < im->nl1; k++)
		for (uint64_t o = 0; o < im->l1[k].len; o += size)
			hit(im, (im->l1[k].off + o) >> im->bits, 1);
	for (size_t i = 0; i < im->nl2; i++) {
		hit(im, im->l2[i].off >> im->bits, im->l2[i].weight);
		read_at(im->fd, buf, size, im->l2[i].off);
		scan(im, buf, size / 8, im->l2[i].weight);
	}
	printf("references=%" PRIu64 "\n", im->refs);
	free(buf);
}

static void announce(int fd, const struct span *s)
{
	posix_fadvise(fd, (off_t)s->off, (off_t)s->len, POSIX_FADV_WILLNEED);
}

/*
 * Reads the spans, which are in ascending order, and tells the kernel of each
 * when AHEAD bytes lie before it. Returns the bytes read.
 */
static uint64_t sweep(int fd, const struct span *span, size_t n)
{
	uint64_t told = 0, done = 0, most = 0;
	size_t next = 0;

	for (size_t i = 0; i < n; i++)
		most = span[i].len > most ? span[i].len : most;
	uint8_t *buf = need(most, 1);

	for (size_t i = 0; i < n; i++) {
		for (; next < n && told < done + AHEAD; next++) {
			announce(fd, &span[next]);
			told += span[next].len;
		}
		read_at(fd, buf, span[i].len, span[i].off);
		done += span[i].len;
	}
	free(buf);
	return done;
}

static void read_all(struct image *im)
{
	uint64_t size = UINT64_C(1) << im->bits, bytes = im->rt.len;
	size_t spans = 0;

	/* the kernel's own read-ahead would fetch the holes in between */
	posix_fadvise(im->fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint32_t k = 0; k < im->nl1; k++)
		if (!same_as_before(im, k)) {
			announce(im->fd, &im->l1[k]);
			bytes += im->l1[k].len;
		}
	gather(im);
	uint8_t *rt = need(im->rt.len, 1);

	read_at(im->fd, rt, im->rt.len, im->rt.off);
	for (uint64_t i = 0; i < im->rt.len; i += 8)
		if (get64(rt + i))
			append(im, get64(rt + i));
	settle(im);
	struct span *span = need(im->nl2, sizeof *span);

	for (size_t i = 0; i < im->nl2; i++) {
		struct span *last = spans ? &span[spans - 1] : NULL;

		if (last && im->l2[i].off == last->off + last->len &&
		    last->len < AHEAD / 4)
			last->len += size;
		else
			span[spans++] = (struct span){ im->l2[i].off, size };
	}
	printf("bytes=%" PRIu64 "\n", bytes + sweep(im->fd, span, spans));
	free(span);
	free(rt);
}

/* A cluster that goes on where the one before ended belongs to its run; so does one
 * that is nowhere, as that was. */
static uint64_t runs(const uint8_t *buf, size_t entries, uint64_t step,
		     uint64_t *want)
{
	uint64_t n = 0;

	for (size_t i = 0; i < entries; i++) {
		uint64_t off = get64(buf + i * 8) & OFFSET;

		n += off != *want;
		*want = off ? off + step : 0;
	}
	return n;
}

static void map_all(const struct image *im)
{
	size_t size = (size_t)1 << im->bits, n = im->l1[0].len / 8;
	uint8_t *l1 = need(n, 8), *buf = need(size, 1);
	uint64_t extents = 0, want = UINT64_MAX;

	read_at(im->fd, l1, n * 8, im->l1[0].off);
	for (size_t i = 0; i < n; i++) {
		uint64_t off = get64(l1 + i * 8) & OFFSET;

		if (off) {
			read_at(im->fd, buf, size, off);
			extents += runs(buf, size / 8, size, &want);
		} else {
			extents += want != 0;
			want = 0;
		}
	}
	printf("extents=%" PRIu64 "\n", extents);
	free(buf);
	free(l1);
}

static uint64_t files;

static int one_file(const char *path, const struct stat *st, int kind,
		    struct FTW *where)
{
	uint8_t buf[512];
	int fd;

	(void)st;
	(void)where;
	if (kind != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	read_at(fd, buf, sizeof buf, 0);
	close(fd);
	files++;
	return 0;
}

static int all_files(const char *path)
{
	if (nftw(path, one_file, 64, FTW_PHYS))
		die(path);
	printf("files=%" PRIu64 "\n", files);
	return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct image im = { 0 };
	const char *mode = argc == 3 ? argv[1] : argc == 2 ? "" : "?";

	if (argc == 4 && !strcmp(argv[1], "--copy")) {
		copy_bytes(argv[2], argv[3]);
		return 0;
	}
	if (!strcmp(mode, "--hash")) {
		hash_bytes(argv[2]);
		return fflush(stdout) ? 1 : 0;
	}
	if (!strcmp(mode, "--files"))
		return all_files(argv[2]);
	if (*mode && strcmp(mode, "--read") && strcmp(mode, "--map")) {
		fputs("usage: floor [--read|--map] IMAGE\n"
		      "       floor --copy FROM TO\n"
		      "       floor --hash FILE\n"
		      "       floor --files DIR\n", stderr);
		return 2;
	}
	open_image(&im, argv[argc - 1]);
	if (!strcmp(mode, "--read"))
		read_all(&im);
	else if (*mode)
		map_all(&im);
	else
		count_all(&im);
	free(im.l2);
	free(im.l1);
	free(im.count);
	return fflush(stdout) ? 1 : 0;
}
