# shellcheck shell=bash
# report.sh - for bench.sh: prints what was measured as a table and as JSON.
#
# Reads $DIR/rows, $DIR/tsv and $DIR/commands, which measure.sh writes.
#
# SPDX-License-Identifier: MIT

# describe: where this was measured.
describe() {
	KERNEL=$(uname -sr)
	CPU=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | sort -u |
		sed -n 1p)
	CPU="${CPU:-$(uname -m)} ($(nproc) CPUs)"
	QEMU=$(qemu-img --version |
		sed -n '1s/^qemu-img version \([^ ]*\).*/\1/p')
	GCC=$(gcc -dumpfullversion 2>/dev/null || echo none)
	DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
}

# judge: the rows with the ratio and whether the goal is met, in $DIR/judged.
judge() {
	awk -F '\t' -v OFS='\t' '
	function isnum(x) { return x ~ /^[0-9.]+$/ }
	function verdict(ours, value, limit) {
		if (ours == "timeout") return "no"
		if (!isnum(ours) && ours != "-") return "failed"
		if (!isnum(limit) || value == "-") return "-"
		return value + 0 <= limit + 0 ? "yes" : "no"
	}
	{
		ref = $6 == "peer" ? $3 : $6 == "floor" ? $5 : "-"
		ratio = isnum($4) && isnum(ref) && ref > 0 ? $4 / ref : "-"
		print $0, ratio, verdict($4, $6 == "-" ? $4 : ratio, $7)
	}' "$DIR/rows" >"$DIR/judged"
}

table() {
	printf '%s, %s, qemu-img %s, gcc %s, %s, medians of %d runs\n' \
		"$KERNEL" "$CPU" "$QEMU" "$GCC" "$DATE" "$RUNS"
	awk -F '\t' '
	function cell(v, unit) {
		if (v !~ /^[0-9.]+$/) return v
		if (unit == "KiB") return sprintf("%.1f MiB", v / 1024)
		if (v < 1) return sprintf("%.1f ms", v * 1000)
		return sprintf("%.2f s", v)
	}
	function times(r) {
		if (r == "-" || r == 0) return r
		return r < 0.5 ? sprintf("1/%.1f", 1 / r) : sprintf("%.2f x", r)
	}
	function line(a, b, c, d, e, f, g) {
		printf "%-26s %10s %10s %10s %8s", a, b, c, d, e
		printf "  %-26s %s\n", f, g
	}
	BEGIN { line("what", "peer", "ours", "floor", "ratio", "goal", "met") }
	{
		line($1, cell($3, $2), cell($4, $2), cell($5, $2), times($9),
		     $8, $10)
	}' "$DIR/judged"
}

json() {
	local key

	for key in "$DIR"/tsv/*; do
		tail -n +2 "$key" | sed "s|^|${key##*/}\t|"
	done >"$DIR/measured"
	jq -n --arg kernel "$KERNEL" --arg cpu "$CPU" --arg qemu_img "$QEMU" \
		--arg gcc "$GCC" --arg date "$DATE" --argjson runs "$RUNS" \
		--rawfile rows "$DIR/judged" \
		--rawfile measured "$DIR/measured" \
		--rawfile commands "$DIR/commands" '
	def lines: split("\n") | map(select(. != "") | split("\t"));
	def figure: if . == "-" then null else (tonumber? // .) end;
	def spread(i): map(tonumber? // .) |
		{min: .[i], median: .[i + 1], max: .[i + 2]};
	($commands | lines | map({key: "\(.[0]) \(.[1])", value: .[2]}) |
		from_entries) as $text |
	{
		$kernel, $cpu, $qemu_img, $gcc, $date, $runs,
		rows: ($rows | lines | map({
			what: .[0], unit: .[1],
			peer: .[2] | figure, ours: .[3] | figure,
			floor: .[4] | figure,
			reference: .[5] | figure, limit: .[6] | figure,
			goal: .[7], ratio: .[8] | figure,
			met: ({yes: true, no: false, failed: false}[.[9]])
		})),
		measured: ($measured | lines | map({
			name: .[0], command: $text["\(.[0]) \(.[1])"],
			runs: .[2] | tonumber, status: .[3] | tonumber,
			wall_s: spread(4), cpu_s: spread(7), rss_kib: spread(10)
		}))
	}'
}
