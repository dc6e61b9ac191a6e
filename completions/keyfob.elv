# Completions for elvish. keyfob itself says what can stand at the cursor; see `keyfob completions --help`.
use str
set edit:completion:arg-completer[keyfob] = {|program @words|
    var lines = [(try { (external $program) completions -- $@words 2>/dev/null | from-lines } catch { })]
    if (eq $lines ['<file>']) {
        edit:complete-filename $program $@words
    } else {
        for line $lines {
            var value help = (str:split "\t" $line)
            edit:complex-candidate $value &code-suffix=' ' &display=$value' '$help
        }
    }
}
