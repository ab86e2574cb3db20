/*
 * targets.c - the list of the targets.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "q2fuzz.h"

const struct q2f_target q2f_targets[] = {
	{"open", q2f_open, "header, geometry, extensions"},
	{"walk", q2f_walk, "L1 and L2 tables"},
	{"check", q2f_check, "a whole check, and the reference checker"},
	{"snapshot", q2f_snapshot, "snapshot records"},
	{"bitmap", q2f_bitmap, "bitmap records"},
	{"compressed", q2f_compressed, "compressed clusters"},
	{"repair", q2f_repair, "plan, apply, check, plan again, undo"},
	{"crash-repair", q2f_crash_repair, "repairs that stop after any write"},
	{"rescue", q2f_rescue, "repairs that search the file"},
	{"plan", q2f_plan, "stored plans"},
	{"keep", q2f_keep, "checks and plans that go on from a kept state"},
	{"map", q2f_map, "rows, layout and costs, and what they read as"},
	{"chain", q2f_chain, "several files in one input"},
	{"dump", q2f_dump, "digests and copies, raw and QCOW2"},
	{"report", q2f_report, "findings, plans and maps as text, JSON and pictures"},
	{"write", q2f_write, "the copy-on-write writer, with faults"},
	{NULL, NULL, NULL},
};

const struct q2f_target *q2f_target(const char *name)
{
	for (size_t i = 0; q2f_targets[i].name; i++)
		if (strcmp(q2f_targets[i].name, name) == 0)
			return &q2f_targets[i];
	return NULL;
}
