# dump-names.sh - json: and file: names, and servers that an image names.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# Names of base.qcow2 that QEMU understands: what we read must be what it reads,
# from the image's folder and, as the names are of the current one, from no other.
good_names=(
	'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
	'json:{"driver":"qcow2","file.driver":"file","file.filename":"base.qcow2"}'
	'json:{"driver":"qcow2","file.driver":"file","file":{"filename":"base.qcow2"}}'
	'json:{"file":{"filename":"base.qcow2"}}'
	'json:{"driver":"qcow2","file":{"filename":"base.qcow2"}}'
	'json:{ "file" : {"filename":"\u0062ase.qcow2", "driver":"file"}, "driver":"qcow2" }'
	"json:{'driver':'qcow2','file':{'driver':'file','filename':'base.qcow2'}}"
	'json:{"driver":"qcow2","node-name":"x","file":{"driver":"file","filename":"base.qcow2","read-only":true}}'
	'file:base.qcow2'
)

# TEXT, then the name that must be refused with it.
bad_names=(
	"option 'bogus'" 'json:{"driver":"qcow2","bogus":1,"file":{"filename":"base.qcow2"}}'
	"option 'offset'" 'json:{"driver":"raw","offset":512,"file":{"filename":"base.qcow2"}}'
	"option 'backing'" 'json:{"driver":"qcow2","backing":null,"file":{"filename":"base.qcow2"}}'
	"option 'file'" 'json:{"driver":"qcow2","file":"node"}'
	"option 'filename'" 'json:{"driver":"qcow2","filename":"base.qcow2","file":{"filename":"base.qcow2"}}'
	"driver 'vmdk'" 'json:{"driver":"vmdk","file":{"driver":"file","filename":"base.qcow2"}}'
	"driver 'qcow2'" 'json:{"driver":"qcow2","file":{"driver":"qcow2","filename":"base.qcow2"}}'
	"driver 'nbd'" 'json:{"driver":"nbd"}'
	"option 'file.url'" 'json:{"driver":"raw","file":{"driver":"https","url":"https://example.org/"}}'
	"option 'file.file" 'json:{"driver":"raw","file":{"driver":"raw","file":{"filename":{"x":{}}}}}'
	'has no' 'json:{}'
	'has no' 'json:{"driver":"qcow2","file":{"filename":""}}'
	'has no' 'json:{"driver":"file"}'
	'no text' 'json:{"driver":"qcow2","file":{"filename":7}}'
	'no text' 'json:{"driver":"qcow2","file":{"filename":"base.qcow2\u0000x"}}'
	'twice' 'json:{"driver":"qcow2","file.filename":"other","file":{"filename":"base.qcow2"}}'
	'no JSON' 'json:'
	'no JSON' 'json:{"driver":"qcow2"'
	'no JSON' 'json:["base.qcow2"]'
	'no JSON' 'json:{"file.filename":"base.qcow2"}x'
	'No such file' 'json:{"driver":"qcow2","file":{"filename":"file:base.qcow2"}}'
	'only files' 'http://example.org/x.qcow2'
	'only files' 'ssh://example.org/x.qcow2'
)

# named NAME FORMAT: names.qcow2, whose backing file is called so.
named() {
	rm -f names.qcow2
	over names.qcow2 "$1" "$2"
}

test_names() {
	local name i
	mkdir -p names.dir/deep elsewhere
	cp base.qcow2 names.dir/
	cp base.qcow2 elsewhere/
	qemu-img convert -O raw base.qcow2 base.raw
	cd names.dir || return
	for name in "${good_names[@]}"; do
		named "$name" qcow2
		qemu-img convert -O raw names.qcow2 theirs.raw
		check "QEMU reads $name" cmp ../base.raw theirs.raw
		exits 0 names.qcow2 new.raw
		check "$name: the bytes" cmp theirs.raw new.raw
		rm -f new.raw theirs.raw
		mv names.qcow2 deep/
		check "QEMU: $name is not beside the image" test "$(
			qemu-img info --backing-chain deep/names.qcow2 >/dev/null 2>&1 && echo found)" = found
		(cd deep && qemu-img info --backing-chain names.qcow2 >/dev/null 2>&1)
		check "QEMU: $name is of the current folder" test $? -ne 0
		refused '--allow-path' deep/names.qcow2 new.raw
		cd deep || return
		refused 'No such file' names.qcow2 new.raw
		cd .. || return
	done
	for ((i = 0; i < ${#bad_names[@]}; i += 2)); do
		named "${bad_names[i + 1]}" qcow2
		refused "${bad_names[i]}" --allow-any-path names.qcow2 new.raw
	done
	# The format is the header's and the name's, and they must agree.
	named 'json:{"driver":"file","filename":"base.qcow2"}' file
	qemu-img convert -O raw names.qcow2 theirs.raw
	exits 0 names.qcow2 new.raw
	check 'a file as it is: the bytes' cmp theirs.raw new.raw
	rm -f new.raw theirs.raw
	named 'json:{"driver":"qcow2","file":{"filename":"base.qcow2"}}' raw
	refused 'the header says that it is raw, its name qcow2' names.qcow2 new.raw
	named 'json:{"file.filename":"base.qcow2"}' ''
	refused '--allow-probe' names.qcow2 new.raw
	cd ..
	test_given_names
	test_outside_names
	test_server_names
	rm -rf names.dir elsewhere base.raw
}

# A data file that is shorter than what is mapped into it has lost the rest.
test_short_data_file() {
	local cut
	qemu-img create -q -f qcow2 -o data_file=cut.data cut.qcow2 1049088
	qemu-io -c 'write -P 5 0 192k' -c 'write -P 6 1M 512' cut.qcow2 >/dev/null
	qemu-img convert -O raw cut.qcow2 cut.want
	cp cut.data whole.data
	# The end of the last cluster is of no use.
	truncate -s 1049088 cut.data
	exits 0 cut.qcow2 new.raw
	check 'data file, a partial cluster: the bytes' cmp cut.want new.raw
	rm -f new.raw
	for cut in 1048576 131072 65537 0; do
		cp whole.data cut.data
		truncate -s "$cut" cut.data
		refused DATA_FILE_SHORT cut.qcow2 new.raw
		exits 8 --digest cut.qcow2
	done
	cp whole.data cut.data
	truncate -s 131072 cut.data
	exits 4 --salvage --map=cut.map cut.qcow2 new.raw
	check 'short data file, salvaged: what is left' cmp -n 131072 cut.want new.raw
	check 'short data file, salvaged: the map' \
		test "$(grep -E -- '-$' cut.map | tr -s ' ')" = $'0x00020000 0x00010000 -\n0x00100000 0x00000200 -'
	over cut-top.qcow2 cut.qcow2 qcow2
	exits 8 --absorb cut-top.qcow2
	check 'short data file: not absorbed' err_has DATA_FILE_SHORT
	cp whole.data cut.data
	exits 0 --absorb cut-top.qcow2
	check 'whole data file: absorbed' qemu-img compare -q -f raw -F qcow2 cut.want cut-top.qcow2
	rm -f cut.* cut-top.qcow2 whole.data new.raw
}

# As IMAGE, as the file that is compared, and as the data file.
test_given_names() {
	cp top.qcow2 names.dir/
	for name in file:names.dir/top.qcow2 "file://$work/names.dir/top.qcow2" \
		'json:{"driver":"qcow2","file":{"driver":"file","filename":"names.dir/top.qcow2"}}' \
		'json:{"file.filename":"names.dir/top.qcow2"}'; do
		exits 0 "$name" new.raw
		check "$name: the bytes" cmp want.raw new.raw
		rm -f new.raw
		exits 0 --compare "$name" top.qcow2
		exits 8 --force "$name" names.dir/base.qcow2
		check "$name: what is read is no target" err_has 'files that are read'
	done
	exits 0 'json:{"driver":"raw","file":{"filename":"names.dir/top.qcow2"}}' new.raw
	check 'json: states the format: the bytes' cmp -n "$(stat -c %s top.qcow2)" top.qcow2 new.raw
	rm -f new.raw
	# Wherever that is, and for the other tools, too.
	name="json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$work/elsewhere/../names.dir/top.qcow2\"}}"
	cd elsewhere || return
	for i in "$name" "file:../names.dir/top.qcow2"; do
		exits 0 --digest "$i"
		check "$i: the same disk" test "$(cut -c 1-32 out)" = "$("$dump" --digest "$work/top.qcow2" | cut -c 1-32)"
		check "$i: checked" "$build/bin/qcow2-fsck" -q "$i" >out
		check "$i: mapped" cmp <("$build/bin/qcow2-map" "$i" | tail -n +2) \
			<("$build/bin/qcow2-map" "$work/names.dir/top.qcow2" | tail -n +2)
	done
	cd .. || return
	rm -f elsewhere/{out,err}
	for i in qcow2-fsck qcow2-map; do
		"$build/bin/$i" 'json:{"driver":"vdi","file.filename":"base.qcow2"}' >out 2>err
		check "$i, another driver: exit 8" test $? -eq 8
		check "$i, another driver: said" err_has "driver 'vdi'"
		"$build/bin/$i" 'json:{"driver":"raw","file.filename":"base.qcow2"}' >out 2>err
		check "$i, raw: exit 8" test $? -eq 8
		check "$i, raw: said" err_has "is raw"
	done
	# What is written.
	exits 0 top.qcow2 file:new.raw
	check 'file: what is written' cmp want.raw new.raw
	rm -f new.raw
	exits 16 top.qcow2 'json:{"driver":"raw","file.filename":"new.raw"}'
	check 'json: nothing is written' absent new.raw
	refused "driver 'vdi'" 'json:{"driver":"vdi","file":{"filename":"top.qcow2"}}' new.raw
	cd names.dir || return
	# In an image a data file's name is a path, whatever it looks like.
	for name in disk.data file:disk.data "json:{'driver':'file','filename':'disk.data'}"; do
		printf 'cluster 65536\nsize 1M\ndata-file %s\nwrite 0 1M 5\n' "$name" >recipe
		"$build/tests/q2mk" recipe data.qcow2
		head -c 1M /dev/zero >other
		[[ $name == disk.data ]] || cp other disk.data
		qemu-img convert -O raw data.qcow2 theirs.raw
		exits 0 data.qcow2 new.raw
		check "data file $name: the bytes" cmp theirs.raw new.raw
		rm -f new.raw
	done
	# What a user says is understood.
	head -c 1M /dev/zero | tr '\0' '\7' >disk.data
	for name in file:disk.data 'json:{"driver":"file","filename":"disk.data"}' \
		'json:{"driver":"raw","file":{"driver":"file","filename":"disk.data"}}'; do
		exits 0 --data-file="$name" data.qcow2 new.raw
		check "--data-file=$name: the bytes" cmp disk.data new.raw
		rm -f new.raw
	done
	refused 'a data file is raw' --data-file='json:{"driver":"qcow2","file":{"filename":"disk.data"}}' data.qcow2 new.raw
	cd ..
}

# Nothing outside of the folders is opened, by whatever name, and the option that
# allows it is named.
test_outside_names() {
	local outside=$work/elsewhere/base.qcow2
	ln -s "$outside" names.dir/link.qcow2
	ln -s "$work/elsewhere" names.dir/folder
	for name in "$outside" ../elsewhere/base.qcow2 names.dir/../elsewhere/base.qcow2 \
		names.dir/link.qcow2 names.dir/folder/base.qcow2 names.dir/deep/../link.qcow2; do
		over names.dir/out.qcow2 "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$name\"}}" qcow2
		if [[ -e $name ]]; then
			refused '--allow-path=' names.dir/out.qcow2 new.raw
			exits 0 --allow-path=elsewhere names.dir/out.qcow2 new.raw
			check "json: $name, allowed: the bytes" cmp base.raw new.raw
			rm -f new.raw
		fi
		over names.dir/out.qcow2 "json:{\"driver\":\"raw\",\"file.filename\":\"$name\"}" raw
		LD_PRELOAD=$build/tests/faultio.so FAULT_FILE=nothing FAULT_OPENS=opened \
			"$dump" names.dir/out.qcow2 new.raw >out 2>err
		check "json: $name: exit 8" test $? -eq 8
		check "json: $name: not opened" test -z "$(grep elsewhere opened)" -a -s opened
		rm -f opened
	done
}

# A server is asked only if the user named it.
test_server_names() {
	local uri="nbd+unix:///?socket=$work/nbd"

	over names.dir/out.qcow2 "$uri" qcow2
	for option in '' --allow-any-path --allow-path=/ "--allow-path=$work" \
		"--allow-path=nbd+unix:///?socket=$work/nb" \
		"--allow-path=nbds+unix:///?socket=$work/nbd" --allow-path=nbd+unix:///x/; do
		# shellcheck disable=SC2086
		refused "--allow-path=$uri" $option names.dir/out.qcow2 new.raw
	done
	run --digest nbd+unix:///?socket=nowhere
	err_has 'built without libnbd' && return
	serve qemu-nbd -r -t -f raw -k "$work/nbd" base.qcow2
	for option in "--allow-path=$uri" --allow-path=nbd+unix:/// "--allow-path=nbd+unix:///?socket=$work/"; do
		exits 0 "$option" names.dir/out.qcow2 new.raw
		check "$option: the bytes" cmp base.raw new.raw
		rm -f new.raw
	done
	# An overlay that is served: what is beside it cannot be told.
	unserve
	serve qemu-nbd -r -t -f raw -k "$work/nbd" top.qcow2
	refused 'on a server' "$uri" new.raw
	over names.dir/out.qcow2 "$uri" qcow2
	refused 'on a server' "--allow-path=$uri" names.dir/out.qcow2 new.raw
	unserve
	# Nor does an image make us read files of this machine on the way to a server.
	over names.dir/out.qcow2 'nbds+unix:///?socket=x&tls-psk-file=base.qcow2' raw
	refused 'local' --allow-path=nbds+unix:/// names.dir/out.qcow2 new.raw
}

# A data file below what changes is read, and stays as it is.
test_data_file_in_place() {
	local raw
	for raw in on off; do
		qemu-img create -q -f qcow2 -o "data_file=low.data,data_file_raw=$raw" low.qcow2 3M
		qemu-io -c 'write -P 7 0 1M' low.qcow2 >/dev/null
		qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 mid.qcow2
		qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 over.qcow2
		qemu-io -c 'write -P 8 100k 3k' over.qcow2 >/dev/null
		qemu-img convert -O raw over.qcow2 over.want
		sha256sum low.qcow2 low.data >low.hashes
		exits 0 --commit over.qcow2
		qemu-img convert -O raw mid.qcow2 over.got
		check "commit over a data file, raw $raw" cmp over.want over.got
		exits 0 --absorb mid.qcow2
		qemu-img convert -O raw mid.qcow2 over.got
		check "absorb of a data file, raw $raw" cmp over.want over.got
		check "absorb of a data file, raw $raw: no backing file" \
			test -z "$(qemu-img info --output=json mid.qcow2 | jq -r '."backing-filename" // empty')"
		check "absorb of a data file, raw $raw: sound" qemu-img check -q mid.qcow2
		check "absorb of a data file, raw $raw: unchanged" sha256sum --quiet -c low.hashes
		rm low.* mid.qcow2 over.*
	done
}
