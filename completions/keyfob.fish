# Completions for fish. keyfob itself says what can stand at the cursor; see `keyfob completions --help`.
function __keyfob_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l lines (command $words[1] completions -- $words[2..] "$current" 2>/dev/null)
    if test "$lines[1]" = '<file>'
        __fish_complete_path "$current"
    else
        printf '%s\n' $lines
    end
end
complete --command keyfob --keep-order --no-files --arguments '(__keyfob_complete)'
