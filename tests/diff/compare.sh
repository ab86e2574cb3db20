# compare.sh - check one image with both tools; judge the differences.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there
#
# judge leaves one line an image in $group.raw. tabulate makes of it one line
# a comparison, "image key qemu ours", tab-separated. weigh holds these against
# the list of known disagreements.

# How long either tool may take, in seconds.
: "${LIMIT:=20}"

# check_both IMAGE-FOR-QEMU...: the arguments go to qemu-img check.
check_both() {
	local theirs=0 ours=0 before after
	timeout "$LIMIT" qemu-img check --output=json "$@" \
		>"$cur.qemu" 2>"$cur.qemu.err" || theirs=$?
	before=$(sha256sum <"$f")
	timeout "$LIMIT" "$FSCK" --output=qemu --exit=qemu "$f" \
		>"$cur.ours" 2>"$cur.ours.err" || ours=$?
	after=$(sha256sum <"$f")
	[ "$before" = "$after" ] && after=same || after=changed
	printf '%s\t%s\t%d\t%d\t%s\t%s\t%s\n' "$cur" "$f" "$theirs" "$ours" "$after" \
		"$(tr -d '\n\t' <"$cur.qemu")" "$(tr -d '\n\t' <"$cur.ours")" >>"$group.raw"
}

# judge: an image qemu-img can open by its name alone.
judge() {
	check_both -f qcow2 "$f"
}

# judge_probed: the same, but qemu-img guesses the format.
judge_probed() {
	check_both "$f"
}

# judge_locked: an image with a key. Ours gets none: it must not need one.
judge_locked() {
	check_both --object secret,id=key,data=sesame \
		--image-opts "driver=qcow2,file.filename=$f,encrypt.key-secret=key"
}

# skip REASON IMAGE...: these cannot be made on this machine.
skip() {
	local why=$1 i
	shift
	for i; do
		printf '%s\tskipped\t%s\t-\n' "$i" "$why" >>"$group.tab"
	done
}

# All images of the group again, in one run with our own document: its verdict
# and its numbers must be those of the runs above.
check_all() {
	local files rc=0
	mapfile -t files < <(cut -f 2 "$group.raw")
	timeout $((LIMIT * 3)) "$FSCK" --output=json "${files[@]}" \
		>"$group.json" 2>"$group.json.err" || rc=$?
	jq . "$group.json" >/dev/null 2>&1 || echo null >"$group.json"
	echo "$rc" >"$group.rc"
}

tabulate() {
	[ -s "$group.raw" ] || return 0 # all were skipped
	check_all
	jq -Rrn --slurpfile own "$group.json" --argjson rc "$(cat "$group.rc")" \
		--arg group "$group" -f "$here/tabulate.jq" "$group.raw" >>"$group.tab"
}

# read_list FILE: one entry for each image of each line.
read_list() {
	local key theirs ours images image list
	l_image=() l_key=() l_theirs=() l_ours=() l_seen=()
	while read -r key theirs ours images; do
		case $key in '' | '#'*) continue ;; esac
		read -ra list <<<"$images"
		for image in "${list[@]}"; do
			l_image+=("$image")
			l_key+=("$key")
			l_theirs+=("$theirs")
			l_ours+=("$ours")
			l_seen+=(no)
		done
	done <"$1"
}

# find_listed IMAGE KEY: set $entry to the first line for it.
find_listed() {
	for entry in "${!l_image[@]}"; do
		# shellcheck disable=SC2053  # the image is a pattern
		[[ $2 == "${l_key[entry]}" && $1 == ${l_image[entry]} ]] && return 0
	done
	return 1
}

# weigh_one IMAGE KEY QEMU OURS: say what is wrong; 1 if anything is.
weigh_one() {
	local entry
	if ! find_listed "$1" "$2"; then
		[ "$3" = "$4" ] && return 0
		echo "FAIL $1 $2: qemu $3, ours $4"
		return 1
	fi
	l_seen[entry]=yes
	if [ "$3" = "$4" ]; then
		echo "FAIL $1 $2: both say $3, but a disagreement is listed"
		return 1
	fi
	# shellcheck disable=SC2053  # these are patterns
	if [[ $3 != ${l_theirs[entry]} || $4 != ${l_ours[entry]} ]]; then
		echo "FAIL $1 $2: qemu $3, ours $4, but listed is" \
			"${l_theirs[entry]}, ${l_ours[entry]}"
		return 1
	fi
	differ=$((differ + 1))
}

# skip_listed IMAGE: the lines for it need not occur.
skip_listed() {
	local i
	for i in "${!l_image[@]}"; do
		# shellcheck disable=SC2053  # the image is a pattern
		[[ $1 == ${l_image[i]} ]] && l_seen[i]=skipped
	done
	return 0
}

# unseen: complain of the lines that no image had a use for.
unseen() {
	local i n=0
	for i in "${!l_image[@]}"; do
		[ "${l_seen[i]}" = no ] || continue
		echo "FAIL ${l_image[i]} ${l_key[i]}: listed, but there is no such comparison"
		n=$((n + 1))
	done
	failed=$((failed + n))
}

# weigh LIST PARTIAL TABLE...: print one line a failure, and the totals; 1 if
# any failed. PARTIAL is empty unless only some groups were asked for.
weigh() {
	local passed=0 failed=0 skipped=0 differ=0
	local image key theirs ours partial=$2
	read_list "$1"
	shift 2
	while IFS=$'\t' read -r image key theirs ours; do
		if [ "$key" = skipped ]; then
			echo "skipped: $image ($theirs)"
			skipped=$((skipped + 1))
			skip_listed "$image"
		elif weigh_one "$image" "$key" "$theirs" "$ours"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done < <(cat "$@")
	[ -n "$partial" ] || unseen
	echo "diff: $(cat "$@" | grep -c "$(printf '\tsha256\t')") images, $skipped skipped," \
		"$differ comparisons differ as listed"
	echo "diff: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}
