//! Reads the names in an X.509 certificate (RFC 5280 §4.1). Pure.
//!
//! TLS has verified the certificate before: its signature, its times and its uses. Only the names are read here.

use std::str;

use time::{Date, Month};

use crate::clock::Timestamp;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The common names of its subject.
    pub common_names: Vec<String>,
    /// The organizations of its subject.
    pub organizations: Vec<String>,
    /// The DNS names among its alternative names.
    pub dns_names: Vec<String>,
    /// The addresses (URI) among its alternative names.
    pub uris: Vec<String>,
    /// From when on it does not count.
    pub end: Timestamp,
}

impl Certificate {
    /// Reads the bytes of a certificate; none where it is not written as RFC 5280 says.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut whole = Der(bytes);
        let mut body = Der(whole.expect(SEQUENCE)?);
        if !whole.0.is_empty() {
            return None;
        }
        let mut signed = Der(body.expect(SEQUENCE)?);
        if signed.0.first() == Some(&VERSION) {
            signed.next()?;
        }
        signed.expect(INTEGER)?;
        signed.expect(SEQUENCE)?;
        signed.expect(SEQUENCE)?;
        let mut read = Self {
            end: end(signed.expect(SEQUENCE)?)?,
            ..Self::default()
        };
        read.subject(signed.expect(SEQUENCE)?)?;
        while !signed.0.is_empty() {
            let (tag, contents) = signed.next()?;
            if tag == EXTENSIONS {
                read.extensions(Der(contents).expect(SEQUENCE)?)?;
            }
        }
        Some(read)
    }

    /// `Name`: sets of kinds and values.
    fn subject(&mut self, name: &[u8]) -> Option<()> {
        let mut sets = Der(name);
        while !sets.0.is_empty() {
            let mut set = Der(sets.expect(SET)?);
            while !set.0.is_empty() {
                let mut pair = Der(set.expect(SEQUENCE)?);
                let names = match pair.expect(OBJECT)? {
                    COMMON_NAME => &mut self.common_names,
                    ORGANIZATION => &mut self.organizations,
                    _ => continue,
                };
                let (UTF8 | PRINTABLE | IA5, text) = pair.next()? else {
                    return None;
                };
                names.push(str::from_utf8(text).ok()?.to_owned());
            }
        }
        Some(())
    }

    fn extensions(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Der(list);
        while !list.0.is_empty() {
            let mut extension = Der(list.expect(SEQUENCE)?);
            if extension.expect(OBJECT)? != ALTERNATIVE_NAMES {
                continue;
            }
            let (mut tag, mut contents) = extension.next()?;
            if tag == BOOLEAN {
                (tag, contents) = extension.next()?;
            }
            if tag != OCTETS {
                return None;
            }
            let mut names = Der(Der(contents).expect(SEQUENCE)?);
            while !names.0.is_empty() {
                let (tag, name) = names.next()?;
                let kept = match tag {
                    DNS => &mut self.dns_names,
                    URI => &mut self.uris,
                    _ => continue,
                };
                kept.push(
                    str::from_utf8(name)
                        .ok()
                        .filter(|name| name.is_ascii())?
                        .to_owned(),
                );
            }
        }
        Some(())
    }
}

/// What is still to be read of the Distinguished Encoding Rules (X.690).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & LONG_TAG == LONG_TAG {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next element, which has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, contents)| contents)
    }
}

/// The second of the two times of a `Validity`.
fn end(validity: &[u8]) -> Option<Timestamp> {
    let mut times = Der(validity);
    times.next()?;
    let (tag, text) = times.next()?;
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    // RFC 5280 §4.1.2.5.1: two digits below 50 are of this century.
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let (year, rest) = text.split_at(2);
            let year = number(year)?;
            (
                if year < 50 {
                    2_000 + year
                } else {
                    1_900 + year
                },
                rest,
            )
        }
        GENERALIZED_TIME if text.len() == 14 => {
            let (year, rest) = text.split_at(4);
            (number(year)?, rest)
        }
        _ => return None,
    };
    let part = |place: usize| number(rest.get(place..place + 2)?);
    let small = |place| part(place).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(small(0)?).ok()?;
    let day = Date::from_calendar_date(i32::try_from(year).ok()?, month, small(2)?).ok()?;
    let at = day.with_hms(small(4)?, small(6)?, small(8)?).ok()?;
    let seconds = at.assume_utc().unix_timestamp();
    u64::try_from(seconds).ok().map(Timestamp)
}

fn number(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Of a `GeneralName`.
const DNS: u8 = 0x82;
/// Of a `GeneralName`.
const URI: u8 = 0x86;
/// A tag that takes more than a byte.
const LONG_TAG: u8 = 0x1f;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
