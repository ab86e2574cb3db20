# tabulate.jq - from one line an image to one line a comparison.
# SPDX-License-Identifier: MIT
#
# Input lines: name, file, qemu's status, ours, same|changed, qemu's document,
# ours. $own holds our own document about all of them, $rc its exit status,
# $group their name.

def numbers: ["corruptions", "leaks", "image-end-offset", "total-clusters",
	"allocated-clusters", "fragmented-clusters", "compressed-clusters"];

# qemu-img's form: these three always, a number only when it is not zero.
def shape($file):
	if .filename != $file then "filename"
	elif .format != "qcow2" then "format"
	elif (."check-errors" | type) != "number" then "check-errors"
	elif ([to_entries[] | select(.key != "check-errors" and .value == 0)] | length) > 0
	then "zeros"
	else "good" end;

def verdict: {"0": "clean", "2": "corrupt", "3": "leaks"}[.] // "unreadable";

# Our own document carries the same numbers under its own names.
def own_number($key):
	if $key == "corruptions" or $key == "leaks" then .counts[$key] else .[$key] end // 0;

def row($name; $key; $a; $b): [$name, $key, $a, $b] | map(tostring) | @tsv;

($own[0].images // []) as $mine |
[inputs | split("\t")] |
(.[] |
	. as [$name, $file, $theirs, $ours, $hash] |
	((.[5] | fromjson?) // null) as $q |
	((.[6] | fromjson?) // null) as $o |
	([$mine[] | select(.filename == $file)][0] // {}) as $m |
	row($name; "exit"; $theirs; $ours),
	row($name; "sha256"; "same"; $hash),
	# Without a document of theirs there is nothing to compare ours with.
	(if $q == null then empty else
		numbers[] | row($name; .; $q[.] // 0; if $o then $o[.] // 0 else "none" end)
	end),
	row($name; "verdict"; $ours | verdict; $m.verdict // "none"),
	(if $o == null then empty else
		row($name; "shape"; "good"; $o | shape($file)),
		row($name; "document";
			[numbers[] as $k | $o[$k] // 0];
			[numbers[] as $k | $m | own_number($k)])
	end)),
(. as $all |
	# The status over all of them is a sum: 4 problems, 8 something unchecked.
	[$all[][3]] as $s |
	row("all-of-\($group)"; "exit";
		(if any($s[]; . == "2" or . == "3") or any($mine[]; .counts.corruptions > 0)
		then 4 else 0 end) +
		(if any($s[]; . == "1" or . == "63") then 8 else 0 end); $rc),
	row("all-of-\($group)"; "documents"; $all | length; $mine | length),
	row("all-of-\($group)"; "schema"; 1; $own[0].schema // "none"))
