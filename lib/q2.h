/*
 * q2.h - the public interface of libq2: check QCOW2 images held in files,
 * block devices or memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * The library neither prints, nor exits, nor keeps globals.  All functions
 * are reentrant; one object must not be used by two threads at once.  Unless
 * said otherwise all offsets, sizes and lengths are in bytes, pointers handed
 * in are borrowed for the call, and destructors take NULL.
 *
 * "Format" in the comments is the QCOW2 format text, docs/interop/qcow2 in
 * QEMU's tree; its section names are quoted.
 */
#ifndef Q2_H
#define Q2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define Q2_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define Q2_PUBLIC __attribute__((visibility("default")))
#define Q2_MUST_CHECK __attribute__((warn_unused_result))
#else
#define Q2_PUBLIC
#define Q2_MUST_CHECK
#endif

/* ------------------------------------------------------------------ errors
 * An error says that the library could not do its job.  What is wrong with
 * an image is a finding (below), never an error.
 */
enum q2_status {
	Q2_OK = 0,
	Q2_E_IO,	  /* read, write or open failed; sys_errno says why */
	Q2_E_NOMEM,	  /* the allocator returned NULL */
	Q2_E_BUDGET,	  /* the memory limit given by the caller is reached */
	Q2_E_ARG,	  /* the caller's argument makes no sense */
	Q2_E_RANGE,	  /* outside of the file or table asked for */
	Q2_E_FORMAT,	  /* these bytes cannot be used as QCOW2 */
	Q2_E_UNSUPPORTED, /* legal, but needs a feature that we lack */
	Q2_E_INTERRUPTED  /* the progress callback asked to stop */
};

/* The caller's error record; may be NULL wherever it is taken.  The first
 * cause wins: a record that already holds a code is left alone. */
struct q2_err {
	enum q2_status code;
	int sys_errno;	 /* 0 where none applies */
	uint64_t offset; /* file offset concerned, UINT64_MAX for none */
	char text[240];	 /* one line, no newline, always terminated */
};

/* A short English name of a status, static storage, never NULL. */
Q2_PUBLIC const char *q2_status_text(enum q2_status status);

/* --------------------------------------------------------------------- I/O */
struct q2_io;

/* Opens a regular file or a block device read-only.  Nothing named inside
 * the file is opened, ever.  Directories, sockets, pipes and character
 * devices are refused with Q2_E_ARG. */
Q2_PUBLIC enum q2_status q2_io_open(const char *path, struct q2_io **io,
				    struct q2_err *err) Q2_MUST_CHECK;

/* An image held in memory.  `data` is borrowed until q2_io_close() and is
 * neither changed nor freed. */
Q2_PUBLIC enum q2_status q2_io_memory(const void *data, size_t size,
				      struct q2_io **io,
				      struct q2_err *err) Q2_MUST_CHECK;

/* Releases the object; a file opened by q2_io_open() is closed. */
Q2_PUBLIC void q2_io_close(struct q2_io *io);

/* Length of the file or device in bytes, as it was when opened. */
Q2_PUBLIC uint64_t q2_io_size(const struct q2_io *io);

/* How other processes hold the file, judged by the open-file-description
 * locks that QEMU keeps on single bytes (bases 100 and 200). */
enum q2_in_use {
	Q2_USE_NONE,   /* no such lock is held */
	Q2_USE_READER, /* somebody has it open, without permission to write */
	Q2_USE_WRITER  /* somebody may write to it at this moment */
};
Q2_PUBLIC enum q2_in_use q2_io_in_use(const struct q2_io *io);

/* ---------------------------------------------------------------- problems
 * Each kind of problem is declared once, in lib/check/problem.def, with a
 * stable number and a stable id such as L2_UNALIGNED.
 */
enum q2_severity {
	Q2_ADVICE, /* worth knowing; does not alter the verdict */
	Q2_LEAK,   /* host space that nothing refers to */
	Q2_CORRUPT /* the image breaks the format, or data is at risk */
};

enum q2_fix {
	Q2_FIX_NONE,   /* no repair is possible from the image alone */
	Q2_FIX_SAFE,   /* a repair leaves what the guest reads unchanged */
	Q2_FIX_LOSSY,  /* a repair has to give up a reference */
	Q2_FIX_REBUILD /* a structure is made anew from others */
};

/* Which members of a finding carry a meaning. */
enum q2_field {
	Q2_F_HOST = 1 << 0,
	Q2_F_GUEST = 1 << 1,
	Q2_F_LENGTH = 1 << 2,
	Q2_F_OTHER = 1 << 3,
	Q2_F_FOUND = 1 << 4,
	Q2_F_EXPECTED = 1 << 5,
	Q2_F_COUNT = 1 << 6,
	Q2_F_TREE = 1 << 7,
	Q2_F_L1 = 1 << 8,
	Q2_F_L2 = 1 << 9,
	Q2_F_INDEX = 1 << 10,
	Q2_F_KIND = 1 << 11,
	Q2_F_TEXT = 1 << 12
};

struct q2_problem {
	unsigned number; /* never reused */
	const char *id;	 /* upper case letters, digits and _ */
	enum q2_severity severity;
	enum q2_fix fix;
	unsigned fields;	 /* every field that may be present */
	const char *message;	 /* {placeholders} are field names */
	const char *explanation; /* what it means, what repair does */
};

/* The catalogue in order of number: i = 0 … until NULL. */
Q2_PUBLIC const struct q2_problem *q2_problem_at(size_t i);

/* Looks a problem up by number, or by id (in any case, - or _); NULL if unknown. */
Q2_PUBLIC const struct q2_problem *q2_problem_by_number(unsigned number);
Q2_PUBLIC const struct q2_problem *q2_problem_by_id(const char *id);

Q2_PUBLIC const char *q2_severity_text(enum q2_severity severity);
Q2_PUBLIC const char *q2_fix_text(enum q2_fix fix);

/* ---------------------------------------------------------------- findings */

/* What a host range is used for. */
enum q2_kind {
	Q2_K_NONE,
	Q2_K_HEADER,
	Q2_K_L1,
	Q2_K_L2,
	Q2_K_REFTABLE,
	Q2_K_REFBLOCK,
	Q2_K_SNAPTABLE,
	Q2_K_SNAPSHOT_L1,
	Q2_K_BITMAP_DIR,
	Q2_K_BITMAP_TABLE,
	Q2_K_BITMAP_DATA,
	Q2_K_LUKS,
	Q2_K_DATA,
	Q2_K_COMPRESSED,
	Q2_K_ZEROS,
	Q2_K_COUNT
};
Q2_PUBLIC const char *q2_kind_text(enum q2_kind kind);

#define Q2_TREE_ACTIVE UINT32_MAX

/* One located problem: plain data.  `fields` says which members are set; a
 * member that is not named there has no meaning (absent is not zero). */
struct q2_finding {
	const struct q2_problem *problem; /* static storage */
	unsigned fields;
	enum q2_kind kind; /* of what lies at, or is named by, `host` */
	uint32_t tree;	   /* Q2_TREE_ACTIVE or the index of a snapshot */
	uint32_t l1;	   /* index into that tree's L1 table */
	uint32_t l2;	   /* index into the L2 table */
	uint32_t index;	   /* record, entry or bit number elsewhere */
	uint64_t host;	   /* offset in the image file */
	uint64_t guest;	   /* offset on the guest's disk */
	uint64_t length;   /* bytes from `host`, or from `guest` if no host */
	uint64_t other;	   /* a second guest offset concerned */
	uint64_t found;
	uint64_t expected;
	uint64_t count; /* how many clusters or entries; 1 if absent */
	uint32_t text_len;
	char text[88]; /* text_len bytes as in the file, cut if longer */
};

/* Writes the finding's message, placeholders filled in, to `out` (at most
 * `size` bytes with the terminating NUL); returns the length that the whole
 * message has, as snprintf does.  Control characters appear escaped. */
Q2_PUBLIC size_t q2_finding_message(const struct q2_finding *f, char *out,
				    size_t size);

/* ------------------------------------------------------------------- check */
enum q2_verdict {
	Q2_CLEAN,
	Q2_LEAKS,    /* nothing worse than leaked clusters */
	Q2_CORRUPTED,
	Q2_UNREADABLE /* no usable QCOW2 header: tables were not looked at */
};
Q2_PUBLIC const char *q2_verdict_text(enum q2_verdict verdict);

enum q2_check_flag {
	Q2_CHECK_DATA = 1 << 0,	 /* inflate every compressed cluster */
	Q2_CHECK_CHAIN = 1 << 1, /* open and judge backing and data files */
	Q2_CHECK_FULL = 1 << 2 /* locate every finding, whatever it costs */
};

struct q2_progress {
	const char *phase; /* static storage */
	uint64_t done;
	uint64_t total;
};

struct q2_check_opts {
	unsigned flags;	     /* enum q2_check_flag */
	uint64_t max_memory; /* bytes for what the image's size drives; 0: none */
	const char *path;    /* of the image; needed for Q2_CHECK_CHAIN only */

	/* Called for each finding in a fixed order; `f` is valid only during
	 * the call.  May be NULL. */
	void (*found)(void *ctx, const struct q2_finding *f);
	/* Called now and then; returning true ends the check with
	 * Q2_E_INTERRUPTED.  May be NULL. */
	bool (*progress)(void *ctx, const struct q2_progress *p);
	void *ctx;
};

/* What a check learnt besides its findings.  Cluster counts of the active
 * disk follow qemu-img check's definitions. */
struct q2_check_result {
	enum q2_verdict verdict;
	bool is_raw;  /* no QCOW2 header and nothing that looks like one */
	bool partial; /* something could not be read or judged */
	enum q2_in_use in_use;
	unsigned version;
	unsigned cluster_bits;
	unsigned refcount_bits;
	unsigned snapshots; /* records that could be read */
	unsigned bitmaps;
	uint64_t virtual_size;
	uint64_t file_size;
	uint64_t corruptions; /* findings of severity Q2_CORRUPT */
	uint64_t leaks;	      /* in clusters */
	uint64_t advice;
	uint64_t check_errors; /* places that could not be read */
	uint64_t total_clusters;
	uint64_t allocated_clusters;
	uint64_t fragmented_clusters;
	uint64_t compressed_clusters;
	uint64_t image_end_offset; /* end of the last host cluster in use */
	uint64_t data_file_end; /* external data file: it is mapped up to here */
	uint64_t peak_memory;	   /* of what max_memory governs */
};

/* Checks the image in `io`, reading only.  Any bytes are acceptable input:
 * what is wrong with them becomes findings.  An error is returned when the
 * check could not be carried through (Q2_E_BUDGET, Q2_E_NOMEM,
 * Q2_E_INTERRUPTED, Q2_E_ARG for Q2_CHECK_CHAIN without a path, or Q2_E_IO when
 * not even the header could be read); *result then holds what was learnt until
 * that moment, and its verdict is Q2_UNREADABLE or Q2_CORRUPTED.  I/O errors in single
 * tables are findings and make the result `partial`. */
Q2_PUBLIC enum q2_status q2_check(struct q2_io *io,
				  const struct q2_check_opts *opts,
				  struct q2_check_result *result,
				  struct q2_err *err) Q2_MUST_CHECK;

/* ------------------------------------------------------------------ repair
 * A repair is a plan: a list of edits, made from an image without writing to it,
 * rehearsed on a copy in memory, and carried out in an order in which no crash
 * makes the image worse.  The plan, stored, is also the journal and the undo file.
 */
struct q2_plan;

/* What an action does to what the guest reads. */
enum q2_effect {
	Q2_EFFECT_NONE,	   /* nothing */
	Q2_EFFECT_GAIN,	   /* data comes back */
	Q2_EFFECT_SUSPECT, /* data that may be wrong, and was before */
	Q2_EFFECT_LOSS	   /* data that was there, or might have been, goes */
};
Q2_PUBLIC const char *q2_effect_text(enum q2_effect effect);

enum q2_plan_flag {
	/* Also what is not safe: give up references, attach orphans, and give
	 * the others a home in a snapshot lost+found-<n>. */
	Q2_PLAN_ALL = 1 << 0,
	Q2_PLAN_FREE_ORPHANS = 1 << 1, /* free them instead */
	Q2_PLAN_RESCUE = 1 << 2 /* search the file for tables that are lost */
};

/* The user's word on where an orphaned L2 table belongs. */
struct q2_attach {
	uint32_t slot; /* of the active L1 table */
	uint64_t host; /* offset of the L2 table */
};

struct q2_plan_opts {
	unsigned flags;	     /* enum q2_plan_flag */
	uint64_t max_memory; /* bytes; 0: no limit */
	const struct q2_attach *attach; /* n_attach of them */
	size_t n_attach;

	/* Whether `count` findings of one problem are to be repaired; asked once
	 * for each that can be, in order of number.  NULL: all that the flags
	 * allow. */
	bool (*wanted)(void *ctx, const struct q2_problem *p, uint64_t count);
	/* Each finding of the check that the plan starts from.  May be NULL. */
	void (*found)(void *ctx, const struct q2_finding *f);
	bool (*progress)(void *ctx, const struct q2_progress *p); /* as in check */
	void *ctx;
};

struct q2_plan_result {
	struct q2_check_result before; /* the check that the plan starts from */
	struct q2_check_result after;  /* of the rehearsed image */
	unsigned rounds;    /* of repairing and checking again; 3 at the most */
	bool not_converged; /* the plan is empty: the rehearsal did not end clean
			     * of what was to be repaired */
};

/* Makes a plan for the image in `io`, which is only read.  *plan may be empty
 * (q2_plan_edits() is 0): nothing to do, or nothing that the options allow. */
Q2_PUBLIC enum q2_status q2_plan_make(struct q2_io *io,
				      const struct q2_plan_opts *opts,
				      struct q2_plan **plan,
				      struct q2_plan_result *result,
				      struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_plan_free(struct q2_plan *plan);

/* How many writes the plan holds. */
Q2_PUBLIC size_t q2_plan_edits(const struct q2_plan *plan);

/* ------------------------------------------------------------------ report
 * Findings and results as text for people and as JSON.  Everything is handed
 * to a sink in pieces, in order.  The functions return Q2_OK, Q2_E_IO if the
 * sink refused, or Q2_E_NOMEM.
 */
struct q2_sink {
	int (*write)(void *ctx, const char *bytes, size_t n); /* 0: taken */
	void *ctx;
};

/* The findings of one check, counted, and kept as far as was asked for. */
struct q2_report;

#define Q2_KEEP_ALL UINT64_MAX

/* `filename` is copied; any bytes but NUL.  At most `keep` findings of each
 * problem are kept, in about 30 bytes each, and no more than max_memory bytes
 * of them (0: no limit).  All are counted. */
Q2_PUBLIC enum q2_status q2_report_new(const char *filename, uint64_t keep,
				       uint64_t max_memory,
				       struct q2_report **report,
				       struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_report_free(struct q2_report *report);

/* Takes one more finding; never fails: one that cannot be kept is counted. */
Q2_PUBLIC void q2_report_add(struct q2_report *report,
			     const struct q2_finding *f);

/* How the check ended.  `result` is NULL if there was none, `err` is NULL or
 * holds Q2_OK if it was carried through; both are copied. */
Q2_PUBLIC void q2_report_end(struct q2_report *report,
			     const struct q2_check_result *result,
			     const struct q2_err *err);

/* Why the image was not checked, or not to the end: one line without the file's
 * name, valid as long as the report; NULL if it was. */
Q2_PUBLIC const char *q2_report_error(const struct q2_report *report);

/* Findings that were counted, but not kept. */
Q2_PUBLIC uint64_t q2_report_omitted(const struct q2_report *report);

enum q2_text_flag {
	Q2_TEXT_BRIEF = 1 << 0,	 /* the verdict's line only */
	Q2_TEXT_DETAIL = 1 << 1, /* more facts about the image */
	Q2_TEXT_COLOUR = 1 << 2	 /* terminal colours */
};
Q2_PUBLIC enum q2_status q2_report_text(const struct q2_report *report,
					unsigned flags,
					const struct q2_sink *sink)
	Q2_MUST_CHECK;

enum q2_json_form {
	Q2_JSON_IMAGE,	 /* newline, 4 blanks, an object with all findings */
	Q2_JSON_SUMMARY, /* {"summary": {…}} without findings, on one line */
	Q2_JSON_QEMU	 /* the object of qemu-img check --output=json */
};
Q2_PUBLIC enum q2_status q2_report_json(const struct q2_report *report,
					enum q2_json_form form,
					const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* One finding as a JSON object on a line of its own.  Bytes of `filename` that
 * are not UTF-8 become U+FFFD, here and in the other JSON. */
Q2_PUBLIC enum q2_status q2_finding_json(const struct q2_finding *f,
					 const char *filename,
					 const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* What the catalogue says about one problem: as text over several lines, on
 * one line of a table (p is NULL: the table's head), as a JSON object in the
 * manner of Q2_JSON_IMAGE, but 2 blanks indented. */
Q2_PUBLIC enum q2_status q2_problem_text(const struct q2_problem *p,
					 const struct q2_sink *sink)
	Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_problem_line(const struct q2_problem *p,
					 const struct q2_sink *sink)
	Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_problem_json(const struct q2_problem *p,
					 const struct q2_sink *sink)
	Q2_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
