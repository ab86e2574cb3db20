# completion.bash - completion of qcow2-map's verbs and options in bash.
# SPDX-License-Identifier: MIT
#
# The program itself lists its verbs and options, so nothing is said twice.

_qcow2_map() {
	local program=$1 current=${COMP_WORDS[COMP_CWORD]} before=
	local option='' line words='' verb=()
	if ((COMP_CWORD > 0)); then
		before=${COMP_WORDS[COMP_CWORD - 1]}
	fi
	COMPREPLY=()

	# The options are those of the verb that stands first.
	words=$("$program" --list-verbs 2>/dev/null)
	if ((COMP_CWORD > 1)) && [[ -n ${COMP_WORDS[1]} ]] &&
		grep -qxF -- "${COMP_WORDS[1]}" <<<"$words"; then
		verb=("${COMP_WORDS[1]}")
	fi

	# bash splits --output=json into three words.
	if [[ $current == = ]]; then
		option=$before
		current=
	elif [[ $before == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [[ $option == --* ]]; then
		words=
		while IFS= read -r line; do
			if [[ $line == "$option="*'|'* ]]; then
				words=$(tr '|' '\n' <<<"${line#*=}")
			fi
		done < <("$program" "${verb[@]}" --long-options 2>/dev/null)
		if [[ -n $words ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
			return
		fi
	elif [[ $current == -* ]]; then
		words=
		while IFS= read -r line; do
			if [[ $line == *=* ]]; then
				words+=" ${line%%=*}="
			else
				words+=" $line"
			fi
		done < <("$program" "${verb[@]}" --long-options 2>/dev/null)
		if [[ $current != --* ]]; then
			words+=" $("$program" "${verb[@]}" --short-options 2>/dev/null |
				tr '\n' ' ')"
		fi
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
			compopt -o nospace 2>/dev/null
		fi
		return
	fi
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(
		((COMP_CWORD > 1)) || compgen -W "$words" -- "$current"
		compgen -f -- "$current"
	)
}

complete -F _qcow2_map qcow2-map
