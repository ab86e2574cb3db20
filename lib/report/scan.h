/*
 * scan.h - what the parts of a scan's report share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPORT_SCAN_H
#define Q2_REPORT_SCAN_H

#include "report/report.h"

/* Who depends on whom, as a drawing and for Graphviz. */
void q2_scan_put_tree(struct q2_buf *out, const struct q2_scan *scan);
void q2_scan_put_dot(struct q2_buf *out, const struct q2_scan *scan);

#endif
