#!/usr/bin/env bash
# pool.sh - what an administrator's machine runs from time to time: the check of a
# pool, its metrics in a real node exporter, the units of systemd, and what Nagios and
# Icinga make of it.
#
# SPDX-License-Identifier: MIT
#
# usage: pool.sh BUILD_DIR              prints "pool: N passed, N failed"
set -u
PATH=$PATH:/usr/sbin:/sbin

build=$(readlink -f "${1:?usage: pool.sh BUILD_DIR}")
source=$(readlink -f "$(dirname "$0")/../..")
tool=$source/fsck/pool/pool-check.sh
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
exporter=
writer=
let_go() {
	[[ -z $exporter ]] || kill "$exporter"
	[[ -z $writer ]] || kill "$writer"
}

# run ARGUMENT...: the script, with the programs of this build.
run() {
	PATH=$build/bin:$PATH sh "$tool" "$@" >out 2>err </dev/null
	status=$?
}

metric() { # NAME PATH VALUE
	grep -qxF "$1{path=\"$2\"} $3" metrics/qcow2-fsck.prom
}

make_pool() {
	mkdir -p pool/deep metrics
	qemu-img create -q -f qcow2 pool/clean.qcow2 1M
	qemu-io -c 'write -P 1 0 128k' pool/clean.qcow2 >/dev/null
	"$build/tests/q2mk" - pool/deep/leak.qcow2 <<'END'
size 64K
write 0 2K
set l2[0][1] = 0
END
	"$build/tests/q2mk" - pool/corrupt.qcow2 <<'END'
size 64K
write 0 2K
set refcount[@data[0]/cs] = 0
END
	cp pool/clean.qcow2 'pool/ "odd\'$'\n''name.qcow2'
	cp pool/clean.qcow2 $'pool/\xfe.qcow2'
	cp pool/clean.qcow2 $'pool/\xff.qcow2'
	cp pool/clean.qcow2 pool/-n.qcow2
	head -c 4096 /dev/zero >pool/nothing.qcow2
	head -c 4096 /dev/zero >pool/other
	find pool -type f -exec sha256sum {} + >hashes
}

test_usage() {
	exits 16
	exits 16 --metrics metrics
	exits 16 --nagios
	exits 16 --nonsense pool
	exits 8 --metrics nowhere pool
	check 'no folder for metrics: said' test -s err
	PATH=/usr/bin:/bin sh "$tool" --nagios pool >out 2>err
	check 'without the programs: unknown' test $? -eq 3
	check 'without the programs: said' grep -qx 'QCOW2 UNKNOWN: .*not to be found' out
	PATH=/usr/bin:/bin sh "$tool" --metrics metrics pool >out 2>err
	check 'without the programs: no metrics' test $? -eq 8
}

test_metrics() {
	exits 0 --metrics metrics pool
	check 'clean' metric qcow2_fsck_corruptions pool/clean.qcow2 0
	check 'corrupt' metric qcow2_fsck_corruptions pool/corrupt.qcow2 1
	check 'leaks' metric qcow2_fsck_leaked_clusters pool/deep/leak.qcow2 1
	check 'a name that looks like an option' metric qcow2_fsck_corruptions pool/-n.qcow2 0
	check 'quotes and newlines in a name' metric qcow2_fsck_corruptions 'pool/ \"odd\\\nname.qcow2' 0
	check 'no image: failed' metric qcow2_fsck_failed pool/nothing.qcow2 1
	check 'no image: not judged' test "$(grep -c '^qcow2_fsck_corruptions{path="pool/nothing' metrics/qcow2-fsck.prom)" = 0
	check 'all images' grep -qx 'qcow2_fsck_images 8' metrics/qcow2-fsck.prom
	check 'all folders' grep -qx 'qcow2_fsck_incomplete 0' metrics/qcow2-fsck.prom
	check 'the other half' grep -q '^qcow2_commitment_bytes{path="pool/clean.qcow2"' metrics/qcow2-map.prom
	check 'nothing else is left' test "$(ls -A metrics)" = $'qcow2-fsck.prom\nqcow2-map.prom'
	check 'readable for all' test "$(stat -c %a metrics/qcow2-fsck.prom)" = 644
	check 'promtool finds nothing wrong' promtool check metrics <metrics/qcow2-fsck.prom
	exits 8 --metrics metrics pool nowhere
	check 'a folder that is not there' grep -qx 'qcow2_fsck_incomplete 1' metrics/qcow2-fsck.prom
	check 'the rest is there' metric qcow2_fsck_corruptions pool/clean.qcow2 0
}

# Both halves give an image the same labels, whatever it is called.
test_labels() {
	local half name
	mkdir odd of-odd
	for name in plain $'tab\t' $'\x01\x1f\x7f' $'\r' $'line\n' 'b\s\\' '"' $'\xc3\xa4' $'\xe4' $'\xc2\x85' '\u0041' '\t'; do
		cp pool/clean.qcow2 "odd/$name.qcow2"
	done
	exits 0 --metrics of-odd odd
	for half in qcow2_fsck_corruptions qcow2_commitment_bytes; do
		sed -n "s/^$half{\(.*\)} [0-9]*$/\1/p" of-odd/*.prom | sed 's/,format="qcow2".*//' | sort >$half
	done
	check 'labels: of all' lines qcow2_fsck_corruptions 12
	check 'labels: the same' cmp qcow2_fsck_corruptions qcow2_commitment_bytes
	check 'labels: promtool finds nothing wrong' sh -c 'cat of-odd/*.prom | promtool check metrics'
	rm -r odd of-odd
}

# A check that is killed, or that the sandbox stops, tells nothing of what comes later.
test_killed() {
	mkdir fake
	printf '#!/bin/sh\n"%s" -n --output=ndjson pool/clean.qcow2\nkill -9 $$\n' \
		"$build/bin/qcow2-fsck" >fake/qcow2-fsck
	chmod +x fake/qcow2-fsck
	PATH=$work/fake:$build/bin:$PATH sh "$tool" --nagios pool >out 2>err
	check 'killed: nagios: unknown' test $? -eq 3
	check 'killed: nagios: how many' grep -q '^QCOW2 UNKNOWN: 1 images, .* 7 not readable' out
	PATH=$work/fake:$build/bin:$PATH sh "$tool" --metrics metrics pool 2>err
	check 'killed: incomplete' grep -qx 'qcow2_fsck_incomplete 1' metrics/qcow2-fsck.prom
	check 'killed: what was told' metric qcow2_fsck_corruptions pool/clean.qcow2 0
	# And pool-check itself, with all that it has started, as systemd does it.
	printf '#!/bin/sh\n: >started\nexec sleep 60\n' >fake/qcow2-fsck
	cp metrics/qcow2-fsck.prom was
	PATH=$work/fake:$build/bin:$PATH setsid sh "$tool" --metrics metrics pool >out 2>err &
	for ((i = 0; i < 500; i++)); do
		[[ ! -e started ]] || break
		sleep 0.02
	done
	kill -- -$!
	wait $!
	check 'stopped: status' test $? -ne 0
	check 'stopped: nothing half done is left' test "$(ls -A metrics)" = $'qcow2-fsck.prom\nqcow2-map.prom'
	check 'stopped: the last figures stay' cmp was metrics/qcow2-fsck.prom
	rm -r fake started was
}

# While a virtual machine writes to it an image is not judged.
test_in_use() {
	mkfifo go
	qemu-io pool/corrupt.qcow2 <go >/dev/null 2>&1 &
	writer=$!
	exec 5>go
	for ((i = 0; i < 100; i++)); do
		run --metrics metrics pool
		metric qcow2_fsck_in_use pool/corrupt.qcow2 1 && break
		sleep 0.1
	done
	check 'in use: said' metric qcow2_fsck_in_use pool/corrupt.qcow2 1
	check 'in use: not judged' test "$(grep -c '^qcow2_fsck_corruptions{path="pool/corrupt' metrics/qcow2-fsck.prom)" = 0
	exec 5>&-
	wait "$writer"
	writer=
	run --metrics metrics pool
	check 'in use no more' metric qcow2_fsck_in_use pool/corrupt.qcow2 0
}

test_exporter() {
	prometheus-node-exporter --web.listen-address=127.0.0.1:19737 --collector.disable-defaults \
		--collector.textfile --collector.textfile.directory="$work/metrics" >exporter.log 2>&1 &
	exporter=$!
	for ((i = 0; i < 100; i++)); do
		curl -s http://127.0.0.1:19737/metrics >scraped 2>/dev/null && [[ -s scraped ]] && break
		sleep 0.1
	done
	kill "$exporter"
	wait "$exporter" 2>/dev/null
	exporter=
	check 'a node exporter finds no error' grep -q '^node_textfile_scrape_error 0' scraped
	check 'it passes on the findings' grep -q '^qcow2_fsck_corruptions{.*path="pool/corrupt.qcow2"} 1$' scraped
	check 'two names that look alike' test "$(grep -c \
		'^qcow2_fsck_corruptions{bytes="706f6f6c2ff[ef]2e71636f7732",path="pool/' scraped)" -eq 2
	check 'and the other half' grep -q '^qcow2_commitment_bytes{.*path="pool/clean.qcow2"' scraped
}

test_nagios() {
	exits 2 --nagios pool
	check 'nagios: corrupt' grep -qx \
		'QCOW2 CRITICAL: 8 images, 1 corrupt, 1 leaky, 0 in use, 1 not readable; pool/corrupt.qcow2|images=8 corrupt=1 leaky=1 in_use=0 failed=1' out
	exits 1 --nagios pool/deep
	check 'nagios: leaks' grep -q '^QCOW2 WARNING: 1 images, 0 corrupt, 1 leaky' out
	exits 0 --nagios pool/clean.qcow2
	check 'nagios: clean' grep -q '^QCOW2 OK: 1 images' out
	exits 3 --nagios pool/nothing.qcow2
	exits 3 --nagios nowhere
	check 'nagios: a folder that is not there' grep -q '^QCOW2 UNKNOWN: 0 images.*not all folders' out
	mkdir none
	exits 0 --nagios none
	mkdir bar
	cp pool/corrupt.qcow2 'bar/a|corrupt=0.qcow2'
	exits 2 --nagios bar
	check 'nagios: a bar in a name' grep -q '; bar/a_corrupt=0.qcow2|images=1 corrupt=1 ' out
	rm -r bar
	mkdir escape
	cp pool/corrupt.qcow2 $'escape/a\e]0;b\xc2\x9bc.qcow2'
	exits 2 --nagios escape
	check 'nagios: controls in a name are spelled out' grep -qF '; escape/a\u001b]0;b\u009bc.qcow2|' out
	rm -r escape
	ln -s pool link
	exits 2 --nagios link
	check 'nagios: a folder by a link' grep -q '^QCOW2 CRITICAL: 8 images' out
	rm link
	# As the example has it.
	sed "s|@PREFIX@/libexec/qcow2-progs/pool-check|sh $tool|; s|@PREFIX@/bin|$build/bin|" \
		"$source/fsck/pool/nagios.cfg.in" >nagios.cfg
	sed -n 's/^\tcommand_line\t//p' nagios.cfg >commands
	check 'nagios.cfg: two commands' lines commands 2
	while read -r line; do
		line=${line//'$ARG1$'/pool/clean.qcow2}
		line=${line//'$ARG2$'/1000}
		line=${line//'$ARG3$'/2000}
		PATH=$build/bin:$PATH sh -c "$line" >out 2>err
		check "nagios.cfg: $line" test $? -eq 0
		check "nagios.cfg: $line: its line" grep -q '^QCOW2 OK: ' out
	done <commands
	# Nagios itself finds no fault with it, beside its own examples.
	sed "s|@PREFIX@|$work/stage|" "$source/fsck/pool/nagios.cfg.in" >nagios.cfg
	printf '%s\n' cfg_file=/etc/nagios4/objects/{templates,timeperiods,contacts,commands}.cfg \
		"cfg_file=$work/nagios.cfg" "cfg_file=$work/host.cfg" 'illegal_macro_output_chars=`~$&|<>' \
		{log_file,status_file,temp_file,lock_file,object_cache_file,command_file}="$work/of-nagios" \
		{temp_path,check_result_path}="$work" "nagios_user=$(id -un)" "nagios_group=$(id -gn)" >main.cfg
	printf 'define host {\n use generic-host\n host_name localhost\n address 127.0.0.1\n%s\n}\n' \
		$' max_check_attempts 3\n contact_groups admins' >host.cfg
	nagios4 -v main.cfg >out 2>err
	check 'nagios.cfg: nagios takes it' test $? -eq 0
	check 'nagios.cfg: both services' out_has 'Checked 2 services.'
	check 'nagios.cfg: no warning' out_has 'Total Warnings: 0'
	# And would have told: a command that is not defined.
	sed -i 's/check_command.*check_qcow2_room/&_not/' nagios.cfg
	nagios4 -v main.cfg >out 2>err
	check 'nagios.cfg: nagios judges' test $? -ne 0
}

# Icinga's own compiler, which needs a host and writes down what it has understood.
icinga() {
	mkdir -p of-icinga
	ICINGA2_USER=$(id -un) ICINGA2_GROUP=$(id -gn) icinga2 daemon -C -c "$work/icinga-main.conf" \
		-DDataDir="$work/of-icinga" -DCacheDir="$work/of-icinga" \
		-DVarsPath="$work/of-icinga/vars" >out 2>err
}
test_icinga() {
	sed "s|@PREFIX@/libexec/qcow2-progs|$work|; s|@PREFIX@/bin|$build/bin|" \
		"$source/fsck/pool/icinga2.conf.in" >icinga2.conf
	printf '#!/bin/sh\nPATH="%s":$PATH exec sh "%s" "$@"\n' "$build/bin" "$tool" >pool-check
	chmod +x pool-check
	cat >icinga-main.conf <<-END
		include <itl>
		include "/etc/icinga2/conf.d/templates.conf"
		include "$work/icinga2.conf"
		object Endpoint "agent" { }
		object Zone "agents" { endpoints = [ "agent" ] }
		template Host "any" {
			import "generic-host"
			check_command = "dummy"
		}
		object Host "pool" {
			import "any"
			vars.qcow2_folder = "pool/clean.qcow2"
			vars.qcow2_warn = 1000
			vars.qcow2_crit = "2000"
		}
		object Host "remote" {
			import "any"
			zone = "agents"
			vars.qcow2_folder = "/images"
			vars.agent_endpoint = "agent"
		}
		object Host "other" { import "any" }
	END
	icinga
	check 'icinga2.conf: icinga takes it' test $? -eq 0
	check 'icinga2.conf: two services for each of two hosts' out_has 'Instantiated 4 Services.'
	check 'icinga2.conf: no warning' test "$(grep -ciE 'warning|critical' out)" = 0
	# Each object stands behind its length.
	python3 - of-icinga/icinga2.debug >objects <<-'END'
		import sys
		rest = open(sys.argv[1], 'rb').read()
		while rest:
		    length, _, rest = rest.partition(b':')
		    print(rest[:int(length)].decode())
		    rest = rest[int(length) + 1:]
	END
	check 'icinga2.conf: of the agent' test "$(jq -r 'select(.type == "Service") |
		.properties | .__name + " " + .command_endpoint' objects | sort | tr '\n' ,)" = \
		'pool!qcow2-images ,pool!qcow2-room ,remote!qcow2-images agent,remote!qcow2-room agent,'
	jq -c 'select(.type == "CheckCommand" and (.name | startswith("qcow2_"))) | .properties.command' objects >commands
	check 'icinga2.conf: two commands' lines commands 2
	while read -r line; do
		mapfile -t words < <(jq -r '.[]' <<<"$line")
		words=("${words[@]//'$qcow2_folder$'/pool/clean.qcow2}")
		words=("${words[@]//'$qcow2_warn$'/1000}")
		words=("${words[@]//'$qcow2_crit$'/2000}")
		"${words[@]}" >out 2>err
		check "icinga2.conf: ${words[*]}" test $? -eq 0
		check "icinga2.conf: ${words[*]}: its line" grep -q '^QCOW2 OK: ' out
	done <commands
	# And would have told: a command that is not defined.
	sed -i 's/check_command = "qcow2_room/&_not/' icinga2.conf
	icinga
	check 'icinga2.conf: icinga judges' test $? -ne 0
	check 'icinga2.conf: icinga says why' out_has "Object 'qcow2_room_not' of type 'CheckCommand' does not exist"
}

# The units, with the programs where they are installed.
test_units() {
	(cd "$source" && sh tests/support/install.sh install "$build" '' "$work/stage" \
		"$work/stage/lib" "$work/stage/units") >out 2>&1
	check 'installed' grep -q '^ExecStart=/.*/libexec/qcow2-progs/pool-check' stage/units/qcow2-pool.service
	sed "s|@PREFIX@|$work/stage|" "$source/fsck/pool/qcow2-pool.service.in" >stage/units/qcow2-pool.service
	systemd-analyze --man=no verify "$work"/stage/units/qcow2-pool.{service,timer} >out 2>&1
	check 'systemd-analyze verify: status' test $? -eq 0
	check 'systemd-analyze verify: says nothing' test ! -s out
	check 'systemd-analyze security' systemd-analyze security --offline=true --threshold=25 \
		stage/units/qcow2-pool.service >out 2>&1
	sed -n 's/^ExecStart=//p' stage/units/qcow2-pool.service >started
	env -i PATH=/usr/bin:/bin stage/libexec/qcow2-progs/pool-check --nagios pool/clean.qcow2 >out 2>err
	check 'finds the programs beside it' grep -q '^QCOW2 OK: 1 images' out
	check 'ExecStart is there' test -x "$(cut -d" " -f1 started)"
}

# What the unit leaves to the program: one capability, no network, nothing but the
# folder of metrics to be written to; and all that our own sandbox needs.
test_confined() {
	local capabilities
	[[ $(id -u) = 0 ]] || return
	capabilities=$(sed -n 's/^CapabilityBoundingSet=CAP_//p' stage/units/qcow2-pool.service |
		tr '[:upper:]' '[:lower:]')
	chmod 600 pool/clean.qcow2
	chown 12345 pool/clean.qcow2
	rm metrics/*
	# shellcheck disable=SC2016
	PATH=$work/stage/sbin:$work/stage/bin:$PATH unshare -mn sh -c '
		mount --bind metrics metrics && mount -o remount,bind,ro / || exit 99
		exec setpriv --no-new-privs --inh-caps=-all --bounding-set="-all,+$0" "$@"' \
		"$capabilities" "$work/stage/libexec/qcow2-progs/pool-check" --metrics "$work/metrics" "$work/pool" >out 2>err
	check 'confined: status' test $? -eq 0
	check 'confined: the metrics' grep -q 'corruptions{path=".*/pool/clean.qcow2"} 0' metrics/qcow2-fsck.prom
}

make_pool
test_usage
test_metrics
test_labels
test_killed
test_in_use
test_metrics
test_exporter
test_nagios
test_icinga
test_units
test_confined
check 'nothing was written to' sha256sum --quiet -c hashes
sum_up pool
