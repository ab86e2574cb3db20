/*
 * inplace.h - flattening a chain in place: what the parts share.
 *
 * SPDX-License-Identifier: MIT
 *
 * Absorbing reads what the layers below have and writes it into the top image, then
 * names another backing file, or none.  Committing writes what the upper layers have
 * into the base, then names that, and empties the top image.  At every moment the
 * guest that uses the top image reads the same; what was done is seen from the
 * images themselves, so that an interrupted run is simply started again.
 */
#ifndef Q2_DUMP_INPLACE_H
#define Q2_DUMP_INPLACE_H

#include "dump/keys.h"
#include "dump/pace.h"
#include "image/chain.h"
#include "image/inflate.h"
#include "image/write.h"

/* How files are opened; another one for tests. */
struct q2_inplace_files {
	enum q2_status (*open)(void *ctx, const char *path, struct q2_io **io,
			       struct q2_err *err);
	enum q2_status (*open_rw)(void *ctx, const char *path,
				  struct q2_io **io, struct q2_err *err);
	void *ctx;
};

/* The disk that some neighbouring layers of a chain make up. */
struct q2_view {
	struct q2_chain part; /* borrows the layers */
	const struct q2_keyring *keys; /* of the whole chain; NULL: all is plain */
	unsigned from; /* its layer that is the part's uppermost */
	struct q2_inflate *inflate[Q2_CHAIN_MAX + 1]; /* NULL until needed */
	uint64_t limit; /* past it nothing shows through all the layers */
};

/* Layers [from, to) of the chain, which stays open longer, as do its keys. */
void q2_view_init(struct q2_view *v, const struct q2_chain *chain,
		  const struct q2_keyring *keys, unsigned from, unsigned to);
void q2_view_free(struct q2_view *v);
/* Bytes of the uppermost layer's disk; 0 without layers. */
uint64_t q2_view_size(const struct q2_view *v);
/* A reader for struct q2_below: what the uppermost layer's guest would read. */
enum q2_status q2_view_read(void *view, void *buf, size_t len, uint64_t off,
			    struct q2_err *err) Q2_MUST_CHECK;

enum q2_shows {
	Q2_SHOWS_BELOW, /* none of these layers has it */
	Q2_SHOWS_ZEROS,
	Q2_SHOWS_DATA
};
/* What [guest, guest + *len) is; *len is cut to what is alike.  Where an upper
 * layer ends, the lower ones do not show through: those are zeros. */
enum q2_status q2_view_at(struct q2_view *v, uint64_t guest, uint64_t *len,
			  enum q2_shows *shows,
			  struct q2_err *err) Q2_MUST_CHECK;

/* An image that changes. */
struct q2_changed {
	struct q2_io *io;
	struct q2_io *data; /* its data file; NULL: it has none */
	uint64_t end;	    /* of the last cluster in use: devices */
};

struct q2_inplace {
	const struct q2_inplace_opts *opts;
	const struct q2_inplace_files *files;
	struct q2_inplace_result *result;
	struct q2_budget budget;
	struct q2_budget tight; /* of a rehearsal that may fail for lack of it */
	struct q2_chain chain;
	struct q2_keyring keys;
	unsigned base;	       /* layer that stays below; chain.n: none */
	struct q2_view upper;  /* what is moved: [1, base), or [0, base) */
	struct q2_view under;  /* from layer 1 on; below the base: commit */
	struct q2_below below; /* reads `under` */
	struct q2_changed top_file;
	struct q2_changed base_file; /* commit only */
	struct q2_writer *top;
	struct q2_writer *target; /* commit: of a QCOW2 base; NULL: it is raw */
	/* Forecast: clusters (of a raw base: bytes) up to here are in it. */
	uint64_t counted;
	uint64_t slots;	  /* and L2 tables */
	uint64_t apart;	  /* of what is needed, bytes in a data file */
	bool look_only;	  /* a forecast without locks: the chain's files are used */
	bool rehearsing;  /* writing to an overlay, and no data are read */
	bool to_the_room; /* a rehearsal ends where result->available does */
	const char *phase; /* of a commit, for its progress */
	struct q2_pace pace;
	struct q2_commit_cost *cost;
	uint8_t *buf;
};

#define Q2_INPLACE_BUF (UINT64_C(1) << 20)
#define Q2_INPLACE_BLOCK UINT64_C(4096) /* of file systems */
#define Q2_INPLACE_TIGHT (UINT64_C(24) << 20)

/* An overlay for a rehearsal on an image whose last cluster in use ends at `end`.
 * Unless `ample`, tables of more than Q2_INPLACE_TIGHT bytes, or of more than all the
 * memory that there may be, are Q2_E_BUDGET. */
enum q2_status q2_inplace_overlay(struct q2_inplace *ip, struct q2_io *base,
				  uint64_t end, bool ample, struct q2_io **out,
				  struct q2_err *err) Q2_MUST_CHECK;

/* For a writer of layer i, whose data file is `data`. */
struct q2_writer_opts q2_inplace_writing(const struct q2_inplace *ip,
					 unsigned i, struct q2_io *data);
/* Opens the writer for a QCOW2 base in `io`. */
enum q2_status q2_inplace_open_base(struct q2_inplace *ip, struct q2_io *io,
				    unsigned flags, struct q2_writer **out,
				    struct q2_err *err) Q2_MUST_CHECK;

/* The reasons against it, inplace_judge.c.  First: a data file that also is something
 * else in the chain. */
enum q2_status q2_inplace_data_files(const struct q2_inplace *ip,
				     struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_inplace_judge(struct q2_inplace *ip,
				struct q2_err *err) Q2_MUST_CHECK;
/* Refuses if what is encrypted would be written where it is not, and nobody said that
 * this is meant. */
enum q2_status q2_inplace_plaintext(struct q2_inplace *ip,
				    struct q2_err *err) Q2_MUST_CHECK;
/* Checks an image, and whether its data file is long enough; *end is that of its last
 * cluster in use. */
enum q2_status q2_inplace_check(struct q2_inplace *ip,
				const struct q2_changed *file,
				const char *path, uint64_t *end,
				struct q2_err *err) Q2_MUST_CHECK;
/* Refuses if the contents of a snapshot would change, of the top image or of one
 * between it and the base. */
enum q2_status q2_inplace_snapshots(struct q2_inplace *ip,
				    struct q2_err *err) Q2_MUST_CHECK;
/* Whether both are one file, as far as can be told; NULL is none. */
bool q2_inplace_same(const struct q2_io *a, const struct q2_io *b);
/* Refuses if another image shares a file that changes, inplace_siblings.c. */
enum q2_status q2_inplace_siblings(struct q2_inplace *ip,
				   struct q2_err *err) Q2_MUST_CHECK;

/* The name by which the top image has to call the base, and its format; *name is
 * NULL for none and to be freed with q2_put(&ip->budget, *name, *size). */
enum q2_status q2_inplace_name(struct q2_inplace *ip, char **name,
			       uint64_t *size, const char **format,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Refuses if `needed` bytes more, ip->apart of them in its data file, do not fit where
 * the file of layer i lies; `exact` is for the text. */
enum q2_status q2_inplace_room(struct q2_inplace *ip,
			       const struct q2_changed *file, unsigned i,
			       uint64_t needed, bool exact,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Whether its data file does not share the room of the image's. */
bool q2_inplace_elsewhere(const struct q2_changed *file);
/* `clusters` more, behind `end`, with the refcount blocks and tables that they take at
 * the most. */
uint64_t q2_inplace_counted(const struct q2_geom *g, uint64_t end,
			    uint64_t clusters);

/* What may be needed besides the bytes of that many clusters, because file systems
 * have blocks: a small cluster in a hole of the file takes a whole one. */
uint64_t q2_inplace_slack(const struct q2_io *io, uint64_t cluster,
			  uint64_t clusters);

/* After a rehearsal on a file of `before` bytes, which then has `after`: bytes of
 * space that it takes, with those of its data file, which ip->apart then tells.  Of a
 * device, whose clusters in use ended at `end`, bytes behind that; files have
 * UINT64_MAX. */
uint64_t q2_inplace_growth(struct q2_inplace *ip, const struct q2_writer *w,
			   uint64_t end, uint64_t before, uint64_t after);

/* The two jobs: what will be needed, and the work. */
enum q2_status q2_absorb_forecast(struct q2_inplace *ip,
				  struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_absorb(struct q2_inplace *ip,
			 struct q2_err *err) Q2_MUST_CHECK;
/* A part of the disk that the top image lacks, and that is alike. */
struct q2_lack {
	uint64_t at;
	uint64_t len;
	enum q2_shows shows;
};
/* The next part at or after `at` with something to be done; len = 0 at the end. */
enum q2_status q2_absorb_next(struct q2_inplace *ip, uint64_t at,
			      struct q2_lack *out,
			      struct q2_err *err) Q2_MUST_CHECK;
/* Copies all that ip->top lacks into it. */
enum q2_status q2_absorb_copy(struct q2_inplace *ip, const char *phase,
			      struct q2_err *err) Q2_MUST_CHECK;
/* Fills in *ip->cost, and says by result->needed what has to be there. */
enum q2_status q2_commit_foresee(struct q2_inplace *ip,
				 struct q2_err *err) Q2_MUST_CHECK;
/* Of the work, what concerns the base. */
enum q2_status q2_commit_base(struct q2_inplace *ip, const char *phase,
			      struct q2_err *err) Q2_MUST_CHECK;
/* Whether the base can become as large as the top image's disk. */
enum q2_status q2_commit_may_grow(struct q2_inplace *ip,
				  struct q2_err *err) Q2_MUST_CHECK;
/* Calls `take` for each part of the disk that the base has to get. */
enum q2_status q2_commit_parts(struct q2_inplace *ip, const char *phase,
			       enum q2_status (*take)(struct q2_inplace *ip,
						      uint64_t at,
						      uint64_t len,
						      bool zeros,
						      struct q2_err *err),
			       struct q2_err *err) Q2_MUST_CHECK;
uint64_t q2_commit_size(const struct q2_inplace *ip); /* of the top's disk */
uint64_t q2_base_size(const struct q2_inplace *ip);
enum q2_status q2_commit(struct q2_inplace *ip,
			 struct q2_err *err) Q2_MUST_CHECK;

/* Tells the caller's progress function, as often as keeping to the rate takes. */
enum q2_status q2_inplace_tick(struct q2_inplace *ip, const char *phase,
			       uint64_t done, uint64_t total,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Opens the chain and what ip->opts ask for, sets the views.  Whatever it
 * returns, q2_inplace_close() follows. */
enum q2_status q2_inplace_open(struct q2_inplace *ip, const char *path,
			       struct q2_err *err) Q2_MUST_CHECK;
void q2_inplace_close(struct q2_inplace *ip);

/* q2_inplace() with other files. */
enum q2_status q2_inplace_run(const char *path,
			      const struct q2_inplace_opts *opts,
			      const struct q2_inplace_files *files,
			      struct q2_inplace_result *result,
			      struct q2_err *err) Q2_MUST_CHECK;

#endif
