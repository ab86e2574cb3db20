/*
 * calls_nbd.c - disks on a server, which fails as well.
 *
 * SPDX-License-Identifier: MIT
 *
 * It says what it wants to be asked; nothing else may reach it, and what lies behind
 * the disk that is written there stays.
 */
#include "calls.h"

#ifdef HAVE_LIBNBD

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fakenbd.h"
#include "io/nbd.h"

#define DISK_MAX (1u << 20)
#define URI "nbd://server/disk"

static uint8_t disk[DISK_MAX];
static struct fake_server server[] = {{.uri = URI}, {0}};
static struct q2_digest wanted, is;

static size_t load_file(const char *path, uint8_t *to)
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(to, 1, DISK_MAX, f) : 0;

	if (f)
		fclose(f);
	if (n == 0)
		die("%s cannot be read", path);
	return n;
}

static void serve(int64_t size)
{
	server[0] = (struct fake_server){.uri = URI,
					 .export = "disk",
					 .bytes = disk,
					 .size = size,
					 .family = AF_UNIX};
	fake_servers(server);
}

/* ------------------------------------------------------------------ reading */
static enum q2_status read_all(const char *name, enum q2_guest_format format,
			       struct q2_digest *digest, struct q2_err *err)
{
	struct q2_guest_opts opts = {.format = format, .layer = Q2_ANY_LAYER};
	struct q2_read_opts how = {.threads = 1};
	struct q2_guest *guest;
	enum q2_status st = q2_guest_open(name, &opts, &guest, err);

	if (st == Q2_OK)
		st = q2_guest_digest(guest, &how, digest, err);
	q2_guest_close(guest);
	return st;
}

static void image_there(void)
{
	size_t n;

	memset(disk, 0, sizeof(disk));
	n = load_file("given/packed.qcow2", disk);
	serve((int64_t)(n + 511) / 512 * 512);
	server[0].least = 512;
	server[0].most = 5120 + 100;
	wanted = guest_of("given/packed.qcow2");
}

static enum q2_status run_image(struct q2_err *err)
{
	enum q2_status st = read_all(URI, Q2_GUEST_QCOW2, &is, err);

	if (st == Q2_OK)
		result_add(&is, sizeof(is));
	return st;
}

static bool right_image(bool done)
{
	return !server[0].odd && server[0].writes == 0 &&
	       (!done || memcmp(&is, &wanted, sizeof(is)) == 0);
}

/* Mostly holes, and one at the end. */
static void holes(void)
{
	struct q2_err err = {0};
	FILE *f;

	empty_work();
	memset(disk, 0, sizeof(disk));
	(void)load_file("given/raw.img", disk + (80 << 10));
	memset(disk + (90 << 10), 0, 50 << 10);
	f = fopen("work/disk", "we");
	if (f == NULL || fwrite(disk, 1, 300 << 10, f) != 300 << 10 ||
	    fclose(f) != 0 ||
	    read_all("work/disk", Q2_GUEST_RAW, &wanted, &err) != Q2_OK)
		die("work/disk: %s", err.text);
	serve(300 << 10);
}

static enum q2_status run_holes(struct q2_err *err)
{
	enum q2_status st = read_all(URI, Q2_GUEST_RAW, &is, err);

	if (st == Q2_OK)
		result_add(&is, sizeof(is));
	return st;
}

static void no_extents(void)
{
	holes();
	server[0].no_extents = server[0].closes = true;
}

static void mute(void)
{
	holes();
	server[0].mute = true;
}

/* ------------------------------------------------------------------ writing */
#define GUEST (128u << 10)

static uint8_t guest_bytes[DISK_MAX];

static void disk_there(void)
{
	empty_work();
	if (load_file("given/top.raw", guest_bytes) != GUEST)
		die("given/top.raw is no disk of 128 KiB");
	memset(disk, 0xff, sizeof(disk));
	serve(GUEST + (32 << 10));
}

static void plain_disk_there(void)
{
	disk_there();
	server[0].no_zeros = server[0].no_flush = true;
	server[0].family = 0;
}

static void blocks_there(void)
{
	disk_there();
	server[0].least = 8192;
	server[0].most = 16384;
}

static void small_disk_there(void)
{
	disk_there();
	server[0].size = GUEST - 4096;
}

static enum q2_status write_disk(unsigned flags,
				 enum q2_preallocate preallocate,
				 struct q2_err *err)
{
	struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER};
	struct q2_dump_opts how = {.scan.threads = 1,
				   .flags = flags,
				   .preallocate = preallocate,
				   .length = UINT64_MAX};
	struct q2_dump_result r;
	struct q2_guest *guest;
	enum q2_status st = q2_guest_open("given/top.qcow2", &opts, &guest, err);

	if (st == Q2_OK)
		st = q2_dump(guest, URI, &how, &r, err);
	q2_guest_close(guest);
	if (st == Q2_OK)
		result_add(&r.digest, sizeof(r.digest));
	return st;
}

static enum q2_status run_write(struct q2_err *err)
{
	return write_disk(Q2_DUMP_VERIFY, Q2_PREALLOC_OFF, err);
}

static enum q2_status run_full(struct q2_err *err)
{
	return write_disk(0, Q2_PREALLOC_FULL, err);
}

/* Bytes that lie anyhow, and those that are not there. */
static enum q2_status run_bytes(struct q2_err *err)
{
	struct q2_range odd = {1000, 8192};
	struct q2_io *io;
	char text[600];
	enum q2_status st = q2_nbd_open(URI, Q2_NBD_WRITE, &io, err);

	if (st == Q2_OK && io->size != (uint64_t)server[0].size)
		die("it is another disk");
	for (uint64_t at = 8000; st == Q2_OK && at < 8600; at += 300) {
		st = q2_pwrite(io, "neither", 7, at, err);
		if (st == Q2_OK)
			st = q2_pread(io, text, sizeof(text), at - 5, err);
		if (st == Q2_OK)
			result_add(text, sizeof(text));
	}
	if (st == Q2_OK &&
	    (q2_pwrite(io, "nor", 3, io->size - 2, NULL) != Q2_E_RANGE ||
	     q2_nbd_zero(io, odd, false, NULL) != Q2_E_UNSUPPORTED ||
	     q2_nbd_zero(io, (struct q2_range){8192, 1000}, false, NULL) !=
		     Q2_E_UNSUPPORTED ||
	     q2_nbd_zero(io, (struct q2_range){0, io->size + 8192}, false,
			 NULL) != Q2_E_UNSUPPORTED ||
	     q2_io_data(io, 1000).len != io->size - 1000))
		die("not refused");
	q2_io_close(io);
	return st;
}

static bool right_bytes(bool done)
{
	bool good = !server[0].odd;

	for (size_t i = 0; i < sizeof(disk) && good; i++)
		good = disk[i] == 0xff || (i >= 8000 && i < 8607);
	for (size_t i = 8000; i < 8600 && good && done; i += 300)
		good = memcmp(disk + i, "neither\xff", 8) == 0;
	return good;
}

static bool right_write(bool done)
{
	bool good = !server[0].odd && names_at_work()[0] == '\0';

	for (size_t i = GUEST; i < (size_t)server[0].size && good; i++)
		good = disk[i] == 0xff;
	return good && (!done || memcmp(disk, guest_bytes, GUEST) == 0);
}

/* What cannot be is refused, before anything is written. */
static enum q2_status run_refused(struct q2_err *err)
{
	static const char *const why[] = {"too small", "read-only"};
	enum q2_status st = Q2_OK;

	for (int i = 0; i < 2 && st == Q2_OK; i++) {
		*err = (struct q2_err){0};
		server[0].read_only = i == 1;
		st = write_disk(0, Q2_PREALLOC_OFF, err);
		if (st != Q2_OK && strstr(err->text, why[i]))
			st = Q2_OK;
		else if (st == Q2_OK)
			die("not refused: %s", why[i]);
	}
	return st;
}

/* Nor is it written to what is read. */
static bool right_refused(bool done)
{
	struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER,
				     .format = Q2_GUEST_RAW};
	struct q2_dump_opts how = {.length = UINT64_MAX};
	struct q2_dump_result r;
	struct q2_err err = {0};
	struct q2_guest *guest;
	bool refused;

	(void)done;
	server[0].read_only = false;
	if (q2_guest_open(URI, &opts, &guest, &err) != Q2_OK)
		die("%s", err.text);
	refused = q2_dump(guest, URI, &how, &r, &err) == Q2_E_ARG &&
		  strstr(err.text, "one of the files");
	q2_guest_close(guest);
	return refused && server[0].writes == 0 && server[0].zeros == 0;
}

/* --------------------------------------------------------- images over a disk */
/* Another image lies over the same ones, and is to go on doing so. */
static void images_over(void)
{
	empty_work();
	memset(disk, 0, sizeof(disk));
	(void)load_file("given/raw.img", disk);
	serve(GUEST);
	copy_file("given/far.qcow2", "work/far.qcow2");
	copy_file("given/nearer.qcow2", "work/nearer.qcow2");
	copy_file("given/nearest.qcow2", "work/nearest.qcow2");
	wanted = guest_of("work/nearer.qcow2");
}

static enum q2_status absorb(const char *base, struct q2_err *err)
{
	static const char *const siblings[] = {"work", NULL};
	static const char *const allow[] = {"nbd://server/", NULL};
	struct q2_inplace_opts o = {.job = Q2_ABSORB,
				    .base = base,
				    .allow = allow,
				    .siblings = siblings};
	struct q2_inplace_result r = {0};

	return q2_inplace("work/nearer.qcow2", &o, &r, err);
}

static enum q2_status run_over(struct q2_err *err)
{
	return absorb("nbd://server/disk", err);
}

/* Now it lies over the server's disk itself; at the worst it does so later. */
static bool right_over(bool done)
{
	struct q2_err err = {0};

	if (!same_guest("work/nearer.qcow2", &wanted) ||
	    !same_guest("work/nearest.qcow2", &wanted) ||
	    !same_file("given/far.qcow2", "work/far.qcow2"))
		return false;
	if (!done && absorb("nbd://server/disk", &err) != Q2_OK) {
		fprintf(stderr, "calls: not finished: %s\n", err.text);
		return false;
	}
	(void)load_file("work/nearer.qcow2", guest_bytes);
	return same_guest("work/nearer.qcow2", &wanted) &&
	       is_usable("work/nearer.qcow2") &&
	       memmem(guest_bytes, 4096, "nbd://server/disk", 17) != NULL;
}

/* ------------------------------------------------------------ which it is */
static struct fake_server many[] = {
	{.uri = "nbd://a/x", .export = "x", .family = AF_UNIX},
	{.uri = "nbd://b/x", .export = "x", .family = AF_UNIX},
	{.uri = "nbd://a/y", .export = "y", .family = AF_UNIX},
	{.uri = "nbd://c/x", .export = "x", .family = AF_INET},
	{.uri = "nbd://d/x", .export = "x", .family = AF_INET},
	{.uri = "nbd://e/x", .export = "x"},
	{0},
};

#define N_MANY (sizeof(many) / sizeof(*many) - 1)

static bool same[N_MANY][N_MANY];

static enum q2_status run_which(struct q2_err *err)
{
	struct q2_io *io[N_MANY] = {NULL}, *file = NULL;
	enum q2_status st = q2_io_open("given/raw.img", &file, err);

	fake_servers(many);
	for (size_t i = 0; i < N_MANY && st == Q2_OK; i++)
		st = q2_nbd_open(many[i].uri, i % 2 ? Q2_NBD_WRITE : 0, &io[i],
				 err);
	for (size_t i = 0; i < N_MANY && st == Q2_OK; i++)
		for (size_t j = 0; j < N_MANY; j++)
			same[i][j] = q2_nbd_same(io[i], io[j]);
	if (st == Q2_OK && (q2_nbd_same(file, io[0]) ||
			    q2_nbd_same(io[0], file) ||
			    q2_nbd_same(NULL, io[0])))
		die("a file is no connection");
	for (size_t i = 0; i < N_MANY; i++)
		q2_io_close(io[i]);
	q2_io_close(file);
	return st;
}

/* On a socket of one process it is told by the export; else by the address. */
static bool right_which(bool done)
{
	static const bool expected[N_MANY][N_MANY] = {
		{true, true, false, false, false, false},
		{true, true, false, false, false, false},
		{false, false, true, false, false, false},
		{false, false, false, true, false, false},
		{false, false, false, false, true, false},
		{false, false, false, false, false, false},
	};
	struct q2_err err = {0};

	(void)done;
	return run_which(&err) == Q2_OK &&
	       memcmp(same, expected, sizeof(same)) == 0;
}

const struct scene nbd_scenes[] = {
	{"nbd image", image_there, run_image, right_image, 0},
	{"nbd holes", holes, run_holes, right_image, 0},
	{"nbd without extents", no_extents, run_holes, right_image, 0},
	{"nbd without an answer", mute, run_holes, right_image, 0},
	{"nbd target", disk_there, run_write, right_write, 0},
	{"nbd plain target", plain_disk_there, run_write, right_write, 0},
	{"nbd target of blocks", blocks_there, run_write, right_write, 0},
	{"nbd target without holes", disk_there, run_full, right_write, 0},
	{"nbd bytes", blocks_there, run_bytes, right_bytes, 0},
	{"nbd refused", small_disk_there, run_refused, right_refused, 0},
	{"nbd below", images_over, run_over, right_over, SCENE_FEW},
	{"nbd same", empty_work, run_which, right_which, SCENE_TOLERANT},
	{0},
};

#else

const struct scene nbd_scenes[] = {{0}};

#endif
