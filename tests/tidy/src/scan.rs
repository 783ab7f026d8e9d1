//! Just enough of Rust's grammar: blanks what is prose, finds functions, tests, names and paths.

/// The text with every comment, string and character literal blanked; line breaks stay.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_prose(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        }
        while at < end {
            code.push(if chars[at] == '\n' { '\n' } else { ' ' });
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn end_of_prose(chars: &[char], at: usize) -> usize {
    let peek = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let end = match (peek(at), peek(at + 1)) {
        ('/', '/') => chars[at..]
            .iter()
            .position(|c| *c == '\n')
            .map(|length| at + length),
        ('/', '*') => Some(end_of_block_comment(chars, at)),
        ('"', _) => Some(end_of_string(chars, at + 1)),
        ('\'', '\\') => end_of_character(chars, at + 3),
        // A lifetime has no second quote there.
        ('\'', _) if peek(at + 2) == '\'' => Some(at + 3),
        ('r', '"' | '#') if at == 0 || !is_word(chars[at - 1]) || prefixes_raw(chars, at) => {
            end_of_raw_string(chars, at + 1)
        }
        _ => return at,
    };
    match end {
        Some(end) => end.min(chars.len()),
        // `r#name` is no string; what lacks its end is prose to the last character.
        None if chars[at] == 'r' => at,
        None => chars.len(),
    }
}

fn end_of_block_comment(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut index = at;
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn end_of_character(chars: &[char], from: usize) -> Option<usize> {
    let rest = chars.get(from..)?;
    rest.iter()
        .position(|c| *c == '\'')
        .map(|length| from + length + 1)
}

/// Whether the `r` at `at` is that of `br"…"` or `cr"…"`.
fn prefixes_raw(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at == 1 || !is_word(chars[at - 2]))
}

fn end_of_raw_string(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return None;
    }
    let mut at = from + hashes + 1;
    while at < chars.len() {
        let tail = &chars[at + 1..];
        if chars[at] == '"' && tail.iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word or a single other character of the code, with the line that it stands on, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let end = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (text, after) = rest.split_at(end);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            tokens.push(Token { text, line });
        }
        rest = after;
    }
    tokens
}

/// A function with a body: its name, the line of `fn` and the line of the closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub first: usize,
    pub last: usize,
}

pub fn functions(code: &str) -> Vec<Function> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let is_name = pair[1]
            .text
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if pair[0].text != "fn" || !is_name {
            continue;
        }
        if let Some(end) = end_of_item(&tokens, index) {
            let (name, first) = (pair[1].text.to_owned(), pair[0].line);
            found.push(Function {
                name,
                first,
                last: tokens[end].line,
            });
        }
    }
    found
}

/// The index of the brace that closes the item which starts at `from`; none if it ends in `;`.
fn end_of_item(tokens: &[Token<'_>], from: usize) -> Option<usize> {
    let mut braces = 0;
    let mut brackets = 0;
    for (index, token) in tokens.iter().enumerate().skip(from) {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(index);
                }
            }
            ";" if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

/// For each line of the code: whether it is part of an item under `#[cfg(test)]`.
pub fn test_lines(code: &str) -> Vec<bool> {
    let tokens = tokens(code);
    let mut lines = vec![false; code.lines().count()];
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    for (index, window) in tokens.windows(mark.len()).enumerate() {
        if !window.iter().map(|token| token.text).eq(mark) {
            continue;
        }
        if let Some(end) = end_of_item(&tokens, index) {
            lines[window[0].line - 1..tokens[end].line].fill(true);
        }
    }
    lines
}

/// A path that the code names, `a::b::c`, with its groups taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub parts: Vec<String>,
    pub line: usize,
}

/// Every path of two parts or more, in `use` or anywhere else. `use a::{b, c::d}` is `a::b` and
/// `a::c::d`.
pub fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text.starts_with(is_word) {
            at = read_path(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found.retain(|named| named.parts.len() > 1);
    found
}

/// Reads the path at `at`, whose first parts are `prefix`; the index behind it.
fn read_path(tokens: &[Token<'_>], at: usize, prefix: &[&str], found: &mut Vec<Named>) -> usize {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text);
    let mut parts = prefix.to_vec();
    parts.push(text(at));
    let mut next = at + 1;
    while text(next) == ":" && text(next + 1) == ":" {
        next += 2;
        if text(next) == "{" {
            return read_group(tokens, next + 1, &parts, found);
        }
        if !text(next).starts_with(|c| is_word(c) || c == '*') {
            break;
        }
        parts.push(text(next));
        next += 1;
    }
    let parts = parts.into_iter().map(str::to_owned).collect();
    found.push(Named {
        parts,
        line: tokens[at].line,
    });
    next
}

fn read_group(tokens: &[Token<'_>], at: usize, prefix: &[&str], found: &mut Vec<Named>) -> usize {
    let mut next = at;
    while let Some(token) = tokens.get(next) {
        next = match token.text {
            "}" => return next + 1,
            "," => next + 1,
            _ => read_path(tokens, next, prefix, found),
        };
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_blanked_and_code_is_not() {
        let check = |text: &str, code: &str| assert_eq!(code_of(text), code, "of {text:?}");
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"f("a\"b", 'c')"#, "f(      ,    )");
        check(r##"f(r#"a"b"#, br"c\")"##, "f(        , b     )");
        check("r#type<'a>('\\'', '\\u{41}')", "r#type<'a>(    ,         )");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("for\"x\"", "for   ");
        check("\"never closed", "             ");
    }

    #[test]
    fn functions_end_at_their_brace() {
        let code = code_of(
            "fn one() {\n  if x { \"}\" }\n}\ntrait T { fn none(&self, a: [u8; 2]); }\n\
             type F = fn(u8) -> u8;\nfn two(a: [u8; 2]) -> u8 { 1 }",
        );
        let spans: Vec<_> = functions(&code)
            .into_iter()
            .map(|f| (f.name, f.first, f.last))
            .collect();
        assert_eq!(spans, [("one".to_owned(), 1, 3), ("two".to_owned(), 6, 6)]);
    }

    #[test]
    fn tests_are_told_from_the_rest() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}";
        assert_eq!(test_lines(code), [false, true, true, true, true, false]);
        assert_eq!(
            test_lines("#[cfg(test)]\nmod tests;\nfn a() {}"),
            [false, false, false]
        );
    }

    #[test]
    fn groups_of_paths_are_taken_apart() {
        let code = "use a::{b, c::{d, e::*}, self};\nlet x = crate::f::<u8>(1);";
        let named: Vec<_> = paths(code)
            .iter()
            .map(|n| (n.parts.join("::"), n.line))
            .collect();
        let of = |path: &str, line| (path.to_owned(), line);
        let uses = [
            of("a::b", 1),
            of("a::c::d", 1),
            of("a::c::e::*", 1),
            of("a::self", 1),
        ];
        assert_eq!(named, [&uses[..], &[of("crate::f", 2)]].concat());
    }
}
