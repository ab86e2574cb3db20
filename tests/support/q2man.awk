# q2man.awk - the manual page q2(3): the public header, as text.
#
# SPDX-License-Identifier: MIT
#
# usage: awk -f q2man.awk lib/q2.h lib/q2.3.in >q2.3
# Each declaration is shown with the comment that stands before it.  A function
# without one is an error: status 1, and the function's name.

function escape(line) {
	gsub(/\\/, "\\e", line)
	sub(/^[.']/, "\\\\\\&&", line)
	return line
}

function paragraphs(text,    n, i, lines) {
	gsub(/\.  /, ".\n", text)
	n = split(text, lines, "\n")
	for (i = 1; i <= n; i++)
		api = api (lines[i] == "" ? ".Pp" : escape(lines[i])) "\n"
}

# The text of a comment without its marks.
function plain(comment) {
	gsub(/(^|\n)[ \t]*(\/\*|\*\/|\*)?[ \t]*/, "\n", comment)
	gsub(/[ \t]*\*\/[ \t]*/, "", comment)
	gsub(/^\n+|\n+$/, "", comment)
	return comment
}

# Declarations without a blank line between them share a comment.
function flush(    n, i, lines) {
	if (group == "")
		return
	if (group ~ /^Q2_PUBLIC|\nQ2_PUBLIC/ && about == "") {
		match(group, /q2_[a-z0-9_]+\(/)
		print "q2.h: " substr(group, RSTART, RLENGTH) ") has no comment" \
			>"/dev/stderr"
		bad = 1
	}
	gsub(/Q2_PUBLIC |[ \t\n]*Q2_MUST_CHECK/, "", group)
	api = api ".Bd -literal\n"
	n = split(group, lines, "\n")
	for (i = 1; i < n; i++)
		api = api escape(lines[i]) "\n"
	api = api ".Ed\n"
	if (about != "")
		paragraphs(plain(about))
	group = about = ""
}

FNR == NR {
	if (/^#ifndef Q2_H|^#define Q2_VERSION/)
		started = 1
	if (!started)
		next
	if (/^$|^\/\*/ && !inside && decl == "")
		flush()
	if (/^\/\* ---/) {
		comment = ""
		title = $0
		gsub(/[-\/*]+/, " ", title)
		gsub(/^ +| +$/, "", title)
		sub(/^I O$/, "I/O", title)
		api = api ".Ss " toupper(substr(title, 1, 1)) substr(title, 2) "\n"
		if ($0 !~ /\*\/$/) {
			section = 1
			text = ""
		}
		next
	}
	if (section) {
		if (/^ \*\/$/) {
			section = 0
			paragraphs(plain(text))
		} else {
			text = text "\n" $0
		}
		next
	}
	if (decl == "" && (inside || /^\/\*/)) {
		comment = (inside ? comment "\n" : "") $0
		inside = !/\*\/$/
		next
	}
	if (decl == "" && /^(#|}|extern|$)/) {
		if (/^$/)
			comment = ""
		next
	}
	decl = decl (decl == "" ? "" : "\n") $0
	opened = decl ~ /^(struct|enum)[^;(]*{/
	if (opened ? /^};|^(struct|enum)[^;]*};$/ : /;([ \t]*\/\*.*\*\/)?$/) {
		group = group decl "\n"
		if (comment != "")
			about = comment
		decl = comment = ""
	}
	next
}

/^@API@$/ {
	printf "%s", ".Sh FUNCTIONS AND TYPES\n" api
	next
}
{ print }

END { exit bad }
