# shellcheck shell=bash disable=SC2154
# inplace-stops.sh - flattening in place, stopped everywhere; random and deep chains.
#
# SPDX-License-Identifier: MIT
#
# Sourced by inplace.sh.

# --- crashes and failures ---------------------------------------------------------

layer() { # cluster size base-name base-format extra
	[ -z "$5" ] || echo "$5"
	echo "cluster $1"
	echo "size $2"
	[ -z "$3" ] || echo "backing $3 $4"
}

stops() { # name top-cluster top-size mid-cluster mid-size base-cluster base-size [extra]
	local name=$1 extra=${8-} job
	local -a words
	{
		[ "$extra" = "${extra/version/}" ] || echo "$extra"
		[ "$extra" != extl2 ] || echo extl2
		echo "cluster $2"
		echo "size $3"
		echo "file $name-mid.q2"
		echo "cluster $4"
		echo "size $5"
		if [ "$6" = raw ]; then
			echo "rawfile $name-base.raw $7 seed:9"
			echo "backing $name-base.raw raw"
		else
			echo "file $name-base.q2"
			layer "$6" "$7" '' '' ''
			echo 'write 0 7K seed:1'
			echo 'compress 8K 4K'
			echo 'snapshot bs'
			echo 'write 13K 3K seed:3'
			echo 'end'
			echo "backing $name-base.q2 qcow2"
		fi
		echo 'write 1K 1K seed:4'
		echo 'zero 4K 4K'
		echo 'write 10K 1K seed:5'
		echo 'compress 16K 4K'
		echo 'end'
		echo "backing $name-mid.q2 qcow2"
		if [ "$extra" = extl2 ]; then
			echo 'write 2K 512 seed:6'
			echo 'zero 5K 2K'
			echo 'compress 16K 16K'
		else
			echo 'write 2K 2K seed:6'
			echo 'write 14K 1K seed:7'
			[ -n "$extra" ] || echo 'zero 5K 2K'
			[ -n "$extra" ] || echo 'zero 0 1K'
		fi
	} >"$name.rec"
	"$q2mk" -g "$name.view" "$name.rec" "$name.q2" 2>make.log || {
		ok "$name: $(cat make.log)" false
		return
	}
	for job in commit absorb 'commit base=2' 'absorb base=2' 'commit keep'; do
		job=${job/base=2/base=$([ "$6" = raw ] && echo "$name-base.raw" || echo "$name-base.q2")}
		read -r -a words <<<"$job"
		ok "crash: $name: $job" "$flat" crash "${words[0]}" "$name.q2" view="$name.view" "${words[@]:1}"
		ok "faults: $name: $job" "$flat" faults "${words[0]}" "$name.q2" view="$name.view" "${words[@]:1}"
	done
}

crashes() {
	stops same 1K 40K 1K 40K 1K 40K
	stops tiny 512 40K 1K 24K 512 30K
	stops grown 1K 64K 512 40K 2K 20K
	stops cut 1K 24K 2K 64K 512 80K
	stops onraw 1K 48K 1K 48K raw 30K+512
	stops rawlong 2K 40K 512 24K raw 60K
	stops v2 1K 40K 1K 40K 512 24K 'version 2'
	stops subs 16K 64K 1K 48K 4K 64K extl2
}

# Chains at random; the same in every run.
seed=1
roll() { # n: sets dice to 0 … n - 1
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	dice=$((seed / 1024 % $1))
}

random_layer() { # layers-below
	local cluster size i n
	roll 5
	cluster=$((512 << (dice > 2 ? dice - 2 : 0)))
	roll 80
	size=$(((dice + 10) * 512))
	roll 5
	if [ $dice = 0 ]; then
		echo 'version 2'
	else
		roll 7
		echo "refcount $((1 << dice))"
	fi
	[ $dice != 0 ] || cluster=1024
	echo "cluster $cluster"
	echo "size $size"
	if [ "$1" = 0 ]; then
		roll 3
		if [ $dice = 0 ]; then
			roll 90
			echo "rawfile $name.raw $(((dice + 1) * 512)) seed:$dice"
			echo "backing $name.raw raw"
		fi
	else
		echo "file $name.$1"
		random_layer $(($1 - 1))
		echo end
		echo "backing $name.$1 qcow2"
	fi
	roll 7
	n=$((dice + 1))
	for ((i = 0; i < n; i++)); do
		roll $((size / 512))
		local at=$((dice * 512)) len
		roll 12
		len=$(((dice + 1) * 512))
		[ $((at + len)) -le $size ] || len=$((size - at))
		roll 4
		# Whole clusters for what needs them; what cannot be is left out.
		case $dice in
		0 | 1) echo "write $at $len seed:$i" ;;
		2) echo "discard $((at / cluster * cluster)) $cluster" ;;
		3) echo "compress $((at / cluster * cluster)) $cluster" ;;
		esac
	done
}

random_chains() {
	local name i job base args made=0
	for ((i = 1; i <= 60; i++)); do
		seed=$((i * 7919))
		name=r$i
		roll 3
		base=$dice
		random_layer "$base" >$name.rec
		# Not each recipe makes sense: a cluster past the end, a full refcount.
		"$q2mk" -g $name.view $name.rec $name.q2 2>make.log || continue
		made=$((made + 1))
		for job in commit absorb; do
			args=()
			[ "$base" -gt 0 ] || [ -e $name.raw ] || continue
			[ "$base" -lt 2 ] || args=("base=$name.1")
			ok "$name: $job" "$flat" crash $job $name.q2 view=$name.view
			ok "$name: $job ${args[*]}" "$flat" crash $job $name.q2 view=$name.view "${args[@]}"
		done
	done
	ok "of the random chains only $made could be made" [ $made -gt 25 ]
}

# Two hundred layers, each with a cluster of its own.
deep() {
	local i
	mkdir deep
	cd deep || return
	for ((i = 200; i > 0; i--)); do
		{
			echo 'cluster 4K'
			echo 'size 1M'
			[ $i = 200 ] || echo "backing $((i + 1)).q2 qcow2"
			echo "write $((i * 4))K 4K $((i % 250 + 1))"
		} | "$q2mk" - $i.q2
	done
	for ((i = 1; i <= 200; i++)); do
		head -c 4K </dev/zero | tr '\0' "\\$(printf %o $((i % 250 + 1)))"
	done >want.log
	ok '200 layers: absorb' "$flat" run absorb 1.q2
	ok '200 layers: absorbed' qemu-img convert -O raw 1.q2 got.log
	ok '200 layers: view' cmp want.log <(tail -c +4097 got.log | head -c 800K)
	clean '200 layers' 1.q2
	ok '200 layers: commit' "$flat" run commit 2.q2 base=200.q2
	ok '200 layers: committed' qemu-img convert -O raw 200.q2 got.log
	ok '200 layers: view' cmp <(tail -c +4097 want.log) <(tail -c +8193 got.log | head -c 796K)
	clean '200 layers' 2.q2 200.q2
	cd ..
}
