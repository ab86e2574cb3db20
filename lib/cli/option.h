/*
 * option.h - what the parts of the command line layer share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CLI_OPTION_H
#define Q2_CLI_OPTION_H

#include <errno.h>

#include "cli/cli.h"

/* Appends the text of --help; `common` are the options of every tool. */
void q2_cli_help(struct q2_buf *b, const struct q2_cli_tool *tool,
		 const struct q2_cli_option *common);

#endif
