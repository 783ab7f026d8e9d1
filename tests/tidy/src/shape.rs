//! The shape of Rust files: the first sentence, and how long files, functions and lines may be.

use crate::{
    Finding, scan,
    tree::{File, Tree},
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(findings_in).collect()
}

fn findings_in(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |rule, line, item: &str, size, advice: String| {
        let (path, item) = (file.path.clone(), item.to_owned());
        found.push(Finding {
            rule,
            path,
            line,
            item,
            size,
            advice,
        });
    };
    if !starts_with_a_sentence(&file.text) {
        let advice = "must be `//! ` and a sentence: what this file is for".to_owned();
        add("first-line", 1, "", 0, advice);
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let advice =
            format!("{lines} lines of at most {FILE_LINES_MAX}: split it by what it knows");
        add("file-lines", 0, "", lines, advice);
    }
    for function in scan::functions(&file.code) {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_LINES_MAX {
            let advice =
                format!("{lines} lines of at most {FUNCTION_LINES_MAX}: push ifs up, fors down");
            add(
                "function-lines",
                function.first,
                &function.name,
                lines,
                advice,
            );
        }
    }
    for (index, line) in file.text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            let advice = format!("{chars} characters of at most {LINE_CHARS_MAX}");
            // The words, so that an excuse survives moving the line.
            let item: String = line.trim().chars().take(30).collect();
            add("line-chars", index + 1, &item, chars, advice);
        }
    }
    found
}

/// The first paragraph is a `//!` comment that ends as a sentence does.
fn starts_with_a_sentence(text: &str) -> bool {
    let paragraph: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//! "))
        .take_while(|line| !line.trim().is_empty())
        .collect();
    paragraph
        .last()
        .is_some_and(|line| line.trim_end().ends_with(['.', '!', '?', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<String> {
        let found = check(&Tree::sample(&[("agent/src/a.rs", text)]));
        found
            .iter()
            .map(|f| format!("{} {} {} {}", f.rule, f.line, f.item, f.size))
            .collect()
    }

    #[test]
    fn the_first_line_is_a_sentence() {
        assert_eq!(rules("//! Says what it is for.\nfn a() {}"), [""; 0]);
        assert_eq!(
            rules("//! Says at length\n//! what it is for.\nfn a() {}"),
            [""; 0]
        );
        for bad in [
            "",
            "fn a() {}",
            "// Not a doc comment.",
            "//! no end",
            "\n//! Too late.",
        ] {
            assert_eq!(rules(bad), ["first-line 1  0"], "of {bad:?}");
        }
    }

    #[test]
    fn files_functions_and_lines_have_an_end() {
        let of = |body: String| rules(&format!("//! A file.\n{body}"));
        assert_eq!(of("\n".repeat(599)), [""; 0]);
        assert_eq!(of("\n".repeat(600)), ["file-lines 0  601"]);
        let function = |lines: usize| format!("fn long() {{{}}}", "\n".repeat(lines - 1));
        assert_eq!(of(function(70)), [""; 0]);
        assert_eq!(of(function(71)), ["function-lines 2 long 71"]);
        assert_eq!(of(format!("// {}", "ä".repeat(97))), [""; 0]);
        let long = format!("// {}", "ä".repeat(98));
        assert_eq!(
            of(long),
            [format!("line-chars 2 // {} 101", "ä".repeat(27))]
        );
    }
}
