//! Environment variables in the text of a configuration file.
//!
//! LiteFS expands the whole text before it is read as YAML, comments included: `$NAME` and `${NAME}` become the
//! variable's value (nothing if it is not set), `${NAME == 'text'}` and `${NAME != OTHER}` become `true` or
//! `false`. There is no escape for a dollar sign; `-no-expand-env` switches all of it off.

/// Replaces the variables in `text` by what `lookup` says, `None` being an unset variable.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let value = |name: &str| lookup(name).unwrap_or_default();
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let reference;
        (reference, rest) = split_reference(rest);
        match reference {
            Reference::Braced(inner) => expanded.push_str(&evaluate(inner.trim(), value)),
            Reference::Bare(name) => expanded.push_str(&value(name)),
            Reference::Malformed => {}
            Reference::Dollar => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

/// What follows a dollar sign.
enum Reference<'a> {
    /// `{...}`: the text inside.
    Braced(&'a str),
    /// A name of letters, digits and underscores, or one of the shell's one-character names.
    Bare(&'a str),
    /// `{}`, or a brace that is never closed: LiteFS drops it.
    Malformed,
    /// Nothing that could be a name: the dollar sign stands for itself.
    Dollar,
}

/// Splits what follows a dollar sign into the reference and the text after it.
fn split_reference(text: &str) -> (Reference<'_>, &str) {
    let Some(first) = text.chars().next() else {
        return (Reference::Dollar, text);
    };
    if first == '{' {
        return match text.find('}') {
            Some(1) => (Reference::Malformed, &text[2..]),
            Some(end) => (Reference::Braced(&text[1..end]), &text[end + 1..]),
            None => (Reference::Malformed, &text[1..]),
        };
    }
    if first.is_ascii_digit() || "*#$@!?-".contains(first) {
        return (Reference::Bare(&text[..1]), &text[1..]);
    }
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    match end {
        0 => (Reference::Dollar, text),
        _ => (Reference::Bare(&text[..end]), &text[end..]),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of a variable, or of a comparison of a variable with a literal or another variable.
fn evaluate(inner: &str, value: impl Fn(&str) -> String) -> String {
    let Some((left, equal, right)) = split_comparison(inner) else {
        return value(inner);
    };
    let right = match unquote(right) {
        Some(literal) => literal.to_owned(),
        None if right.chars().all(is_name) && !right.is_empty() => value(right),
        None => return value(inner),
    };
    ((value(left) == right) == equal).to_string()
}

/// `A == B` or `A != B`: the name, whether it is `==`, and the right side.
fn split_comparison(inner: &str) -> Option<(&str, bool, &str)> {
    let end = inner.find(|c| !is_name(c)).filter(|&end| end > 0)?;
    let (left, rest) = inner.split_at(end);
    let rest = rest.trim_start();
    let (equal, right) = match rest.strip_prefix("==") {
        Some(right) => (true, right),
        None => (false, rest.strip_prefix("!=")?),
    };
    Some((left, equal, right.trim_start()))
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        expand(text, |name| match name {
            "A" => Some("x".to_owned()),
            "B" => Some("x".to_owned()),
            "LONG_name1" => Some("long".to_owned()),
            "FLY_REGION" => Some("ams".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables() {
        for (text, expected) in [
            ("no variables: at all", "no variables: at all"),
            ("a: $A", "a: x"),
            ("$A", "x"),
            ("${A}b$A-b", "xbx-b"),
            ("${ A }", "x"),
            ("$LONG_name1.", "long."),
            ("[$UNSET]", "[]"),
            ("[${UNSET}]", "[]"),
            ("# comment $A", "# comment x"),
            ("price: $ 5", "price: $ 5"),
            ("end $", "end $"),
            ("\u{20ac}$A\u{20ac}", "\u{20ac}x\u{20ac}"),
            // The shell's one-character names are names, and no such variable is set.
            ("a$1b$$c", "abc"),
            // Malformed references vanish, as in LiteFS.
            ("a${}b", "ab"),
            ("a${A", "aA"),
        ] {
            assert_eq!(expanded(text), expected, "{text:?}");
        }
    }

    #[test]
    fn comparisons() {
        for (text, expected) in [
            ("${ A == 'x' }", "true"),
            ("${A=='x'}", "true"),
            ("${ A == \"y\" }", "false"),
            ("${ A != 'x' }", "false"),
            ("${ A != 'y' }", "true"),
            ("${ A == B }", "true"),
            ("${ A == FLY_REGION }", "false"),
            ("${ A != FLY_REGION }", "true"),
            ("${ UNSET == '' }", "true"),
            ("${ UNSET == OTHER }", "true"),
            ("candidate: ${FLY_REGION == 'ams'}", "candidate: true"),
            // Neither a name nor a comparison: the name of a variable that cannot exist.
            ("[${ A > 'x' }]", "[]"),
            ("[${ A == 'x }]", "[]"),
            ("[${ == 'x' }]", "[]"),
        ] {
            assert_eq!(expanded(text), expected, "{text:?}");
        }
    }
}
