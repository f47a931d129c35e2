//! A session as bytes: compact, versioned, opened without copying. (postcard; a borrowed wire struct
//! whose strings become [`Text`](crate::text::Text) slices of the opened buffer.)

use bytes::Bytes;

use super::Session;

/// The bytes of a session; first byte is the format's version.
pub fn encode(session: &Session) -> Vec<u8> {
    let _ = session;
    todo!()
}

/// The session in `plain`; nothing where the version is foreign or the bytes are not a session.
pub fn decode(plain: &Bytes) -> Option<Session> {
    let _ = plain;
    todo!()
}
