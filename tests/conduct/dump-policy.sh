# dump-policy.sh - which files are opened because an image names them.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# over NAME BASE [FORMAT]: an overlay that names it so; it need not be there.
over() {
	qemu-img create -q -f qcow2 "$1" 4M
	if [[ -n ${3-} ]]; then
		qemu-img rebase -u -b "$2" -F "$3" "$1"
	else
		qemu-img rebase -u -b "$2" "$1" 2>/dev/null ||
			"$build/tests/q2mk" - "$1" <<<"$(printf 'cluster 65536\nsize 4M\nbacking %s\n' "$2")"
	fi
}

test_policy() {
	local outside
	mkdir -p yard/inner elsewhere
	cp base.qcow2 elsewhere/
	cp base.qcow2 yard/inner/
	outside=$work/elsewhere/base.qcow2
	qemu-img convert -O raw base.qcow2 base.raw

	over yard/inside.qcow2 inner/base.qcow2 qcow2
	exits 0 yard/inside.qcow2 new.raw
	check 'below the folder: the bytes' cmp base.raw new.raw
	rm -f new.raw
	for name in ../elsewhere/base.qcow2 "$outside" "file:$outside"; do
		over yard/out.qcow2 "$name" qcow2
		refused '--allow-path' yard/out.qcow2 new.raw
		refused '--allow-path' --allow-path=yard yard/out.qcow2 new.raw
		exits 0 --allow-path=elsewhere yard/out.qcow2 new.raw
		check "$name, allowed: the bytes" cmp base.raw new.raw
		exits 0 --force --allow-any-path yard/out.qcow2 new.raw
		exits 0 --force --allow-path=elsewhere/base.qcow2 yard/out.qcow2 new.raw
		check "$name alone, allowed: the bytes" cmp base.raw new.raw
		rm -f new.raw
		refused '--allow-path' --allow-path=elsewhere/base yard/out.qcow2 new.raw
	done
	# A link inside that leads outside.
	ln -s "$outside" yard/link.qcow2
	over yard/out.qcow2 link.qcow2 qcow2
	refused '--allow-path' yard/out.qcow2 new.raw
	# No format is stated: it is not guessed.
	"$build/tests/q2mk" - yard/unstated.qcow2 <<END
cluster 65536
size 4M
backing inner/base.qcow2
END
	refused '--backing-format tells it, or --allow-probe' yard/unstated.qcow2 new.raw
	exits 0 --allow-probe yard/unstated.qcow2 new.raw
	check '--allow-probe: the bytes' cmp base.raw new.raw
	rm -f new.raw
	exits 0 --backing-format=qcow2 yard/unstated.qcow2 new.raw
	check '--backing-format: the bytes' cmp base.raw new.raw
	rm -f new.raw
	exits 0 --backing-format=raw yard/unstated.qcow2 new.raw
	cp yard/inner/base.qcow2 stated.raw
	truncate -s 4M stated.raw
	check '--backing-format=raw: the bytes' cmp stated.raw new.raw
	rm -f new.raw stated.raw
	# A raw file that looks like QCOW2 is raw when that is stated.
	over yard/stated.qcow2 inner/base.qcow2 raw
	exits 0 yard/stated.qcow2 new.raw
	qemu-img convert -O raw yard/stated.qcow2 stated.raw
	check 'stated raw: the bytes' cmp stated.raw new.raw
	rm -f new.raw stated.raw

	# Data files: from the current folder, or the one that is given.
	(cd yard && qemu-img create -q -f qcow2 -o data_file=disk.data data.qcow2 1M &&
		qemu-io -c 'write -P 7 0 1M' data.qcow2 >/dev/null)
	refused 'data file' yard/data.qcow2 new.raw
	exits 0 --data-file=yard/disk.data yard/data.qcow2 new.raw
	check '--data-file: the bytes' cmp yard/disk.data new.raw
	exits 8 --force --data-file=yard/disk.data yard/data.qcow2 yard/disk.data
	check 'the data file is no target' test "$(tr -d '\7' <yard/disk.data | wc -c)" -eq 0
	rm -rf new.raw yard elsewhere
}
