# Completions for PowerShell. keyfob itself says what can stand at the cursor; see `keyfob completions --help`.
Register-ArgumentCompleter -Native -CommandName keyfob -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })
    # Before 7.3 an empty argument is lost on its way to a program; a quote alone stands for one.
    $last = if ($wordToComplete) { $wordToComplete } else { "'" }
    & $commandAst.CommandElements[0].ToString() completions -- @words $last 2>$null | ForEach-Object {
        $value, $help = $_ -split "`t", 2
        # Nothing at all is what makes PowerShell complete files.
        if ($value -ne '<file>') {
            [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', "$value $help")
        }
    }
}
