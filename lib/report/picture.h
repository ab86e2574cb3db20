/*
 * picture.h - a file or a disk as cells, and how each kind of content is shown.
 *
 * SPDX-License-Identifier: MIT
 *
 * A picture has a bounded number of cells, whatever it shows.  Each stands for an
 * equal part and knows how many of its bytes are what, and whose.
 */
#ifndef Q2_REPORT_PICTURE_H
#define Q2_REPORT_PICTURE_H

#include "report/survey.h"

/* What a picture tells apart: the uses of a file's parts, with data by owner, and
 * the contents of a guest's disk, by layer. */
enum q2_mark {
	Q2_M_DATA_SHARED = Q2_U_COUNT,
	Q2_M_DATA_SNAPSHOT,
	Q2_M_GUEST_DATA,
	Q2_M_GUEST_DATA_BELOW,
	Q2_M_GUEST_COMPRESSED,
	Q2_M_GUEST_COMPRESSED_BELOW,
	Q2_M_GUEST_ZERO,
	Q2_M_GUEST_ZERO_ALLOC,
	Q2_M_GUEST_NONE,
	Q2_M_GUEST_CUT, /* in a backing file that was not opened, if anywhere */
	Q2_M_GUEST_UNREADABLE,
	Q2_M_GROWTH, /* charts: space that may come to be taken */
	Q2_MARKS
};

enum q2_hatch {
	Q2_HATCH_NONE,
	Q2_HATCH_UP,   /* lines that rise */
	Q2_HATCH_DOWN, /* lines that fall */
	Q2_HATCH_DOTS,
	Q2_HATCH_CROSS
};

/* No two marks of one picture have the same colour and the same hatch, so that
 * they can be told apart without seeing colours well. */
struct q2_mark_style {
	char letter;	   /* for terminals of ASCII */
	const char *glyph; /* for terminals of UTF-8; NULL: the letter */
	unsigned sgr;	   /* colour on terminals */
	enum q2_hatch hatch;
	const char *light; /* colour on a light ground, and on a dark one */
	const char *dark;
	const char *meaning;
};
const struct q2_mark_style *q2_mark_style(unsigned mark);

/* The i-th mark in lists of them, i < Q2_MARKS. */
unsigned q2_mark_order(unsigned i);

/* The mark of a file's part. */
unsigned q2_mark_of_use(const struct q2_use_row *row);

struct q2_cell_part {
	uint64_t bytes;
	bool active;  /* file: the active disk refers to some of it */
	uint32_t who; /* file: a snapshot's index, as in struct q2_use_row;
		       * disk: the layer's number, or Q2_SEVERAL_SNAPSHOTS */
};

struct q2_cell {
	struct q2_cell_part part[Q2_MARKS];
	uint64_t rows;	   /* ranges with a part here */
	uint64_t holes;	   /* bytes that are not stored, at the least */
	uint64_t other;	   /* where the first of them lies on the other side: the
			    * guest's disk, or the file; Q2_NO_GUEST: nowhere */
	uint64_t problems; /* of ranges that could not be read */
	const char *problem;
};

struct q2_picture {
	const struct q2_survey *survey; /* of a file; NULL: it is a disk's */
	const struct q2_disk *disk;
	const char *filename;
	struct q2_picture_opts opts;
	uint64_t start; /* the addresses that are shown */
	uint64_t end;
	uint64_t step; /* bytes for each cell */
	size_t n;
	struct q2_cell *cell;
	uint64_t sum[Q2_MARKS];
};

/* The address that a cell begins at, and how many bytes it stands for. */
uint64_t q2_cell_start(const struct q2_picture *p, size_t i);
uint64_t q2_cell_length(const struct q2_picture *p, size_t i);

/* The mark that most bytes of a cell have. */
unsigned q2_cell_mark(const struct q2_cell *cell);

/* What a cell shows, in lines without a newline at the end. */
void q2_cell_describe(struct q2_buf *out, const struct q2_picture *p, size_t i);

/* Text without its middle, if it has more than `most` characters; and a name,
 * which is escaped. */
void q2_text_short(struct q2_buf *out, const char *text, size_t n, size_t most);
void q2_name_short(struct q2_buf *out, const char *name, size_t most);

/* "12.5 %" */
void q2_render_share(struct q2_buf *out, uint64_t part, uint64_t whole);

/* What the picture is of, in lines with a newline each; without the name. */
void q2_picture_put_facts(struct q2_buf *out, const struct q2_picture *p);

/* "one cell is 1 MiB of the file" */
void q2_picture_put_scale(struct q2_buf *out, const struct q2_picture *p);

/* The three forms. */
void q2_picture_put_blocks(struct q2_buf *out, const struct q2_picture *p);
void q2_picture_put_svg(struct q2_buf *out, const struct q2_picture *p);
void q2_picture_put_html(struct q2_buf *out, const struct q2_picture *p);

/* The SVG element with the map alone, to stand in HTML. */
void q2_picture_put_map(struct q2_buf *out, const struct q2_picture *p);

#endif
