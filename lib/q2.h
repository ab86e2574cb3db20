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
	Q2_E_INTERRUPTED, /* the progress callback asked to stop */
	Q2_E_IN_USE,	  /* another process holds a lock on the file */
	Q2_E_CHANGED,	  /* the file is not as the plan or journal knows it */
	Q2_E_REFUSED	  /* the caller's policy does not allow it */
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

/* Opens a regular file or a block device read-only; or, if built with libnbd, an
 * export of an NBD server by its URI (nbd://, nbds://, nbd+unix://,
 * nbds+unix://).  Nothing named inside the file is opened, ever.  Directories,
 * sockets, pipes and character devices are refused with Q2_E_ARG. */
Q2_PUBLIC enum q2_status q2_io_open(const char *path, struct q2_io **io,
				    struct q2_err *err) Q2_MUST_CHECK;

/* Opens a regular file or a block device for reading and writing, and takes the
 * locks that QEMU takes for a writer that shares nothing: while the object lives
 * no QEMU opens the image, not even for reading.  Q2_E_IN_USE says which lock is
 * in the way and who holds it, as far as /proc tells.  A device that the system
 * uses (mounted, or part of a mapping) is refused with Q2_E_IO, EBUSY. */
Q2_PUBLIC enum q2_status q2_io_open_rw(const char *path, struct q2_io **io,
				       struct q2_err *err) Q2_MUST_CHECK;

/* What an image might have in it since its identity was asked for, and that would
 * have told nothing: NULL if it cannot have anything such, or if it has no identity;
 * otherwise a phrase in English, static storage.  Of a block device. */
Q2_PUBLIC const char *q2_io_unseen(const struct q2_io *io);

/* An image held in memory.  `data` is borrowed until q2_io_close() and is
 * neither changed nor freed. */
Q2_PUBLIC enum q2_status q2_io_memory(const void *data, size_t size,
				      struct q2_io **io,
				      struct q2_err *err) Q2_MUST_CHECK;

/* Releases the object; a file opened by q2_io_open() is closed. */
Q2_PUBLIC void q2_io_close(struct q2_io *io);

/* What a name that a user gave leads to: the path, with its NUL, of the file in
 * path[0..size).  "file:" is taken off; of "json:" names those are understood that
 * describe a file, and *format is "qcow2", "raw" or NULL as they say.  Anything else
 * is itself.  Q2_E_UNSUPPORTED: another driver or option, or a path longer than
 * that; Q2_E_FORMAT: no JSON. */
Q2_PUBLIC enum q2_status q2_name_path(const char *name, char *path, size_t size,
				      const char **format,
				      struct q2_err *err) Q2_MUST_CHECK;

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

/* Words for people and for JSON; static storage, never NULL. */
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
/* A word for it; static storage, never NULL. */
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

/* How the state of a check, or of a plan's searches, is kept, from which another run
 * goes on.  It is of that image, as it is now, of these flags and of this version of
 * the library: compare q2_check_identity(), or q2_search_identity(), before, and vouch
 * for its bytes by a checksum.  A check's has about a byte or two for each cluster
 * where data lie at random, and much less where they lie in order; and no data of
 * the guest's.  All are called by q2_check(), or by q2_plan_make(). */
struct q2_check_keep {
	/* Whether to write the state now: asked often.  `pressing`: there will be no
	 * better moment, because the work is being interrupted, or all tables were
	 * read, or a search is at its end. */
	bool (*wanted)(void *ctx, bool pressing);
	/* Takes the next n bytes of the state; 0, or anything else if it cannot. */
	int (*write)(void *ctx, const char *bytes, size_t n);
	/* After that.  Not `whole`: this state is of no use, for want of memory or
	 * because a write failed, or the findings are too many to keep any. */
	void (*end)(void *ctx, bool whole);
	/* NULL, or gives what was written, from which this run is to go on: up to
	 * n bytes, 0 at the end.  Findings that were told before are told again. */
	size_t (*read)(void *ctx, void *bytes, size_t n);
	void *ctx;
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
	const struct q2_check_keep *keep; /* borrowed; NULL: nothing is kept */
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
 * Q2_E_INTERRUPTED, Q2_E_ARG for Q2_CHECK_CHAIN without a path, Q2_E_REFUSED or
 * Q2_E_FORMAT for a state that is not this image's or damaged, or Q2_E_IO when
 * not even the header could be read); *result then holds what was learnt until
 * that moment, and its verdict is Q2_UNREADABLE or Q2_CORRUPTED.  I/O errors in single
 * tables are findings and make the result `partial`. */
Q2_PUBLIC enum q2_status q2_check(struct q2_io *io,
				  const struct q2_check_opts *opts,
				  struct q2_check_result *result,
				  struct q2_err *err) Q2_MUST_CHECK;

/* *identity: a number that is another one for another image, for one that was
 * written to since, for other flags of `opts` and another version.  False if that
 * cannot be known.  It is known of a file, by its times; of a loop device, by those
 * of the file that it shows; of another block device that is no partition, by what
 * the kernel counts, until the system ends and as far as q2_io_unseen() says; what
 * was written to the device before is made durable. */
Q2_PUBLIC bool q2_check_identity(struct q2_io *io,
				 const struct q2_check_opts *opts,
				 uint64_t *identity) Q2_MUST_CHECK;

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
	Q2_EFFECT_LOSS,	   /* data that was there, or might have been, goes */
	Q2_EFFECT_KEPT	   /* nothing; what has no place gets a home elsewhere */
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
	/* Borrowed; NULL: nothing is kept.  `wanted` must give the same answers in
	 * each run.  Kept are the searches among what nothing names, which read the
	 * file; the checks, which read its tables, are done again. */
	const struct q2_check_keep *keep;
};

struct q2_plan_result {
	struct q2_check_result before; /* the check that the plan starts from */
	struct q2_check_result after;  /* of the rehearsed image */
	unsigned rounds;    /* of repairing and checking again: 3 at the most, and one
			     * more if no header could be read */
	bool not_converged; /* the plan is empty: the rehearsal did not end clean
			     * of what was to be repaired */
};

/* Makes a plan for the image in `io`, which is only read.  *plan may be empty
 * (q2_plan_edits() is 0): nothing to do, or nothing that the options allow.
 * Q2_E_REFUSED or Q2_E_FORMAT for a kept state that is not of this plan, or is
 * damaged. */
Q2_PUBLIC enum q2_status q2_plan_make(struct q2_io *io,
				      const struct q2_plan_opts *opts,
				      struct q2_plan **plan,
				      struct q2_plan_result *result,
				      struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_plan_free(struct q2_plan *plan);

/* The same as q2_check_identity(), of a plan. */
Q2_PUBLIC bool q2_search_identity(struct q2_io *io,
				  const struct q2_plan_opts *opts,
				  uint64_t *identity) Q2_MUST_CHECK;

/* How many writes the plan holds. */
Q2_PUBLIC size_t q2_plan_edits(const struct q2_plan *plan);

/* ------------------------------------------------------------- stored plans
 * One file format for what is reviewed, what is undone, and what is put back.
 * Each record has a checksum, and the whole has one; a file that is cut off,
 * altered, foreign or of a newer format is refused whole with Q2_E_FORMAT.
 */
enum q2_plan_kind {
	Q2_PLAN_REVIEW = 1, /* to be looked at, and applied */
	Q2_PLAN_JOURNAL,    /* of an applying that was begun */
	Q2_PLAN_BACKUP	    /* an image's metadata; see q2_backup_make() */
};

/* How far a journal's image is.  In the second and the fourth state, which a
 * crash leaves, only redo and undo may touch the image. */
enum q2_plan_state {
	Q2_STATE_NONE,	   /* not a journal */
	Q2_STATE_APPLYING, /* some of the edits may have been made */
	Q2_STATE_FINISHED, /* all have */
	Q2_STATE_UNDOING,  /* some may have been taken back */
	Q2_STATE_UNDONE	   /* all have */
};
Q2_PUBLIC const char *q2_plan_state_text(enum q2_plan_state state);

struct q2_plan_info {
	enum q2_plan_kind kind;
	enum q2_plan_state state;
	uint64_t changed;  /* journal: when the image was last changed, as of
			    * its state; nanoseconds since 1970, 0: unknown */
	uint64_t before;   /* journal: the same before it was applied */
	bool discarded;	   /* journal: freed clusters were punched out since */
};

/* Writes a new file that appears complete, and is durable, or not at all.
 * Unless `replace`, it must not exist (Q2_E_IO, EEXIST). */
Q2_PUBLIC enum q2_status q2_plan_save(const struct q2_plan *plan,
				      const char *path, enum q2_plan_kind kind,
				      bool replace,
				      struct q2_err *err) Q2_MUST_CHECK;

/* Reads a file; `info` may be NULL. */
Q2_PUBLIC enum q2_status q2_plan_load(const char *path, uint64_t max_memory,
				      struct q2_plan **plan,
				      struct q2_plan_info *info,
				      struct q2_err *err) Q2_MUST_CHECK;

/* The same of a journal alone, without reading its records. */
Q2_PUBLIC enum q2_status q2_journal_peek(const char *path,
					 struct q2_plan_info *info,
					 struct q2_err *err) Q2_MUST_CHECK;

/* ------------------------------------------------------------------- backups */
enum q2_backup_flag {
	Q2_BACKUP_KEYS = 1 << 0 /* the LUKS header with its key slots, too */
};

/* The image's metadata without the guest's data, to be saved as Q2_PLAN_BACKUP.
 * Of `opts` only max_memory, found, progress and ctx are looked at; *found_result
 * is what the check found, without which the tables are not to be had.
 * Q2_E_FORMAT if the header is unusable. */
Q2_PUBLIC enum q2_status q2_backup_make(struct q2_io *io, unsigned flags,
					const struct q2_plan_opts *opts,
					struct q2_plan **plan,
					struct q2_check_result *found_result,
					struct q2_err *err) Q2_MUST_CHECK;

/* The plan that puts a backup's bytes back into the image in `io`, as far as they
 * differ.  A file that has become shorter gets its length back. */
Q2_PUBLIC enum q2_status q2_restore_make(const struct q2_plan *backup,
					 struct q2_io *io, uint64_t max_memory,
					 struct q2_plan **plan,
					 struct q2_err *err) Q2_MUST_CHECK;

/* ----------------------------------------------------------- applying a plan
 * Everything is read and compared before the first write.  Q2_E_CHANGED says that
 * the file is not the one that the plan knows, and that nothing was written.
 */
struct q2_apply_opts {
	uint64_t max_memory; /* bytes for what the plan's size drives; 0: none */
	/* Called before each write; returning true stops at once, flushes, and
	 * ends with Q2_E_INTERRUPTED.  That is as safe as anywhere else: from any
	 * point both q2_plan_redo() and q2_plan_undo() lead on. */
	bool (*progress)(void *ctx, const struct q2_progress *p);
	void *ctx;
	/* For q2_journal_apply() and q2_journal_redo(): the name of the new file
	 * that q2_orphans_save() makes if the plan needs it; NULL: such a plan is
	 * refused with Q2_E_REFUSED. */
	const char *orphans;
};

/* How many bytes have to be saved before a plan is applied: it frees clusters that
 * may hold data and that no snapshot can hold.  0 for most plans. */
Q2_PUBLIC uint64_t q2_plan_orphans(const struct q2_plan *plan);

/* Saves them from the image in `io` to a new file, which appears complete and is
 * durable, or not at all; its form stands in qcow2-fsck(8).  Q2_E_IO with EEXIST if
 * there is one of that name.  `opts` may be NULL. */
Q2_PUBLIC enum q2_status q2_orphans_save(const struct q2_plan *plan,
					 struct q2_io *io, const char *path,
					 const struct q2_apply_opts *opts,
					 struct q2_err *err) Q2_MUST_CHECK;

/* Carries out a plan on the image that it was made for.  Whatever error comes
 * after the first write leaves the image where redo and undo can take it up.  The
 * file is made longer first, and each phase is flushed before the next one.
 * `opts` may be NULL.  What q2_plan_orphans() counts is for the caller to save. */
Q2_PUBLIC enum q2_status q2_plan_apply(const struct q2_plan *plan,
				       struct q2_io *io,
				       const struct q2_apply_opts *opts,
				       struct q2_err *err) Q2_MUST_CHECK;

/* Whether q2_plan_apply() would begin: it only reads. */
Q2_PUBLIC enum q2_status q2_plan_verify(const struct q2_plan *plan,
					struct q2_io *io, uint64_t max_memory,
					struct q2_err *err) Q2_MUST_CHECK;

/* From wherever applying or undoing was left to the end of the plan, or back to
 * every byte and the length that the image had.  Both are refused if a touched
 * sector of 512 bytes holds anything but one of the versions that the plan's
 * writes lead through, or if the file's length or its first bytes changed. */
Q2_PUBLIC enum q2_status q2_plan_redo(const struct q2_plan *plan,
				      struct q2_io *io,
				      const struct q2_apply_opts *opts,
				      struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_plan_undo(const struct q2_plan *plan,
				      struct q2_io *io,
				      const struct q2_apply_opts *opts,
				      struct q2_err *err) Q2_MUST_CHECK;

/* The same with a journal, which is complete and durable before the image is
 * touched, and says how far the image is. */
enum q2_outcome {
	Q2_OUT_UNTOUCHED,  /* nothing was written to the image */
	Q2_OUT_DONE,	   /* all was */
	Q2_OUT_TAKEN_BACK, /* it failed or was stopped on the way, and the image
			    * is again as it was */
	Q2_OUT_UNFINISHED  /* it failed or was stopped on the way; the journal
			    * leads on, either way */
};

/* Applies a plan.  `journal` is the name of a new file; NULL: none is kept.  When
 * it fails or is stopped on the way the image is put back at once, and if that
 * succeeds the journal is removed.  With Q2_OUT_DONE an error may still say that
 * the journal could not be marked as finished. */
Q2_PUBLIC enum q2_status q2_journal_apply(const struct q2_plan *plan,
					  struct q2_io *io, const char *journal,
					  const struct q2_apply_opts *opts,
					  enum q2_outcome *outcome,
					  struct q2_err *err) Q2_MUST_CHECK;

/* Goes on, or back, by a journal; both may be done again and again.  Q2_E_CHANGED
 * also if the file's time says that it was written to since the journal's work on
 * it ended.  Undoing is refused with Q2_E_ARG when freed clusters were punched
 * out since: their bytes are gone. */
Q2_PUBLIC enum q2_status q2_journal_redo(const char *journal, struct q2_io *io,
					 const struct q2_apply_opts *opts,
					 enum q2_outcome *outcome,
					 struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_journal_undo(const char *journal, struct q2_io *io,
					 const struct q2_apply_opts *opts,
					 enum q2_outcome *outcome,
					 struct q2_err *err) Q2_MUST_CHECK;

/* Gives back the space of the clusters that a plan freed, after it was applied
 * and the image found to be sound; *bytes: how much.  The journal (NULL: none)
 * is marked first: after that it undoes nothing.  Q2_E_ARG if the image is not
 * sound, Q2_E_UNSUPPORTED if the file system cannot do it. */
Q2_PUBLIC enum q2_status q2_discard_freed(const struct q2_plan *plan,
					  struct q2_io *io, const char *journal,
					  uint64_t max_memory, uint64_t *bytes,
					  struct q2_err *err) Q2_MUST_CHECK;
/* -------------------------------------------------------------------- dump
 * What a guest reads, through all layers of a backing chain: written out, digested,
 * compared.  An image is opened with the files that it names, as far as the options
 * allow that, and never written to.
 */
struct q2_guest;

enum q2_guest_format {
	Q2_GUEST_QCOW2,
	Q2_GUEST_RAW,
	Q2_GUEST_PROBE /* QCOW2 if it begins so, else raw */
};

#define Q2_ANY_LAYER UINT32_MAX

/* What opens an encrypted layer; the bytes are borrowed until q2_guest_open()
 * returns. */
struct q2_secret {
	uint32_t layer; /* from the top, which is 0; or Q2_ANY_LAYER */
	const void *bytes;
	size_t len;
};

struct q2_guest_opts {
	enum q2_guest_format format; /* of the image itself */
	bool allow_probe; /* backing files whose format is not stated */
	const char *backing_format; /* of those; NULL: not known */
	bool allow_any;	  /* files anywhere may be opened */
	/* Folders, NULL at the end, whose files may be opened besides those in
	 * the folder of the image; NULL for none. */
	const char *const *allow;
	const char *data_file; /* instead of the one named; NULL: as it says */
	const char *snapshot;  /* id or name of the image's own; NULL: none */
	uint32_t layer; /* show this layer alone; Q2_ANY_LAYER: the whole */
	bool salvage; /* also if headers are damaged where it matters */
	const struct q2_secret *secrets; /* n_secrets of them */
	size_t n_secrets;
	bool no_data; /* nothing will be read but tables: secrets are not needed */
	uint64_t max_memory; /* bytes for what the images drive; 0: none */
};

/* Opens the image at `path` and what is below it.  The error's text names the
 * file concerned.  Q2_E_REFUSED: something that only an option allows. */
Q2_PUBLIC enum q2_status q2_guest_open(const char *path,
				       const struct q2_guest_opts *opts,
				       struct q2_guest **guest,
				       struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_guest_close(struct q2_guest *guest);

/* Bytes of the guest's disk. */
Q2_PUBLIC uint64_t q2_guest_size(const struct q2_guest *guest);

/* The layers of the chain, from the top: the path by which layer i was opened,
 * valid as long as the guest, or NULL from the number of layers on. */
Q2_PUBLIC const char *q2_guest_path(const struct q2_guest *guest, uint32_t i);

/* Which layer below the image itself `text` means: its number in the chain, or the
 * name of its file, by whatever path or link; 0: none. */
Q2_PUBLIC uint32_t q2_guest_below(const struct q2_guest *guest,
				  const char *text);

/* The path of a file of the chain that another process may be writing to at this
 * moment, as q2_io_in_use() tells, valid as long as the guest; or NULL. */
Q2_PUBLIC const char *q2_guest_written(const struct q2_guest *guest);

/* Whether `path`, by whatever name or link, leads to one of the files of the chain,
 * which must not be written to then; "-" is standard output.  False, too, if it
 * leads nowhere, or to a server. */
Q2_PUBLIC bool q2_guest_reads(const struct q2_guest *guest, const char *path);

/* How many persistent bitmaps the image itself says it has. */
Q2_PUBLIC uint32_t q2_guest_bitmaps(const struct q2_guest *guest);

/* An XXH3-128 tree digest in its canonical byte order. */
struct q2_digest {
	uint8_t bytes[16];
};

#define Q2_DIGEST_CHUNK UINT64_C(1048576)

/* What a range of a guest's disk turned out to be. */
enum q2_range_kind {
	Q2_RANGE_DATA, /* not all zeros, judged in blocks of 4 KiB */
	Q2_RANGE_ZERO,
	Q2_RANGE_LOST /* could not be read, and was taken as zeros */
};

/* What dump, digest and compare have in common. */
struct q2_read_opts {
	unsigned threads; /* 0: as many as there are processors */
	uint64_t rate;	  /* bytes a second at the most; 0: no limit */
	bool salvage; /* what cannot be read is zeros, and told to `range` */
	/* Each range of the disk, in rising order and without gaps; neighbours
	 * may be alike.  `why` is for Q2_RANGE_LOST, and valid only during the
	 * call.  May be NULL. */
	void (*range)(void *ctx, enum q2_range_kind kind, uint64_t guest,
		      uint64_t length, const char *why);
	/* The digest of each chunk of Q2_DIGEST_CHUNK bytes that is not all
	 * zeros, in rising order.  May be NULL. */
	void (*chunk)(void *ctx, uint64_t guest, uint64_t length,
		      const struct q2_digest *digest);
	bool (*progress)(void *ctx, const struct q2_progress *p);
	void *ctx;
};

/* The digest of what the guest reads: the same for the same bytes and length,
 * however they are stored. */
Q2_PUBLIC enum q2_status q2_guest_digest(struct q2_guest *guest,
					 const struct q2_read_opts *scan,
					 struct q2_digest *digest,
					 struct q2_err *err) Q2_MUST_CHECK;

/* A number that stands for the files of the chain as they are now, by device,
 * inode, size and times: another one if any of them was changed or replaced since,
 * or is read in another way.  False if that cannot be told: a layer is a device,
 * on a server, or encrypted in the way of QEMU's "aes", where a wrong password is
 * not noticed.  To be asked after q2_guest_open(). */
Q2_PUBLIC bool q2_guest_state(const struct q2_guest *guest, uint64_t *state);

/* What an earlier run has found out of a disk's beginning. */
#define Q2_DIGEST_GRAIN UINT64_C(2097152)
struct q2_digest_known {
	uint64_t bytes; /* of it: a multiple of the grain, or the disk's size */
	/* The offset and digest of the next chunk in there that is not all
	 * zeros, in rising order; false behind the last one. */
	bool (*recall)(void *ctx, uint64_t *guest, struct q2_digest *digest);
	void *ctx;
};

/* As q2_guest_digest(), but what is known is not read; chunks in there are not
 * told to opts->chunk.  That the disk is still the same is for the caller to make
 * sure: see q2_guest_state().  `known` may be NULL: nothing is. */
Q2_PUBLIC enum q2_status
q2_guest_digest_on(struct q2_guest *guest, const struct q2_read_opts *opts,
		   const struct q2_digest_known *known,
		   struct q2_digest *digest, struct q2_err *err) Q2_MUST_CHECK;


/* Compares two guests' disks; a shorter one reads as zeros past its end.  Calls
 * `differ` for each range of bytes that are not the same, in units of sectors, in
 * rising order, until it returns true.  *same says whether there were none. */
Q2_PUBLIC enum q2_status
q2_guest_compare(struct q2_guest *a, struct q2_guest *b,
		 const struct q2_read_opts *scan,
		 bool (*differ)(void *ctx, uint64_t guest, uint64_t length),
		 bool *same, struct q2_err *err) Q2_MUST_CHECK;

enum q2_dump_format { Q2_DUMP_RAW, Q2_DUMP_QCOW2 };

enum q2_dump_flag {
	Q2_DUMP_FORCE = 1 << 0,	 /* replace a file that exists */
	/* Files: continue, and stay continuable.  Q2_E_REFUSED if what is there is of
	 * another image, or of one that has changed. */
	Q2_DUMP_RESUME = 1 << 1,
	Q2_DUMP_NO_SYNC = 1 << 2, /* do not wait until it is on the disk */
	Q2_DUMP_VERIFY = 1 << 3,  /* read the result again, compare digests */
	Q2_DUMP_PLAINTEXT = 1 << 4, /* write out what was encrypted */
	Q2_DUMP_ZEROED = 1 << 5, /* the target device reads as zeros already */
	Q2_DUMP_DROP_BITMAPS = 1 << 6, /* the result need not have them */
	/* QCOW2, whole disks: the image's bitmaps are kept.  One that is in use or
	 * damaged is a reason to refuse; with Q2_DUMP_DROP_BITMAPS besides, it is
	 * left out. */
	Q2_DUMP_BITMAPS = 1 << 7
};

enum q2_preallocate { Q2_PREALLOC_OFF, Q2_PREALLOC_FALLOC, Q2_PREALLOC_FULL };
enum q2_compress { Q2_COMPRESS_NONE, Q2_COMPRESS_ZLIB, Q2_COMPRESS_ZSTD };

struct q2_dump_opts {
	enum q2_dump_format format;
	unsigned flags; /* enum q2_dump_flag */
	struct q2_read_opts scan;
	uint64_t start;	 /* of the part of the disk that is wanted */
	uint64_t length; /* not past the end; UINT64_MAX: up to there */
	enum q2_preallocate preallocate; /* raw files only */
	/* The others are for QCOW2; 0 is the default for each. */
	unsigned version;	/* 2 or 3 */
	unsigned cluster_bits;
	unsigned refcount_bits; /* 1, 2, 4 … 64 */
	bool ext_l2;
	enum q2_compress compress;
	int level; /* zlib: 1 to 12; zstd: 1 to 22 */
	/* This layer stays the result's backing file, and only what lies above
	 * is written; 0 for none. */
	uint32_t keep_backing;
};

struct q2_dump_result {
	uint64_t size;	/* of the disk, or of the part that was wanted */
	uint64_t data;	/* bytes in blocks of 4 KiB that are not all zeros */
	uint64_t lost;	/* bytes that could not be read */
	uint64_t copied; /* compressed clusters that were taken as they are */
	uint32_t bitmaps; /* that were kept */
	uint32_t bitmaps_left; /* and left out, of Q2_DUMP_BITMAPS */
	bool has_digest; /* asked for by Q2_DUMP_VERIFY or scan.chunk */
	struct q2_digest digest;
};

/* Writes the disk to `path`: a file, which gets that name when it is complete, a
 * block device, or "-", standard output.  Q2_E_ARG: these options or this target
 * make no sense, or the target is there already.  After a failure there is no
 * file, except for Q2_DUMP_RESUME, which leaves PATH.part.  With that, and without
 * Q2_DUMP_FORCE, a PATH.part for which no journal vouches is Q2_E_REFUSED. */
Q2_PUBLIC enum q2_status q2_dump(struct q2_guest *guest, const char *path,
				 const struct q2_dump_opts *opts,
				 struct q2_dump_result *result,
				 struct q2_err *err) Q2_MUST_CHECK;

/* -------------------------------------------------------- flattening in place
 * A chain becomes shorter without a copy of it being made.  The guest that uses the
 * top image reads the same at every moment, also after a crash at any of them;
 * started again, an interrupted run goes on where it was.
 */
enum q2_inplace_job {
	Q2_ABSORB, /* what is below comes into the top image */
	Q2_COMMIT  /* what the top image has goes into its base */
};

enum q2_inplace_flag {
	/* Commit: the top image keeps what it has. */
	Q2_INPLACE_KEEP = 1 << 0,
	/* Commit: enabled bitmaps of the base, which would miss the changes, are
	 * marked as not to be trusted.  Without it they are a reason to refuse. */
	Q2_INPLACE_STALE_BITMAPS = 1 << 1,
	Q2_INPLACE_ALLOW_PROBE = 1 << 2, /* guess formats that are not stated */
	Q2_INPLACE_ALLOW_ANY = 1 << 3,	 /* members of the chain may lie anywhere */
	Q2_INPLACE_DRY_RUN = 1 << 4,	 /* only judge and forecast */
	/* What is encrypted may be written to an image that is not. */
	Q2_INPLACE_PLAINTEXT = 1 << 5
};

struct q2_inplace_opts {
	enum q2_inplace_job job;
	unsigned flags; /* enum q2_inplace_flag */
	/* The layer that stays below the top image: a path, or its number in
	 * decimal, where the top image is 0 (after an interruption numbers may have
	 * changed).  NULL: none for absorbing, 1 for committing.  Images between
	 * the two are not of use to anybody else after a commit. */
	const char *base;
	/* Files and folders, NULL at the end, in which to look for other overlays
	 * that share a file which would change; NULL for none. */
	const char *const *siblings;
	const char *const *allow; /* folders whose files may be opened, too */
	/* "qcow2" or "raw": of backing files whose format is not stated; NULL: not
	 * known. */
	const char *backing_format;
	uint64_t max_memory;	  /* bytes for what the images drive; 0: none */
	uint64_t available;	  /* bytes that may be added; 0: ask the system */
	uint64_t rate; /* bytes of data a second at the most; 0: no limit */
	bool (*progress)(void *ctx, const struct q2_progress *p); /* as in check */
	void *ctx;
	/* For each encrypted member of the chain; borrowed until q2_inplace()
	 * returns. */
	const struct q2_secret *secrets; /* n_secrets of them */
	size_t n_secrets;
	const char *data_file; /* of the top image; NULL: as it says */
};

struct q2_inplace_result {
	uint64_t needed;    /* bytes of space that the changed files take at the most */
	uint64_t available; /* bytes that there is room for */
	uint64_t data;	    /* bytes written */
	uint64_t zeros;	    /* bytes made to read as zeros */
	bool nothing_to_do;
};

/* Does the job on the image at `path`.  Refused, with nothing changed: other
 * overlays in the way, snapshots or bitmaps that would become wrong, files outside
 * of the allowed folders, a secret that is missing, encrypted data that would end up
 * unencrypted (Q2_E_REFUSED); a wrong secret, or one whose number is of no encrypted
 * layer (Q2_E_ARG); files that another process has open (Q2_E_IN_USE); corrupt
 * members, named with the finding's id, and loops (Q2_E_FORMAT); ciphers that are not
 * known (Q2_E_UNSUPPORTED); too little room (Q2_E_IO, ENOSPC, with the numbers).  Each
 * changed image is checked afterwards. */
Q2_PUBLIC enum q2_status q2_inplace(const char *path,
				    const struct q2_inplace_opts *opts,
				    struct q2_inplace_result *result,
				    struct q2_err *err) Q2_MUST_CHECK;

/* --------------------------------------------------------------------- map
 * Where the bytes of a guest's disk are, and what the bytes of a file are for.
 * Images are only read.  What cannot be read or makes no sense appears as such,
 * and everything else goes on.
 */
struct q2_disk;

struct q2_disk_opts {
	bool raw;	  /* the file is a raw image, whatever it holds */
	bool chain;	  /* follow the backing files */
	bool allow_probe; /* backing files whose format is not stated */
	const char *backing_format; /* "raw" or "qcow2": of those; NULL: not known */
	bool allow_any;	  /* backing files anywhere may be opened */
	/* Folders, NULL at the end, whose files may be opened besides those in
	 * the folder of the image; NULL for none. */
	const char *const *allow;
	const char *snapshot; /* id or name: show its disk; NULL: the active one */
	uint64_t max_memory;  /* bytes for what the image's size drives; 0: none */
};

/* Opens the image at `path`.  The error's text names the file concerned if it
 * is another one.  Q2_E_REFUSED: it names a file that only an option allows to
 * open. */
Q2_PUBLIC enum q2_status q2_disk_open(const char *path,
				      const struct q2_disk_opts *opts,
				      struct q2_disk **disk,
				      struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_disk_close(struct q2_disk *disk);

/* One file of the chain. */
struct q2_disk_layer {
	const char *path; /* by which it was opened; valid as long as the disk */
	bool raw;
	bool encrypted;
	uint64_t size;	    /* of its disk, as guests see it */
	uint64_t file_size; /* bytes */
	uint64_t stored;    /* bytes that take up space */
	uint64_t cluster_size; /* 0 if raw */
};

/* Layer i from the top, the image itself being 0; false if there is none. */
Q2_PUBLIC bool q2_disk_layer(const struct q2_disk *disk, uint32_t i,
			     struct q2_disk_layer *out);

/* Whether the last layer has a backing file that was not opened. */
Q2_PUBLIC bool q2_disk_cut(const struct q2_disk *disk);

enum q2_content {
	Q2_C_NONE,	 /* nowhere: zeros, or what a file not opened holds */
	Q2_C_ZERO,	 /* zeros without host bytes */
	Q2_C_ZERO_ALLOC, /* zeros that keep host bytes; a hole of a raw file */
	Q2_C_DATA,
	Q2_C_COMPRESSED,
	Q2_C_UNREADABLE
};
/* A word for it; static storage, never NULL. */
Q2_PUBLIC const char *q2_content_text(enum q2_content content);

enum q2_row_flag {
	Q2_ROW_HOST = 1 << 0, /* `host` has a meaning */
	Q2_ROW_HOLE = 1 << 1, /* its host bytes are not stored: they are zeros */
	Q2_ROW_ENCRYPTED = 1 << 2,
	Q2_ROW_BELOW = 1 << 3, /* in a backing file that was not opened, maybe */
	Q2_ROW_DATA_FILE = 1 << 4 /* `host` is in the layer's data file */
};

/* A range of the guest's disk. */
struct q2_row {
	uint64_t guest; /* byte offset */
	uint64_t length;
	uint64_t host;	 /* byte offset in the layer's file or data file */
	uint64_t stored; /* compressed: bytes from `host` on */
	uint32_t depth;	 /* number of the layer, see q2_disk_layer() */
	enum q2_content content;
	unsigned flags; /* enum q2_row_flag */
	/* What the check calls the damage; with another content than
	 * Q2_C_UNREADABLE it does not change what the row says.  NULL: none. */
	const struct q2_problem *problem;
};

/* Which neighbours become one row. */
enum q2_merge {
	Q2_MERGE_SAME, /* alike, and next to each other on the host */
	Q2_MERGE_RUNS, /* the same, and compressed clusters in a row, too */
	/* As qemu-img map --output=json has them; then Q2_ROW_HOLE is set where
	 * QEMU would look for holes. */
	Q2_MERGE_QEMU
};

struct q2_rows_opts {
	uint64_t start;	 /* the part of the disk that is wanted, in bytes */
	uint64_t length; /* UINT64_MAX: to its end */
	enum q2_merge merge;
	bool holes; /* set Q2_ROW_HOLE wherever the files have holes */
	/* Each row, in rising order, valid during the call.  Any status but
	 * Q2_OK ends the walk, and is returned. */
	enum q2_status (*row)(void *ctx, const struct q2_row *r);
	/* Now and then; returning true ends the walk.  May be NULL. */
	bool (*progress)(void *ctx, const struct q2_progress *p);
	void *ctx;
};

/* Hands out the guest's disk in rows.  The memory needed does not depend on how
 * many there are. */
Q2_PUBLIC enum q2_status q2_disk_rows(struct q2_disk *disk,
				      const struct q2_rows_opts *opts,
				      struct q2_err *err) Q2_MUST_CHECK;

/* Whether the problem q2_problem_at(i) was met by q2_disk_rows(): in the headers of
 * the files, and in the tables that lead to the part of the disk that was wanted.
 * Refcounts are not looked at, nor other trees: that is for q2_check(). */
Q2_PUBLIC bool q2_disk_found(const struct q2_disk *disk, size_t i);

/* ----------------------------------------------------------------- measure
 * How large a new image would be that holds a disk.
 */
struct q2_measure_opts {
	bool raw;		/* the new image is a raw file */
	unsigned version;	/* 2 or 3 */
	uint64_t cluster_size;	/* bytes */
	unsigned refcount_bits; /* 1, 2, 4 … 64 */
	bool ext_l2;
	bool whole; /* room for all data: preallocated */
	bool based; /* over a backing file: which data that has is not known */
	bool luks;  /* encrypted by LUKS, with QEMU's usual cipher */
};

/* What qemu-img create and convert start from. */
#define Q2_MEASURE_DEFAULTS \
	{false, 3, 65536, 16, false, false, false, false}

struct q2_measure {
	uint64_t required;	  /* bytes for the data that there are */
	uint64_t fully_allocated; /* bytes once every cluster is written */
	bool has_bitmaps;	  /* both images can have persistent bitmaps */
	uint64_t bitmaps;	  /* bytes for copies of those that there are */
};

/* The size of a new image for the guest's disk, as qemu-img measure reckons it:
 * metadata are counted as for a full image.  `disk` is NULL for an empty disk of
 * `size` bytes.  Q2_E_ARG: there can be no such image. */
Q2_PUBLIC enum q2_status q2_disk_measure(struct q2_disk *disk, uint64_t size,
					 const struct q2_measure_opts *opts,
					 struct q2_measure *result,
					 struct q2_err *err) Q2_MUST_CHECK;

/* ------------------------------------------------------------------ survey
 * What each byte of an image's file is for, and whose: the check's knowledge, kept.
 * A damaged image is surveyed as far as its tables can be followed.
 */
struct q2_survey;

struct q2_survey_opts {
	uint64_t max_memory; /* bytes for what the image's size drives; 0: none */
	/* Each finding of the check, as in q2_check().  May be NULL. */
	void (*found)(void *ctx, const struct q2_finding *f);
	bool (*progress)(void *ctx, const struct q2_progress *p); /* or NULL */
	void *ctx;
};

/* Opens and surveys one file, and no other one.  Q2_E_FORMAT: it is no QCOW2
 * image, or has no usable header. */
Q2_PUBLIC enum q2_status q2_survey_open(const char *path,
					const struct q2_survey_opts *opts,
					struct q2_survey **survey,
					struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_survey_close(struct q2_survey *survey);

/* What the check learnt; valid as long as the survey. */
Q2_PUBLIC const struct q2_check_result *
q2_survey_result(const struct q2_survey *survey);

/* How many findings there were of the problem q2_problem_at(i). */
Q2_PUBLIC uint64_t q2_survey_found(const struct q2_survey *survey, size_t i);

/* One internal snapshot; texts are valid as long as the survey. */
struct q2_snapshot_info {
	uint32_t index; /* of its record, from 0 on */
	const char *id;
	const char *name;
	uint64_t disk_size;
	uint64_t vm_state; /* bytes that it says it has */
};

/* Snapshot number i of those whose records are readable; false if there is
 * none. */
Q2_PUBLIC bool q2_survey_snapshot(const struct q2_survey *survey, size_t i,
				  struct q2_snapshot_info *out);

/* What a range of the file is for. */
enum q2_use {
	Q2_U_FREE,   /* no refcount, no reference */
	Q2_U_LEAKED, /* a refcount, but no reference */
	Q2_U_HEADER,
	Q2_U_L1,
	Q2_U_L2,
	Q2_U_REFTABLE,
	Q2_U_REFBLOCK,
	Q2_U_SNAPTABLE,
	Q2_U_SNAPSHOT_L1,
	Q2_U_BITMAP_DIR,
	Q2_U_BITMAP_TABLE,
	Q2_U_BITMAP_DATA,
	Q2_U_LUKS,
	Q2_U_DATA,
	Q2_U_COMPRESSED,
	Q2_U_VMSTATE, /* of a snapshot */
	Q2_U_MIXED,   /* it is named as two different things */
	Q2_U_COUNT
};
Q2_PUBLIC const char *q2_use_text(enum q2_use use);

#define Q2_NO_SNAPSHOT UINT32_MAX
#define Q2_SEVERAL_SNAPSHOTS (UINT32_MAX - 1)
#define Q2_NO_GUEST UINT64_MAX

/* A range of the file in one use. */
struct q2_use_row {
	uint64_t host; /* byte offset; whole clusters but at the file's end */
	uint64_t length;
	uint64_t stored; /* bytes of it that are not holes */
	enum q2_use use;
	bool active;	   /* the active disk refers to it */
	uint32_t snapshot; /* the record's index of the snapshot that does */
	/* Data: the guest offset of its first byte; L2 tables: of what they
	 * map; compressed: the lowest of the clusters with a part here. */
	uint64_t guest;
};

struct q2_layout_opts {
	uint64_t start;	 /* the part of the file that is wanted, in bytes */
	uint64_t length; /* UINT64_MAX: to its end */
	bool guest;	 /* find guest offsets: needs another walk or more */
	/* Each row in rising order, valid during the call; any status but Q2_OK
	 * ends the walk, and is returned. */
	enum q2_status (*row)(void *ctx, const struct q2_use_row *row);
	void *ctx;
};

/* Hands out the file in rows: every byte is in exactly one. */
Q2_PUBLIC enum q2_status q2_survey_layout(struct q2_survey *survey,
					  const struct q2_layout_opts *opts,
					  struct q2_err *err) Q2_MUST_CHECK;

/* One reference to a host cluster. */
struct q2_reference {
	bool active;
	uint32_t snapshot; /* if not active: the record's index */
	uint64_t guest;	   /* offset of the entry's guest cluster */
	uint64_t host;	   /* what the entry names, in bytes */
	uint64_t length;
	bool compressed;
	bool table; /* an L1 entry that names an L2 table here */
};

/* Every L1 and L2 entry that names the cluster around byte `host`, in no
 * particular order. */
Q2_PUBLIC enum q2_status
q2_survey_references(struct q2_survey *survey, uint64_t host,
		     void (*see)(void *ctx, const struct q2_reference *r),
		     void *ctx, struct q2_err *err) Q2_MUST_CHECK;

/* What snapshots cost, in bytes of host clusters. */
struct q2_cost {
	uint64_t referenced; /* data and L2 tables that it refers to */
	uint64_t exclusive;  /* of these, those that nothing else refers to */
	uint64_t frees; /* what deleting it makes free: with its L1 table, and
			 * what the snapshot table shrinks by */
};

/* costs[i] is for q2_survey_snapshot(i), n of them; *active for the active disk,
 * with `frees` 0. */
Q2_PUBLIC enum q2_status q2_survey_costs(struct q2_survey *survey,
					 struct q2_cost *costs, size_t n,
					 struct q2_cost *active,
					 struct q2_err *err) Q2_MUST_CHECK;

/* What deleting several snapshots together makes free: `which` are n numbers as
 * for q2_survey_snapshot(). */
Q2_PUBLIC enum q2_status q2_survey_delete(struct q2_survey *survey,
					  const size_t *which, size_t n,
					  uint64_t *frees,
					  struct q2_err *err) Q2_MUST_CHECK;

#define Q2_ACTIVE_DISK SIZE_MAX

/* The ranges of the guest's disk that two snapshots (numbers as above, or
 * Q2_ACTIVE_DISK) do not have from the same place of the file, in rising order;
 * what only the larger disk has is one, too. */
Q2_PUBLIC enum q2_status q2_survey_delta(struct q2_survey *survey, size_t a,
					 size_t b,
					 enum q2_status (*see)(void *ctx,
							       uint64_t guest,
							       uint64_t length),
					 void *ctx,
					 struct q2_err *err) Q2_MUST_CHECK;

/* -------------------------------------------------------------------- scan
 * Many images at once: who depends on whom, and how much has been promised.  Of
 * each file the header and its extensions are read, no table.
 */
struct q2_scan;

enum q2_file_kind {
	Q2_FILE_QCOW2,
	Q2_FILE_RAW,
	Q2_FILE_BAD /* it could not be opened or read, or its header is unusable */
};

/* What is remarkable about a file. */
enum q2_file_flag {
	Q2_FF_NO_BASE = 1 << 0,	    /* its backing file is not there */
	Q2_FF_LOOP = 1 << 1,	    /* it is among its own backing files */
	Q2_FF_BASE_NEWER = 1 << 2,  /* its base was changed after it */
	Q2_FF_BASE_SMALLER = 1 << 3,
	Q2_FF_BASE_FORMAT = 1 << 4, /* its base is not what it says */
	Q2_FF_NO_FORMAT = 1 << 5,   /* it does not say what its base is */
	Q2_FF_OUTSIDE = 1 << 6,	    /* it names a file outside of the folders */
	Q2_FF_NOT_A_FILE = 1 << 7,  /* it names something over a protocol */
	Q2_FF_NO_DATA_FILE = 1 << 8,
	Q2_FF_SHARED = 1 << 9,	 /* several images have it as their base */
	Q2_FF_COUNT_BITS = 10
};
/* The name of the flag 1 << i, such as "missing-base"; NULL if there is none. */
Q2_PUBLIC const char *q2_file_flag_text(unsigned i);

#define Q2_NO_FILE SIZE_MAX

/* One file, by whichever of its paths was met first.  Texts are valid as long as
 * the scan. */
struct q2_scan_file {
	const char *path;
	enum q2_file_kind kind;
	unsigned flags; /* enum q2_file_flag */
	bool asked; /* found in the paths given; else only because it is named */
	const char *error;   /* Q2_FILE_BAD: why; else NULL */
	const char *backing; /* as the image names it; NULL for none */
	const char *format;  /* of the backing file, as it says; NULL for none */
	size_t base;	     /* number of the backing file, or Q2_NO_FILE */
	size_t data_file;    /* number of the data file, or Q2_NO_FILE */
	size_t volume;	     /* see q2_scan_volume(), or Q2_NO_FILE */
	size_t overlays;     /* files that have it as their base */
	size_t names;	     /* paths of this file that were met */
	/* A block device.  What it takes of the pool that it is made from cannot be
	 * told: `allocation` has no meaning.  (A loop device counts as the file that
	 * it shows.) */
	bool is_device;
	uint32_t snapshots;  /* internal ones */
	uint64_t device;     /* of its file system, or as q2_scan_volume.device */
	uint64_t inode;
	int64_t changed;     /* seconds since 1970, of the last change */
	uint64_t capacity;   /* bytes of the guest's disk */
	uint64_t length;     /* bytes of the file */
	uint64_t allocation; /* bytes that it really takes */
	/* Bytes that it may come to take once the guest has written everything,
	 * tables included.  A base that others have does not grow. */
	uint64_t commitment;
	uint64_t alone; /* the same if nobody had it as a base */
	/* By how much it may grow: of a device, beyond its size. */
	uint64_t growth;
};

/* One scan may be shared among several workers: each looks at the files of its own
 * part, by their inode numbers, and at what these are based on.  All parts
 * together, joined by q2_scan_join(), are what a single scan finds. */
struct q2_scan_opts {
	unsigned part;	/* 1 to parts */
	unsigned parts; /* 0 or 1: all files */
	/* Now and then, with the number of files so far; true ends the scan. */
	bool (*progress)(void *ctx, const struct q2_progress *p);
	void *ctx;
};

/* A scan that has seen nothing yet.  `opts` are copied; what they point to is
 * borrowed until the scan is freed. */
Q2_PUBLIC enum q2_status q2_scan_new(const struct q2_scan_opts *opts,
				     struct q2_scan **scan,
				     struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_scan_free(struct q2_scan *scan);

/* Adds a file, or a folder with everything below it (of which QCOW2 images, and
 * files called *.raw or *.img, are looked at; symbolic links are not followed).
 * What cannot be looked at is a file of kind Q2_FILE_BAD; an error means that
 * the scan cannot go on. */
Q2_PUBLIC enum q2_status q2_scan_add(struct q2_scan *scan, const char *path,
				     struct q2_err *err) Q2_MUST_CHECK;

/* Adds what an earlier scan found: the lines of Q2_SCAN_NDJSON in a file.  Files
 * that were met before, here or there, count once.  `filename` is for messages.
 * Q2_E_FORMAT: the lines cannot be used, and the text says which and why.  One
 * object takes either paths or such files, not both. */
Q2_PUBLIC enum q2_status q2_scan_join(struct q2_scan *scan,
				      const char *filename,
				      struct q2_err *err) Q2_MUST_CHECK;

/* To be called once, when all were added: finds who depends on whom.  Q2_E_FORMAT:
 * parts of a shared scan are missing. */
Q2_PUBLIC enum q2_status q2_scan_link(struct q2_scan *scan,
				      struct q2_err *err) Q2_MUST_CHECK;

/* What a scan was told to do, and where.  Valid as long as the scan. */
struct q2_scan_about {
	unsigned part, parts; /* 1 and 1 unless it is shared */
	bool joined;	      /* of other scans; then the rest has no meaning */
	const char *host;     /* where it ran; empty if not known */
	const char *boot;     /* another one each time that host starts */
	const char *const *asked; /* the paths that were given, n_asked */
	size_t n_asked;
};
Q2_PUBLIC void q2_scan_about(const struct q2_scan *scan,
			     struct q2_scan_about *out);

/* Which files a file names, looked at or not; an inode of 0 is none. */
struct q2_scan_names {
	uint64_t base_device, base_inode;
	uint64_t data_device, data_inode;
};
Q2_PUBLIC bool q2_scan_names(const struct q2_scan *scan, size_t i,
			     struct q2_scan_names *out);

/* File number i, in order of their paths; false if there is none. */
Q2_PUBLIC bool q2_scan_file(const struct q2_scan *scan, size_t i,
			    struct q2_scan_file *out);

/* The number of the file that this path leads to, or Q2_NO_FILE. */
Q2_PUBLIC size_t q2_scan_find(const struct q2_scan *scan, const char *path);

/* A file system that files of the scan are on. */
struct q2_scan_volume {
	uint64_t device; /* number; of a block device with an image: plus 2^40 */
	bool is_device;	 /* no file system, but such a block device */
	/* What it is called by all hosts that have it, such as "nfs nas:/pool";
	 * empty for those of one host.  Valid as long as the scan. */
	const char *shared;
	/* The host that saw it; NULL unless scans of several were joined. */
	const char *host;
	uint64_t size; /* bytes */
	uint64_t free; /* bytes that may still be used; 0 if not known */
	bool known;
	uint64_t files;
	uint64_t capacity; /* sums over its files */
	uint64_t length;
	uint64_t allocation; /* 0 for devices: not known */
	uint64_t commitment;
	/* Bytes that there are for these files: those that they take, and free ones;
	 * those of the device.  0 if not known. */
	uint64_t room;
	uint64_t growth; /* by which they may grow: of a device, beyond its size */
};
Q2_PUBLIC bool q2_scan_volume(const struct q2_scan *scan, size_t i,
			      struct q2_scan_volume *out);

/* -------------------------------------------------------------------- lint
 * Whether a file from strangers is safe to open, and who can read it.  No other file
 * is opened.
 */
struct q2_lint_rule {
	const char *id; /* such as "backing-absolute"; static storage */
	bool unsafe;	/* a gate should stop it unless told otherwise */
	const char *meaning; /* a sentence */
};
/* The rules in order, i = 0 … until NULL. */
Q2_PUBLIC const struct q2_lint_rule *q2_lint_rule(size_t i);

struct q2_lint_opts {
	bool raw; /* the file is meant to be a raw image */
	uint64_t max_size;  /* of the guest's disk, in bytes; 0: any */
	uint64_t max_ratio; /* of that to the file's length; 0: any */
	/* Each rule that applies; `what` is the value concerned, any bytes but
	 * NUL, or NULL; both are valid during the call. */
	void (*note)(void *ctx, const struct q2_lint_rule *rule,
		     const char *what);
	void *ctx;
};

/* Looks at the file: its header, and the tables of its active disk for what they
 * ask of readers.  *needs, unless NULL, is that: a bit 1 << i for each
 * q2_need_text(i); 0 for raw images.  Q2_E_FORMAT: it is no QCOW2 image, or one
 * that no reader can make sense of; Q2_E_UNSUPPORTED: it needs features that are
 * unknown. */
Q2_PUBLIC enum q2_status q2_lint(const char *path,
				 const struct q2_lint_opts *opts,
				 unsigned *needs,
				 struct q2_err *err) Q2_MUST_CHECK;

/* What images may ask of readers, such as "zstd", i = 0 … until NULL. */
Q2_PUBLIC const char *q2_need_text(unsigned i);

/* A program that reads QCOW2. */
struct q2_program {
	const char *name;    /* such as "qemu"; static storage */
	bool versions;	     /* it is known which version can do what */
	unsigned stopped_by; /* needs that no version meets */
	unsigned major, minor; /* the first version that meets the others; 0.0
				* is any */
};
/* The i-th reader, and what it makes of these needs; false if there is none. */
Q2_PUBLIC bool q2_program_at(size_t i, unsigned needs, struct q2_program *out);

/* Understands a reader's name with or without a version ("qemu-2.12"; without it
 * is the newest one): false if there is no such reader. */
Q2_PUBLIC bool q2_program_parse(const char *text, size_t *i, unsigned *major,
			       unsigned *minor);

/* Those of the needs that this reader does not meet. */
Q2_PUBLIC unsigned q2_program_stops(size_t i, unsigned major, unsigned minor,
				   unsigned needs);

/* ---------------------------------------------------------------- pictures
 * The parts of a file, or a guest's disk, as cells that each stand for an equal
 * part of it: at most 2048 of them in a drawing, however large it is.
 */
struct q2_picture;

enum q2_picture_form {
	Q2_PICTURE_BLOCKS, /* characters, each a cell, for terminals */
	Q2_PICTURE_SVG,	   /* one SVG document, without scripts */
	Q2_PICTURE_HTML	   /* one HTML document that loads nothing else */
};

enum q2_picture_flag {
	Q2_PICTURE_UNICODE = 1 << 0, /* blocks: UTF-8, else ASCII */
	Q2_PICTURE_COLOUR = 1 << 1,  /* blocks: colours of terminals */
	Q2_PICTURE_HILBERT = 1 << 2  /* drawings: along a Hilbert curve, not
				      * in rows */
};

struct q2_picture_opts {
	enum q2_picture_form form;
	unsigned flags;	  /* enum q2_picture_flag */
	unsigned columns; /* blocks: cells in a line; 0: 64 */
	unsigned rows;	  /* blocks: lines at the most, up to 24; 0: 24 */
	uint64_t start;	  /* a disk: the part that is wanted, in bytes */
	uint64_t length;  /* UINT64_MAX: to its end */
};

/* A picture without any content yet.  What is handed in, but `opts`, is borrowed
 * until q2_picture_free().  `filename`: any bytes but NUL. */
Q2_PUBLIC enum q2_status
q2_picture_of_file(const struct q2_survey *survey, const char *filename,
		   const struct q2_picture_opts *opts,
		   struct q2_picture **picture,
		   struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status
q2_picture_of_disk(const struct q2_disk *disk,
		   const struct q2_picture_opts *opts,
		   struct q2_picture **picture,
		   struct q2_err *err) Q2_MUST_CHECK;
Q2_PUBLIC void q2_picture_free(struct q2_picture *picture);

/* `picture` is a struct q2_picture of a file, or of a disk: they fit
 * q2_layout_opts.row and q2_rows_opts.row.  They never fail. */
Q2_PUBLIC enum q2_status q2_picture_add_use(void *picture,
					    const struct q2_use_row *row)
	Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_picture_add_row(void *picture,
					    const struct q2_row *row)
	Q2_MUST_CHECK;

/* The picture, and what its cells mean, as the reports below do it. */
struct q2_sink;
Q2_PUBLIC enum q2_status q2_picture_report(const struct q2_picture *picture,
					   const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* ---------------------------------------------------------------- forecast
 * What a change would come to, before it is made.  Images are only read.
 */

/* What new clusters are for. */
enum q2_placed {
	Q2_PLACED_DATA,
	Q2_PLACED_L2,
	Q2_PLACED_L1,
	Q2_PLACED_REFTABLE,
	Q2_PLACED_REFBLOCK,
	Q2_PLACED_COUNT
};
/* Such as "l2-table"; static storage. */
Q2_PUBLIC const char *q2_placed_text(enum q2_placed what);

/* What a commit does to the base, and to the top image; bytes everywhere.  The
 * figures are those of q2_inplace(); `bound` holds for any writer that allocates a
 * cluster for each that it has to write, and tables only where they are needed. */
struct q2_commit_cost {
	char base[4096]; /* its path; empty if the chain could not be opened */
	bool raw;	 /* the base is a raw image */
	bool device;	 /* it lies on a block device */
	bool exact; /* `placed` to `needed` are known; else memory did not suffice,
		     * and there is only `bound` */
	uint64_t cluster_size; /* of the base; 0 if raw */
	uint64_t disk_before;  /* size of the base's disk */
	uint64_t disk_after;
	uint64_t data;	/* of the guest's disk that come into the base */
	uint64_t zeros; /* of it, that have to read as zeros there */
	uint64_t length_before; /* of the base's file, or of the device */
	uint64_t length_after;
	uint64_t end_before; /* of the last cluster in use, from the file's start */
	uint64_t end_after;
	uint64_t overwritten; /* clusters of the disk, written where they are */
	uint64_t inside[Q2_PLACED_COUNT]; /* new, in free clusters of the file */
	uint64_t behind[Q2_PLACED_COUNT]; /* new, behind the file's end */
	uint64_t freed; /* clusters that become free, maybe for use at once */
	uint64_t needed;    /* room on the volume: growth, and holes that fill up */
	uint64_t bound;	    /* the base grows by no more */
	uint64_t available; /* UINT64_MAX: not known */
	uint64_t top_before; /* length of the top image's file */
	uint64_t top_after;  /* the same if it is to keep what it has */
	char objection[240]; /* why q2_inplace() would refuse; empty: nothing */
};

struct q2_inplace_opts;

/* Forecasts a commit of the image at `path`, without locks, also of images in use.
 * Of `opts` job, siblings and available do not matter.  Q2_E_FORMAT: a member of
 * the chain is corrupt, and the text names the finding. */
Q2_PUBLIC enum q2_status q2_forecast_commit(const char *path,
					    const struct q2_inplace_opts *opts,
					    struct q2_commit_cost *cost,
					    struct q2_err *err) Q2_MUST_CHECK;

/* What the whole chain comes to as one image: of a raw one the bytes that take up
 * space, of a QCOW2 one the length of the file, both as q2_dump() writes it. */
struct q2_flatten_cost {
	uint64_t disk;	      /* bytes of the guest's disk */
	uint64_t tables_data; /* of it, in clusters of the new image (of a raw one:
			       * in blocks of 4 KiB) that have data in a layer */
	uint64_t verbatim; /* at most so many bytes of compressed clusters are taken
			    * as they are */
	uint64_t bound;	   /* it comes to no more, whatever the data are */
	unsigned percent;  /* as asked for */
	uint64_t looked_at; /* bytes of tables_data that were read */
	uint64_t data; /* bytes found not to be zeros, in blocks of 4 KiB */
	bool exact;    /* `length` is what it comes to */
	bool estimate; /* or it is judged by the part that was read */
	uint64_t length;
};

/* Forecasts a dump with these options; those about the target do not matter, and
 * there can be no backing file.  `percent`: 0, only the tables are read; 1 to 99,
 * about so much of the data is read, and compressed if that is asked for; 100: all
 * of it.  Q2_E_FORMAT: something in the tables cannot be read. */
Q2_PUBLIC enum q2_status q2_forecast_flatten(struct q2_guest *guest,
					     const struct q2_dump_opts *opts,
					     unsigned percent,
					     struct q2_flatten_cost *cost,
					     struct q2_err *err) Q2_MUST_CHECK;

/* What one layer of a chain has, in bytes of the guest's disk. */
struct q2_layer_cost {
	uint64_t mapped;    /* that are stored in it */
	uint64_t visible;   /* of these, what the guest of the top image sees */
	uint64_t shadowed;  /* of these, what a layer above hides */
	uint64_t exclusive; /* of these, what is stored in no other layer */
	uint64_t zeros;	    /* that it says are zeros */
	uint64_t unreadable;
};

/* costs[i] is for q2_disk_layer(i), n of them.  `progress` may be NULL. */
Q2_PUBLIC enum q2_status
q2_disk_layer_costs(struct q2_disk *disk, struct q2_layer_cost *costs, size_t n,
		    bool (*progress)(void *ctx, const struct q2_progress *p),
		    void *ctx, struct q2_err *err) Q2_MUST_CHECK;

/* The ranges of the guest's disk that layers a and b, each with those below it, do
 * not have from the same place of the same file, in rising order; what only the
 * larger disk has is one, too.  Zeros that are stored nowhere are the same. */
Q2_PUBLIC enum q2_status q2_disk_delta(struct q2_disk *disk, size_t a, size_t b,
				       enum q2_status (*see)(void *ctx,
							     uint64_t guest,
							     uint64_t length),
				       void *ctx,
				       struct q2_err *err) Q2_MUST_CHECK;

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

/* What a repair after that check came to. */
struct q2_repaired {
	enum q2_outcome outcome;
	const char *error; /* why it did not succeed; NULL */
	const char *journal; /* that tells of it; NULL for none */
	const char *orphans; /* where they were saved; NULL for nowhere */
	const struct q2_plan *plan; /* NULL if there was none */
	const struct q2_check_result *after; /* of the repaired image; NULL */
};
Q2_PUBLIC const char *q2_outcome_text(enum q2_outcome outcome);

/* Adds it to the JSON report.  What it points to is borrowed until the report is
 * freed. */
Q2_PUBLIC void q2_report_repair(struct q2_report *report,
				const struct q2_repaired *repair);

/* Why the image was not checked, or not to the end: one line without the file's
 * name, valid as long as the report; NULL if it was. */
Q2_PUBLIC const char *q2_report_error(const struct q2_report *report);

/* Findings that were counted, but not kept. */
Q2_PUBLIC uint64_t q2_report_omitted(const struct q2_report *report);

enum q2_text_flag {
	Q2_TEXT_BRIEF = 1 << 0,	 /* the verdict's line only */
	Q2_TEXT_DETAIL = 1 << 1, /* more facts about the image */
	Q2_TEXT_COLOUR = 1 << 2, /* terminal colours */
	Q2_TEXT_ALL = 1 << 3,	 /* plans: every action and write, uncapped */
	Q2_TEXT_NO_NEXT = 1 << 4 /* no advice on what to do next */
};
/* The report as text for people; `flags` are of enum q2_text_flag. */
Q2_PUBLIC enum q2_status q2_report_text(const struct q2_report *report,
					unsigned flags,
					const struct q2_sink *sink)
	Q2_MUST_CHECK;

enum q2_json_form {
	Q2_JSON_IMAGE,	 /* newline, 4 blanks, an object with all findings */
	Q2_JSON_SUMMARY, /* {"summary": {…}} without findings, on one line */
	Q2_JSON_QEMU	 /* the object of qemu-img check --output=json */
};
/* The report as JSON. */
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

/* A plan: its actions, what of the guest's each concerns, and its writes.  `info`
 * is NULL for one that was just made.  As text with Q2_TEXT_BRIEF only what the
 * guest gains, loses, or cannot rely on; nothing if there is no such thing.  As
 * JSON a whole document; of one action's writes 100 unless Q2_TEXT_ALL. */
Q2_PUBLIC enum q2_status q2_plan_text(const struct q2_plan *plan,
				      const struct q2_plan_info *info,
				      unsigned flags,
				      const struct q2_sink *sink)
	Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_plan_json(const struct q2_plan *plan,
				      const struct q2_plan_info *info,
				      unsigned flags,
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

/* Rows of a map, written as they come. */
enum q2_rows_form {
	Q2_ROWS_TEXT,	/* a table for people */
	Q2_ROWS_JSON,	/* one document */
	Q2_ROWS_NDJSON, /* a line for each row, one with the sums at the end */
	Q2_ROWS_QEMU	/* what qemu-img map --output=json prints */
};
struct q2_rows_report;

/* `disk` is borrowed until q2_rows_end(); sink->ctx, too.  `start` is where the
 * rows begin. */
Q2_PUBLIC enum q2_status q2_rows_begin(const struct q2_disk *disk,
				       enum q2_rows_form form, uint64_t start,
				       const struct q2_sink *sink,
				       struct q2_rows_report **report,
				       struct q2_err *err) Q2_MUST_CHECK;
/* `report` is a struct q2_rows_report: fits q2_rows_opts.row. */
Q2_PUBLIC enum q2_status q2_rows_add(void *report,
				     const struct q2_row *r) Q2_MUST_CHECK;
/* Closes the document (if it was `complete`) and frees the report.
 * *unreadable, unless NULL, is the sum of the rows that are. */
Q2_PUBLIC enum q2_status q2_rows_end(struct q2_rows_report *report,
				     bool complete,
				     uint64_t *unreadable) Q2_MUST_CHECK;

enum q2_doc_form {
	Q2_DOC_TEXT, /* for people */
	Q2_DOC_JSON, /* a document with a schema number */
	Q2_DOC_QEMU  /* as qemu-img prints it */
};
/* `filename` is NULL if there is no image. */
Q2_PUBLIC enum q2_status q2_measure_report(const struct q2_measure *m,
					   const char *filename,
					   enum q2_doc_form form,
					   const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* For Q2_DOC_TEXT and Q2_DOC_JSON. */
Q2_PUBLIC enum q2_status q2_commit_cost_report(const struct q2_commit_cost *cost,
					       const char *filename,
					       enum q2_doc_form form,
					       const struct q2_sink *sink)
	Q2_MUST_CHECK;
/* The same; `measure` is what q2_disk_measure() says of such an image, `what` is
 * "flatten" or "compress". */
Q2_PUBLIC enum q2_status
q2_flatten_cost_report(const struct q2_flatten_cost *cost,
		       const struct q2_measure *measure, const char *filename,
		       const char *what, bool raw, enum q2_doc_form form,
		       const struct q2_sink *sink) Q2_MUST_CHECK;

enum q2_map_form {
	Q2_MAP_TEXT,
	Q2_MAP_JSON,
	Q2_MAP_NDJSON,
	Q2_MAP_HTML /* a page with charts; of space and costs only */
};

/* The rows of a survey's layout, written as they come, as with q2_rows_begin(). */
struct q2_layout_report;
Q2_PUBLIC enum q2_status
q2_layout_begin(const struct q2_survey *survey, const char *filename,
		enum q2_map_form form, const struct q2_sink *sink,
		struct q2_layout_report **report,
		struct q2_err *err) Q2_MUST_CHECK;
/* `report` is a struct q2_layout_report: fits q2_layout_opts.row. */
Q2_PUBLIC enum q2_status q2_layout_add(void *report,
				       const struct q2_use_row *row)
	Q2_MUST_CHECK;
Q2_PUBLIC enum q2_status q2_layout_end(struct q2_layout_report *report,
				       bool complete) Q2_MUST_CHECK;

/* Who refers to one host cluster: `row` is what the layout says of it, and there
 * are n references.  `guest` is the address that was asked for, or
 * Q2_NO_GUEST. */
Q2_PUBLIC enum q2_status
q2_address_report(const struct q2_survey *survey, const char *filename,
		  const struct q2_use_row *row,
		  const struct q2_reference *references, size_t n,
		  enum q2_map_form form,
		  const struct q2_sink *sink) Q2_MUST_CHECK;

/* Where the bytes of a file went: sums of the rows of its layout. */
struct q2_space_part {
	uint64_t bytes;
	uint64_t stored; /* not in holes */
	uint64_t rows;
};
enum q2_share { Q2_SHARE_ACTIVE, Q2_SHARE_SNAPSHOT, Q2_SHARE_BOTH,
		Q2_SHARE_COUNT };
struct q2_space {
	/* By use, and whose: the active disk's alone (or nobody's), snapshots'
	 * only, both. */
	struct q2_space_part part[Q2_U_COUNT][Q2_SHARE_COUNT];
	uint64_t tail; /* free bytes behind the last cluster in use */
	/* Of the active disk, in the guest's order. */
	uint64_t data;	     /* bytes that are stored plainly */
	uint64_t extents;    /* runs of them that lie together */
	uint64_t seeks;	     /* runs that do not go on behind the one before */
	uint64_t compressed; /* bytes that are stored in compressed form */
};
/* Adds one row. */
Q2_PUBLIC void q2_space_add(struct q2_space *space,
			    const struct q2_use_row *row);
Q2_PUBLIC enum q2_status q2_space_report(const struct q2_survey *survey,
					 const char *filename,
					 const struct q2_space *space,
					 enum q2_map_form form,
					 const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* What snapshots cost.  `together` is what deleting the `chosen` ones (numbers, n
 * of them) makes free; unused if n is 0. */
Q2_PUBLIC enum q2_status
q2_costs_report(const struct q2_survey *survey, const char *filename,
		const struct q2_cost *costs, size_t n_costs,
		const struct q2_cost *active, const size_t *chosen, size_t n,
		uint64_t together, enum q2_map_form form,
		const struct q2_sink *sink) Q2_MUST_CHECK;

/* What the layers of a chain have.  merges[i] is the forecast for a commit of layer
 * i to the next one, NULL where there is none. */
Q2_PUBLIC enum q2_status
q2_layers_report(const struct q2_disk *disk, const char *filename,
		 const struct q2_layer_cost *costs,
		 struct q2_commit_cost *const *merges, size_t n,
		 enum q2_doc_form form, const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* What a scan found.  For Q2_SCAN_DOT and Q2_SCAN_PROM paths are escaped as these
 * formats have it; bytes that are not UTF-8 become U+FFFD. */
enum q2_scan_form {
	Q2_SCAN_TREE,	/* who depends on whom, drawn for people */
	Q2_SCAN_JSON,	/* files and volumes, one document */
	Q2_SCAN_NDJSON, /* a line for each file and each volume */
	Q2_SCAN_DOT,	/* for Graphviz */
	Q2_SCAN_PROM,	/* for the textfile collector of Prometheus */
	Q2_SCAN_HTML	/* a page with charts */
};
Q2_PUBLIC enum q2_status q2_scan_report(const struct q2_scan *scan,
					enum q2_scan_form form,
					const struct q2_sink *sink)
	Q2_MUST_CHECK;

/* What q2_lint() noted, n rules and values; refused[i] says which of them the
 * caller's policy does not allow.  `needs` are for the list of readers, which is
 * left out if they are 0. */
Q2_PUBLIC enum q2_status
q2_lint_report(const char *filename, const struct q2_lint_rule *const *rules,
	       const char *const *what, const bool *refused, size_t n,
	       unsigned needs, enum q2_map_form form,
	       const struct q2_sink *sink) Q2_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
