//! Who broke off a request.

use serde::{Serialize, Serializer};

/// Who broke a request off before the last byte of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client closed its connection, reset its stream, or stopped sending its body.
    Client,
    /// The app closed its connection, or said what is no HTTP.
    App,
    /// The gate: the session that the answer was for has ended.
    Session,
    /// The gate: a limit was reached.
    Limit,
    /// The gate: it stops, and this would have no end.
    Stop,
}

impl Ended {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::App => "app",
            Self::Session => "session",
            Self::Limit => "limit",
            Self::Stop => "stop",
        }
    }
}

impl Serialize for Ended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
