//! Variables of the environment in a text, as oauth2-proxy puts them in. Pure.

use crate::config::Environment;

/// The variable that is all of a text: `${NAME}` or `$NAME`.
pub(super) fn whole_variable(text: &str) -> Option<&str> {
    let rest = text.trim().strip_prefix('$')?;
    let name = rest
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(rest);
    is_name(name).then_some(name)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `$NAME` and `$$`; `$1` stays for what is rewritten.
pub(super) fn substitute(text: &str, environment: &Environment) -> Result<String, String> {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        all.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            all.push('$');
            rest = after;
            continue;
        }
        let inner = after.strip_prefix('{');
        let braced = inner.is_some();
        let (expression, after) = if let Some(inner) = inner {
            inner
                .split_once('}')
                .ok_or_else(|| "has a ${ without an end".to_owned())?
        } else {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            after.split_at(end)
        };
        let default = expression
            .split_once(":-")
            .or_else(|| expression.split_once('-'));
        let (name, default) = match default {
            Some((name, default)) if braced => (name, Some(default)),
            _ => (expression, None),
        };
        rest = after;
        if !is_name(name) {
            if braced {
                return Err("has a substitution of a kind that is not read here".to_owned());
            }
            all.push('$');
            all.push_str(expression);
            continue;
        }
        match environment.get(name).filter(|value| !value.is_empty()) {
            Some(value) => all.push_str(value),
            None => match default {
                Some(default) => all.push_str(default),
                None => return Err(format!("wants {name}, which the environment does not have")),
            },
        }
    }
    all.push_str(rest);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_put_in() {
        let environment: Environment = [("HOST".to_owned(), "app".to_owned())].into();
        for (text, expected) in [
            ("http://${HOST}:80", Ok("http://app:80")),
            ("$HOST/x", Ok("app/x")),
            ("${NONE:-d}", Ok("d")),
            ("${NONE-d}", Ok("d")),
            ("/$1/x", Ok("/$1/x")),
            ("a$$b", Ok("a$b")),
            ("^/x$", Ok("^/x$")),
            ("${NONE}", Err(())),
            ("${HOST", Err(())),
            ("${HOST^^}", Err(())),
        ] {
            let read = substitute(text, &environment);
            assert_eq!(read.as_deref().map_err(|_| ()), expected, "{text}");
        }
        assert_eq!(whole_variable("${A_B}"), Some("A_B"));
        assert_eq!(whole_variable("$A"), Some("A"));
        for text in ["", "$", "${A", "x$A", "$1", "${A:-b}"] {
            assert_eq!(whole_variable(text), None, "{text}");
        }
    }
}
