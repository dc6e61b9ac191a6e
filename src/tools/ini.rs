//! Files with sections and keys, as of pip and AWS: finds, adds or removes one line, and leaves the others as they are.

/// Finds a key in a section, such as `[global]`: the line's index, and the value. `_` and `-` in keys are equal.
pub(super) fn find<'t>(text: &'t str, section: &str, key: &str) -> Option<(usize, &'t str)> {
    let mut within = false;
    text.lines().enumerate().find_map(|(number, line)| {
        if line.starts_with('[') {
            within = line.trim() == section;
        }
        let (name, value) = line.split_once(['=', ':'])?;
        (within && name.trim().replace('_', "-") == key.replace('_', "-")).then_some((number, value.trim()))
    })
}

/// Adds a line at the beginning of a section, which is appended if it does not exist.
pub(super) fn with(text: &str, section: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(header) = lines.iter().position(|line| line.trim() == section) {
        let line = format!("{line}\n");
        let end = if lines[header].ends_with('\n') { "" } else { "\n" };
        lines.insert(header + 1, end);
        lines.insert(header + 2, &line);
        return lines.concat();
    }
    let gap = match text {
        "" => "",
        text if text.ends_with("\n\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{text}{gap}{section}\n{line}\n")
}

/// Removes a key's line from a section. Also removes the section if it is then empty and last in the file, because it
/// was probably made for that line.
pub(super) fn without(text: &str, section: &str, key: &str) -> String {
    let number = find(text, section, key).map(|(number, _)| number);
    let lines = text.split_inclusive('\n').enumerate().filter(|(at, _)| Some(*at) != number);
    let left: String = lines.map(|(_, line)| line).collect();
    match left.trim_end().strip_suffix(section) {
        Some("") => String::new(),
        Some(before) if number.is_some() && before.ends_with('\n') => before.trim_end().to_owned() + "\n",
        _ => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_and_goes() {
        for (before, after) in [
            ("", "[global]\na-b = c\n"),
            ("[global]\nindex-url = x\n", "[global]\na-b = c\nindex-url = x\n"),
            ("[global]", "[global]\na-b = c\n"),
            ("[install]\nno-deps = yes", "[install]\nno-deps = yes\n\n[global]\na-b = c\n"),
        ] {
            let with = with(before, "[global]", "a-b = c");
            assert_eq!(with, after);
            assert_eq!(find(&with, "[global]", "a-b").map(|(_, value)| value), Some("c"));
            assert_eq!(find(&without(&with, "[global]", "a-b"), "[global]", "a-b"), None);
        }
        assert_eq!(find("[global]\na_b: x\n", "[global]", "a-b"), Some((1, "x")));
        assert_eq!(find("[other]\na-b = x\n", "[global]", "a-b"), None);
        let untouched = "[a]\nx = 1\n\n[global]\n";
        assert_eq!(without(untouched, "[global]", "a-b"), untouched);
    }
}
