//! Text that shares one buffer.

use std::{fmt, ops::Deref};

use bytes::Bytes;

/// An immutable UTF-8 string that is a slice of a shared buffer: a session opened from its cookie
/// is one allocation, and its headers are written from it without another.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// The part of `buffer` that `part` points to, without a copy.
    ///
    /// # Panics
    /// When `part` does not lie inside `buffer`.
    pub fn slice_of(buffer: &Bytes, part: &str) -> Self {
        Self(buffer.slice_ref(part.as_bytes()))
    }

    /// As [`slice_of`](Self::slice_of), for bytes that may be no UTF-8: then none.
    pub fn checked_slice_of(buffer: &Bytes, part: &[u8]) -> Option<Self> {
        // Nearly always, and told at once.
        let is_text = part.is_ascii() || std::str::from_utf8(part).is_ok();
        is_text.then(|| Self(buffer.slice_ref(part)))
    }

    /// The text itself.
    ///
    /// # Panics
    /// Never: every constructor takes UTF-8. (Looking again costs less than a copy at opening would,
    /// and the crate has no `unsafe`.)
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor takes UTF-8")
    }

    /// Whether it is `other`. Less work than comparing [`as_str`](Self::as_str).
    pub fn is(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }

    /// The shared bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_shares_its_buffer() {
        let buffer = Bytes::from_static("héllo".as_bytes());
        let whole = std::str::from_utf8(&buffer).unwrap();
        let part = Text::slice_of(&buffer, &whole[1..3]);
        assert_eq!(part.as_str(), "é");
        assert_eq!(part.bytes().as_ptr(), buffer[1..].as_ptr());
        assert_eq!(format!("{part} {part:?}"), "é \"é\"");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let buffer = Bytes::from_static(b"h\xc3\xa9\xffo");
        let checked = |from: usize, to| Text::checked_slice_of(&buffer, &buffer[from..to]);
        assert_eq!(checked(0, 3).unwrap().as_str(), "h\u{e9}");
        assert_eq!(checked(0, 1).unwrap().as_str(), "h");
        assert!(checked(0, 2).is_none() && checked(2, 3).is_none() && checked(3, 5).is_none());
    }

    #[test]
    #[should_panic(expected = "")]
    fn a_part_of_something_else_is_refused() {
        let elsewhere = String::from("elsewhere");
        let _ = Text::slice_of(&Bytes::from_static(b"here"), &elsewhere);
    }
}
