/*
 * write.h - changing an image as a guest's disk would: a copy-on-write writer.
 *
 * SPDX-License-Identifier: MIT
 *
 * Changes are made in batches.  Data goes to the file at once, either to clusters
 * that nothing on the disk refers to yet, or in place to clusters that belong to
 * the active disk alone.  Everything else waits in memory for the batch's end,
 * and is then written in this order, with a flush where an arrow stands:
 *
 *   new tables, refcounts that rise -> links to new refcount blocks
 *     -> L2 entries, L1 entries -> header -> refcounts that fall
 *
 * So whatever subset of the writes between two flushes reaches the disk before a
 * crash, the image is at worst leaky, and each cluster (each 512 bytes of one that
 * is written in place) reads as before or as after.  A batch ends by itself when
 * enough has been gathered, and with q2_write_commit().
 *
 * In an external data file each cluster lies at its guest offset, if anywhere.  That
 * file is flushed before whatever leads to what was written there, and where nothing
 * leads any more it is punched.
 *
 * Internal snapshots are never touched: what they share has a refcount above 1
 * and is copied.  COPIED is set on exactly those references of the active disk
 * whose refcount is 1.
 *
 * What a call refuses before it does anything, for the reasons that it names,
 * changes nothing.  After any other error the writer is of no more use: all further
 * changes return that error and nothing more is written.  The file is then what a
 * crash would have left.
 */
#ifndef Q2_IMAGE_WRITE_H
#define Q2_IMAGE_WRITE_H

#include "image/image.h"
#include "image/veil.h"

struct q2_writer;

/* The disk below the image, read wherever the image has nothing.  */
struct q2_below {
	/* Reads exactly `len` bytes of the guest's view of the backing chain;
	 * zeros past its end. */
	enum q2_status (*read)(void *ctx, void *buf, size_t len, uint64_t off,
			       struct q2_err *err);
	void *ctx;
	uint64_t size; /* bytes; nothing but zeros lies past it */
};

enum q2_writer_flag {
	/* The caller promises that what the guest reads stays the same at every
	 * moment, so that bitmaps stay true. */
	Q2_WRITER_SAME_VIEW = 1 << 0,
	/* Persistent bitmaps that are enabled would have to record every write,
	 * which this writer cannot.  With this flag they are marked IN_USE before
	 * the first write, as a program that died over them leaves them: present,
	 * and not to be trusted.  Without it they make opening fail. */
	Q2_WRITER_STALE_BITMAPS = 1 << 1,
	/* Tables are written and data are not, nor are they read for it: `io` is
	 * an overlay, and what is wanted are its length and the counts. */
	Q2_WRITER_REHEARSAL = 1 << 2
};

struct q2_writer_opts {
	unsigned flags;		      /* enum q2_writer_flag */
	const struct q2_below *below; /* borrowed; NULL: there is no backing file,
				       * or it is not to be looked at */
	struct q2_io *data; /* borrowed: the data file, if there is one */
	const struct q2_veil *veil; /* borrowed: of an encrypted image; a rehearsal
				     * can do without */
	uint64_t batch; /* bytes of changed tables that end a batch; 0: 8 MiB */
};

/* Opens the image in `io` (borrowed) for writing, with memory from `budget`
 * (borrowed).  The caller has checked it: a check must have come out clean or
 * leaky, and nobody else may use the file.  Nothing is written yet.
 *
 * Refused: dirty and corrupt images, and whatever q2_header_judge() finds wrong
 * (Q2_E_FORMAT); a data file or encryption that *opts has nothing for, enabled bitmaps
 * unless a flag allows them (Q2_E_UNSUPPORTED).  An image that is opened may be read
 * even if `io` is not writable; writing is then refused with Q2_E_ARG.
 *
 * Unknown autoclear bits are cleared before the first change. */
enum q2_status q2_writer_open(struct q2_io *io, struct q2_budget *budget,
			      const struct q2_writer_opts *opts,
			      struct q2_writer **out,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Forgets what was not committed. */
void q2_writer_close(struct q2_writer *w);

/* The geometry as it is now; valid until the writer is closed. */
const struct q2_geom *q2_writer_geom(const struct q2_writer *w);

/* What has been done since the writer was opened, in clusters. */
struct q2_writer_counts {
	uint64_t overwritten; /* of the disk, written where they were */
	uint64_t inside[Q2_PLACED_COUNT]; /* taken from what the file had free */
	uint64_t behind[Q2_PLACED_COUNT]; /* placed behind its end */
	uint64_t freed; /* that lost their last reference */
	uint64_t holes; /* rehearsal: bytes of data that would fill holes */
	uint64_t apart; /* rehearsal: bytes that a data file would take more */
	uint64_t end;	/* the cluster behind the last one that is in use */
};
void q2_writer_counts(const struct q2_writer *w,
		      struct q2_writer_counts *out);

/* Bytes [guest, guest + len) must lie on the disk, else Q2_E_RANGE. */
enum q2_status q2_write(struct q2_writer *w, const void *buf, size_t len,
			uint64_t guest, struct q2_err *err) Q2_MUST_CHECK;

enum q2_zeros {
	Q2_ZEROS_PLAIN, /* give host clusters back */
	Q2_ZEROS_KEEP	/* keep host clusters that are the disk's own */
};

/* Makes the range read as zeros: by zero clusters or subclusters where whole
 * ones are concerned and the format has them (version 3), by written zeros
 * elsewhere. */
enum q2_status q2_write_zeros(struct q2_writer *w, uint64_t guest,
			      uint64_t len, enum q2_zeros how,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Gives back the whole clusters inside the range; they read as zeros then.  In a
 * version 2 image over a backing file that cannot be said, and nothing happens. */
enum q2_status q2_write_discard(struct q2_writer *w, uint64_t guest,
				uint64_t len,
				struct q2_err *err) Q2_MUST_CHECK;

/* Reads as the guest would, all that was written included. */
enum q2_status q2_write_read(struct q2_writer *w, void *buf, size_t len,
			     uint64_t guest,
			     struct q2_err *err) Q2_MUST_CHECK;

enum q2_holds {
	Q2_HOLDS_NOTHING, /* the backing file, or zeros, show through */
	Q2_HOLDS_ZEROS,
	Q2_HOLDS_DATA
};

/* What the image itself has at `guest`, and for how many bytes (>= 1) at least
 * the same is true; never past the disk's end.  `guest` lies on the disk. */
enum q2_status q2_write_look(struct q2_writer *w, uint64_t guest,
			     enum q2_holds *holds, uint64_t *len,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Ends the batch; all of it is durable afterwards. */
enum q2_status q2_write_commit(struct q2_writer *w,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Grows the disk to `size` bytes (Q2_E_ARG if that is less than it has).  What is
 * new reads as zeros, whatever lies below.  Commits before and after: the size and
 * all that depends on it changes with one sector.  Refused with Q2_E_UNSUPPORTED
 * if the table of a bitmap would have to grow that is not marked as in use, or if a
 * snapshot does not know its own size.  With
 * `try_only` nothing is written at all. */
enum q2_status q2_write_resize(struct q2_writer *w, uint64_t size,
			       bool try_only, struct q2_err *err) Q2_MUST_CHECK;

/* Makes the whole disk unallocated, so that the backing file shows through.
 * Snapshots stay.  Commits before and after, and for long disks in between. */
enum q2_status q2_write_empty(struct q2_writer *w,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Cuts off what lies behind the last cluster in use.  Commits first. */
enum q2_status q2_write_shrink(struct q2_writer *w,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Names another backing file (and its format; NULL: none said), or none if `name`
 * is NULL.  Commits first.  The switch is one sector; Q2_E_UNSUPPORTED, and nothing
 * was changed, if the first cluster leaves no way to make it so.  `below` stays as it
 * is.  With `try_only` nothing is written at all. */
enum q2_status q2_write_backing(struct q2_writer *w, const char *name,
				const char *format, bool try_only,
				struct q2_err *err) Q2_MUST_CHECK;

#endif
