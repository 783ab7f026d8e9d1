//! Environment files as ECS and Docker have them: a variable a line, and nothing is quoted.

/// Those of one file. What ECS leaves out is left out: comments, lines without `=`, and what has
/// an empty name or value. Of a variable that is said twice the last line counts, within one file.
pub(super) fn variables_of(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let line = bytes[..err.valid_up_to()].split(|b| *b == b'\n').count();
        format!("line {line} is not UTF-8")
    })?;
    if text.contains('\0') {
        return Err("it has NUL characters".to_owned());
    }
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::variables_of;
    use expect_test::{Expect, expect};

    fn check(text: &[u8], expected: Expect) {
        let shown = match variables_of(text) {
            Ok(variables) => {
                let lines = variables
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                lines.collect::<Vec<_>>().join(" | ")
            }
            Err(why) => why,
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_line_is_a_variable_and_nothing_is_quoted() {
        check(
            b"# of web\nMODE=fast\nURL=http://db?a=b\n\nQUOTED=\"as it is\"\n export X=1\r\n",
            expect![[r#"MODE=fast | URL=http://db?a=b | QUOTED="as it is" |  export X=1"#]],
        );
        check(b"no variable\n=nameless\nEMPTY=\n", expect![[""]]);
        check(b"A=1\nB=2\nA=3\n", expect!["B=2 | A=3"]);
        check(b"A=1\nB=\xff\n", expect!["line 2 is not UTF-8"]);
        check(b"A=1\0\n", expect!["it has NUL characters"]);
    }
}
