# completion.bash - completion of the options of the qcow2 tools in bash.
# SPDX-License-Identifier: MIT
#
# The programs themselves list their verbs and options, so nothing is said twice.
# Installed once for each tool, under its name.

# $1: a long option; prints the words that it takes, if they are known.
_qcow2_values() {
	local option=$1 line
	shift
	if [[ $option == --explain ]]; then
		"$@" --list-problems 2>/dev/null | awk 'NR > 1 {print $2}'
		return
	fi
	while IFS= read -r line; do
		if [[ $line == "$option="*'|'* ]]; then
			line=${line#*=}
			tr '|' '\n' <<<"${line%%[*}"
		fi
	done < <("$@" --long-options 2>/dev/null)
}

_qcow2() {
	local current=${COMP_WORDS[COMP_CWORD]} before=
	local option='' line verbs words='' program=("$1")
	if ((COMP_CWORD > 0)); then
		before=${COMP_WORDS[COMP_CWORD - 1]}
	fi
	COMPREPLY=()

	# Where there are verbs, the options are those of the verb that stands first.
	verbs=$("$1" --list-verbs 2>/dev/null)
	if ((COMP_CWORD > 1)); then
		if grep -qxF -- "${COMP_WORDS[1]:--}" <<<"$verbs"; then
			program+=("${COMP_WORDS[1]}")
		fi
		# A verb may have words of its own: its usage begins with them.
		verbs=
		if ((COMP_CWORD == 2 && ${#program[@]} == 2)); then
			verbs=$("${program[@]}" --help 2>/dev/null |
				sed -n '1s/.*\] \([a-z]*|[a-z|]*\) .*/\1/p' | tr '|' '\n')
		fi
	fi

	# bash splits --output=json into three words.
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
	if [[ -n $option ]]; then
		words=$(_qcow2_values "$option" "${program[@]}")
		# Of a list the last one is at hand; compgen expands what it is given.
		if [[ $option == --explain && $current =~ ^[A-Z0-9_,]*,[A-Z0-9_]*$ ]]; then
			words=$(sed "s/^/${current%,*},/" <<<"$words")
		fi
	fi
	if [[ -z $words && $current == -* ]]; then
		while IFS= read -r line; do
			if [[ $line == *=* ]]; then
				words+=" ${line%%=*}="
			else
				words+=" $line"
			fi
		done < <("${program[@]}" --long-options 2>/dev/null)
		if [[ $current != --* ]]; then
			words+=" $("${program[@]}" --short-options 2>/dev/null |
				tr '\n' ' ')"
		fi
	fi
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
			compopt -o nospace 2>/dev/null
		fi
		return
	fi
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(
		compgen -W "$verbs" -- "$current"
		compgen -f -- "$current"
	)
}

complete -F _qcow2 qcow2-fsck qcow2-map qcow2-dump
