/*
 * test_inflate.c - compressed clusters: streams that are whole, longer, shorter,
 * broken, cut off by the end of the file.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "image/inflate.h"

#define LARGE 65536u
#define SMALL 4096u /* where every length is tried */
#define ROOM (4 * LARGE)

static uint8_t plain[ROOM]; /* what goes in */
static uint8_t packed[ROOM];	   /* what stands in the file */
static unsigned cluster; /* size */
static struct q2_budget budget;

/* Text-like bytes from a fixed sequence, so that matches of all kinds occur. */
static void fill(uint8_t *to, size_t n)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (i > 4096 && x % 5)
			to[i] = to[i - 1 - x / 5 % 4096];
		else
			to[i] = (uint8_t)("etaoin shrdlu" [x / 5 % 13]);
	}
}

static size_t pack(int level, int window_bits, size_t n)
{
	z_stream z = {0};

	ck_assert_int_eq(deflateInit2(&z, level, Z_DEFLATED, window_bits, 9,
				      Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = plain;
	z.avail_in = (uInt)n;
	z.next_out = packed;
	z.avail_out = ROOM;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return ROOM - z.avail_out;
}

static size_t pack_zstd(size_t n, size_t frame)
{
	size_t out = 0;

	for (size_t at = 0; at < n; at += frame) {
		size_t len = n - at < frame ? n - at : frame;
		size_t r = ZSTD_compress(packed + out, ROOM - out, plain + at,
					 len, 3);

		ck_assert(!ZSTD_isError(r));
		out += r;
	}
	return out;
}

struct got {
	enum q2_status st;
	size_t n;
	bool whole;
	bool same; /* what came out is what went in */
};

struct bench {
	struct q2_io *io;
	struct q2_image img;
	struct q2_inflate *work;
};

static void open_bench(struct bench *b, bool zstd, size_t file_size)
{
	memset(b, 0, sizeof(*b));
	ck_assert_int_eq(q2_io_memory(packed, file_size, &b->io, NULL), Q2_OK);
	b->img.io = b->io;
	b->img.budget = &budget;
	b->img.geom.cluster_size = cluster;
	b->img.geom.inflatable = true;
	b->img.geom.zstd = zstd;
	ck_assert_int_eq(q2_inflate_new(&b->img, &b->work, NULL), Q2_OK);
}

static void close_bench(struct bench *b)
{
	q2_inflate_free(b->work);
	q2_io_close(b->io);
	ck_assert_uint_eq(budget.used, 0);
}

static struct got run(struct bench *b, uint64_t start, uint64_t len)
{
	struct got g = {0};
	const uint8_t *bytes;

	g.st = q2_inflate(b->work, (struct q2_range){start, len}, &bytes, &g.n,
			  &g.whole, NULL);
	g.same = g.st == Q2_OK && memcmp(bytes, plain, g.n) == 0;
	return g;
}

static struct got once(bool zstd, size_t file_size, uint64_t start,
		       uint64_t len)
{
	struct bench b;
	struct got g;

	open_bench(&b, zstd, file_size);
	g = run(&b, start, len);
	close_bench(&b);
	return g;
}

static void expect(struct got g, size_t n, bool whole)
{
	ck_assert_int_eq(g.st, Q2_OK);
	ck_assert_uint_eq(g.n, n);
	ck_assert_int_eq(g.whole, whole);
	ck_assert(g.same);
}

static uint64_t sectors(size_t n)
{
	return (n + 511) / 512 * 512;
}

START_TEST(test_deflate_whole)
{
	static const int levels[] = {0, 1, 6, 9}; /* 0: stored blocks */

	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
		/* A file that ends with the stream, and one that does not. */
		size_t n = pack(levels[i], -12, cluster);

		expect(once(false, n, 0, sectors(n)), cluster, true);
		memset(packed + n, 0xa5, 4096);
		expect(once(false, n + 4096, 0, sectors(n)), cluster, true);
	}
}
END_TEST

START_TEST(test_deflate_window)
{
	size_t n;

	/* Matches that only a window of 32 KiB reaches. */
	for (size_t i = 0; i < cluster; i++)
		plain[i] = (uint8_t)(rand() >> 7);
	memcpy(plain + 32000, plain, 20000);
	n = pack(9, -15, cluster);
	ck_assert_uint_lt(n, cluster - 15000);
	expect(once(false, n, 0, sectors(n)), cluster, true);
}
END_TEST

START_TEST(test_deflate_longer)
{
	static const int levels[] = {0, 6};

	for (size_t i = 0; i < 2; i++) {
		size_t n = pack(levels[i], -15, cluster + 1);

		ck_assert_uint_le(n, 2 * cluster);
		expect(once(false, ROOM, 0, n), cluster, true);
		/* Only the part that gives the first cluster is there. */
		n = pack(levels[i], -15, 3 * cluster / 2);
		expect(once(false, ROOM, 0, n * 9 / 10), cluster, true);
	}
}
END_TEST

START_TEST(test_deflate_shorter)
{
	static const size_t sizes[] = {0, 1, 511, 4096, LARGE - 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size_t n = pack(6, -15, sizes[i]);

		expect(once(false, ROOM, 0, sectors(n)), sizes[i], false);
	}
}
END_TEST

START_TEST(test_deflate_wrapped)
{
	/* 0x78 starts a block of stored bytes, whose lengths do not agree. */
	size_t n = pack(6, 15, cluster);
	struct got g = once(false, n, 0, sectors(n));

	ck_assert_int_eq(g.st, Q2_OK);
	ck_assert(!g.whole);
}
END_TEST

START_TEST(test_garbage)
{
	unsigned whole = 0;

	for (int zstd = 0; zstd < 2; zstd++) {
		struct bench b;

		for (size_t i = 0; i < ROOM; i++)
			packed[i] = (uint8_t)(rand() >> 7);
		open_bench(&b, zstd, ROOM);
		for (uint64_t at = 0; at < 2 * cluster; at += 61) {
			struct got g = run(&b, at, cluster);

			ck_assert_int_eq(g.st, Q2_OK);
			ck_assert_uint_le(g.n, cluster);
			whole += g.whole;
		}
		close_bench(&b);
	}
	ck_assert_uint_eq(whole, 0);
}
END_TEST

/* What zlib makes of the first `n` bytes, one byte at a time. */
static size_t reference(const uint8_t *in, size_t n, uint8_t *out)
{
	z_stream z = {0};

	ck_assert_int_eq(inflateInit2(&z, -15), Z_OK);
	z.next_out = out;
	z.avail_out = cluster;
	z.next_in = packed; /* for the type only: inflate() does not write */
	for (size_t i = 0; i < n && z.avail_out; i++) {
		uint8_t byte = in[i];

		z.next_in = &byte;
		z.avail_in = 1;
		if (inflate(&z, Z_SYNC_FLUSH) != Z_OK)
			break;
	}
	inflateEnd(&z);
	return cluster - z.avail_out;
}

START_TEST(test_deflate_truncated)
{
	static uint8_t out[SMALL];
	size_t n;
	bool whole = false;

	cluster = SMALL;
	n = pack(6, -15, cluster);
	/* By the end of the range; what follows must not be touched. */
	for (size_t cut = 0; cut <= n; cut++) {
		struct got g = once(false, ROOM, 0, cut);
		size_t want = reference(packed, cut, out);

		expect(g, want, want == cluster);
		whole = g.whole;
	}
	ck_assert(whole);
	/* By the end of the file: no zeros are made up for what is missing. */
	for (size_t cut = 0; cut <= n; cut += 7) {
		size_t want = reference(packed, cut, out);

		expect(once(false, cut, 0, sectors(n)), want, want == cluster);
	}
}
END_TEST

/* One flipped bit: the two decoders must not disagree. */
START_TEST(test_deflate_flips)
{
	static uint8_t out[SMALL];
	struct bench b;
	size_t n;

	cluster = SMALL;
	n = pack(6, -15, cluster);
	open_bench(&b, false, ROOM);
	for (size_t bit = 0; bit < 8 * n; bit += bit < 2000 ? 1 : 11) {
		const uint8_t *bytes;
		size_t got, want;
		bool whole;

		packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(q2_inflate(b.work,
					    (struct q2_range){0, sectors(n)},
					    &bytes, &got, &whole, NULL), Q2_OK);
		want = reference(packed, (size_t)sectors(n), out);
		ck_assert_uint_eq(got, want);
		ck_assert_int_eq(whole, want == cluster);
		ck_assert_mem_eq(bytes, out, want);
		packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	close_bench(&b);
}
END_TEST

START_TEST(test_outside)
{
	size_t n = pack(6, -15, cluster);

	expect(once(false, n, n, 512), 0, false);
	expect(once(false, n, UINT64_MAX - 1024, 512), 0, false);
	expect(once(true, 0, 0, 512), 0, false);
	ck_assert_int_eq(once(false, n, 0, 2 * cluster + 1).st, Q2_E_ARG);
}
END_TEST

START_TEST(test_zstd_whole)
{
	size_t n = pack_zstd(cluster, cluster);

	expect(once(true, n, 0, sectors(n)), cluster, true);
	/* Several frames; trailing junk. */
	n = pack_zstd(cluster, 10000);
	memset(packed + n, 0x5a, 4096);
	expect(once(true, ROOM, 0, sectors(n)), cluster, true);
	/* QEMU does not take a frame that has more. */
	n = pack_zstd(cluster + 1, cluster + 1);
	expect(once(true, n, 0, sectors(n)), 0, false);
	n = pack_zstd(cluster - 1, cluster);
	expect(once(true, n, 0, sectors(n)), cluster - 1, false);
	memset(packed + n, 0x5a, 4096);
	expect(once(true, ROOM, 0, sectors(n) + 512), cluster - 1, false);
}
END_TEST

START_TEST(test_zstd_truncated)
{
	struct got g = {0};
	size_t n;

	cluster = SMALL;
	n = pack_zstd(cluster, 1500);
	for (size_t cut = 0; cut <= n; cut++) {
		struct got by_file = once(true, cut, 0, sectors(n));

		g = once(true, ROOM, 0, cut);
		ck_assert_int_eq(g.st, Q2_OK);
		ck_assert(g.same && by_file.same);
		ck_assert_uint_eq(g.n, by_file.n);
		ck_assert_int_eq(g.whole, g.n == cluster);
		ck_assert(!g.whole || cut > n - 16);
	}
	ck_assert(g.whole);
}
END_TEST

static size_t pack_window(int window_log, size_t n)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_inBuffer in = {plain, n, 0};
	ZSTD_outBuffer out = {packed, ROOM, 0};
	size_t r;

	ck_assert(!ZSTD_isError(
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log)));
	/* In two steps, so that the frame does not say how long it is. */
	while (in.pos < in.size)
		ck_assert(!ZSTD_isError(
			ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue)));
	r = ZSTD_compressStream2(c, &out, &in, ZSTD_e_end);
	ck_assert_uint_eq(r, 0);
	ZSTD_freeCCtx(c);
	return out.pos;
}

START_TEST(test_zstd_window)
{
	size_t n = pack_window(20, cluster);

	expect(once(true, n, 0, sectors(n)), cluster, true);
	/* Byte 5 is the window descriptor: an exponent in its upper bits.  The
	 * largest that readers take, and one past it. */
	packed[5] = (27 - 10) << 3;
	expect(once(true, n, 0, sectors(n)), cluster, true);
	packed[5] = (28 - 10) << 3;
	expect(once(true, n, 0, sectors(n)), 0, false);
	packed[5] = 0xff;
	expect(once(true, n, 0, sectors(n)), 0, false);
}
END_TEST

/* One work space for many streams: nothing of a bad one stays behind. */
START_TEST(test_reuse)
{
	for (int zstd = 0; zstd < 2; zstd++) {
		struct bench b;
		size_t n = zstd ? pack_zstd(cluster, cluster) :
				  pack(6, -15, cluster);

		memset(packed + ROOM - cluster, 0xee, cluster);
		open_bench(&b, zstd, ROOM);
		for (int i = 0; i < 3; i++) {
			expect(run(&b, 0, n), cluster, true);
			ck_assert(!run(&b, 0, n / 2).whole);
			ck_assert(!run(&b, ROOM - cluster, 4096).whole);
			ck_assert(!run(&b, 3, n).whole);
		}
		expect(run(&b, 0, n), cluster, true);
		close_bench(&b);
	}
}
END_TEST

START_TEST(test_limits)
{
	struct q2_image img = {.budget = &budget};
	struct q2_inflate *work;

	img.geom.cluster_size = cluster;
	ck_assert_int_eq(q2_inflate_new(&img, &work, NULL), Q2_E_UNSUPPORTED);
	ck_assert_ptr_null(work);
	img.geom.inflatable = true;
	budget.limit = 2 * cluster + 100;
	ck_assert_int_eq(q2_inflate_new(&img, &work, NULL), Q2_E_BUDGET);
	ck_assert_ptr_null(work);
	ck_assert_uint_eq(budget.used, 0);
	q2_inflate_free(NULL);
}
END_TEST

static void setup(void)
{
	srand(1);
	memset(packed, 0, sizeof(packed));
	fill(plain, sizeof(plain));
	cluster = LARGE;
	budget = (struct q2_budget){0};
}

int main(void)
{
	Suite *s = suite_create("inflate");
	TCase *t = tcase_create("streams");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_deflate_whole);
	tcase_add_test(t, test_deflate_window);
	tcase_add_test(t, test_deflate_longer);
	tcase_add_test(t, test_deflate_shorter);
	tcase_add_test(t, test_deflate_wrapped);
	tcase_add_test(t, test_deflate_truncated);
	tcase_add_test(t, test_deflate_flips);
	tcase_add_test(t, test_garbage);
	tcase_add_test(t, test_outside);
	tcase_add_test(t, test_zstd_whole);
	tcase_add_test(t, test_zstd_truncated);
	tcase_add_test(t, test_zstd_window);
	tcase_add_test(t, test_reuse);
	tcase_add_test(t, test_limits);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
