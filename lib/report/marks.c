/*
 * marks.c - what pictures tell apart, and how it looks.
 *
 * SPDX-License-Identifier: MIT
 *
 * The hues are ones that colour-blind readers can tell from each other; what is
 * related shares one, and differs by its hatch.
 */
#include "report/picture.h"

#define BLUE "#0072b2", "#3d8fd0"
#define SKY "#56b4e9", "#a6dcff"
#define ORANGE "#e69f00", "#f2b93c"
#define GREEN "#009e73", "#22b088"
#define YELLOW "#f0e442", "#f5ec7a"
#define RED "#d55e00", "#f0561d"
#define PURPLE "#cc79a7", "#e0a3d0"
#define WINE "#882255", "#b04a7a"
#define OLIVE "#8a8a2a", "#c2c25a"
#define INDIGO "#332288", "#8f86e0"
#define SLATE "#5a6472", "#75808f"
#define MIST "#b4c2dc", "#4c5a74"
#define PALE "#e2e5ea", "#2d323b"

static const struct q2_mark_style styles[Q2_MARKS] = {
	[Q2_U_FREE] = {'.', "\xc2\xb7", 90, Q2_HATCH_NONE, PALE, "free"},
	[Q2_U_LEAKED] = {'!', NULL, 31, Q2_HATCH_NONE, RED, "leaked"},
	[Q2_U_HEADER] = {'H', NULL, 35, Q2_HATCH_CROSS, PURPLE, "header"},
	[Q2_U_L1] = {'1', NULL, 35, Q2_HATCH_UP, PURPLE, "L1 table"},
	[Q2_U_L2] = {'2', NULL, 35, Q2_HATCH_NONE, PURPLE, "L2 tables"},
	[Q2_U_REFTABLE] = {'R', NULL, 35, Q2_HATCH_UP, WINE, "refcount table"},
	[Q2_U_REFBLOCK] = {'r', NULL, 35, Q2_HATCH_NONE, WINE,
			   "refcount blocks"},
	[Q2_U_SNAPTABLE] = {'S', NULL, 35, Q2_HATCH_CROSS, OLIVE,
			    "snapshot table"},
	[Q2_U_SNAPSHOT_L1] = {'s', NULL, 35, Q2_HATCH_UP, OLIVE,
			      "L1 tables of snapshots"},
	[Q2_U_BITMAP_DIR] = {'B', NULL, 35, Q2_HATCH_CROSS, INDIGO,
			     "bitmap directory"},
	[Q2_U_BITMAP_TABLE] = {'t', NULL, 35, Q2_HATCH_UP, INDIGO,
			       "bitmap tables"},
	[Q2_U_BITMAP_DATA] = {'b', NULL, 35, Q2_HATCH_DOWN, INDIGO,
			      "bitmaps"},
	[Q2_U_LUKS] = {'K', NULL, 35, Q2_HATCH_DOTS, SLATE, "LUKS header"},
	[Q2_U_DATA] = {'#', "\xe2\x96\x88", 34, Q2_HATCH_NONE, BLUE,
		       "data of the active disk"},
	[Q2_U_COMPRESSED] = {'c', "\xe2\x96\x84", 32, Q2_HATCH_NONE, GREEN,
			     "compressed data"},
	[Q2_U_VMSTATE] = {'v', NULL, 33, Q2_HATCH_NONE, YELLOW,
			  "VM state of snapshots"},
	[Q2_U_MIXED] = {'X', NULL, 31, Q2_HATCH_DOWN, RED,
			"named as two different things"},
	[Q2_M_DATA_SHARED] = {'*', "\xe2\x96\x93", 36, Q2_HATCH_NONE, SKY,
			      "data shared with snapshots"},
	[Q2_M_DATA_SNAPSHOT] = {'o', "\xe2\x96\x92", 33, Q2_HATCH_NONE, ORANGE,
				"data of snapshots only"},
	[Q2_M_GUEST_DATA] = {'#', "\xe2\x96\x88", 34, Q2_HATCH_NONE, BLUE,
			     "data in this image"},
	[Q2_M_GUEST_DATA_BELOW] = {'*', "\xe2\x96\x93", 36, Q2_HATCH_NONE, SKY,
				   "data in a backing file"},
	[Q2_M_GUEST_COMPRESSED] = {'c', "\xe2\x96\x84", 32, Q2_HATCH_NONE,
				   GREEN, "compressed in this image"},
	[Q2_M_GUEST_COMPRESSED_BELOW] = {'k', "\xe2\x96\x80", 32, Q2_HATCH_UP,
					 GREEN, "compressed in a backing file"},
	[Q2_M_GUEST_ZERO] = {'0', NULL, 37, Q2_HATCH_NONE, MIST,
			     "zeros without bytes in the file"},
	[Q2_M_GUEST_ZERO_ALLOC] = {'z', NULL, 37, Q2_HATCH_UP, MIST,
				   "zeros that keep bytes in the file"},
	[Q2_M_GUEST_NONE] = {'.', "\xc2\xb7", 90, Q2_HATCH_NONE, PALE,
			     "unallocated, reads as zeros"},
	[Q2_M_GUEST_CUT] = {'?', NULL, 90, Q2_HATCH_DOTS, PALE,
			    "in the backing file, if anywhere"},
	[Q2_M_GUEST_UNREADABLE] = {'!', NULL, 31, Q2_HATCH_CROSS, RED,
				   "unreadable"},
	[Q2_M_GROWTH] = {'+', NULL, 33, Q2_HATCH_UP, ORANGE,
			 "may come to be taken"},
};

const struct q2_mark_style *q2_mark_style(unsigned mark)
{
	return &styles[mark];
}

unsigned q2_mark_order(unsigned i)
{
	/* What is free comes last, wherever marks are listed. */
	return i + 2 < Q2_MARKS ? i + 2 : Q2_MARKS - 1 - i;
}

unsigned q2_mark_of_use(const struct q2_use_row *row)
{
	if (row->use != Q2_U_DATA || row->snapshot == Q2_NO_SNAPSHOT)
		return row->use;
	return row->active ? Q2_M_DATA_SHARED : Q2_M_DATA_SNAPSHOT;
}
