#!/bin/sh
# pool-check - checks the images of a pool; for Prometheus, or for Nagios.
#
# SPDX-License-Identifier: MIT
#
# usage: pool-check --metrics FOLDER PATH...
#        pool-check --nagios PATH...
#
# --metrics   writes FOLDER/qcow2-fsck.prom and FOLDER/qcow2-map.prom for the
#             textfile collector of the node exporter; each is replaced at once
# --nagios    prints one line, and exits with 0, 1 (leaks), 2 (corrupt) or 3
#
# Of each PATH, a file or a folder, files called *.qcow2 are checked, on its own file
# system.  Nothing is repaired.  An image that a virtual machine writes to is counted
# but not judged: what is read of it may never have been there at one time.
set -u
LC_ALL=C
export LC_ALL

name=${0##*/}
usage() {
	echo "usage: $name --metrics FOLDER PATH... | --nagios PATH..." >&2
	exit 16
}

case ${1-} in
--metrics)
	[ $# -ge 3 ] || usage
	form=metrics
	folder=$2
	shift 2
	;;
--nagios)
	[ $# -ge 2 ] || usage
	form=nagios
	shift
	;;
*) usage ;;
esac

# The programs that were installed with this one, whatever who calls it has for a PATH.
case $0 in
*/*) PATH=${0%/*}/../../sbin:${0%/*}/../../bin:$PATH ;;
esac
command -v qcow2-fsck >/dev/null || {
	echo "$name: qcow2-fsck is not to be found" >&2
	[ $form = metrics ] && exit 8
	echo 'QCOW2 UNKNOWN: qcow2-fsck is not to be found'
	exit 3
}
for path; do
	# What begins with a dash would be an option of find.
	case $path in
	-*) path=./$path ;;
	esac
	set -- "$@" "$path"
	shift
done

# One line of JSON for each image; one that tells how many were asked about; and one if
# not all of them can be found.
# shellcheck disable=SC2016  # that is for the inner shell
summaries() {
	{
		find -H "$@" -xdev -type f -name '*.qcow2' -print0 3>&- || echo incomplete >&3
	} | xargs -0 -r sh -c '
		echo "asked $#" >&3
		exec qcow2-fsck -n --output=ndjson "$@" 2>/dev/null 3>&-' sh |
		grep '^{"summary": ' 3>&-
}

# shellcheck disable=SC2016  # these are variables of awk
program='
function number(key) {
	if (!match($0, "\"" key "\": [0-9]+"))
		return 0
	return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4)
}
# Four digits of \\u; there are but control characters, and U+FFFD.
function character(digits,    code) {
	if (digits == "fffd")
		return "\357\277\275"
	code = 16 * (index("0123456789", substr(digits, 3, 1)) - 1) + \
		index("0123456789abcdef", substr(digits, 4, 1)) - 1
	return (code < 128 ? "" : "\302") sprintf("%c", code)
}
# A string of JSON as one of a label, where there are three escapes.
function label(text,    out, c) {
	for (out = ""; text != ""; text = substr(text, length(c) + 1)) {
		c = substr(text, 1, 1)
		if (c == "\\")
			c = substr(text, 1, substr(text, 2, 1) == "u" ? 6 : 2)
		if (c == "\\t")
			out = out "\t"
		else
			out = out (length(c) == 6 ? character(substr(c, 3)) : c)
	}
	return out
}
function put(metric, help, values,    i) {
	print "# HELP " metric " " help
	print "# TYPE " metric " gauge"
	for (i = 1; i <= n; i++)
		if (i in values)
			print metric "{path=\"" paths[i] "\"" bytes[i] "} " values[i]
}
$0 == "incomplete" {
	incomplete = 1
	next
}
$1 == "asked" {
	asked += $2
	next
}
{
	if (!match($0, /"filename": "([^"\\]|\\.)*"/))
		next
	n++
	name = substr($0, RSTART + 13, RLENGTH - 14)
	paths[n] = label(name)
	# Names that are not UTF-8 may have become alike.
	if (match($0, /"filename-bytes": "[0-9a-f]+"/))
		bytes[n] = ",bytes=" substr($0, RSTART + 18, RLENGTH - 18)
	busy[n] = $0 ~ /"used-by": "writer"/
	failed[n] = $0 ~ /"error": "/ || $0 !~ /"verdict": "(clean|leaks|corrupt)"/
	if (busy[n])
		used++
	else if (failed[n])
		unread++
	if (busy[n] || failed[n])
		next
	corruptions[n] = number("corruptions")
	leaks[n] = number("leaks")
	corrupt += corruptions[n] > 0
	leaky += corruptions[n] == 0 && leaks[n] > 0
	if (corruptions[n] > 0 && example == "")
		example = name # what is not printable stays spelled out
	gsub(/\|/, "_", example) # figures stand behind one
}
'
metrics='
END {
	incomplete += asked > n
	put("qcow2_fsck_corruptions", "Corruptions that a check found.", corruptions)
	put("qcow2_fsck_leaked_clusters", "Clusters that nothing refers to.", leaks)
	put("qcow2_fsck_in_use", "1: a virtual machine writes to it, so it was not judged.", busy)
	put("qcow2_fsck_failed", "1: it could not be checked.", failed)
	print "# HELP qcow2_fsck_images Images that were found."
	print "# TYPE qcow2_fsck_images gauge"
	print "qcow2_fsck_images " n + 0
	print "# HELP qcow2_fsck_incomplete 1: not all folders could be read, or a check ended early."
	print "# TYPE qcow2_fsck_incomplete gauge"
	print "qcow2_fsck_incomplete " (incomplete > 0)
	print "# HELP qcow2_fsck_time_seconds When the check ended, since 1970."
	print "# TYPE qcow2_fsck_time_seconds gauge"
	print "qcow2_fsck_time_seconds " now
}
'
nagios='
END {
	unread += asked > n ? asked - n : 0
	status = corrupt ? 2 : unread || incomplete ? 3 : leaky ? 1 : 0
	split("OK WARNING CRITICAL UNKNOWN", words, " ")
	printf "QCOW2 %s: %d images, %d corrupt, %d leaky, %d in use, %d not readable", \
		words[status + 1], n, corrupt, leaky, used, unread
	if (incomplete)
		printf ", not all folders"
	if (example != "")
		printf "; %s", example
	printf "|images=%d corrupt=%d leaky=%d in_use=%d failed=%d\n", \
		n, corrupt, leaky, used, unread
	exit status
}
'

if [ $form = nagios ]; then
	summaries "$@" 3>&1 | awk "$program$nagios"
	exit $?
fi

# The other half writes its own file in the same way.
status=0
qcow2-map audit -q --output=prom --to="$folder/qcow2-map.prom" "$@" || [ $? -lt 8 ] || status=8
new=$(mktemp "$folder/.qcow2-fsck.XXXXXX") || exit 8
trap 'rm -f "$new"' EXIT
trap 'exit 32' INT TERM HUP
summaries "$@" 3>&1 | awk -v now="$(date +%s)" "$program$metrics" >"$new" &&
	chmod 644 "$new" && mv "$new" "$folder/qcow2-fsck.prom" || status=8
exit $status
