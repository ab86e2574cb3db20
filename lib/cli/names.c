/*
 * names.c - images that are named by "file:" or "json:".
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli/cli.h"
#include "q2.h"

bool q2_cli_is_name(const char *text)
{
	return text != NULL && (strncmp(text, "file:", 5) == 0 ||
				strncmp(text, "json:", 5) == 0);
}

bool q2_cli_name(const struct q2_cli_tool *tool, char *name)
{
	struct q2_err err = {0};
	const char *format = NULL;
	char path[4096];
	const char *wrong = NULL;

	if (!q2_cli_is_name(name))
		return true;
	if (q2_name_path(name, path, sizeof(path), &format, &err) != Q2_OK)
		wrong = err.text;
	else if (format != NULL && strcmp(format, "raw") == 0)
		wrong = "that says that the image is raw";
	if (wrong)
		q2_cli_complain(tool, name, wrong);
	/* What is quoted is never shorter than what it stands for. */
	else if (strlen(path) <= strlen(name))
		strcpy(name, path);
	return wrong == NULL;
}
