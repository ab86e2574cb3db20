/*
 * test_guestdisk.c - what a guest's own tables say of its disk, if they can be true.
 *
 * SPDX-License-Identifier: MIT
 *
 * Offsets are those of the ext superblock, of MBR and GPT (UEFI), and of a FAT
 * volume's first sector.
 */
#include <check.h>
#include <string.h>

#include "base/endian.h"
#include "repair/rescue.h"

#define CS 4096u
#define CLUSTERS 8u /* the header's, the table, and six of the guest's */
#define SECTOR 512u

static uint8_t file[CLUSTERS * CS];
static uint8_t *const disk = file + 2 * CS; /* what the guest has */
static struct q2_gdisk g;
static struct q2_io *io;
static uint64_t l1 = CS;

static void le16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void le32(uint8_t *p, uint64_t v)
{
	le16(p, (unsigned)v & 0xffff);
	le16(p + 2, (unsigned)(v >> 16) & 0xffff);
}

static void le64(uint8_t *p, uint64_t v)
{
	le32(p, v);
	le32(p + 4, v >> 32);
}

static void set_up(void)
{
	memset(file, 0, sizeof(file));
	for (unsigned i = 0; i + 2 < CLUSTERS; i++)
		q2_put_be64(file + CS + 8 * i, (i + 2) * CS);
}

/* The disk as it is now. */
static void open_disk(void)
{
	ck_assert_int_eq(q2_io_memory(file, sizeof(file), &io, NULL), Q2_OK);
	g = (struct q2_gdisk){
		.img = {.io = io,
			.geom = {.version = 3, .cluster_bits = 12, .l2_bits = 9,
				 .entry_bits = 3, .cluster_size = CS,
				 .file_size = sizeof(file),
				 .file_clusters = CLUSTERS}},
		.l1 = &l1,
		.slots = 1,
	};
}

static void close_disk(void)
{
	q2_gdisk_free(&g);
	q2_io_close(io);
}

static uint64_t size_now(const char *of, bool exact)
{
	const char *what = NULL;
	bool is_exact;
	uint64_t n;

	open_disk();
	n = q2_gdisk_size(&g, &what, &is_exact);
	close_disk();
	if (n)
		ck_assert_str_eq(what, of);
	ck_assert(is_exact == exact);
	return n;
}

static struct q2_partitions partitions_now(void)
{
	struct q2_partitions p;

	open_disk();
	q2_partitions_read(&g, &p);
	close_disk();
	return p;
}

/* ------------------------------------------------------------------------ ext */
static void make_ext(uint8_t *sb)
{
	memset(sb, 0, Q2_EXTFS_BYTES);
	le32(sb + 4, 5000);   /* blocks */
	le32(sb + 20, 1);     /* the first data block, with blocks of 1 KiB */
	le32(sb + 32, 8192);  /* blocks of a group */
	le16(sb + 56, 0xef53);
	le32(sb + 76, 1);     /* revision */
	le16(sb + 88, 256);   /* bytes of an inode */
}

START_TEST(ext)
{
	static const struct {
		size_t at;
		uint64_t v;
	} bad[] = {
		{56, 0xef5300},	 /* the magic is gone, with the state */
		{24, 7},	 /* blocks of 128 KiB */
		{4, 0},		 /* none of them */
		{32, 0},	 /* groups of none */
		{32, 8193},	 /* more than the bits of a block */
		{20, 2},	 /* the first block is the third */
		{76, 2},	 /* a revision that does not exist */
	};
	uint8_t sb[Q2_EXTFS_BYTES];
	struct q2_extfs fs;

	make_ext(sb);
	ck_assert(q2_extfs_parse(sb, &fs));
	ck_assert_uint_eq(fs.blocks, 5000);
	ck_assert_uint_eq(fs.block_size, 1024);
	ck_assert_uint_eq(fs.desc_size, 32);
	ck_assert_uint_eq(fs.inode_size, 256);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_ext(sb);
		le32(sb + bad[i].at, bad[i].v);
		ck_assert_msg(!q2_extfs_parse(sb, &fs), "case %zu", i);
	}
	/* The first revision had inodes of 128 bytes. */
	make_ext(sb);
	le32(sb + 76, 0);
	ck_assert(q2_extfs_parse(sb, &fs));
	ck_assert_uint_eq(fs.inode_size, 128);
}
END_TEST

START_TEST(ext_64bit)
{
	uint8_t sb[Q2_EXTFS_BYTES];
	struct q2_extfs fs;

	make_ext(sb);
	le32(sb + 96, 0x80);
	le16(sb + 254, 64);
	le32(sb + 336, 1);
	ck_assert(q2_extfs_parse(sb, &fs));
	ck_assert_uint_eq(fs.blocks, (UINT64_C(1) << 32) + 5000);
	ck_assert_uint_eq(fs.desc_size, 64);
	/* Descriptors that are too short or too long; more blocks than 2^46. */
	le16(sb + 254, 16);
	ck_assert(!q2_extfs_parse(sb, &fs));
	le16(sb + 254, 2048);
	ck_assert(!q2_extfs_parse(sb, &fs));
	le16(sb + 254, 64);
	le32(sb + 336, 1u << 14);
	ck_assert(!q2_extfs_parse(sb, &fs));
}
END_TEST

/* ------------------------------------------------------------------------ MBR */
static void make_mbr(uint8_t *sector)
{
	memset(sector, 0, SECTOR);
	sector[446 + 4] = 0x83;
	le32(sector + 446 + 8, 2048);
	le32(sector + 446 + 12, 4096);
	sector[446 + 16] = 0x80; /* active */
	sector[446 + 16 + 4] = 0x07;
	le32(sector + 446 + 16 + 8, 8192);
	le32(sector + 446 + 16 + 12, 100);
	le16(sector + 510, 0xaa55);
}

START_TEST(mbr)
{
	static const struct {
		size_t at;
		uint8_t v;
	} bad[] = {
		{510, 0}, {511, 0}, /* no signature */
		{446, 1},	    /* neither active nor not */
		{446 + 9, 0},	    /* starts with the table itself */
		{446 + 13, 0},	    /* no sectors */
	};
	struct q2_partitions p;

	set_up();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_mbr(disk);
		disk[bad[i].at] = bad[i].v;
		ck_assert_msg(!q2_is_mbr(disk, &p), "case %zu", i);
		ck_assert_uint_eq(partitions_now().n, 0);
	}
	make_mbr(disk);
	ck_assert(q2_is_mbr(disk, &p));
	ck_assert_uint_eq(p.n, 2);
	ck_assert_uint_eq(p.start[0], 2048 * SECTOR);
	ck_assert_uint_eq(p.end, 8292 * SECTOR);
	ck_assert_uint_eq(size_now("the end of its last partition", false),
			  8292 * SECTOR);
	/* What protects a GPT says nothing of the disk's end. */
	disk[446 + 16 + 4] = 0xee;
	ck_assert(q2_is_mbr(disk, &p));
	ck_assert_uint_eq(p.end, 0);
	/* Nothing in it. */
	disk[446 + 4] = disk[446 + 16 + 4] = 0;
	ck_assert(!q2_is_mbr(disk, &p));
}
END_TEST

/* ------------------------------------------------------------------------ GPT */
static void gpt_entry(unsigned i, uint64_t type, uint64_t first, uint64_t last)
{
	uint8_t *e = disk + 2 * SECTOR + (size_t)128 * i;

	le64(e, type);
	le64(e + 32, first);
	le64(e + 40, last);
}

static void make_gpt(void)
{
	uint8_t *h = disk + SECTOR;

	set_up();
	memcpy(h, "EFI PART", 8);
	le64(h + 32, 20479); /* the other header, in the last sector */
	le64(h + 72, 2);     /* the table, */
	le32(h + 80, 128);   /* of so many entries */
	le32(h + 84, 128);   /* of so many bytes */
}

START_TEST(gpt)
{
	struct q2_partitions p;

	make_gpt();
	gpt_entry(0, 7, 2048, 4095);
	gpt_entry(1, 0, 2048, 4095);	       /* not in use */
	gpt_entry(2, 7, 0, 4095);	       /* on the header */
	gpt_entry(3, 7, 4096, 4095);	       /* ends before it starts */
	gpt_entry(4, 7, 4096, INT64_MAX);      /* past all disks */
	gpt_entry(5, 7, 4096, 8191);
	p = partitions_now();
	ck_assert_uint_eq(p.n, 2);
	ck_assert_uint_eq(p.start[1], 4096 * SECTOR);
	ck_assert_uint_eq(p.end, 8192 * SECTOR);
	ck_assert_uint_eq(p.disk, 20480 * SECTOR);
	ck_assert_uint_eq(size_now("its GUID partition table", true),
			  20480 * SECTOR);
	/* No more than there is room for. */
	for (unsigned i = 0; i < 20; i++)
		gpt_entry(i, 7, 2048 + i, 2048 + i);
	ck_assert_uint_eq(partitions_now().n, Q2_PARTITIONS);
	/* The other header cannot lie there: the partitions tell of an end. */
	le64(disk + SECTOR + 32, UINT64_MAX);
	ck_assert_uint_eq(size_now("the end of its last partition", false),
			  (2048 + Q2_PARTITIONS) * SECTOR);
}
END_TEST

START_TEST(bad_gpt)
{
	static const struct {
		size_t at;
		uint64_t v;
	} bad[] = {
		{84, 64}, {84, 8192},	    /* entries that are none */
		{76, 0x80000000},	    /* a table past all disks */
		{72, 10 * CS / SECTOR},	    /* or where there is nothing */
		{80, 0},		    /* of no entries */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_gpt();
		gpt_entry(0, 7, 2048, 4095);
		ck_assert_uint_eq(partitions_now().n, 1);
		le32(disk + SECTOR + bad[i].at, bad[i].v);
		ck_assert_msg(partitions_now().n == 0, "case %zu", i);
	}
}
END_TEST

/* --------------------------------------------------------------- file systems */
static void make_fat(void)
{
	set_up();
	disk[0] = 0xeb;
	le16(disk + 11, SECTOR);
	disk[16] = 2;
	le16(disk + 19, 2880);
	le16(disk + 510, 0xaa55);
}

START_TEST(fat)
{
	static const struct {
		size_t at;
		uint8_t v;
	} bad[] = {
		{510, 0}, {511, 0}, /* no signature */
		{0, 0x90},	    /* no jump */
		{12, 8},	    /* sectors of 2 KiB */
		{16, 0}, {16, 3},   /* no tables, or three */
	};

	make_fat();
	ck_assert_uint_eq(size_now("its file system", false), 2880 * SECTOR);
	disk[0] = 0xe9; /* the other jump */
	ck_assert_uint_eq(size_now("its file system", false), 2880 * SECTOR);
	le16(disk + 19, 0);
	le32(disk + 32, 100000);
	disk[16] = 1;
	ck_assert_uint_eq(size_now("its file system", false), 100000 * SECTOR);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_fat();
		disk[bad[i].at] = bad[i].v;
		ck_assert_msg(size_now("", false) == 0, "case %zu", i);
	}
}
END_TEST

START_TEST(others)
{
	set_up();
	make_ext(disk + 1024);
	ck_assert_uint_eq(size_now("its file system", false), 5000 * 1024);
	set_up();
	memcpy(disk, "XFSB", 4);
	q2_put_be32(disk + 4, 4096);
	q2_put_be64(disk + 8, 7000);
	ck_assert_uint_eq(size_now("its file system", false), 7000 * 4096);
	q2_put_be32(disk + 4, 65537);
	ck_assert_uint_eq(size_now("", false), 0);
	q2_put_be32(disk + 4, 4096);
	q2_put_be64(disk + 8, UINT64_C(1) << 40);
	ck_assert_uint_eq(size_now("", false), 0);
	set_up();
	ck_assert_uint_eq(size_now("", false), 0);
}
END_TEST

/* What cannot be read is zeros, and told. */
START_TEST(holes)
{
	uint8_t bytes[2];

	set_up();
	memset(disk, 0xa5, CS);
	memset(disk + CS, 0x5a, CS);
	open_disk();
	ck_assert(q2_gdisk_read(&g, CS - 1, bytes, 2));
	ck_assert_uint_eq(bytes[0], 0xa5);
	ck_assert_uint_eq(bytes[1], 0x5a);
	/* Behind the last cluster, and behind the last table. */
	ck_assert(!q2_gdisk_read(&g, 6 * CS - 1, bytes, 2));
	ck_assert_uint_eq(bytes[1], 0);
	ck_assert(!q2_gdisk_read(&g, UINT64_C(512) * CS, bytes, 2));
	l1 = 0;
	ck_assert(!q2_gdisk_read(&g, 0, bytes, 2));
	ck_assert_uint_eq(bytes[0], 0);
	l1 = CS;
	close_disk();
	/* An entry that cannot be right leads nowhere. */
	q2_put_be64(file + CS, 2 * CS + SECTOR);
	open_disk();
	ck_assert(!q2_gdisk_read(&g, 0, bytes, 2));
	ck_assert_uint_eq(bytes[0], 0);
	close_disk();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guestdisk");
	TCase *c = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, ext);
	tcase_add_test(c, ext_64bit);
	tcase_add_test(c, mbr);
	tcase_add_test(c, gpt);
	tcase_add_test(c, bad_gpt);
	tcase_add_test(c, fat);
	tcase_add_test(c, others);
	tcase_add_test(c, holes);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
