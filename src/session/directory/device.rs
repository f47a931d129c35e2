//! Names a device by its `User-Agent`. Pure.
//!
//! Anybody can write that header. It only helps users to tell their own devices apart. The result is made of words from the lists below,
//! or is a program's own plain name.

/// A few words for a person: "Firefox on Linux", "curl". At most 48 bytes of plain ASCII, whatever comes in.
pub fn label(user_agent: Option<&str>) -> Box<str> {
    let text = user_agent.unwrap_or_default().trim_start();
    let text = &text[..text.floor_char_boundary(READ)];
    let find = |words: &[(&str, &'static str)]| {
        let mut words = words.iter();
        words.find_map(|(sign, word)| text.contains(sign).then_some(*word))
    };
    let name = find(BROWSERS).or_else(|| product(text));
    match (name, find(SYSTEMS)) {
        (Some(name), Some(system)) => format!("{name} on {system}").into(),
        (Some(name), None) => name.into(),
        (None, Some(system)) => format!("Something on {system}").into(),
        (None, None) => "Unknown device".into(),
    }
}

/// The first product's name (RFC 9110 §10.1.5), where it is a name that people would write.
fn product(text: &str) -> Option<&str> {
    let name = text.split(['/', ' ', '(', ';', ',']).next()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name {
        // Every browser says that, so it says nothing.
        "Mozilla" => Some("Browser"),
        name => (name.len() <= NAME && name.starts_with(|first: char| first.is_ascii_alphabetic()))
            .then_some(name)
            .filter(|name| name.bytes().all(is_plain)),
    }
}

/// Bytes of `User-Agent` that are read. The longest real ones have half of it.
const READ: usize = 512;
/// The longest name of a program that is shown.
const NAME: usize = 24;

/// Signs of browsers. Nearly all claim to be Chrome and Safari too, so these come last.
const BROWSERS: &[(&str, &str)] = &[
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("Trident/", "Internet Explorer"),
];

/// Signs of systems. Android says Linux too, and an iPhone Mac OS X.
const SYSTEMS: &[(&str, &str)] = &[
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("FreeBSD", "FreeBSD"),
    ("OpenBSD", "OpenBSD"),
    ("Linux", "Linux"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn devices_are_called_as_their_owners_call_them() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.5 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) CriOS/141.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 \
                 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64)", "Browser on Linux"),
            ("Mozilla/5.0 (persona)", "Browser"),
            ("curl/8.14.1", "curl"),
            ("python-requests/2.32.4", "python-requests"),
            ("MyApp/1.0 (Windows)", "MyApp on Windows"),
        ] {
            assert_eq!(&*label(Some(user_agent)), expected, "{user_agent}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_shown() {
        for user_agent in [
            "",
            " ",
            "<script>alert(1)</script>",
            "…",
            "4711/1",
            "a-name-that-is-longer-than-names-are/1",
            "Your bank/1",
        ] {
            let label = label(Some(user_agent));
            assert!(["Unknown device", "Your"].contains(&&*label), "{label}");
        }
        assert_eq!(&*label(None), "Unknown device");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_short_and_plain(user_agent in "\\PC{0,700}|(Firefox/|Linux|Mozilla/|[a-z<]){0,200}") {
            let label = label(Some(&user_agent));
            prop_assert!(!label.is_empty() && label.len() <= 48, "{label}");
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-".contains(&byte);
            prop_assert!(label.bytes().all(is_plain), "{label}");
        }
    }
}
