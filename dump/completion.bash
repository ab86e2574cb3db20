# completion.bash - completion of qcow2-dump's options in bash.
# SPDX-License-Identifier: MIT
#
# The program itself lists its options, so nothing is said twice.

_qcow2_dump_values() {
	# $1: the program, $2: a long option; prints the words that it takes.
	local option=$2 line
	if [[ $option == --compress ]]; then
		printf 'zlib\nzstd\n'
		return
	fi
	while IFS= read -r line; do
		if [[ $line == "$option="*'|'* ]]; then
			tr '|' '\n' <<<"${line#*=}"
		fi
	done < <("$1" --long-options 2>/dev/null)
}

_qcow2_dump() {
	local program=$1 current=${COMP_WORDS[COMP_CWORD]} before=
	local option='' line values
	if ((COMP_CWORD > 0)); then
		before=${COMP_WORDS[COMP_CWORD - 1]}
	fi
	COMPREPLY=()

	# bash splits --preallocate=off into three words.
	if [[ $current == = ]]; then
		option=$before
		current=
	elif [[ $before == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	else
		case $before in
		-O) option=--output-format ;;
		-f) option=--format ;;
		-F) option=--second-format ;;
		-c) option=--compress ;;
		--*) option=$before ;;
		esac
	fi
	values=$(_qcow2_dump_values "$program" "$option")
	if [[ -n $values ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")
		return
	fi
	if [[ $current == -* ]]; then
		local words=
		while IFS= read -r line; do
			if [[ $line == *=* ]]; then
				words+=" ${line%%=*}="
			else
				words+=" $line"
			fi
		done < <("$program" --long-options 2>/dev/null)
		if [[ $current != --* ]]; then
			words+=" $("$program" --short-options 2>/dev/null |
				tr '\n' ' ')"
		fi
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
			compopt -o nospace 2>/dev/null
		fi
		return
	fi
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$current")
}

complete -F _qcow2_dump qcow2-dump
