# shellcheck shell=bash disable=SC2154
# inplace-media.sh - flattening in place where data are encrypted, or lie in data files
# of their own, beside qemu-img.
#
# SPDX-License-Identifier: MIT
#
# Sourced by inplace.sh.

secret=(--object 'secret,id=s,data=open sesame')

# media_create KIND FILE SIZE [BASE FORMAT [OPTIONS]]: kinds are plain, luks, aes, data
# (with a data file), rawdata, luksdata, and raw; with "snap" at the end a base gets a
# snapshot that shares its clusters
media_create() {
	local kind=$1 file=$2 options=() base=()
	case $kind in
	raw) truncate -s "$3" "$2" && return ;;
	luks*) options+=(encrypt.format=luks encrypt.key-secret=s encrypt.iter-time=10) ;;
	aes*) options+=(encrypt.format=aes encrypt.key-secret=s) ;;
	esac
	case $kind in
	*rawdata) options+=("data_file=$2.data" data_file_raw=on) ;;
	*data) options+=("data_file=$2.data") ;;
	esac
	[ -z "${6-}" ] || options+=("$6")
	[ -z "${4-}" ] || base=(-u -b "$4" -F "$5")
	# QEMU measures the CPU for the key derivation, and at times cannot.
	for _ in {1..60}; do
		qemu-img create -q -f qcow2 "${secret[@]}" "${options[@]/#/-o}" "${base[@]}" "$file" "$3" \
			2>create.log && return
		grep -q CPU create.log || break
	done
	cat create.log >&2
	return 1
}

# The image of a kind, as QEMU is to be told.
media_image() { # kind file [prefix]
	local p=${3-}
	case $1 in
	raw) echo "${p}driver=raw,${p}file.filename=$2" ;;
	luks* | aes*) echo "${p}driver=qcow2,${p}file.filename=$2,${p}encrypt.key-secret=s" ;;
	*) echo "${p}driver=qcow2,${p}file.filename=$2" ;;
	esac
}

# The guest's view of an image that names no other one.
media_raw() { # kind file out
	qemu-img convert "${secret[@]}" --image-opts "$(media_image "$1" "$2")" -O raw "$3"
}

media_chain() { # the top's image options, over those of the base
	echo "$(media_image "$1" top.q2),$(media_image "$2" base backing.)"
}

# media_make TOP-KIND BASE-KIND TOP-SIZE BASE-SIZE TOP-OPTIONS BASE-OPTIONS
media_make() {
	local format=qcow2
	[ "$2" != raw ] || format=raw
	rm -rf made && mkdir made
	(
		cd made || exit
		media_create "$2" base "$4" '' '' "$6" &&
			qemu-io -t unsafe "${secret[@]}" -c 'write -P 11 0 300K' -c 'write -P 12 700K 90K' \
				-c 'write -z 64K 64K' --image-opts "$(media_image "$2" base)" &&
			case $2 in *snap) media_snap -c one ;; esac &&
			media_create "$1" top.q2 "$3" base $format "$5" &&
			qemu-io -t unsafe "${secret[@]}" -c 'write -P 21 10K 3K' -c 'write -P 22 128K 200K' -c 'write -z 196K 66K' \
				-c 'write -P 23 720K 512' -c 'write -z 512K 100K' -c 'write -P 24 880K 11K' \
				-c 'discard 256K 64K' --image-opts "$(media_chain "$1" "$2")" &&
			qemu-img convert "${secret[@]}" --image-opts "$(media_chain "$1" "$2")" -O raw ../view.raw
	) >make.log 2>&1
}

media_snap() { # of the encrypted base
	qemu-img snapshot "${secret[@]}" --image-opts "$@" "$(media_image luks base)"
}

# What the job needs to be told, beside the secret.
media_words() { # job top-kind base-kind
	local from=$2 to=$3
	[ "$1" = commit ] || { from=$3 to=$2; }
	case $from:$to in
	luks*:luks* | luks*:aes* | aes*:luks* | aes*:aes*) ;;
	luks*:* | aes*:*) echo plaintext ;;
	esac
}

# The same with qemu-img and with ours, and the results side by side.
media_job() { # what job top-kind base-kind
	local what="$1: $2" job=$2 top=$3 under=$4 word theirs status
	word=$(media_words "$job" "$top" "$under")
	rm -rf theirs ours
	cp -r made ours
	cp -r made theirs
	cd ours || return
	[ -z "$word" ] || refused "$what, not said to be plain" '--plaintext' "$job" top.q2 secret='open sesame'
	case "$top $under" in
	*luks*) refused "$what, wrong secret" 'opens none' "$job" top.q2 plaintext secret=sesame ;;&
	*luks* | *aes*) refused "$what, no secret" 'is encrypted' "$job" top.q2 plaintext ;;
	esac
	# shellcheck disable=SC2086
	"$flat" run "$job" top.q2 secret='open sesame' $word >ours.log 2>&1
	status=$?
	ok "$what: status $status: $(cat ours.log)" [ $status = 0 ]
	media_fits "$what" "$(sed -n 's/^needed \([0-9]*\) .*/\1/p' ours.log)"
	if [ "$job" = commit ]; then
		theirs=$(cd ../theirs && qemu-img commit -q -t unsafe "${secret[@]}" --image-opts "$(media_chain "$top" "$under")" 2>&1)
		(cd ../theirs && media_raw "$under" base ../want.raw)
		media_raw "$under" base ../got.raw
		[ "$under" != rawdata ] || ok "$what: the data file alone" cmp base.data ../got.raw
	else
		theirs=$(cd ../theirs && qemu-img rebase -t unsafe "${secret[@]}" --image-opts -b '' "$(media_chain "$top" "$under")" 2>&1)
		(cd ../theirs && media_raw "$top" top.q2 ../want.raw)
		media_raw "$top" top.q2 ../got.raw
		ok "$what: the base is as it was" cmp ../made/base base
	fi
	ok "$what: qemu-img says: $theirs" [ -z "$theirs" ]
	ok "$what: as qemu-img leaves it" cmp ../want.raw ../got.raw
	[ "$job" = absorb ] || qemu-img convert "${secret[@]}" --image-opts "$(media_chain "$top" "$under")" -O raw ../got.raw
	ok "$what: the guest's view" cmp ../view.raw ../got.raw
	if [ "$job" = commit ]; then
		media_clean "$what" top.q2 "$(media_chain "$top" "$under")"
	else
		media_clean "$what" top.q2 "$(media_image "$top" top.q2)"
	fi
	[ "$under" = raw ] || media_clean "$what" base "$(media_image "$under" base)"
	# What QEMU writes next fits in.
	if [ "$job" = commit ]; then
		ok "$what: gone on with" qemu-io -t unsafe "${secret[@]}" -c 'write -P 99 100K 7K' -c 'write -P 98 300K 100K' \
			-c 'write -z 0 64K' --image-opts "$(media_image "$under" base)"
		[ "$under" = raw ] || media_clean "$what: gone on with" base "$(media_image "$under" base)"
	else
		"$flat" run absorb top.q2 secret='open sesame' >ours.log
		ok "$what: again" grep -q 'nothing to do' ours.log
	fi
	case $under in
	*snap)
		media_snap -a one
		media_raw "$under" base ../snap.got
		(cd ../made && media_snap -a one && media_raw "$under" base ../snap.want)
		ok "$what: the snapshot" cmp ../snap.want ../snap.got
		;;
	esac
	cd ..
}

# media_case TOP-KIND BASE-KIND TOP-SIZE BASE-SIZE [TOP-OPTIONS [BASE-OPTIONS]]
media_case() {
	local what="media: $1 over $2${5+, $5}${6+ over $6}"
	media_make "$1" "$2" "$3" "$4" "${5-}" "${6-}" || {
		ok "$what: cannot be made: $(cat make.log)" false
		return
	}
	media_job "$what" commit "$1" "$2"
	media_job "$what" absorb "$1" "$2"
}

# No more space was taken than was foretold.
media_fits() { # what needed
	local before=0 after=0 file
	for file in top.q2 base top.q2.data base.data; do
		[ -e $file ] || continue
		before=$((before + $(stat -c %b ../made/$file) * 512))
		after=$((after + $(stat -c %b $file) * 512))
	done
	ok "$1: $before bytes became $after, ${2:-nothing} were foretold" [ $((after - before)) -le $((${2:-0} + 65536)) ]
}

media_clean() { # what file its-options
	ok "$1: $2: check" "$bin/bin/qcow2-fsck" "$2"
	ok "$1: $2: qemu-img check" qemu-img check "${secret[@]}" --image-opts "$3"
}

# media_stops NAME TOP-KIND BASE-KIND TOP-SIZE BASE-SIZE TOP-OPTIONS BASE-OPTIONS: stopped
# everywhere, and started again; in memory.
media_stops() {
	local name=$1 format=qcow2 job word
	[ "$3" != raw ] || format=raw
	mkdir "$name" && cd "$name" || return
	{
		media_create "$3" base "$5" '' '' "${7-}" &&
			qemu-io -t unsafe "${secret[@]}" -c 'write -P 1 0 7K' -c 'write -P 2 13K 4K' -c 'write -P 3 17K 512' \
				--image-opts "$(media_image "$3" base)" &&
			media_create "$2" top.q2 "$4" base $format "$6" &&
			qemu-io -t unsafe "${secret[@]}" -c 'write -P 4 2K 2K' -c 'write -P 5 14K 1K' -c 'write -z 5K 2K' \
				-c 'write -P 6 19K 512' --image-opts "$(media_chain "$2" "$3")" &&
			qemu-img convert "${secret[@]}" --image-opts "$(media_chain "$2" "$3")" -O raw view
	} >make.log 2>&1 || ok "$name: cannot be made: $(cat make.log)" false
	for job in commit absorb; do
		word=$(media_words $job "$2" "$3")
		# shellcheck disable=SC2086
		ok "crash: $name: $job" "$flat" crash $job top.q2 view=view secret='open sesame' $word
		# shellcheck disable=SC2086
		ok "faults: $name: $job" "$flat" faults $job top.q2 view=view secret='open sesame' $word
	done
	cd ..
}

media_refused() {
	mkdir refused && cd refused || return
	media_create data base 1M
	qemu-io -c 'write -P 1 0 512K' base >/dev/null
	media_create data top.q2 1M base qcow2
	qemu-io -c 'write -P 3 256K 64K' top.q2 >/dev/null
	ok 'data files: none of them' "$flat" run commit top.q2 dry siblings=.
	mkdir others
	qemu-img create -q -f qcow2 -o data_file=others/own other.q2 1M
	ok 'data files: another one' "$flat" run commit top.q2 dry siblings=.
	cp base others/copy
	refused 'data files: of the base' 'others/copy. has a data file that would change' commit top.q2 siblings=others
	ok 'data files: of the base, which does not change' "$flat" run absorb top.q2 dry siblings=others
	cp top.q2 others/copy
	refused 'data files: of the top' 'has a data file that would change' absorb top.q2 siblings=others
	rm others/copy
	qemu-img create -q -f qcow2 -b "$PWD/base.data" -F raw others/over.q2
	refused 'data files: as a base' 'over.q2. is another overlay' commit top.q2 siblings=others
	rm others/over.q2
	cp top.q2 twin.q2
	qemu-img rebase -u -b twin.q2 -F qcow2 top.q2
	refused 'data files: of two members' "data file of 'top.q2' is used by 'twin.q2'" absorb top.q2
	qemu-img rebase -u -b top.q2.data -F raw top.q2
	refused 'data files: a member itself' "data file of 'top.q2' is used by 'top.q2.data'" commit top.q2
	qemu-img rebase -u -b base -F qcow2 top.q2
	mkfifo hold
	qemu-io -f raw base.data <hold >/dev/null 2>&1 &
	exec 7>hold
	for _ in {1..200}; do
		grep -q ":$(stat -c %i base.data) 100" /proc/locks && break
		sleep 0.05
	done
	refused 'data files: in use' "'base.data': in use" commit top.q2
	refused 'data files: in use' "'base' is in use" absorb top.q2
	exec 7>&-
	wait
	rm hold
	mv base.data away
	refused 'data files: missing' "data file 'base.data': cannot open" commit top.q2
	mkdir base.data
	refused 'data files: a folder' "data file 'base.data': not a regular file" commit top.q2
	rmdir base.data
	head -c 100K away >base.data
	refused 'data files: too short' DATA_FILE_SHORT commit top.q2
	mv away base.data
	printf x >wrong.key
	status 'a secret for no layer' 8 'a secret for layer 2, but the chain has 2' \
		"$bin/bin/qcow2-dump" --commit --secret=2=wrong.key top.q2
	mv top.q2.data moved
	status 'a data file elsewhere' 0 '65536 bytes of data' "$bin/bin/qcow2-dump" --commit --data-file=moved top.q2
	ok 'a data file elsewhere' qemu-io -r -c 'read -P 3 256K 64K' -c 'read -P 1 0 256K' base
	ok 'a data file elsewhere: its space' [ "$(stat -c %b moved)" -lt 16 ]
	cd ..
}

media_crashes() {
	media_stops aes-aes aes aes 24K 20K cluster_size=1k cluster_size=512
	media_stops aes-raw aes raw 24K 20K cluster_size=2k
	media_stops data-data data data 24K 20K cluster_size=1k cluster_size=512
	media_stops data-raw plain rawdata 40K 20K cluster_size=2k cluster_size=512
	media_stops aes-data aesdata aesdata 24K 24K cluster_size=512 cluster_size=1k
	media_stops subs data data 64K 48K extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=16k
	media_stops luks luks plain 20K 20K cluster_size=2k cluster_size=512
}

# An interrupted commit to a lower layer may have taken out the one between: with the
# numbers of before, the second run would encrypt with another layer's secret.
media_numbers() {
	local dump=$bin/bin/qcow2-dump what='media: numbers' secret=(
		--object 'secret,id=s,data=one' --object 'secret,id=t,data=two')
	local lower=driver=qcow2,file.filename=base,encrypt.key-secret=t
	mkdir numbers && cd numbers || return
	printf one >one
	printf two >two
	truncate -s 1M raw
	qemu-img create -q -f qcow2 "${secret[@]}" -o encrypt.format=aes,encrypt.key-secret=t -u -b raw -F raw base 1M
	qemu-img create -q -f qcow2 -u -b base -F qcow2 top.q2 1M
	qemu-io -t unsafe "${secret[@]}" -c 'write -P 5 0 128K' --image-opts \
		"driver=qcow2,file.filename=top.q2,backing.${lower//,/,backing.}" >/dev/null
	status "$what: of a plain layer" 8 'layer 2, but .* is not encrypted' \
		"$dump" --commit --plaintext --secret 1=one --secret 2=two top.q2
	status "$what: for the rest" 8 'for all layers, or each for one' \
		"$dump" --commit --plaintext --secret 1=one --secret two top.q2
	status 'media: a data file for an image without one' 8 'has no external data file' \
		"$dump" --commit --secret 1=two --data-file raw top.q2
	status "$what: right" 0 '131072 bytes of data' "$dump" --commit --secret 1=two top.q2
	ok "$what: right" qemu-io -r "${secret[@]}" -c 'read -P 5 0 128K' --image-opts "$lower"
	cd ..
}

media() {
	local under

	mkdir media
	cd media || return
	media_case luks luks 1M 1M
	media_case luks plain 1500K 1M cluster_size=4k cluster_size=512
	media_case plain luks 1M 900K extended_l2=on cluster_size=4k
	media_case luks raw 1M 900K extended_l2=on
	media_case aes luks 2M 1M cluster_size=4k cluster_size=8k
	media_case luks aes 1M 1M cluster_size=1k
	media_case aes aes 1M 2M cluster_size=512 compat=0.10,cluster_size=4k
	media_case plain data 3M 1M
	media_case data plain 1M 2M cluster_size=4k
	media_case data rawdata 3M 1M extended_l2=on cluster_size=4k
	media_case plain rawdata 1M 1M '' extended_l2=on,cluster_size=16k
	media_case luksdata luksdata 2M 1M
	media_case data luks 1M 1M
	media_case luks data 1M 1M cluster_size=4k cluster_size=512
	for under in lukssnap aessnap; do
		media_make luks $under 1M 1M cluster_size=4k ''
		media_job "media: luks over $under" commit luks $under
	done
	media_refused
	media_numbers
	media_crashes
	cd ..
}
