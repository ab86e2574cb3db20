# completion.bash - completion of qcow2-fsck's options in bash.
# SPDX-License-Identifier: MIT
#
# The program itself lists its options, so nothing is said twice.

_qcow2_fsck_values() {
	# $1: the program, $2: a long option; prints the values that it takes.
	local option=$2 line
	if [[ $option == --explain ]]; then
		"$1" --list-problems 2>/dev/null | awk 'NR > 1 {print $2}'
		return
	fi
	while IFS= read -r line; do
		if [[ $line == "$option="*'|'* ]]; then
			tr '|' '\n' <<<"${line#*=}"
		fi
	done < <("$1" --long-options 2>/dev/null)
}

_qcow2_fsck() {
	local program=$1 current=${COMP_WORDS[COMP_CWORD]} before=
	local option='' line
	if ((COMP_CWORD > 0)); then
		before=${COMP_WORDS[COMP_CWORD - 1]}
	fi
	COMPREPLY=()

	# bash splits --output=json into three words.
	if [[ $current == = ]]; then
		option=$before
		current=
	elif [[ $before == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $before == --explain || $before == --output ||
		$before == --exit ]]; then
		option=$before
	fi
	# Names of files are completed as such.
	case $option in
	--plan | --show-plan | --apply | --journal | --undo | --redo | \
		--backup-metadata | --restore-metadata)
		option=
		;;
	esac
	if [[ $option == --* ]]; then
		mapfile -t COMPREPLY < <(
			compgen -W "$(_qcow2_fsck_values "$program" "$option")" \
				-- "$current"
		)
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

complete -F _qcow2_fsck qcow2-fsck
