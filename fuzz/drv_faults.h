/*
 * drv_faults.h - the faults that one input is run with, one after another.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_DRV_FAULTS_H
#define Q2F_DRV_FAULTS_H

#include "q2fuzz.h"

/* Runs the input with this trailer; `what` and k as corpus/inputs.list has them. */
typedef void q2f_run_fn(const struct q2f_input *in, const struct q2f_control *ctl,
			const char *what, uint32_t k);

/* Each fault in turn, or one of so many; then they are others for each input. */
void q2f_each_fault(const struct q2f_input *in, uint32_t of, q2f_run_fn *run);

/* One fault in each place of the code where none was before, in any input; places are
 * told apart by so many calls (places.h). */
void q2f_each_place(const struct q2f_input *in, unsigned depth, q2f_run_fn *run);

/* What the input's own trailer asks for with Q2F_EACH. */
void q2f_each_told(const struct q2f_input *in, q2f_run_fn *run);

#endif
