# Completions for bash 3.2 and later. keyfob itself says what can stand at the cursor; see `keyfob completions --help`.
_keyfob() {
    local IFS=$'\n' line value
    COMPREPLY=()
    while read -r line; do
        if [[ $line == '<file>' ]]; then
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -f -- "$2"))
            return
        fi
        printf -v value %q "${line%%$'\t'*}"
        COMPREPLY+=("$value")
    done < <("${1/#\~\//$HOME/}" completions -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null)
}
complete -F _keyfob keyfob
